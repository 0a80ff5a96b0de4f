//! The health and metrics listener.
//!
//! | path | answers |
//! |---|---|
//! | `/started` | 200 once the gateway has started |
//! | `/liveness` | 200 as long as the event loop answers |
//! | `/readiness` | 200 while the gateway serves, 503 while it starts or drains or something it needs is gone |
//! | `/prometheus` | the metrics that Eclipse Hono has, under its names |
//! | `/metrics` | all others |
//!
//! Metrics are text 0.0.4, or OpenMetrics 1.0.0 for whoever asks for it by `Accept`.
//!
//! Probes are answered from what is known and wait for nothing. Who reads metrics takes no place from them:
//! on a connection beyond the budget there are no pages, it carries one request and lasts for seconds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use weir_core::ConnectionBudget;
use weir_listener::{Bind, BindError, Connection, Counts, Listener};
use weir_metrics::{Format, Metrics, View};

use crate::patience::Patience;
use crate::services::{Service, Services};

/// Health and metrics, for probes and Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Allow listening without TLS on an address that other hosts can reach.
    pub allow_insecure: bool,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8088,
            allow_insecure: false,
        }
    }
}

/// Seconds a prober may take to send its request.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take to be read. A page's memory is given back then.
const READ_TIME: Duration = Duration::from_secs(30);
/// How long a connection may last.
const CONNECTION_AGE: Duration = Duration::from_secs(600);
/// The same for one beyond the budget.
const EXTRA_AGE: Duration = Duration::from_secs(5);
/// Seconds after which a scraper may try again that found no place.
pub(crate) const RETRY_AFTER: u64 = 10;
/// Pages of metrics that are in memory at a time. With many tenants each is tens of megabytes.
pub(crate) const PAGES: usize = 4;

/// Where a gateway is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not serving yet.
    Starting,
    /// Serving.
    Ready,
    /// Serving what is in flight and nothing new.
    Draining,
}

/// The phase, shared between the gateway and its probes.
#[derive(Clone, Debug)]
pub struct SharedPhase(Arc<AtomicU8>);

impl SharedPhase {
    /// Enters the next phase.
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    fn is(&self, phase: Phase) -> bool {
        self.0.load(Ordering::Acquire) == phase as u8
    }
}

/// The bound listener.
#[derive(Debug)]
pub struct Health {
    listener: Listener,
    phase: SharedPhase,
    services: Services,
    metrics: Metrics,
}

impl Health {
    /// Binds the listener.
    ///
    /// # Errors
    /// If the address is not allowed or not to be had.
    pub(crate) async fn build(
        config: &HealthConfig,
        services: Services,
        metrics: Metrics,
    ) -> Result<Self, BindError> {
        let bind = Bind {
            name: "health",
            ip: config.bind,
            plain: Some(config.port),
            allow_insecure: config.allow_insecure,
            tls: None,
        };
        let listener = Listener::bind(bind).await?;
        let phase = SharedPhase(Arc::new(AtomicU8::new(Phase::Starting as u8)));
        Ok(Self {
            listener,
            phase,
            services,
            metrics,
        })
    }

    /// What became of the connections that came to it.
    pub fn counts(&self) -> Arc<Counts> {
        self.listener.counts()
    }

    /// The address it listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// The phase that `/readiness` tells.
    pub fn phase(&self) -> SharedPhase {
        self.phase.clone()
    }

    /// Answers probes and scrapes until `stop` is cancelled.
    pub async fn run(self, budget: ConnectionBudget, stop: CancellationToken, drain: Duration) {
        let pages = Pages {
            metrics: self.metrics,
            places: Arc::new(Semaphore::new(PAGES)),
        };
        let probes = Router::new()
            .route("/started", get(started))
            .route("/liveness", get(liveness))
            .route("/readiness", get(readiness))
            .with_state((self.phase, self.services));
        let pages = Router::new()
            .route("/prometheus", get(prometheus))
            .route("/metrics", get(native))
            .with_state(pages);
        let routers = Routers {
            all: probes.clone().merge(pages),
            extra: probes.fallback(|| async { too_many(RETRY_AFTER) }),
        };
        let serve = move |connection| answer(connection, routers.clone());
        self.listener.serve(budget, stop, drain, serve).await;
    }
}

/// Who answers.
#[derive(Clone)]
pub(crate) struct Routers {
    /// On a connection that has a place in the budget.
    pub(crate) all: Router,
    /// On one beyond it: a gateway that is full is alive.
    pub(crate) extra: Router,
}

/// One prober's or scraper's connection.
pub(crate) async fn answer(connection: Connection, routers: Routers) {
    let Connection {
        stream,
        stop,
        permit,
        ..
    } = connection;
    let (router, age) = match permit {
        Some(_) => (routers.all, CONNECTION_AGE),
        None => (routers.extra, EXTRA_AGE),
    };
    let stream = TokioIo::new(Patience::new(stream, READ_TIME));
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .keep_alive(permit.is_some())
        .serve_connection(stream, TowerToHyperService::new(router));
    let mut http = std::pin::pin!(http);
    tokio::select! {
        // A prober that breaks HTTP or hangs up harms only itself.
        _ = http.as_mut() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(age) => {}
    }
    if permit.is_none() {
        return;
    }
    http.as_mut().graceful_shutdown();
    // It may be about to read a page for which it has waited.
    let _ = tokio::time::timeout(REQUEST_TIMEOUT + READ_TIME, http).await;
}

/// The answer to a scraper for which there is no place.
pub(crate) fn too_many(retry_after: u64) -> Response {
    let headers = [(header::RETRY_AFTER, retry_after.to_string())];
    let text = "too many others read metrics\n";
    (StatusCode::TOO_MANY_REQUESTS, headers, text).into_response()
}

type Known = State<(SharedPhase, Services)>;

async fn started(State((phase, _)): Known) -> Response {
    verdict(&[("started", !phase.is(Phase::Starting))])
}

async fn liveness() -> Response {
    verdict(&[("event-loop", true)])
}

async fn readiness(State((phase, services)): Known) -> Response {
    let mut checks = vec![("serving", phase.is(Phase::Ready))];
    checks.extend(Service::ALL.map(|service| (service.as_str(), services.is_up(service))));
    verdict(&checks)
}

async fn prometheus(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    pages.get(View::Hono, &headers).await
}

async fn native(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    pages.get(View::Native, &headers).await
}

/// Writes pages of metrics, so many at a time.
#[derive(Clone)]
struct Pages {
    metrics: Metrics,
    places: Arc<Semaphore>,
}

/// A page keeps its place until it has been sent.
pub(crate) struct Page {
    text: String,
    _place: OwnedSemaphorePermit,
}

impl Page {
    pub(crate) fn new(text: String, place: OwnedSemaphorePermit) -> Self {
        Self {
            text,
            _place: place,
        }
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Pages {
    async fn get(self, view: View, headers: &HeaderMap) -> Response {
        let accepted = headers.get_all(header::ACCEPT).iter();
        let accepted: Vec<_> = accepted.filter_map(|value| value.to_str().ok()).collect();
        let format = Format::for_accept(&accepted.join(","));
        let place = tokio::time::timeout(REQUEST_TIMEOUT, self.places.acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return too_many(RETRY_AFTER);
        };
        let metrics = self.metrics;
        // Threads that carry messages have no time for it.
        let page = tokio::task::spawn_blocking(move || {
            let snapshot = metrics.snapshot(view, Instant::now());
            Page::new(snapshot.write(format, SystemTime::now()), place)
        });
        match page.await {
            Ok(page) => {
                let kind = [(header::CONTENT_TYPE, format.content_type())];
                (kind, Bytes::from_owner(page)).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "metrics could not be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// The form of MicroProfile Health, which Hono's probes and tools read: up if every check is.
fn verdict(checks: &[(&str, bool)]) -> Response {
    let status = |is_up| if is_up { "UP" } else { "DOWN" };
    let is_up = checks.iter().all(|(_, is_up)| *is_up);
    let code = match is_up {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let checks = checks.iter();
    let checks = checks.map(|(name, is_up)| json!({"name": name, "status": status(*is_up)}));
    let checks: Vec<_> = checks.collect();
    let body = json!({"status": status(is_up), "checks": checks});
    (code, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn pages(places: usize) -> Pages {
        Pages {
            metrics: Metrics::new("h", Instant::now()),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// A listener with so many places, as a client finds it.
    async fn listening(connections: usize, services: Services) -> SocketAddr {
        let config = HealthConfig {
            port: 0,
            ..HealthConfig::default()
        };
        let metrics = Metrics::new("h", Instant::now());
        let health = Health::build(&config, services, metrics).await.unwrap();
        let address = health.local_addr();
        health.phase().set(Phase::Ready);
        let budget = ConnectionBudget::new(connections);
        let run = health.run(budget, CancellationToken::new(), Duration::ZERO);
        tokio::spawn(run);
        address
    }

    #[tokio::test]
    async fn it_is_ready_when_all_that_it_needs_is_there() {
        let services = Services::all_up();
        let url = format!("http://{}/readiness", listening(9, services.clone()).await);
        for (gone, status) in [
            (None, 200),
            (Some(Service::Registry), 503),
            (Some(Service::EventStore), 503),
        ] {
            for service in Service::ALL {
                services.set(service, gone != Some(service));
            }
            let answer = reqwest::get(&url).await.unwrap();
            assert_eq!(answer.status(), status, "{gone:?}");
            let answer: serde_json::Value = answer.json().await.unwrap();
            let word = |is_up| if is_up { "UP" } else { "DOWN" };
            let registry = word(gone != Some(Service::Registry));
            let events = word(gone != Some(Service::EventStore));
            let expected = json!({"status": word(gone.is_none()), "checks": [
                {"name": "serving", "status": "UP"},
                {"name": "registry", "status": registry},
                {"name": "event-store", "status": events},
            ]});
            assert_eq!(answer, expected);
        }
    }

    #[tokio::test]
    async fn who_probes_finds_a_place_when_scrapers_have_taken_all() {
        let address = listening(0, Services::all_up()).await;
        for (path, status) in [
            ("/started", 200),
            ("/liveness", 200),
            ("/readiness", 200),
            ("/metrics", 429),
            ("/prometheus", 429),
        ] {
            let url = format!("http://{address}{path}");
            let answer = reqwest::get(url).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(answer.headers()[header::CONNECTION], "close");
            let later = answer.headers().get(header::RETRY_AFTER);
            assert_eq!(later.is_some(), status == 429, "{path}");
        }
    }

    #[tokio::test]
    async fn a_page_that_nobody_reads_gives_its_place_back() {
        let (_reader, stream) = tokio::io::duplex(1024);
        let places = Arc::new(Semaphore::new(1));
        let place = places.clone().acquire_owned().await.unwrap();
        let page = Page::new("x".repeat(100_000), place);
        let mut stream = Patience::new(stream, Duration::from_millis(20));
        let written = stream.write_all_buf(&mut Bytes::from_owner(page)).await;
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_page_keeps_its_place_until_it_is_sent() {
        let pages = pages(1);
        let answer = pages.clone().get(View::Native, &HeaderMap::new()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(pages.places.available_permits(), 0);
        drop(answer);
        assert_eq!(pages.places.available_permits(), 1);
    }

    #[tokio::test]
    async fn all_headers_that_say_what_is_accepted_count() {
        let mut headers = HeaderMap::new();
        for range in ["text/plain;q=0.5", "application/openmetrics-text"] {
            headers.append(header::ACCEPT, range.parse().unwrap());
        }
        let answer = pages(1).get(View::Hono, &headers).await;
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap();
        assert_eq!(kind, Format::OpenMetrics.content_type());
    }
}
