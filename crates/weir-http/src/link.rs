//! What an exchange has to know of its connection.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use weir_core::{Pipeline, Principal, Protocol, Session};
use weir_listener::TlsPeer;

use crate::handover::{Framing, Unconfirmed};
use crate::websocket::Upgrade;

/// Requests of one connection whose sender is being found out, or whose bodies are being read, at the same
/// time. The others wait: each of these has its own deadlines.
const TURNS: usize = 8;

/// A connection, as its exchanges see it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) tls: Option<TlsPeer>,
    pub(crate) framing: Framing,
    /// Cancelled when nothing is to be waited for any longer.
    pub(crate) stop: CancellationToken,
    pub(crate) unconfirmed: Unconfirmed,
    pub(crate) upgrade: Upgrade,
    /// Held by a request until it is known who sends it and what.
    pub(crate) turns: Semaphore,
    /// That of the last request.
    session: Mutex<Option<Arc<Session>>>,
}

impl Link {
    pub(crate) fn new(tls: Option<TlsPeer>, framing: Framing, stop: CancellationToken) -> Self {
        Self {
            tls,
            framing,
            stop,
            unconfirmed: Unconfirmed::default(),
            upgrade: Upgrade::default(),
            turns: Semaphore::new(TURNS),
            session: Mutex::default(),
        }
    }

    /// The session of a request: that of the request before, if it came from the same device and the device's
    /// tenant is as it was. Most connections are one device's, whose handles are so looked up once.
    pub(crate) fn session(&self, pipeline: &Pipeline, principal: Principal) -> Arc<Session> {
        let mut last = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let same = last.take().filter(|last| *last.principal() == principal);
        let session = same.unwrap_or_else(|| pipeline.exchange(Protocol::Http, principal));
        last.insert(session).clone()
    }
}
