//! What dashboards and scrapers made for EMQX ask for is there, from the first scrape on.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod kit;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use weir_dialects::emqx::Mode;

/// Of each series its name and its labels' names.
fn series(page: &str) -> Vec<(&str, Vec<&str>)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let one = |line| {
        let (series, _): (&str, _) = str::rsplit_once(line, ' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',');
        let labels = labels.filter_map(|label| Some(label.split_once('=')?.0));
        (name, labels.collect())
    };
    lines.map(one).collect()
}

fn types(page: &str) -> BTreeMap<&str, &str> {
    let lines = page.lines();
    let declared = lines.filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    declared.collect()
}

/// The lines of a fixture, each in words.
fn fixture(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines();
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split(' ').collect())
}

#[test]
fn every_metric_of_the_published_dashboards_is_there_with_its_labels_before_any_traffic() {
    let metrics = kit::unused(Instant::now());
    let node = kit::page(&metrics, "stats", Mode::Node);
    let cloud = ["deployment_metrics", "deployment_data_integration"]
        .map(|path| kit::page(&metrics, path, Mode::Node))
        .concat();
    let mut rows = 0;
    for row in fixture(include_str!("fixtures/dashboards.txt")) {
        let (dashboard, metric, wanted) = (row[0], row[1], &row[2..]);
        let page = match dashboard.split_once('/').unwrap().0 {
            "emqx" => &node,
            _ => &cloud,
        };
        let has = |labels: &[&str]| wanted.iter().all(|label| labels.contains(label));
        let is_there = series(page)
            .iter()
            .any(|(name, labels)| *name == metric && has(labels));
        assert!(is_there, "{dashboard}: {metric} {wanted:?}");
        rows += 1;
    }
    assert!(rows > 190, "{rows}");
}

#[test]
fn every_family_of_the_cloud_is_there_in_its_declared_type() {
    let metrics = kit::unused(Instant::now());
    for (path, is_integration) in [
        ("deployment_metrics", false),
        ("deployment_data_integration", true),
    ] {
        let page = kit::page(&metrics, path, Mode::Node);
        let (types, series) = (types(&page), series(&page));
        let mut families = 0;
        for row in fixture(include_str!("fixtures/cloud-families.txt")) {
            let (name, kind) = (row[0], row[1]);
            let is_here = name.contains("_rule_") || name.contains("_resource_");
            if is_here == is_integration {
                assert_eq!(types.get(name), Some(&kind), "{name}");
                assert!(series.iter().any(|(series, _)| *series == name), "{name}");
                families += 1;
            }
        }
        assert_eq!(families, if is_integration { 4 } else { 123 });
        for (name, labels) in &series {
            assert_eq!(
                labels[..3],
                ["deployment_id", "deployment_type", "platform"],
                "{name}"
            );
        }
    }
}

#[test]
fn every_series_is_declared_once_and_no_counter_has_the_suffix_of_openmetrics() {
    let metrics = kit::used(Instant::now());
    for path in kit::PAGES {
        let page = kit::page(&metrics, path, Mode::Node);
        let types = types(&page);
        let declared = page.lines().filter(|line| line.starts_with("# TYPE "));
        assert_eq!(declared.count(), types.len(), "{path}");
        let mut lines = BTreeSet::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let series = line.rsplit_once(' ').unwrap().0;
            assert!(lines.insert(series), "{path}: {series}");
        }
        for (name, _) in series(&page) {
            assert!(types.contains_key(name), "{path}: {name}");
            let is_total = name.ends_with("_total") && types[name] == "counter";
            // These are called so.
            let is_theirs = ["actions_total", "authn_total", "authz_total"];
            let is_theirs = is_theirs.iter().any(|end| name.ends_with(end));
            assert!(!is_total || is_theirs, "{path}: {name}");
        }
    }
}

#[test]
fn a_node_has_a_label_only_if_it_is_asked_for() {
    let metrics = kit::used(Instant::now());
    for (mode, plain, machine) in [
        (Mode::Node, false, false),
        (Mode::Aggregated, false, true),
        (Mode::Unaggregated, true, true),
    ] {
        let page = kit::page(&metrics, "stats", mode);
        for (name, labels) in series(&page) {
            let is_machine = name.starts_with("emqx_vm_") || name.starts_with("emqx_cluster_nodes");
            let expected = if is_machine { machine } else { plain };
            assert_eq!(labels.contains(&"node"), expected, "{mode:?} {name}");
        }
    }
}
