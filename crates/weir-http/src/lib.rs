//! The HTTP device adapter, HTTP/1.1 and with TLS also HTTP/2: one upload or command response per request, answered when its outcome
//! is known, with a command if the device waits for one.
//!
//! * [`Adapter`] binds ([`Adapter::build`]) as [`HttpConfig`] says and serves ([`Adapter::run`]).
//! * `listener` drives one connection with hyper: deadlines, stop, polite close; `http2` drives one that
//!   speaks HTTP/2, and `peer` is the socket that both see. `link` is what an exchange knows of its
//!   connection.
//! * `request` takes one exchange through its checks, in the contract's order, to a
//!   [`Received`](weir_core::Received) and on to its [`Outcome`](weir_core::Outcome). It leans on
//!   `address` (path → endpoint and target), `credentials` (`Authorization` → credentials), `head` (what
//!   other headers say), `body` (bounded reading) and `cors`.
//! * `command` writes a command into an answer, and reads what a device responds to one; `handover`
//!   knows when a command counts as accepted.
//! * `outcome` is the table from outcome to status, headers and body; [`answer_to`] shows it to the
//!   documentation.
//! * `websocket` lets a connection leave HTTP for MQTT, of which it knows the name. The composition
//!   says who goes on with it ([`WebSockets`]).
//!
//! Paths are taken raw: `/telemetry//4711` names a device and no tenant, so no router that
//! normalises paths may stand before `address`.
//!
//! What this crate refuses to do: read the body of a request whose sender is not known, hold more of
//! a body than may be uploaded, or ask registry and northbound past the pipeline.

#![forbid(unsafe_code)]

mod address;
mod body;
mod command;
mod config;
mod cors;
mod credentials;
mod handover;
mod head;
mod http2;
mod link;
mod listener;
#[cfg(test)]
mod mutation;
mod outcome;
mod peer;
mod request;
mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_core::{ConnectionBudget, Pipeline, Protocol};
use weir_listener::{Bind, BindError, ClientCertificates, Counts, Listener, Tls, TlsPort};

pub use config::HttpConfig;
pub use outcome::{HttpAnswer, answer_to};
pub use websocket::{WebSocket, WebSockets};

use request::Front;

/// The HTTP adapter, bound and ready to serve.
#[derive(Debug)]
pub struct Adapter {
    listener: Listener,
    front: Front,
}

impl Adapter {
    /// Opens the listener; with a certificate also its TLS port.
    ///
    /// # Errors
    /// If the address is not allowed or not to be had.
    pub async fn build(
        config: HttpConfig,
        tls: Option<Tls>,
        pipeline: Pipeline,
    ) -> Result<Self, BindError> {
        let listener = Listener::bind(Bind {
            name: "http",
            ip: config.bind,
            plain: config.plain.then_some(config.port),
            allow_insecure: config.allow_insecure,
            tls: tls.map(|tls| TlsPort {
                port: config.tls_port,
                tls: tls.offering(listener::PROTOCOLS),
                clients: ClientCertificates::Requested,
            }),
        })
        .await?;
        let front = Front::new(&config, pipeline.clone());
        let listener = listener.on_refusal(move || pipeline.no_place(Protocol::Http));
        Ok(Self { listener, front })
    }

    /// Lets clients ask for MQTT over WebSockets at `/mqtt`. Without this nothing is found there.
    #[must_use]
    pub fn with_websockets(mut self, websockets: WebSockets) -> Self {
        self.front.websockets = Some(websockets);
        self
    }

    /// What became of the connections that came to it.
    pub fn counts(&self) -> Arc<Counts> {
        self.listener.counts()
    }

    /// The address it listens on, with the real port; the plain one's if that is open.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves until `stop` is cancelled, then finishes what is in flight, for at most `drain`.
    pub async fn run(self, budget: ConnectionBudget, stop: CancellationToken, drain: Duration) {
        let Self { listener, front } = self;
        let front = Arc::new(front);
        let serve = move |connection| listener::serve(connection, front.clone());
        listener.serve(budget, stop, drain, serve).await;
    }
}
