//! Devices that are not asked who they are (contract §1.6.4, §2.2, §2.3).

use reqwest::Method;
use serde_json::json;
use weir_core::{Endpoint, Reason, Tenant};
use weir_http::HttpConfig;

use crate::kit::{Gateway, Service};

async fn start() -> Gateway {
    let config = HttpConfig {
        authentication_required: false,
        ..HttpConfig::default()
    };
    Gateway::start_with(config, 100).await
}

#[tokio::test]
async fn each_message_names_its_device_and_needs_nothing_else() {
    let gateway = start().await;
    for (path, endpoint) in [
        ("/telemetry/acme/4711", Endpoint::Telemetry),
        ("/event/acme/4711", Endpoint::Event),
    ] {
        let upload = gateway.anonymous(Method::PUT, path).body("1");
        // What somebody presents all the same is not looked at.
        let upload = upload.basic_auth("nobody@nowhere", Some("wrong"));
        assert_eq!(upload.send().await.unwrap().status(), 202, "{path}");
        let message = gateway.northbound.message();
        assert_eq!(message.endpoint, endpoint);
        assert_eq!(
            (message.tenant.as_str(), message.device.as_str()),
            ("acme", "4711")
        );
    }
    assert_eq!(gateway.uploads(), 2.0);
}

#[tokio::test]
async fn addresses_have_to_name_tenant_and_device() {
    let gateway = start().await;
    let html = "<html><body><h1>Resource not found</h1></body></html>";
    let text = |text: &str| json!({"error": text}).to_string();
    let rows = [
        (Method::POST, "/telemetry", 404, html.to_owned()),
        (Method::POST, "/event", 404, html.to_owned()),
        (Method::PUT, "/telemetry", 404, html.to_owned()),
        (Method::OPTIONS, "/telemetry", 404, html.to_owned()),
        (
            Method::POST,
            "/telemetry/acme/4711",
            405,
            text("method not allowed"),
        ),
        (
            Method::POST,
            "/command/res/1",
            405,
            text("method not allowed"),
        ),
        (
            Method::PUT,
            "/telemetry/acme",
            404,
            text("request URI must contain device ID"),
        ),
        (
            Method::PUT,
            "/telemetry//4711",
            404,
            text("request URI must contain tenant ID"),
        ),
        (
            Method::PUT,
            "/command/res/acme/4711",
            404,
            text("request URI must contain tenant, device and request ID"),
        ),
        (
            Method::PUT,
            "/command/res//4711/1",
            404,
            text("request URI must contain tenant ID"),
        ),
        (
            Method::PUT,
            "/telemetry/nobody/4711",
            404,
            text("tenant is disabled or not registered"),
        ),
    ];
    for (method, path, status, body) in rows {
        let answer = gateway.anonymous(method.clone(), path).body("1").send();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.text().await.unwrap(), body, "{method} {path}");
    }
    assert_eq!(gateway.uploads(), 0.0);
}

#[tokio::test]
async fn registrations_are_asserted_for_each_message() {
    let gateway = start().await;
    let status = async |path: &str| {
        let upload = gateway.anonymous(Method::PUT, path).body("1");
        upload.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("/telemetry/acme/4712").await, 404);
    gateway.registry.change(|records| {
        records.tenant = Tenant {
            enabled: false,
            ..Tenant::default()
        };
    });
    assert_eq!(status("/telemetry/acme/4711").await, 403);
}

#[tokio::test]
async fn browsers_are_told_of_the_methods_there_are() {
    let gateway = start().await;
    for path in ["/telemetry/acme/4711", "/command/res/acme/4711/1"] {
        let asked = gateway
            .anonymous(Method::OPTIONS, path)
            .header("origin", "https://example.org")
            .header("access-control-request-method", "PUT");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 204, "{path}");
        let methods = &answer.headers()["access-control-allow-methods"];
        assert_eq!(methods, "PUT", "{path}");
    }
}

/// Sends a request that is wrong in six ways, less the first `mended` of them.
async fn answer(gateway: &Gateway, mended: usize) -> (u16, String) {
    let pick = |fault: usize, good: &'static str, bad: &'static str| {
        if fault < mended { good } else { bad }
    };
    let path = format!(
        "/event/{}/{}",
        pick(4, "acme", "nobody"),
        pick(0, "4711", "")
    );
    gateway.northbound.says(match mended {
        6 => Ok(()),
        _ => Err(Reason::NoConsumer),
    });
    let request = gateway
        .anonymous(Method::PUT, &path)
        .header("expect", pick(1, "100-continue", "nothing"))
        .header("qos-level", pick(3, "1", "0"))
        .body("x".repeat(if mended > 2 { 5 } else { 3000 }));
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.text().await.unwrap())
}

#[tokio::test]
async fn the_tenant_is_looked_up_when_all_the_rest_is_in_order() {
    let gateway = start().await;
    let expected = [
        (404, "must contain device ID"),
        (417, "N/A"),
        (413, "N/A"),
        (400, "QoS-Level"),
        (404, "tenant is disabled or not registered"),
        (503, "no consumer available"),
        (202, ""),
    ];
    for (mended, (status, text)) in expected.into_iter().enumerate() {
        let answer = answer(&gateway, mended).await;
        assert_eq!(answer.0, status, "{mended} mended: {}", answer.1);
        assert!(answer.1.contains(text), "{mended} mended: {}", answer.1);
    }
    let upload = gateway.anonymous(Method::PUT, "/event/nobody/4711");
    let upload = upload.header("content-type", &b"\xff"[..]).body("1");
    assert_eq!(upload.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn only_uploads_are_told_when_to_try_again() {
    let gateway = start().await;
    gateway
        .registry
        .change(|records| records.down = Some(Service::Tenant));
    for (path, is_told) in [
        ("/event/acme/4711", true),
        ("/telemetry/acme/4711", true),
        ("/command/res/acme/4711/103c~2f1r-1", false),
    ] {
        let request = gateway.anonymous(Method::PUT, path).body("1");
        let request = request.header("hono-cmd-status", "200");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        let headers = answer.headers();
        assert_eq!(headers.contains_key("retry-after"), is_told, "{path}");
    }
}
