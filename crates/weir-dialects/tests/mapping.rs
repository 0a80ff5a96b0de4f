//! What is counted under which name.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod kit;

use std::time::Instant;

use weir_dialects::emqx::Mode;
use weir_metrics::MqttCount as M;

/// What `kit::used` counts of packets.
fn count(what: M) -> f64 {
    let more = match what {
        M::SubscriptionBegun | M::SubscriberBegun => 5.0,
        _ => 0.0,
    };
    let place = M::ALL.iter().position(|other| *other == what).unwrap();
    100.0 + place as f64 + more
}

fn counts(what: &[M]) -> f64 {
    what.iter().map(|what| count(*what)).sum()
}

#[test]
fn broker_metrics_are_those_sums() {
    let page = kit::page(&kit::used(Instant::now()), "stats", Mode::Node);
    let qos0 = count(M::PublishQos0Received) + 3_000.0;
    // Responses by HTTP among them.
    let qos1 = count(M::PublishQos1Received) + 9_000.0 + 6_000.0;
    let qos2 = count(M::PublishQos2Received);
    let sent = [
        count(M::PublishQos0Sent) + 7_000.0,
        count(M::PublishQos1Sent),
    ];
    let (allowed, denied) = (
        3_000.0 + count(M::FilterGranted),
        counts(&[M::PublishAuthError, M::FilterRefused]),
    );
    let rows = [
        ("messages_qos0_received", qos0),
        ("messages_qos1_received", qos1),
        ("messages_qos2_received", qos2),
        ("messages_received", qos0 + qos1 + qos2),
        ("messages_qos0_sent", sent[0]),
        ("messages_qos1_sent", sent[1]),
        ("messages_sent", sent[0] + sent[1]),
        ("messages_publish", 16_000.0),
        ("messages_delivered", 14_000.0),
        ("messages_acked", 10_000.0),
        ("messages_dropped", 2_000.0),
        ("messages_dropped_no_subscribers", 2_000.0),
        ("delivery_dropped", 9_000.0),
        ("packets_publish_received", qos0 + qos1 + qos2 - 18_000.0),
        ("packets_publish_error", count(M::PublishError)),
        ("packets_publish_auth_error", count(M::PublishAuthError)),
        ("bytes_received", count(M::BytesReceived)),
        (
            "client_authenticate",
            counts(&[M::Authenticated, M::AuthenticationFailed]),
        ),
        ("authorization_allow", allowed),
        ("authorization_deny", denied),
        ("client_authorize", allowed + denied),
        ("connections_count", 3.0),
        ("connections_max", 3.0),
        // Five of each began when all others had ended.
        ("subscriptions_max", count(M::SubscriptionBegun) - 5.0),
        ("subscribers_max", count(M::SubscriberBegun) - 5.0),
        ("cluster_nodes_running", 1.0),
        // Both counters grow with their places in the list.
        ("subscriptions_count", 4.0),
        ("subscribers_count", 4.0),
        ("vm_uptime_ms", 100_000.0),
        ("vm_max_fds", 1024.0),
        ("retained_count", 0.0),
    ];
    for (name, expected) in rows {
        let found = kit::value(&page, &format!("emqx_{name}"));
        assert_eq!(found, Some(expected), "{name}");
    }
    let expiry = "emqx_cert_expiry_at{listener_type=\"ssl\",listener_name=\"mqtt\"}";
    assert_eq!(kit::value(&page, expiry), Some(2_000_000_000.0));
}

#[test]
fn both_prefixes_show_the_same() {
    let metrics = kit::used(Instant::now());
    let node = kit::page(&metrics, "stats", Mode::Node);
    let cloud = kit::page(&metrics, "deployment_metrics", Mode::Node);
    let labels = "{deployment_id=\"b9110d11\",deployment_type=\"dedicated\",platform=\"own\"}";
    let mut rows = 0;
    for line in node.lines() {
        let Some((name, value)) = line.split_once(' ') else {
            continue;
        };
        let is_alone = line.starts_with('#') || name.contains(['{']) || name.contains("_vm_");
        if is_alone {
            continue;
        }
        let name = name.strip_prefix("emqx_").unwrap();
        let series = format!("deployment_emqx_metrics_{name}{labels}");
        let found = kit::value(&cloud, &series);
        assert_eq!(found, value.parse().ok(), "{name}");
        rows += 1;
    }
    assert!(rows > 110, "{rows}");
}

#[test]
fn a_route_shows_what_became_of_its_messages() {
    let metrics = kit::used(Instant::now());
    let page = kit::page(&metrics, "data_integration", Mode::Node);
    let rows = [
        ("rule_matched", "telemetry", 6_000.0),
        ("rule_actions_success", "telemetry", 4_000.0),
        ("rule_actions_failed", "telemetry", 2_000.0),
        ("rule_matched", "event", 4_000.0),
        ("action_queuing", "event", 7.0),
        ("action_queuing", "telemetry", 5.0),
        ("rule_matched", "command_response", 6_000.0),
        ("connector_status", "northbound", 1.0),
    ];
    for (name, id, expected) in rows {
        let found = kit::value(&page, &format!("emqx_{name}{{id=\"{id}\"}}"));
        assert_eq!(found, Some(expected), "{name} {id}");
    }
}

#[test]
fn a_namespace_is_a_tenant() {
    let metrics = kit::used(Instant::now());
    let page = kit::page(&metrics, "namespaced_stats", Mode::Node);
    for (name, expected) in [
        ("messages_received", 21_000.0),
        ("messages_qos0_received", 4_000.0),
        ("messages_sent", 15_000.0),
        ("messages_dropped", 2_000.0),
        ("sessions_count", 1.0),
    ] {
        let series = format!("emqx_{name}{{namespace=\"acme\"}}");
        assert_eq!(kit::value(&page, &series), Some(expected), "{name}");
    }
    assert!(!page.contains("packets_"), "{page}");
}
