//! The section `[traces]` of the configuration, plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Uri};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Traces for a collector of OpenTelemetry. `OTEL_RESOURCE_ATTRIBUTES` adds to what spans say of the
/// gateway, `OTEL_EXPORTER_OTLP_TRACES_HEADERS` or `OTEL_EXPORTER_OTLP_HEADERS` to `headers`; no other
/// variable of OpenTelemetry has an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// Whether spans are recorded and sent.
    pub enabled: bool,
    /// URL of the collector, `http://` or `https://`. If left out `http://localhost:4317`, or with
    /// `http/protobuf` `http://localhost:4318`. With that, `/v1/traces` is added to a URL without a path.
    pub endpoint: Option<String>,
    /// How the collector is spoken to: `grpc` or `http/protobuf`.
    pub protocol: Protocol,
    /// Headers of each request to the collector, for example what it wants for a login. Prefer to give
    /// secrets as an environment variable: `WEIR__TRACES__HEADERS='{ authorization = "Bearer x" }'`.
    pub headers: Headers,
    /// Certificate authorities that the collector's certificate has to be from, PEM, instead of those the
    /// operating system trusts.
    pub tls_ca: Option<PathBuf>,
    /// Which of the traces are recorded that begin here: `always_on`, `always_off`, `traceidratio` or
    /// `rate_limiting`. Whoever began a trace elsewhere has decided: a message whose `traceparent` has the
    /// sampled flag is recorded, so a device can ask for it, unless its tenant's `tracing` says `none`. A
    /// tenant's `all` and `none` go before all else.
    pub sampler: Sampler,
    /// With `traceidratio`, which part of the traces is recorded, 0 to 1; with `rate_limiting`, how many a
    /// second, 0.001 to 1000000; 1 if left out. With another sampler it is a mistake.
    pub sampler_arg: Option<f64>,
    /// What the gateway is called in traces (`service.name`).
    pub service_name: String,
    /// Spans that may wait or be under way to the collector, 1 to 65536; more are dropped.
    pub max_queue_size: usize,
    /// Milliseconds that spans wait at most for others to go with, 10 to 60000; 512 go at once.
    pub schedule_delay: u64,
    /// Milliseconds that sending some spans may take, 10 to 60000. While the collector cannot be reached or
    /// asks for patience they are tried again, at first soon, then every 1.6 seconds; then they are lost.
    pub timeout: u64,
}

/// How the collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// OTLP over gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP over HTTP.
    #[serde(rename = "http/protobuf")]
    Http,
}

/// Which of the traces are recorded that begin here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// A part.
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    /// So many a second.
    RateLimiting,
}

impl Protocol {
    /// As it is configured.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

impl Sampler {
    /// As it is configured.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AlwaysOn => "always_on",
            Self::AlwaysOff => "always_off",
            Self::TraceIdRatio => "traceidratio",
            Self::RateLimiting => "rate_limiting",
        }
    }
}

/// Headers, whose values are not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Headers(pub(crate) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What serde says would have the value in it.
        let told = |_| D::Error::custom("must be a table of names and texts");
        BTreeMap::deserialize(deserializer).map(Self).map_err(told)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            endpoint: None,
            protocol: Protocol::Grpc,
            headers: Headers::default(),
            tls_ca: None,
            // As OpenTelemetry has it: who turns traces on sees some.
            sampler: Sampler::AlwaysOn,
            sampler_arg: None,
            service_name: "weir".to_owned(),
            max_queue_size: 2048,
            schedule_delay: 5000,
            timeout: 10_000,
        }
    }
}

impl TracesConfig {
    /// What is wrong although each value by itself can be read: key and message.
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let endpoint = self.url();
        let is_https = endpoint.as_ref().is_ok_and(is_https);
        let argument = self.sampler_mistake();
        let rows = [
            ("endpoint", endpoint.err()),
            (
                "headers",
                (!self.headers.0.iter().all(is_header))
                    .then_some("needs names and values that HTTP can carry"),
            ),
            (
                "tls_ca",
                (self.tls_ca.is_some() && !is_https)
                    .then_some("has no effect unless traces.endpoint begins with https://"),
            ),
            ("sampler_arg", argument),
            (
                "service_name",
                self.service_name.is_empty().then_some("must not be empty"),
            ),
            (
                "max_queue_size",
                (!(1..=65_536).contains(&self.max_queue_size)).then_some("must be from 1 to 65536"),
            ),
            ("schedule_delay", span_of_time(self.schedule_delay)),
            ("timeout", span_of_time(self.timeout)),
        ];
        let wrong = rows.into_iter().filter_map(|(key, message)| {
            let message = message?.to_owned();
            Some((format!("traces.{key}"), message))
        });
        wrong.collect()
    }

    /// Where spans are sent.
    pub(crate) fn url(&self) -> Result<Uri, &'static str> {
        let default = match self.protocol {
            Protocol::Grpc => "http://localhost:4317",
            Protocol::Http => "http://localhost:4318",
        };
        let text = self.endpoint.as_deref().unwrap_or(default);
        let url: Uri = text.parse().map_err(|_| NO_URL)?;
        let scheme = url.scheme_str().unwrap_or_default();
        if !["http", "https"].contains(&scheme) {
            return Err(NO_URL);
        }
        let authority = url.authority().map_or("", Authority::as_str);
        if authority.contains('@') {
            return Err("must not have a user name or password: see traces.headers");
        }
        let path = url.path_and_query().map_or("/", PathAndQuery::as_str);
        match (self.protocol, path) {
            (Protocol::Grpc, "/") => Ok(url),
            (Protocol::Grpc, _) => Err("must not have a path with traces.protocol grpc"),
            (Protocol::Http, "/") => {
                let url = format!("{scheme}://{authority}/v1/traces");
                url.parse().map_err(|_| NO_URL)
            }
            (Protocol::Http, _) => Ok(url),
        }
    }

    fn sampler_mistake(&self) -> Option<&'static str> {
        let (range, message) = match self.sampler {
            Sampler::AlwaysOn | Sampler::AlwaysOff => {
                return self.sampler_arg.map(|_| NO_ARGUMENT);
            }
            Sampler::TraceIdRatio => (0.0..=1.0, "must be from 0 to 1"),
            Sampler::RateLimiting => (0.001..=1e6, "must be from 0.001 to 1000000"),
        };
        (!range.contains(&self.argument())).then_some(message)
    }

    /// What the sampler is told.
    pub(crate) fn argument(&self) -> f64 {
        self.sampler_arg.unwrap_or(1.0)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout)
    }
}

const NO_URL: &str = "must be a URL that begins with http:// or https://";
const NO_ARGUMENT: &str = "has no effect unless traces.sampler is traceidratio or rate_limiting";

pub(crate) fn is_https(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

fn is_header((name, value): (&String, &String)) -> bool {
    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
}

fn span_of_time(milliseconds: u64) -> Option<&'static str> {
    (!(10..=60_000).contains(&milliseconds)).then_some("must be from 10 to 60000")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> TracesConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_could_not_work_is_a_mistake() {
        let rows = [
            ("endpoint = \"localhost:4317\"", "endpoint"),
            ("endpoint = \"\"", "endpoint"),
            ("endpoint = \"ftp://localhost\"", "endpoint"),
            ("endpoint = \"http://\"", "endpoint"),
            ("endpoint = \"http://u:p@localhost\"", "endpoint"),
            ("endpoint = \"http://localhost:4317/v1/traces\"", "endpoint"),
            ("headers = { \"a b\" = \"c\" }", "headers"),
            ("headers = { a = \"b\\n\" }", "headers"),
            ("tls_ca = \"ca.pem\"", "tls_ca"),
            (
                "sampler = \"traceidratio\"\nsampler_arg = 1.1",
                "sampler_arg",
            ),
            (
                "sampler = \"traceidratio\"\nsampler_arg = nan",
                "sampler_arg",
            ),
            (
                "sampler = \"rate_limiting\"\nsampler_arg = 0",
                "sampler_arg",
            ),
            (
                "sampler = \"rate_limiting\"\nsampler_arg = inf",
                "sampler_arg",
            ),
            ("sampler_arg = 0.01", "sampler_arg"),
            ("sampler_arg = -1", "sampler_arg"),
            ("sampler = \"always_on\"\nsampler_arg = 1", "sampler_arg"),
            ("sampler = \"always_off\"\nsampler_arg = 1", "sampler_arg"),
            ("service_name = \"\"", "service_name"),
            ("max_queue_size = 0", "max_queue_size"),
            ("max_queue_size = 65537", "max_queue_size"),
            ("schedule_delay = 9", "schedule_delay"),
            ("timeout = 60001", "timeout"),
        ];
        for (text, key) in rows {
            let mistakes = config(text).mistakes();
            let keys: Vec<_> = mistakes.iter().map(|(key, _)| &**key).collect();
            assert_eq!(keys, [format!("traces.{key}")], "{text}");
        }
        for text in [
            "",
            "sampler = \"traceidratio\"",
            "sampler = \"rate_limiting\"",
            "sampler = \"traceidratio\"\nsampler_arg = 0",
            "sampler = \"rate_limiting\"\nsampler_arg = 100",
            "protocol = \"http/protobuf\"\nendpoint = \"https://a.example/otlp?x=y\"\ntls_ca = \"ca\"",
        ] {
            assert_eq!(config(text).mistakes(), [], "{text}");
        }
        assert!(toml::from_str::<TracesConfig>("sampler = \"jaeger_remote\"").is_err());
        assert!(toml::from_str::<TracesConfig>("protocol = \"http/json\"").is_err());
    }

    #[test]
    fn where_spans_are_sent_is_what_opentelemetry_says() {
        let rows = [
            ("", "http://localhost:4317/"),
            (
                "protocol = \"http/protobuf\"",
                "http://localhost:4318/v1/traces",
            ),
            (
                "protocol = \"http/protobuf\"\nendpoint = \"https://[::1]:1/\"",
                "https://[::1]:1/v1/traces",
            ),
            (
                "protocol = \"http/protobuf\"\nendpoint = \"https://a/otlp/v1/traces\"",
                "https://a/otlp/v1/traces",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(config(text).url().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_the_log_says_is_what_is_configured() {
        for name in ["always_on", "always_off", "traceidratio", "rate_limiting"] {
            let config = config(&format!("sampler = {name:?}"));
            assert_eq!(config.sampler.name(), name);
        }
        for name in ["grpc", "http/protobuf"] {
            let config = config(&format!("protocol = {name:?}"));
            assert_eq!(config.protocol.name(), name);
        }
    }

    #[test]
    fn headers_do_not_show_their_values() {
        let shown = format!("{:?}", config("headers = { authorization = \"s3cret\" }"));
        assert!(shown.contains("authorization"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
        for text in ["headers = \"s3cret\"", "headers = { a = [\"s3cret\"] }"] {
            let error = toml::from_str::<TracesConfig>(text).unwrap_err();
            let message = error.message();
            assert!(message.ends_with("a table of names and texts"), "{message}");
        }
    }
}
