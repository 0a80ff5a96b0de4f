//! A client that receives from one address.

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
    messages: mpsc::UnboundedReceiver<Received>,
    _open: DropGuard,
}

/// A message and the means to settle it. Dropped without that, its delivery stays open.
#[derive(Debug)]
pub struct Received {
    delivery: DeliveryId,
    /// The message as it came, sections and all.
    pub message: Bytes,
    done: mpsc::UnboundedSender<Done>,
    is_done: bool,
}

/// The application is done with a delivery: with an outcome, or without one.
#[derive(Debug)]
struct Done(DeliveryId, Option<Outcome>);

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
        let connect = TcpStream::connect(address);
        let late = |_| ConnectError::TimedOut(ATTACH_TIMEOUT);
        let stream = tokio::time::timeout(ATTACH_TIMEOUT, connect)
            .await
            .map_err(late)?;
        let stream = stream.map_err(io)?;
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
        let (to_application, messages) = mpsc::unbounded_channel();
        let (done_in, done) = mpsc::unbounded_channel();
        let (attached, is_attached) = oneshot::channel();
        let peer = ConsumerPeer {
            address: options.address,
            credit: options.credit,
            session: None,
            link: None,
            attached: Some(attached),
            messages: to_application,
            done,
            done_in,
            open: 0,
            since_credit: 0,
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
            Err(late_answer) => Err(late(late_answer)),
        }
    }

    /// The next message; `None` when the connection is over.
    pub async fn receive(&mut self) -> Option<Received> {
        self.messages.recv().await
    }
}

impl Received {
    /// Tells the server what became of the message.
    pub fn settle(mut self, outcome: Outcome) {
        self.done(Some(outcome));
    }

    fn done(&mut self, outcome: Option<Outcome>) {
        self.is_done = true;
        // A connection that is over has no delivery left to settle.
        let _ = self.done.send(Done(self.delivery, outcome));
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.is_done {
            self.done(None);
        }
    }
}

struct ConsumerPeer {
    address: String,
    credit: u32,
    session: Option<SessionId>,
    link: Option<LinkId>,
    attached: Option<oneshot::Sender<Result<(), ConnectError>>>,
    /// Holds no more than credit has been given for; credit is given for what the application is done
    /// with.
    messages: mpsc::UnboundedSender<Received>,
    done: mpsc::UnboundedReceiver<Done>,
    done_in: mpsc::UnboundedSender<Done>,
    /// Deliveries the application has not done with.
    open: u32,
    /// Deliveries it has done with since credit was given last.
    since_credit: u32,
}

impl ConsumerPeer {
    fn answer(&mut self, result: Result<(), ConnectError>) {
        if let Some(attached) = self.attached.take() {
            // Nobody waits any more after the time-out.
            let _ = attached.send(result);
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
                delivery, message, ..
            } => {
                let received = Received {
                    delivery,
                    message,
                    done: self.done_in.clone(),
                    is_done: false,
                };
                self.open += 1;
                // An application that has gone takes the connection with it.
                let _ = self.messages.send(received);
            }
            Event::Detached { error, .. } | Event::SessionEnded { error, .. } => {
                self.answer(Err(ConnectError::Refused { error }));
                connection.close(now, None);
            }
            Event::Closed { reason, error } => {
                self.answer(Err(ConnectError::Closed { reason, error }));
            }
            _ => {}
        }
    }

    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        _now: Instant,
        connection: &mut Connection<()>,
    ) {
        let Some(link) = self.link else {
            return;
        };
        while let Poll::Ready(Some(Done(delivery, outcome))) = self.done.poll_recv(cx) {
            if let Some(outcome) = outcome {
                connection.settle(link, delivery, &outcome);
            }
            self.open = self.open.saturating_sub(1);
            self.since_credit += 1;
        }
        // Half of the credit at a time: a flow per message would cost as much as the message.
        if self.since_credit > 0 && self.since_credit >= self.credit / 2 {
            self.since_credit = 0;
            connection.grant_credit(link, self.credit.saturating_sub(self.open));
        }
    }
}
