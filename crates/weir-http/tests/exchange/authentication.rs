//! Who may upload, and what is told to those who may not.

use reqwest::{Method, RequestBuilder, Response};
use weir_core::AdapterSettings;
use weir_http::HttpConfig;

use crate::kit::{Gateway, Service, within};

fn challenges(response: &Response) -> Vec<&str> {
    let values = response.headers().get_all("www-authenticate").iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

async fn refused(request: RequestBuilder) -> (u16, usize, bool, String) {
    let response = within(request.body("1").send()).await.unwrap();
    let status = response.status().as_u16();
    let challenges = challenges(&response).len();
    let retry = response.headers().contains_key("retry-after");
    let body: serde_json::Value = response.json().await.unwrap();
    let text = body["error"].as_str().unwrap().to_owned();
    (status, challenges, retry, text)
}

#[tokio::test]
async fn without_credentials_the_mechanisms_are_named() {
    let config = HttpConfig {
        realm: "My \"own\" r\u{e4}alm\r\nX: y".to_owned(),
        ..HttpConfig::default()
    };
    for (config, realm) in [
        (HttpConfig::default(), "Hono"),
        (config, r#"My \"own\" ralmX: y"#),
    ] {
        let gateway = Gateway::start_with(config, 10).await;
        let request = gateway.anonymous(Method::POST, "/telemetry").body("1");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        let expected = [
            format!("Bearer realm=\"{realm}\""),
            format!("Basic realm=\"{realm}\""),
        ];
        assert_eq!(challenges(&response), expected);
    }
}

#[tokio::test]
async fn a_challenge_is_for_what_could_not_be_verified() {
    let gateway = Gateway::start().await;
    let request = |value: &str| {
        let request = gateway.anonymous(Method::PUT, "/telemetry/acme/4711");
        request.header("authorization", value)
    };
    let basic = |user: &str, password: &str| {
        let request = gateway.anonymous(Method::POST, "/event");
        request.basic_auth(user, Some(password))
    };
    let cases = [
        (request("Bearer e30.e30.e30"), 401, 2),
        (request("Digest realm=x"), 401, 2),
        (basic("sensor1", "pw"), 401, 2),
        (basic("", ""), 401, 2),
        (basic("sensor1@acme", ""), 401, 2),
        (basic("sensor1@acme", "wrong"), 401, 0),
        (basic("nobody@acme", "pw"), 401, 0),
        (basic("sensor1@nowhere", "pw"), 401, 0),
        (basic("sensor1@acme@acme", "pw"), 401, 0),
        (request("Basic"), 400, 0),
        (request("sensor1"), 400, 0),
        (request("Basic ????"), 400, 0),
    ];
    for (at, (request, status, challenges)) in cases.into_iter().enumerate() {
        let answer = refused(request).await;
        assert_eq!((answer.0, answer.1), (status, challenges), "case {at}");
        assert!(!answer.2, "case {at}");
        if (status, challenges) == (401, 0) {
            assert_eq!(answer.3, "bad credentials", "case {at}");
        }
    }
    assert!(gateway.northbound.messages().is_empty());
    assert_eq!(gateway.uploads(), 0.0);
}

#[tokio::test]
async fn a_script_is_not_challenged() {
    let gateway = Gateway::start().await;
    for (by, expected) in [("XMLHttpRequest", 0), ("curl", 2)] {
        let request = gateway.anonymous(Method::POST, "/event");
        let answer = refused(request.header("x-requested-with", by)).await;
        assert_eq!((answer.0, answer.1), (401, expected));
    }
}

#[tokio::test]
async fn the_user_name_may_hold_all_of_the_credentials() {
    let gateway = Gateway::start().await;
    // Base64 of `sensor1@acme:pw`.
    let request = gateway
        .anonymous(Method::POST, "/event")
        .basic_auth("c2Vuc29yMUBhY21lOnB3", Some(""));
    assert_eq!(request.body("1").send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn disabled_credentials_are_bad_ones() {
    let gateway = Gateway::start().await;
    gateway.registry.change(|records| {
        records.credentials.get_mut("sensor1").unwrap().enabled = false;
    });
    let answer = refused(gateway.request(Method::POST, "/event")).await;
    assert_eq!((answer.0, answer.1), (401, 0));
}

#[tokio::test]
async fn a_disabled_tenant_or_adapter_is_forbidden_before_the_password_counts() {
    let gateway = Gateway::start().await;
    let wrong = || {
        let request = gateway.anonymous(Method::POST, "/event");
        request.basic_auth("sensor1@acme", Some("wrong"))
    };
    gateway
        .registry
        .change(|records| records.tenant.enabled = false);
    let text = "tenant is disabled or not registered".to_owned();
    assert_eq!(refused(wrong()).await, (403, 0, false, text));
    gateway.registry.change(|records| {
        records.tenant.enabled = true;
        records.tenant.adapters = Some(vec![AdapterSettings {
            kind: "hono-mqtt".to_owned(),
            enabled: true,
            device_authentication_required: true,
            ext: serde_json::Map::new(),
        }]);
    });
    let text = "adapter is disabled".to_owned();
    assert_eq!(refused(wrong()).await, (403, 0, false, text));
    assert_eq!(gateway.uploads(), 0.0);
}

#[tokio::test]
async fn only_an_upload_is_told_when_to_try_again() {
    let gateway = Gateway::start().await;
    for (service, retry) in [
        (Service::Tenant, false),
        (Service::Credentials, false),
        (Service::Registration, true),
    ] {
        gateway
            .registry
            .change(|records| records.down = Some(service));
        let answer = refused(gateway.request(Method::POST, "/event")).await;
        assert_eq!(
            answer,
            (503, 0, retry, "temporarily unavailable".to_owned())
        );
    }
    gateway.registry.change(|records| records.down = None);
    let request = gateway.request(Method::POST, "/event").body("1");
    assert_eq!(request.send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn devices_and_gateways_have_to_be_registered() {
    let gateway = Gateway::start().await;
    let device_gone = (404, "device is disabled or not registered");
    let gateway_gone = (403, "gateway is disabled or not registered");
    let expect = async |request: RequestBuilder, (status, text): (u16, &str)| {
        let answer = refused(request).await;
        assert_eq!(answer, (status, 0, false, text.to_owned()));
    };
    expect(gateway.gateway_request("/event//nobody"), device_gone).await;
    expect(gateway.gateway_request("/event//other-edge"), gateway_gone).await;
    expect(gateway.request(Method::PUT, "/event//edge"), gateway_gone).await;
    gateway
        .registry
        .device("edge", |device| device.enabled = false);
    expect(gateway.gateway_request("/event//edge"), device_gone).await;
    gateway
        .registry
        .device("edge", |device| device.enabled = true);
    gateway
        .registry
        .device("gateway", |device| device.enabled = false);
    expect(gateway.gateway_request("/event//edge"), gateway_gone).await;
    expect(gateway.gateway_request("/event//gateway"), device_gone).await;
    gateway
        .registry
        .device("4711", |device| device.enabled = false);
    expect(gateway.request(Method::POST, "/event"), device_gone).await;
    assert!(gateway.northbound.messages().is_empty());
}

#[tokio::test]
async fn the_sender_is_known_before_the_body_is_read() {
    let gateway = Gateway::start().await;
    // The body never comes, and need not.
    let head = "POST /telemetry HTTP/1.1\r\nHost: w\r\nContent-Length: 1000000\r\n\r\n";
    let answer = gateway.raw(head).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    // It comes all at once, and is too large besides.
    let request = gateway.anonymous(Method::POST, "/telemetry");
    let response = request.body("x".repeat(3_000_000)).send().await.unwrap();
    assert_eq!(response.status(), 401);
}
