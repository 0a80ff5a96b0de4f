//! The page of the broker's metrics.

use std::time::UNIX_EPOCH;

use weir_metrics::{MqttCount as M, Name};

use super::numbers::Numbers;
use super::page::Page;
use super::table::table;
use super::{Kind, Nodes, Reading};

/// How connections end, by the label `reason`.
pub(super) const ENDS: &[(M, &str)] = &[
    (M::EndedNormal, "normal"),
    (M::EndedClosed, "tcp_closed"),
    (M::EndedSilent, "keepalive_timeout"),
    (M::EndedViolation, "protocol_error"),
    (M::EndedRefused, "refused"),
    (M::EndedUnregistered, "kicked"),
    (M::EndedShutdown, "server_shutdown"),
];

/// The label of listeners' series: MQTT over TLS and WebSockets is not told apart.
pub(super) const LISTENER: [(&str, &str); 2] =
    [("listener_type", "mqtt"), ("listener_name", "mqtt")];

/// Figures of the process: name, family, unit factor, meaning.
pub(super) const MACHINE: &[(&str, Name, &str)] = &[
    (
        "vm_max_fds",
        Name::ProcessMaxFds,
        "File descriptors that the process may open",
    ),
    (
        "vm_used_memory",
        Name::ProcessResident,
        "Resident memory of the process, bytes",
    ),
    (
        "vm_run_queue",
        Name::RuntimeQueue,
        "Tasks that wait for any thread of the runtime",
    ),
];

pub(super) const UPTIME: (&str, &str) = ("vm_uptime_ms", "Milliseconds since the process started");
pub(super) const CERTIFICATES: (&str, &str) = (
    "cert_expiry_at",
    "When a listener's certificate expires, in seconds since 1970",
);
pub(super) const DISCONNECTED: (&str, &str) = (
    "client_disconnected_reason",
    "MQTT connections that ended, by why they did",
);

/// `/api/v5/prometheus/stats`.
pub fn stats(reading: &Reading<'_>, nodes: Nodes<'_>) -> String {
    let numbers = Numbers::of(reading.tally);
    let mut page = Page::default();
    for row in table() {
        let name = format!("emqx_{}", row.name);
        let label = nodes.label(row.name.starts_with("cluster_nodes"));
        page.head(&name, row.kind, row.meaning);
        page.sample(&name, label, row.value(&numbers));
    }
    let own = nodes.label(false);
    ends(&mut page, ("emqx_", &numbers), own.as_slice());
    machine(reading, nodes, &mut page);
    let (name, meaning) = CERTIFICATES;
    let name = format!("emqx_{name}");
    let mut certificates = reading.figures.of(Name::CertificateExpiry).peekable();
    if certificates.peek().is_some() {
        page.head(&name, Kind::Gauge, meaning);
    }
    for (labels, value) in certificates {
        let listener = labels.first().map_or("", |listener| &**listener);
        let labels = [("listener_type", "ssl"), ("listener_name", listener)];
        page.sample(&name, labels.into_iter().chain(own), value);
    }
    page.finish()
}

/// Connections that ended, by reason.
pub(super) fn ends(page: &mut Page, from: (&str, &Numbers), more: &[(&str, &str)]) {
    let (prefix, numbers) = from;
    let (name, meaning) = DISCONNECTED;
    let name = format!("{prefix}{name}");
    page.head(&name, Kind::Counter, meaning);
    for (end, reason) in ENDS {
        let own = LISTENER.into_iter().chain([("reason", *reason)]);
        let value = numbers.packets(&[*end]) as f64;
        page.sample(&name, more.iter().copied().chain(own), value);
    }
}

fn machine(reading: &Reading<'_>, nodes: Nodes<'_>, page: &mut Page) {
    let label = nodes.label(true);
    let mut write = |name: &str, meaning: &str, value: f64| {
        let name = format!("emqx_{name}");
        page.head(&name, Kind::Gauge, meaning);
        page.sample(&name, label, value);
    };
    let figure = |family| reading.figures.of(family).next().map(|(_, value)| value);
    for (name, family, meaning) in MACHINE {
        write(name, meaning, figure(*family).unwrap_or(0.0));
    }
    let (name, meaning) = UPTIME;
    let since = reading.now.duration_since(UNIX_EPOCH);
    let now = since.map_or(0.0, |since| since.as_secs_f64());
    let started = figure(Name::ProcessStart).unwrap_or(now);
    let uptime = (now - started).max(0.0) * 1000.0;
    write(name, meaning, uptime.round());
}
