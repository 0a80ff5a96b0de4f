//! The health and metrics listener.
//!
//! | path | answers |
//! |---|---|
//! | `/started` | 200 once the gateway has started |
//! | `/liveness` | 200 as long as the event loop answers |
//! | `/readiness` | 200 while the gateway serves, 503 while it starts or drains |
//! | `/prometheus` | the metrics that Eclipse Hono has, under its names |
//! | `/metrics` | all others |
//!
//! Metrics are text 0.0.4, or OpenMetrics 1.0.0 for whoever asks for it by `Accept`.

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
use weir_listener::{Bind, BindError, Connection, Listener};
use weir_metrics::{Format, Metrics, View};

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
/// How long a connection may last. Whoever does not read an answer gives its memory back then.
const CONNECTION_AGE: Duration = Duration::from_secs(600);
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
    metrics: Metrics,
}

impl Health {
    /// Binds the listener.
    ///
    /// # Errors
    /// If the address is not allowed or not to be had.
    pub async fn build(config: &HealthConfig, metrics: Metrics) -> Result<Self, BindError> {
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
            metrics,
        })
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
        let router = Router::new()
            .route("/started", get(started))
            .route("/liveness", get(liveness))
            .route("/readiness", get(readiness))
            .route("/prometheus", get(prometheus))
            .route("/metrics", get(native))
            .with_state((self.phase, pages));
        let serve = move |connection| answer(connection, router.clone());
        self.listener.serve(budget, stop, drain, serve).await;
    }
}

/// One prober's connection. It is served without a place in the budget too: a gateway that is full
/// is alive.
pub(crate) async fn answer(connection: Connection, router: Router) {
    let Connection {
        stream,
        stop,
        permit: _permit,
        ..
    } = connection;
    let service = TowerToHyperService::new(router);
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = std::pin::pin!(http);
    tokio::select! {
        // A prober that breaks HTTP or hangs up harms only itself.
        _ = http.as_mut() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_AGE) => {}
    }
    http.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(REQUEST_TIMEOUT, http).await;
}

type Shared = State<(SharedPhase, Pages)>;

async fn started(State((phase, _)): Shared) -> impl IntoResponse {
    verdict("started", !phase.is(Phase::Starting))
}

async fn liveness() -> impl IntoResponse {
    verdict("event-loop", true)
}

async fn readiness(State((phase, _)): Shared) -> impl IntoResponse {
    verdict("serving", phase.is(Phase::Ready))
}

async fn prometheus(State((_, pages)): Shared, headers: HeaderMap) -> Response {
    pages.get(View::Hono, &headers).await
}

async fn native(State((_, pages)): Shared, headers: HeaderMap) -> Response {
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
            let text = "too many others read metrics\n";
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
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

/// The form of MicroProfile Health, which Hono's probes and tools read.
fn verdict(check: &str, is_up: bool) -> (StatusCode, Json<serde_json::Value>) {
    let (code, status) = if is_up {
        (StatusCode::OK, "UP")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "DOWN")
    };
    (
        code,
        Json(json!({"status": status, "checks": [{"name": check, "status": status}]})),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(places: usize) -> Pages {
        Pages {
            metrics: Metrics::new("h", Instant::now()),
            places: Arc::new(Semaphore::new(places)),
        }
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
