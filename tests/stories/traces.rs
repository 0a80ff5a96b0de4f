//! What a collector of OpenTelemetry is told, and what travels on with messages ([`context`]) and commands
//! ([`commands`]).

mod collector;
mod commands;
mod context;

use std::time::Duration;

use fe2o3_amqp::types::primitives::Value;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::kit::{
    Accepted, Answer, Application, Device, Gateway, MqttDevice, basic, story, symbol_annotation,
};
use collector::Collector;

const PARENT: &str = "b7ad6b7169203331";

/// A trace of one's own, and how somebody says that a message belongs to it.
fn trace(is_recorded: bool) -> (String, String) {
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let parent = format!("00-{trace}-{PARENT}-0{}", u8::from(is_recorded));
    (trace, parent)
}

async fn start(collector: &Collector, more: &[(&str, &str)]) -> Gateway {
    let settings = collector.settings();
    let settings = settings.iter().map(|(name, value)| (*name, &**value));
    let settings: Vec<_> = settings.chain(more.iter().copied()).collect();
    Gateway::start_with(&settings).await
}

/// What an application is told of the trace: the fields of `traceparent`, and `tracestate`.
fn told_of(message: &Accepted) -> ([String; 4], Option<String>) {
    let Some(Value::Map(map)) = symbol_annotation(message, "x-opt-trace-context") else {
        panic!("no trace context");
    };
    let text = |name: &str| match map.get(&Value::String(name.to_owned())) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    };
    let fields = text("traceparent").unwrap();
    let fields: Vec<_> = fields.split('-').map(str::to_owned).collect();
    (fields.try_into().unwrap(), text("tracestate"))
}

async fn telemetry(gateway: &Gateway, device: &Device) -> Application {
    Application::consume(gateway, &format!("telemetry/{}", device.tenant)).await
}

/// Has a message sent over HTTP that belongs to a trace, and taken. Returns what its application is told.
async fn upload(
    gateway: &Gateway,
    device: &Device,
    application: &mut Application,
    traceparent: Option<&str>,
) -> [String; 4] {
    let mut request = basic(
        reqwest::Client::new().post(gateway.http("/telemetry")),
        device,
    );
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let request = request.header("QoS-Level", "1").body("x").send();
    let (answer, message) = tokio::join!(request, application.accept_next());
    assert_eq!(answer.unwrap().status(), 202);
    told_of(&message).0
}

/// The same over an MQTT connection that stays open.
async fn publish(
    mqtt: &mut MqttDevice,
    application: &mut Application,
    traceparent: Option<&str>,
) -> [String; 4] {
    let bag = traceparent.map_or(String::new(), |parent| format!("/?traceparent={parent}"));
    let topic = format!("telemetry{bag}");
    let (answer, message) = tokio::join!(mqtt.publish(&topic, "x"), application.accept_next());
    assert_eq!(answer, Answer::Acknowledged { success: true });
    told_of(&message).0
}

async fn sampling(gateway: &Gateway, tenant: &str, tracing: serde_json::Value) {
    let path = format!("tenants/{tenant}");
    let body = json!({ "tracing": tracing });
    gateway.manage(Method::PUT, &path, &body).await;
}

#[test]
fn a_page_of_metrics_says_which_trace_to_look_at() {
    story(async {
        let collector = Collector::start().await;
        let gateway = start(&collector, &[]).await;
        let device = gateway.tenant_and_device().await;
        let mut application = telemetry(&gateway, &device).await;
        let (trace, parent) = trace(true);
        upload(&gateway, &device, &mut application, Some(&parent)).await;
        let page = reqwest::Client::new()
            .get(gateway.health("/prometheus"))
            .header("Accept", "application/openmetrics-text; version=1.0.0")
            .send();
        let page = page.await.unwrap().text().await.unwrap();
        let exemplar = format!("# {{trace_id=\"{trace}\"}}");
        let series = "hono_telemetry_processing_duration_seconds_bucket{";
        let is_told = |line: &str| line.starts_with(series) && line.contains(&exemplar);
        assert!(page.lines().any(is_told), "{page}");
    });
}

#[test]
fn a_tenant_says_which_of_its_devices_are_traced() {
    story(async {
        let mut collector = Collector::start().await;
        let never = ("WEIR__TRACES__SAMPLER", "always_off");
        let gateway = start(&collector, &[never]).await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let mut application = telemetry(&gateway, &device).await;
        // It stays connected: what is changed holds for its next message.
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        let own = |mode: &str, others: &str| json!({"sampling-mode": others, "sampling-mode-per-auth-id": {"sensor": mode}});
        let mut unrecorded = Vec::new();
        // What the tenant says; whether the device wants it recorded, if it says so; whether it is.
        for (tracing, wanted, is_recorded) in [
            (json!({}), None, false),
            (json!({}), Some(true), true),
            (json!({}), Some(false), false),
            (json!({"sampling-mode": "all"}), None, true),
            (json!({"sampling-mode": "all"}), Some(false), true),
            (json!({"sampling-mode": "none"}), None, false),
            (json!({"sampling-mode": "none"}), Some(true), false),
            (own("all", "none"), None, true),
            (own("none", "all"), Some(true), false),
            (own("default", "none"), Some(true), true),
            (own("default", "all"), None, false),
            // The last one is recorded: what came before it has come to the collector, or never will.
            (json!({"sampling-mode": "all"}), None, true),
        ] {
            sampling(&gateway, tenant, tracing.clone()).await;
            for is_mqtt in [true, false] {
                let said = wanted.map(trace);
                let parent = said.as_ref().map(|(_, parent)| &**parent);
                let [_, heard, span, flags] = match is_mqtt {
                    true => publish(&mut mqtt, &mut application, parent).await,
                    false => upload(&gateway, &device, &mut application, parent).await,
                };
                let row = format!("{tracing} {wanted:?} {is_mqtt}");
                if let Some((trace, _)) = &said {
                    assert_eq!(&heard, trace, "{row}");
                }
                assert_eq!(flags == "01", is_recorded, "{row}");
                if is_recorded {
                    let send = collector.of(&heard, "send telemetry").await;
                    assert_eq!(send.id, span, "{row}");
                } else {
                    // Then it is the device's own span that the application's is part of, unless what the
                    // device has said does not hold.
                    let holds = wanted == Some(false);
                    assert_eq!(span == PARENT, holds, "{row}");
                    unrecorded.push(heard);
                }
            }
        }
        let told = |trace: &String| collector.seen.iter().any(|span| span.trace == *trace);
        assert!(unrecorded.len() == 12 && !unrecorded.iter().any(told));
    });
}

#[test]
fn what_was_refused_is_told_with_the_reason() {
    story(async {
        let mut collector = Collector::start().await;
        let gateway = start(&collector, &[]).await;
        let device = gateway.tenant_and_device().await;
        let client = reqwest::Client::new();
        let stranger = |endpoint: &str| format!("/{endpoint}/{}/stranger", device.tenant);
        // What nobody takes has been on its way to an application; what may not be sent has not.
        let rows = [
            (
                Method::POST,
                "/telemetry".to_owned(),
                503,
                "telemetry",
                true,
            ),
            (
                Method::POST,
                "/telemetry?hono-ttd=5".to_owned(),
                503,
                "telemetry",
                true,
            ),
            (Method::PUT, stranger("telemetry"), 404, "telemetry", false),
            (Method::PUT, stranger("event"), 404, "event", false),
        ];
        for (method, path, status, endpoint, is_handed_on) in rows {
            let (trace, parent) = trace(true);
            let request = basic(client.request(method, gateway.http(&path)), &device)
                .header("traceparent", parent)
                .header("QoS-Level", "1")
                .body("x");
            assert_eq!(request.send().await.unwrap().status(), status, "{path}");
            let upload = collector.of(&trace, &format!("upload {endpoint}")).await;
            assert_eq!(upload.parent, PARENT);
            assert_eq!(upload.says("status"), status.to_string(), "{path}");
            assert!(!upload.says("reason").is_empty(), "{path}");
            assert!(upload.error.is_some_and(|text| !text.is_empty()), "{path}");
            let inner = collector.seen.iter().find(|span| span.parent == upload.id);
            assert_eq!(inner.is_some(), is_handed_on, "{path}");
            assert!(inner.is_none_or(|send| send.error.is_some()), "{path}");
        }
    });
}

#[test]
fn spans_go_by_each_protocol_with_tls_and_a_login() {
    story(async {
        for protocol in ["grpc", "http/protobuf"] {
            let mut collector = Collector::with_tls().await;
            let more = [
                ("WEIR__TRACES__PROTOCOL", protocol),
                ("WEIR__TRACES__SERVICE_NAME", "gate-1"),
                (
                    "WEIR__TRACES__HEADERS",
                    "{ authorization = \"Bearer s3cret\" }",
                ),
                (
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "service.namespace=acme,deployment.environment.name=test,service.name=no",
                ),
            ];
            let gateway = start(&collector, &more).await;
            let device = gateway.tenant_and_device().await;
            let mut application = telemetry(&gateway, &device).await;
            // Nobody has decided about this one: the sampler takes it.
            let [_, trace, id, flags] = upload(&gateway, &device, &mut application, None).await;
            assert_eq!(flags, "01", "{protocol}");
            let upload = collector.of(&trace, "upload telemetry").await;
            assert_eq!(upload.parent, "", "{protocol}");
            assert_eq!(collector.of(&trace, "send telemetry").await.id, id);
            assert_eq!(upload.login.as_deref(), Some("Bearer s3cret"), "{protocol}");
            for (name, expected) in [
                ("service.name", "gate-1"),
                ("service.namespace", "acme"),
                ("deployment.environment.name", "test"),
            ] {
                assert_eq!(upload.resource[name], expected, "{protocol}: {name}");
            }
            assert!(!gateway.log().contains("s3cret"), "{protocol}");
        }
    });
}

#[test]
fn a_collector_that_is_away_for_a_while_misses_nothing() {
    story(async {
        for protocol in ["grpc", "http/protobuf"] {
            let mut collector = Collector::with_tls().await;
            let more = [
                ("WEIR__TRACES__PROTOCOL", protocol),
                ("WEIR__TRACES__TIMEOUT", "60000"),
                ("WEIR__TRACES__SCHEDULE_DELAY", "10"),
            ];
            let gateway = start(&collector, &more).await;
            let device = gateway.tenant_and_device().await;
            let mut application = telemetry(&gateway, &device).await;
            for is_there in [true, false] {
                if !is_there {
                    collector.leave(5).await;
                }
                let [_, trace, id, _] = upload(&gateway, &device, &mut application, None).await;
                assert_eq!(collector.of(&trace, "send telemetry").await.id, id);
            }
            let name = "weir_traces_spans_total";
            let failed = gateway.native().await.sum(name, &[("result", "failed")]);
            assert_eq!(failed, 0.0, "{protocol}");
        }
    });
}

#[test]
fn spans_that_wait_are_sent_at_the_end() {
    story(async {
        let mut collector = Collector::start().await;
        let late = ("WEIR__TRACES__SCHEDULE_DELAY", "60000");
        let gateway = start(&collector, &[late]).await;
        let device = gateway.tenant_and_device().await;
        let mut application = telemetry(&gateway, &device).await;
        let [_, trace, id, _] = upload(&gateway, &device, &mut application, None).await;
        gateway.terminate();
        assert!(gateway.wait().success());
        collector.take_note();
        let send = collector.seen.iter().find(|span| span.id == id).unwrap();
        assert_eq!((&send.trace, &*send.name), (&trace, "send telemetry"));
    });
}

#[test]
fn nothing_is_told_unless_it_is_wanted_and_what_devices_say_goes_on() {
    story(async {
        let mut collector = Collector::start().await;
        let gateway = start(&collector, &[("WEIR__TRACES__ENABLED", "false")]).await;
        let device = gateway.tenant_and_device().await;
        sampling(&gateway, &device.tenant, json!({"sampling-mode": "all"})).await;
        let mut application = telemetry(&gateway, &device).await;
        for is_recorded in [true, false] {
            let (_, parent) = trace(is_recorded);
            let heard = upload(&gateway, &device, &mut application, Some(&parent)).await;
            assert_eq!(heard.join("-"), parent);
        }
        let [_, _, _, flags] = upload(&gateway, &device, &mut application, None).await;
        assert_eq!(flags, "00");
        gateway.terminate();
        assert!(gateway.wait().success());
        collector.take_note();
        assert_eq!(collector.seen.len(), 0, "{:?}", collector.seen);
    });
}

#[test]
fn messages_go_on_without_a_collector_and_what_is_lost_is_counted() {
    story(async {
        // One that is not there, and one that takes everything and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let rows = [(address(&gone), "failed"), (address(&silent), "dropped")];
        drop(gone);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = silent.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut read = [0; 1024];
                    while socket.read(&mut read).await.is_ok_and(|count| count > 0) {}
                });
            }
        });
        for (address, result) in rows {
            let url = format!("http://{address}");
            let timeout = if result == "failed" { "200" } else { "10000" };
            let gateway = Gateway::start_with(&[
                ("WEIR__TRACES__ENABLED", "true"),
                ("WEIR__TRACES__ENDPOINT", &url),
                ("WEIR__TRACES__SCHEDULE_DELAY", "10"),
                ("WEIR__TRACES__MAX_QUEUE_SIZE", "4"),
                ("WEIR__TRACES__TIMEOUT", timeout),
            ])
            .await;
            let place = format!("\"endpoint\":\"{url}/\",\"protocol\":\"grpc\"");
            let log = gateway.logged("traces are sent").await;
            let is_told = |log: &str, text: &str| {
                let mut lines = log.lines().filter(|line| line.contains(text));
                lines.any(|line| line.contains(&place))
            };
            assert!(is_told(&log, "traces are sent"), "{log}");
            let device = gateway.tenant_and_device().await;
            let mut application = telemetry(&gateway, &device).await;
            for _ in 0..20 {
                upload(&gateway, &device, &mut application, None).await;
            }
            let name = "weir_traces_spans_total";
            let lost = || async { gateway.native().await.sum(name, &[("result", result)]) };
            while lost().await == 0.0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if result == "failed" {
                let log = gateway.logged("spans are lost").await;
                assert!(is_told(&log, "spans are lost"), "{log}");
                assert!(log.contains("refused"), "{log}");
            }
            gateway.terminate();
            assert!(gateway.wait().success(), "{result}");
        }
    });
}
