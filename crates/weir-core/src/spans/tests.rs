//! What is told of, with a collector that keeps all.

use std::sync::Mutex;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::json;

use super::*;
use crate::command::{Command, CommandOutcome, CommandTarget};
use crate::world::{Fixture, fixture, fixture_with, received};
use crate::{Downstream, Outcome, PipelineOptions, Protocol, Reason, Received, Session};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const ID: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const PARENT: u64 = 0xb7ad_6b71_6920_3331;

/// Keeps all spans, and samples new traces or none.
#[derive(Debug, Default)]
struct Collector {
    samples: bool,
    spans: Mutex<Vec<Span>>,
}

impl SpanSink for Collector {
    fn samples(&self, _: u128) -> bool {
        self.samples
    }

    fn take(&self, span: Span) {
        self.spans.lock().unwrap().push(span);
    }
}

impl Collector {
    fn taken(&self) -> Vec<Span> {
        std::mem::take(&mut self.spans.lock().unwrap())
    }
}

fn traced(samples: bool) -> (Fixture, Arc<Collector>) {
    let collector = Arc::new(Collector {
        samples,
        ..Collector::default()
    });
    let fixture = fixture_with(PipelineOptions {
        tracer: Tracer::new(collector.clone()),
        ..PipelineOptions::default()
    });
    (fixture, collector)
}

fn with_parent(parent: Option<&str>) -> Received {
    Received {
        trace: parent.map(|parent| TraceContext::parse(parent).unwrap()),
        ..received(("", ""))
    }
}

/// Sends a message that is taken; as the application gets it.
async fn send(fixture: &Fixture, session: &Arc<Session>, message: Received) -> Downstream {
    let admitted = message.authenticate(session).unwrap().admit().await;
    let published = admitted.unwrap().publish();
    let message = fixture.world.settle(Ok(()));
    assert_eq!(published.await, Outcome::Accepted);
    message
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a SpanValue> {
    let mut all = span.attributes.iter();
    all.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn text(span: &Span, name: &str) -> String {
    match attribute(span, name) {
        Some(SpanValue::Text(text)) => text.clone(),
        other => panic!("{name} of {}: {other:?}", span.name),
    }
}

#[tokio::test]
async fn a_trace_goes_on_through_the_gateway() {
    let (fixture, collector) = traced(false);
    let session = fixture.session(Protocol::Mqtt, "gw").await;
    let mut message = with_parent(Some(SAMPLED));
    message.target.device = Some("edge".into());
    let trace = message.trace.take().unwrap();
    message.trace = Some(trace.with_state(Some("a=1".into())));
    let message = send(&fixture, &session, message).await;
    let [sent, upload] = &collector.taken()[..] else {
        panic!("not two spans");
    };
    for span in [sent, upload] {
        assert_eq!(span.trace_id, ID);
        assert_eq!(span.tracestate.as_deref(), Some("a=1"));
        assert_eq!(span.error, None);
        assert!(span.started <= span.ended);
    }
    let from_outside = Parent {
        span_id: PARENT,
        is_remote: true,
    };
    assert_eq!(
        (upload.name, upload.kind),
        ("upload telemetry", SpanKind::Server)
    );
    assert_eq!(upload.parent, Some(from_outside));
    assert_eq!(
        (sent.name, sent.kind),
        ("send telemetry", SpanKind::Producer)
    );
    let from_inside = Parent {
        span_id: upload.span_id,
        is_remote: false,
    };
    assert_eq!(sent.parent, Some(from_inside));
    assert!(upload.started <= sent.started);
    for (name, value) in [
        ("component", "hono-mqtt"),
        ("tenant_id", "acme"),
        ("device_id", "edge"),
        ("gateway_id", "gw"),
        ("auth_id", "gw"),
        ("qos", "1"),
    ] {
        assert_eq!(text(upload, name), value);
    }
    // The application's part belongs to the message's being sent.
    assert_eq!(message.trace.trace_id(), ID);
    assert_eq!(message.trace.span_id(), sent.span_id);
    assert!(message.trace.is_sampled());
    assert_eq!(message.trace.tracestate(), Some("a=1"));
}

/// What the tenant says of all, and of this device's name; what came with the message; whether new
/// traces are sampled.
#[tokio::test]
async fn who_decides_whether_a_message_is_told_of() {
    let rows = [
        (json!({}), Some(SAMPLED), false, true),
        (json!({}), Some(UNSAMPLED), true, false),
        (json!({}), None, true, true),
        (json!({}), None, false, false),
        (
            json!({"sampling-mode": "all"}),
            Some(UNSAMPLED),
            false,
            true,
        ),
        (json!({"sampling-mode": "all"}), None, false, true),
        (json!({"sampling-mode": "none"}), Some(SAMPLED), true, false),
        (
            json!({"sampling-mode-per-auth-id": {"sensor": "all"}}),
            None,
            false,
            true,
        ),
        (
            json!({"sampling-mode-per-auth-id": {"gw": "all"}}),
            None,
            false,
            false,
        ),
        (
            json!({"sampling-mode": "all", "sampling-mode-per-auth-id": {"sensor": "none"}}),
            None,
            true,
            false,
        ),
    ];
    for samples in [false, true] {
        let (fixture, collector) = traced(samples);
        // One connection for all: what the tenant says holds from the next message on.
        let session = fixture.session(Protocol::Mqtt, "sensor").await;
        collector.taken();
        let rows = rows.iter().filter(|(_, _, row, _)| *row == samples);
        for (tracing, parent, _, expected) in rows {
            fixture.world.configure(json!({"tracing": tracing}));
            let message = send(&fixture, &session, with_parent(*parent)).await;
            let spans = collector.taken();
            assert_eq!(!spans.is_empty(), *expected, "{tracing} {parent:?}");
            // Whoever is next is told so.
            assert_eq!(
                message.trace.is_sampled(),
                *expected,
                "{tracing} {parent:?}"
            );
            assert_eq!(message.trace.trace_id() == ID, parent.is_some());
            // Who says something else than was said says it in his own name.
            let has_said_no_more = *parent == Some(UNSAMPLED) && !expected;
            assert_eq!(message.trace.span_id() == PARENT, has_said_no_more);
        }
    }
}

#[tokio::test]
async fn without_a_collector_a_trace_is_passed_on_as_it_came() {
    let fixture = fixture();
    fixture
        .world
        .configure(json!({"tracing": {"sampling-mode": "all"}}));
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    for parent in [SAMPLED, UNSAMPLED] {
        let message = send(&fixture, &session, with_parent(Some(parent))).await;
        assert_eq!(message.trace.to_string(), parent);
    }
    let message = send(&fixture, &session, with_parent(None)).await;
    assert!(!message.trace.is_sampled());
}

#[tokio::test]
async fn a_refused_message_is_told_of_with_its_reason() {
    let (fixture, collector) = traced(true);
    for protocol in [Protocol::Mqtt, Protocol::Http] {
        let session = fixture.session(protocol, "sensor").await;
        collector.taken();
        let empty = Received {
            payload: Bytes::new(),
            ..with_parent(None)
        };
        let unknown = Received {
            target: received(("", "edge")).target,
            ..with_parent(None)
        };
        for (message, reason) in [(empty, "bad-request"), (unknown, "gateway-not-authorised")] {
            let refused = message.authenticate(&session).unwrap().admit().await;
            assert!(refused.is_err());
            let [upload] = &collector.taken()[..] else {
                panic!("{reason}: not one span");
            };
            assert_eq!(text(upload, "reason"), reason);
            assert!(upload.error.is_some());
        }
        let admitted = with_parent(None).authenticate(&session).unwrap().admit();
        let published = admitted.await.unwrap().publish();
        fixture.world.settle(Err(Reason::NoCredit));
        assert!(matches!(published.await, Outcome::Refused(_)));
        let [sent, upload] = &collector.taken()[..] else {
            panic!("not two spans");
        };
        for span in [sent, upload] {
            assert_eq!(span.error.as_deref(), Some("no consumer available"));
            assert!(span.started <= span.ended);
        }
    }
}

/// The command that a device waits for is more than its tenant's devices may exchange.
#[tokio::test]
async fn what_goes_wrong_after_a_message_was_taken_is_not_its_consumers_fault() {
    let (fixture, collector) = traced(true);
    let volume = json!({"effective-since": "2020-01-01T00:00:00Z", "max-bytes": 10});
    fixture
        .world
        .configure(json!({"resource-limits": {"data-volume": volume}}));
    let session = fixture.session(Protocol::Http, "sensor").await;
    let mut message = with_parent(None);
    message.ttd = Some(60);
    let admitted = message.authenticate(&session).unwrap().admit().await;
    let waiting = admitted.unwrap().publish_and_wait(std::future::pending());
    let big = Command {
        payload: Bytes::from_static(b"more than is left"),
        ..command(None)
    };
    let commands = async {
        while fixture.world.published.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        fixture.world.settle(Ok(()));
        fixture
            .pipeline
            .commands()
            .resolve(big)
            .await
            .forward()
            .await
    };
    let (waited, _) = tokio::join!(waiting, commands);
    assert!(matches!(waited.outcome, Outcome::Refused(_)));
    let spans = collector.taken();
    let of = |name| spans.iter().find(|span| span.name == name).unwrap();
    assert!(of("upload telemetry").error.is_some());
    assert_eq!(of("send telemetry").error, None);
}

#[tokio::test]
async fn a_message_that_nobody_waits_for_is_told_of_all_the_same() {
    let (fixture, collector) = traced(true);
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    collector.taken();
    let admitted = with_parent(None).authenticate(&session).unwrap().admit();
    drop(admitted.await.unwrap().publish());
    fixture.world.settle(Ok(()));
    while fixture.count("status=\"forwarded\"") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(collector.taken().len(), 2);
}

#[tokio::test]
async fn an_example_of_a_duration_is_a_trace_that_is_recorded() {
    let (fixture, _) = traced(false);
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let page = || {
        let snapshot = fixture
            .metrics
            .snapshot(weir_metrics::View::Hono, Instant::now());
        snapshot.write(weir_metrics::Format::OpenMetrics, SystemTime::now())
    };
    send(&fixture, &session, with_parent(Some(UNSAMPLED))).await;
    assert!(!page().contains("trace_id"));
    send(&fixture, &session, with_parent(Some(SAMPLED))).await;
    let example = format!("# {{trace_id=\"{ID:032x}\"}}");
    assert_eq!(page().matches(&example).count(), 1);
}

fn command(parent: Option<&str>) -> Command {
    Command {
        tenant: "acme".into(),
        device: "4711".into(),
        name: ByteString::from_static("blink"),
        reply_to: None,
        content_type: None,
        payload: Bytes::from_static(b"1"),
        trace: parent.map(|parent| TraceContext::parse(parent).unwrap()),
    }
}

#[tokio::test]
async fn a_command_carries_its_trace_to_the_device() {
    let (fixture, collector) = traced(false);
    let commands = fixture.pipeline.commands();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let mut own = session.claim(CommandTarget::Own, 1, None).await.unwrap();
    collector.taken();

    let taken = commands.resolve(command(Some(SAMPLED))).await.forward();
    let delivery = own.next().await.unwrap();
    let told = delivery.command().recorded_trace().unwrap().clone();
    delivery.accept();
    assert_eq!(taken.await, CommandOutcome::Accepted);
    let [sent, whole] = &collector.taken()[..] else {
        panic!("not two spans");
    };
    assert_eq!((told.trace_id(), told.span_id()), (ID, sent.span_id));
    assert_eq!(
        (whole.name, whole.kind),
        ("receive command", SpanKind::Consumer)
    );
    assert_eq!(whole.parent.map(|parent| parent.span_id), Some(PARENT));
    assert_eq!(
        sent.parent.map(|parent| parent.span_id),
        Some(whole.span_id)
    );
    assert_eq!(text(whole, "command"), "blink");
    assert_eq!(text(whole, "component"), "hono-mqtt");

    // What nobody records is no device's concern.
    for parent in [Some(UNSAMPLED), None] {
        let taken = commands.resolve(command(parent)).await.forward();
        let delivery = own.next().await.unwrap();
        assert_eq!(delivery.command().recorded_trace(), None);
        delivery.release();
        assert_eq!(taken.await, CommandOutcome::Released);
    }
    assert!(collector.taken().is_empty());
}

#[tokio::test]
async fn a_command_is_told_of_as_its_tenant_says_of_who_takes_it() {
    let (fixture, collector) = traced(false);
    let commands = fixture.pipeline.commands();
    let by_name = json!({"sampling-mode-per-auth-id": {"sensor": "all"}});
    fixture.world.configure(json!({"tracing": by_name}));
    let nobody = commands.resolve(command(None)).await.forward();
    assert_eq!(nobody.await, CommandOutcome::Released);
    assert!(collector.taken().is_empty());

    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let mut own = session.claim(CommandTarget::Own, 1, None).await.unwrap();
    collector.taken();
    let refused = commands.resolve(command(None)).await.forward();
    own.next().await.unwrap().reject(Reason::PayloadTooLarge);
    assert!(matches!(refused.await, CommandOutcome::Rejected(_)));
    let [_, whole] = &collector.taken()[..] else {
        panic!("not two spans");
    };
    assert_eq!(text(whole, "reason"), "payload-too-large");

    fixture
        .world
        .configure(json!({"tracing": {"sampling-mode": "all"}}));
    let mut unknown = command(None);
    unknown.device = "gone".into();
    let rejected = commands.resolve(unknown).await.forward();
    assert!(matches!(rejected.await, CommandOutcome::Rejected(_)));
    let [whole] = &collector.taken()[..] else {
        panic!("not one span");
    };
    assert_eq!(text(whole, "reason"), "device-unknown");
}

#[tokio::test]
async fn a_connection_is_told_of() {
    let (fixture, collector) = traced(false);
    let _quiet = fixture.session(Protocol::Mqtt, "gw").await;
    assert!(collector.taken().is_empty());
    fixture
        .world
        .configure(json!({"tracing": {"sampling-mode": "all"}}));
    let _session = fixture.session(Protocol::Mqtt, "sensor").await;
    let [connect] = &collector.taken()[..] else {
        panic!("not one span");
    };
    assert_eq!((connect.name, connect.parent), ("connect", None));
    assert_eq!(text(connect, "auth_id"), "sensor");
    assert_eq!(connect.error, None);
}
