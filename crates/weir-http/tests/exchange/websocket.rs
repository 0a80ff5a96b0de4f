//! WebSockets: the handshake, a row a case, and the connection that goes on after it. Clients are
//! `tungstenite` and bytes by hand; whoever goes on sends back what it is sent.

use futures_util::{SinkExt as _, StreamExt as _};
use rcgen::{CertifiedKey, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use weir_http::{HttpConfig, WebSocket, WebSockets};
use weir_listener::TlsPeer;

use crate::kit::{Gateway, read_answer, read_to_end, until, within};

/// The sample of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Goes on with WebSockets until the stop; tells who came.
fn echo() -> (WebSockets, mpsc::UnboundedReceiver<Option<TlsPeer>>) {
    let (says, said) = mpsc::unbounded_channel();
    let websockets = WebSockets::new(move |socket| serve(socket, says.clone()));
    (websockets, said)
}

async fn serve(socket: WebSocket, says: mpsc::UnboundedSender<Option<TlsPeer>>) {
    let WebSocket {
        connection,
        read_ahead,
    } = socket;
    assert!(connection.permit.is_some());
    let _ = says.send(connection.tls);
    let stream = connection.stream;
    let read_ahead = read_ahead.to_vec();
    let socket = WebSocketStream::from_partially_read(stream, read_ahead, Role::Server, None);
    let mut socket = socket.await;
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            () = connection.stop.cancelled() => {
                let _ = socket.close(None).await;
                return;
            }
        };
        match message {
            Some(Ok(message)) if message.is_binary() => socket.send(message).await.unwrap(),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

async fn start(config: HttpConfig) -> Gateway {
    Gateway::start_with_websockets(config, 10, echo().0).await
}

fn handshake(uri: &str) -> Request {
    http::Request::get(uri)
        .header("Host", "w")
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", KEY)
        .header("Sec-WebSocket-Protocol", "mqtt")
        .body(())
        .unwrap()
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
) -> Result<(WebSocketStream<S>, Response), Error> {
    within(client_async(handshake("ws://w/mqtt"), stream)).await
}

async fn there_and_back<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) {
    let message = Message::binary(vec![1, 2, 3]);
    socket.send(message.clone()).await.unwrap();
    assert_eq!(within(socket.next()).await.unwrap().unwrap(), message);
}

/// A handshake by hand.
fn raw(line: &str, headers: &[&str]) -> String {
    format!("{line}\r\nHost: w\r\n{}\r\n\r\n", headers.join("\r\n"))
}

const LINE: &str = "GET /mqtt HTTP/1.1";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const VERSION: &str = "Sec-WebSocket-Version: 13";
const KEYED: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const PROTOCOL: &str = "Sec-WebSocket-Protocol: mqtt";

#[tokio::test]
async fn a_client_that_asks_for_mqtt_goes_on_with_it() {
    let gateway = start(HttpConfig::default()).await;
    let (mut socket, answer) = open(gateway.connect().await).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "mqtt");
    assert_eq!(answer.headers()["sec-websocket-accept"], PROOF);
    assert!(!answer.headers().contains_key("sec-websocket-extensions"));
    there_and_back(&mut socket).await;
    assert_eq!(gateway.budget.open(), 1);
    socket.close(None).await.unwrap();
    until(|| gateway.budget.open() == 0).await;
}

#[tokio::test]
async fn a_handshake_may_say_more_than_it_has_to_and_in_other_words() {
    let gateway = start(HttpConfig::default()).await;
    let cases = [
        raw(LINE, &[UPGRADE, CONNECTION, VERSION, KEYED, PROTOCOL]),
        raw(
            "GET /mqtt?a=b HTTP/1.1",
            &[UPGRADE, CONNECTION, VERSION, KEYED, PROTOCOL],
        ),
        raw(
            LINE,
            &[
                "UPGRADE: h2c, WebSocket",
                "connection: keep-alive, UPGRADE",
                VERSION,
                KEYED,
                "Sec-WebSocket-Protocol: mqttv3.1, mqtt",
                "Sec-WebSocket-Extensions: permessage-deflate",
                "Origin: https://anybody.example",
            ],
        ),
        raw(
            LINE,
            &[
                UPGRADE,
                "Connection: keep-alive",
                CONNECTION,
                VERSION,
                KEYED,
                "Sec-WebSocket-Protocol: other",
                PROTOCOL,
            ],
        ),
    ];
    for request in cases {
        let mut client = gateway.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{request}: {answer}");
        assert!(answer.contains(&format!("sec-websocket-accept: {PROOF}\r\n")));
        assert!(
            answer.contains("sec-websocket-protocol: mqtt\r\n"),
            "{answer}"
        );
        assert!(!answer.contains("content-length"), "{answer}");
    }
}

#[tokio::test]
async fn a_bad_handshake_is_told_what_is_wrong_with_it() {
    let gateway = start(HttpConfig::default()).await;
    let not_one = "a WebSocket handshake was expected";
    let key = "malformed Sec-WebSocket-Key header";
    let protocol = "the WebSocket subprotocol mqtt is required";
    let version = "unsupported version of the WebSocket protocol";
    let with = |headers: &[&str]| raw(LINE, headers);
    let cases = [
        (with(&[]), 400, not_one),
        (with(&[CONNECTION, VERSION, KEYED, PROTOCOL]), 400, not_one),
        (with(&[UPGRADE, VERSION, KEYED, PROTOCOL]), 400, not_one),
        (
            with(&["Upgrade: h2c", CONNECTION, VERSION, KEYED, PROTOCOL]),
            400,
            not_one,
        ),
        (
            with(&[UPGRADE, "Connection: close", VERSION, KEYED, PROTOCOL]),
            400,
            not_one,
        ),
        (
            raw(
                "GET /mqtt HTTP/1.0",
                &[UPGRADE, CONNECTION, VERSION, KEYED, PROTOCOL],
            ),
            400,
            not_one,
        ),
        (with(&[UPGRADE, CONNECTION, KEYED, PROTOCOL]), 426, version),
        (
            with(&[
                UPGRADE,
                CONNECTION,
                "Sec-WebSocket-Version: 8",
                KEYED,
                PROTOCOL,
            ]),
            426,
            version,
        ),
        (
            with(&[
                UPGRADE,
                CONNECTION,
                VERSION,
                "Sec-WebSocket-Version: 8",
                KEYED,
                PROTOCOL,
            ]),
            426,
            version,
        ),
        (with(&[UPGRADE, CONNECTION, VERSION, PROTOCOL]), 400, key),
        (
            with(&[
                UPGRADE,
                CONNECTION,
                VERSION,
                "Sec-WebSocket-Key: c2hvcnQ=",
                PROTOCOL,
            ]),
            400,
            key,
        ),
        (
            with(&[
                UPGRADE,
                CONNECTION,
                VERSION,
                "Sec-WebSocket-Key: !",
                PROTOCOL,
            ]),
            400,
            key,
        ),
        (
            with(&[UPGRADE, CONNECTION, VERSION, KEYED, KEYED, PROTOCOL]),
            400,
            key,
        ),
        (with(&[UPGRADE, CONNECTION, VERSION, KEYED]), 400, protocol),
        (
            with(&[
                UPGRADE,
                CONNECTION,
                VERSION,
                KEYED,
                "Sec-WebSocket-Protocol: mqttv3.1",
            ]),
            400,
            protocol,
        ),
        (
            with(&[
                UPGRADE,
                CONNECTION,
                VERSION,
                KEYED,
                "Sec-WebSocket-Protocol: MQTT",
            ]),
            400,
            protocol,
        ),
        (
            raw(
                "POST /mqtt HTTP/1.1",
                &[UPGRADE, CONNECTION, VERSION, KEYED, PROTOCOL],
            ),
            405,
            "method not allowed",
        ),
        (
            raw("OPTIONS /mqtt HTTP/1.1", &[]),
            405,
            "method not allowed",
        ),
        (
            with(&[
                UPGRADE,
                CONNECTION,
                VERSION,
                KEYED,
                PROTOCOL,
                "Content-Length: 1",
            ]) + "x",
            400,
            "a WebSocket handshake has no body",
        ),
    ];
    for (request, status, text) in cases {
        let mut client = gateway.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut client).await;
        assert!(
            answer[8..].starts_with(&format!(" {status} ")),
            "{request}: {answer}"
        );
        assert!(
            answer.ends_with(&format!(r#"{{"error":"{text}"}}"#)),
            "{request}: {answer}"
        );
        let names_version = answer.contains("sec-websocket-version: 13\r\n");
        assert_eq!(names_version, status == 426, "{answer}");
        assert_eq!(
            answer.contains("upgrade: websocket\r\n"),
            status == 426,
            "{answer}"
        );
        assert_eq!(answer.contains("allow: GET\r\n"), status == 405, "{answer}");
    }
}

#[tokio::test]
async fn a_refused_handshake_may_be_tried_again_on_the_connection() {
    let gateway = start(HttpConfig::default()).await;
    let mut client = gateway.connect().await;
    let requests = [
        raw(LINE, &[UPGRADE, CONNECTION, KEYED, PROTOCOL]),
        "POST /event HTTP/1.1\r\nHost: w\r\nContent-Length: 1\r\n\
         Authorization: Basic c2Vuc29yMUBhY21lOnB3\r\n\r\n1"
            .to_owned(),
    ];
    client
        .write_all(requests.concat().as_bytes())
        .await
        .unwrap();
    assert!(
        read_answer(&mut client)
            .await
            .contains("426 Upgrade Required")
    );
    assert!(read_answer(&mut client).await.contains("202 Accepted"));
    let (mut socket, _) = open(client).await.unwrap();
    there_and_back(&mut socket).await;
}

#[tokio::test]
async fn what_comes_right_behind_the_handshake_is_not_lost() {
    let gateway = start(HttpConfig::default()).await;
    let mut client = gateway.connect().await;
    let mut bytes = raw(LINE, &[UPGRADE, CONNECTION, VERSION, KEYED, PROTOCOL]).into_bytes();
    // A binary frame of three bytes under a mask of zeros.
    bytes.extend(b"\x82\x83\0\0\0\0abc");
    client.write_all(&bytes).await.unwrap();
    assert!(read_answer(&mut client).await.starts_with("HTTP/1.1 101"));
    let mut frame = [0; 5];
    within(client.read_exact(&mut frame)).await.unwrap();
    assert_eq!(&frame, b"\x82\x03abc");
}

#[tokio::test]
async fn with_tls_it_is_known_who_came() {
    let (websockets, mut said) = echo();
    let gateway = Gateway::start_secured(HttpConfig::default(), Some(websockets)).await;
    let device = rcgen::generate_simple_self_signed(["device".to_owned()]).unwrap();
    let identity: &CertifiedKey<KeyPair> = &device;
    for protocols in [&["http/1.1"][..], &[]] {
        let stream = gateway.connect_as(protocols, Some(identity)).await;
        let (mut socket, _) = open(stream).await.unwrap();
        there_and_back(&mut socket).await;
        let peer = within(said.recv()).await.unwrap().unwrap();
        assert_eq!(peer.certificate.as_ref(), Some(device.cert.der()));
        assert_eq!(peer.server_name.as_deref(), Some("localhost"));
    }
}

#[tokio::test]
async fn http_2_has_none() {
    let gateway = Gateway::start_secured(HttpConfig::default(), Some(echo().0)).await;
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let url = format!("https://{}/mqtt", gateway.address);
    let answer = within(client.get(url).send()).await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let config = HttpConfig {
        cors_allowed_origin: "https://fleet.example".to_owned(),
        ..HttpConfig::default()
    };
    let gateway = start(config).await;
    for (origin, status) in [
        (None, 101),
        (Some("Origin: https://fleet.example"), 101),
        (Some("Origin: https://FLEET.example"), 101),
        (Some("Origin: https://other.example"), 403),
        (Some("Origin: https://fleet.example.org"), 403),
        (Some("Origin: null"), 403),
    ] {
        let mut headers = vec![UPGRADE, CONNECTION, VERSION, KEYED, PROTOCOL];
        headers.extend(origin);
        let mut client = gateway.connect().await;
        client
            .write_all(raw(LINE, &headers).as_bytes())
            .await
            .unwrap();
        let answer = read_answer(&mut client).await;
        assert!(
            answer[8..].starts_with(&format!(" {status} ")),
            "{origin:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn the_stop_reaches_whoever_went_on_and_waits_for_it() {
    let gateway = start(HttpConfig::default()).await;
    let (mut socket, _) = open(gateway.connect().await).await.unwrap();
    there_and_back(&mut socket).await;
    gateway.begin_stop();
    let last = within(socket.next()).await.unwrap().unwrap();
    assert!(last.is_close(), "{last:?}");
    drop(socket);
    gateway.stopped().await;
}

#[tokio::test]
async fn over_the_budget_nobody_goes_on() {
    let gateway = Gateway::start_with_websockets(HttpConfig::default(), 1, echo().0).await;
    let (mut first, _) = open(gateway.connect().await).await.unwrap();
    let refused = open(gateway.connect().await).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Http(answer) if answer.status() == 503),
        "{refused}"
    );
    there_and_back(&mut first).await;
}

#[tokio::test]
async fn unless_somebody_goes_on_with_it_there_is_nothing_at_that_path() {
    let gateway = Gateway::start().await;
    let closing = ["Connection: close", VERSION, KEYED, PROTOCOL];
    let mut client = gateway.connect().await;
    client
        .write_all(raw(LINE, &closing).as_bytes())
        .await
        .unwrap();
    let answer = read_to_end(client).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("Resource not found"), "{answer}");
}
