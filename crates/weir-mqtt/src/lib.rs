//! The MQTT adapter: MQTT 3.1.1 and 5 on one port.
//!
//! * [`Adapter`] owns the listener: [`Adapter::build`] opens the port, [`Adapter::run`] serves it.
//!   [`MqttConfig`] is its section of the configuration.
//! * `session` is one connection. `handshake` takes it from CONNECT to CONNACK; then one `poll`
//!   function, whose order is stated there, drives reading, answering, writing and the clocks.
//! * `uplinks` is the row of PUBLISHes of a connection that have no outcome yet. Outcomes leave it
//!   in the order in which the PUBLISHes came, and so do the PUBACKs.
//! * `command` has the subscriptions of a connection and the commands that come by them. A connection
//!   whose device never subscribes has none of it.
//! * `error` has the subscriptions for errors, and what a device is told of a refused message.
//! * `address` and `bag` read topics; `credentials` reads what CONNECT says about the device;
//!   `outcome` is the table from a reason to what the device gets to see, which [`answer_to`] shows to
//!   the documentation.
//! * `client` is who is at the other end: a device that has said who it is, or, where nobody is asked,
//!   anybody.
//! * `codec` is the only module that knows the wire format. It wraps `rmqtt-codec`, never hands it
//!   a packet that is not there in full, and makes the checks that crate leaves to its users.
//! * `websocket` turns the messages of a WebSocket into the stream of bytes that a session reads and
//!   writes. Who took the handshake hands such connections to [`WebSockets`].
//! * `count` says what is counted of packets and connections.
//! * `wire`, `timers` and `latch` are the socket with its two buffers, the clocks, and a future
//!   that is only polled when it has been woken.
//!
//! What this crate refuses to do: keep a session when its connection is gone, route from one device
//! to another, retain, publish a will, or acknowledge a message before the back end took it.

#![forbid(unsafe_code)]

mod address;
mod bag;
mod client;
mod codec;
mod command;
mod config;
mod count;
mod credentials;
mod error;
mod handshake;
mod latch;
mod outcome;
mod session;
#[cfg(test)]
mod tests;
mod timers;
mod uplinks;
mod websocket;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_core::{ConnectionBudget, Pipeline, Protocol};
use weir_listener::{
    Bind, BindError, ClientCertificates, Connection, Counts, Listener, Tls, TlsPort,
};

pub use config::MqttConfig;
pub use outcome::{MqttAnswer, answer_to};
pub use websocket::WebSockets;

use session::{Arrival, Shared};

/// The MQTT adapter with its open port.
#[derive(Debug)]
pub struct Adapter {
    listener: Listener,
    shared: Arc<Shared>,
}

impl Adapter {
    /// Opens the port that `config` names, with a certificate also the one with TLS. Messages go
    /// through `pipeline`.
    ///
    /// # Errors
    /// If the port is not to be had, or is not allowed without TLS.
    pub async fn build(
        config: MqttConfig,
        tls: Option<Tls>,
        pipeline: Pipeline,
    ) -> Result<Self, BindError> {
        let bind = Bind {
            name: "mqtt",
            ip: config.bind,
            plain: config.plain.then_some(config.port),
            allow_insecure: config.allow_insecure,
            tls: tls.map(|tls| TlsPort {
                port: config.tls_port,
                tls,
                clients: ClientCertificates::Requested,
            }),
        };
        let refusing = pipeline.clone();
        let listener = Listener::bind(bind).await?;
        let listener = listener.on_refusal(move || refusing.no_place(Protocol::Mqtt));
        Ok(Self {
            listener,
            shared: Arc::new(Shared { config, pipeline }),
        })
    }

    /// What became of the connections that came to it.
    pub fn counts(&self) -> Arc<Counts> {
        self.listener.counts()
    }

    /// The address it listens on, with the real port; the plain one's if that is open.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves connections that come over WebSockets, by the same rules as those that come to the port.
    pub fn websockets(&self) -> WebSockets {
        WebSockets::new(self.shared.clone())
    }

    /// Serves connections until `stop` is cancelled. Then no more are accepted; the open ones
    /// answer what is in flight, tell their peers, and end, at the latest after `drain`.
    pub async fn run(self, budget: ConnectionBudget, stop: CancellationToken, drain: Duration) {
        let Self { listener, shared } = self;
        let serve = move |connection| serve(connection, shared.clone());
        listener.serve(budget, stop, drain, serve).await;
    }
}

async fn serve(connection: Connection, shared: Arc<Shared>) {
    let Connection {
        stream,
        peer,
        permit,
        stop,
        tls,
    } = connection;
    tracing::debug!(%peer, "MQTT connection");
    let arrival = Arrival {
        has_place: permit.is_some(),
        tls: tls.map(Box::new),
    };
    session::serve(stream, arrival, stop, &shared).await;
    // The place in the budget is held until the very end of the connection.
    drop(permit);
}
