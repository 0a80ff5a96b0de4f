//! What all TCP listeners share: where they may listen, the accept loop, its bounds, the stop.
//!
//! * [`Listener::bind`] refuses a plain listener on an address that others can reach, unless that is
//!   allowed explicitly, and names the port that is taken.
//! * [`Listener::serve`] accepts until it is told to stop and runs one task per connection. It never
//!   awaits a peer. A connection beyond the budget is handed over without a
//!   [permit](Connection::permit), for its protocol's own refusal; a flood beyond that is dropped.
//!
//! It knows no protocol.

#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_core::{ConnectionBudget, ConnectionPermit};

/// Connections over the budget that may be refused politely at the same time.
const REFUSALS: usize = 64;
/// How long to wait when the process has no file descriptor left to accept with.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Where a listener is to listen.
#[derive(Clone, Copy, Debug)]
pub struct Bind {
    /// The listener's section in the configuration, for messages.
    pub name: &'static str,
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether plain text is allowed where others than this host can connect.
    pub allow_insecure: bool,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A plain listener would be reachable from other hosts.
    #[error(
        "{name}: refusing to listen without TLS on {address}, which other hosts can reach; \
         set {name}.allow_insecure = true if that is meant"
    )]
    Insecure {
        /// The listener's section in the configuration.
        name: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// The operating system refused.
    #[error("{name}: cannot listen on port {} of {}", address.port(), address.ip())]
    Io {
        /// The listener's section in the configuration.
        name: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    tcp: TcpListener,
    address: SocketAddr,
}

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    /// The socket, with Nagle's algorithm off.
    pub stream: TcpStream,
    /// The other side's address.
    pub peer: SocketAddr,
    /// The connection's place in the budget. Without one it is to be refused in the protocol's own
    /// way, at once and without reading more than that takes.
    pub permit: Option<ConnectionPermit>,
    /// Cancelled when the connection is to be brought to its end.
    pub stop: CancellationToken,
}

impl Listener {
    /// Opens the listener.
    ///
    /// # Errors
    /// If the address is not allowed or not to be had.
    pub async fn bind(bind: Bind) -> Result<Self, BindError> {
        let Bind {
            name,
            address,
            allow_insecure,
        } = bind;
        if !address.ip().is_loopback() && !allow_insecure {
            return Err(BindError::Insecure { name, address });
        }
        let error = |source| BindError::Io {
            name,
            address,
            source,
        };
        let tcp = TcpListener::bind(address).await.map_err(error)?;
        let address = tcp.local_addr().map_err(error)?;
        Ok(Self { name, tcp, address })
    }

    /// The address it listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections and runs `serve` for each, until `stop` is cancelled. Then it accepts no
    /// more and waits for the open ones; those still open after `drain` are cut off.
    pub async fn serve<F, S>(
        self,
        budget: ConnectionBudget,
        stop: CancellationToken,
        drain: Duration,
        serve: F,
    ) where
        F: Fn(Connection) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        tracing::info!(listener = self.name, address = %self.address, "listening");
        let mut served = JoinSet::new();
        let mut refused = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                Some(_) = served.join_next() => continue,
                Some(_) = refused.join_next() => continue,
                () = stop.cancelled() => break,
            };
            let Some((stream, peer)) = self.accepted(accepted).await else {
                continue;
            };
            let permit = budget.acquire();
            let is_served = permit.is_some();
            if !is_served && refused.len() >= REFUSALS {
                continue;
            }
            let connection = Connection {
                stream,
                peer,
                permit,
                // Of its own, so that looking at it takes no lock that all connections share.
                stop: stop.child_token(),
            };
            let tasks = if is_served { &mut served } else { &mut refused };
            tasks.spawn(serve(connection));
        }
        let Self { name, tcp, .. } = self;
        drop(tcp);
        let all = async { while served.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, all).await.is_err() {
            tracing::warn!(
                listener = name,
                connections = served.len(),
                "drain time is over"
            );
        }
        served.shutdown().await;
    }

    /// Sorts out what `accept` returned. Its errors concern either one connection that is gone
    /// already, or a resource this process has run out of; neither ends the listener.
    async fn accepted(
        &self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
    ) -> Option<(TcpStream, SocketAddr)> {
        match accepted {
            Ok((stream, peer)) => {
                // They fail only on a socket that is closed already; reading will tell.
                let _ = stream.set_nodelay(true);
                let _ = SockRef::from(&stream).set_tcp_keepalive(&keep_alive());
                Some((stream, peer))
            }
            Err(error) if is_one_connections(&error) => None,
            Err(error) => {
                tracing::error!(listener = self.name, %error, "cannot accept connections");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
                None
            }
        }
    }
}

/// A peer that vanished without a word, and whose protocol asks nothing of it for hours, is found by
/// the system: after two minutes of silence, within two more.
fn keep_alive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(120))
        .with_interval(Duration::from_secs(30))
        .with_retries(4)
}

fn is_one_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn local(port: u16) -> Bind {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Bind {
            name: "mqtt",
            address,
            allow_insecure: false,
        }
    }

    #[tokio::test]
    async fn a_plain_listener_on_all_addresses_has_to_be_asked_for() {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let error = Listener::bind(Bind {
            address,
            ..local(0)
        })
        .await
        .unwrap_err();
        assert!(
            error.to_string().contains("mqtt.allow_insecure = true"),
            "{error}"
        );
        let allowed = Bind {
            address,
            allow_insecure: true,
            ..local(0)
        };
        assert!(Listener::bind(allowed).await.is_ok());
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = Listener::bind(local(0)).await.unwrap();
        let port = first.local_addr().port();
        let error = Listener::bind(local(port)).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("mqtt: cannot listen on port {port}"))
        );
    }

    #[tokio::test]
    async fn over_the_budget_there_is_no_permit_and_the_stop_waits_for_the_rest() {
        let listener = Listener::bind(local(0)).await.unwrap();
        let address = listener.local_addr();
        let stop = CancellationToken::new();
        let server = tokio::spawn(listener.serve(
            ConnectionBudget::new(1),
            stop.clone(),
            Duration::from_secs(60),
            |mut connection| async move {
                let letter = if connection.permit.is_some() {
                    b"y"
                } else {
                    b"n"
                };
                connection.stream.write_all(letter).await.unwrap();
                connection.stop.cancelled().await;
                connection.stream.write_all(b"bye").await.unwrap();
            },
        ));
        let mut answer = [0];
        let mut first = TcpStream::connect(address).await.unwrap();
        first.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"y");
        let mut second = TcpStream::connect(address).await.unwrap();
        second.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"n");
        stop.cancel();
        let mut rest = String::new();
        first.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "bye");
        server.await.unwrap();
    }
}
