//! A gateway's metrics after some traffic.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use weir_dialects::emqx::{self, Deployment, Mode, Nodes, Rates, Reading};
use weir_metrics::{
    Component, ComponentType, Direction, Figures, MessageType, Metrics, MqttCount, Name, Qos,
    Source, Status, Ttd, View,
};

const MQTT: Component = adapter("hono-mqtt");
const HTTP: Component = adapter("hono-http");

const fn adapter(name: &'static str) -> Component {
    Component {
        kind: ComponentType::Adapter,
        name,
    }
}

/// A process that was started 100 seconds ago.
#[derive(Debug)]
struct Process;

impl Source for Process {
    fn families(&self) -> &'static [Name] {
        &[
            Name::CertificateExpiry,
            Name::ConsumerQueue,
            Name::EventsStored,
            Name::ProcessMaxFds,
            Name::ProcessStart,
        ]
    }

    fn collect(&self, figures: &mut Figures) {
        figures.tell(Name::CertificateExpiry, &["mqtt"], 2_000_000_000.0);
        figures.tell(Name::ConsumerQueue, &["acme", "telemetry"], 5.0);
        // Of the seven.
        figures.tell(Name::ConsumerQueue, &["acme", "event"], 3.0);
        figures.tell(Name::EventsStored, &["acme"], 7.0);
        figures.tell(Name::ProcessMaxFds, &[], 1024.0);
        figures.tell(Name::ProcessStart, &[], 1_000.0);
    }
}

/// Metrics of a gateway that nobody has used.
pub(crate) fn unused(now: Instant) -> Metrics {
    let metrics = Metrics::new("h", now);
    metrics.announce(MQTT);
    metrics.announce(HTTP);
    metrics
}

/// Metrics with something in each number.
pub(crate) fn used(now: Instant) -> Metrics {
    let metrics = unused(now);
    metrics.register(Arc::new(Process));
    for (place, what) in MqttCount::ALL.iter().enumerate() {
        metrics.mqtt().add(*what, 100 + place as u64);
    }
    for what in [MqttCount::SubscriptionBegun, MqttCount::SubscriberBegun] {
        metrics.mqtt().add(what, 5);
    }
    let upload = |component, kind, qos, status, times: u64| {
        let meters = metrics.tenant(component, "acme");
        for _ in 0..times {
            let meter = meters.upload(kind, qos, status, Ttd::None);
            meter.record(Duration::ZERO, 1, now);
        }
    };
    let command = |component, direction, status, times: u64| {
        let meters = metrics.tenant(component, "acme");
        for _ in 0..times {
            let meter = meters.command(direction, status);
            meter.record(Duration::ZERO, 1, now);
        }
    };
    let (telemetry, event) = (MessageType::Telemetry, MessageType::Event);
    upload(MQTT, telemetry, Qos::AtMostOnce, Status::Forwarded, 1_000);
    upload(
        MQTT,
        telemetry,
        Qos::AtLeastOnce,
        Status::Undeliverable,
        2_000,
    );
    upload(HTTP, telemetry, Qos::AtMostOnce, Status::Forwarded, 3_000);
    upload(HTTP, event, Qos::AtLeastOnce, Status::Forwarded, 4_000);
    upload(HTTP, event, Qos::AtLeastOnce, Status::Unprocessable, 5_000);
    command(HTTP, Direction::Response, Status::Forwarded, 6_000);
    command(HTTP, Direction::OneWay, Status::Forwarded, 7_000);
    command(MQTT, Direction::Request, Status::Forwarded, 8_000);
    command(MQTT, Direction::OneWay, Status::Undeliverable, 9_000);
    metrics.tenant(MQTT, "acme").connected().opened(now);
    metrics.unauthenticated_connections(MQTT).add(2);
    metrics
}

/// A page by the last part of its path.
pub(crate) fn page(metrics: &Metrics, path: &str, mode: Mode) -> String {
    let now = Instant::now();
    let snapshot = metrics.snapshot(View::Native, now);
    let tally = metrics.tally();
    let mut rates = Rates::default();
    rates.observe(&tally, now);
    let reading = Reading {
        tally: &tally,
        figures: snapshot.figures(),
        rates,
        now: UNIX_EPOCH + Duration::from_secs(1_100),
    };
    let nodes = Nodes { mode, node: "h" };
    let deployment = Deployment {
        id: "b9110d11".to_owned(),
        kind: "dedicated".to_owned(),
        platform: "own".to_owned(),
    };
    match path {
        "stats" => emqx::stats(&reading, nodes),
        "auth" => emqx::auth(&reading, nodes),
        "data_integration" => emqx::data_integration(&reading, nodes),
        "namespaced_stats" => emqx::namespaced_stats(&reading, nodes, None),
        "deployment_metrics" => emqx::deployment_metrics(&reading, &deployment),
        "deployment_data_integration" => emqx::deployment_data_integration(&reading, &deployment),
        other => panic!("no page {other}"),
    }
}

/// All pages.
pub(crate) const PAGES: [&str; 6] = [
    "stats",
    "auth",
    "data_integration",
    "namespaced_stats",
    "deployment_metrics",
    "deployment_data_integration",
];

/// The value of a series as it is written.
pub(crate) fn value(page: &str, series: &str) -> Option<f64> {
    let mut lines = page.lines();
    let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}
