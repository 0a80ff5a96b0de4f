//! TLS towards a server.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Transport;

/// Whom a client trusts, and with what it shows who it is.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

/// Why a file does not say whom to trust.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It holds no certificate, or something broken.
    #[error("{} holds no certificate in PEM form", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
    },
    /// The TLS library refuses its own defaults.
    #[error("cannot prepare TLS: {0}")]
    Setup(#[from] rustls::Error),
}

impl ClientTls {
    /// Trusts the certificates in this PEM file, and those that they issued, and no others.
    ///
    /// # Errors
    /// If the file cannot be read or holds no certificate.
    pub fn trusting(path: &Path) -> Result<Self, TlsError> {
        let path = || path.to_owned();
        let pem = std::fs::read(path()).map_err(|source| TlsError::Read {
            path: path(),
            source,
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_| TlsError::Certificate { path: path() })?;
            // A bundle may hold some that this library cannot read.
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            return Err(TlsError::Certificate { path: path() });
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    pub(super) async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(self.0.clone());
        connector.connect(name, stream).await
    }
}

impl From<Arc<ClientConfig>> for ClientTls {
    /// As the configuration says, for example with a client certificate for SASL EXTERNAL.
    fn from(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

impl Transport for TlsStream<TcpStream> {
    fn acknowledge(&self) {
        self.get_ref().0.acknowledge();
    }
}
