//! Why something could not be had, or is over.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use weir_amqp_engine::{CloseReason, Error};

/// Why a connection or a link could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection.
    #[error("cannot connect to {address}: {source}")]
    Io {
        /// Where: host and port.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// No TLS on the connection.
    #[error("no TLS with {address}: {source}")]
    Tls {
        /// Where: host and port.
        address: String,
        /// What is wrong, for example that the server's certificate is not trusted.
        source: io::Error,
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

/// Why a link that was attached is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The server detached it, or ended the session that it was in.
    #[error("the server detached the link{}", detail(error.as_ref()))]
    Detached {
        /// The server's words.
        error: Option<Error>,
    },
    /// The connection is over.
    #[error("the connection is over ({reason:?}){}", detail(error.as_ref()))]
    Closed {
        /// Who ended it, and how.
        reason: CloseReason,
        /// The server's words.
        error: Option<Error>,
    },
}

/// Why a message was not sent, or its outcome will not be known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The server gave no credit in time: there is nobody to take the message. It was not sent.
    #[error("no credit available within {0:?}")]
    NoCredit(Duration),
    /// The link is over. Whether the message was processed is not known.
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl From<Ended> for ConnectError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Detached { error } => Self::Refused { error },
            Ended::Closed { reason, error } => Self::Closed { reason, error },
        }
    }
}

fn detail(error: Option<&Error>) -> String {
    error.map(|error| format!(": {error}")).unwrap_or_default()
}

/// What the connection's task has said of an end. One that ended without a word was torn down with
/// its runtime.
pub(super) fn end_of(end: &OnceLock<Ended>) -> Ended {
    end.get().cloned().unwrap_or(Ended::Closed {
        reason: CloseReason::TransportLost,
        error: None,
    })
}
