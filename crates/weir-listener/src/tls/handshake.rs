//! The handshake of one connection.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustls::ServerConnection;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use weir_core::LogLimit;

use super::{ClientCertificates, Tls, TlsPeer, TlsPort};
use crate::Stream;

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

static FAILED: LogLimit = LogLimit::new();

/// What the connections of a port with TLS begin with.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    name: &'static str,
    tls: Tls,
    clients: ClientCertificates,
}

impl Acceptor {
    pub(crate) fn new(name: &'static str, port: TlsPort) -> Self {
        Self {
            name,
            tls: port.tls,
            clients: port.clients,
        }
    }

    /// Shakes hands, for as long as that may take. `None` if nothing comes of it; the log says why.
    pub(crate) async fn accept(
        self,
        tcp: TcpStream,
        peer: SocketAddr,
        stop: &CancellationToken,
    ) -> Option<(Stream, TlsPeer)> {
        let config = self.tls.server_config(self.clients);
        let handshake = TlsAcceptor::from(config).accept(tcp);
        let ended = tokio::select! {
            ended = tokio::time::timeout(HANDSHAKE_TIME, handshake) => ended,
            () = stop.cancelled() => return None,
        };
        match ended.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let said = said(stream.get_ref().1);
                Some((Stream::Tls(Box::new(stream)), said))
            }
            Err(error) => {
                if let Some(unlogged) = FAILED.admit(Instant::now()) {
                    let listener = self.name;
                    tracing::info!(listener, %peer, %error, unlogged, "TLS handshake failed");
                }
                None
            }
        }
    }
}

fn said(session: &ServerConnection) -> TlsPeer {
    let suite = session.negotiated_cipher_suite();
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    TlsPeer {
        certificate: leaf.map(|leaf| leaf.clone().into_owned()),
        server_name: session.server_name().map(str::to_owned),
        cipher_suite: suite.and_then(|suite| suite.suite().as_str()),
    }
}
