//! A client: one connection to a server, with any number of links.
//!
//! * [`Client`] connects, logs in and attaches links; `options.rs` says how, `tls.rs` whom it trusts.
//! * [`Receiver`] and [`Sender`] are the application's ends of the links.
//! * `peer.rs` owns the engine on the connection's task; `link.rs` has the other ends of the links.
//! * `error.rs` says why something could not be had, or is over.
//!
//! Messages that arrived wait for the application in no greater number than it gave credit for, and
//! messages to be sent wait for the server's credit in a short queue for a limited time.

mod error;
mod link;
mod options;
mod peer;
mod receiver;
mod sender;
mod tls;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_amqp_engine::{Config, Connection, LinkId};

use crate::{Transport, drive};
use link::Side;
use peer::{Attach, ClientPeer, Done};

pub use error::{ConnectError, Ended, SendError};
pub use options::{ClientOptions, Credit};
pub use receiver::{Received, Receiver};
pub use sender::Sender;
pub use tls::{ClientTls, TlsError};

/// Links that may wait to be attached before who asks for more has to wait.
const ATTACHES: usize = 16;
/// Messages that may wait for one link's credit before who sends more has to wait.
const SENDS: usize = 16;

/// A connection to an AMQP 1.0 server.
///
/// Dropping it closes the connection, and with it all links; [`Client::close`] waits for that.
#[derive(Debug)]
pub struct Client {
    attaches: mpsc::Sender<Attach>,
    done: mpsc::UnboundedSender<Done>,
    over: Arc<OnceLock<Ended>>,
    task: JoinHandle<()>,
    stop: DropGuard,
    options: ClientOptions,
}

impl Client {
    /// Connects and logs in.
    ///
    /// # Errors
    /// If that fails, or takes longer than [`ClientOptions::answer_timeout`].
    pub async fn connect(options: ClientOptions) -> Result<Self, ConnectError> {
        let patience = options.answer_timeout;
        let connected = timeout(patience, Self::open(options)).await;
        connected.unwrap_or(Err(ConnectError::TimedOut(patience)))
    }

    async fn open(options: ClientOptions) -> Result<Self, ConnectError> {
        let address = || format!("{}:{}", options.host, options.port);
        let io = |source| ConnectError::Io {
            address: address(),
            source,
        };
        let stream = TcpStream::connect((&*options.host, options.port)).await;
        let stream = stream.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        match &options.tls {
            None => Self::start(stream, options).await,
            Some(tls) => {
                let stream = tls.handshake(&options.host, stream).await;
                let stream = stream.map_err(|source| ConnectError::Tls {
                    address: address(),
                    source,
                })?;
                Self::start(stream, options).await
            }
        }
    }

    /// Runs the connection and waits until it is open.
    async fn start<S: Transport + 'static>(
        stream: S,
        options: ClientOptions,
    ) -> Result<Self, ConnectError> {
        let config = Config {
            container_id: options.container_id.clone(),
            hostname: Some(options.host.clone()),
            ..Config::default()
        };
        let connection = Connection::client(config, options.sasl.clone(), Instant::now());
        let (opened, is_opened) = oneshot::channel();
        let (attaches, asked) = mpsc::channel(ATTACHES);
        let (done_in, done) = mpsc::unbounded_channel();
        let over = Arc::new(OnceLock::new());
        let peer = ClientPeer::new(opened, asked, (done_in.clone(), done), over.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            drive(stream, connection, peer, stopped).await;
        });
        let client = Self {
            attaches,
            done: done_in,
            over,
            task,
            stop: stop.drop_guard(),
            options,
        };
        match is_opened.await {
            Ok(()) => Ok(client),
            Err(_) => Err(client.over().into()),
        }
    }

    /// Attaches a link that receives from `address`. `credit` messages may be on their way or in the
    /// application's hands at a time.
    ///
    /// # Errors
    /// If the server refuses, does not answer in time, or the connection is over.
    pub async fn receiver(
        &self,
        address: &str,
        credit: impl Into<Credit>,
    ) -> Result<Receiver, ConnectError> {
        let credit = credit.into();
        let room = usize::try_from(credit.window).unwrap_or(usize::MAX);
        let room = room.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        let (to_application, messages) = mpsc::channel(room);
        let end = Arc::new(OnceLock::new());
        let side = Side::receiver(to_application, credit);
        let link = self.attach(address, side, end.clone()).await?;
        Ok(Receiver::new(messages, link, self.done.clone(), end))
    }

    /// Attaches a link that sends to `address`.
    ///
    /// # Errors
    /// If the server refuses, does not answer in time, or the connection is over.
    pub async fn sender(&self, address: &str) -> Result<Sender, ConnectError> {
        let (queue, messages) = mpsc::channel(SENDS);
        let end = Arc::new(OnceLock::new());
        let side = Side::sender(messages);
        self.attach(address, side, end.clone()).await?;
        let (credit, outcome) = (self.options.credit_timeout, self.options.outcome_timeout);
        Ok(Sender::new(queue, end, credit, outcome))
    }

    async fn attach(
        &self,
        address: &str,
        side: Side,
        end: Arc<OnceLock<Ended>>,
    ) -> Result<LinkId, ConnectError> {
        let (answer, answered) = oneshot::channel();
        let attach = Attach {
            address: address.to_owned(),
            side,
            end,
            answer,
        };
        let asked = async {
            self.attaches.send(attach).await.ok()?;
            answered.await.ok()
        };
        let patience = self.options.answer_timeout;
        match timeout(patience, asked).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(self.over().into()),
            Err(_) => Err(ConnectError::TimedOut(patience)),
        }
    }

    fn over(&self) -> Ended {
        error::end_of(&self.over)
    }

    /// Closes the connection and waits for the server's answer, a few seconds at most. What was settled
    /// before is told first.
    pub async fn close(self) {
        drop(self.stop);
        // It fails only if the task panicked or the runtime is going.
        let _ = self.task.await;
    }
}
