//! The pages of EMQX's cloud.
//!
//! Its broker metrics are those of the table behind another prefix. The others are here.

use super::broker::ends;
use super::integration::{Rule, SINK, rules};
use super::numbers::Numbers;
use super::page::Page;
use super::table::table;
use super::{Kind, Reading};

/// Which deployment a gateway is: three labels that all series of the cloud's pages have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Label `deployment_id`.
    pub id: String,
    /// Label `deployment_type`.
    pub kind: String,
    /// Label `platform`.
    pub platform: String,
}

impl Deployment {
    fn labels(&self) -> [(&str, &str); 3] {
        [
            ("deployment_id", &self.id),
            ("deployment_type", &self.kind),
            ("platform", &self.platform),
        ]
    }
}

/// A gauge of the deployment: name, value, meaning.
type Own = (
    &'static str,
    fn(&Reading<'_>, &Numbers) -> f64,
    &'static str,
);

pub(super) const OWN: &[Own] = &[
    ("cluster_status", |_, _| 1.0, "The gateway runs"),
    (
        "connections_count",
        |_, it| it.connections as f64,
        "Open connections of devices",
    ),
    (
        "sessions_count",
        |_, it| it.connections as f64,
        "Open connections of devices: no session outlives its connection",
    ),
    (
        "subscriptions_count",
        |_, it| it.subscriptions() as f64,
        "Subscriptions of MQTT devices",
    ),
    (
        "topics_count",
        |_, it| it.subscriptions() as f64,
        "Subscriptions of MQTT devices",
    ),
    (
        "messages_rate",
        |it, _| it.rates.received + it.rates.sent,
        "Messages from and to devices a second, over the last interval",
    ),
    (
        "messages_receive_rate",
        |it, _| it.rates.received,
        "Messages from devices a second",
    ),
    (
        "messages_send_rate",
        |it, _| it.rates.sent,
        "Messages to devices a second",
    ),
    (
        "received_msg_rate",
        |it, _| it.rates.received,
        "Messages from devices a second",
    ),
    (
        "sent_msg_rate",
        |it, _| it.rates.sent,
        "Messages to devices a second",
    ),
];

/// Names that version 4 had for rows of the table.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("client_acl_allow", "authorization_allow"),
    ("client_acl_deny", "authorization_deny"),
    ("client_auth_failure", "authentication_failure"),
    ("client_auth_success", "authentication_success"),
    (
        "client_auth_success_anonymous",
        "authentication_success_anonymous",
    ),
];

/// `/deployment_metrics`.
pub fn deployment_metrics(reading: &Reading<'_>, deployment: &Deployment) -> String {
    let numbers = Numbers::of(reading.tally);
    let labels = deployment.labels();
    let mut page = Page::default();
    for (name, value, meaning) in OWN {
        let name = format!("deployment_emqx_{name}");
        page.head(&name, Kind::Gauge, meaning);
        page.sample(&name, labels, value(reading, &numbers));
    }
    let named = table().map(|row| (row.name, row));
    let aliases = ALIASES.iter().filter_map(|(alias, name)| {
        let row = table().find(|row| row.name == *name)?;
        Some((*alias, row))
    });
    for (name, row) in named.chain(aliases) {
        let name = format!("deployment_emqx_metrics_{name}");
        page.head(&name, row.kind, row.meaning);
        page.sample(&name, labels, row.value(&numbers));
    }
    ends(&mut page, ("deployment_emqx_metrics_", &numbers), &labels);
    page.finish()
}

/// A family of rules and actions: name, the label of whose it is, the label of what is counted, meaning.
pub(super) const INTEGRATION: &[(&str, &str, Option<&str>, &str)] = &[
    (
        "resource_status",
        "resource_id",
        None,
        "1 while the back end's endpoint is open",
    ),
    ("rule_status", "rule_id", None, "1: the route is there"),
    (
        "rule_matched_count",
        "rule_id",
        Some("match_status"),
        "Messages of the route that were given to the back end; all that match pass",
    ),
    (
        "rule_action_execution_count",
        "rule_id",
        Some("execution_status"),
        "Messages that were given to the back end (`taken`): `success` is what the back end took, `failed` what it did not",
    ),
    (
        "action_events_count",
        "action_id",
        Some("event"),
        "What the sink said of messages: `success` or `failed`",
    ),
    (
        "action_queued_count",
        "action_id",
        Some("queue_status"),
        "Messages that wait for the back end",
    ),
];

/// `/deployment_metrics/data_integration`.
pub fn deployment_data_integration(reading: &Reading<'_>, deployment: &Deployment) -> String {
    let rules = rules(reading);
    let mut page = Page::default();
    for (name, whose, what, meaning) in INTEGRATION {
        let full = format!("deployment_emqx_{name}");
        page.head(&full, Kind::Gauge, meaning);
        let mut write = |id: &str, value: &str, number: u64| {
            let own = [(*whose, id)];
            let what = what.map(|what| (what, value));
            let labels = deployment.labels().into_iter().chain(own).chain(what);
            page.sample(&full, labels, number as f64);
        };
        if *name == "resource_status" {
            write(SINK, "", 1);
            continue;
        }
        for rule in &rules {
            for (value, number) in values(name, rule) {
                write(rule.id, value, number);
            }
        }
    }
    page.finish()
}

fn values(family: &str, rule: &Rule) -> Vec<(&'static str, u64)> {
    let published = rule.outcomes.published();
    let (taken, dropped) = (rule.outcomes.forwarded, rule.outcomes.undeliverable);
    match family {
        "rule_status" => vec![("", 1)],
        "rule_matched_count" => vec![
            ("exception", 0),
            ("failed", 0),
            ("matched", published),
            ("no_result", 0),
            ("passed", published),
        ],
        "rule_action_execution_count" => {
            vec![
                ("failed", dropped),
                ("success", taken),
                ("taken", published),
            ]
        }
        "action_events_count" => vec![("failed", dropped), ("success", taken)],
        _ => vec![("queuing", rule.waiting)],
    }
}
