//! TLS on every listener: clients are `rustls` with the HTTP of `hyper` and the AMQP of `fe2o3-amqp`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fe2o3_amqp::connection::Connection;
use fe2o3_amqp::link::Receiver;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::Session;
use fe2o3_amqp::types::messaging::Body;
use fe2o3_amqp::types::primitives::Value as AmqpValue;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::kit::{Application, Device, Gateway, connect_packet, story};

/// A folder with a certificate for `localhost` that can be replaced.
struct Certificate {
    folder: TempDir,
    connector: TlsConnector,
}

impl Certificate {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connector = write(folder.path());
        Self { folder, connector }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Starts a gateway with this certificate on free ports, and with more environment variables.
    async fn gateway(&self, more: &[(&str, &str)]) -> Gateway {
        let (certificate, key) = (self.certificate(), self.key());
        let mut environment = vec![
            ("WEIR__TLS__CERTIFICATE", certificate.to_str().unwrap()),
            ("WEIR__TLS__KEY", key.to_str().unwrap()),
            ("WEIR__HTTP__TLS_PORT", "0"),
            ("WEIR__MQTT__TLS_PORT", "0"),
            ("WEIR__MANAGEMENT__TLS_PORT", "0"),
            ("WEIR__NORTHBOUND__AMQP__TLS_PORT", "0"),
        ];
        environment.extend(more);
        Gateway::start_with(&environment).await
    }

    /// Connects to a listener's port with TLS as a client that trusts this certificate alone.
    async fn connect(&self, gateway: &Gateway, listener: &str) -> TlsStream<TcpStream> {
        let connected = try_connect(&self.connector, gateway, listener).await;
        connected.unwrap()
    }
}

/// Writes a new certificate for `localhost` with its key; what trusts it comes back.
fn write(folder: &Path) -> TlsConnector {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn try_connect(
    connector: &TlsConnector,
    gateway: &Gateway,
    listener: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let port = gateway.address(listener).port();
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, stream).await
}

/// An HTTP connection of one user over TLS.
struct Https {
    sender: SendRequest<Full<Bytes>>,
    authorization: String,
}

impl Https {
    async fn new(stream: TlsStream<TcpStream>, (user, password): (&str, &str)) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Self {
            sender,
            authorization,
        }
    }

    async fn request(&mut self, method: &str, path: &str, body: impl Into<Bytes>) -> u16 {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "localhost")
            .header("Authorization", &self.authorization)
            .header("Content-Type", "application/json")
            .header("QoS-Level", "1")
            .body(Full::new(body.into()))
            .unwrap();
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        // The next request waits for the end of this answer.
        answer.into_body().collect().await.unwrap();
        status
    }
}

/// Provisions a tenant with one device, as an operator does over TLS.
async fn provision(operator: &mut Https) -> Device {
    let device = Device {
        tenant: "acme".to_owned(),
        id: "sensor".to_owned(),
        username: "sensor@acme".to_owned(),
        password: "the password".to_owned(),
    };
    let secrets = json!([{"pwd-plain": device.password}]);
    let credentials = json!([{"type": "hashed-password", "auth-id": "sensor", "secrets": secrets}]);
    let steps = [
        ("POST", "/v1/tenants/acme", json!({}), 201),
        ("POST", "/v1/devices/acme/sensor", json!({}), 201),
        ("PUT", "/v1/credentials/acme/sensor", credentials, 204),
    ];
    for (method, path, body, expected) in steps {
        let status = operator.request(method, path, body.to_string()).await;
        assert_eq!(status, expected, "{path}");
    }
    device
}

#[test]
fn a_message_goes_all_the_way_where_there_is_no_plain_port() {
    story(async {
        let certificate = Certificate::new();
        let gateway = certificate
            .gateway(&[
                ("WEIR__HTTP__PLAIN", "false"),
                ("WEIR__MQTT__PLAIN", "false"),
                // With TLS alone it may be reached by others without more words.
                ("WEIR__MQTT__BIND", "0.0.0.0"),
                ("WEIR__MANAGEMENT__PLAIN", "false"),
                ("WEIR__NORTHBOUND__AMQP__PLAIN", "false"),
            ])
            .await;
        let stream = certificate.connect(&gateway, "management-tls").await;
        let device = provision(&mut Https::new(stream, gateway.operator()).await).await;

        let (username, password) = gateway.application();
        let login = SaslProfile::Plain {
            username: username.into(),
            password: password.into(),
        };
        let mut connection = Connection::builder()
            .container_id("stories")
            .sasl_profile(login)
            .open_with_stream(certificate.connect(&gateway, "northbound.amqp-tls").await)
            .await
            .unwrap();
        let mut session = Session::begin(&mut connection).await.unwrap();
        let mut receiver = Receiver::attach(&mut session, "receiver", "telemetry/acme")
            .await
            .unwrap();
        let mut expect = async |payload: &[u8]| {
            let received = receiver.recv::<Body<AmqpValue>>().await.unwrap();
            receiver.accept(&received).await.unwrap();
            let Body::Data(sections) = received.into_message().body else {
                panic!("not data");
            };
            let bytes: Vec<_> = sections.iter().flat_map(|data| data.0.to_vec()).collect();
            assert_eq!(bytes, payload);
        };

        let stream = certificate.connect(&gateway, "http-tls").await;
        let mut http = Https::new(stream, (&device.username, &device.password)).await;
        for payload in ["first", "second"] {
            let upload = http.request("POST", "/telemetry", payload);
            let (status, ()) = tokio::join!(upload, expect(payload.as_bytes()));
            assert_eq!(status, 202);
        }

        let mut mqtt = certificate.connect(&gateway, "mqtt-tls").await;
        let connect = connect_packet(4, Some(&device.username), Some(&device.password));
        mqtt.write_all(&connect).await.unwrap();
        let mut connack = [0; 4];
        mqtt.read_exact(&mut connack).await.unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0]);
        mqtt.write_all(b"\x32\x12\x00\x09telemetry\x00\x07third")
            .await
            .unwrap();
        let mut puback = [0; 4];
        let (_, ()) = tokio::join!(mqtt.read_exact(&mut puback), expect(b"third"));
        assert_eq!(puback, [0x40, 2, 0, 7]);
    });
}

#[test]
fn a_replaced_certificate_is_used_without_a_restart() {
    story(async {
        let certificate = Certificate::new();
        let gateway = certificate.gateway(&[]).await;
        gateway
            .logged("private key can be read by every user")
            .await;
        let device = gateway.tenant_and_device().await;
        let mut application =
            Application::consume(&gateway, &format!("telemetry/{}", device.tenant)).await;
        let login = (&*device.username, &*device.password);
        let mut before = Https::new(certificate.connect(&gateway, "http-tls").await, login).await;

        std::fs::write(certificate.key(), "this is no key").unwrap();
        let log = gateway.logged("the new certificate cannot be used").await;
        assert!(log.contains("key.pem holds no private key"), "{log}");
        // The one from before is still there.
        certificate.connect(&gateway, "http-tls").await;

        let renewed = write(certificate.folder.path());
        gateway.logged("certificate replaced").await;
        for listener in [
            "http-tls",
            "mqtt-tls",
            "management-tls",
            "northbound.amqp-tls",
        ] {
            try_connect(&renewed, &gateway, listener).await.unwrap();
            let old = try_connect(&certificate.connector, &gateway, listener).await;
            assert!(old.is_err(), "{listener} still has the old certificate");
        }
        let upload = before.request("POST", "/telemetry", "x");
        let (status, _) = tokio::join!(upload, application.accept_next());
        assert_eq!(status, 202, "connections go on");
    });
}

#[test]
fn those_who_do_not_speak_tls_hold_nobody_up() {
    story(async {
        let certificate = Certificate::new();
        let gateway = certificate.gateway(&[]).await;
        let address = gateway.address("management-tls");
        let _silent = TcpStream::connect(address).await.unwrap();
        let plain = reqwest::get(format!("http://{address}/v1/tenants")).await;
        assert!(plain.is_err());
        let log = gateway.logged("TLS handshake failed").await;
        assert!(log.contains("\"listener\":\"management\""), "{log}");
        let stream = certificate.connect(&gateway, "management-tls").await;
        let mut operator = Https::new(stream, gateway.operator()).await;
        assert_eq!(operator.request("GET", "/v1/tenants/none", "").await, 404);
        let listening = log.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "listening").then(|| line["tls"].clone())
        });
        let tls: Vec<_> = listening.collect();
        assert_eq!(tls.iter().filter(|tls| **tls == json!(true)).count(), 4);
        assert_eq!(tls.iter().filter(|tls| **tls == json!(false)).count(), 5);
    });
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    story(async {
        let certificate = Certificate::new();
        let gateway = certificate
            .gateway(&[("WEIR__HTTP__IDLE_TIMEOUT", "1")])
            .await;
        let stream = certificate.connect(&gateway, "http-tls").await;
        let (_unread, mut sending) = tokio::io::split(stream);
        let requests = "GET /nowhere HTTP/1.1\r\nHost: w\r\n\r\n".repeat(1000);
        // Ends when the gateway, which stopped reading because it cannot write, closes.
        while sending.write_all(requests.as_bytes()).await.is_ok() {}
    });
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("serve")
        .current_dir(folder.path())
        .envs([
            ("WEIR__TLS__CERTIFICATE", "nowhere.pem"),
            ("WEIR__TLS__KEY", "nowhere.key"),
            ("WEIR__HEALTH__PORT", "0"),
        ])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(error.contains("cannot read nowhere.pem"), "{error}");
}

/// What a client without TLS that is one too many is told, one with TLS cannot be.
#[test]
fn connections_that_end_before_their_protocol_begins_are_counted() {
    story(async {
        let certificate = Certificate::new();
        let more = [("WEIR__MAX_CONNECTIONS", "1")];
        let gateway = certificate.gateway(&more).await;
        let first = TcpStream::connect(gateway.address("mqtt")).await.unwrap();
        while gateway.native().await.sum("weir_connections_open", &[]) < 1.0 {}
        for (listener, protocol) in [("mqtt-tls", "hono-mqtt"), ("http-tls", "hono-http")] {
            let connected = try_connect(&certificate.connector, &gateway, listener).await;
            assert!(connected.is_err(), "{listener}");
            let page = gateway.native().await;
            let labels = [
                ("component_name", protocol),
                ("refused", "connection"),
                ("reason", "instance-connections-exceeded"),
            ];
            assert_eq!(page.sum("weir_refusals_total", &labels), 1.0, "{protocol}");
        }
        // None of them has attempted anything.
        let page = gateway.metrics().await;
        assert_eq!(page.attempts("adapter-connections-exceeded"), 0);

        drop(first);
        while gateway.native().await.sum("weir_connections_open", &[]) > 0.0 {}
        let mut nonsense = TcpStream::connect(gateway.address("mqtt-tls"))
            .await
            .unwrap();
        nonsense
            .write_all(b"this is not TLS\r\n\r\n")
            .await
            .unwrap();
        let _ = nonsense.read_to_end(&mut Vec::new()).await;
        drop(nonsense);
        let failed = [("listener", "mqtt"), ("result", "handshake-failed")];
        let name = "weir_listener_connections_total";
        while gateway.native().await.sum(name, &failed) < 1.0 {}
        let page = gateway.native().await;
        let count = |result| {
            let labels = [("listener", "mqtt"), ("result", result)];
            page.sum(name, &labels)
        };
        assert_eq!(count("accepted"), 1.0);
        assert_eq!(count("over-budget"), 1.0);
        assert_eq!(count("handshake-failed"), 1.0);
        assert_eq!(page.sum("weir_connections_limit", &[]), 1.0);
    });
}
