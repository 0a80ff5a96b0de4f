//! The listener that applications connect to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{Config, Connection};
use weir_amqp_transport::drive;
use weir_core::command::Commands;
use weir_core::{Accounts, ConnectionBudget, LogLimit};
use weir_listener::{Bind, BindError, ClientCertificates, Counts, Listener, Tls, TlsPort};
use weir_x509::Certificate;

use crate::application::Application;
use crate::login::{Access, EXTERNAL, PLAIN};
use crate::{AmqpConfig, Embedded, Permissions, PermissionsError};

/// Sessions of one connection (the reference network's limit, northbound contract §1.1).
const SESSIONS: u16 = 10;
/// Links of one session.
const LINKS_PER_SESSION: u32 = 256;

/// How often the permission file is looked at.
const PERMISSIONS_INTERVAL: Duration = Duration::from_secs(3);

static OVER_BUDGET: LogLimit = LogLimit::new();

/// Why the endpoint cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The permission file cannot be used.
    #[error("northbound.amqp.permissions: {0}")]
    Permissions(#[from] PermissionsError),
    /// The listener cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// The bound AMQP 1.0 endpoint for applications.
#[derive(Debug)]
pub struct Endpoint {
    config: AmqpConfig,
    embedded: Embedded,
    permissions: Permissions,
    listener: Listener,
}

impl Endpoint {
    /// Binds the listener, with a certificate also its TLS port. Who may log in is in the permission
    /// file; without one it is the accounts of applications.
    ///
    /// # Errors
    /// If the permission file cannot be used, or the address is not allowed or not to be had.
    pub async fn build(
        config: AmqpConfig,
        tls: Option<Tls>,
        embedded: Embedded,
        accounts: Arc<Accounts>,
    ) -> Result<Self, EndpointError> {
        let permissions = match config.permissions.clone() {
            Some(path) => Permissions::load(path, accounts.verifier().clone()).await?,
            None => Permissions::of_accounts(&accounts),
        };
        let bind = Bind {
            name: "northbound.amqp",
            ip: config.bind,
            plain: config.plain.then_some(config.port),
            allow_insecure: config.allow_insecure,
            tls: tls.map(|tls| TlsPort {
                port: config.tls_port,
                tls,
                clients: ClientCertificates::Trusted,
            }),
        };
        let listener = Listener::bind(bind).await?;
        Ok(Self {
            config,
            embedded,
            permissions,
            listener,
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

    /// Who may log in and do what. It is looked at every three seconds whether that has changed.
    pub fn permissions(&self) -> Permissions {
        self.permissions.clone()
    }

    /// Serves applications until `stop` is cancelled, then tells them and ends within `drain`; at last
    /// the event store is closed. What they send to devices goes to `commands`.
    ///
    /// They have a connection budget of their own: devices must not be able to lock out those who
    /// consume what they send.
    pub async fn run(self, commands: Commands, stop: CancellationToken, drain: Duration) {
        let budget = ConnectionBudget::new(self.config.max_connections);
        let Self {
            config,
            embedded,
            permissions,
            listener,
        } = self;
        let engine = Config {
            container_id: "weir".to_owned(),
            max_frame_size: config.max_frame_size,
            idle_timeout: Some(Duration::from_secs(config.idle_timeout)),
            handshake_timeout: Duration::from_secs(config.handshake_timeout),
            sasl_mechanisms: vec![PLAIN],
            channel_max: SESSIONS - 1,
            handle_max: LINKS_PER_SESSION - 1,
            ..Config::default()
        };
        let events = embedded.events().clone();
        let watched = permissions.clone();
        let serve = move |connection: weir_listener::Connection| {
            let certificate = connection
                .tls
                .as_ref()
                .and_then(|tls| tls.certificate.as_ref());
            let mut engine = engine.clone();
            if certificate.is_some() {
                engine.sasl_mechanisms.push(EXTERNAL);
            }
            let certified = certificate.and_then(|der| common_name(der));
            let access = Access::new(permissions.clone(), embedded.metrics().clone(), certified);
            let application = Application::new(embedded.clone(), commands.clone(), access);
            let engine = Connection::server(engine, Instant::now());
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
        let watch = watched.watch(PERMISSIONS_INTERVAL, stop.clone());
        events.expire().await;
        let links_over = CancellationToken::new();
        let serve = async {
            listener.serve(budget, stop, drain, serve).await;
            links_over.cancel();
        };
        // Those who are being told to go need nothing watched any more.
        tokio::join!(serve, watch, events.run(links_over.clone()));
    }
}

/// The user that a certificate names (northbound contract §1.1).
fn common_name(der: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?;
    certificate.subject().common_name().map(str::to_owned)
}
