//! Rules, actions and connectors: a rule is the route of one kind of message, its action is giving them
//! to the back end, and the connector is the back end's endpoint.

use weir_metrics::Name;

use super::numbers::{Numbers, Outcomes};
use super::page::Page;
use super::{Kind, Nodes, Reading};

/// The back end's endpoint.
pub(super) const SINK: &str = "northbound";

/// One route.
pub(super) struct Rule {
    pub(super) id: &'static str,
    pub(super) outcomes: Outcomes,
    /// Messages that wait for an application.
    pub(super) waiting: u64,
}

pub(super) fn rules(reading: &Reading<'_>) -> [Rule; 3] {
    let all = Numbers::of(reading.tally).all;
    let queued = |id: &str| {
        let queued = reading.figures.of(Name::ConsumerQueue);
        let queued = queued.filter(|(labels, _)| labels.last().is_some_and(|kind| &**kind == id));
        queued.map(|(_, value)| value).sum()
    };
    let rule = |id, outcomes, waiting: f64| Rule {
        id,
        outcomes,
        waiting: waiting as u64,
    };
    // An event is stored until it has its outcome, also while it is in a link's queue.
    let stored = reading.figures.of(Name::EventsStored);
    let stored = stored.map(|(_, value)| value).sum();
    [
        rule("telemetry", all.telemetry, queued("telemetry")),
        rule("event", all.events, stored),
        rule(
            "command_response",
            all.responses,
            queued("command_response"),
        ),
    ]
}

/// A family with one series: name, value, meaning.
pub(super) const COUNTS: &[(&str, u64, &str)] = &[
    (
        "rules_count",
        3,
        "Routes: telemetry, events, responses to commands",
    ),
    ("actions_count", 3, "One for each route"),
    ("connectors_count", 1, "The back end's endpoint"),
    ("schema_registrys_count", 0, "There is no schema registry"),
];

/// A family with a series for each route: name, kind, value, meaning.
type OfRule = (&'static str, Kind, fn(&Rule) -> u64, &'static str);

const GIVEN: fn(&Rule) -> u64 = |rule| rule.outcomes.published();
const TAKEN: fn(&Rule) -> u64 = |rule| rule.outcomes.forwarded;
const NOT_TAKEN: fn(&Rule) -> u64 = |rule| rule.outcomes.undeliverable;
const NONE: fn(&Rule) -> u64 = |_| 0;
const NO_RULE_FAILS: &str = "A route has no condition that could fail";
const UNSPLIT: &str = "Contained in `action_failed`, which is not split";

pub(super) const FAMILIES: &[OfRule] = &[
    (
        "rule_enable",
        Kind::Gauge,
        |_| 1,
        "Routes cannot be switched off",
    ),
    (
        "rule_matched",
        Kind::Counter,
        GIVEN,
        "Messages that were given to the back end",
    ),
    (
        "rule_passed",
        Kind::Counter,
        GIVEN,
        "Messages that were given to the back end",
    ),
    ("rule_failed", Kind::Counter, NONE, NO_RULE_FAILS),
    ("rule_failed_exception", Kind::Counter, NONE, NO_RULE_FAILS),
    ("rule_failed_no_result", Kind::Counter, NONE, NO_RULE_FAILS),
    (
        "rule_actions_total",
        Kind::Counter,
        GIVEN,
        "Messages that were given to the back end",
    ),
    (
        "rule_actions_success",
        Kind::Counter,
        TAKEN,
        "Messages that the back end took",
    ),
    (
        "rule_actions_failed",
        Kind::Counter,
        NOT_TAKEN,
        "Messages that the back end did not take",
    ),
    (
        "rule_actions_failed_out_of_service",
        Kind::Counter,
        NONE,
        "Contained in the next",
    ),
    (
        "rule_actions_failed_unknown",
        Kind::Counter,
        NOT_TAKEN,
        "All that failed",
    ),
    (
        "rule_actions_discarded",
        Kind::Counter,
        NONE,
        "Nothing is discarded without its sender hearing of it",
    ),
    (
        "action_enable",
        Kind::Gauge,
        |_| 1,
        "Sinks cannot be switched off",
    ),
    (
        "action_status",
        Kind::Gauge,
        |_| 1,
        "1 while the back end's endpoint is open",
    ),
    ("action_inflight", Kind::Gauge, NONE, "Not measured"),
    (
        "action_queuing",
        Kind::Gauge,
        |rule| rule.waiting,
        "Messages that wait for an application",
    ),
    (
        "action_matched",
        Kind::Counter,
        GIVEN,
        "Messages that were given to the back end",
    ),
    (
        "action_success",
        Kind::Counter,
        TAKEN,
        "Messages that the back end took",
    ),
    (
        "action_failed",
        Kind::Counter,
        NOT_TAKEN,
        "Messages that the back end did not take",
    ),
    (
        "action_received",
        Kind::Counter,
        NONE,
        "Sinks receive nothing",
    ),
    ("action_dropped", Kind::Counter, NONE, UNSPLIT),
    (
        "action_dropped_resource_stopped",
        Kind::Counter,
        NONE,
        UNSPLIT,
    ),
    (
        "action_dropped_resource_not_found",
        Kind::Counter,
        NONE,
        UNSPLIT,
    ),
    ("action_dropped_queue_full", Kind::Counter, NONE, UNSPLIT),
    ("action_dropped_other", Kind::Counter, NONE, UNSPLIT),
    ("action_dropped_expired", Kind::Counter, NONE, UNSPLIT),
    ("action_late_reply", Kind::Counter, NONE, UNSPLIT),
    ("action_retried", Kind::Counter, NONE, "Not counted"),
    ("action_retried_success", Kind::Counter, NONE, "Not counted"),
    ("action_retried_failed", Kind::Counter, NONE, "Not counted"),
];

/// Of the connector: name, meaning; always 1.
pub(super) const CONNECTOR: &[(&str, &str)] = &[
    ("connector_enable", "The endpoint cannot be switched off"),
    (
        "connector_status",
        "1 while the back end's endpoint is open",
    ),
];

/// `/api/v5/prometheus/data_integration`.
pub fn data_integration(reading: &Reading<'_>, nodes: Nodes<'_>) -> String {
    let own = nodes.label(false);
    let rules = rules(reading);
    let mut page = Page::default();
    for (name, value, meaning) in COUNTS {
        let name = format!("emqx_{name}");
        page.head(&name, Kind::Gauge, meaning);
        page.sample(&name, own, *value as f64);
    }
    for (name, kind, value, meaning) in FAMILIES {
        let name = format!("emqx_{name}");
        page.head(&name, *kind, meaning);
        for rule in &rules {
            let labels = [("id", rule.id)].into_iter().chain(own);
            page.sample(&name, labels, value(rule) as f64);
        }
    }
    for (name, meaning) in CONNECTOR {
        let name = format!("emqx_{name}");
        page.head(&name, Kind::Gauge, meaning);
        let labels = [("id", SINK)].into_iter().chain(own);
        page.sample(&name, labels, 1.0);
    }
    page.finish()
}
