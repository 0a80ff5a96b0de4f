//! Certificates, a listener that echoes, a client of `rustls`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use weir_core::ConnectionBudget;
use weir_listener::{
    Bind, ClientCertificates, Connection, Listener, Tls, TlsFiles, TlsPeer, TlsPort,
};

/// A certificate with its key.
pub(crate) struct Certificate {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// When a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    Now,
    Over,
    NotYet,
}

impl Certificate {
    /// One that signed itself.
    pub(crate) fn new(name: &str) -> Self {
        Self::valid(name, Validity::Now)
    }

    /// The same, at some other time.
    pub(crate) fn valid(name: &str, validity: Validity) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, validity).self_signed(&key).unwrap();
        Self { certificate, key }
    }

    /// One of a certificate authority that nobody has heard of.
    pub(crate) fn issued_by_nobody_known(name: &str) -> Self {
        let mut authority = params("authority", Validity::Now);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, Validity::Now)
            .signed_by(&key, &issuer)
            .unwrap();
        Self { certificate, key }
    }

    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.leaf()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).unwrap()
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Puts both where [`files`] says.
    pub(crate) fn write(&self, folder: &Path) {
        let files = files(folder);
        std::fs::write(files.certificate, self.pem()).unwrap();
        std::fs::write(files.key, self.key_pem()).unwrap();
    }
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    match validity {
        Validity::Now => {}
        Validity::Over => params.not_after = date_time_ymd(2020, 1, 1),
        Validity::NotYet => params.not_before = date_time_ymd(4000, 1, 1),
    }
    params
}

/// Where a listener's certificate is in a folder.
pub(crate) fn files(folder: &Path) -> TlsFiles {
    TlsFiles {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
        client_ca: None,
    }
}

/// A listener with TLS alone that sends back what it is sent.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) budget: ConnectionBudget,
    pub(crate) stop: CancellationToken,
    pub(crate) server: JoinHandle<()>,
    pub(crate) tls: Tls,
    pub(crate) folder: TempDir,
    said: mpsc::UnboundedReceiver<TlsPeer>,
}

impl Served {
    pub(crate) async fn start(certificate: &Certificate, clients: ClientCertificates) -> Self {
        Self::within(100, certificate, clients).await
    }

    /// The same, with room for some connections.
    pub(crate) async fn within(
        connections: usize,
        certificate: &Certificate,
        clients: ClientCertificates,
    ) -> Self {
        Self::offering(&[], connections, certificate, clients).await
    }

    /// The same, with protocols to choose from.
    pub(crate) async fn offering(
        protocols: &'static [&'static [u8]],
        connections: usize,
        certificate: &Certificate,
        clients: ClientCertificates,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificate.write(folder.path());
        let tls = Tls::load(files(folder.path())).unwrap();
        let port = TlsPort {
            port: 0,
            tls: tls.clone().offering(protocols),
            clients,
        };
        let bind = Bind {
            name: "mqtt",
            // Reachable by others, which TLS may be without more words.
            ip: [0, 0, 0, 0].into(),
            plain: None,
            allow_insecure: false,
            tls: Some(port),
        };
        let listener = Listener::bind(bind).await.unwrap();
        let port = listener.tls_addr().unwrap().port();
        let (says, said) = mpsc::unbounded_channel();
        let budget = ConnectionBudget::new(connections);
        let stop = CancellationToken::new();
        let serve = move |connection: Connection| echo(connection, says.clone());
        let drain = Duration::from_secs(3600);
        let server = tokio::spawn(listener.serve(budget.clone(), stop.clone(), drain, serve));
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            budget,
            stop,
            server,
            tls,
            folder,
            said,
        }
    }

    /// What the next client that got through said of itself.
    pub(crate) async fn next(&mut self) -> TlsPeer {
        self.said.recv().await.unwrap()
    }
}

async fn echo(mut connection: Connection, says: mpsc::UnboundedSender<TlsPeer>) {
    assert!(connection.permit.is_some());
    // Tests that do not ask have dropped the other end.
    let _ = says.send(connection.tls.take().unwrap());
    let agreed = connection.stream.protocol().unwrap_or_default().to_vec();
    let agreed = connection.stream.write_all(&agreed).await;
    if agreed.is_err() || connection.stream.flush().await.is_err() {
        return;
    }
    let mut buffer = [0; 64];
    while let Ok(read @ 1..) = connection.stream.read(&mut buffer).await {
        if connection.stream.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        let _ = connection.stream.flush().await;
    }
}

/// How a client connects.
pub(crate) struct Client {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    name: String,
    identity: Option<Arc<CertifiedKey>>,
    protocols: Vec<Vec<u8>>,
}

/// A client that remembers its sessions.
pub(crate) struct Built {
    connector: TlsConnector,
    name: String,
}

impl Client {
    /// A client that trusts one certificate and asks for `localhost`.
    pub(crate) fn of(server: &Certificate) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(server.leaf()).unwrap();
        Self {
            roots,
            versions: rustls::ALL_VERSIONS.to_vec(),
            name: "localhost".to_owned(),
            identity: None,
            protocols: Vec::new(),
        }
    }

    /// Asks for one of these protocols.
    pub(crate) fn speaking(mut self, protocols: &[&str]) -> Self {
        self.protocols = protocols
            .iter()
            .map(|name| name.as_bytes().into())
            .collect();
        self
    }

    pub(crate) fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Sends a certificate, also one that the key does not belong to.
    pub(crate) fn with(
        mut self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        let key = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key)
            .unwrap();
        self.identity = Some(Arc::new(CertifiedKey::new(chain, key)));
        self
    }

    pub(crate) fn build(self) -> Built {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots)
            .with_client_cert_resolver(Arc::new(Identity(self.identity)));
        config.alpn_protocols = self.protocols;
        Built {
            connector: TlsConnector::from(Arc::new(config)),
            name: self.name,
        }
    }

    pub(crate) async fn connect(
        self,
        address: SocketAddr,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.build().connect(address).await
    }
}

impl Built {
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(self.name.clone()).unwrap();
        self.connector.connect(name, stream).await
    }
}

#[derive(Debug)]
struct Identity(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, issuers: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        assert!(issuers.is_empty(), "the server names no issuers");
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
