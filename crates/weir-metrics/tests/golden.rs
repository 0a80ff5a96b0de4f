//! Both views in both formats with one series of everything, held against files in `golden/`, which
//! `interop/test_metrics_formats.py` has read by Prometheus' own parsers; and the reference in
//! `docs/metrics.md`, which is written from the same table.
//!
//! `UPDATE_GOLDEN=1 cargo test -p weir-metrics` writes the files anew, `UPDATE_DOCS=1` the reference.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use weir_metrics::{
    AmqpType, AttemptOutcome, AuthenticationOutcome, ClientType, Component, ComponentType,
    DeliveryOutcome, Direction, Figures, Format, Kind, MessageType, Metrics, Name, Qos, Scope,
    Source, Status, TraceId, Ttd, View,
};

const MQTT: Component = Component {
    kind: ComponentType::Adapter,
    name: "hono-mqtt",
};

/// Has a figure of every family that is asked for.
#[derive(Debug)]
struct Everything;

impl Source for Everything {
    fn families(&self) -> &'static [Name] {
        Name::ALL
    }

    fn collect(&self, figures: &mut Figures) {
        let asked = Name::ALL.iter().filter(|name| name.is_collected());
        for name in asked {
            figures.tell(*name, &vec!["value"; name.labels().len()], 1.0);
        }
    }
}

/// Has one of everything.
fn metrics(now: Instant) -> Metrics {
    let metrics = Metrics::new("host", now);
    metrics.unauthenticated_connections(MQTT);
    metrics.register(Arc::new(Everything));
    let meters = metrics.tenant(MQTT, "acme");
    meters.connected().opened(now);
    meters.abandoned(Status::Forwarded);
    meters.amqp_no_credit(AmqpType::Event);
    meters.amqp_timeout(AmqpType::Event);
    let delivery = meters.amqp_delivery(AmqpType::Event, DeliveryOutcome::Accepted);
    delivery.record(Duration::from_millis(1), now, None);
    let wait = meters.consumer_wait(AmqpType::Event);
    wait.record(Duration::from_millis(1), now, None);
    let upload = meters.upload(
        MessageType::Telemetry,
        Qos::AtMostOnce,
        Status::Forwarded,
        Ttd::None,
    );
    let trace = TraceId(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
    upload.record_traced(Duration::from_millis(1), 100, now, Some(trace));
    let command = meters.command(Direction::Request, Status::Undeliverable);
    command.record(Duration::from_secs(100), 2_000_000, now);
    metrics.connection_attempt(MQTT, None, AttemptOutcome::Succeeded, None);
    metrics
}

#[test]
fn names_types_labels_and_helps_are_as_they_were_agreed() {
    let now = Instant::now();
    let metrics = metrics(now);
    let wall_clock = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for (view, file) in [(View::Hono, "hono"), (View::Native, "native")] {
        let snapshot = metrics.snapshot(view, now);
        for (format, ending) in [
            (Format::Text, "txt"),
            (Format::OpenMetrics, "openmetrics.txt"),
        ] {
            let path = format!("tests/golden/{file}.{ending}");
            let page = snapshot.write(format, wall_clock);
            check(Path::new(&path), &page, "UPDATE_GOLDEN");
        }
    }
}

#[test]
fn no_family_is_missing_on_the_pages() {
    let now = Instant::now();
    let page = weir_metrics::render(&metrics(now), now);
    for name in Name::ALL {
        let (name, count) = (name.as_str(), format!("{}_count", name.as_str()));
        let is_sample = |line: &str| {
            let series = line.split([' ', '{']).next();
            series == Some(name) || series == Some(&count)
        };
        assert!(page.lines().any(is_sample), "{name}");
    }
}

#[test]
fn the_reference_in_docs_is_up_to_date() {
    let path = Path::new("../../docs/metrics.md");
    check(path, &reference(), "UPDATE_DOCS");
}

fn check(path: &Path, expected: &str, variable: &str) {
    if std::env::var_os(variable).is_some() {
        std::fs::write(path, expected).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == expected,
        "{} is not up to date: {variable}=1 cargo test -p weir-metrics",
        path.display()
    );
}

fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    for (view, is_of_jvm, title) in [
        (View::Hono, false, "## Hono's, at `/prometheus`"),
        (View::Hono, true, JVM),
        (View::Native, false, "## Weir's own, at `/metrics`"),
    ] {
        let _ = writeln!(
            page,
            "\n{title}\n\n| family | type | labels | meaning |\n|---|---|---|---|"
        );
        let belongs = |name: &&Name| (name.view(), name.is_of_jvm()) == (view, is_of_jvm);
        for name in Name::ALL.iter().filter(belongs) {
            let kind = match name.kind() {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram, `_max`",
                Kind::Info => "info",
                Kind::Summary => "summary, `_max`",
            };
            let mut labels: Vec<_> = name.labels().iter().map(|it| format!("`{it}`")).collect();
            if name.scope() != Scope::Process {
                labels.insert(0, "component".to_owned());
            }
            let (text, labels) = (name.as_str(), labels.join(", "));
            let _ = writeln!(page, "| `{text}` | {kind} | {labels} | {} |", name.help());
        }
    }
    page.push_str("\n## Values of labels\n\n| label | values |\n|---|---|\n");
    let mut row = |label: &str, values: &[&str]| {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        let _ = writeln!(page, "| {label} | {} |", values.join(", "));
    };
    row(
        "`type` of a message",
        &MessageType::ALL.map(MessageType::as_str),
    );
    row("`type` over AMQP", &AmqpType::ALL.map(AmqpType::as_str));
    row("`status`", &Status::ALL.map(Status::as_str));
    row("`qos`", &Qos::ALL.map(Qos::as_str));
    row("`ttd`", &Ttd::ALL.map(Ttd::as_str));
    row("`direction`", &Direction::ALL.map(Direction::as_str));
    row(
        "`outcome` of an attempt to connect",
        &AttemptOutcome::ALL.map(AttemptOutcome::as_str),
    );
    row(
        "`outcome` of an AMQP delivery",
        &DeliveryOutcome::ALL.map(DeliveryOutcome::as_str),
    );
    row(
        "`outcome` of an attempt to authenticate",
        &AuthenticationOutcome::ALL.map(AuthenticationOutcome::as_str),
    );
    row("`client_type`", &ClientType::ALL.map(ClientType::as_str));
    row("`cache`", &["tenant", "anchor", "assertion", "credentials"]);
    row(
        "`listener`",
        &["http", "management", "mqtt", "northbound.amqp"],
    );
    row("`service`", &["registry", "event-store"]);
    page
}

const JVM: &str = "\
## Those of a Java virtual machine, at `/prometheus` with `compat.jvm_names`

Hono's dashboard *JVM details* asks for them, and there is no such machine here. With `compat.jvm_names = true` they are there for
as long as that dashboard is looked at: each has what comes nearest, and what has no counterpart is 0. `area` is always `nonheap`.
The component is `weir`, one for the whole process, because the dashboard adds them up. For rules and dashboards of your own take
the `process_*`, `weir_runtime_*` and `weir_log_*` of `/metrics`.";

const INTRODUCTION: &str = "\
# Metrics

Generated from the source; `UPDATE_DOCS=1 cargo test -p weir-metrics` writes it anew.

Both pages are served by the [health listener](operator-guide.md#probes-and-metrics), port 8088, as text 0.0.4 or, to a
scraper that asks for it by `Accept`, as OpenMetrics 1.0.0. A family is on its page from the first scrape, or as soon as the
part of the gateway that it is about is there.

* **component** stands for three labels: `component_type` (`adapter` or `service`), `component_name` (`hono-http`,
  `hono-mqtt`, `hono-command-router`, …) and `host`, the machine's name.
* **`tenant`** is a tenant's id, `UNKNOWN` where it is not known or there is no such tenant, or `OVERFLOW`: at most
  `metrics.max_tenants` tenants have series of their own, all others share those of `OVERFLOW`
  (`weir_metrics_tenants_folded_total` counts them). A real tenant that is called so shares them too. With
  `metrics.tenant_idle_timeout` the series of tenants without traffic and connections are removed.
* **Histograms** have `_bucket`, `_sum` and `_count`. Durations have buckets from half a millisecond to ten seconds, and up to
  a minute for devices that wait for a command; payloads from nothing to 1 MiB. Bounds are written as decimals
  (`le=\"1.0\"`). Beside them, and beside summaries, is a gauge `_max`: the largest value of the last two to three minutes.
* **Examples**: in OpenMetrics a bucket of a duration has the `trace_id` of its latest message that is traced.
* `status` is `forwarded` (somebody took it), `unprocessable` (the sender's fault) or `undeliverable` (anything else).
  `weir_uplinks_abandoned_total` counts messages whose device had gone before their outcome was known; they are in the other
  series too, as what became of them.
* **AMQP**: a delivery to an application is measured until its disposition, so messages that an application wants settled
  already are not. `hono_amqp_nocredit_total` counts messages that nobody consumes too, for which there is no credit in a
  messaging network either. Events wait in the store and not for credit. Who receives dead letters is no consumer.
* `cipher_suite` is the registered name of the TLS cipher suite, `UNKNOWN` without TLS. `client_type` is `dispatch-router`
  for logins of applications over AMQP, `auth-service` for requests to the management API, and `unknown` for scrapers of EMQX's
  names.
* `weir_refusals_total` has each refusal of a device by its `reason`, which is the one in the log
  ([all of them](outcomes.md)): of a `connection`, of a `message` (Hono's families have those too, most of them), or of a
  `request` that never became a message. A series is there from the first refusal of its kind on.
* No device, client id or topic is ever a label.
";
