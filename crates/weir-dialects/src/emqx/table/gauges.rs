//! What there is at a time.

use super::*;

// The present numbers are read a moment after the highest.
const MOST_CONNECTIONS: fn(&Numbers) -> u64 = |it| it.most.connections.max(it.connections);
const MOST_SUBSCRIPTIONS: fn(&Numbers) -> u64 = |it| it.most.subscriptions.max(it.subscriptions());
const MOST_SUBSCRIBERS: fn(&Numbers) -> u64 = |it| it.most.subscribers.max(it.subscribers());
const CONNECTIONS: &str = "Open connections of devices, those included that are not authenticated";
const SESSIONS: &str = "Open connections of devices: no session outlives its connection";
const SUBSCRIPTIONS: &str = "Subscriptions of MQTT devices for commands and errors";
const LARGEST: &str = "The most there have been at a time since the start";
const NO_SHARED: &str = "There are no shared subscriptions";

pub(super) const ROWS: &[Row] = &[
    gauge("connections_count", |it| it.connections, CONNECTIONS),
    gauge("connections_max", MOST_CONNECTIONS, LARGEST),
    gauge("live_connections_count", |it| it.connections, CONNECTIONS),
    gauge("live_connections_max", MOST_CONNECTIONS, LARGEST),
    gauge("sessions_count", |it| it.connections, SESSIONS),
    gauge("sessions_max", MOST_CONNECTIONS, LARGEST),
    gauge("channels_count", |it| it.connections, SESSIONS),
    gauge("channels_max", MOST_CONNECTIONS, LARGEST),
    gauge("cluster_sessions_count", |it| it.connections, SESSIONS),
    gauge("cluster_sessions_max", MOST_CONNECTIONS, LARGEST),
    gauge("subscriptions_count", Numbers::subscriptions, SUBSCRIPTIONS),
    gauge("subscriptions_max", MOST_SUBSCRIPTIONS, LARGEST),
    gauge("suboptions_count", Numbers::subscriptions, SUBSCRIPTIONS),
    gauge("suboptions_max", MOST_SUBSCRIPTIONS, LARGEST),
    gauge("topics_count", Numbers::subscriptions, SUBSCRIPTIONS),
    gauge("topics_max", MOST_SUBSCRIPTIONS, LARGEST),
    gauge("routes_count", Numbers::subscriptions, SUBSCRIPTIONS),
    gauge("routes_max", MOST_SUBSCRIPTIONS, LARGEST),
    gauge(
        "subscribers_count",
        Numbers::subscribers,
        "MQTT connections with a subscription",
    ),
    gauge("subscribers_max", MOST_SUBSCRIBERS, LARGEST),
    none("subscriptions_shared_count", NO_SHARED),
    none("subscriptions_shared_max", NO_SHARED),
    none("durable_subscriptions_count", NO_DURABLE),
    none("durable_subscriptions_max", NO_DURABLE),
    none("retained_count", NO_RETAINED),
    none("retained_max", NO_RETAINED),
    none("delayed_count", NO_DELAY),
    none("delayed_max", NO_DELAY),
    row(
        "cluster_nodes_running",
        Kind::Gauge,
        Value::One,
        "This gateway; each is scraped by itself",
    ),
    none("cluster_nodes_stopped", "A gateway knows of no other"),
];
