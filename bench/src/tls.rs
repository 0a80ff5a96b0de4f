//! A certificate for the gateway, and clients that trust it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate and its key, in files.
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) connector: Connector,
}

/// Clients that trust one certificate. Each is a device of its own: nobody resumes a session.
#[derive(Clone)]
pub(crate) struct Connector(TlsConnector);

impl Identity {
    /// Makes a certificate for this host and writes it to `folder`.
    pub(crate) fn write(folder: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (folder.join("gateway.pem"), folder.join("gateway.key"));
        std::fs::write(&certificate, made.cert.pem())?;
        let mut private = OpenOptions::new();
        let mut file = private
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&key)?;
        file.write_all(made.signing_key.serialize_pem().as_bytes())?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self {
            certificate,
            key,
            connector: Connector(Arc::new(config).into()),
        })
    }
}

impl Connector {
    pub(crate) async fn connect(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        self.0.connect(name, tcp).await
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
