//! The configuration: one TOML file, every key also an environment variable.
//!
//! `WEIR__HTTP__PORT=8081` sets `http.port`: the prefix `WEIR__`, then the path of the key in capital
//! letters with two underscores between its parts. (One underscore would collide with the variables
//! that Kubernetes sets for a Service called `weir-http`.) Unknown keys are errors, and a mistake is
//! told with its line. The reference in `docs/configuration.md` is generated from these structs.

mod listeners;
mod load;
mod reference;

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_core::ConnectionEvents;
use weir_http::HttpConfig;
use weir_management::ManagementConfig;
use weir_mqtt::MqttConfig;
use weir_northbound_amqp::{AmqpConfig, EventsConfig};
use weir_traces::TracesConfig;

use crate::aws_iot::AwsIotConfig;
use crate::emqx::EmqxConfig;
use crate::health::HealthConfig;
use crate::jvm::CompatConfig;

pub use listeners::TlsConfig;
pub use load::ConfigError;
pub use reference::reference;

/// The configuration of a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder for everything the gateway keeps: the registry, the first accounts, and what tenants have
    /// used of their limits. Made if it is not there, for its owner alone.
    pub data_dir: PathBuf,
    /// Threads that carry messages. One is cheapest per message; more are of use when one processor
    /// is not enough.
    pub workers: usize,
    /// Connections that may be open at a time, over all listeners; 0 means as many as the process may
    /// open files, less a reserve.
    pub max_connections: usize,
    /// Seconds for which messages in flight are waited for when the gateway stops.
    pub drain_timeout: u64,
    /// Logging.
    pub log: LogConfig,
    /// Accounts that replace those made at the first start.
    pub accounts: AccountsConfig,
    /// The device registry.
    pub registry: RegistryConfig,
    /// The certificate of all listeners with TLS; with one, each opens its `tls_port` too. The files
    /// are looked at every few seconds, and what has changed holds for new connections.
    pub tls: TlsConfig,
    /// Who is told of devices that connect and disconnect, on protocols with connections: `none`, the log
    /// (`logging`), or applications (`events`); a device that they cannot be told of may not connect.
    pub connection_events: ConnectionEventsConfig,
    /// The HTTP adapter.
    pub http: HttpConfig,
    /// The MQTT adapter.
    pub mqtt: MqttConfig,
    /// The side of the back-end applications.
    pub northbound: NorthboundConfig,
    /// The device registry management API.
    pub management: ManagementConfig,
    /// Health and metrics, for probes and Prometheus.
    pub health: HealthConfig,
    /// How many series of metrics there may be.
    pub metrics: MetricsConfig,
    /// Traces for a collector of OpenTelemetry. `OTEL_RESOURCE_ATTRIBUTES` adds to what spans say of the
    /// gateway, `OTEL_EXPORTER_OTLP_TRACES_HEADERS` or `OTEL_EXPORTER_OTLP_HEADERS` to `headers`; no other
    /// variable of OpenTelemetry has an effect.
    pub traces: TracesConfig,
    /// What is there for other systems' sake alone.
    pub compat: CompatConfig,
}

/// How many series of metrics there may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Tenants that may have series of their own. All others share those of the tenant `OVERFLOW`.
    pub max_tenants: usize,
    /// Seconds without traffic and connections after which a tenant's series are removed; 0 means never.
    pub tenant_idle_timeout: u64,
    /// The same metrics under the names of AWS IoT's message broker, as lines in CloudWatch's embedded
    /// metric format.
    pub aws_iot: AwsIotConfig,
    /// The same metrics under EMQX's names, for dashboards that were made for EMQX.
    pub emqx: EmqxConfig,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            max_tenants: weir_metrics::Options::default().max_tenants,
            tenant_idle_timeout: 0,
            aws_iot: AwsIotConfig::default(),
            emqx: EmqxConfig::default(),
        }
    }
}

impl From<&MetricsConfig> for weir_metrics::Options {
    fn from(config: &MetricsConfig) -> Self {
        Self {
            max_tenants: config.max_tenants,
            tenant_idle_timeout: Duration::from_secs(config.tenant_idle_timeout),
        }
    }
}

/// Who is told of devices that connect and disconnect (Hono's `hono.connectionEvents.producer`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionEventsConfig {
    /// Nobody.
    None,
    /// The log.
    #[default]
    Logging,
    /// The tenant's applications, by an event.
    Events,
}

impl From<ConnectionEventsConfig> for ConnectionEvents {
    fn from(config: ConnectionEventsConfig) -> Self {
        match config {
            ConnectionEventsConfig::None => Self::None,
            ConnectionEventsConfig::Logging => Self::Logging,
            ConnectionEventsConfig::Events => Self::Events,
        }
    }
}

/// Logging, to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or levels per part as in
    /// `info,weir_mqtt=debug`.
    pub filter: String,
    /// The form of the lines: `text` or `json`.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Accounts that replace those made at the first start. What is left out stays in the file
/// `credentials` of the data folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsConfig {
    /// The account of back-end applications.
    pub application: Option<AccountConfig>,
    /// The account of operators, for the management API.
    pub operator: Option<AccountConfig>,
}

/// One account. Exactly one of `password` and `password_hash` is to be given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// The user name.
    #[serde(default)]
    pub username: String,
    /// The password. Prefer to give it as an environment variable, or give its hash instead.
    pub password: Option<Secret>,
    /// The password's bcrypt hash (`$2a$`, `$2b$` or `$2y$`).
    pub password_hash: Option<String>,
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// The device registry: tenants, devices and their credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// Where it is stored: `sqlite:PATH`, or `postgres://USER:PASSWORD@HOST/DATABASE` for a server
    /// that several gateways share. If left out, `registry.db` in the data folder.
    pub url: Option<Secret>,
    /// Devices that a tenant may have which has no limit of its own; 0 means any number.
    pub max_devices_per_tenant: u64,
}

/// The side of the back-end applications.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NorthboundConfig {
    /// The AMQP 1.0 endpoint that back-end applications connect to.
    pub amqp: AmqpConfig,
    /// Where events wait until an application has accepted them.
    pub events: EventsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("weir-data"),
            workers: 1,
            max_connections: 0,
            drain_timeout: 10,
            log: LogConfig::default(),
            accounts: AccountsConfig::default(),
            registry: RegistryConfig::default(),
            tls: TlsConfig::default(),
            connection_events: ConnectionEventsConfig::default(),
            http: HttpConfig::default(),
            mqtt: MqttConfig::default(),
            northbound: NorthboundConfig::default(),
            management: ManagementConfig::default(),
            health: HealthConfig::default(),
            metrics: MetricsConfig::default(),
            traces: TracesConfig::default(),
            compat: CompatConfig::default(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Config {
    /// The registry's URL, also if none is configured.
    pub fn registry_url(&self) -> String {
        match self.registry.url.as_ref().map(Secret::reveal) {
            None => {
                let path = self.data_dir.join("registry.db");
                format!("sqlite://{}?mode=rwc", path.display())
            }
            // A database file that is not there yet is made.
            Some(url) if url.starts_with("sqlite:") && !url.contains('?') => {
                format!("{url}?mode=rwc")
            }
            Some(url) => url.to_owned(),
        }
    }

    /// The registry's database file, if one is configured.
    pub(crate) fn registry_file(&self) -> Option<PathBuf> {
        let url = self.registry.url.as_ref()?.reveal();
        let path = url.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        Some(PathBuf::from(path))
    }

    /// What is wrong although each value by itself can be read: key and message.
    pub(crate) fn mistakes(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        let mut check = |key: &str, is_right: bool, message: &str| {
            if !is_right {
                mistakes.push((key.to_owned(), message.to_owned()));
            }
        };
        check(
            "workers",
            (1..=1024).contains(&self.workers),
            "must be from 1 to 1024",
        );
        let amqp = &self.northbound.amqp;
        let frame = amqp.max_frame_size;
        check(
            "northbound.amqp.max_frame_size",
            frame >= 512,
            "must be at least 512",
        );
        check(
            "northbound.amqp.outcome_timeout",
            amqp.outcome_timeout > 0,
            "must be at least 1",
        );
        check(
            "northbound.amqp.queue_messages",
            amqp.queue_messages > 0,
            "must be at least 1",
        );
        check(
            "northbound.amqp.idle_timeout",
            amqp.idle_timeout > 0,
            "must be at least 1",
        );
        let handshake = amqp.handshake_timeout;
        check(
            "northbound.amqp.handshake_timeout",
            handshake > 0,
            "must be at least 1",
        );
        let attempts = self.northbound.events.max_delivery_attempts;
        check(
            "northbound.events.max_delivery_attempts",
            attempts > 0,
            "must be at least 1",
        );
        check(
            "log.filter",
            is_log_filter(&self.log.filter),
            "is not a level or a list of levels per part",
        );
        let url = self.registry_url();
        check(
            "registry.url",
            ["sqlite:", "postgres:", "postgresql:"]
                .iter()
                .any(|scheme| url.starts_with(scheme)),
            "must begin with sqlite: or postgres:",
        );
        check(
            "accounts.application",
            self.accounts.application.is_none() || amqp.permissions.is_none(),
            "has no effect with northbound.amqp.permissions: put the user into that file",
        );
        let accounts = [
            ("accounts.application", &self.accounts.application),
            ("accounts.operator", &self.accounts.operator),
        ];
        for (key, account) in accounts {
            let has_one = |account: &AccountConfig| {
                account.password.is_some() != account.password_hash.is_some()
            };
            let message = "needs either password or password_hash";
            check(key, account.as_ref().is_none_or(has_one), message);
            let named = |account: &AccountConfig| !account.username.is_empty();
            check(key, account.as_ref().is_none_or(named), "needs a username");
            let hash = account
                .as_ref()
                .and_then(|account| account.password_hash.as_deref());
            check(
                key,
                hash.is_none_or(is_bcrypt),
                "password_hash is not a bcrypt hash",
            );
        }
        mistakes.extend(self.metrics.aws_iot.mistakes());
        mistakes.extend(self.metrics.emqx.mistakes());
        mistakes.extend(self.traces.mistakes());
        mistakes.extend(listeners::mistakes(self));
        mistakes
    }
}

/// A bare word has to be a level; else it would be taken as the name of a part, and nothing logged.
fn is_log_filter(filter: &str) -> bool {
    let is_level = |word: &str| {
        word.trim()
            .parse::<tracing_subscriber::filter::LevelFilter>()
            .is_ok()
    };
    let mut directives = filter.split(',');
    tracing_subscriber::EnvFilter::try_new(filter).is_ok()
        && directives.all(|directive| directive.contains('=') || is_level(directive))
}

/// The modular crypt form: `$2b$10$` and 53 characters.
fn is_bcrypt(hash: &str) -> bool {
    let has_prefix = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| hash.starts_with(prefix));
    has_prefix && hash.len() == 60
}
