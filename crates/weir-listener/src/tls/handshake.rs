//! The handshake of one connection.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustls::ServerConnection;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use weir_core::LogLimit;

use super::{ClientCertificates, Tls, TlsPeer, TlsPort};
use crate::Stream;

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a peer may take to hear that it has failed.
const PARTING_TIME: Duration = Duration::from_secs(1);

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
        let handshake = TlsAcceptor::from(config).accept(tcp).into_fallible();
        let ended = tokio::select! {
            ended = tokio::time::timeout(HANDSHAKE_TIME, handshake) => ended,
            () = stop.cancelled() => return None,
        };
        let (error, refused) = match ended {
            Ok(Ok(stream)) => {
                let said = said(stream.get_ref().1);
                return Some((Stream::Tls(Box::new(stream)), said));
            }
            Ok(Err((error, tcp))) => (error, Some(tcp)),
            Err(_) => (io::ErrorKind::TimedOut.into(), None),
        };
        if let Some(unlogged) = FAILED.admit(Instant::now()) {
            let listener = self.name;
            tracing::info!(listener, %peer, %error, unlogged, "TLS handshake failed");
        }
        if let Some(tcp) = refused {
            let part = tokio::time::timeout(PARTING_TIME, part(tcp));
            // Whether the peer has heard why makes no difference any more.
            let _ = stop.run_until_cancelled(part).await;
        }
        None
    }
}

/// Waits until the peer has gone. It may have sent more than was read, and a connection that is closed then
/// takes the alert with it that says what is wrong (RFC 9112 §9.6 has the same for HTTP).
async fn part(mut tcp: TcpStream) -> io::Result<()> {
    tcp.shutdown().await?;
    tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await?;
    Ok(())
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
