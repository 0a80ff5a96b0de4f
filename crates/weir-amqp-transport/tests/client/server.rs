//! A server that does as it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_amqp_engine::{
    AcceptLink, CloseReason, Config, Connection, Error, Event, LinkId, Outcome, Role, SaslCode,
    SendOptions, condition,
};
use weir_amqp_transport::{Peer, drive};
use weir_listener::Stream;

/// Nothing here takes as long, unless it never comes.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the server has seen.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Attached(String),
    Message(Vec<u8>),
    /// The outcome of the message with this number.
    Settled(u64, Outcome),
    Detached(String),
    Closed(CloseReason),
}

/// What the server is to do.
pub(crate) type Order = Box<dyn FnOnce(&mut ServerPeer, &mut Connection<u64>) + Send>;

/// A server for one connection, on a port of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    orders: mpsc::UnboundedSender<Order>,
    seen: mpsc::UnboundedReceiver<Seen>,
    _stop: DropGuard,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With TLS, if there is a certificate with its key.
    pub(crate) async fn start_with(
        certificate: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>,
    ) -> Self {
        let acceptor = certificate.map(acceptor);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (orders, taken) = mpsc::unbounded_channel();
        let (see, seen) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            drop(listener);
            let stream = match acceptor {
                None => Stream::Plain(tcp),
                Some(acceptor) => match acceptor.accept(tcp).await {
                    Ok(tls) => Stream::Tls(Box::new(tls)),
                    // The client does not trust us.
                    Err(_) => return,
                },
            };
            let config = Config {
                sasl_mechanisms: vec!["PLAIN"],
                ..Config::default()
            };
            let connection = Connection::server(config, Instant::now());
            let links = HashMap::new();
            let orders = taken;
            let peer = ServerPeer { orders, see, links };
            drive(stream, connection, peer, stopped).await;
        });
        Self {
            address,
            orders,
            seen,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn order(
        &self,
        order: impl FnOnce(&mut ServerPeer, &mut Connection<u64>) + Send + 'static,
    ) {
        self.orders.send(Box::new(order)).ok().unwrap();
    }

    pub(crate) async fn next(&mut self) -> Seen {
        let seen = timeout(DEADLINE, self.seen.recv()).await;
        seen.unwrap().expect("the server has ended")
    }

    /// What comes next, leaving out everything before it.
    pub(crate) async fn until(&mut self, expected: Seen) {
        while self.next().await != expected {}
    }
}

fn acceptor(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let chain = vec![certificate.cert.der().clone()];
    let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Accepts user `app` with password `secret`, and each link but those to `forbidden` and `silent`. To
/// `full` it gives no credit. A message is its own outcome's name.
pub(crate) struct ServerPeer {
    orders: mpsc::UnboundedReceiver<Order>,
    see: mpsc::UnboundedSender<Seen>,
    links: HashMap<LinkId, String>,
}

impl ServerPeer {
    fn see(&self, seen: Seen) {
        // A test that is over looks at nothing.
        let _ = self.see.send(seen);
    }

    pub(crate) fn link(&self, address: &str) -> LinkId {
        let found = self.links.iter().find(|(_, known)| *known == address);
        *found.unwrap().0
    }

    /// Sends the messages with these numbers as far as there is credit; how many those are.
    pub(crate) fn send(
        &mut self,
        connection: &mut Connection<u64>,
        address: &str,
        numbers: std::ops::Range<u64>,
    ) -> u64 {
        let link = self.link(address);
        let mut sent = 0;
        for number in numbers {
            if !connection.can_send(link) {
                break;
            }
            let text = number.to_string();
            let options = SendOptions::default();
            let now = Instant::now();
            let result = connection.send(now, link, number, options, |out| {
                out.extend_from_slice(text.as_bytes());
            });
            result.unwrap();
            sent += 1;
        }
        sent
    }
}

fn outcome(message: &[u8]) -> Option<Outcome> {
    let rejected = |condition: Option<&str>, description: Option<&str>| Outcome::Rejected {
        condition: condition.map(str::to_owned),
        description: description.map(str::to_owned),
    };
    match message {
        b"released" => Some(Outcome::Released),
        b"rejected" => Some(rejected(Some("hono:bad-request"), Some("no"))),
        b"modified" => Some(Outcome::Modified {
            delivery_failed: true,
            undeliverable_here: true,
        }),
        b"never" => None,
        _ => Some(Outcome::Accepted),
    }
}

impl Peer for ServerPeer {
    type Token = u64;

    fn handle_event(&mut self, now: Instant, connection: &mut Connection<u64>, event: Event<u64>) {
        match event {
            Event::SaslInit { response, .. } => {
                let code = match &*response {
                    b"\0app\0secret" => SaslCode::Ok,
                    _ => SaslCode::Auth,
                };
                connection.sasl_outcome(now, code);
            }
            Event::Opened(_) => connection.open(now),
            Event::Attach { link, attach } => {
                let terminus = match attach.role {
                    Role::Sender => attach.source,
                    Role::Receiver => attach.target,
                };
                let address = terminus.unwrap().address.unwrap();
                let credit = if address == "full" { 0 } else { 10 };
                match &*address {
                    "forbidden" => {
                        let error = Error::new(condition::UNAUTHORIZED_ACCESS, "not yours");
                        connection.refuse_link(link, error);
                    }
                    "silent" => {}
                    _ => {
                        let accept = AcceptLink {
                            credit,
                            ..AcceptLink::default()
                        };
                        connection.accept_link(link, accept);
                    }
                }
                self.links.insert(link, address.clone());
                self.see(Seen::Attached(address));
            }
            Event::Message {
                link,
                delivery,
                message,
                ..
            } => {
                if let Some(outcome) = outcome(&message) {
                    connection.settle(link, delivery, &outcome);
                }
                self.see(Seen::Message(message.to_vec()));
            }
            Event::Settled { token, outcome, .. } => self.see(Seen::Settled(token, outcome)),
            Event::Detached { link, .. } => {
                if let Some(address) = self.links.remove(&link) {
                    self.see(Seen::Detached(address));
                }
            }
            Event::Closed { reason, .. } => self.see(Seen::Closed(reason)),
            _ => {}
        }
    }

    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        _: Instant,
        connection: &mut Connection<u64>,
    ) {
        while let Poll::Ready(Some(order)) = self.orders.poll_recv(cx) {
            order(self, connection);
        }
    }
}
