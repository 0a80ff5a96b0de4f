//! The reference of this dialect, written from its tables.

use std::fmt::Write as _;

use super::table::{Row, Value, table};
use super::{authentication, broker, cloud, dashboards, integration, namespaces};

/// `docs/emqx-metrics.md` as it has to be.
pub fn reference() -> String {
    let mut page = String::from(INTRODUCTION);
    let is_zero = |row: &&'static Row| matches!(row.value, Value::Zero);
    page.push_str(HEAD);
    for row in table().filter(|row| !is_zero(row)) {
        line(&mut page, row.name, row.kind.as_str(), row.meaning);
    }
    page.push_str(ZERO);
    page.push_str("| name | why |\n|---|---|\n");
    for row in table().filter(is_zero) {
        let _ = writeln!(page, "| `{}` | {} |", row.name, row.meaning);
    }
    page.push_str(STATS_ALONE);
    page.push_str(HEAD);
    for (name, _, meaning) in broker::MACHINE {
        line(&mut page, &format!("emqx_{name}"), "gauge", meaning);
    }
    for (name, meaning) in [broker::UPTIME, broker::CERTIFICATES] {
        line(&mut page, &format!("emqx_{name}"), "gauge", meaning);
    }
    page.push_str(CLOUD);
    page.push_str(HEAD);
    for (name, _, meaning) in cloud::OWN {
        line(
            &mut page,
            &format!("deployment_emqx_{name}"),
            "gauge",
            meaning,
        );
    }
    for (alias, name) in cloud::ALIASES {
        let meaning = format!("`{name}`, as version 4 called it");
        let alias = format!("deployment_emqx_metrics_{alias}");
        line(&mut page, &alias, "counter", &meaning);
    }
    for (name, whose, what, meaning) in cloud::INTEGRATION {
        let name = format!("deployment_emqx_{name}");
        let what = what.map(|what| format!(", `{what}`")).unwrap_or_default();
        let meaning = format!("{meaning}; by `{whose}`{what}");
        line(&mut page, &name, "gauge", &meaning);
    }
    integrations(&mut page);
    page.push_str(AUTH);
    page.push_str(HEAD);
    for (name, kind, label, _, meaning) in authentication::AUTH {
        let meaning = format!("{meaning}; by `{label}`");
        line(&mut page, &format!("emqx_{name}"), kind.as_str(), &meaning);
    }
    let (name, meaning) = authentication::BANNED;
    line(&mut page, &format!("emqx_{name}"), "gauge", meaning);
    page.push_str(NAMESPACES);
    page.push_str(HEAD);
    for (name, kind, _, meaning) in namespaces::FAMILIES {
        line(&mut page, &format!("emqx_{name}"), kind.as_str(), meaning);
    }
    page.push_str(ABSENT);
    page.push_str(&dashboards::section());
    page
}

fn integrations(page: &mut String) {
    page.push_str(INTEGRATION);
    page.push_str(HEAD);
    for (name, _, meaning) in integration::COUNTS {
        line(page, &format!("emqx_{name}"), "gauge", meaning);
    }
    for (name, kind, _, meaning) in integration::FAMILIES {
        let meaning = format!("{meaning}; by `id`");
        line(page, &format!("emqx_{name}"), kind.as_str(), &meaning);
    }
    for (name, meaning) in integration::CONNECTOR {
        let meaning = format!("{meaning}; by `id`");
        line(page, &format!("emqx_{name}"), "gauge", &meaning);
    }
}

fn line(page: &mut String, name: &str, kind: &str, meaning: &str) {
    let _ = writeln!(page, "| `{name}` | {kind} | {meaning} |");
}

const HEAD: &str = "| name | type | what it is here |\n|---|---|---|\n";

const INTRODUCTION: &str = "\
# Metrics under EMQX's names

Generated from the source; `UPDATE_DOCS=1 cargo test -p weir-dialects` writes it anew.

With `metrics.emqx.enabled = true` the gateway shows what it has counted also as EMQX does, on port 18083, so that dashboards
made for EMQX and for its cloud work as they are:

| path | has |
|---|---|
| `/api/v5/prometheus/stats` | broker metrics, `emqx_…` |
| `/api/v5/prometheus/auth` | authentication and authorization |
| `/api/v5/prometheus/data_integration` | what becomes of messages on their way to the back end |
| `/api/v5/prometheus/namespaced_stats` | messages by tenant; all tenants at most every 5 seconds (else 429), one by `?ns=` at any time |
| `/api/v5/prometheus/schema_validation`, `…/message_transformation`, `…/topic_metrics` | nothing: there are none of these here, and a scraper need not see an error |
| `/deployment_metrics`, `/deployment_metrics/data_integration` | the same under the names of EMQX's cloud, `deployment_emqx_…`; also below `/api/v5` |

Everything else is 404. Pages are text 0.0.4 whatever is accepted, and counters have no `_total`; `Accept: application/json`
alone is 400. `?mode=all_nodes_unaggregated` adds the label `node`. Whoever scrapes logs in, unless
`metrics.emqx.authentication = false`: by HTTP Basic with `key` and `secret`, or with `token` as a Bearer token. Attempts are
counted in `hono_authentication_attempts_total` with `client_type=\"unknown\"`, and the log has those that fail.

The rules of the mapping:

* `packets_*` and `bytes_*` are MQTT alone, WebSockets included. `messages_*` are messages by any protocol: those by MQTT
  count when their PUBLISH comes, all others when their outcome is known.
* A message from a device that the back end took is `messages_delivered`; `messages_acked` are those that it had to
  acknowledge. What it did not take is `messages_dropped` and `messages_dropped_no_subscribers`. What is the device's fault is
  `packets_publish_error` or `packets_publish_auth_error`.
* A command to a device is `messages_sent`, and by MQTT also `packets_publish_sent`.
* Topics, routes and subscriptions are MQTT devices' subscriptions for commands and errors.
* `*_max` are the largest values since the start. Rates are those of the last 5 seconds.
* No series has a label that EMQX's does not have.

## Broker metrics

`NAME` is `emqx_NAME` in `stats` and `deployment_emqx_metrics_NAME` in `deployment_metrics`.

";

const ZERO: &str = "
## Always 0

These names are there because dashboards ask for them. They are 0 because what they count does not exist here, or is not
counted by itself.

";

const STATS_ALONE: &str = "
## In `stats` alone

Apart from these there is `client_disconnected_reason` on both pages, with the labels `listener_type`, `listener_name` (both
`mqtt`) and `reason`: `normal`, `tcp_closed`, `keepalive_timeout`, `protocol_error`, `refused`, `kicked` (the device's
registration has ended) and `server_shutdown`.

";

const CLOUD: &str = "
## In the cloud's pages alone

All series have the labels `deployment_id`, `deployment_type` and `platform` of the configuration.

";

const INTEGRATION: &str = "
## Data integration

A rule is the route of one kind of message: `telemetry`, `event` or `command_response`. Its action is to give them to the back
end, and has the same id. The connector is the back end's endpoint, `northbound`.

";

const AUTH: &str = "
## Authentication and authorization

There is one of each, the device registry, whose `id` and `type` are `registry`.

";

const NAMESPACES: &str = "
## By namespace

A namespace is a tenant. Series have the label `namespace`; `UNKNOWN` and `OVERFLOW` are as in [metrics.md](metrics.md). If
`metrics.tenant_idle_timeout` removes a tenant's series, they begin at 0 when it comes back; the sums in `stats` do not shrink.

";

const ABSENT: &str = "
## Not there

Names that would say something wrong if they were 0 are left out: all `erlang_*`, of `emqx_vm_*` the CPU, the total memory and
what Erlang alone has, `emqx_license_*`, `emqx_mria_*`, `emqx_ds_*`, `emqx_conf_sync_txid`, `emqx_overload_protection_*`, the
latency histograms of `auth`, the numbers of users and of rules, and packets by namespace.
";
