//! Metrics under AWS IoT's names: the lines, and what is counted in them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod kit;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use weir_dialects::aws_iot::{Counts, Protocol, Written, line};
use weir_metrics::{Metrics, MqttCount as M};

/// The message broker metrics of AWS IoT's documentation.
const NAMES: [&str; 24] = [
    "Connect.AuthError",
    "Connect.ClientError",
    "Connect.ClientIDThrottle",
    "Connect.ServerError",
    "Connect.Success",
    "Connect.Throttle",
    "Ping.Success",
    "PublishIn.AuthError",
    "PublishIn.ClientError",
    "PublishIn.ServerError",
    "PublishIn.Success",
    "PublishIn.Throttle",
    "PublishOut.AuthError",
    "PublishOut.ClientError",
    "PublishOut.Success",
    "Subscribe.AuthError",
    "Subscribe.ClientError",
    "Subscribe.ServerError",
    "Subscribe.Success",
    "Subscribe.Throttle",
    "Unsubscribe.ClientError",
    "Unsubscribe.ServerError",
    "Unsubscribe.Success",
    "Unsubscribe.Throttle",
];

fn counts(metrics: &Metrics, protocol: Protocol) -> Counts {
    Counts::of(&metrics.tally(), protocol)
}

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
}

fn read(protocol: Protocol, counts: &Counts) -> Value {
    serde_json::from_str(&line("AWS/IoT", protocol, counts, clock())).unwrap()
}

/// The names that a line declares, and their values.
fn values(line: &Value) -> BTreeMap<&str, u64> {
    let definitions = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array();
    let names = definitions
        .unwrap()
        .iter()
        .map(|it| it["Name"].as_str().unwrap());
    names
        .map(|name| (name, line[name].as_u64().unwrap()))
        .collect()
}

#[test]
fn a_line_is_what_cloudwatch_extracts_metrics_from() {
    let metrics = kit::used(Instant::now());
    for (protocol, names) in [
        (Protocol::Mqtt, &NAMES[..]),
        // There is nothing else over HTTP.
        (Protocol::Http, &NAMES[7..15]),
    ] {
        let line = read(protocol, &counts(&metrics, protocol));
        assert_eq!(line["_aws"]["Timestamp"], 1_700_000_000_123_u64);
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        assert_eq!(directives.len(), 1);
        assert_eq!(directives[0]["Namespace"], "AWS/IoT");
        assert_eq!(
            directives[0]["Dimensions"],
            serde_json::json!([["Protocol"]])
        );
        assert_eq!(line["Protocol"], protocol.as_str());
        let definitions = directives[0]["Metrics"].as_array().unwrap();
        assert!(definitions.len() <= 100);
        assert!(definitions.iter().all(|it| it["Unit"] == "Count"));
        let found: Vec<_> = values(&line).into_keys().collect();
        assert_eq!(found, names);
        // Nothing but those, the dimension and the head.
        assert_eq!(line.as_object().unwrap().len(), names.len() + 2);
    }
}

#[test]
fn a_namespace_is_text_whatever_is_in_it() {
    let line = line("a\"b\n", Protocol::Http, &Counts::default(), clock());
    assert_eq!(line.matches('\n').count(), 1);
    let read: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(read["_aws"]["CloudWatchMetrics"][0]["Namespace"], "a\"b\n");
}

#[test]
fn metrics_are_those_sums() {
    let metrics = kit::used(Instant::now());
    let tally = metrics.tally();
    let packets = |what: M| tally.mqtt.of(what);
    // What `kit::used` counts grows with the place in the list, so some differences would be negative.
    metrics.mqtt().add(M::SubackSent, 50);
    metrics.mqtt().add(M::UnsubackSent, 50);
    metrics.mqtt().add(M::ConnackError, 50);
    let mqtt = read(Protocol::Mqtt, &counts(&metrics, Protocol::Mqtt));
    let http = read(Protocol::Http, &counts(&metrics, Protocol::Http));
    let (mqtt, http) = (values(&mqtt), values(&http));
    let connack = [packets(M::ConnackError), packets(M::ConnackAuthError)];
    let suback = [packets(M::SubackSent), packets(M::SubscribeError)];
    let unsuback = [packets(M::UnsubackSent), packets(M::UnsubscribeError)];
    let rows = [
        ("Connect.AuthError", connack[1]),
        ("Connect.ClientError", connack[0] + 50 - connack[1]),
        ("Connect.Success", packets(M::Connected)),
        ("Connect.ServerError", 0),
        ("Ping.Success", packets(M::Ping)),
        ("PublishIn.AuthError", packets(M::PublishAuthError)),
        ("PublishIn.ClientError", packets(M::PublishError)),
        ("PublishIn.ServerError", 2_000),
        ("PublishIn.Success", 1_000),
        ("PublishOut.Success", 8_000),
        ("PublishOut.ClientError", 0),
        ("Subscribe.ClientError", suback[1]),
        ("Subscribe.Success", suback[0] + 50 - suback[1]),
        ("Unsubscribe.ClientError", unsuback[1]),
        ("Unsubscribe.Success", unsuback[0] + 50 - unsuback[1]),
    ];
    for (name, expected) in rows {
        assert_eq!(mqtt[name], expected, "{name}");
    }
    let rows = [
        ("PublishIn.AuthError", 0),
        ("PublishIn.ClientError", 5_000),
        ("PublishIn.ServerError", 0),
        // Responses to commands among them.
        ("PublishIn.Success", 13_000),
        ("PublishOut.Success", 7_000),
    ];
    for (name, expected) in rows {
        assert_eq!(http[name], expected, "{name}");
    }
}

#[test]
fn a_line_has_what_was_counted_since_the_one_before() {
    let metrics = kit::unused(Instant::now());
    let mut written = Written::default();
    let mut next = |pings: u64| {
        metrics.mqtt().add(M::Ping, pings);
        let period = written.period(&counts(&metrics, Protocol::Mqtt));
        written.add(&period);
        values(&read(Protocol::Mqtt, &period))["Ping.Success"]
    };
    assert_eq!([3, 0, 4].map(&mut next), [3, 0, 4]);
}

#[test]
fn what_was_not_written_is_in_the_next_line() {
    let metrics = kit::unused(Instant::now());
    let mut written = Written::default();
    metrics.mqtt().add(M::Ping, 3);
    let _lost = written.period(&counts(&metrics, Protocol::Mqtt));
    metrics.mqtt().add(M::Ping, 4);
    let period = written.period(&counts(&metrics, Protocol::Mqtt));
    written.add(&period);
    assert_eq!(values(&read(Protocol::Mqtt, &period))["Ping.Success"], 7);
}

#[test]
fn a_gateway_that_starts_begins_at_what_it_has_counted_itself() {
    for _ in 0..2 {
        let metrics = kit::unused(Instant::now());
        metrics.mqtt().add(M::Ping, 5);
        let period = Written::default().period(&counts(&metrics, Protocol::Mqtt));
        assert_eq!(values(&read(Protocol::Mqtt, &period))["Ping.Success"], 5);
    }
}

#[test]
fn a_count_that_shrinks_for_a_moment_changes_no_sum() {
    let metrics = kit::unused(Instant::now());
    let mut written = Written::default();
    let mut next = |sent: u64, refused: u64| {
        metrics.mqtt().add(M::SubackSent, sent);
        metrics.mqtt().add(M::SubscribeError, refused);
        let period = written.period(&counts(&metrics, Protocol::Mqtt));
        written.add(&period);
        values(&read(Protocol::Mqtt, &period))["Subscribe.Success"]
    };
    // The second SUBACK refuses, but that is counted after the look.
    assert_eq!(next(2, 0), 2);
    assert_eq!(next(0, 1), 0);
    assert_eq!(next(2, 0), 1);
}
