//! The gateway: parts built in the order they need each other, run, and stopped in reverse.
//!
//! [`App::build`] opens the registry and binds every listener, so that a mistake is told before
//! anything is served and tests learn the real ports. [`App::run`] serves until it is told to stop:
//! then devices are turned away and drained first, and the northbound goes last, because what the
//! devices are still owed comes from there.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_core::command::Commands;
use weir_core::{
    Accounts, ConnectionBudget, PasswordVerifier, Pipeline, PipelineOptions, Protocol, Tracer,
};
use weir_event_store::EventStore;
use weir_listener::Tls;
use weir_management::Management;
use weir_metrics::{Metrics, Source};
use weir_northbound_amqp::{Embedded, Endpoint};
use weir_registry::{Options, SqlRegistry};
use weir_traces::Traces;

use crate::aws_iot::AwsIot;
use crate::certificates::{self, Certificates};
use crate::config::Config;
use crate::emqx::Emqx;
use crate::figures::{self, Tenants};
use crate::groups::{ended, first_lost};
use crate::health::{Health, Phase};
use crate::jvm;
use crate::process::Process;
use crate::secrets;
use crate::services::Services;
use crate::usage::Keeper;
use crate::{limits, logging};

/// How long applications and probes may take to part when the gateway stops. The devices' messages
/// have ended by then.
const LAST_DRAIN: Duration = Duration::from_secs(5);
/// Connections that operators and probes may hold, of each.
const OPERATOR_CONNECTIONS: usize = 100;
/// Seconds between two looks after the metrics, among them the time that devices have been connected.
const METRICS_UPKEEP: Duration = Duration::from_secs(10);

/// A gateway that is ready to run.
#[derive(Debug)]
pub struct App {
    /// Held until the gateway has ended.
    locks: (File, Option<File>),
    health: Health,
    emqx: Option<Emqx>,
    aws_iot: Option<AwsIot>,
    registry: SqlRegistry,
    events: EventStore,
    services: Services,
    tenants: Tenants,
    metrics: Metrics,
    budget: ConnectionBudget,
    drain: Duration,
    northbound: Endpoint,
    commands: Commands,
    keeper: Keeper,
    traces: Option<Traces>,
    management: Option<Management>,
    http: Option<weir_http::Adapter>,
    mqtt: Option<weir_mqtt::Adapter>,
    certificates: Vec<Tls>,
}

/// Where a gateway listens, with the real ports: of each listener the plain port, or the one with TLS
/// if that is the only one. `None` is what the configuration switched off.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Applications, AMQP 1.0.
    pub amqp: SocketAddr,
    /// Health and metrics.
    pub health: SocketAddr,
    /// Metrics under EMQX's names.
    pub emqx: Option<SocketAddr>,
    /// The management API.
    pub management: Option<SocketAddr>,
    /// Devices, HTTP.
    pub http: Option<SocketAddr>,
    /// Devices, MQTT.
    pub mqtt: Option<SocketAddr>,
}

impl App {
    /// Opens the registry and binds every listener.
    ///
    /// # Errors
    /// If the data folder, the registry or an address cannot be had; the text says which.
    pub async fn build(config: &Config) -> anyhow::Result<Self> {
        let options = (&config.metrics).into();
        let metrics = Metrics::with_options(limits::host_name(), Instant::now(), options);
        metrics.register(Arc::new(Process::here()));
        jvm::register(&metrics, &config.compat);
        let traces = traces(config, &metrics)?;
        let services = Services::all_up();
        metrics.register(Arc::new(services.clone()));
        let health = Health::build(&config.health, services.clone(), metrics.clone()).await?;
        let emqx = match &config.metrics.emqx {
            on if on.enabled => Some(Emqx::build(on, metrics.clone()).await?),
            _ => None,
        };
        secrets::create_folder(&config.data_dir)?;
        let locks = (
            secrets::lock_folder(&config.data_dir)?,
            secrets::lock_registry(config)?,
        );
        let aws_iot = match &config.metrics.aws_iot {
            on if on.enabled => Some(AwsIot::build(on, metrics.clone())?),
            _ => None,
        };
        let registry = open_registry(config).await?;
        let tenants = Tenants::of(&registry).await?;

        let verifier = PasswordVerifier::new(limits::password_threads());
        let mut accounts = Accounts::new(verifier.clone());
        secrets::load_accounts(config, &mut accounts)?;
        let accounts = Arc::new(accounts);

        let mut certificates = Certificates::new(&config.tls);
        let amqp = config.northbound.amqp.clone();
        let events = open_events(config).await?;
        let embedded = Embedded::new(&amqp, events.clone(), metrics.clone());
        let tls = certificates.load_trusting(
            "northbound.amqp",
            amqp.tls_certificate.as_deref(),
            amqp.tls_key.as_deref(),
            amqp.tls_client_ca.as_deref(),
        )?;
        let northbound = Endpoint::build(amqp, tls, embedded.clone(), accounts.clone()).await?;
        let keeper = Keeper::open(&config.data_dir).await?;
        let sources: [Arc<dyn Source>; 5] = [
            Arc::new(figures::Caches(registry.clone())),
            Arc::new(figures::Events(events.clone())),
            Arc::new(figures::Passwords(verifier.clone())),
            Arc::new(tenants.clone()),
            embedded.consumers(),
        ];
        sources
            .into_iter()
            .for_each(|source| metrics.register(source));
        let pipeline = Pipeline::new(
            Arc::new(registry.clone()),
            Arc::new(embedded.clone()),
            verifier,
            metrics.clone(),
            PipelineOptions {
                connection_events: config.connection_events.into(),
                tracer: tracer(traces.as_ref()),
                usage: keeper.usage(),
                ..PipelineOptions::default()
            },
        );
        // Devices are sent away before applications hear why.
        registry.listen(pipeline.change_listener());
        registry.listen(Arc::new(pipeline.commands().clone()));
        registry.listen(embedded.notifications());
        registry.listen(Arc::new(tenants.clone()));

        let operators = (registry.clone(), accounts, metrics.clone());
        let management = management(config, &mut certificates, operators).await?;
        let commands = pipeline.commands().clone();
        let (http, mqtt) = adapters(config, &mut certificates, pipeline).await?;
        metrics.register(Arc::new(figures::Expiry(certificates.by_listener())));
        announce(&metrics, http.is_some(), mqtt.is_some());
        let budget = ConnectionBudget::new(limits::max_connections(config.max_connections));
        let listeners = [
            Some(northbound.counts()),
            Some(health.counts()),
            emqx.as_ref().map(Emqx::counts),
            management.as_ref().map(Management::counts),
            http.as_ref().map(weir_http::Adapter::counts),
            mqtt.as_ref().map(weir_mqtt::Adapter::counts),
        ];
        metrics.register(Arc::new(figures::Connections {
            listeners: listeners.into_iter().flatten().collect(),
            budget: budget.clone(),
        }));
        let drain = Duration::from_secs(config.drain_timeout);
        let app = Self {
            locks,
            health,
            emqx,
            aws_iot,
            registry,
            events,
            services,
            tenants,
            metrics,
            budget,
            drain,
            northbound,
            commands,
            keeper,
            traces,
            management,
            http,
            mqtt,
            certificates: certificates.into_loaded(),
        };
        Ok(app)
    }

    /// Where the gateway listens.
    pub fn addresses(&self) -> Addresses {
        Addresses {
            amqp: self.northbound.local_addr(),
            health: self.health.local_addr(),
            emqx: self.emqx.as_ref().map(Emqx::local_addr),
            management: self.management.as_ref().map(Management::local_addr),
            http: self.http.as_ref().map(weir_http::Adapter::local_addr),
            mqtt: self.mqtt.as_ref().map(weir_mqtt::Adapter::local_addr),
        }
    }

    /// Serves until `stop` is cancelled, then drains and ends.
    ///
    /// # Errors
    /// If a part of the gateway has ended by itself: then the others are stopped too, because a gateway
    /// that takes no messages, or passes none on, must not look as if it did.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            locks,
            health,
            registry,
            metrics,
            budget,
            drain,
            ..
        } = self;
        let phase = health.phase();
        // Each group of listeners has its own stop: devices first, then back ends, then health.
        let (stop_northbound, stop_health) = (CancellationToken::new(), CancellationToken::new());

        let mut devices = JoinSet::new();
        if let Some(http) = self.http {
            devices.spawn(http.run(budget.clone(), stop.clone(), drain));
        }
        if let Some(mqtt) = self.mqtt {
            devices.spawn(mqtt.run(budget, stop.clone(), drain));
        }
        if let Some(management) = self.management {
            let operators = ConnectionBudget::new(OPERATOR_CONNECTIONS);
            devices.spawn(management.run(operators, stop.clone(), drain));
        }
        let mut northbound = JoinSet::new();
        let endpoint = self.northbound;
        northbound.spawn(endpoint.run(self.commands, stop_northbound.clone(), LAST_DRAIN));
        let mut watch = JoinSet::new();
        let probes = ConnectionBudget::new(OPERATOR_CONNECTIONS);
        watch.spawn(health.run(probes, stop_health.clone(), LAST_DRAIN));
        if let Some(emqx) = self.emqx {
            let scrapers = ConnectionBudget::new(OPERATOR_CONNECTIONS);
            watch.spawn(emqx.run(scrapers, stop_health.clone(), LAST_DRAIN));
        }
        if let Some(aws_iot) = self.aws_iot {
            watch.spawn(aws_iot.run(stop_health.clone(), LAST_DRAIN));
        }
        // Only as long as the gateway serves: then they are stopped too.
        watch.spawn(
            self.services
                .keep(registry.clone(), self.events, stop.clone()),
        );
        watch.spawn(self.keeper.run(stop_health.clone()));
        watch.spawn(keep_metrics(metrics, stop_health.clone()));
        watch.spawn(self.tenants.keep(registry.clone(), stop_health.clone()));
        certificates::watch(self.certificates, &mut watch, &stop_health);

        phase.set(Phase::Ready);
        tracing::info!("ready");
        let lost = first_lost(&stop, &mut northbound, &mut devices, &mut watch).await;
        if let Some((group, ended)) = &lost {
            let error = ended.as_ref().err().map(ToString::to_string);
            tracing::error!(group, error, "a part has ended by itself: stopping");
            stop.cancel();
        }
        tracing::info!("stopping");
        phase.set(Phase::Draining);
        ended("devices", &mut devices).await;
        stop_northbound.cancel();
        ended("northbound", &mut northbound).await;
        stop_health.cancel();
        ended("watch", &mut watch).await;
        registry.close().await;
        flush(self.traces).await;
        drop(locks);
        tracing::info!("stopped");
        match lost {
            None => Ok(()),
            Some((group, _)) => bail!("{group}: a part of the gateway has ended by itself"),
        }
    }
}

async fn open_registry(config: &Config) -> anyhow::Result<SqlRegistry> {
    let limit = config.registry.max_devices_per_tenant;
    let options = Options {
        max_devices: (limit > 0).then_some(limit),
        ..Options::default()
    };
    let opened = SqlRegistry::open_with(&config.registry_url(), options).await;
    // Without the URL: it may have a password.
    opened.context("cannot open the registry (registry.url)")
}

/// Where it is told what happens to messages, if that is wanted.
fn traces(config: &Config, metrics: &Metrics) -> anyhow::Result<Option<Traces>> {
    if !config.traces.enabled {
        return Ok(None);
    }
    let built = Traces::build(&config.traces, &limits::host_name());
    let traces = built.context("cannot send traces")?;
    metrics.register(Arc::new(figures::Spans(traces.clone())));
    Ok(Some(traces))
}

fn tracer(traces: Option<&Traces>) -> Tracer {
    traces.map_or_else(Tracer::default, |traces| Tracer::new(traces.sink()))
}

/// Has the last spans sent.
async fn flush(traces: Option<Traces>) {
    let Some(traces) = traces else {
        return;
    };
    let flushed = tokio::task::spawn_blocking(move || traces.shutdown(LAST_DRAIN));
    if let Err(error) = flushed.await {
        tracing::error!(%error, "the last spans are not sent");
    }
}

/// Reads what waits from before. That may take a second with millions of events.
async fn open_events(config: &Config) -> anyhow::Result<EventStore> {
    let (events, data_dir) = (config.northbound.events.clone(), config.data_dir.clone());
    let opened = tokio::task::spawn_blocking(move || events.open(&data_dir)).await?;
    opened.context("cannot open the event store (northbound.events)")
}

/// The operators' listener, if it is switched on.
async fn management(
    config: &Config,
    certificates: &mut Certificates<'_>,
    (registry, accounts, metrics): (SqlRegistry, Arc<Accounts>, Metrics),
) -> anyhow::Result<Option<Management>> {
    let config = &config.management;
    if !config.enabled {
        return Ok(None);
    }
    let files = (config.tls_certificate.as_deref(), config.tls_key.as_deref());
    let tls = certificates.load("management", files.0, files.1)?;
    let (config, log) = (config.clone(), logging::control());
    let built = Management::build(config, tls, registry, accounts, metrics, log);
    Ok(Some(built.await?))
}

/// The devices' listeners, as far as they are switched on.
async fn adapters(
    config: &Config,
    certificates: &mut Certificates<'_>,
    pipeline: Pipeline,
) -> anyhow::Result<(Option<weir_http::Adapter>, Option<weir_mqtt::Adapter>)> {
    let http = match &config.http {
        on if on.enabled => {
            let files = (on.tls_certificate.as_deref(), on.tls_key.as_deref());
            let tls = certificates.load("http", files.0, files.1)?;
            Some(weir_http::Adapter::build(on.clone(), tls, pipeline.clone()).await?)
        }
        _ => None,
    };
    let mqtt = match &config.mqtt {
        on if on.enabled => {
            let files = (on.tls_certificate.as_deref(), on.tls_key.as_deref());
            let tls = certificates.load("mqtt", files.0, files.1)?;
            Some(weir_mqtt::Adapter::build(on.clone(), tls, pipeline).await?)
        }
        _ => None,
    };
    // Nobody is to get past HTTP's question who he is by way of MQTT.
    let is_asked = config.mqtt.authentication_required || !config.http.authentication_required;
    let http = match (http, &mqtt) {
        (Some(http), Some(mqtt)) if config.mqtt.websockets && is_asked => {
            Some(http.with_websockets(websockets(mqtt)))
        }
        (http, _) => http,
    };
    Ok((http, mqtt))
}

/// Lets devices speak MQTT over WebSockets, which they ask the HTTP adapter for.
fn websockets(mqtt: &weir_mqtt::Adapter) -> weir_http::WebSockets {
    let sockets = mqtt.websockets();
    weir_http::WebSockets::new(move |socket| {
        let sockets = sockets.clone();
        sockets.serve(socket.connection, socket.read_ahead)
    })
}

/// Series that dashboards expect of Hono's adapters are there from the start, at 0.
fn announce(metrics: &Metrics, http: bool, mqtt: bool) {
    let _ = metrics.unauthenticated_connections(Protocol::Mqtt.component());
    for (is_on, protocol) in [(http, Protocol::Http), (mqtt, Protocol::Mqtt)] {
        if is_on {
            metrics.announce(protocol.component());
        }
    }
}

async fn keep_metrics(metrics: Metrics, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let metrics = metrics.clone();
        // With thousands of tenants that takes a while: not on the threads that carry messages.
        let upkeep = tokio::task::spawn_blocking(move || metrics.upkeep(Instant::now()));
        if let Err(error) = upkeep.await {
            tracing::error!(%error, "the metrics were not kept in order");
        }
    }
}
