//! How a client connects and receives.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_amqp_engine::ClientSasl;

use super::ClientTls;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The server's name or IP address. With TLS its certificate has to be for this name.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// Whom to trust; without it, no TLS.
    pub tls: Option<ClientTls>,
    /// Who we are.
    pub sasl: ClientSasl,
    /// The name that we go by in the server's eyes; brokers may expect it to be unique.
    pub container_id: String,
    /// For a connection until it is open, and for a link until it is attached. 10 seconds by default.
    pub answer_timeout: Duration,
    /// For the server's credit, until a message can be sent. 1 second by default.
    pub credit_timeout: Duration,
    /// For the outcome of a message that was sent. 10 seconds by default.
    pub outcome_timeout: Duration,
}

impl ClientOptions {
    /// A connection without TLS, with the default time-outs.
    pub fn new(host: impl Into<String>, port: u16, sasl: ClientSasl) -> Self {
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let client = CLIENTS.fetch_add(1, Ordering::Relaxed);
        Self {
            host: host.into(),
            port,
            tls: None,
            sasl,
            container_id: format!("weir-client-{}-{client}", process::id()),
            answer_timeout: Duration::from_secs(10),
            credit_timeout: Duration::from_secs(1),
            outcome_timeout: Duration::from_secs(10),
        }
    }
}

/// What a receiver's link may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Messages that may be on their way or not settled at a time.
    pub window: u32,
    /// Messages that may be accepted altogether; any number if there is none. Those that were settled
    /// otherwise are made up for.
    pub total: Option<u64>,
}

impl From<u32> for Credit {
    /// That many at a time, without end.
    fn from(window: u32) -> Self {
        Self {
            window,
            total: None,
        }
    }
}
