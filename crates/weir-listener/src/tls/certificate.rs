//! The certificate of a listener, from files that may change.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use x509_parser::asn1_rs::FromDer as _;
use x509_parser::certificate::X509Certificate;

use super::ClientCertificates;
use super::client::AnyClient;

/// The largest file that is read; a chain has a few kilobytes.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Where a certificate and its key are, and whom else to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that issued it up to the root, without it; PEM.
    pub certificate: PathBuf,
    /// The certificate's private key without a password, PKCS#8, PKCS#1 or SEC1; PEM.
    pub key: PathBuf,
    /// The authorities that issue clients' certificates, for [`ClientCertificates::Trusted`]; PEM.
    pub client_ca: Option<PathBuf>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file of certificates holds none, or something broken.
    #[error("{} holds no certificate in PEM form", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
    },
    /// The key's file holds no private key, or one that is encrypted or broken.
    #[error("{} holds no private key in PEM form (PKCS#8, PKCS#1 or SEC1, not encrypted)", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
    },
    /// Clients' certificates cannot be checked with one of the authorities.
    #[error("{} holds what is no certificate authority: {source}", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Both can be read, and cannot be used, or not with each other.
    #[error("{} and {} cannot be used: {source}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

/// A certificate with its key, ready for handshakes. Clones share it, also when it is read anew.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
    /// The protocols to choose from, the preferred one first.
    protocols: &'static [&'static [u8]],
}

struct Shared {
    files: TlsFiles,
    current: ArcSwap<Current>,
}

/// What was made of the files as they are.
struct Current {
    pem: Pem,
    expires: Option<i64>,
    requesting: Arc<ServerConfig>,
    trusting: Arc<ServerConfig>,
    not_requesting: Arc<ServerConfig>,
}

/// The files' content.
#[derive(PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files. Says so in the log if the key is not for its owner's eyes only.
    ///
    /// # Errors
    /// If they cannot be read or used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = Current::new(&files, Pem::read(&files)?)?;
        warn_if_readable(&files.key);
        Ok(Self {
            shared: Arc::new(Shared {
                files,
                current: ArcSwap::from_pointee(current),
            }),
            protocols: &[],
        })
    }

    /// The same certificate for a port that speaks several protocols, by their names in TLS (RFC 7301
    /// §6), the preferred one first. A client that asks for others only is turned away, and with one
    /// that asks for none, none is agreed on. Ports that this is not called for agree on none, whatever
    /// is asked for.
    #[must_use]
    pub fn offering(self, protocols: &'static [&'static [u8]]) -> Self {
        Self { protocols, ..self }
    }

    /// Looks at the files in this interval until `stop` is cancelled. When they have changed, new
    /// handshakes use what they hold now; connections go on as they are. A pair that cannot be used
    /// is told once, and the one before stays.
    pub async fn watch(self, interval: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut mistake = Mistake::default();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let shared = self.shared.clone();
            // Files may be on a slow disk, and keys take a while to be checked.
            let looked = tokio::task::spawn_blocking(move || shared.look()).await;
            let path = self.shared.files.certificate.display();
            match looked {
                Ok(Ok(false)) => mistake = Mistake::default(),
                Ok(Ok(true)) => {
                    mistake = Mistake::default();
                    tracing::info!(certificate = %path, "certificate replaced");
                }
                Ok(Err(error)) => {
                    if let Some(error) = mistake.seen(error.to_string()) {
                        tracing::error!(certificate = %path, %error, "the new certificate cannot be used; the old one stays");
                    }
                }
                // A task that failed is tried again.
                Err(_) => {}
            }
        }
    }

    /// When the certificate expires that handshakes use now, in seconds since 1970. `None` if it does not
    /// say so in a way that can be understood.
    pub fn expires(&self) -> Option<i64> {
        self.shared.current.load().expires
    }

    /// What a handshake that begins now goes by.
    pub(super) fn server_config(&self, clients: ClientCertificates) -> Arc<ServerConfig> {
        let current = self.shared.current.load();
        let config = match clients {
            ClientCertificates::Requested => &current.requesting,
            ClientCertificates::Trusted => &current.trusting,
            ClientCertificates::NotRequested => &current.not_requesting,
        };
        if self.protocols.is_empty() {
            return config.clone();
        }
        // A copy of pointers, which is nothing beside the handshake; ports share one certificate.
        let mut config = ServerConfig::clone(config);
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocols = self.protocols.iter().map(|name| name.escape_ascii());
        f.debug_struct("Tls")
            .field("files", &self.shared.files)
            .field(
                "protocols",
                &protocols.map(|name| name.to_string()).collect::<Vec<_>>(),
            )
            .finish()
    }
}

impl Shared {
    /// Whether the files have changed and are in use now.
    fn look(&self) -> Result<bool, TlsError> {
        let pem = Pem::read(&self.files)?;
        if pem == self.current.load().pem {
            return Ok(false);
        }
        let current = Current::new(&self.files, pem)?;
        self.current.store(Arc::new(current));
        Ok(true)
    }
}

/// What is wrong with the files, told once it has been seen twice: certificate and key are two
/// files, and whoever replaces them writes one after the other.
#[derive(Default)]
struct Mistake {
    text: String,
    times: u8,
}

impl Mistake {
    /// The text, if it is to be told now.
    fn seen(&mut self, text: String) -> Option<&str> {
        if text != self.text {
            *self = Self { text, times: 0 };
        }
        self.times = self.times.saturating_add(1);
        (self.times == 2).then_some(&*self.text)
    }
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| {
            read_bounded(path).map_err(|source| TlsError::Read {
                path: path.clone(),
                source,
            })
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_ref().map(read).transpose()?,
        })
    }
}

impl Current {
    fn new(files: &TlsFiles, pem: Pem) -> Result<Self, TlsError> {
        let chain = certificates(&files.certificate, &pem.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|_| TlsError::Key {
            path: files.key.clone(),
        })?;
        let unusable = |source| TlsError::Pair {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            source,
        };
        let config = |clients: Clients| {
            let config = server_config(chain.clone(), key.clone_key(), clients);
            config.map(Arc::new).map_err(unusable)
        };
        let provider = aws_lc_rs::default_provider();
        let any = AnyClient {
            algorithms: provider.signature_verification_algorithms,
        };
        let expires = chain.first().and_then(expires);
        let not_requesting = config(None)?;
        let trusting = match files.client_ca.as_deref().zip(pem.client_ca.as_deref()) {
            None => not_requesting.clone(),
            Some((path, authorities)) => {
                let mut trusting = Arc::unwrap_or_clone(config(Some(trusted(path, authorities)?))?);
                // A session that is resumed would outlive its certificate.
                trusting.session_storage = Arc::new(NoServerSessionStorage {});
                trusting.send_tls13_tickets = 0;
                Arc::new(trusting)
            }
        };
        Ok(Self {
            requesting: config(Some(Arc::new(any)))?,
            trusting,
            not_requesting,
            expires,
            pem,
        })
    }
}

/// What judges clients' certificates, if they are asked for.
type Clients = Option<Arc<dyn ClientCertVerifier>>;

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.ok().filter(|all| !all.is_empty());
    all.ok_or_else(|| TlsError::Certificate {
        path: path.to_owned(),
    })
}

fn expires(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// Takes certificates that these authorities have issued, and clients without any.
fn trusted(path: &Path, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unfit = |source| TlsError::Authority {
        path: path.to_owned(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(path, pem)? {
        roots.add(authority).map_err(|error| unfit(error.into()))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| unfit(error.into()))
}

/// TLS 1.2 and 1.3, with sessions that can be resumed.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Clients,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    builder.with_single_cert(chain, key)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

#[cfg(unix)]
fn warn_if_readable(key: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    // The group is left out: it is how services are given keys.
    let is_open = |data: std::fs::Metadata| data.permissions().mode() & 0o007 != 0;
    if std::fs::metadata(key).is_ok_and(is_open) {
        tracing::warn!(key = %key.display(), "the private key can be read by every user of this host");
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_key: &Path) {}

#[cfg(test)]
mod tests;
