//! Events, commands and responses over real sockets, with a client that nobody here wrote.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod application;
mod chaos;
mod commands;
mod events;
#[path = "../kit/mod.rs"]
mod kit;
mod measures;
#[path = "../notifications/probe.rs"]
mod probe;
mod responses;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use weir_core::command::LocalRouter;
use weir_core::{
    Accounts, Defaults, Disposition, Downstream, Northbound as _, PasswordVerifier, Qos,
    TraceContext,
};
use weir_event_store::{EventStore, Options};
use weir_metrics::Metrics;
use weir_northbound_amqp::{AmqpConfig, Embedded, Endpoint, Permissions};

/// Nothing here takes as long, unless it never comes.
const DEADLINE: Duration = Duration::from_secs(60);

struct Gateway {
    address: SocketAddr,
    permissions: Permissions,
    embedded: Embedded,
    store: EventStore,
    metrics: Metrics,
    router: Arc<LocalRouter>,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
    folder: TempDir,
    options: Options,
}

impl Gateway {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let (store, folder) = kit::store(options.clone());
        Self::open(store, folder, options).await
    }

    async fn open(store: EventStore, folder: TempDir, options: Options) -> Self {
        let config = AmqpConfig {
            port: 0,
            // Who says nothing is not taken for lost while a test runs.
            idle_timeout: 600,
            permissions: Some(permit(&folder, r#"["standard"]"#)),
            ..AmqpConfig::default()
        };
        let metrics = kit::metrics();
        let embedded = Embedded::new(&config, store.clone(), metrics.clone());
        metrics.register(embedded.consumers());
        let accounts = Arc::new(Accounts::new(PasswordVerifier::new(1)));
        let endpoint = Endpoint::build(config, None, embedded.clone(), accounts);
        let endpoint = endpoint.await.unwrap();
        let (address, permissions) = (endpoint.local_addr(), endpoint.permissions());
        let router = Arc::new(LocalRouter::default());
        let commands = kit::commands(&embedded, router.clone());
        let stop = CancellationToken::new();
        let run = endpoint.run(commands, stop.clone(), Duration::from_secs(10));
        Self {
            address,
            permissions,
            embedded,
            store,
            metrics,
            router,
            stop,
            server: tokio::spawn(run),
            folder,
            options,
        }
    }

    /// Stops in an orderly way and starts again with the same folder.
    async fn restart(self) -> Self {
        self.stop.cancel();
        self.server.await.unwrap();
        drop((self.embedded, self.store));
        let store = EventStore::open(self.folder.path(), self.options.clone()).unwrap();
        Self::open(store, self.folder, self.options).await
    }

    /// Takes all permissions from the application.
    async fn withdraw(&self) {
        permit(&self.folder, "[]");
        // The endpoint may have looked by itself in between.
        let _is_new = self.permissions.look().await.unwrap();
    }

    async fn publish(&self, message: Downstream) -> Disposition {
        let outlet = self.embedded.outlet(&message.tenant, message.endpoint);
        outlet.publish(message).await.disposition
    }

    /// Stores an event of a device.
    async fn event(&self, device: &str, payload: impl ToString) {
        let event = message(weir_core::Endpoint::Event, device, payload);
        assert_eq!(self.publish(event).await, Ok(()));
    }
}

/// Writes the permission file of an application with these roles.
fn permit(folder: &TempDir, roles: &str) -> PathBuf {
    let path = folder.path().join("permissions.json");
    let content = format!(
        r#"{{
            "roles": {{"standard": [
                {{"resource": "event/*", "activities": ["READ"]}},
                {{"resource": "command_response/*", "activities": ["READ"]}},
                {{"resource": "command/*", "activities": ["WRITE"]}}
            ]}},
            "users": {{"app": {{
                "mechanism": "PLAIN", "password": "secret", "authorities": {roles}
            }}}}
        }}"#
    );
    std::fs::write(&path, content).unwrap();
    path
}

fn message(endpoint: weir_core::Endpoint, device: &str, payload: impl ToString) -> Downstream {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    Downstream {
        tenant: "acme".into(),
        device: device.into(),
        endpoint,
        qos: Qos::AtLeastOnce,
        adapter: "hono-mqtt",
        origin_address: ByteString::from_static("event"),
        content_type: Some(ByteString::from_static("text/plain")),
        creation_time: i64::try_from(now).unwrap(),
        ttl: None,
        ttd: None,
        retain: false,
        properties: Vec::new(),
        response: None,
        trace: TraceContext::unsampled(),
        defaults: Arc::new(Defaults::default()),
        payload: Bytes::from(payload.to_string()),
    }
}
