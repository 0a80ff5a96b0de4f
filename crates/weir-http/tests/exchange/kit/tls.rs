//! The gateway with TLS, and who connects to it.

use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir_http::{HttpConfig, WebSockets};
use weir_listener::{Tls, TlsFiles};

use super::Gateway;

impl Gateway {
    /// With TLS alone, under a certificate that nobody vouches for.
    pub(crate) async fn start_with_tls() -> Self {
        Self::start_secured(HttpConfig::default(), None).await
    }

    /// The same, with somebody who goes on with WebSockets, if they are wanted.
    pub(crate) async fn start_secured(config: HttpConfig, websockets: Option<WebSockets>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            certificate: folder.path().join("gateway.pem"),
            key: folder.path().join("gateway.key"),
            client_ca: None,
        };
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        let config = HttpConfig {
            plain: false,
            tls_port: 0,
            ..config
        };
        let tls = Tls::load(files).unwrap();
        let mut gateway = Self::build(config, Some(tls), 10, websockets).await;
        gateway.certificate = Some(made.cert.into());
        gateway
    }

    /// Connects with TLS as a client that asks for one of these protocols.
    pub(crate) async fn connect_tls(&self, protocols: &[&str]) -> TlsStream<TcpStream> {
        self.connect_as(protocols, None).await
    }

    /// The same, with a certificate of the client's.
    pub(crate) async fn connect_as(
        &self,
        protocols: &[&str],
        identity: Option<&CertifiedKey<KeyPair>>,
    ) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone().unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(identity) => {
                let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
                let chain = vec![identity.cert.der().clone()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().into())
            .collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, self.connect().await).await.unwrap()
    }
}
