//! Connections: several requests, limits on what a peer may make us hold, the stop.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_http::HttpConfig;

use crate::kit::{Gateway, read_answer, read_to_end, until, within};

const AUTHORIZATION: &str = "Authorization: Basic c2Vuc29yMUBhY21lOnB3\r\n";

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: w\r\n{AUTHORIZATION}{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn impatient() -> HttpConfig {
    HttpConfig {
        idle_timeout: 1,
        ..HttpConfig::default()
    }
}

#[tokio::test]
async fn requests_may_be_pipelined_and_are_answered_in_order() {
    let gateway = Gateway::start().await;
    let requests = [
        post("/telemetry", "", "1"),
        post("/nowhere", "", "2"),
        post("/event", "QoS-Level: 7\r\n", "3"),
        post("/event", "Connection: close\r\n", "4"),
    ];
    let answers = gateway.raw(requests.concat()).await;
    let statuses: Vec<&str> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(statuses, ["202", "404", "400", "202"], "{answers}");
    let payloads: Vec<_> = gateway
        .northbound
        .messages()
        .into_iter()
        .map(|message| message.payload)
        .collect();
    assert_eq!(payloads, ["1", "4"]);
}

#[tokio::test]
async fn what_is_known_of_a_device_is_known_to_its_next_requests_until_it_changes() {
    let gateway = Gateway::start().await;
    let registry = &gateway.registry;
    let mut device = gateway.connect().await;
    let mut upload = async |request: String| {
        device.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut device).await;
        answer["HTTP/1.1 ".len()..][..3].to_owned()
    };
    let own = post("/telemetry", "", "1");
    for _ in 0..3 {
        assert_eq!(upload(own.clone()).await, "202");
    }
    assert_eq!(registry.assertions(), 1);
    // Who comes by the same connection and is somebody else has to be asked for.
    let other = own.replace("c2Vuc29yMUBhY21lOnB3", "Z2F0ZXdheTFAYWNtZTpwdw==");
    for (request, asked) in [(&other, 2), (&other, 2), (&own, 3)] {
        assert_eq!(upload(request.clone()).await, "202");
        assert_eq!(registry.assertions(), asked);
    }
    let messages = gateway.northbound.messages().into_iter();
    let devices: Vec<_> = messages.map(|message| message.device.to_string()).collect();
    assert_eq!(
        devices,
        ["4711", "4711", "4711", "gateway", "gateway", "4711"]
    );
    registry.device("4711", |device| device.enabled = false);
    assert_eq!(upload(own.clone()).await, "404");
    registry.device("4711", |device| device.enabled = true);
    assert_eq!(upload(own.clone()).await, "202");
    registry.change(|records| records.tenant.enabled = false);
    assert_eq!(upload(own.clone()).await, "403");
}

#[tokio::test]
async fn a_refused_request_leaves_the_connection_usable() {
    let gateway = Gateway::start().await;
    let mut device = gateway.connect().await;
    for (request, status) in [
        (post("/event", "QoS-Level: 7\r\n", "1"), "400"),
        (post("/event", "", "1").replace(AUTHORIZATION, ""), "401"),
        (post("/event//other", "", "1").replace("POST", "PUT"), "404"),
        (post("/event", "Content-Type: a/b; c=d\r\n", ""), "202"),
        (post("/event", "", "1"), "202"),
    ] {
        device.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut device).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn the_absolute_form_names_the_same_resource() {
    let gateway = Gateway::start().await;
    let request = post("http://w/telemetry//4711?a=b", "Connection: close\r\n", "1");
    let answer = gateway.raw(request.replace("POST", "PUT")).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let message = gateway.northbound.message();
    assert_eq!(message.origin_address, "http://w/telemetry//4711?a=b");
}

#[tokio::test]
async fn a_device_may_ask_before_it_sends_the_body() {
    let gateway = Gateway::start().await;
    let head = post(
        "/event",
        "Expect: 100-continue\r\nConnection: close\r\n",
        "1",
    );
    let head = head.strip_suffix('1').unwrap();
    let mut device = gateway.connect().await;
    device.write_all(head.as_bytes()).await.unwrap();
    let interim = read_answer(&mut device).await;
    assert!(interim.starts_with("HTTP/1.1 100"), "{interim}");
    device.write_all(b"1").await.unwrap();
    let answer = read_to_end(device).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    // One that will be refused is not asked for its body.
    let answer = gateway.raw(head.replace(AUTHORIZATION, "")).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let answer = gateway.raw(head.replace("Length: 1", "Length: 2049")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let other = post(
        "/event",
        "Expect: the-unexpected\r\nConnection: close\r\n",
        "1",
    );
    let answer = gateway.raw(other).await;
    assert!(answer.starts_with("HTTP/1.1 417"), "{answer}");
    assert!(answer.ends_with(r#"{"error":"N/A"}"#), "{answer}");
}

#[tokio::test]
async fn what_is_not_http_is_a_bad_request_and_a_large_head_too_large() {
    let gateway = Gateway::start().await;
    let answer = gateway.raw("this is not HTTP\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let headers = format!("X: {}\r\n", "x".repeat(20_000));
    let answer = gateway.raw(post("/event", &headers, "1")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = gateway
        .raw(post("/event", "Transfer-Encoding: chunked\r\n", "zz\r\n"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(gateway.northbound.messages().is_empty());
}

#[tokio::test]
async fn nobody_keeps_a_connection_for_ever() {
    let gateway = Gateway::start_with(impatient(), 10).await;
    let silent = gateway.connect().await;
    let mut in_head = gateway.connect().await;
    in_head.write_all(b"POST /event HTT").await.unwrap();
    let mut in_body = gateway.connect().await;
    let whole = post("/event", "", "12345");
    in_body
        .write_all(&whole.as_bytes()[..whole.len() - 2])
        .await
        .unwrap();
    let mut between = gateway.connect().await;
    between
        .write_all(post("/event", "", "1").as_bytes())
        .await
        .unwrap();
    assert!(read_answer(&mut between).await.contains("202"));
    for stream in [silent, in_head, between] {
        assert_eq!(read_to_end(stream).await, "");
    }
    let answer = read_to_end(in_body).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    until(|| gateway.budget.open() == 0).await;
}

/// Sends `bytes` one at a time until the other side has had enough.
async fn trickle(mut device: TcpStream, bytes: &[u8]) -> Duration {
    let begin = Instant::now();
    let mut answer = [0; 64];
    for byte in bytes.iter().cycle() {
        let pause = tokio::time::sleep(Duration::from_millis(50));
        tokio::select! {
            read = device.read(&mut answer) => {
                if matches!(read, Ok(0) | Err(_)) { break; }
            }
            () = pause => if device.write_all(&[*byte]).await.is_err() { break },
        }
    }
    begin.elapsed()
}

#[tokio::test]
async fn a_head_or_a_body_may_not_trickle_for_ever() {
    let gateway = Gateway::start_with(impatient(), 10).await;
    let mut in_head = gateway.connect().await;
    in_head
        .write_all(b"POST /event HTTP/1.1\r\nX: ")
        .await
        .unwrap();
    let mut in_body = gateway.connect().await;
    let request = post("/event", "Transfer-Encoding: chunked\r\n", "");
    let request = request.replace("Content-Length: 0\r\n", "");
    in_body.write_all(request.as_bytes()).await.unwrap();
    let (head, body) = tokio::join!(
        within(trickle(in_head, b"x")),
        within(trickle(in_body, b"1\r\nx\r\n")),
    );
    assert!(head < Duration::from_secs(10) && body < Duration::from_secs(10));
    until(|| gateway.budget.open() == 0).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let gateway = Gateway::start_with(impatient(), 10).await;
    let device = gateway.connect().await;
    let (_unread, mut sending) = device.into_split();
    let requests = "GET /nowhere HTTP/1.1\r\nHost: w\r\n\r\n".repeat(1000);
    // Ends when the gateway, which stopped reading because it cannot write, closes.
    within(async { while sending.write_all(requests.as_bytes()).await.is_ok() {} }).await;
    until(|| gateway.budget.open() == 0).await;
}

#[tokio::test]
async fn over_the_budget_a_connection_is_refused_politely() {
    let gateway = Gateway::start_with(HttpConfig::default(), 1).await;
    let first = gateway.connect().await;
    until(|| gateway.budget.open() == 1).await;
    let request = gateway
        .request(Method::POST, "/event")
        .body("x".repeat(100_000));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(
        response.text().await.unwrap(),
        r#"{"error":"temporarily unavailable"}"#
    );
    // Nor does one that says nothing stay.
    assert_eq!(read_to_end(gateway.connect().await).await, "");
    drop(first);
    until(|| gateway.budget.open() == 0).await;
    let request = gateway.request(Method::POST, "/event").body("1");
    assert_eq!(request.send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn on_stop_what_is_in_flight_is_answered_and_the_rest_closed() {
    let gateway = Gateway::start().await;
    gateway.northbound.holds();
    let mut busy = gateway.connect().await;
    busy.write_all(post("/event", "", "1").as_bytes())
        .await
        .unwrap();
    let held = gateway.northbound.held(1).await;
    let fresh = gateway.connect().await;
    let mut idle = gateway.connect().await;
    idle.write_all(post("/telemetry", "", "1").as_bytes())
        .await
        .unwrap();
    assert!(read_answer(&mut idle).await.contains("202"));
    until(|| gateway.budget.open() == 3).await;
    gateway.begin_stop();
    assert_eq!(read_to_end(fresh).await, "");
    assert_eq!(read_to_end(idle).await, "");
    for completion in held {
        completion.settle(Ok(()), Instant::now());
    }
    let answer = read_to_end(busy).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    gateway.stopped().await;
}
