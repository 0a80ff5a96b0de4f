//! The listener that applications connect to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{Config, Connection};
use weir_amqp_transport::drive;
use weir_core::{Accounts, ConnectionBudget, LogLimit};
use weir_listener::{Bind, BindError, ClientCertificates, Listener, Tls, TlsPort};

use crate::application::Application;
use crate::{AmqpConfig, Embedded};

/// Sessions of one connection (the reference network's limit, northbound contract §1.1).
const SESSIONS: u16 = 10;
/// Links of one session.
const LINKS_PER_SESSION: u32 = 256;

static OVER_BUDGET: LogLimit = LogLimit::new();

/// The bound AMQP 1.0 endpoint for applications.
#[derive(Debug)]
pub struct Endpoint {
    config: AmqpConfig,
    embedded: Embedded,
    accounts: Arc<Accounts>,
    listener: Listener,
}

impl Endpoint {
    /// Binds the listener, with a certificate also its TLS port.
    ///
    /// # Errors
    /// If the address is not allowed or not to be had.
    pub async fn build(
        config: AmqpConfig,
        tls: Option<Tls>,
        embedded: Embedded,
        accounts: Arc<Accounts>,
    ) -> Result<Self, BindError> {
        let bind = Bind {
            name: "northbound.amqp",
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
        Ok(Self {
            config,
            embedded,
            accounts,
            listener,
        })
    }

    /// The address it listens on, with the real port; the plain one's if that is open.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves applications until `stop` is cancelled, then tells them and ends within `drain`.
    ///
    /// They have a connection budget of their own: devices must not be able to lock out those who
    /// consume what they send.
    pub async fn run(self, stop: CancellationToken, drain: Duration) {
        let budget = ConnectionBudget::new(self.config.max_connections);
        let Self {
            config,
            embedded,
            accounts,
            listener,
        } = self;
        let engine = Config {
            container_id: "weir".to_owned(),
            max_frame_size: config.max_frame_size,
            idle_timeout: Some(Duration::from_secs(config.idle_timeout)),
            handshake_timeout: Duration::from_secs(config.handshake_timeout),
            sasl_mechanisms: vec!["PLAIN"],
            channel_max: SESSIONS - 1,
            handle_max: LINKS_PER_SESSION - 1,
            ..Config::default()
        };
        let serve = move |connection: weir_listener::Connection| {
            let application = Application::new(embedded.clone(), accounts.clone());
            let engine = Connection::server(engine.clone(), Instant::now());
            async move {
                let weir_listener::Connection {
                    stream,
                    peer,
                    permit,
                    stop,
                    ..
                } = connection;
                if permit.is_none() {
                    if let Some(unlogged) = OVER_BUDGET.admit(Instant::now()) {
                        tracing::warn!(%peer, unlogged, "application refused: too many connections");
                    }
                    return;
                }
                drive(stream, engine, application, stop).await;
            }
        };
        listener.serve(budget, stop, drain, serve).await;
    }
}
