//! Routes, verbs and bodies.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_management::ManagementConfig;

use crate::{Given, error};

#[tokio::test]
async fn routes_and_verbs_that_do_not_exist() {
    let given = Given::new().await;
    given
        .rows(&[
            ("GET", "/", "", 404, ""),
            ("GET", "/v1", "", 404, ""),
            ("GET", "/v1/tenants/", "", 404, ""),
            ("GET", "/v2/tenants/acme", "", 404, ""),
            ("GET", "/v1/credentials/acme", "", 404, ""),
            ("PATCH", "/v1/tenants/acme", "{}", 405, ""),
            ("PUT", "/v1/tenants", "{}", 405, ""),
            ("DELETE", "/v1/credentials/acme/4711", "", 405, ""),
            ("POST", "/v1/credentials/acme/4711", "[]", 405, ""),
        ])
        .await;
}

#[tokio::test]
async fn bodies_have_to_be_json_and_say_so() {
    let given = Given::new().await;
    given.ok("POST", "/v1/tenants/acme", None).await;
    let rows = [
        ("POST", "/v1/tenants", None, 400),
        ("POST", "/v1/tenants", Some("text/plain"), 400),
        ("PUT", "/v1/tenants/acme", None, 400),
        ("PUT", "/v1/tenants/acme", Some("application/jsonx"), 400),
        (
            "PUT",
            "/v1/tenants/acme",
            Some("application/json; charset=utf-8"),
            204,
        ),
        ("PUT", "/v1/tenants/acme", Some("Application/JSON"), 204),
    ];
    for (verb, path, content_type, status) in rows {
        let mut request = given.request(verb, path).body("{}");
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{verb} {content_type:?}");
        if status == 400 {
            assert!(error(response).await.contains("Content-Type"));
        }
    }
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let config = ManagementConfig {
        max_payload_size: 2000,
        ..ManagementConfig::default()
    };
    let given = Given::with(config, 100).await;
    let sized = |bytes: usize| {
        let frame = json!({"ext": {"x": ""}}).to_string().len();
        json!({"ext": {"x": "x".repeat(bytes - frame)}})
    };
    let rows = [(2000, 201), (2001, 413), (10_000, 413)];
    for (bytes, status) in rows {
        let response = given.send("POST", "/v1/tenants", Some(sized(bytes))).await;
        assert_eq!(response.status(), status, "{bytes}");
        if status == 413 {
            assert!(error(response).await.contains("2000"));
        }
    }
    // Without a declared length, the limit is found on the way.
    let mut raw = TcpStream::connect(given.address).await.unwrap();
    let head = "POST /v1/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Basic b3A6cHc=\r\n\
                Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = format!("BB8\r\n{}\r\n0\r\n\r\n", " ".repeat(3000));
    raw.write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    let mut answer = [0; 12];
    raw.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}
