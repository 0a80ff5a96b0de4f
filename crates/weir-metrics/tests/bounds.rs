//! However many tenants come and go, there are only so many series, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::{Duration, Instant, UNIX_EPOCH};

use weir_metrics::{
    AttemptOutcome, Component, ComponentType, Format, MessageType, Metrics, Options, Qos, Status,
    Ttd, View,
};

const MQTT: Component = Component {
    kind: ComponentType::Adapter,
    name: "hono-mqtt",
};

const VISITORS: usize = 100_000;

fn metrics(max_tenants: usize, tenant_idle_timeout: Duration, now: Instant) -> Metrics {
    let options = Options {
        max_tenants,
        tenant_idle_timeout,
    };
    Metrics::with_options("h", now, options)
}

/// A device of this tenant connects, sends one message, and goes.
fn visit(metrics: &Metrics, tenant: usize, now: Instant) {
    let tenant = format!("tenant-{tenant}");
    metrics.connection_attempt(MQTT, Some(&tenant), AttemptOutcome::Succeeded, None);
    let meters = metrics.tenant(MQTT, &tenant);
    meters.connected().opened(now);
    let meter = meters.upload(
        MessageType::Telemetry,
        Qos::AtLeastOnce,
        Status::Forwarded,
        Ttd::None,
    );
    meter.record(Duration::from_micros(700), 100, now);
    meters.connected().closed(now);
}

fn series(metrics: &Metrics, now: Instant) -> Vec<String> {
    let page = metrics
        .snapshot(View::Hono, now)
        .write(Format::Text, UNIX_EPOCH);
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// The sum of a family over all tenants.
fn total(series: &[String], name: &str) -> f64 {
    let lines = series.iter();
    let lines = lines.filter(|line| line.split('{').next() == Some(name));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[test]
fn a_hundred_thousand_tenants_make_no_more_series_than_there_is_room_for() {
    let now = Instant::now();
    let metrics = metrics(100, Duration::ZERO, now);
    // One more than there is room for: from here on OVERFLOW is there.
    (0..101).for_each(|tenant| visit(&metrics, tenant, now));
    let full = series(&metrics, now).len();
    (101..VISITORS).for_each(|tenant| visit(&metrics, tenant, now));
    let series = series(&metrics, now);
    assert_eq!(series.len(), full);
    for (name, expected) in [
        ("hono_telemetry_processing_duration_seconds_count", 1.0),
        ("hono_telemetry_payload_bytes_sum", 100.0),
        ("hono_connections_attempts_total", 1.0),
    ] {
        assert_eq!(total(&series, name), expected * VISITORS as f64, "{name}");
    }
    let overflow = series.iter().find(|line| {
        line.starts_with("hono_telemetry_payload_bytes_count")
            && line.contains("tenant=\"OVERFLOW\"")
    });
    let expected = format!(" {}", VISITORS - 100);
    assert!(overflow.unwrap().ends_with(&expected), "{overflow:?}");
}

#[test]
fn tenants_that_have_gone_make_room_for_those_that_come() {
    let start = Instant::now();
    let minute = Duration::from_secs(60);
    let metrics = metrics(100, minute, start);
    let mut most = 0;
    for (round, tenant) in (0..VISITORS / 100).step_by(50).enumerate() {
        let now = start + minute * u32::try_from(round).unwrap();
        metrics.upkeep(now);
        (tenant..tenant + 50).for_each(|tenant| visit(&metrics, tenant, now));
        let series = series(&metrics, now);
        assert!(!series.iter().any(|line| line.contains("OVERFLOW")));
        most = most.max(series.len());
    }
    let of = |tenants: usize| {
        let metrics = self::metrics(tenants, Duration::ZERO, start);
        (0..tenants).for_each(|tenant| visit(&metrics, tenant, start));
        series(&metrics, start).len()
    };
    // Those of two rounds are there at most, and in the end nobody.
    assert_eq!(most, of(100));
    let later = start + minute * 100;
    metrics.upkeep(later);
    metrics.upkeep(later + minute);
    assert_eq!(series(&metrics, later + minute).len(), of(0));
}
