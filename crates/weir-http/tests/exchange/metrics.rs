//! What is counted, and what is not (contract §7.3).

use reqwest::Method;
use tokio::io::AsyncWriteExt as _;
use weir_core::Reason;

use crate::kit::{Gateway, until};

const COUNT: &str = "hono_telemetry_processing_duration_seconds_count";
const BYTES: &str = "hono_telemetry_payload_bytes_sum";

#[tokio::test]
async fn each_upload_is_counted_once_with_what_became_of_it() {
    let gateway = Gateway::start().await;
    let post = async |path: &str| {
        let request = gateway.request(Method::POST, path).body("12345");
        request.send().await.unwrap();
    };
    let counted = |labels: &[&str], count: f64| {
        let mut labels = labels.to_vec();
        labels.extend([
            r#"component_type="adapter""#,
            r#"component_name="hono-http""#,
            r#"tenant="acme""#,
            r#"ttd="none""#,
        ]);
        assert_eq!(gateway.metric(COUNT, &labels), count, "{labels:?}");
        assert_eq!(gateway.metric(BYTES, &labels), count * 5.0, "{labels:?}");
    };
    post("/telemetry").await;
    post("/telemetry").await;
    post("/event").await;
    counted(
        &[r#"type="telemetry""#, r#"status="forwarded""#, r#"qos="0""#],
        2.0,
    );
    counted(
        &[r#"type="event""#, r#"status="forwarded""#, r#"qos="1""#],
        1.0,
    );
    gateway.northbound.says(Err(Reason::NoConsumer));
    post("/telemetry").await;
    counted(
        &[
            r#"type="telemetry""#,
            r#"status="undeliverable""#,
            r#"qos="0""#,
        ],
        1.0,
    );
    gateway.northbound.says(Err(Reason::UndeliverableHere));
    post("/event").await;
    gateway
        .registry
        .device("4711", |device| device.enabled = false);
    post("/event").await;
    counted(
        &[r#"type="event""#, r#"status="unprocessable""#, r#"qos="1""#],
        2.0,
    );
    counted(&[], 6.0);
    for meter in [
        "hono_connections_attempts_total",
        "hono_connections_authenticated",
    ] {
        assert_eq!(gateway.metric(meter, &[]), 0.0, "{meter}");
    }
}

#[tokio::test]
async fn payloads_are_accounted_in_steps() {
    let gateway = Gateway::start().await;
    gateway
        .registry
        .change(|records| records.tenant.minimum_message_size = 4096);
    let request = gateway.request(Method::POST, "/telemetry").body("12345");
    request.send().await.unwrap();
    assert_eq!(gateway.metric(BYTES, &[]), 4096.0);
}

#[tokio::test]
async fn a_request_that_never_became_a_message_is_not_counted() {
    let gateway = Gateway::start().await;
    let post = |path| gateway.request(Method::POST, path);
    let put = |path| gateway.request(Method::PUT, path);
    let large = "x".repeat(3000);
    let requests = [
        (post("/telemetry").header("qos-level", "3").body("1"), 400),
        (post("/event").header("qos-level", "0").body("1"), 400),
        (post("/telemetry"), 400),
        (put("/telemetry").body("1"), 404),
        (put("/telemetry/acme").body("1"), 404),
        (put("/telemetry/other/4711").body("1"), 403),
        (post("/telemetry").body(large), 413),
        (post("/telemetry/acme/4711").body("1"), 405),
        (post("/nowhere").body("1"), 404),
        (gateway.anonymous(Method::POST, "/event").body("1"), 401),
    ];
    for (request, status) in requests {
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    assert_eq!(gateway.uploads(), 0.0);
}

#[tokio::test]
async fn an_upload_whose_device_left_is_counted_with_its_outcome() {
    let gateway = Gateway::start().await;
    gateway.northbound.holds();
    let mut device = gateway.connect().await;
    let request = "POST /event HTTP/1.1\r\nHost: w\r\nContent-Length: 1\r\n\
                   Authorization: Basic c2Vuc29yMUBhY21lOnB3\r\n\r\n1";
    device.write_all(request.as_bytes()).await.unwrap();
    let held = gateway.northbound.held(1).await;
    drop(device);
    until(|| gateway.budget.open() == 0).await;
    for completion in held {
        completion.settle(Ok(()), std::time::Instant::now());
    }
    until(|| gateway.uploads() == 1.0).await;
    assert_eq!(gateway.metric(COUNT, &[r#"status="forwarded""#]), 1.0);
    assert_eq!(
        gateway.metric("weir_uplinks_abandoned_total", &[r#"tenant="acme""#]),
        1.0
    );
}
