//! Routes, verbs and bodies.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use weir_management::ManagementConfig;

use crate::{Given, error, header};

#[tokio::test]
async fn paths_that_lead_nowhere_are_answered_with_a_page() {
    let given = Given::new().await;
    for path in [
        "/",
        "/v1",
        "/v1/tenants/",
        "/v2/tenants/{t}",
        "/v1/credentials/{t}",
        "/v1/credentials/{t}/4711/1",
    ] {
        for request in [given.request("GET", path), given.anonymous("PUT", path)] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 404, "{path}");
            assert_eq!(
                header(&response, "content-type"),
                "text/html; charset=utf-8"
            );
            let page = response.text().await.unwrap();
            assert!(page.starts_with("<html>"), "{page}");
        }
    }
}

#[tokio::test]
async fn verbs_that_a_path_does_not_know() {
    let given = Given::new().await;
    let rows = [
        (
            "PATCH",
            "/v1/tenants/{t}",
            ["POST", "GET", "PUT", "DELETE"].as_slice(),
        ),
        (
            "PATCH",
            "/v1/devices/{t}/4711",
            &["POST", "GET", "PUT", "DELETE"],
        ),
        ("PUT", "/v1/tenants", &["POST"]),
        ("PUT", "/v1/devices/{t}", &["POST", "DELETE"]),
        ("DELETE", "/v1/credentials/{t}/4711", &["GET", "PUT"]),
        ("POST", "/v1/credentials/{t}/4711", &["GET", "PUT"]),
    ];
    for (verb, path, known) in rows {
        let response = given.send(verb, path, Some(json!({}))).await;
        assert_eq!(response.status(), 405, "{verb} {path}");
        let allowed = header(&response, "allow");
        for verb in known {
            assert!(allowed.split(',').any(|one| one == *verb), "{allowed}");
        }
        error(response).await;
    }
}

/// Whatever takes a body, and a body of the right kind.
const BODIES: [(&str, &str, &str); 7] = [
    ("POST", "/v1/tenants", "{}"),
    ("POST", "/v1/tenants/{t}-new", "{}"),
    ("PUT", "/v1/tenants/{t}", "{}"),
    ("POST", "/v1/devices/{t}", "{}"),
    ("POST", "/v1/devices/{t}/new", "{}"),
    ("PUT", "/v1/devices/{t}/4711", "{}"),
    ("PUT", "/v1/credentials/{t}/4711", "[]"),
];

#[tokio::test]
async fn bodies_have_to_be_json_and_say_so() {
    let given = Given::with_device().await;
    for (verb, path, body) in BODIES {
        let good = if verb == "POST" { 201 } else { 204 };
        let rows = [
            (None, 400),
            (Some("text/plain"), 400),
            (Some("application/jsonx"), 400),
            (Some("application/json; charset=utf-8"), good),
        ];
        for (content_type, status) in rows {
            let mut request = given.request(verb, path).body(body);
            if let Some(content_type) = content_type {
                request = request.header("Content-Type", content_type);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status, "{verb} {path} {content_type:?}");
            if status == 400 {
                assert!(error(response).await.contains("Content-Type"));
            }
        }
        let other = if body == "{}" { "[]" } else { "{}" };
        for (body, text) in [
            ("{", "malformed JSON"),
            ("[] {}", "malformed JSON"),
            (" ", "malformed JSON"),
            (other, "a JSON "),
            ("null", "a JSON "),
            ("\"{}\"", "a JSON "),
        ] {
            given.rows(&[(verb, path, body, 400, text)]).await;
        }
        if verb == "PUT" {
            given.rows(&[(verb, path, "", 400, "required")]).await;
        }
    }
    let request = given.request("PUT", "/v1/tenants/{t}").body("{}");
    let request = request.header("Content-Type", "Application/JSON");
    assert_eq!(request.send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let config = ManagementConfig {
        max_payload_size: 2000,
        ..ManagementConfig::default()
    };
    let given = Given::with(config, 100).await;
    given.ok("POST", "/v1/tenants/{t}", None).await;
    given.ok("POST", "/v1/devices/{t}/4711", None).await;
    for (verb, path, body) in BODIES {
        let good = if verb == "POST" { 201 } else { 204 };
        for (bytes, status) in [(2001, 413), (10_000, 413), (2000, good)] {
            // Space around it is of the body too.
            let body = format!("{body:bytes$}");
            given.rows(&[(verb, path, &body, status, "2000")]).await;
        }
    }
    // Without a declared length, the limit is found on the way.
    let chunk = format!("BB8\r\n{}\r\n", " ".repeat(3000));
    let rows = [
        ("Transfer-Encoding: chunked", chunk.clone() + "0\r\n\r\n"),
        // The rest is read too: the client sends it all before it looks for an answer.
        (
            "Transfer-Encoding: chunked",
            chunk.repeat(300) + "0\r\n\r\n",
        ),
        ("Content-Length: 1000000", " ".repeat(1_000_000)),
        // Nothing is asked for, and so nothing awaited.
        (
            "Content-Length: 1000000\r\nExpect: 100-continue",
            String::new(),
        ),
    ];
    for (length, body) in rows {
        let socket = TcpSocket::new_v4().unwrap();
        // It cannot hold the body: somebody has to read it for all to be sent.
        socket.set_send_buffer_size(4096).unwrap();
        let mut raw = socket.connect(given.address).await.unwrap();
        let head = format!(
            "POST /v1/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Basic b3A6cHc=\r\n\
             Content-Type: application/json\r\n{length}\r\n\r\n"
        );
        raw.write_all(format!("{head}{body}").as_bytes())
            .await
            .unwrap();
        let mut answer = [0; 12];
        raw.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "{length}");
    }
}
