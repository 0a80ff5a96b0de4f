//! All pages and lines held against files in `golden/`, and the references in `docs/`, which are written
//! from the same tables.
//!
//! `UPDATE_GOLDEN=1 cargo test -p weir-dialects` writes the files anew, `UPDATE_DOCS=1` the references.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod kit;

use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use weir_dialects::aws_iot::{self, Counts, Protocol};
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
fn lines_are_as_they_were() {
    let tally = kit::used(Instant::now()).tally();
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let line = |it| aws_iot::line("AWS/IoT", it, &Counts::of(&tally, it), now);
    let lines = Protocol::ALL.map(line).concat();
    check(
        Path::new("tests/golden/aws_iot.jsonl"),
        &lines,
        "UPDATE_GOLDEN",
    );
}

#[test]
fn the_references_in_docs_are_up_to_date() {
    for (file, reference) in [
        ("aws-iot-metrics.md", aws_iot::reference()),
        ("emqx-metrics.md", emqx::reference()),
    ] {
        let path = Path::new("../../docs").join(file);
        check(&path, &reference, "UPDATE_DOCS");
    }
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
