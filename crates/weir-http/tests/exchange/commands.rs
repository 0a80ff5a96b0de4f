//! Commands that come with the answer to an upload (contract §2.7).

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use weir_core::command::{Command, CommandOutcome, Messaging, ReplyTo};
use weir_core::{Downstream, Reason, Rule, TraceContext};
use weir_http::HttpConfig;

use crate::kit::{Gateway, read_answer, read_to_end, until, within};

const UPLOADS: &str = "hono_telemetry_processing_duration_seconds_count";
const COMMANDS: &str = "hono_command_processing_duration_seconds_count";
const WAITING: &str = "POST /event HTTP/1.1\r\nHost: w\r\nContent-Length: 1\r\nhono-ttd: 50\r\n\
                       Authorization: Basic c2Vuc29yMUBhY21lOnB3\r\n\r\n1";

pub(crate) fn one_way(device: &str, name: &str, payload: &'static str) -> Command {
    Command {
        tenant: "acme".into(),
        device: device.into(),
        name: name.into(),
        reply_to: None,
        content_type: None,
        payload: Bytes::from_static(payload.as_bytes()),
        trace: None,
    }
}

pub(crate) fn request(device: &str, name: &str, payload: &'static str) -> Command {
    let reply_to = ReplyTo {
        messaging: Messaging::Amqp,
        correlation_id: "c/1".into(),
        reply_id: format!("{device}/r-1").into(),
    };
    Command {
        reply_to: Some(reply_to),
        ..one_way(device, name, payload)
    }
}

/// Sends a command as an application does: handed over when this returns, its outcome still open.
pub(crate) async fn hand_over(
    gateway: &Gateway,
    command: Command,
) -> impl Future<Output = CommandOutcome> + Send + 'static {
    gateway.pipeline.commands().resolve(command).await.forward()
}

async fn send(gateway: &Gateway, command: Command) -> CommandOutcome {
    within(hand_over(gateway, command).await).await
}

fn spawn(request: RequestBuilder) -> JoinHandle<Response> {
    tokio::spawn(async move { request.send().await.unwrap() })
}

/// Sends an upload that waits, and a command when the upload has arrived.
async fn exchange(
    gateway: &Gateway,
    upload: RequestBuilder,
    command: Command,
) -> (Response, CommandOutcome) {
    let (response, outcome, _) = observed_exchange(gateway, upload, command).await;
    (response, outcome)
}

async fn observed_exchange(
    gateway: &Gateway,
    upload: RequestBuilder,
    command: Command,
) -> (Response, CommandOutcome, Downstream) {
    let response = spawn(upload.body("1"));
    let message = gateway.northbound.arrival().await;
    let outcome = send(gateway, command).await;
    (within(response).await.unwrap(), outcome, message)
}

fn hono_headers(response: &Response) -> Vec<(&str, &str)> {
    let headers = response.headers().iter();
    let mut headers: Vec<_> = headers
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .filter(|(name, _)| name.starts_with("hono-") || *name == "content-type")
        .collect();
    headers.sort_unstable();
    headers
}

/// A trace that nobody records is not worth its bytes.
#[tokio::test]
async fn a_command_says_which_trace_it_belongs_to_if_that_is_recorded() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let gateway = Gateway::start().await;
    let unrecorded = format!("{}0", PARENT.strip_suffix('1').unwrap());
    for (parent, state, told) in [
        (PARENT, Some("a=b"), (Some(PARENT), Some("a=b"))),
        (PARENT, Some("\u{e4}"), (Some(PARENT), None)),
        (PARENT, None, (Some(PARENT), None)),
        (&unrecorded, Some("a=b"), (None, None)),
    ] {
        let trace = TraceContext::parse(parent).unwrap();
        let trace = trace.with_state(state.map(Into::into));
        let command = Command {
            trace: Some(trace),
            ..one_way("4711", "set", "on")
        };
        let upload = gateway.request(Method::POST, "/telemetry");
        let upload = upload.header("hono-ttd", "50");
        let (response, outcome) = exchange(&gateway, upload, command).await;
        assert_eq!(outcome, CommandOutcome::Accepted);
        let header = |name: &str| response.headers().get(name).map(|it| it.to_str().unwrap());
        assert_eq!((header("traceparent"), header("tracestate")), told);
    }
}

#[tokio::test]
async fn a_device_that_waits_is_given_the_command() {
    let gateway = Gateway::start().await;
    let typed = |command: Command, content_type: &str| Command {
        content_type: Some(content_type.into()),
        ..command
    };
    let id = ("hono-cmd-req-id", "103c~2f1r-1");
    let name = ("hono-command", "set");
    let octets = ("content-type", "application/octet-stream");
    let json = ("content-type", "application/json; charset=utf-8");
    let cases = [
        (one_way("4711", "set", "on"), vec![octets, name], "on"),
        (one_way("4711", "set", ""), vec![name], ""),
        (
            typed(one_way("4711", "set", "{}"), json.1),
            vec![json, name],
            "{}",
        ),
        (
            typed(one_way("4711", "set", ""), json.1),
            vec![json, name],
            "",
        ),
        (
            typed(one_way("4711", "set", "on"), ""),
            vec![octets, name],
            "on",
        ),
        (request("4711", "set", "on"), vec![octets, id, name], "on"),
        (request("4711", "set", ""), vec![id, name], ""),
    ];
    for (command, headers, payload) in cases {
        for path in ["/telemetry", "/event?hono-ttd=50", "/telemetry//4711"] {
            let method = match path.ends_with("4711") {
                true => Method::PUT,
                false => Method::POST,
            };
            let upload = gateway.request(method, path);
            let upload = match path.contains('?') {
                true => upload,
                false => upload.header("hono-ttd", "50"),
            };
            let (response, outcome) = exchange(&gateway, upload, command.clone()).await;
            assert_eq!(outcome, CommandOutcome::Accepted, "{command:?}");
            assert_eq!(response.status(), 200);
            assert_eq!(hono_headers(&response), headers, "{command:?}");
            assert_eq!(response.text().await.unwrap(), payload);
        }
    }
    let adapter = r#"component_name="hono-http""#;
    for (direction, count) in [("one-way", 15.0), ("request", 6.0)] {
        let direction = format!(r#"direction="{direction}""#);
        let labels = [adapter, r#"status="forwarded""#, &direction];
        assert_eq!(gateway.metric(COMMANDS, &labels), count, "{direction}");
    }
    assert_eq!(gateway.metric(UPLOADS, &[r#"ttd="command""#]), 21.0);
    assert_eq!(gateway.uploads(), 21.0);
}

#[tokio::test]
async fn a_gateway_is_told_whose_command_it_is() {
    let gateway = Gateway::start().await;
    let own = || {
        let request = gateway.anonymous(Method::POST, "/telemetry");
        request.basic_auth("gateway1@acme", Some("pw"))
    };
    let edge = || gateway.gateway_request("/event//edge");
    let target = Some(("hono-cmd-target-device", "edge"));
    let cases = [
        (edge(), "edge", target),
        (own(), "edge", target),
        (own(), "gateway", None),
        (gateway.gateway_request("/event//gateway"), "gateway", None),
    ];
    for (upload, device, target) in cases {
        let upload = upload.header("hono-ttd", "50");
        let command = one_way(device, "set", "");
        let (response, outcome) = exchange(&gateway, upload, command).await;
        assert_eq!(outcome, CommandOutcome::Accepted);
        let mut expected: Vec<_> = target.into_iter().collect();
        expected.push(("hono-command", "set"));
        assert_eq!(hono_headers(&response), expected, "{device}");
    }
    // Who waits for one device is not given the commands of others.
    let waiting = spawn(edge().header("hono-ttd", "50").body("1"));
    gateway.northbound.arrival().await;
    let other = one_way("a+b c", "set", "");
    assert_eq!(send(&gateway, other).await, CommandOutcome::Released);
    assert!(!waiting.is_finished());
    let outcome = send(&gateway, one_way("edge", "set", "")).await;
    assert_eq!(outcome, CommandOutcome::Accepted);
    within(waiting).await.unwrap();
}

#[tokio::test]
async fn without_a_command_the_answer_is_as_if_nobody_had_waited() {
    let gateway = Gateway::start().await;
    let upload = gateway.request(Method::POST, "/telemetry");
    let upload = upload.header("hono-ttd", "1").body("1");
    let response = upload.send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert!(hono_headers(&response).is_empty());
    assert_eq!(response.text().await.unwrap(), "");
    assert_eq!(gateway.northbound.message().ttd, Some(1));
    let expired = [r#"ttd="expired""#, r#"status="forwarded""#];
    assert_eq!(gateway.metric(UPLOADS, &expired), 1.0);
    let outcome = send(&gateway, one_way("4711", "set", "on")).await;
    assert_eq!(outcome, CommandOutcome::Released);
}

#[tokio::test]
async fn the_time_to_wait_is_a_header_or_else_a_parameter_and_bounded() {
    let gateway = Gateway::start().await;
    let cases = [
        ("/event", Some("30"), Some(30)),
        ("/event?hono-ttd=20", None, Some(20)),
        ("/event?hono-ttd=20", Some("30"), Some(30)),
        ("/telemetry?hono-ttd=20", Some("soon"), None),
        ("/telemetry", Some("0"), None),
        ("/telemetry", Some("-1"), None),
        ("/telemetry", Some("1.5"), None),
        ("/telemetry?hono-ttd=", None, None),
        ("/telemetry", Some("2147483648"), None),
        ("/telemetry", Some("2147483647"), Some(60)),
        ("/telemetry", Some("61"), Some(60)),
    ];
    for (path, wanted, effective) in cases {
        let mut upload = gateway.request(Method::POST, path);
        if let Some(wanted) = wanted {
            upload = upload.header("hono-ttd", wanted);
        }
        let command = one_way("4711", "set", "");
        let (response, outcome, message) = observed_exchange(&gateway, upload, command).await;
        assert_eq!(message.ttd, effective, "{path} {wanted:?}");
        let (status, expected) = match effective {
            Some(_) => (200, CommandOutcome::Accepted),
            None => (202, CommandOutcome::Released),
        };
        assert_eq!(response.status(), status, "{path} {wanted:?}");
        assert_eq!(outcome, expected, "{path} {wanted:?}");
    }
    assert_eq!(gateway.metric(UPLOADS, &[r#"ttd="none""#]), 6.0);
    assert_eq!(gateway.metric(UPLOADS, &[r#"ttd="command""#]), 5.0);
}

#[tokio::test]
async fn the_connections_patience_and_the_tenant_bound_the_wait_too() {
    let ttd = async |idle_timeout, tenant: serde_json::Value| {
        let config = HttpConfig {
            idle_timeout,
            ..HttpConfig::default()
        };
        let gateway = Gateway::start_with(config, 10).await;
        let tenant = serde_json::from_value(tenant).unwrap();
        gateway.registry.change(|records| records.tenant = tenant);
        let upload = gateway.request(Method::POST, "/telemetry");
        let upload = upload.header("hono-ttd", "3600");
        let command = one_way("4711", "set", "");
        observed_exchange(&gateway, upload, command).await.2.ttd
    };
    let strict = json!({"adapters": [
        {"type": "hono-http", "enabled": true, "ext": {"max-ttd": 7}}
    ]});
    let generous = json!({"adapters": [
        {"type": "hono-http", "enabled": true, "ext": {"max-ttd": 7200}}
    ]});
    assert_eq!(ttd(11, json!({})).await, Some(8));
    assert_eq!(ttd(11, strict).await, Some(7));
    assert_eq!(ttd(75, generous.clone()).await, Some(60));
    assert_eq!(ttd(10_000, generous).await, Some(3600));
    // Too little patience for any wait.
    assert_eq!(ttd(1, json!({})).await, None);
}

#[tokio::test]
async fn a_second_command_during_one_wait_is_released() {
    let gateway = Gateway::start().await;
    gateway.northbound.holds();
    let upload = gateway.request(Method::POST, "/event").body("1");
    let response = spawn(upload.header("hono-ttd", "50"));
    let held = gateway.northbound.held(1).await;
    let first = hand_over(&gateway, one_way("4711", "first", "")).await;
    let second = send(&gateway, one_way("4711", "second", "")).await;
    assert_eq!(second, CommandOutcome::Released);
    for completion in held {
        completion.settle(Ok(()), Instant::now());
    }
    assert_eq!(within(first).await, CommandOutcome::Accepted);
    let response = within(response).await.unwrap();
    assert_eq!(hono_headers(&response), [("hono-command", "first")]);
}

#[tokio::test]
async fn an_upload_that_fails_ends_the_wait_and_gives_its_command_back() {
    let gateway = Gateway::start().await;
    gateway.northbound.holds();
    let upload = gateway.request(Method::POST, "/event").body("1");
    let response = spawn(upload.header("hono-ttd", "50"));
    let held = gateway.northbound.held(1).await;
    let command = hand_over(&gateway, one_way("4711", "set", "")).await;
    for completion in held {
        completion.settle(Err(Reason::Released), Instant::now());
    }
    assert_eq!(within(command).await, CommandOutcome::Released);
    let response = within(response).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "2");
    assert!(
        hono_headers(&response)
            .iter()
            .all(|(name, _)| *name == "content-type")
    );
    let failed = [r#"ttd="none""#, r#"status="undeliverable""#];
    assert_eq!(gateway.metric(UPLOADS, &failed), 1.0);
}

#[tokio::test]
async fn what_cannot_be_a_header_is_rejected_and_the_device_told_nothing() {
    let gateway = Gateway::start().await;
    for name in ["line\r\nX: y", "bl\u{e4}", " padded", "\u{0}"] {
        let upload = gateway.request(Method::POST, "/event");
        let upload = upload.header("hono-ttd", "50");
        let command = one_way("4711", name, "on");
        let (response, outcome) = exchange(&gateway, upload, command).await;
        let text = "command cannot be written as HTTP headers";
        let reason = Reason::BadRequest(Rule::Encoding, text.into());
        assert_eq!(outcome, CommandOutcome::Rejected(reason), "{name:?}");
        assert_eq!(response.status(), 202, "{name:?}");
        assert!(hono_headers(&response).is_empty());
        assert_eq!(response.text().await.unwrap(), "");
    }
}

#[tokio::test]
async fn a_device_that_leaves_waits_no_longer_and_its_upload_counts() {
    let gateway = Gateway::start().await;
    for (left, is_half_closed) in [(1.0, false), (2.0, true)] {
        let mut device = gateway.connect().await;
        device.write_all(WAITING.as_bytes()).await.unwrap();
        gateway.northbound.arrival().await;
        if is_half_closed {
            device.shutdown().await.unwrap();
            // It cannot be told from one that is gone, and is given no answer.
            assert_eq!(read_to_end(device).await, "");
        } else {
            drop(device);
        }
        until(|| gateway.budget.open() == 0).await;
        let forwarded = [r#"status="forwarded""#, r#"ttd="expired""#];
        assert_eq!(gateway.metric(UPLOADS, &forwarded), left);
        assert_eq!(gateway.uploads(), left);
        let command = one_way("4711", "set", "on");
        assert_eq!(send(&gateway, command).await, CommandOutcome::Released);
    }
}

#[tokio::test]
async fn a_command_that_was_given_to_a_device_that_leaves_is_released() {
    let gateway = Gateway::start().await;
    gateway.northbound.holds();
    let mut device = gateway.connect().await;
    device.write_all(WAITING.as_bytes()).await.unwrap();
    let _held = gateway.northbound.held(1).await;
    let command = hand_over(&gateway, one_way("4711", "set", "on")).await;
    drop(device);
    assert_eq!(within(command).await, CommandOutcome::Released);
}

/// More than the operating system buffers for a connection.
const LARGE: usize = 32 * 1024 * 1024;

#[tokio::test]
async fn a_command_is_accepted_when_the_whole_answer_was_written_and_not_before() {
    for reads_on in [true, false] {
        let gateway = Gateway::start().await;
        let mut device = gateway.connect().await;
        device.write_all(WAITING.as_bytes()).await.unwrap();
        gateway.northbound.arrival().await;
        let large = Command {
            payload: vec![b'x'; LARGE].into(),
            ..one_way("4711", "set", "")
        };
        let mut outcome = Box::pin(hand_over(&gateway, large).await);
        let mut start = [0; 15];
        within(device.read_exact(&mut start)).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
        assert_eq!(outcome.as_mut().now_or_never(), None);
        if reads_on {
            let mut rest = vec![0; LARGE];
            within(device.read_exact(&mut rest)).await.unwrap();
            assert_eq!(within(outcome).await, CommandOutcome::Accepted);
        } else {
            drop(device);
            assert_eq!(within(outcome).await, CommandOutcome::Released);
        }
    }
}

#[tokio::test]
async fn requests_that_follow_on_the_connection_are_answered_after_the_wait() {
    let gateway = Gateway::start().await;
    let mut device = gateway.connect().await;
    device.write_all(WAITING.as_bytes()).await.unwrap();
    gateway.northbound.arrival().await;
    let next = WAITING.replace("hono-ttd: 50\r\n", "");
    device.write_all(next.as_bytes()).await.unwrap();
    let outcome = send(&gateway, one_way("4711", "set", "on")).await;
    assert_eq!(outcome, CommandOutcome::Accepted);
    let answer = read_answer(&mut device).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("hono-command: set\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\non"), "{answer}");
    let answer = read_answer(&mut device).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(!answer.contains("hono-"), "{answer}");
}

#[tokio::test]
async fn on_stop_nobody_waits_any_longer() {
    let gateway = Gateway::start().await;
    let mut device = gateway.connect().await;
    device.write_all(WAITING.as_bytes()).await.unwrap();
    gateway.northbound.arrival().await;
    gateway.begin_stop();
    let answer = read_to_end(device).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    let forwarded = [r#"status="forwarded""#];
    until(|| gateway.metric(UPLOADS, &forwarded) == 1.0).await;
    gateway.stopped().await;
}

#[tokio::test]
async fn with_tls_a_command_is_accepted_as_without() {
    let gateway = Gateway::start_with_tls().await;
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .http1_only()
        .timeout(Duration::from_secs(20));
    let client = client.build().unwrap();
    let upload = client
        .post(format!("https://{}/event", gateway.address))
        .basic_auth("sensor1@acme", Some("pw"))
        .header("hono-ttd", "50");
    let (response, outcome) = exchange(&gateway, upload, one_way("4711", "set", "on")).await;
    assert_eq!(outcome, CommandOutcome::Accepted);
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "on");
}
