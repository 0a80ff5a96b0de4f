//! What happens to messages, told to a collector of OpenTelemetry by OTLP.
//!
//! `weir_core` says what there is to tell ([`weir_core::Span`]) and decides, with the tenant's and the
//! device's word, whether; here is who listens.
//!
//! * `config`: the section `[traces]`, plain data, and what is wrong with it.
//! * `sampler`: which of the traces are recorded that nobody has decided about.
//! * `convert`: a span of Weir as one of OpenTelemetry.
//! * `export`: batches on their way to the collector: what is counted, how long it may take, what the log
//!   is told.
//!
//! The SDK's batch processor has the queue and a thread that empties it, its OTLP exporter the protocol.
//! What is done here is to keep both within bounds: the number of spans in memory, the time of an export,
//! the life of a connection on which nobody answers. Whoever hands over a span never waits; where there is
//! no room the span is dropped and counted. Nothing here reads contexts from messages or writes them: the
//! protocols do that.

#![forbid(unsafe_code)]

mod config;
mod convert;
mod export;
mod sampler;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{
    ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanExporter as Exporter, SpanProcessor as _,
};
use weir_core::{Span, SpanSink};

pub use config::{Headers, Protocol, Sampler, TracesConfig};

use config::is_https;
use export::{Collector, Counted, Counts, Driver};
use sampler::Root;

/// Spans that go to the collector at once, as OpenTelemetry has it.
const BATCH: usize = 512;
/// Whose service this is, as Hono's components say.
const NAMESPACE: &str = "org.eclipse.hono";

/// Why there can be no traces.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector's URL is none.
    #[error("{0} (traces.endpoint)")]
    Endpoint(&'static str),
    /// A header cannot be sent.
    #[error("a name or value cannot be sent (traces.headers)")]
    Headers,
    /// The certificate authorities cannot be read.
    #[error("cannot read {path} (traces.tls_ca)")]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Certificate authorities are named, but there are none.
    #[error("{path} has no certificate (traces.tls_ca)")]
    NoAuthorities {
        /// Which file.
        path: PathBuf,
    },
    /// What is named as a certificate authority is none.
    #[error("{path} has a certificate that cannot be used (traces.tls_ca)")]
    WrongAuthorities {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: reqwest::Error,
    },
    /// There is no thread to be had.
    #[error("no thread to send spans")]
    Thread(#[source] std::io::Error),
    /// The client for OTLP cannot be made.
    #[error(transparent)]
    Grpc(#[from] ExporterBuildError),
    /// The client for HTTP cannot be made.
    #[error("no client for traces.endpoint")]
    Http(#[source] reqwest::Error),
}

/// Takes spans and sends them to a collector.
///
/// Clones share everything.
#[derive(Clone, Debug)]
pub struct Traces(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    root: Root,
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    counts: Arc<Counts>,
    collector: Collector,
    /// Spans that may be in memory.
    room: usize,
    is_closed: AtomicBool,
}

/// What has become of spans so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans that there was no room for.
    pub dropped: u64,
    /// Spans that could not be sent.
    pub failed: u64,
}

impl Traces {
    /// Makes ready to send spans; the collector need not be there. `instance` tells this gateway from
    /// others of the same name.
    ///
    /// # Errors
    /// If the configuration has mistakes, or a file that it names cannot be read or used.
    pub fn build(config: &TracesConfig, instance: &str) -> Result<Self, TracesError> {
        let own = config.clone();
        let traces = Self::with_exporter(config, instance, move || exporter(&own))?;
        let Collector { endpoint, protocol } = &traces.0.collector;
        let sampler = config.sampler.name();
        let sampler_arg = config.sampler_arg;
        tracing::info!(endpoint, protocol, sampler, sampler_arg, "traces are sent");
        Ok(traces)
    }

    /// Whether [`Traces::build`] could, if spans are to be recorded at all. Nothing is sent.
    ///
    /// # Errors
    /// What it would say.
    pub fn check(config: &TracesConfig) -> Result<(), TracesError> {
        if !config.enabled {
            return Ok(());
        }
        let driver = Driver::new().map_err(TracesError::Thread)?;
        driver.enter(|| exporter(config)).map(drop)
    }

    fn with_exporter<E: Exporter + 'static>(
        config: &TracesConfig,
        instance: &str,
        make: impl Fn() -> Result<E, TracesError> + Send + Sync + 'static,
    ) -> Result<Self, TracesError> {
        let counts = Arc::<Counts>::default();
        let resource = resource(config, instance);
        let collector = Collector::of(config)?;
        let (timeout, told) = (config.timeout(), collector.clone());
        let exporter = Counted::new(make, resource, timeout, counts.clone(), told)?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(config.max_queue_size)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(Duration::from_millis(config.schedule_delay));
        let scope = InstrumentationScope::builder("weir").with_version(env!("CARGO_PKG_VERSION"));
        Ok(Self(Arc::new(Parts {
            root: Root::of(config),
            processor: BatchSpanProcessor::new(exporter, batches.build()),
            scope: scope.build(),
            counts,
            collector,
            room: config.max_queue_size,
            is_closed: AtomicBool::new(false),
        })))
    }

    /// Where spans are handed over.
    pub fn sink(&self) -> Arc<dyn SpanSink> {
        self.0.clone()
    }

    /// What has become of spans so far.
    pub fn figures(&self) -> Figures {
        let counts = &self.0.counts;
        Figures {
            exported: counts.exported.load(Ordering::Relaxed),
            dropped: counts.dropped.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
        }
    }

    /// Sends what waits, for up to `timeout`, and takes no more. It blocks.
    pub fn shutdown(&self, timeout: Duration) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        if let Err(error) = self.0.processor.shutdown_with_timeout(timeout) {
            let spans = self.0.counts.waiting.load(Ordering::Relaxed);
            let Collector { endpoint, protocol } = &self.0.collector;
            tracing::warn!(%error, spans, endpoint, protocol, "the last spans are not sent");
        }
    }
}

impl SpanSink for Parts {
    fn samples(&self, trace_id: u128) -> bool {
        self.root.samples(trace_id)
    }

    fn take(&self, span: Span) {
        let counts = &self.counts;
        // The processor's queue has as much room and would not say that it is full.
        let before = counts.waiting.fetch_add(1, Ordering::Relaxed);
        if before >= self.room || self.is_closed.load(Ordering::Relaxed) {
            counts.waiting.fetch_sub(1, Ordering::Relaxed);
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.processor.on_end(convert::span_data(span, &self.scope));
    }
}

/// What is said of the gateway with every batch. `OTEL_RESOURCE_ATTRIBUTES` goes before what is made up
/// here, the configuration before both.
fn resource(config: &TracesConfig, instance: &str) -> Resource {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.namespace", NAMESPACE),
            KeyValue::new("service.instance.id", instance.to_owned()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()))
        .with_service_name(config.service_name.clone())
        .build()
}

fn exporter(config: &TracesConfig) -> Result<SpanExporter, TracesError> {
    match config.protocol {
        Protocol::Grpc => grpc(config),
        Protocol::Http => http(config),
    }
}

/// Tries again, after the delays that the library recommends, until the time for it is over: a collector
/// that is started anew is away for longer than the three it recommends take.
fn retries() -> RetryPolicy {
    RetryPolicy::recommended().with_max_retries(usize::MAX)
}

fn grpc(config: &TracesConfig) -> Result<SpanExporter, TracesError> {
    let url = config.url().map_err(TracesError::Endpoint)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers.0 {
        let name = HeaderName::try_from(name).map_err(|_| TracesError::Headers)?;
        let value = HeaderValue::try_from(value).map_err(|_| TracesError::Headers)?;
        headers.insert(name, value);
    }
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(url.to_string())
        .with_timeout(config.timeout())
        .with_retry_policy(retries())
        .with_metadata(MetadataMap::from_headers(headers));
    if is_https(&url) {
        let tls = ClientTlsConfig::new();
        let tls = match authorities(config)? {
            Some((pem, _)) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_enabled_roots(),
        };
        builder = builder.with_tls_config(tls);
    }
    Ok(builder.build()?)
}

fn http(config: &TracesConfig) -> Result<SpanExporter, TracesError> {
    let url = config.url().map_err(TracesError::Endpoint)?;
    let mut client = reqwest::Client::builder()
        .timeout(config.timeout())
        // A collector answers by itself; another place is not to get the headers, nor is a proxy.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if let Some((_, certificates)) = authorities(config)? {
        client = client.tls_certs_only(certificates);
    }
    let client = client.build().map_err(TracesError::Http)?;
    let headers = config.headers.0.clone().into_iter().collect();
    let builder = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(url.to_string())
        .with_timeout(config.timeout())
        .with_retry_policy(retries())
        .with_headers(headers);
    Ok(builder.build()?)
}

/// The authorities of the collector, as they are written and read; none stands for the system's.
fn authorities(config: &TracesConfig) -> Result<Option<Authorities>, TracesError> {
    let Some(path) = &config.tls_ca else {
        return Ok(None);
    };
    let path = path.clone();
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(source) => return Err(TracesError::Authorities { path, source }),
    };
    let certificates = match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(none) if none.is_empty() => return Err(TracesError::NoAuthorities { path }),
        Ok(certificates) => certificates,
        Err(source) => return Err(TracesError::WrongAuthorities { path, source }),
    };
    // The client for gRPC would leave out, without a word, what it cannot read.
    let client = reqwest::Client::builder().tls_certs_only(certificates.clone());
    match client.build() {
        Ok(_) => Ok(Some((pem, certificates))),
        Err(source) => Err(TracesError::WrongAuthorities { path, source }),
    }
}

type Authorities = (Vec<u8>, Vec<reqwest::Certificate>);

#[cfg(test)]
mod tests;
