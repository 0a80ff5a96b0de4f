//! Messages by any protocol, and events of MQTT clients.

use super::*;

const ENDED: &[M] = &[
    M::EndedNormal,
    M::EndedClosed,
    M::EndedSilent,
    M::EndedViolation,
    M::EndedRefused,
    M::EndedUnregistered,
    M::EndedShutdown,
];
const NO_CACHE: &str =
    "What the registry has said is part of the connection, without a cache to hit";
const NOT_TOLD_APART: &str = "Contained in `delivery_dropped`, which is not split";

pub(super) const ROWS: &[Row] = &[
    count(
        "messages_received",
        Numbers::received,
        "Messages from devices: PUBLISH packets, and what came by other protocols",
    ),
    count(
        "messages_sent",
        Numbers::sent,
        "Messages to devices: PUBLISH packets, and commands that went by other protocols",
    ),
    count(
        "messages_qos0_received",
        |it| it.received_with()[0],
        "Messages from devices with QoS 0",
    ),
    count(
        "messages_qos1_received",
        |it| it.received_with()[1],
        "Messages from devices with QoS 1, responses by other protocols than MQTT included",
    ),
    count(
        "messages_qos2_received",
        |it| it.received_with()[2],
        "PUBLISH packets with QoS 2, which are all refused",
    ),
    count(
        "messages_qos0_sent",
        |it| it.sent_with()[0],
        "Messages to devices with QoS 0, commands by other protocols than MQTT included",
    ),
    count(
        "messages_qos1_sent",
        |it| it.sent_with()[1],
        "Messages to devices with QoS 1",
    ),
    never("messages_qos2_sent", NO_QOS2),
    count(
        "messages_publish",
        |it| it.all.published(),
        "Messages that were given to the back end, whatever became of them",
    ),
    count(
        "messages_delivered",
        |it| it.all.delivered(),
        "Messages that the back end took (Hono's `forwarded`)",
    ),
    count(
        "messages_acked",
        |it| it.all.acknowledged(),
        "Messages that the back end took and had to acknowledge: QoS 1 and responses",
    ),
    count(
        "messages_dropped",
        |it| it.all.dropped(),
        "Messages that the back end did not take (Hono's `undeliverable`)",
    ),
    count(
        "messages_dropped_no_subscribers",
        |it| it.all.dropped(),
        "Messages that the back end did not take: no consumer, or it did not want them",
    ),
    never(
        "messages_dropped_expired",
        "Events that expire while they wait are not counted",
    ),
    never("messages_dropped_quota_exceeded", NO_QUOTA),
    never(
        "messages_dropped_receive_maximum",
        "A device that sends more than that is read more slowly",
    ),
    never(
        "messages_forward",
        "Messages are not forwarded between gateways",
    ),
    never("messages_retained", NO_RETAINED),
    never("messages_delayed", NO_DELAY),
    count(
        "delivery_dropped",
        |it| it.all.undelivered,
        "Commands that no device got (Hono's `undeliverable`)",
    ),
    never(
        "delivery_dropped_no_local",
        "No message goes from one device to another",
    ),
    never("delivery_dropped_too_large", NOT_TOLD_APART),
    never("delivery_dropped_qos0_msg", NOT_TOLD_APART),
    never("delivery_dropped_queue_full", NOT_TOLD_APART),
    never("delivery_dropped_expired", NOT_TOLD_APART),
    packets("client_connect", &[M::Connect], "CONNECT packets"),
    packets("client_connack", &[M::ConnackSent], "CONNACK packets"),
    packets(
        "client_connected",
        &[M::Connected],
        "MQTT clients that were let in",
    ),
    packets(
        "client_disconnected",
        ENDED,
        "MQTT connections of such clients that ended",
    ),
    packets("client_subscribe", &[M::Subscribe], "SUBSCRIBE packets"),
    packets(
        "client_unsubscribe",
        &[M::Unsubscribe],
        "UNSUBSCRIBE packets",
    ),
    packets(
        "client_authenticate",
        &[M::Authenticated, M::AuthenticationFailed],
        "MQTT clients whose credentials were looked at",
    ),
    packets(
        "client_auth_anonymous",
        &[M::Anonymous],
        "MQTT clients that were not asked who they are",
    ),
    count(
        "client_authorize",
        |it| it.allowed() + it.denied(),
        "Messages and filters of MQTT devices that were allowed or denied",
    ),
    packets(
        "session_created",
        &[M::Connected],
        "MQTT clients that were let in: each has a session of its own",
    ),
    never("session_resumed", NO_DURABLE),
    never(
        "session_takenover",
        "Two clients with one client id do not disturb each other",
    ),
    never(
        "session_discarded",
        "Two clients with one client id do not disturb each other",
    ),
    packets(
        "session_terminated",
        ENDED,
        "MQTT connections that ended, and their sessions with them",
    ),
    packets(
        "authentication_success",
        &[M::Authenticated],
        "MQTT devices that have proved who they are",
    ),
    packets(
        "authentication_success_anonymous",
        &[M::Anonymous],
        "MQTT clients that were not asked",
    ),
    packets(
        "authentication_failure",
        &[M::AuthenticationFailed],
        "MQTT devices that have not",
    ),
    count(
        "authorization_allow",
        Numbers::allowed,
        "Messages of MQTT devices that were given to the back end, and filters that were granted",
    ),
    count(
        "authorization_deny",
        Numbers::denied,
        "Messages that an MQTT device may not send, and filters that were refused",
    ),
    never("authorization_cache_hit", NO_CACHE),
    never("authorization_cache_miss", NO_CACHE),
    never("authorization_superuser", "There are no superusers"),
    never("authorization_nomatch", NO_RULES),
    never("authorization_matched_allow", NO_RULES),
    never("authorization_matched_deny", NO_RULES),
];
