//! HTTP/2: the same exchanges as with HTTP/1.1, and what several of them on one connection need.

mod crowd;
mod frames;
mod limits;

use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::{Client, Method, RequestBuilder, Version};
use weir_core::command::{Command, CommandOutcome};
use weir_http::HttpConfig;

use crate::commands::{hand_over, one_way, request};
use crate::kit::{DEADLINE, Gateway, until, within};

const UPLOADS: &str = "hono_telemetry_processing_duration_seconds_count";

/// A client of `reqwest`, which chooses HTTP/2 if it can.
fn client() -> Client {
    let client = Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .timeout(DEADLINE);
    client.build().unwrap()
}

fn anonymous(gateway: &Gateway, client: &Client, method: Method, path: &str) -> RequestBuilder {
    client.request(method, format!("https://{}{path}", gateway.address))
}

fn upload(gateway: &Gateway, client: &Client, method: Method, path: &str) -> RequestBuilder {
    let request = anonymous(gateway, client, method, path);
    request.basic_auth("sensor1@acme", Some("pw"))
}

/// A connection of `hyper` that does as it is told.
async fn connect(gateway: &Gateway, window: Option<u32>) -> SendRequest<Full<Bytes>> {
    let stream = gateway.connect_tls(&["h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// An event of `sensor1`, which waits for a command if it is told for how long.
fn event(ttd: Option<u32>) -> http::Request<Full<Bytes>> {
    let mut request = http::Request::post("https://localhost/event")
        .header("authorization", "Basic c2Vuc29yMUBhY21lOnB3");
    if let Some(ttd) = ttd {
        request = request.header("hono-ttd", ttd);
    }
    request.body(Full::from("1")).unwrap()
}

#[tokio::test]
async fn an_upload_arrives_as_with_http_1() {
    let gateway = Gateway::start_with_tls().await;
    let client = client();
    let paths = [
        (Method::POST, "/telemetry"),
        (Method::POST, "/event?hono-ttl=5"),
        (Method::PUT, "/telemetry//4711"),
        (Method::PUT, "/event/acme/4711"),
    ];
    for (method, path) in paths {
        let request = upload(&gateway, &client, method, path);
        let request = request.header("content-type", "text/plain; a=b").body("on");
        let response = request.send().await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(response.status(), 202, "{path}");
        assert_eq!(response.text().await.unwrap(), "");
        let message = gateway.northbound.message();
        assert_eq!(message.payload, "on");
        assert_eq!(message.content_type.as_deref(), Some("text/plain"));
        assert_eq!(message.origin_address, path);
    }
    assert_eq!(gateway.budget.open(), 1, "all on one connection");
}

#[tokio::test]
async fn who_does_not_choose_http_2_has_http_1() {
    let gateway = Gateway::start_with_tls().await;
    let client = Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .http1_only()
        .build()
        .unwrap();
    let response = upload(&gateway, &client, Method::POST, "/event").body("1");
    let response = response.send().await.unwrap();
    assert_eq!(
        (response.version(), response.status().as_u16()),
        (Version::HTTP_11, 202)
    );
    // Without any choice it is HTTP/1.1 too.
    let stream = gateway.connect_tls(&[]).await;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = event(None);
    *request.uri_mut() = "/event".parse().unwrap();
    let answer = within(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 202);
}

#[tokio::test]
async fn refusals_are_the_same_and_say_nothing_of_the_connection() {
    let gateway = Gateway::start_with_tls().await;
    let client = client();
    let post = |path| upload(&gateway, &client, Method::POST, path).body("1");
    let nobody = || anonymous(&gateway, &client, Method::POST, "/event").body("1");
    let json = |text: &str| format!(r#"{{"error":"{text}"}}"#);
    let login = "Basic realm=\"Hono\"";
    let origin = "https://a.example";
    let cases = [
        (nobody(), 401, json("no credentials presented"), 2),
        (
            nobody().header("x-requested-with", "XMLHttpRequest"),
            401,
            json("no credentials presented"),
            0,
        ),
        (
            post("/event").header("qos-level", "7"),
            400,
            json("unsupported QoS-Level header value"),
            0,
        ),
        (
            post("/nowhere"),
            404,
            "<html><body><h1>Resource not found</h1></body></html>".to_owned(),
            0,
        ),
        (post("/event//4711"), 405, json("method not allowed"), 0),
        (post("/event").body("x".repeat(2049)), 413, json("N/A"), 0),
        (
            post("/event").body("x".repeat(1_000_000)),
            413,
            json("N/A"),
            0,
        ),
        (
            post("/event").header("expect", "200-ok"),
            417,
            json("N/A"),
            0,
        ),
    ];
    for (request, status, text, challenges) in cases {
        let response = request.header("origin", origin).send().await.unwrap();
        assert_eq!(response.status(), status);
        let headers = response.headers();
        assert!(!headers.contains_key("connection"), "{headers:?}");
        let told: Vec<_> = headers.get_all("www-authenticate").iter().collect();
        assert_eq!(told.len(), challenges);
        assert!(told.last().is_none_or(|last| *last == login), "{told:?}");
        if status != 404 {
            assert_eq!(headers["access-control-allow-origin"], "*");
        }
        assert_eq!(response.text().await.unwrap(), text);
    }
    assert!(gateway.northbound.messages().is_empty());
    // None of them was the connection's last.
    assert_eq!(gateway.budget.open(), 1);
    assert_eq!(post("/event").send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn browsers_are_told_what_they_may_send() {
    let gateway = Gateway::start_with_tls().await;
    let request = anonymous(&gateway, &client(), Method::OPTIONS, "/telemetry");
    let request = request.header("origin", "https://a.example");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["access-control-allow-methods"], "POST");
}

/// hyper cannot ask for the body in HTTP/2, and its clients do not wait.
#[tokio::test]
async fn a_device_that_expects_to_be_asked_may_send_without() {
    let gateway = Gateway::start_with_tls().await;
    let request = upload(&gateway, &client(), Method::POST, "/event");
    let request = request.header("expect", "100-continue").body("1");
    assert_eq!(request.send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn many_requests_wait_on_one_connection_and_each_has_its_own_answer() {
    let gateway = Gateway::start_with_tls().await;
    gateway.northbound.holds();
    let sender = connect(&gateway, None).await;
    let ask = || {
        let answer = sender.clone().send_request(event(None));
        tokio::spawn(async move { answer.await.unwrap().status().as_u16() })
    };
    let waiting: Vec<_> = (0..32).map(|_| ask()).collect();
    let held = gateway.northbound.held(32).await;
    assert_eq!(gateway.budget.open(), 1);
    for completion in held {
        completion.settle(Ok(()), Instant::now());
    }
    for answer in waiting {
        assert_eq!(within(answer).await.unwrap(), 202);
    }
    assert_eq!(gateway.uploads(), 32.0);
}

#[tokio::test]
async fn a_device_that_waits_is_given_the_command() {
    let gateway = Gateway::start_with_tls().await;
    let mut sender = connect(&gateway, None).await;
    for command in [
        one_way("4711", "set", "on"),
        one_way("4711", "set", ""),
        request("4711", "set", "on"),
        request("4711", "set", ""),
    ] {
        let answer = sender.send_request(event(Some(50)));
        let answer = tokio::spawn(answer);
        gateway.northbound.arrival().await;
        let payload = command.payload.clone();
        let has_id = command.reply_to.is_some();
        let outcome = within(hand_over(&gateway, command).await).await;
        assert_eq!(outcome, CommandOutcome::Accepted);
        let answer = within(answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        let headers = answer.headers();
        assert_eq!(headers["hono-command"], "set");
        assert_eq!(headers.contains_key("hono-cmd-req-id"), has_id);
        let length = payload.len().to_string();
        assert_eq!(headers["content-length"], length.as_str());
        assert!(!headers.contains_key("connection"));
        let body = within(answer.into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes(), payload);
    }
    assert_eq!(gateway.metric(UPLOADS, &[r#"ttd="command""#]), 4.0);
}

#[tokio::test]
async fn a_reset_ends_the_wait_and_nothing_else_on_the_connection() {
    let gateway = Gateway::start_with_tls().await;
    let mut sender = connect(&gateway, None).await;
    let answer = tokio::spawn(sender.send_request(event(Some(50))));
    gateway.northbound.arrival().await;
    assert_eq!(gateway.uploads(), 0.0);
    // hyper resets what nobody waits for any longer.
    answer.abort();
    until(|| gateway.uploads() == 1.0).await;
    let forwarded = [r#"status="forwarded""#, r#"ttd="expired""#];
    assert_eq!(gateway.metric(UPLOADS, &forwarded), 1.0);
    let command = hand_over(&gateway, one_way("4711", "set", "on")).await;
    assert_eq!(within(command).await, CommandOutcome::Released);
    let answer = within(sender.send_request(event(None))).await.unwrap();
    assert_eq!(answer.status(), 202);
}

#[tokio::test]
async fn a_command_that_was_given_to_a_request_that_is_reset_is_released() {
    let gateway = Gateway::start_with_tls().await;
    gateway.northbound.holds();
    let mut sender = connect(&gateway, None).await;
    let answer = tokio::spawn(sender.send_request(event(Some(50))));
    let _held = gateway.northbound.held(1).await;
    let command = hand_over(&gateway, one_way("4711", "set", "on")).await;
    answer.abort();
    assert_eq!(within(command).await, CommandOutcome::Released);
}

#[tokio::test]
async fn a_command_that_the_device_has_no_room_for_is_accepted_when_it_has_and_else_released() {
    for reads_on in [true, false] {
        let gateway = Gateway::start_with_tls().await;
        // hyper gives more room when what has come was read.
        let mut sender = connect(&gateway, Some(4)).await;
        let answer = tokio::spawn(sender.send_request(event(Some(50))));
        gateway.northbound.arrival().await;
        let command = one_way("4711", "set", "more than four bytes");
        let mut outcome = Box::pin(hand_over(&gateway, command).await);
        let answer = within(answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        // Another exchange goes there and back meanwhile.
        let other = within(sender.send_request(event(None))).await.unwrap();
        assert_eq!(other.status(), 202);
        assert_eq!(outcome.as_mut().now_or_never(), None);
        if reads_on {
            let body = within(answer.into_body().collect()).await.unwrap();
            assert_eq!(body.to_bytes(), "more than four bytes");
            assert_eq!(within(outcome).await, CommandOutcome::Accepted);
        } else {
            drop(answer);
            assert_eq!(within(outcome).await, CommandOutcome::Released);
            let other = within(sender.send_request(event(None))).await.unwrap();
            assert_eq!(other.status(), 202);
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_taken_off_is_given_up() {
    let config = HttpConfig {
        idle_timeout: 2,
        ..HttpConfig::default()
    };
    let gateway = Gateway::start_secured(config, None).await;
    let mut sender = connect(&gateway, Some(0)).await;
    let answer = tokio::spawn(sender.send_request(event(Some(1))));
    gateway.northbound.arrival().await;
    let command = Command {
        payload: Bytes::from_static(b"on"),
        ..one_way("4711", "set", "")
    };
    let outcome = hand_over(&gateway, command).await;
    let answer = within(answer).await.unwrap().unwrap();
    // Others on the connection are served, for as long as that takes.
    let mut other = sender.clone();
    let serve = async {
        loop {
            let answer = other.send_request(event(None)).await.unwrap();
            assert_eq!(answer.status(), 202);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = serve => {}
        outcome = within(outcome) => assert_eq!(outcome, CommandOutcome::Released),
    }
    assert!(within(answer.into_body().collect()).await.is_err());
}

#[tokio::test]
async fn on_stop_what_is_in_flight_is_answered_and_nobody_waits_any_longer() {
    let gateway = Gateway::start_with_tls().await;
    let mut waits = connect(&gateway, None).await;
    let waiting = tokio::spawn(waits.send_request(event(Some(50))));
    gateway.northbound.arrival().await;
    let idle = connect(&gateway, None).await;
    gateway.northbound.holds();
    let mut busy = connect(&gateway, None).await;
    let in_flight = tokio::spawn(busy.send_request(event(None)));
    let held = gateway.northbound.held(1).await;
    gateway.begin_stop();
    assert_eq!(within(waiting).await.unwrap().unwrap().status(), 202);
    until(|| idle.is_closed()).await;
    assert!(!in_flight.is_finished());
    for completion in held {
        completion.settle(Ok(()), Instant::now());
    }
    let answer = within(in_flight).await.unwrap().unwrap();
    assert_eq!(answer.status(), 202);
    assert!(!answer.headers().contains_key("connection"));
    gateway.stopped().await;
}
