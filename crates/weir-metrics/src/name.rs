//! Every metric family, in one table.

use crate::{Component, View};

/// What a family's series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution: counts per bucket and a sum, with a gauge `_max` beside them.
    Histogram,
    /// Always 1; its labels are what it tells.
    Info,
    /// Count and sum, with a gauge `_max` beside them.
    Summary,
}

/// What a family's values are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds; recorded as nanoseconds.
    Seconds,
    /// A plain number.
    None,
}

/// Whose a family's series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of the component that records them, which is in three labels of theirs.
    Component,
    /// Of this service; they have the same labels.
    Service(Component),
    /// Of the process; they have no labels but their own.
    Process,
}

macro_rules! families {
    ($($variant:ident $name:literal $kind:ident $view:ident $scope:expr, $labels:expr, $help:literal;)*) => {
        /// A metric family.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Name {
            $(#[doc = concat!("`", $name, "`: ", $help, ".")] $variant,)*
        }

        impl Name {
            /// All families, in the order they are rendered.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name as exposed in the text format.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The text of the `# HELP` line.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            /// What the family's series are.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// Where the family is exposed.
            pub const fn view(self) -> View {
                match self { $(Self::$variant => View::$view,)* }
            }

            /// Whose the series are.
            pub const fn scope(self) -> Scope {
                match self { $(Self::$variant => $scope,)* }
            }

            /// Label names besides those of a component.
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$variant => $labels,)* }
            }
        }
    };
}

/// Labels of every upload.
const UPLOAD: &[&str] = &["tenant", "type", "status", "qos", "ttd"];
/// Labels of every command.
const COMMAND: &[&str] = &["tenant", "status", "direction"];
const TENANT: &[&str] = &["tenant"];
const CACHE: &[&str] = &["cache"];
const NONE: &[&str] = &[];
/// What stands in for a Java virtual machine.
const JVM: Scope = Scope::Service(Component::PROCESS);
const AREA: &[&str] = &["area"];
const AUTH: Scope = Scope::Service(Component::AUTH);
const REGISTRY: Scope = Scope::Service(Component::REGISTRY);

use Scope::{Component as Recorded, Process};

families! {
    AmqpDeliveryDuration "hono_amqp_delivery_duration_seconds" Histogram Hono Recorded,
        &["tenant", "type", "outcome"],
        "Time from sending an AMQP message to the disposition of its receiver";
    AmqpNoCredit "hono_amqp_nocredit_total" Counter Hono Recorded, &["tenant", "type"],
        "AMQP messages that could not be sent because there was no credit";
    AmqpTimeout "hono_amqp_timeout_total" Counter Hono Recorded, &["tenant", "type"],
        "AMQP messages whose disposition did not come in time";
    AuthenticationAttempts "hono_authentication_attempts_total" Counter Hono AUTH,
        &["outcome", "client_type"],
        "Attempts of applications and services to authenticate, by outcome";
    CommandPayload "hono_command_payload_bytes" Histogram Hono Recorded, COMMAND,
        "Payload of commands and responses, in steps of the tenant's minimum message size";
    CommandProcessingDuration "hono_command_processing_duration_seconds" Histogram Hono Recorded,
        COMMAND,
        "Time from receiving a command, or a response to one, to its outcome";
    ConnectionsAttempts "hono_connections_attempts_total" Counter Hono Recorded,
        &["tenant", "outcome", "cipher_suite"],
        "Attempts of devices to connect, by outcome";
    ConnectionsAuthenticated "hono_connections_authenticated" Gauge Hono Recorded, TENANT,
        "Open connections of authenticated devices";
    ConnectionsAuthenticatedDuration "hono_connections_authenticated_duration_seconds" Summary
        Hono Recorded, TENANT,
        "Time that authenticated devices have been connected, in device-seconds";
    ConnectionsUnauthenticated "hono_connections_unauthenticated" Gauge Hono Recorded, NONE,
        "Open connections of unauthenticated devices";
    TelemetryPayload "hono_telemetry_payload_bytes" Histogram Hono Recorded, UPLOAD,
        "Payload of telemetry messages and events, in steps of the tenant's minimum message size";
    TelemetryProcessingDuration "hono_telemetry_processing_duration_seconds" Histogram Hono
        Recorded, UPLOAD,
        "Time from receiving a telemetry message or event to its outcome";
    TenantsRegistered "hono_tenants_total" Gauge Hono REGISTRY, NONE,
        "Tenants in the registry";

    JvmGcPause "jvm_gc_pause_seconds_sum" Gauge Hono JVM, NONE,
        "Always 0: there is no garbage collector";
    JvmGcPromoted "jvm_gc_memory_promoted_bytes_total" Counter Hono JVM, NONE,
        "Always 0: there is no garbage collector";
    JvmMemoryMax "jvm_memory_max_bytes" Gauge Hono JVM, AREA,
        "Memory that the process may have: its control group's limit, or what the machine has";
    JvmMemoryUsed "jvm_memory_used_bytes" Gauge Hono JVM, AREA,
        "Resident memory of the process";
    JvmThreads "jvm_threads_live_threads" Gauge Hono JVM, NONE,
        "Threads of the process";
    JvmThreadsPeak "jvm_threads_peak_threads" Gauge Hono JVM, NONE,
        "The most threads there were at a scrape";
    LogbackEvents "logback_events_total" Counter Hono JVM, &["level"],
        "Lines that were logged";
    ProcessCpuUsage "process_cpu_usage" Gauge Hono JVM, NONE,
        "Share of all processors that the process used between the last two scrapes, from 0 to 1";
    ProcessFilesOpen "process_files_open_files" Gauge Hono JVM, NONE,
        "File descriptors that are open";
    SystemCpuCount "system_cpu_count" Gauge Hono JVM, NONE,
        "Processors that the process may use";
    SystemCpuUsage "system_cpu_usage" Gauge Hono JVM, NONE,
        "Share of the machine's processors that was used between the last two scrapes, from 0 to 1";

    BuildInfo "weir_build_info" Info Native Process, &["version", "os", "arch"],
        "The release that runs";
    CacheEntries "weir_cache_entries" Gauge Native Process, CACHE,
        "Answers of the registry that are remembered";
    CacheHits "weir_cache_hits_total" Counter Native Process, CACHE,
        "Questions that were answered from memory";
    CacheMisses "weir_cache_misses_total" Counter Native Process, CACHE,
        "Questions that the registry was asked";
    CertificateExpiry "weir_certificate_expiry_timestamp_seconds" Gauge Native Process,
        &["listener"],
        "When a listener's certificate expires, in seconds since 1970";
    Connections "weir_connections_open" Gauge Native Process, NONE,
        "Connections of devices that are open, also while they shake hands";
    ConnectionsLimit "weir_connections_limit" Gauge Native Process, NONE,
        "Connections that devices may have open";
    Consumers "weir_consumers" Gauge Native Process, &["tenant", "type"],
        "Applications' links that receive messages";
    ConsumerCredit "weir_consumer_credit" Gauge Native Process, &["tenant", "type"],
        "Messages that applications' links may be sent before they have to say so again";
    ConsumerQueue "weir_consumer_queue_messages" Gauge Native Process, &["tenant", "type"],
        "Messages that wait for the credit of an application's link";
    ConsumerWait "weir_consumer_wait_seconds" Histogram Native Recorded, &["tenant", "type"],
        "Time that messages waited for the credit of an application's link";
    EventsDead "weir_events_dead_letters" Gauge Native Process, TENANT,
        "Events that applications have refused, kept aside";
    EventsOldestAge "weir_events_oldest_age_seconds" Gauge Native Process, TENANT,
        "Age of the oldest event that waits for an application";
    EventsStored "weir_events_stored" Gauge Native Process, TENANT,
        "Events that wait for an application";
    EventsStoredBytes "weir_events_stored_bytes" Gauge Native Process, TENANT,
        "Size of the events that wait for an application";
    ListenerConnections "weir_listener_connections_total" Counter Native Process,
        &["listener", "result"],
        "Connections that came to a listener, by what became of them";
    LogEvents "weir_log_events_total" Counter Native Process, &["level"],
        "Lines that were logged";
    LogDropped "weir_log_dropped_total" Counter Native Process, NONE,
        "Log lines that were dropped because nobody read the log";
    MetricsTenants "weir_metrics_tenants" Gauge Native Process, NONE,
        "Tenants that have series of their own";
    MetricsTenantsEvicted "weir_metrics_tenants_evicted_total" Counter Native Process, NONE,
        "Tenants whose series were removed because they were idle";
    MetricsTenantsFolded "weir_metrics_tenants_folded_total" Counter Native Process, NONE,
        "Tenants that were counted as OVERFLOW because too many others had series";
    PasswordChecksRunning "weir_password_checks_running" Gauge Native Process, NONE,
        "Expensive password checks that run";
    PasswordChecksWaiting "weir_password_checks_waiting" Gauge Native Process, NONE,
        "Expensive password checks that wait for a processor";
    PasswordChecks "weir_password_checks_total" Counter Native Process, NONE,
        "Expensive password checks that were made";
    Refusals "weir_refusals_total" Counter Native Process,
        &["component_name", "refused", "reason"],
        "Connections, requests and messages of devices that were refused, by reason";
    RuntimeBusy "weir_runtime_busy_seconds_total" Counter Native Process, NONE,
        "Time that the threads which carry messages were at work, all together";
    RuntimeQueue "weir_runtime_global_queue_depth" Gauge Native Process, NONE,
        "Tasks that wait for any thread of the runtime";
    RuntimeTasks "weir_runtime_alive_tasks" Gauge Native Process, NONE,
        "Tasks that have not ended";
    RuntimeWorkers "weir_runtime_workers" Gauge Native Process, NONE,
        "Threads that carry messages";
    ServiceUp "weir_service_up" Gauge Native Process, &["service"],
        "Whether what the gateway needs is there (1) or gone (0)";
    TracesSpans "weir_traces_spans_total" Counter Native Process, &["result"],
        "Spans that were recorded, by what became of them";
    UplinksAbandoned "weir_uplinks_abandoned_total" Counter Native Recorded, &["tenant", "status"],
        "Uploads whose peer was gone before their outcome was known, by what had become of them";

    ProcessCpu "process_cpu_seconds_total" Counter Native Process, NONE,
        "Processor time used, user and system";
    ProcessMaxFds "process_max_fds" Gauge Native Process, NONE,
        "File descriptors that the process may open";
    ProcessOpenFds "process_open_fds" Gauge Native Process, NONE,
        "File descriptors that are open";
    ProcessResident "process_resident_memory_bytes" Gauge Native Process, NONE,
        "Resident memory";
    ProcessStart "process_start_time_seconds" Gauge Native Process, NONE,
        "When the process started, in seconds since 1970";
    ProcessThreads "process_threads" Gauge Native Process, NONE,
        "Threads of the process";
    ProcessVirtual "process_virtual_memory_bytes" Gauge Native Process, NONE,
        "Address space in use";
}

impl Name {
    /// What the values are measured in: the name says it.
    pub fn unit(self) -> Unit {
        let name = self.as_str();
        let name = name.strip_suffix("_total").unwrap_or(name);
        if name.ends_with("_bytes") {
            Unit::Bytes
        } else if name.ends_with("_seconds") {
            Unit::Seconds
        } else {
            Unit::None
        }
    }

    /// Whether the values are asked for at each scrape ([`Source`](crate::Source)) instead of recorded.
    pub const fn is_collected(self) -> bool {
        !matches!(self.scope(), Scope::Component)
    }

    /// Whether Hono has it from its Java virtual machine. A source has to stand in for that.
    pub fn is_of_jvm(self) -> bool {
        self.scope() == JVM
    }

    /// What several tenants that share series are together: the largest value, or the sum.
    pub(crate) const fn is_folded_to_largest(self) -> bool {
        matches!(self, Self::EventsOldestAge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for name in Name::ALL {
            let text = name.as_str();
            let is_right = match name.kind() {
                Kind::Counter => text.ends_with("_total"),
                // Hono's name, which dashboards know.
                Kind::Gauge => !text.ends_with("_total") || text == "hono_tenants_total",
                Kind::Info => text.ends_with("_info"),
                Kind::Histogram | Kind::Summary => name.unit() != Unit::None,
            };
            assert!(is_right, "{text}");
            // The formats escape these in different ways.
            let is_plain = !name.help().contains(['\\', '\n', '"']);
            let help = name.help();
            assert!(
                is_plain && !help.is_empty() && !help.ends_with('.'),
                "{text}"
            );
        }
    }

    #[test]
    fn no_name_is_given_twice() {
        let mut names: Vec<_> = Name::ALL.iter().map(|name| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Name::ALL.len());
    }

    #[test]
    fn honos_families_and_no_others_are_in_honos_view() {
        for name in Name::ALL {
            let is_honos = name.as_str().starts_with("hono_") || name.is_of_jvm();
            assert_eq!(name.view() == View::Hono, is_honos, "{name:?}");
        }
    }
}
