//! A client that receives from one address.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_amqp_engine::{
    AttachRequest, ClientSasl, CloseReason, Config, Connection, DeliveryId, Error, Event, LinkId,
    Outcome, SessionId,
};

use crate::{Peer, drive};

/// How to consume.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// The address to receive from, for example `telemetry/acme`.
    pub address: String,
    /// Messages that may be on their way at a time; kept at that while they are settled.
    pub credit: u32,
}

/// A connection to an AMQP 1.0 server with one link that receives from one address.
///
/// Dropping it closes the connection.
#[derive(Debug)]
pub struct Consumer {
    messages: mpsc::Receiver<Received>,
    _open: DropGuard,
}

/// A message and the means to settle it.
#[derive(Debug)]
pub struct Received {
    delivery: DeliveryId,
    /// The message as it came, sections and all.
    pub message: Bytes,
    settlements: mpsc::UnboundedSender<(DeliveryId, Outcome)>,
}

/// Why a consumer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection.
    #[error("cannot connect to {address}: {source}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The server closed the connection.
    #[error("the server closed the connection ({reason:?}){}", detail(error.as_ref()))]
    Closed {
        /// Who ended it, and how.
        reason: CloseReason,
        /// The server's words.
        error: Option<Error>,
    },
    /// The server refused the link.
    #[error("the server refused the link{}", detail(error.as_ref()))]
    Refused {
        /// The server's words.
        error: Option<Error>,
    },
    /// The server did not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

fn detail(error: Option<&Error>) -> String {
    error.map(|error| format!(": {error}")).unwrap_or_default()
}

/// How long a server may take until the link is attached.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);

impl Consumer {
    /// Connects, logs in and attaches the link.
    ///
    /// # Errors
    /// If any of that fails or takes more than ten seconds.
    pub async fn connect(
        address: SocketAddr,
        options: ConsumerOptions,
    ) -> Result<Self, ConnectError> {
        let io = |source| ConnectError::Io { address, source };
        let stream = TcpStream::connect(address).await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        let sasl = ClientSasl::Plain {
            username: options.username,
            password: options.password,
        };
        let config = Config {
            hostname: Some(address.ip().to_string()),
            ..Config::default()
        };
        let connection = Connection::client(config, sasl, Instant::now());
        let (to_application, messages) = mpsc::channel(options.credit.max(1) as usize);
        let (settlements, from_application) = mpsc::unbounded_channel();
        let (attached, is_attached) = oneshot::channel();
        let peer = ConsumerPeer {
            address: options.address,
            credit: options.credit,
            session: None,
            link: None,
            attached: Some(attached),
            messages: to_application,
            overflow: VecDeque::new(),
            settlements: from_application,
            settlements_sender: settlements,
            settled: 0,
        };
        let stop = CancellationToken::new();
        tokio::spawn(drive(stream, connection, peer, stop.clone()));
        let open = stop.drop_guard();
        match tokio::time::timeout(ATTACH_TIMEOUT, is_attached).await {
            Ok(Ok(Ok(()))) => Ok(Self {
                messages,
                _open: open,
            }),
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(_)) => Err(ConnectError::Closed {
                reason: CloseReason::TransportLost,
                error: None,
            }),
            Err(_) => Err(ConnectError::TimedOut(ATTACH_TIMEOUT)),
        }
    }

    /// The next message; `None` when the connection is over.
    pub async fn receive(&mut self) -> Option<Received> {
        self.messages.recv().await
    }
}

impl Received {
    /// Tells the server what became of the message.
    pub fn settle(self, outcome: Outcome) {
        // A connection that is over has no delivery left to settle.
        let _ = self.settlements.send((self.delivery, outcome));
    }
}

struct ConsumerPeer {
    address: String,
    credit: u32,
    session: Option<SessionId>,
    link: Option<LinkId>,
    attached: Option<oneshot::Sender<Result<(), ConnectError>>>,
    messages: mpsc::Sender<Received>,
    /// Messages that came while the application was slow; never more than the credit.
    overflow: VecDeque<Received>,
    settlements: mpsc::UnboundedReceiver<(DeliveryId, Outcome)>,
    settlements_sender: mpsc::UnboundedSender<(DeliveryId, Outcome)>,
    /// Settled since credit was granted last.
    settled: u32,
}

impl ConsumerPeer {
    fn answer(&mut self, result: Result<(), ConnectError>) {
        if let Some(attached) = self.attached.take() {
            // Nobody waits any more after the time-out.
            let _ = attached.send(result);
        }
    }

    fn forward(&mut self) {
        while let Some(message) = self.overflow.pop_front() {
            if let Err(error) = self.messages.try_send(message) {
                if let mpsc::error::TrySendError::Full(message) = error {
                    self.overflow.push_front(message);
                }
                return;
            }
        }
    }
}

impl Peer for ConsumerPeer {
    type Token = ();

    fn handle_event(&mut self, now: Instant, connection: &mut Connection<()>, event: Event<()>) {
        match event {
            Event::Opened(_) => self.session = Some(connection.begin(now)),
            Event::SessionBegun { session } if Some(session) == self.session => {
                let name = format!("weir-{}", self.address);
                let attach = AttachRequest::receiver(name, &*self.address, self.credit);
                self.link = Some(connection.attach(session, attach));
            }
            Event::Attached { .. } => self.answer(Ok(())),
            Event::Message {
                delivery,
                message,
                settled,
                ..
            } => {
                let settlements = self.settlements_sender.clone();
                self.overflow.push_back(Received {
                    delivery,
                    message,
                    settlements,
                });
                self.settled += u32::from(settled);
                self.forward();
            }
            Event::Detached { error, .. } => {
                self.answer(Err(ConnectError::Refused { error }));
                connection.close(now, None);
            }
            Event::Closed { reason, error } => {
                self.answer(Err(ConnectError::Closed { reason, error }));
            }
            _ => {}
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>, _now: Instant, link: &mut Connection<()>) {
        let Some(id) = self.link else { return };
        while let Poll::Ready(Some((delivery, outcome))) = self.settlements.poll_recv(cx) {
            link.settle(id, delivery, &outcome);
            self.settled += 1;
        }
        self.forward();
        // Half of the credit at a time: a flow per message would cost as much as the message.
        if self.settled > 0 && self.settled >= self.credit / 2 {
            self.settled = 0;
            link.grant_credit(id, self.credit);
        }
    }
}
