//! What an upload may look like, what arrives of it, and how it is answered.

use reqwest::{Method, Response};
use serde_json::json;
use weir_core::{Downstream, Endpoint, Qos, Reason, RejectCondition};

use crate::kit::{Gateway, within};

const EMPTY: &str = "application/vnd.eclipse-hono-empty-notification";

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let value = response.headers().get(name);
    value.map(|value| value.to_str().unwrap())
}

fn message_of(gateway: &Gateway, response: &Response) -> Downstream {
    assert_eq!(response.status(), 202);
    gateway.northbound.message()
}

#[tokio::test]
async fn a_devices_own_telemetry_arrives() {
    let gateway = Gateway::start().await;
    let request = gateway.request(Method::POST, "/telemetry?a=%20b&c");
    let request = request.header("content-type", "text/plain; charset=utf-8");
    let response = request.body("12.5").send().await.unwrap();
    let message = message_of(&gateway, &response);
    assert_eq!(header(&response, "content-length"), Some("0"));
    assert_eq!(header(&response, "content-type"), None);
    assert_eq!(response.bytes().await.unwrap(), "");
    assert_eq!(message.tenant.as_str(), "acme");
    assert_eq!(message.device.as_str(), "4711");
    assert_eq!(message.endpoint, Endpoint::Telemetry);
    assert_eq!(message.qos, Qos::AtMostOnce);
    assert_eq!(message.adapter, "hono-http");
    assert_eq!(message.origin_address, "/telemetry?a=%20b&c");
    assert_eq!(message.content_type.as_deref(), Some("text/plain"));
    assert_eq!((message.ttl, message.ttd), (None, None));
    assert!(!message.retain);
    assert_eq!(message.payload, "12.5");
}

#[tokio::test]
async fn an_event_is_sent_at_least_once() {
    let gateway = Gateway::start().await;
    let request = gateway.request(Method::POST, "/event/");
    let response = request.body("fire").send().await.unwrap();
    let message = message_of(&gateway, &response);
    assert_eq!(message.endpoint, Endpoint::Event);
    assert_eq!(message.qos, Qos::AtLeastOnce);
    assert_eq!(message.origin_address, "/event/");
    let default = message.content_type.as_deref();
    assert_eq!(default, Some("application/octet-stream"));
}

#[tokio::test]
async fn a_path_may_name_the_device_with_or_without_its_tenant() {
    let gateway = Gateway::start().await;
    for path in [
        "/telemetry/acme/4711",
        "/telemetry//4711",
        "/event/acme/4711",
        "/event//4711",
    ] {
        let request = gateway.request(Method::PUT, path).body("1");
        let message = message_of(&gateway, &request.send().await.unwrap());
        assert_eq!(message.device.as_str(), "4711");
        assert_eq!(message.origin_address, path);
    }
    for (path, device) in [
        ("/telemetry/acme/edge", "edge"),
        ("/event//edge", "edge"),
        ("/event//a%2Bb+c", "a+b c"),
        ("/telemetry//gateway", "gateway"),
    ] {
        let request = gateway.gateway_request(path).body("1");
        let message = message_of(&gateway, &request.send().await.unwrap());
        assert_eq!(message.device.as_str(), device);
    }
}

#[tokio::test]
async fn the_quality_of_service_is_a_header() {
    let gateway = Gateway::start().await;
    use Qos::{AtLeastOnce, AtMostOnce};
    let cases = [
        ("telemetry", "", Some(AtMostOnce)),
        ("telemetry", "0", Some(AtMostOnce)),
        ("telemetry", "1", Some(AtLeastOnce)),
        ("telemetry", "2", None),
        ("telemetry", "one", None),
        ("event", "", Some(AtLeastOnce)),
        ("event", "1", Some(AtLeastOnce)),
        ("event", "0", None),
        ("event", "-1", None),
    ];
    for (endpoint, level, qos) in cases {
        // The query is not looked at.
        let path = format!("/{endpoint}?QoS-Level=7");
        let request = gateway.request(Method::POST, &path).body("1");
        let response = request.header("qos-level", level).send().await.unwrap();
        match qos {
            Some(qos) => assert_eq!(message_of(&gateway, &response).qos, qos),
            None => {
                assert_eq!(response.status(), 400, "{endpoint} {level}");
                let body = response.text().await.unwrap();
                assert_eq!(body, r#"{"error":"unsupported QoS-Level header value"}"#);
            }
        }
    }
    assert_eq!(gateway.uploads(), 5.0);
}

#[tokio::test]
async fn payload_and_content_type_have_to_fit() {
    let gateway = Gateway::start().await;
    let empty_with_parameter = format!("{EMPTY}; x=y");
    let cases = [
        ("", "", 400, Some("")),
        ("", EMPTY, 202, None),
        ("", "text/plain", 202, None),
        ("", "; charset=utf-8", 400, Some("")),
        ("1", EMPTY, 400, Some(EMPTY)),
        ("1", &empty_with_parameter, 400, Some(EMPTY)),
        ("1", "", 202, None),
    ];
    for (payload, content_type, status, told) in cases {
        let request = gateway.request(Method::POST, "/event").body(payload);
        let request = request.header("content-type", content_type);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{payload} {content_type}");
        if let Some(told) = told {
            let expected = format!("content type [{told}] does not match payload");
            let body: serde_json::Value = response.json().await.unwrap();
            assert_eq!(body, json!({ "error": expected }));
        }
    }
    assert_eq!(gateway.uploads(), 3.0);
    // The first check that fails wins: the quality of service comes before the content type.
    let request = gateway.request(Method::POST, "/event");
    let response = request.header("qos-level", "0").send().await.unwrap();
    assert!(response.text().await.unwrap().contains("QoS-Level"));
}

#[tokio::test]
async fn a_payload_has_its_largest_size() {
    let gateway = Gateway::start().await;
    let chunked = |size: usize| {
        let piece = "x".repeat(size / 2);
        let rest = "x".repeat(size - size / 2);
        format!(
            "POST /telemetry HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\
             Authorization: Basic c2Vuc29yMUBhY21lOnB3\r\nTransfer-Encoding: chunked\r\n\r\n\
             {:x}\r\n{piece}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
            piece.len(),
            rest.len()
        )
    };
    for size in [1, 2048] {
        let request = gateway.request(Method::POST, "/telemetry");
        let response = request.body("x".repeat(size)).send().await.unwrap();
        assert_eq!(message_of(&gateway, &response).payload.len(), size);
    }
    let answer = gateway.raw(chunked(2048)).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(gateway.northbound.message().payload.len(), 2048);
    for size in [2049, 5_000_000] {
        let request = gateway.request(Method::POST, "/telemetry");
        let response = request.body("x".repeat(size)).send().await.unwrap();
        assert_eq!(response.status(), 413);
        let json = Some("application/json; charset=utf-8");
        assert_eq!(header(&response, "content-type"), json);
        assert_eq!(response.text().await.unwrap(), r#"{"error":"N/A"}"#);
    }
    for size in [2049, 100_000] {
        let answer = gateway.raw(chunked(size)).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    assert!(gateway.northbound.messages().is_empty());
    assert_eq!(gateway.uploads(), 3.0);
}

#[tokio::test]
async fn time_to_live_is_a_header_or_else_a_parameter_of_events() {
    let gateway = Gateway::start().await;
    let cases = [
        ("/event", Some("30"), Some(30_000)),
        ("/event?hono-ttl=20", None, Some(20_000)),
        ("/event?x&hono-ttl=20&hono-ttl=5", Some("30"), Some(30_000)),
        ("/event?hono-ttl=20", Some("soon"), None),
        ("/event?hono-ttl=%32%30", None, Some(20_000)),
        ("/event", Some("-1"), None),
        ("/event", Some("1.5"), None),
        ("/telemetry?hono-ttl=20", Some("30"), None),
    ];
    for (path, ttl, expected) in cases {
        let mut request = gateway.request(Method::POST, path).body("1");
        if let Some(ttl) = ttl {
            request = request.header("hono-ttl", ttl);
        }
        let message = message_of(&gateway, &request.send().await.unwrap());
        assert_eq!(message.ttl, expected, "{path} {ttl:?}");
    }
}

#[tokio::test]
async fn a_trace_is_continued() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let gateway = Gateway::start().await;
    let post = || gateway.request(Method::POST, "/telemetry").body("1");
    let request = post().header("traceparent", PARENT);
    let request = request
        .header("tracestate", "a=1")
        .header("tracestate", "b=2");
    let message = message_of(&gateway, &request.send().await.unwrap());
    assert_eq!(message.trace.to_string(), PARENT);
    assert_eq!(message.trace.tracestate(), Some("a=1,b=2"));
    for request in [
        post(),
        post().header("traceparent", "nonsense"),
        post()
            .header("traceparent", PARENT)
            .header("traceparent", PARENT),
    ] {
        let message = message_of(&gateway, &request.send().await.unwrap());
        assert!(!message.trace.is_sampled());
        assert_ne!(message.trace.to_string(), PARENT);
        assert_eq!(message.trace.tracestate(), None);
    }
}

#[tokio::test]
async fn an_upload_is_answered_with_what_the_consumer_says() {
    let gateway = Gateway::start().await;
    let later = "temporarily unavailable";
    let cases = [
        (Reason::NoConsumer, 503, "no consumer available"),
        (Reason::NoCredit, 503, "no consumer available"),
        (Reason::Released, 503, "consumer didn't process the message"),
        (
            Reason::OutcomeTimeout,
            503,
            "consumer failed to indicate in time whether it has processed the message",
        ),
        (Reason::DownstreamUnavailable, 503, later),
        (Reason::Internal, 503, later),
        (
            Reason::UndeliverableHere,
            404,
            "consumer declared message as undeliverable, it should not be redelivered",
        ),
        (
            Reason::Rejected(RejectCondition::Other, Some("too hot".into())),
            400,
            "too hot",
        ),
    ];
    for (reason, status, text) in cases {
        for path in ["/telemetry", "/event"] {
            gateway.northbound.says(Err(reason.clone()));
            let request = gateway.request(Method::POST, path).body("1");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status, "{reason:?}");
            let retry = (status == 503).then_some("2");
            assert_eq!(header(&response, "retry-after"), retry, "{reason:?}");
            let body: serde_json::Value = response.json().await.unwrap();
            assert_eq!(body, json!({ "error": text }));
        }
    }
}

#[tokio::test]
async fn the_answer_waits_for_the_outcome() {
    let gateway = Gateway::start().await;
    gateway.northbound.holds();
    let sent = tokio::spawn(gateway.request(Method::POST, "/event").body("1").send());
    let held = gateway.northbound.held(1).await;
    assert!(!sent.is_finished());
    for completion in held {
        completion.settle(Err(Reason::Released), std::time::Instant::now());
    }
    assert_eq!(within(sent).await.unwrap().unwrap().status(), 503);
}

#[tokio::test]
async fn unknown_paths_are_not_found_and_known_ones_know_their_methods() {
    let gateway = Gateway::start().await;
    let page = "<html><body><h1>Resource not found</h1></body></html>";
    for path in [
        "/",
        "/t",
        "/telemetryx",
        "//telemetry/acme/4711",
        "/command/req/1",
    ] {
        let response = gateway.anonymous(Method::POST, path).send().await.unwrap();
        assert_eq!(response.status(), 404);
        let html = Some("text/html; charset=utf-8");
        assert_eq!(header(&response, "content-type"), html);
        assert_eq!(response.text().await.unwrap(), page);
    }
    let head = gateway
        .raw("HEAD /nowhere HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
        .await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert!(
        head.ends_with("\r\n\r\n") && !head.contains("<html>"),
        "{head}"
    );
    for (method, path, allow) in [
        (Method::GET, "/telemetry", "POST, OPTIONS"),
        (Method::POST, "/telemetry/acme/4711", "PUT, OPTIONS"),
        (Method::POST, "/event//4711", "PUT, OPTIONS"),
        (Method::DELETE, "/event/acme/4711", "PUT, OPTIONS"),
        (Method::HEAD, "/event", "POST, OPTIONS"),
        (Method::GET, "/command/res/1", "POST, OPTIONS"),
        (Method::POST, "/command/res//4711/1", "PUT, OPTIONS"),
    ] {
        let response = gateway.request(method, path).send().await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        assert_eq!(header(&response, "allow"), Some(allow));
    }
    let undecodable = gateway
        .raw("PUT /telemetry/acme/%zz HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n")
        .await;
    assert!(undecodable.starts_with("HTTP/1.1 400"), "{undecodable}");
}

#[tokio::test]
async fn a_put_has_to_name_a_device_of_the_senders_tenant() {
    let gateway = Gateway::start().await;
    let missing = "request URI must contain device ID";
    let foreign = "not authorized to upload data for device from other tenant";
    let cases = [
        ("/telemetry", 404, missing),
        ("/event/", 404, missing),
        ("/telemetry/acme", 404, missing),
        ("/telemetry/acme/", 404, missing),
        ("/event/other", 404, missing),
        ("/event/other/4711", 403, foreign),
        ("/telemetry/ACME/4711", 403, foreign),
    ];
    for (path, status, text) in cases {
        // These checks come before anything about the body.
        let request = gateway.request(Method::PUT, path);
        let response = request.body("x".repeat(5000)).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body, json!({ "error": text }), "{path}");
    }
    assert_eq!(gateway.uploads(), 0.0);
}

#[tokio::test]
async fn browsers_are_told_what_they_may_send() {
    let gateway = Gateway::start().await;
    let telemetry = "QoS-Level, hono-ttd, Authorization, Content-Type";
    let event = "hono-ttd, Authorization, Content-Type";
    let response = "hono-cmd-status, Authorization, Content-Type";
    for (path, method, headers) in [
        ("/telemetry", "POST", telemetry),
        ("/telemetry/acme/4711", "PUT", telemetry),
        ("/telemetry//4711", "PUT", telemetry),
        ("/event", "POST", event),
        ("/event/acme/4711", "PUT", event),
        ("/event//4711", "PUT", event),
        ("/command/res/1", "PUT, POST", response),
        ("/command/res/acme/4711/1", "PUT, POST", response),
        ("/command/res//4711/1", "PUT, POST", response),
    ] {
        let request = gateway.anonymous(Method::OPTIONS, path);
        let request = request.header("origin", "https://shop.example");
        let request = request.header("access-control-request-method", method);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 204);
        let told = |name| header(&response, name);
        assert_eq!(told("access-control-allow-origin"), Some("*"));
        assert_eq!(told("access-control-allow-methods"), Some(method));
        assert_eq!(told("access-control-allow-headers"), Some(headers));
    }
    let unknown = gateway.anonymous(Method::OPTIONS, "/nowhere");
    assert_eq!(unknown.send().await.unwrap().status(), 404);
    for (authenticated, status) in [(true, 202), (false, 401)] {
        let request = if authenticated {
            gateway.request(Method::POST, "/event")
        } else {
            gateway.anonymous(Method::POST, "/event")
        };
        let request = request.header("origin", "https://shop.example").body("1");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
        let exposed = header(&response, "access-control-expose-headers");
        assert_eq!(exposed, Some("hono-command, hono-cmd-req-id"));
    }
    let request = gateway.request(Method::POST, "/command/res/1");
    let request = request.header("origin", "https://shop.example");
    let response = request.send().await.unwrap();
    assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&response, "access-control-expose-headers"), None);
    let request = gateway.request(Method::POST, "/event").body("1");
    let response = request.send().await.unwrap();
    assert_eq!(header(&response, "access-control-allow-origin"), None);
}
