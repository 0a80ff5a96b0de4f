//! What the HTTP adapter's ports speak besides HTTP/1.1: MQTT over WebSockets, and HTTP/2. Clients are
//! `tungstenite`, with packets by hand, and `reqwest`.

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::kit::{
    Application, Authority, Gateway, Identity, TlsGateway, connect_packet, payload, property,
    story, string, subject,
};

/// A device's MQTT over a WebSocket.
struct Socket<S>(WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    async fn open(stream: S) -> Self {
        let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        let (socket, answer) = client_async(request, stream).await.unwrap();
        assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "mqtt");
        Self(socket)
    }

    async fn send(&mut self, bytes: impl Into<Vec<u8>>) {
        self.0.send(Message::binary(bytes.into())).await.unwrap();
    }

    async fn expect(&mut self, bytes: &'static [u8]) {
        let message = self.0.next().await.unwrap().unwrap();
        assert_eq!(message, Message::binary(bytes));
    }

    /// Logs in with MQTT 3.1.1 and sends telemetry with QoS 1.
    async fn upload(&mut self, login: Option<(&str, &str)>, application: &mut Application) {
        let (username, password) = login.unzip();
        self.send(connect_packet(4, username, password)).await;
        self.expect(&[0x20, 2, 0, 0]).await;
        self.send(b"\x32\x12\x00\x09telemetry\x00\x07hello").await;
        let acknowledged = self.expect(&[0x40, 2, 0, 7]);
        let ((), message) = tokio::join!(acknowledged, application.accept_next());
        assert_eq!(payload(&message), b"hello");
        assert_eq!(property(&message, "orig_adapter"), string("hono-mqtt"));
        assert_eq!(property(&message, "device_id"), string("sensor"));
    }
}

/// A gateway with TLS, where a device called `sensor` logs in with this certificate.
async fn certified() -> (TlsGateway, Identity, Application) {
    let gateway = TlsGateway::start().await;
    let authority = Authority::new("Acme Devices");
    let anchors = json!({"trusted-ca": [authority.anchor(json!({}))]});
    let tenant = gateway.tenant(anchors).await;
    let device = format!("devices/{tenant}/sensor");
    gateway.manage(Method::POST, &device, &json!({})).await;
    let credential = json!({"type": "x509-cert", "auth-id": "CN=4711,O=Acme", "secrets": [{}]});
    let credentials = format!("credentials/{tenant}/sensor");
    gateway
        .manage(Method::PUT, &credentials, &json!([credential]))
        .await;
    let application = Application::consume(&gateway, &format!("telemetry/{tenant}")).await;
    (gateway, authority.issue(&subject("4711")), application)
}

#[test]
fn mqtt_goes_over_a_websocket_and_is_told_of_the_stop() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let stream = TcpStream::connect(gateway.address("http")).await.unwrap();
        let mut socket = Socket::open(stream).await;
        let login = (&*device.username, &*device.password);
        socket.upload(Some(login), &mut application).await;
        gateway.terminate();
        let last = socket.0.next().await.unwrap().unwrap();
        let Message::Close(Some(close)) = last else {
            panic!("{last:?}");
        };
        assert_eq!(close.code, CloseCode::Away);
        assert!(socket.0.next().await.is_none());
        drop(socket);
        assert!(gateway.wait().success());
    });
}

#[test]
fn over_tls_the_certificate_of_the_connection_is_the_devices() {
    story(async {
        let (gateway, identity, mut application) = certified().await;
        let stream = gateway.visitor(&identity).web().await;
        Socket::open(stream)
            .await
            .upload(None, &mut application)
            .await;
    });
}

#[test]
fn without_mqtt_there_are_no_websockets() {
    story(async {
        let gateway = Gateway::start_with(&[("WEIR__MQTT__ENABLED", "false")]).await;
        let answer = reqwest::get(gateway.http("/mqtt")).await.unwrap();
        assert_eq!(answer.status(), 404);
    });
}

#[test]
fn telemetry_arrives_over_http_2() {
    story(async {
        let (gateway, identity, mut application) = certified().await;
        let visitor = gateway.visitor(&identity);
        for (versions, spoken) in [
            (&["h2"][..], reqwest::Version::HTTP_2),
            (&["h2", "http/1.1"], reqwest::Version::HTTP_2),
            (&["http/1.1"], reqwest::Version::HTTP_11),
            (&[], reqwest::Version::HTTP_11),
        ] {
            let request = visitor.request_over(versions, Method::POST, "/telemetry");
            let answer = request.body("hello").send();
            let (answer, message) = tokio::join!(answer, application.accept_next());
            let answer = answer.unwrap();
            assert_eq!((answer.version(), answer.status().as_u16()), (spoken, 202));
            assert_eq!(payload(&message), b"hello");
            assert_eq!(property(&message, "orig_adapter"), string("hono-http"));
            assert_eq!(property(&message, "orig_address"), string("/telemetry"));
        }
    });
}
