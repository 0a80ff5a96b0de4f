//! The accept loop.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_core::{ConnectionBudget, ConnectionPermit, LogLimit};

use crate::bind::OnRefusal;
use crate::tls::Acceptor;
use crate::{Arrived, Counts, Listener, Stream, TlsPeer};

/// Connections over the budget that may be refused politely at the same time.
const REFUSALS: usize = 64;
/// How long to wait when the process has no file descriptor left to accept with.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

static OVER_BUDGET: LogLimit = LogLimit::new();

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    /// The byte stream, with Nagle's algorithm off; the TLS handshake is over.
    pub stream: Stream,
    /// The other side's address.
    pub peer: SocketAddr,
    /// What the other side said of itself in the TLS handshake; `None` without TLS.
    pub tls: Option<TlsPeer>,
    /// The connection's place in the budget. Without one it is to be refused in the protocol's own
    /// way, at once and without reading more than that takes. With TLS there always is one.
    pub permit: Option<ConnectionPermit>,
    /// Cancelled when the connection is to be brought to its end.
    pub stop: CancellationToken,
}

impl Listener {
    /// Accepts connections and runs `serve` for each, until `stop` is cancelled. Then it accepts no
    /// more and waits for the open ones; those still open after `drain` are cut off.
    pub async fn serve<F, S>(
        self,
        budget: ConnectionBudget,
        stop: CancellationToken,
        drain: Duration,
        serve: F,
    ) where
        F: Fn(Connection) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let Self {
            name,
            counts,
            on_refusal,
            plain,
            tls,
            ..
        } = self;
        let (secured, acceptor) = tls.unzip();
        let mut tasks = Tasks {
            name,
            counts,
            on_refusal,
            serve: Arc::new(serve),
            budget,
            stop: stop.clone(),
            served: JoinSet::new(),
            refused: JoinSet::new(),
        };
        loop {
            let (accepted, acceptor) = tokio::select! {
                accepted = accept(plain.as_ref()) => (accepted, None),
                accepted = accept(secured.as_ref()) => (accepted, acceptor.as_ref()),
                Some(_) = tasks.served.join_next() => continue,
                Some(_) = tasks.refused.join_next() => continue,
                () = stop.cancelled() => break,
            };
            let Some((stream, peer)) = sorted_out(name, accepted).await else {
                continue;
            };
            match acceptor {
                None => tasks.serve_plain(stream, peer),
                Some(acceptor) => tasks.serve_tls(stream, peer, acceptor.clone()),
            }
        }
        drop((plain, secured));
        let Tasks { mut served, .. } = tasks;
        let all = async { while served.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, all).await.is_err() {
            let connections = served.len();
            tracing::warn!(listener = name, connections, "drain time is over");
        }
        served.shutdown().await;
    }
}

/// The connections of one listener.
struct Tasks<F> {
    name: &'static str,
    counts: Arc<Counts>,
    on_refusal: Option<OnRefusal>,
    serve: Arc<F>,
    budget: ConnectionBudget,
    stop: CancellationToken,
    served: JoinSet<()>,
    refused: JoinSet<()>,
}

impl<F, S> Tasks<F>
where
    F: Fn(Connection) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    fn serve_plain(&mut self, stream: TcpStream, peer: SocketAddr) {
        let permit = self.budget.acquire();
        let is_served = permit.is_some();
        self.counts.count(match is_served {
            true => Arrived::Accepted,
            false => Arrived::OverBudget,
        });
        if !is_served && self.refused.len() >= REFUSALS {
            return self.closed(peer);
        }
        let connection = Connection {
            stream: Stream::Plain(stream),
            peer,
            tls: None,
            permit,
            // Of its own, so that looking at it takes no lock that all connections share.
            stop: self.stop.child_token(),
        };
        let tasks = if is_served {
            &mut self.served
        } else {
            &mut self.refused
        };
        tasks.spawn((self.serve)(connection));
    }

    /// There was no place for a connection, not even to say so.
    fn closed(&self, peer: SocketAddr) {
        if let Some(on_refusal) = &self.on_refusal {
            on_refusal.tell();
        }
        if let Some(unlogged) = OVER_BUDGET.admit(Instant::now()) {
            let listener = self.name;
            tracing::warn!(listener, %peer, unlogged, "closed: too many connections");
        }
    }

    /// Without a place in the budget the peer is told nothing: the handshake that would take is what
    /// the budget is to spare.
    fn serve_tls(&mut self, stream: TcpStream, peer: SocketAddr, acceptor: Acceptor) {
        let Some(permit) = self.budget.acquire() else {
            self.counts.count(Arrived::OverBudget);
            return self.closed(peer);
        };
        let (serve, stop) = (self.serve.clone(), self.stop.child_token());
        let counts = self.counts.clone();
        self.served.spawn(async move {
            // Boxed, so that its memory is given back before the connection's long life.
            let handshake = Box::pin(acceptor.accept(stream, peer, &stop));
            let Some((stream, tls)) = handshake.await else {
                return counts.count(Arrived::HandshakeFailed);
            };
            counts.count(Arrived::Accepted);
            let connection = Connection {
                stream,
                peer,
                tls: Some(tls),
                permit: Some(permit),
                stop,
            };
            serve(connection).await;
        });
    }
}

async fn accept(tcp: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match tcp {
        Some(tcp) => tcp.accept().await,
        None => pending().await,
    }
}

/// Sorts out what `accept` returned. Its errors concern either one connection that is gone
/// already, or a resource this process has run out of; neither ends the listener.
async fn sorted_out(
    name: &'static str,
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
            tracing::error!(listener = name, %error, "cannot accept connections");
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
            None
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
    use crate::Bind;

    #[tokio::test]
    async fn over_the_budget_there_is_no_permit_and_the_stop_waits_for_the_rest() {
        let bind = Bind {
            name: "mqtt",
            ip: Ipv4Addr::LOCALHOST.into(),
            plain: Some(0),
            allow_insecure: false,
            tls: None,
        };
        let listener = Listener::bind(bind).await.unwrap();
        let counts = listener.counts();
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
        assert_eq!(
            (counts.of(Arrived::Accepted), counts.of(Arrived::OverBudget)),
            (1, 1)
        );
        stop.cancel();
        let mut rest = String::new();
        first.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "bye");
        server.await.unwrap();
    }
}
