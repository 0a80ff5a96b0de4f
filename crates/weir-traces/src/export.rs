//! Sending batches of spans to the collector: counted, bounded in time, and told of when it fails.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Runtime;

use crate::{TracesConfig, TracesError};

/// How often the log says at most that spans are lost.
const TELLING: Duration = Duration::from_secs(60);

/// What became of spans, and how many wait.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) waiting: AtomicUsize,
    pub(crate) exported: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Where spans go, as the log says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    pub(crate) protocol: &'static str,
}

impl Collector {
    pub(crate) fn of(config: &TracesConfig) -> Result<Self, TracesError> {
        let url = config.url().map_err(TracesError::Endpoint)?;
        let scheme = url.scheme_str().unwrap_or_default();
        let authority = url.authority().map_or("", |authority| authority.as_str());
        // Without the query: it may have a key.
        Ok(Self {
            endpoint: format!("{scheme}://{authority}{}", url.path()),
            protocol: config.protocol.name(),
        })
    }
}

/// Where the connection to the collector is looked after: a thread of its own, so that none that carries
/// messages does. The SDK's thread, from which batches come, has no runtime, which clients of gRPC need.
pub(crate) struct Driver(Option<Runtime>);

impl Driver {
    pub(crate) fn new() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("traces").enable_all();
        Ok(Self(Some(builder.build()?)))
    }

    /// Within which a client has to be built.
    pub(crate) fn enter<T>(&self, build: impl FnOnce() -> T) -> T {
        let _guard = self.0.as_ref().map(Runtime::enter);
        build()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Else it would wait, which a thread that carries messages must not.
            runtime.shutdown_background();
        }
    }
}

/// Sends batches and counts what becomes of them.
pub(crate) struct Counted<F, E> {
    make: F,
    /// Is `None` once another one could not be made.
    exporter: Mutex<Option<E>>,
    resource: Resource,
    driver: Driver,
    timeout: Duration,
    counts: Arc<Counts>,
    collector: Collector,
    teller: Mutex<Teller>,
}

impl<F: Fn() -> Result<E, TracesError>, E: SpanExporter> Counted<F, E> {
    /// Sends by what `make` makes.
    pub(crate) fn new(
        make: F,
        resource: Resource,
        timeout: Duration,
        counts: Arc<Counts>,
        collector: Collector,
    ) -> Result<Self, TracesError> {
        let this = Self {
            driver: Driver::new().map_err(TracesError::Thread)?,
            make,
            exporter: Mutex::default(),
            resource,
            timeout,
            counts,
            collector,
            teller: Mutex::default(),
        };
        let exporter = this.exporter()?;
        Ok(Self {
            exporter: Mutex::new(Some(exporter)),
            ..this
        })
    }

    fn exporter(&self) -> Result<E, TracesError> {
        let mut exporter = self.driver.enter(&self.make)?;
        exporter.set_resource(&self.resource);
        Ok(exporter)
    }

    /// The exporter tries again what it takes for a matter of time. It does not, over gRPC, where the
    /// connection broke with the batch on its way, so what has failed goes over a new one once more.
    fn send(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let began = Instant::now();
        let again = batch.clone();
        self.attempt(batch, self.timeout).or_else(|error| {
            let left = self.timeout.saturating_sub(began.elapsed());
            match left.is_zero() {
                true => Err(error),
                // The first error says what is wrong; the second may only say that time is over.
                false => self.attempt(again, left).map_err(|_| error),
            }
        })
    }

    fn attempt(&self, batch: Vec<SpanData>, patience: Duration) -> OTelSdkResult {
        let mut place = self.exporter.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            *place = self.exporter().ok();
        }
        let (Some(runtime), Some(exporter)) = (&self.driver.0, &*place) else {
            let text = "no client for the collector can be made";
            return Err(OTelSdkError::InternalFailure(text.to_owned()));
        };
        let sent = runtime.block_on(async {
            let sent = tokio::time::timeout(patience, exporter.export(batch));
            let timed_out = |_| Err(OTelSdkError::Timeout(self.timeout));
            sent.await.unwrap_or_else(timed_out)
        });
        if sent.is_err() {
            // Its host may be gone without a word. That connection would be waited for by the hour.
            *place = None;
        }
        sent
    }
}

impl<F, E> fmt::Debug for Counted<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl<F, E> SpanExporter for Counted<F, E>
where
    F: Fn() -> Result<E, TracesError> + Send + Sync,
    E: SpanExporter,
{
    /// It blocks: it is called from the SDK's thread alone, which has nothing else to do.
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.send(batch);
        let counts = &self.counts;
        counts.waiting.fetch_sub(count, Ordering::Relaxed);
        let counter = match result {
            Ok(()) => &counts.exported,
            Err(_) => &counts.failed,
        };
        counter.fetch_add(count as u64, Ordering::Relaxed);
        let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(news) = teller.news(counts, result.as_ref().err(), Instant::now()) {
            news.log(&self.collector);
        }
        result
    }
}

/// Knows what the log has been told.
#[derive(Debug, Default)]
struct Teller {
    told: Option<Instant>,
    failed: u64,
    dropped: u64,
    is_failing: bool,
}

/// What the log is to be told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Lost {
        error: Option<String>,
        failed: u64,
        dropped: u64,
    },
    Sent,
}

impl Teller {
    fn news(
        &mut self,
        counts: &Counts,
        error: Option<&OTelSdkError>,
        now: Instant,
    ) -> Option<News> {
        let failed = counts.failed.load(Ordering::Relaxed);
        let dropped = counts.dropped.load(Ordering::Relaxed);
        let is_new = failed > self.failed || dropped > self.dropped;
        let may_tell = self.told.is_none_or(|told| now - told >= TELLING);
        if is_new && may_tell {
            let news = News::Lost {
                error: error.map(ToString::to_string),
                failed: failed - self.failed,
                dropped: dropped - self.dropped,
            };
            *self = Self {
                told: Some(now),
                failed,
                dropped,
                is_failing: error.is_some(),
            };
            return Some(news);
        }
        let is_mended = error.is_none() && std::mem::take(&mut self.is_failing);
        is_mended.then_some(News::Sent)
    }
}

impl News {
    fn log(self, collector: &Collector) {
        let Collector { endpoint, protocol } = collector;
        match self {
            Self::Lost {
                error,
                failed,
                dropped,
            } => tracing::warn!(error, failed, dropped, endpoint, protocol, "spans are lost"),
            Self::Sent => tracing::info!(endpoint, protocol, "spans are sent again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_hears_where_spans_go_but_of_no_secret() {
        let rows = [
            ("", "http://localhost:4317/", "grpc"),
            (
                "protocol = \"http/protobuf\"\nendpoint = \"https://a:1/otlp?key=s3cret\"",
                "https://a:1/otlp",
                "http/protobuf",
            ),
        ];
        for (text, endpoint, protocol) in rows {
            let endpoint = endpoint.to_owned();
            let collector = Collector::of(&toml::from_str(text).unwrap()).unwrap();
            assert_eq!(collector, Collector { endpoint, protocol });
        }
    }

    #[test]
    fn the_log_hears_of_lost_spans_once_a_minute() {
        let began = Instant::now();
        let (counts, mut teller) = (Counts::default(), Teller::default());
        let error = OTelSdkError::InternalFailure("refused".to_owned());
        let text = Some(error.to_string());
        let lost = |error: &Option<String>, failed, dropped| {
            Some(News::Lost {
                error: error.clone(),
                failed,
                dropped,
            })
        };
        let mut at = |second, failed, dropped, error| {
            counts.failed.fetch_add(failed, Ordering::Relaxed);
            counts.dropped.fetch_add(dropped, Ordering::Relaxed);
            teller.news(&counts, error, began + Duration::from_secs(second))
        };
        assert_eq!(at(0, 0, 0, None), None);
        assert_eq!(at(1, 5, 0, Some(&error)), lost(&text, 5, 0));
        assert_eq!(at(2, 5, 2, Some(&error)), None);
        assert_eq!(at(60, 5, 0, Some(&error)), None);
        assert_eq!(at(61, 5, 0, Some(&error)), lost(&text, 15, 2));
        assert_eq!(at(62, 0, 0, None), Some(News::Sent));
        assert_eq!(at(63, 1, 0, Some(&error)), None);
        assert_eq!(at(64, 0, 0, None), None);
        // The collector takes them, but not as fast as they come.
        assert_eq!(at(130, 0, 9, None), lost(&None, 1, 9));
        assert_eq!(at(131, 0, 0, None), None);
    }
}
