//! Published dashboards: what each needs, and which panels have no data here and why.

use std::fmt::Write as _;

/// A dashboard and the pages it needs.
type Board = (&'static str, &'static str);

const BOARDS: &[Board] = &[
    ("emqx/EMQ", "`/api/v5/prometheus/stats`"),
    ("emqx/EMQ_Dashboard", "`/api/v5/prometheus/stats`"),
    ("emqx/ErlangVM", "–"),
    ("emqx-cloud/grafana_template", CLOUD),
    ("emqx-cloud/sre-v4", CLOUD),
    ("emqx-cloud/sre-v5", CLOUD),
    ("emqx-exporter-5/authentication", "–"),
    ("emqx-exporter-5/authorization", "–"),
    ("emqx-exporter-5/client-events", EXPORTER),
    ("emqx-exporter-5/messages", EXPORTER),
    ("emqx-exporter-5/overview", EXPORTER),
    ("emqx-exporter-5/rule-engine-count", "–"),
    ("emqx-exporter-5/rule-engine-rate", "–"),
];

const CLOUD: &str = "`/deployment_metrics` and `/deployment_metrics/data_integration`";
const EXPORTER: &str =
    "`/api/v5/prometheus/stats`, with the labels `cluster` and `from=\"emqx\"` from the scraper";

/// Panels without data: dashboard, panels, what they ask for, why it is not there. No panels are all,
/// and so are no names.
type Absent = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
);

const NOT_APPLICABLE: &[Absent] = &[
    (
        "emqx/ErlangVM",
        &[],
        &[],
        "It shows Erlang's virtual machine, and there is none",
    ),
    (
        "emqx-exporter-5/authentication",
        &[],
        &[],
        "The exporter's own names, by authenticator; `auth` has `emqx_authn_*`",
    ),
    (
        "emqx-exporter-5/authorization",
        &[],
        &[],
        "The exporter's own names, by authorizer; `auth` has `emqx_authz_*`",
    ),
    ("emqx-exporter-5/rule-engine-count", &[], &[], RULES),
    ("emqx-exporter-5/rule-engine-rate", &[], &[], RULES),
    (
        OVERVIEW,
        &["Authenticate Count"],
        &[
            "emqx_authentication_allow_count",
            "emqx_authentication_deny_count",
            "emqx_authentication_exec_max_rate",
            "emqx_authentication_resource_status",
            "emqx_authentication_total",
        ],
        AUTH,
    ),
    (
        OVERVIEW,
        &["Authenticate Current Exec Rate"],
        &["emqx_authentication_exec_rate"],
        AUTH,
    ),
    (
        OVERVIEW,
        &["Authenticate Last 5m Exec Rate"],
        &["emqx_authentication_exec_last5m_rate"],
        AUTH,
    ),
    (
        OVERVIEW,
        &["Authorize Count"],
        &[
            "emqx_authorization_allow_count",
            "emqx_authorization_deny_count",
            "emqx_authorization_exec_max_rate",
            "emqx_authorization_resource_status",
            "emqx_authorization_total",
        ],
        AUTH,
    ),
    (
        OVERVIEW,
        &["Authorize Current Exec Rate"],
        &["emqx_authorization_exec_rate"],
        AUTH,
    ),
    (
        OVERVIEW,
        &["Authorize Last 5m Exec Rate"],
        &["emqx_authorization_exec_last5m_rate"],
        AUTH,
    ),
    (
        OVERVIEW,
        &["Cluster Message Rate"],
        &[
            "emqx_messages_input_period_second",
            "emqx_messages_output_period_second",
        ],
        "The exporter's own names; the panel *Messages Count* has the rates",
    ),
    (
        OVERVIEW,
        &["Cluster Status"],
        &["emqx_cluster_status"],
        "What the exporter makes of EMQX's alarms, and there is no cluster",
    ),
    (
        OVERVIEW,
        &["Exporter Latency"],
        &["emqx_scrape_collector_duration_seconds"],
        "There is no exporter between",
    ),
    (
        OVERVIEW,
        &["Last 1m CPU Load", "Last 5m CPU Load", "Last 15m CPU Load"],
        &["emqx_cluster_cpu_load"],
        "What the exporter asks Erlang for; the dashboard *Weir: saturation* has the processors",
    ),
    (
        OVERVIEW,
        &["Sessions"],
        &["emqx_license_max_client_limit"],
        "There is no licence; the panel's other lines are there",
    ),
    (
        OVERVIEW,
        &["Data Bridge Queuing", "Data Bridge Status"],
        &["emqx_rule_bridge_queuing", "emqx_rule_bridge_status"],
        RULES,
    ),
    (
        OVERVIEW,
        &["Rule Engine Execute Count"],
        &[
            "emqx_rule_action_failed",
            "emqx_rule_action_success",
            "emqx_rule_action_total",
            "emqx_rule_exec_exception_count",
            "emqx_rule_exec_max_rate",
            "emqx_rule_exec_no_result_count",
            "emqx_rule_exec_pass_count",
            "emqx_rule_topic_hit_count",
        ],
        RULES,
    ),
    (
        OVERVIEW,
        &["Rule Engine Action Success", "Rule Engine Action Failure"],
        &["emqx_rule_action_success", "emqx_rule_action_failed"],
        RULES,
    ),
    (
        OVERVIEW,
        &["Rule Engine Exec Success", "Rule Engine Exec Failure"],
        &["emqx_rule_exec_pass_count", "emqx_rule_exec_failure_count"],
        RULES,
    ),
    (
        OVERVIEW,
        &[
            "Rule Engine Current Exec Rate",
            "Rule Engine Last 5m Exec Rate",
        ],
        &["emqx_rule_exec_rate", "emqx_rule_exec_last5m_rate"],
        RULES,
    ),
];

const OVERVIEW: &str = "emqx-exporter-5/overview";
const AUTH: &str = "The exporter's own names";
const RULES: &str = "The exporter's own names, by rule and node; `data_integration` has `emqx_rule_*` and `emqx_action_*`";

/// The section of the reference. `interop/test_dashboards_emqx.py` reads both tables and holds a real
/// Prometheus against them.
pub(super) fn section() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("| dashboard | scrape |\n|---|---|\n");
    for (board, pages) in BOARDS {
        let _ = writeln!(page, "| `{board}` | {pages} |");
    }
    page.push_str(ABSENT);
    page.push_str("| dashboard | panels | ask for | why not |\n|---|---|---|---|\n");
    for (board, panels, names, why) in NOT_APPLICABLE {
        let (panels, names) = (list(panels), list(names));
        let _ = writeln!(page, "| `{board}` | {panels} | {names} | {why} |");
    }
    page
}

fn list(these: &[&str]) -> String {
    match these {
        [] => "all".to_owned(),
        these => format!("`{}`", these.join("`, `")),
    }
}

const INTRODUCTION: &str = "
## Dashboards

These have been tried with a Prometheus that scraped a gateway under load; `emqx-cloud` is github.com/emqx/emqx-cloud-grafana,
`emqx-exporter-5` those of github.com/emqx/emqx-exporter for version 5. Every panel has data, save those below.
[deploy/prometheus/emqx.yml](../deploy/prometheus/emqx.yml) is how to scrape for them. `emqx-cloud/grafana_template` has no
selectors: its datasource may know one deployment only.

";

const ABSENT: &str = "
Panels that stay empty, or lack a line:

";
