//! The Device Registry Management HTTP API v1: how operators keep tenants, devices and credentials. It has one
//! resource more than Hono's: what the gateway logs.
//!
//! * [`Management`] is the listener: [`Management::build`] binds it, [`Management::run`] serves.
//!   `server.rs` runs one connection.
//! * `api.rs` has the routes and what is done for each request whatever its route: who asks (HTTP
//!   Basic, operators only), which other origins may (CORS).
//! * `tenants.rs`, `devices.rs` and `credentials.rs` have a function per verb. They take a request
//!   apart with `request.rs`, have its body parsed by `rules/`, call `weir_registry::SqlRegistry`, and
//!   answer with `answer.rs`.
//! * `log.rs` has the log, which the binary hands in as a [`LogControl`].
//! * `search.rs` reads what is asked of collections: filters, order, page.
//! * `rules/` has a file per kind of object: from what an operator sends to what is stored, or the rule
//!   that was broken. `object.rs` has what they share; by it an error names a member by its path and
//!   never quotes a value. `rules/x509.rs` reads what is of certificates, `hasher.rs` hashes passwords.
//! * `openapi.rs` serves the description of all this for programs.
//!
//! Passwords are hashed before anything else sees them and never shown. The crate stores nothing.

#![forbid(unsafe_code)]

mod answer;
mod api;
mod config;
mod credentials;
mod devices;
mod hasher;
mod log;
mod object;
mod openapi;
mod request;
mod rules;
mod search;
mod server;
mod tenants;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;
use weir_core::{Accounts, ConnectionBudget};
use weir_listener::{Bind, BindError, ClientCertificates, Counts, Listener, Tls, TlsPort};
use weir_metrics::Metrics;
use weir_registry::SqlRegistry;

pub use config::{HashAlgorithm, ManagementConfig};
pub use log::{LogControl, LogError, LogFilter};

/// The management API, bound to its port.
#[derive(Debug)]
pub struct Management {
    listener: Listener,
    router: Router,
}

impl Management {
    /// Binds the port, with a certificate also the one with TLS. Operators who say who they are are
    /// counted in `metrics`. They can see and change what `log` has logged.
    ///
    /// # Errors
    /// If the address is not allowed or not to be had.
    pub async fn build(
        config: ManagementConfig,
        tls: Option<Tls>,
        registry: SqlRegistry,
        accounts: Arc<Accounts>,
        metrics: Metrics,
        log: Arc<dyn LogControl>,
    ) -> Result<Self, BindError> {
        let bind = Bind {
            name: "management",
            ip: config.bind,
            plain: config.plain.then_some(config.port),
            allow_insecure: config.allow_insecure,
            tls: tls.map(|tls| TlsPort {
                port: config.tls_port,
                tls,
                clients: ClientCertificates::NotRequested,
            }),
        };
        let listener = Listener::bind(bind).await?;
        let router = api::router(&config, registry, accounts, metrics, log);
        Ok(Self { listener, router })
    }

    /// What became of the connections that came to it.
    pub fn counts(&self) -> Arc<Counts> {
        self.listener.counts()
    }

    /// The address it listens on, with the real port; the plain one's if that is open.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves until `stop` is cancelled, then answers what is in flight, for at most `drain`.
    pub async fn run(self, budget: ConnectionBudget, stop: CancellationToken, drain: Duration) {
        let router = self.router;
        let serve = move |connection| server::serve(connection, router.clone());
        self.listener.serve(budget, stop, drain, serve).await;
    }
}
