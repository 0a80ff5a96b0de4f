//! Certificate authorities, the devices they vouch for, and a gateway that these reach with TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use reqwest::{Method, RequestBuilder};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Gateway, MqttDevice};

/// Whoever vouches for devices.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// With a new key; two of the same name are two authorities.
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = subject(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.into(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An entry of a tenant's `trusted-ca`, with more members.
    pub(crate) fn anchor(&self, more: Value) -> Value {
        let mut anchor = json!({"cert": STANDARD.encode(&self.certificate)});
        let members = anchor.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        anchor
    }

    /// A certificate for a device.
    pub(crate) fn issue(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::new(certificate.into(), &key)
    }
}

/// The subject `CN=name,O=Acme` and nothing else, valid now.
pub(crate) fn subject(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let parts = [
        (DnType::OrganizationName, "Acme"),
        (DnType::CommonName, name),
    ];
    for (kind, value) in parts {
        params.distinguished_name.push(kind, value);
    }
    params
}

/// A device's certificate and its key.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// One that vouches for itself.
    pub(crate) fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = subject(name).self_signed(&key).unwrap();
        Self::new(certificate.into(), &key)
    }

    fn new(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Self { certificate, key }
    }
}

/// A gateway with TLS on its devices' side, and what trusts it.
pub(crate) struct TlsGateway {
    gateway: Gateway,
    roots: RootCertStore,
    _folder: TempDir,
}

impl TlsGateway {
    /// Starts one that is known as 127.0.0.1, `localhost` and by all names in `gateway.example`.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more environment variables.
    pub(crate) async fn start_with(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = ["127.0.0.1", "localhost", "*.gateway.example"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tls = [
            ("WEIR__TLS__CERTIFICATE", certificate.to_str().unwrap()),
            ("WEIR__TLS__KEY", key.to_str().unwrap()),
            ("WEIR__HTTP__TLS_PORT", "0"),
            ("WEIR__MQTT__TLS_PORT", "0"),
            ("WEIR__MANAGEMENT__TLS_PORT", "0"),
            ("WEIR__NORTHBOUND__AMQP__TLS_PORT", "0"),
        ];
        let gateway = Gateway::start_with(&[&tls[..], more].concat()).await;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.into()).unwrap();
        Self {
            gateway,
            roots,
            _folder: folder,
        }
    }

    /// A device with this certificate, by address: it asks for no host name.
    pub(crate) fn visitor(&self, identity: &Identity) -> Visitor {
        self.visitor_of("127.0.0.1", identity)
    }

    /// A device with this certificate that knows the gateway by a host name.
    pub(crate) fn visitor_of(&self, host: &str, identity: &Identity) -> Visitor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())
            .unwrap();
        Visitor {
            host: host.to_owned(),
            tls,
            http: self.gateway.address("http-tls"),
            mqtt: self.gateway.address("mqtt-tls"),
        }
    }
}

impl Deref for TlsGateway {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

/// A device that says who it is by its certificate.
pub(crate) struct Visitor {
    host: String,
    tls: ClientConfig,
    http: SocketAddr,
    mqtt: SocketAddr,
}

impl Visitor {
    /// A request over a connection of its own.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_over(&[], method, path)
    }

    /// The same, on a connection that speaks one of these versions of HTTP, by their names in TLS.
    pub(crate) fn request_over(
        &self,
        versions: &[&str],
        method: Method,
        path: &str,
    ) -> RequestBuilder {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = versions.iter().map(|name| name.as_bytes().into()).collect();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .resolve(&self.host, self.http)
            .build()
            .unwrap();
        let url = format!("https://{}:{}{path}", self.host, self.http.port());
        client
            .request(method, url)
            .header("content-type", "text/plain")
            .header("qos-level", "1")
    }

    /// Sends telemetry of its own over HTTPS.
    pub(crate) async fn upload(&self, payload: &'static str) -> (u16, String) {
        let request = self.request(Method::POST, "/telemetry").body(payload);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    }

    /// A connection to the HTTP adapter, for what it may become.
    pub(crate) async fn web(&self) -> TlsStream<TcpStream> {
        let connector = TlsConnector::from(Arc::new(self.tls.clone()));
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let stream = TcpStream::connect(self.http).await.unwrap();
        connector.connect(name, stream).await.unwrap()
    }

    /// Connects with MQTT 3.1.1.
    pub(crate) async fn v3(
        &self,
        client_id: &str,
        login: Option<(&str, &str)>,
    ) -> Result<MqttDevice, String> {
        MqttDevice::v3_at(self.tunnel().await, client_id, login).await
    }

    /// Connects with MQTT 5.
    pub(crate) async fn v5(
        &self,
        client_id: &str,
        login: Option<(&str, &str)>,
    ) -> Result<MqttDevice, String> {
        MqttDevice::v5_at(self.tunnel().await, client_id, login).await
    }

    /// A port for one connection, which goes on with TLS: the MQTT client has none of its own.
    async fn tunnel(&self) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connector = TlsConnector::from(Arc::new(self.tls.clone()));
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let gateway = self.mqtt;
        tokio::spawn(async move {
            let (mut plain, _) = listener.accept().await.unwrap();
            let stream = TcpStream::connect(gateway).await.unwrap();
            // However it ends, the client's side ends with it.
            if let Ok(mut stream) = connector.connect(name, stream).await {
                let _ = tokio::io::copy_bidirectional(&mut plain, &mut stream).await;
            }
        });
        address
    }
}
