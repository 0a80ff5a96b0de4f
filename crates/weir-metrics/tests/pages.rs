//! What stands on a page.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::{Duration, Instant, UNIX_EPOCH};

use weir_metrics::{
    AmqpType, AttemptOutcome, AuthenticationOutcome, ClientType, Component, ComponentType,
    DeliveryOutcome, Direction, Format, MessageType, Metrics, Qos, Status, TraceId, Ttd, View,
    cipher_suite, render,
};

const MQTT: Component = Component {
    kind: ComponentType::Adapter,
    name: "hono-mqtt",
};

const COMMON: &str = "component_name=\"hono-mqtt\",component_type=\"adapter\",host=\"edge-1\"";

fn assert_lines(page: &str, expected: &[String]) {
    for line in expected {
        let found = page.lines().any(|it| it == line);
        assert!(found, "{line} is missing in\n{page}");
    }
}

#[test]
fn an_upload_is_exposed_as_hono_exposes_it_and_as_a_histogram() {
    let start = Instant::now();
    let metrics = Metrics::new("edge-1", start);
    let meters = metrics.tenant(MQTT, "acme");
    let meter = meters.upload(
        MessageType::Event,
        Qos::AtLeastOnce,
        Status::Forwarded,
        Ttd::None,
    );
    meter.record(Duration::from_millis(1500), 100, start);
    meter.record(Duration::from_micros(700), 0, start);
    let page = metrics
        .snapshot(View::Hono, start)
        .write(Format::Text, UNIX_EPOCH);
    let labels = format!(
        "{COMMON},tenant=\"acme\",type=\"event\",status=\"forwarded\",qos=\"1\",ttd=\"none\""
    );
    let duration = "hono_telemetry_processing_duration_seconds";
    let payload = "hono_telemetry_payload_bytes";
    assert_lines(
        &page,
        &[
            format!("# TYPE {duration} histogram"),
            format!("{duration}_bucket{{{labels},le=\"0.0005\"}} 0"),
            format!("{duration}_bucket{{{labels},le=\"0.001\"}} 1"),
            format!("{duration}_bucket{{{labels},le=\"1.0\"}} 1"),
            format!("{duration}_bucket{{{labels},le=\"2.5\"}} 2"),
            format!("{duration}_bucket{{{labels},le=\"60.0\"}} 2"),
            format!("{duration}_bucket{{{labels},le=\"+Inf\"}} 2"),
            format!("{duration}_count{{{labels}}} 2"),
            format!("{duration}_sum{{{labels}}} 1.5007"),
            format!("# TYPE {duration}_max gauge"),
            format!("{duration}_max{{{labels}}} 1.5"),
            format!("{payload}_bucket{{{labels},le=\"0.0\"}} 1"),
            format!("{payload}_bucket{{{labels},le=\"64.0\"}} 1"),
            format!("{payload}_bucket{{{labels},le=\"256.0\"}} 2"),
            format!("{payload}_count{{{labels}}} 2"),
            format!("{payload}_sum{{{labels}}} 100"),
            format!("{payload}_max{{{labels}}} 100"),
        ],
    );
}

#[test]
fn connected_time_is_device_seconds() {
    let start = Instant::now();
    let metrics = Metrics::new("edge-1", start);
    let meters = metrics.tenant(MQTT, "acme");
    meters.connected().opened(start);
    meters.connected().opened(start + Duration::from_secs(10));
    meters.connected().closed(start + Duration::from_secs(20));
    // One who read the clock before that and comes after it: nothing is counted twice.
    metrics.update_connected_time(start + Duration::from_secs(12));
    let page = render(&metrics, start + Duration::from_secs(25));
    // 10 s with one, 10 s with two, 5 s with one.
    let sum = "hono_connections_authenticated_duration_seconds_sum";
    let labels = format!("{COMMON},tenant=\"acme\"");
    assert_lines(
        &page,
        &[
            format!("{sum}{{{labels}}} 35"),
            format!("hono_connections_authenticated{{{labels}}} 1"),
        ],
    );
    assert_eq!(meters.connected().open(), 1);
}

#[test]
fn what_dashboards_expect_is_there_from_the_start() {
    let start = Instant::now();
    let metrics = Metrics::new("edge-1", start);
    metrics.announce(MQTT);
    metrics.unauthenticated_connections(MQTT);
    let page = metrics
        .snapshot(View::Hono, start)
        .write(Format::Text, UNIX_EPOCH);
    let mut expected = vec![
        format!("hono_connections_unauthenticated{{{COMMON}}} 0"),
        "hono_authentication_attempts_total{component_name=\"hono-auth\",component_type=\"service\",\
         host=\"edge-1\",outcome=\"succeeded\",client_type=\"dispatch-router\"} 0"
            .to_owned(),
    ];
    let unknown = format!("{COMMON},tenant=\"UNKNOWN\"");
    let duration = "hono_telemetry_processing_duration_seconds_count";
    let statuses = ["forwarded", "undeliverable", "unprocessable"];
    let each = statuses.map(|status| [("telemetry", status, 1), ("event", status, 1)]);
    // What is undeliverable is shown of each quality of service apart.
    let apart = ("telemetry", "undeliverable", 0);
    for (kind, status, qos) in each.into_iter().flatten().chain([apart]) {
        expected.push(format!(
            "{duration}{{{unknown},type=\"{kind}\",status=\"{status}\",qos=\"{qos}\",ttd=\"none\"}} 0"
        ));
    }
    for status in statuses {
        expected.push(format!(
            "hono_command_payload_bytes_sum{{{unknown},status=\"{status}\",direction=\"one-way\"}} 0"
        ));
    }
    assert_lines(&page, &expected);
    // Every scrape has them, of each adapter.
    assert_eq!(page.matches("le=\"+Inf\"").count(), 2 * 10);
}

#[test]
fn label_values_are_escaped() {
    let start = Instant::now();
    let metrics = Metrics::new("a\"b\\c\n", start);
    metrics.connection_attempt(MQTT, None, AttemptOutcome::Unauthorized, None);
    let page = render(&metrics, start);
    assert!(page.contains(r#"host="a\"b\\c\n""#), "{page}");
    let attempt = r#"tenant="UNKNOWN",outcome="unauthorized",cipher_suite="UNKNOWN"} 1"#;
    assert!(page.contains(attempt), "{page}");
}

#[test]
fn everything_else_of_the_facade_is_counted_under_its_labels() {
    let start = Instant::now();
    let metrics = Metrics::new("edge-1", start);
    let meters = metrics.tenant(MQTT, "acme");
    let suite = cipher_suite("TLS13_AES_128_GCM_SHA256");
    metrics.connection_attempt(MQTT, Some("acme"), AttemptOutcome::Succeeded, Some(suite));
    metrics.authentication_attempt(AuthenticationOutcome::Unauthorized, ClientType::AuthService);
    meters
        .command(Direction::OneWay, Status::Unprocessable)
        .record(Duration::from_secs(1), 10, start);
    meters
        .amqp_delivery(AmqpType::Event, DeliveryOutcome::Released)
        .record(Duration::from_secs(2), start, None);
    meters
        .consumer_wait(AmqpType::Telemetry)
        .record(Duration::from_secs(3), start, None);
    meters.amqp_no_credit(AmqpType::Telemetry);
    meters.amqp_timeout(AmqpType::CommandResponse);
    meters.abandoned(Status::Undeliverable);
    let page = render(&metrics, start);
    let tenant = format!("{COMMON},tenant=\"acme\"");
    let auth = "component_name=\"hono-auth\",component_type=\"service\",host=\"edge-1\"";
    assert_lines(
        &page,
        &[
            format!(
                "hono_connections_attempts_total{{{tenant},outcome=\"succeeded\",\
                 cipher_suite=\"TLS_AES_128_GCM_SHA256\"}} 1"
            ),
            format!(
                "hono_authentication_attempts_total{{{auth},outcome=\"unauthorized\",\
                 client_type=\"auth-service\"}} 1"
            ),
            format!(
                "hono_command_processing_duration_seconds_sum{{{tenant},status=\"unprocessable\",\
                 direction=\"one-way\"}} 1"
            ),
            format!(
                "hono_amqp_delivery_duration_seconds_sum{{{tenant},type=\"event\",\
                 outcome=\"released\"}} 2"
            ),
            format!("weir_consumer_wait_seconds_sum{{{tenant},type=\"telemetry\"}} 3"),
            format!("hono_amqp_nocredit_total{{{tenant},type=\"telemetry\"}} 1"),
            format!("hono_amqp_timeout_total{{{tenant},type=\"command_response\"}} 1"),
            format!("weir_uplinks_abandoned_total{{{tenant},status=\"undeliverable\"}} 1"),
        ],
    );
}

#[test]
fn examples_of_traces_are_in_open_metrics_alone() {
    let start = Instant::now();
    let metrics = Metrics::new("edge-1", start);
    let meters = metrics.tenant(MQTT, "acme");
    let meter = meters.command(Direction::Response, Status::Forwarded);
    let trace = TraceId(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    meter.record_traced(Duration::from_micros(700), 5, start, Some(trace));
    meter.record(Duration::from_micros(900), 5, start);
    let snapshot = metrics.snapshot(View::Hono, start + Duration::from_millis(1500));
    let wall_clock = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let page = snapshot.write(Format::OpenMetrics, wall_clock);
    let examples: Vec<_> = page.lines().filter(|line| line.contains(" # {")).collect();
    let labels = format!(
        "{COMMON},tenant=\"acme\",status=\"forwarded\",direction=\"response\",le=\"0.001\""
    );
    let expected = format!(
        "hono_command_processing_duration_seconds_bucket{{{labels}}} 2 \
         # {{trace_id=\"0af7651916cd43dd8448eb211c80319c\"}} 0.0007 1799999998.500"
    );
    assert_eq!(examples, [expected]);
    let plain = snapshot.write(Format::Text, wall_clock);
    assert!(!plain.contains("trace_id"), "{plain}");
}

#[test]
fn open_metrics_ends_with_its_mark_and_names_counters_without_suffix() {
    let metrics = Metrics::new("edge-1", Instant::now());
    metrics.connection_attempt(MQTT, None, AttemptOutcome::Succeeded, None);
    let page = metrics
        .snapshot(View::Hono, Instant::now())
        .write(Format::OpenMetrics, UNIX_EPOCH);
    assert!(page.ends_with("\n# EOF\n"), "{page}");
    assert_lines(
        &page,
        &[
            "# TYPE hono_connections_attempts counter".to_owned(),
            "# UNIT hono_telemetry_payload_bytes bytes".to_owned(),
        ],
    );
    assert!(
        page.contains("\nhono_connections_attempts_total{"),
        "{page}"
    );
}
