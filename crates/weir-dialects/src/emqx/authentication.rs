//! The page of authentication and authorization.

use weir_metrics::MqttCount as M;

use super::numbers::Numbers;
use super::page::Page;
use super::table::NO_RULES;
use super::{Kind, Nodes, Reading};

/// The registry, which is all that says who somebody is and what he may do.
pub(super) const REGISTRY: &str = "registry";

/// Of the page of authentication: name, kind, label, value, meaning.
type AuthRow = (
    &'static str,
    Kind,
    &'static str,
    fn(&Numbers) -> u64,
    &'static str,
);

pub(super) const AUTH: &[AuthRow] = &[
    (
        "authn_enable",
        Kind::Gauge,
        "id",
        |_| 1,
        "Devices are looked up in the registry",
    ),
    (
        "authn_status",
        Kind::Gauge,
        "id",
        |_| 1,
        "The gateway has a registry",
    ),
    (
        "authn_nomatch",
        Kind::Counter,
        "id",
        |_| 0,
        "Whoever is not known has failed",
    ),
    (
        "authn_total",
        Kind::Counter,
        "id",
        |it| it.packets(&[M::Authenticated, M::AuthenticationFailed]),
        "MQTT clients whose credentials were looked at",
    ),
    (
        "authn_success",
        Kind::Counter,
        "id",
        |it| it.packets(&[M::Authenticated]),
        "MQTT devices that have proved who they are",
    ),
    (
        "authn_failed",
        Kind::Counter,
        "id",
        |it| it.packets(&[M::AuthenticationFailed]),
        "MQTT devices that have not",
    ),
    (
        "authz_enable",
        Kind::Gauge,
        "type",
        |_| 1,
        "The registry says what a device may do",
    ),
    (
        "authz_status",
        Kind::Gauge,
        "type",
        |_| 1,
        "The gateway has a registry",
    ),
    ("authz_nomatch", Kind::Counter, "type", |_| 0, NO_RULES),
    (
        "authz_total",
        Kind::Counter,
        "type",
        |it| it.allowed() + it.denied(),
        "Messages and filters of MQTT devices that were allowed or denied",
    ),
    (
        "authz_allow",
        Kind::Counter,
        "type",
        Numbers::allowed,
        "Messages and filters of MQTT devices that were allowed",
    ),
    (
        "authz_deny",
        Kind::Counter,
        "type",
        Numbers::denied,
        "Messages and filters of MQTT devices that were denied",
    ),
];
/// Without a label.
pub(super) const BANNED: (&str, &str) = ("banned_count", "Nobody is banned");

/// `/api/v5/prometheus/auth`.
pub fn auth(reading: &Reading<'_>, nodes: Nodes<'_>) -> String {
    let numbers = Numbers::of(reading.tally);
    let mut page = Page::default();
    let own = nodes.label(false);
    for (name, kind, label, value, meaning) in AUTH {
        let name = format!("emqx_{name}");
        page.head(&name, *kind, meaning);
        let labels = [(*label, REGISTRY)].into_iter().chain(own);
        page.sample(&name, labels, value(&numbers) as f64);
    }
    let (name, meaning) = BANNED;
    let name = format!("emqx_{name}");
    page.head(&name, Kind::Gauge, meaning);
    page.sample(&name, own, 0.0);
    page.finish()
}
