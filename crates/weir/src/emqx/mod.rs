//! The listener that shows the metrics under EMQX's names; `docs/emqx-metrics.md` has its pages.
//!
//! `config` is its section, `login` who may read. What the pages say is in `weir_dialects`.

mod config;
mod login;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use weir_core::{ConnectionBudget, LogLimit, shorten};
use weir_dialects::emqx::{self, CONTENT_TYPE, Deployment, Mode, Nodes, Rates, Reading};
use weir_listener::{Bind, BindError, Counts, Listener};
use weir_metrics::{AuthenticationOutcome, ClientType, Metrics, View};

pub use config::EmqxConfig;

use crate::health::{self, PAGES, Page, REQUEST_TIMEOUT, RETRY_AFTER, Routers};
use login::{CHALLENGE, Logins};

/// The interval that rates are about.
const INTERVAL: Duration = Duration::from_secs(5);
/// How often the page of all tenants may be read, as with EMQX (`namespaced_metrics_limiter`).
const ALL_TENANTS: Duration = Duration::from_secs(5);

static REFUSED: LogLimit = LogLimit::new();

/// The bound listener.
#[derive(Debug)]
pub(crate) struct Emqx {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    rates: Mutex<Rates>,
    logins: Logins,
    deployment: Deployment,
    /// What the label `node` says.
    node: String,
    /// Pages that may be in memory at a time.
    places: Arc<Semaphore>,
    /// When the page of all tenants was read.
    all_tenants: Mutex<Option<Instant>>,
}

impl Emqx {
    /// Binds the listener.
    ///
    /// # Errors
    /// If the address is not allowed or not to be had.
    pub(crate) async fn build(config: &EmqxConfig, metrics: Metrics) -> Result<Self, BindError> {
        let bind = Bind {
            name: "metrics.emqx",
            ip: config.bind,
            plain: Some(config.port),
            allow_insecure: config.allow_insecure,
            tls: None,
        };
        let listener = Listener::bind(bind).await?;
        let shared = Arc::new(Shared::new(config, metrics));
        Ok(Self { listener, shared })
    }

    /// What became of the connections that came to it.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        self.listener.counts()
    }

    /// The address it listens on, with the real port.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Answers scrapes until `stop` is cancelled.
    pub(crate) async fn run(
        self,
        budget: ConnectionBudget,
        stop: CancellationToken,
        drain: Duration,
    ) {
        let Self { listener, shared } = self;
        let observed = observe(shared.clone(), stop.clone());
        let routers = Routers {
            all: Router::new()
                .route("/{*path}", get(serve))
                .with_state(shared),
            extra: Router::new().fallback(|| async { health::too_many(RETRY_AFTER) }),
        };
        let answer = move |connection| health::answer(connection, routers.clone());
        tokio::join!(listener.serve(budget, stop, drain, answer), observed);
    }
}

async fn observe(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    // An interval that was missed has no rate of its own.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let shared = shared.clone();
        // Threads that carry messages have no time for it.
        let observed = tokio::task::spawn_blocking(move || {
            let tally = shared.metrics.tally();
            shared.rates().observe(&tally, Instant::now());
        });
        if let Err(error) = observed.await {
            tracing::error!(%error, "metrics could not be observed");
        }
    }
}

/// What can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Stats,
    Auth,
    DataIntegration,
    NamespacedStats(Option<String>),
    Nothing,
    Deployment,
    DeploymentIntegration,
}

type Parameters = BTreeMap<String, String>;

impl Wanted {
    fn at(path: &str, parameters: &Parameters) -> Option<Self> {
        let path = path.strip_prefix("/api/v5").unwrap_or(path);
        Some(match path {
            "/deployment_metrics" => Self::Deployment,
            "/deployment_metrics/data_integration" => Self::DeploymentIntegration,
            _ => match path.strip_prefix("/prometheus/")? {
                "stats" => Self::Stats,
                "auth" => Self::Auth,
                "data_integration" => Self::DataIntegration,
                "namespaced_stats" => Self::NamespacedStats(parameters.get("ns").cloned()),
                "schema_validation" | "message_transformation" | "topic_metrics" => Self::Nothing,
                _ => return None,
            },
        })
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    if !shared.admit(&headers, uri.path()) {
        let challenge = [(header::WWW_AUTHENTICATE, CHALLENGE)];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    // That alone, as with EMQX: Prometheus' own list of ranges passes.
    if headers
        .get(header::ACCEPT)
        .is_some_and(|it| it == "application/json")
    {
        let text = "there is no JSON of the metrics\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let Some(wanted) = Wanted::at(uri.path(), &parameters) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if wanted == Wanted::NamespacedStats(None) && !shared.may_read_all_tenants(Instant::now()) {
        let headers = [(header::RETRY_AFTER, ALL_TENANTS.as_secs().to_string())];
        let text = "all tenants at most every 5 seconds; one by ?ns=\n";
        return (StatusCode::TOO_MANY_REQUESTS, headers, text).into_response();
    }
    let mode = Mode::parse(parameters.get("mode").map_or("", String::as_str));
    let places = shared.places.clone().acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout(REQUEST_TIMEOUT, places).await else {
        return health::too_many(RETRY_AFTER);
    };
    let page = tokio::task::spawn_blocking(move || Page::new(shared.write(&wanted, mode), place));
    match page.await {
        Ok(page) => {
            let kind = [(header::CONTENT_TYPE, CONTENT_TYPE)];
            (kind, Bytes::from_owner(page)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Shared {
    fn new(config: &EmqxConfig, metrics: Metrics) -> Self {
        Self {
            rates: Mutex::default(),
            logins: Logins::of(config),
            deployment: Deployment {
                id: config.deployment_id.clone(),
                kind: config.deployment_type.clone(),
                platform: config.platform.clone(),
            },
            node: format!("weir@{}", metrics.host()),
            places: Arc::new(Semaphore::new(PAGES)),
            all_tenants: Mutex::default(),
            metrics,
        }
    }

    fn rates(&self) -> std::sync::MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether whoever sends these headers may read. Who does not say who it is has not tried to log in.
    fn admit(&self, headers: &HeaderMap, path: &str) -> bool {
        let is_admitted = self.logins.admit(headers);
        if self.logins.is_asked && headers.contains_key(header::AUTHORIZATION) {
            let outcome = match is_admitted {
                true => AuthenticationOutcome::Succeeded,
                false => AuthenticationOutcome::Unauthorized,
            };
            let metrics = &self.metrics;
            metrics.authentication_attempt(outcome, ClientType::Unknown);
        }
        if !is_admitted && let Some(unlogged) = REFUSED.admit(Instant::now()) {
            tracing::warn!(path = shorten(path), unlogged, "scraper refused");
        }
        is_admitted
    }

    fn may_read_all_tenants(&self, now: Instant) -> bool {
        let last = self.all_tenants.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        let is_soon = last.is_some_and(|last| now.saturating_duration_since(last) < ALL_TENANTS);
        if !is_soon {
            *last = Some(now);
        }
        !is_soon
    }

    fn write(&self, wanted: &Wanted, mode: Mode) -> String {
        let snapshot = self.metrics.snapshot(View::Native, Instant::now());
        let tally = self.metrics.tally();
        let reading = Reading {
            tally: &tally,
            figures: snapshot.figures(),
            rates: *self.rates(),
            now: SystemTime::now(),
        };
        let nodes = Nodes {
            mode,
            node: &self.node,
        };
        match wanted {
            Wanted::Stats => emqx::stats(&reading, nodes),
            Wanted::Auth => emqx::auth(&reading, nodes),
            Wanted::DataIntegration => emqx::data_integration(&reading, nodes),
            Wanted::NamespacedStats(one) => emqx::namespaced_stats(&reading, nodes, one.as_deref()),
            Wanted::Nothing => String::new(),
            Wanted::Deployment => emqx::deployment_metrics(&reading, &self.deployment),
            Wanted::DeploymentIntegration => {
                emqx::deployment_data_integration(&reading, &self.deployment)
            }
        }
    }
}

#[cfg(test)]
mod tests;
