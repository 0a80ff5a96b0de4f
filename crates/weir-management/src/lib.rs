//! The Device Registry Management HTTP API v1: how operators keep tenants, devices and credentials.
//!
//! * [`Management`] is the listener: [`Management::build`] binds it, [`Management::run`] serves.
//!   `server.rs` runs one connection.
//! * `api.rs` has the routes and what is done for each request whatever its route: who asks (HTTP
//!   Basic, operators only), which other origins may (CORS).
//! * `tenants.rs`, `devices.rs` and `credentials.rs` have a function per verb. They take a request
//!   apart with `request.rs`, parse objects and check their rules with `object.rs` and `secret.rs`,
//!   call `weir_registry::SqlRegistry`, and answer with `answer.rs`.
//!
//! Passwords are hashed before anything else sees them and never shown. The crate stores nothing.

#![forbid(unsafe_code)]

mod answer;
mod api;
mod config;
mod credentials;
mod devices;
mod object;
mod request;
mod secret;
mod server;
mod tenants;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;
use weir_core::{Accounts, ConnectionBudget};
use weir_listener::{Bind, BindError, Listener};
use weir_registry::SqlRegistry;

pub use config::ManagementConfig;

/// The management API, bound to its port.
#[derive(Debug)]
pub struct Management {
    listener: Listener,
    router: Router,
}

impl Management {
    /// Binds the port.
    ///
    /// # Errors
    /// If the address is not allowed or not to be had.
    pub async fn build(
        config: ManagementConfig,
        registry: SqlRegistry,
        accounts: Arc<Accounts>,
    ) -> Result<Self, BindError> {
        let bind = Bind {
            name: "management",
            address: SocketAddr::new(config.bind, config.port),
            allow_insecure: config.allow_insecure,
        };
        let listener = Listener::bind(bind).await?;
        let router = api::router(&config, registry, accounts);
        Ok(Self { listener, router })
    }

    /// The address it listens on, with the real port.
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
