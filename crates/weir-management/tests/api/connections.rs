//! What becomes of connections.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_management::ManagementConfig;

use crate::Given;

#[tokio::test]
async fn without_room_there_is_a_503_at_once() {
    let given = Given::with(ManagementConfig::default(), 0).await;
    let mut raw = TcpStream::connect(given.address).await.unwrap();
    raw.write_all(b"GET /v1/tenants/any HTTP/1.1\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    raw.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with(r#"{"error":"Temporarily unavailable"}"#));
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_a_503_without_details() {
    let given = Given::new().await;
    given.registry.close().await;
    let rows = [
        ("GET", "/v1/tenants/{t}", "", 503, "Temporarily unavailable"),
        ("POST", "/v1/tenants", "{}", 503, "Temporarily unavailable"),
    ];
    given.rows(&rows).await;
}

#[tokio::test]
async fn the_stop_ends_idle_connections_and_answers_what_is_in_flight() {
    let given = Given::new().await;
    given.ok("POST", "/v1/tenants/{t}", None).await;
    let mut slow = TcpStream::connect(given.address).await.unwrap();
    let head = "PUT /v1/tenants/{t} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic b3A6cHc=\r\n\
                Content-Type: application/json\r\nContent-Length: 2\r\n\
                Expect: 100-continue\r\n\r\n";
    slow.write_all(given.fill(head).as_bytes()).await.unwrap();
    // The server asks for the body, so the request is in flight.
    let mut asked = [0; 25];
    slow.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    given.stop.cancel();
    slow.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    given.server.await.unwrap();
}
