//! Connections that begin and do not go on: they are closed, and their places are free again.

use std::net::SocketAddr;

use base64::Engine as _;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{
    Answer, Application, Device, MqttDevice, TlsGateway, basic, connect_packet, story,
};

/// A way to stop halfway.
struct Halfway {
    name: &'static str,
    listener: &'static str,
    sent: Vec<u8>,
    /// What it is answered, as far as it is.
    told: &'static [u8],
}

/// The head of a request whose body does not come.
fn upload(device: &Device) -> Vec<u8> {
    let login = format!("{}:{}", device.username, device.password);
    let login = base64::engine::general_purpose::STANDARD.encode(login);
    let head = format!(
        "POST /telemetry HTTP/1.1\r\nHost: w\r\nAuthorization: Basic {login}\r\n\
         Content-Type: text/plain\r\nContent-Length: 100\r\n\r\nonly this"
    );
    head.into_bytes()
}

/// A TLS record of a handshake message (RFC 8446 §5.1) that has 256 bytes and of which two come.
const HALF_HELLO: [u8; 7] = [0x16, 3, 1, 1, 0, 1, 0];

fn ways(device: &Device) -> Vec<Halfway> {
    let connect = connect_packet(5, Some(&device.username), Some(&device.password));
    let way = |name, listener, sent: &[u8], told| Halfway {
        name,
        listener,
        sent: sent.to_vec(),
        told,
    };
    let garbage = b"\x00\x01 no TLS at all";
    vec![
        way("nothing over MQTT", "mqtt", b"", b""),
        way("half a CONNECT", "mqtt", &connect[..connect.len() - 3], b""),
        way("nothing over HTTP", "http", b"", b""),
        way(
            "half a head",
            "http",
            b"POST /telemetry HTTP/1.1\r\nHo",
            b"",
        ),
        way("half a body", "http", &upload(device), b"HTTP/1.1 408"),
        way("no handshake", "mqtt-tls", b"", b""),
        way("half a handshake", "http-tls", &HALF_HELLO, b""),
        // TLS says what is wrong (RFC 8446 §6).
        way("garbage over MQTT", "mqtt-tls", garbage, b"\x15\x03"),
        way("garbage over HTTP", "http-tls", garbage, b"\x15\x03"),
    ]
}

/// Goes halfway and waits for the gateway to close.
async fn go(address: SocketAddr, way: &Halfway) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&way.sent).await.unwrap();
    let mut answer = Vec::new();
    // A reset is a way to close, too.
    let _ = stream.read_to_end(&mut answer).await;
    let is_told = answer.starts_with(way.told) && answer.is_empty() == way.told.is_empty();
    assert!(is_told, "{}: {}", way.name, answer.escape_ascii());
}

#[test]
fn devices_that_stop_halfway_are_closed_and_their_places_are_free() {
    story(async {
        // As many places as there are ways, so that all of them are taken for a while.
        let gateway = TlsGateway::start_with(&[
            ("WEIR__MAX_CONNECTIONS", "9"),
            ("WEIR__MQTT__CONNECT_TIMEOUT", "1"),
            ("WEIR__HTTP__IDLE_TIMEOUT", "1"),
            ("WEIR__LOG__FILTER", "info,weir_mqtt=debug,weir_http=debug"),
        ])
        .await;
        let device = gateway.tenant_and_device().await;
        let ways = ways(&device);
        assert_eq!(ways.len(), 9);
        let all = ways
            .iter()
            .map(|way| go(gateway.address(way.listener), way));
        join_all(all).await;
        let log = gateway.log();
        for line in [
            "no CONNECT in time",
            "TLS handshake failed",
            "connection broken off",
        ] {
            assert!(log.contains(line), "{line}: {log}");
        }
        // All places can be had again: eight devices stay, and one comes and goes.
        let mut devices = Vec::new();
        while devices.len() < 8 {
            // A place is given back just after the connection is closed.
            devices.extend(MqttDevice::v3(&gateway, &device).await.ok());
        }
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        for mqtt in &mut devices {
            let (answer, _) = tokio::join!(mqtt.publish("t", "x"), application.accept_next());
            assert_eq!(answer, Answer::Acknowledged { success: true });
        }
        let request = basic(
            reqwest::Client::new().post(gateway.http("/telemetry")),
            &device,
        );
        let (answer, _) = tokio::join!(request.body("x").send(), application.accept_next());
        assert_eq!(answer.unwrap().status(), 202);
        // Nothing is left of those who stopped.
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.connected(&device.tenant), 8);
        assert_eq!(metrics.sum("hono_connections_unauthenticated", &[]), 0.0);
    });
}

#[test]
fn applications_that_stop_halfway_are_closed_and_their_places_are_free() {
    story(async {
        let gateway = TlsGateway::start_with(&[
            ("WEIR__NORTHBOUND__AMQP__MAX_CONNECTIONS", "4"),
            ("WEIR__NORTHBOUND__AMQP__HANDSHAKE_TIMEOUT", "1"),
        ])
        .await;
        let way = |name, listener, sent: &[u8], told| Halfway {
            name,
            listener,
            sent: sent.to_vec(),
            told,
        };
        let ways = [
            way("nothing", "northbound.amqp", b"", b""),
            way("half a header", "northbound.amqp", b"AMQP", b""),
            way(
                "no login",
                "northbound.amqp",
                b"AMQP\x03\x01\x00\x00",
                b"AMQP\x03\x01\x00\x00",
            ),
            way("half a handshake", "northbound.amqp-tls", &HALF_HELLO, b""),
        ];
        let all = ways
            .iter()
            .map(|way| go(gateway.address(way.listener), way));
        join_all(all).await;
        let (user, password) = gateway.application();
        let mut applications = Vec::new();
        while applications.len() < 4 {
            let come = Application::login(&gateway, user, password, "telemetry/any").await;
            applications.extend(come.ok());
        }
    });
}
