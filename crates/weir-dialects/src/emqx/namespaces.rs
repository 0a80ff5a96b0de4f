//! Messages by namespace, which is a tenant.

use std::collections::BTreeMap;

use super::numbers::Sums;
use super::page::Page;
use super::{Kind, Nodes, Reading};

/// What is shown of one tenant.
#[derive(Default)]
pub(super) struct Tenant {
    sums: Sums,
    connections: u64,
}

/// A family: name, kind, value, meaning.
type Family = (&'static str, Kind, fn(&Tenant) -> u64, &'static str);

pub(super) const FAMILIES: &[Family] = &[
    (
        "messages_received",
        Kind::Counter,
        |it| it.sums.received().iter().sum(),
        "Messages from the tenant's devices whose outcome is known",
    ),
    (
        "messages_qos0_received",
        Kind::Counter,
        |it| it.sums.received()[0],
        "Messages from the tenant's devices with QoS 0",
    ),
    (
        "messages_qos1_received",
        Kind::Counter,
        |it| it.sums.received()[1],
        "Messages from the tenant's devices with QoS 1, and all responses to commands",
    ),
    (
        "messages_sent",
        Kind::Counter,
        |it| it.sums.commands,
        "Commands that the tenant's devices took",
    ),
    (
        "messages_publish",
        Kind::Counter,
        |it| it.sums.published(),
        "Messages that were given to the back end",
    ),
    (
        "messages_delivered",
        Kind::Counter,
        |it| it.sums.delivered(),
        "Messages that the back end took",
    ),
    (
        "messages_acked",
        Kind::Counter,
        |it| it.sums.acknowledged(),
        "Messages that the back end took and had to acknowledge",
    ),
    (
        "messages_dropped",
        Kind::Counter,
        |it| it.sums.dropped(),
        "Messages that the back end did not take",
    ),
    (
        "messages_dropped_no_subscribers",
        Kind::Counter,
        |it| it.sums.dropped(),
        "Messages that the back end did not take",
    ),
    (
        "delivery_dropped",
        Kind::Counter,
        |it| it.sums.undelivered,
        "Commands that no device got",
    ),
    (
        "sessions_count",
        Kind::Gauge,
        |it| it.connections,
        "Open connections of the tenant's authenticated devices",
    ),
];

/// `/api/v5/prometheus/namespaced_stats`: of all tenants, or of one.
///
/// Packets are not counted by tenant, so they are not on this page.
pub fn namespaced_stats(reading: &Reading<'_>, nodes: Nodes<'_>, only: Option<&str>) -> String {
    let mut tenants: BTreeMap<&str, Tenant> = BTreeMap::new();
    for row in &reading.tally.rows {
        if only.is_none_or(|only| only == &*row.tenant) {
            let tenant = tenants.entry(&row.tenant).or_default();
            tenant.sums.add(&row.messages);
            tenant.connections += row.connections;
        }
    }
    let mut page = Page::default();
    for (name, kind, value, meaning) in FAMILIES {
        let name = format!("emqx_{name}");
        page.head(&name, *kind, meaning);
        for (namespace, tenant) in &tenants {
            let labels = [("namespace", *namespace)];
            let labels = labels.into_iter().chain(nodes.label(false));
            page.sample(&name, labels, value(tenant) as f64);
        }
    }
    page.finish()
}
