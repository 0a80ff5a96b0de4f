//! All pages held against files in `golden/`, and the reference in `docs/`, which is written from the
//! same tables.
//!
//! `UPDATE_GOLDEN=1 cargo test -p weir-dialects` writes the files anew, `UPDATE_DOCS=1` the reference.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod kit;

use std::path::Path;
use std::time::Instant;

use weir_dialects::emqx::{self, Mode};

#[test]
fn pages_are_as_they_were() {
    let metrics = kit::used(Instant::now());
    for path in kit::PAGES {
        let page = kit::page(&metrics, path, Mode::Node);
        let file = format!("tests/golden/emqx.{path}.txt");
        check(Path::new(&file), &page, "UPDATE_GOLDEN");
    }
}

#[test]
fn the_reference_in_docs_is_up_to_date() {
    let path = Path::new("../../docs/emqx-metrics.md");
    check(path, &emqx::reference(), "UPDATE_DOCS");
}

fn check(path: &Path, expected: &str, variable: &str) {
    if std::env::var_os(variable).is_some() {
        std::fs::write(path, expected).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == expected,
        "{} is not up to date: {variable}=1 cargo test -p weir-dialects",
        path.display()
    );
}
