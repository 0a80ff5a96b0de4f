//! Packets and bytes of MQTT.

use super::*;

const RECEIVED: &[M] = &[
    M::Connect,
    M::PublishQos0Received,
    M::PublishQos1Received,
    M::PublishQos2Received,
    M::PubackReceived,
    M::PubrelReceived,
    M::Unasked,
    M::Subscribe,
    M::Unsubscribe,
    M::Ping,
    M::Disconnect,
];
const SENT: &[M] = &[
    M::ConnackSent,
    M::PublishQos0Sent,
    M::PublishQos1Sent,
    M::PubackSent,
    M::PubcompSent,
    M::SubackSent,
    M::UnsubackSent,
    M::PingrespSent,
    M::DisconnectSent,
];
const PUBLISH_RECEIVED: &[M] = &[
    M::PublishQos0Received,
    M::PublishQos1Received,
    M::PublishQos2Received,
];
const NO_ENHANCED: &str = "There is no enhanced authentication";

pub(super) const ROWS: &[Row] = &[
    packets(
        "bytes_received",
        &[M::BytesReceived],
        "Bytes of MQTT that were read",
    ),
    packets(
        "bytes_sent",
        &[M::BytesSent],
        "Bytes of MQTT that were written",
    ),
    packets(
        "packets_received",
        RECEIVED,
        "MQTT packets that were read and understood",
    ),
    packets("packets_sent", SENT, "MQTT packets that were written"),
    packets("packets_connect", &[M::Connect], "CONNECT packets"),
    packets("packets_connack_sent", &[M::ConnackSent], "CONNACK packets"),
    packets(
        "packets_connack_error",
        &[M::ConnackError],
        "CONNACK packets that refuse",
    ),
    packets(
        "packets_connack_auth_error",
        &[M::ConnackAuthError],
        "CONNACK packets with reason code 0x86 or 0x87, or what version 3.1.1 has for these",
    ),
    packets(
        "packets_subscribe_received",
        &[M::Subscribe],
        "SUBSCRIBE packets",
    ),
    never(
        "packets_subscribe_auth_error",
        "Contained in `packets_subscribe_error`, which is not split",
    ),
    packets(
        "packets_subscribe_error",
        &[M::SubscribeError],
        "SUBSCRIBE packets with a filter that was refused",
    ),
    packets("packets_suback_sent", &[M::SubackSent], "SUBACK packets"),
    packets(
        "packets_unsubscribe_received",
        &[M::Unsubscribe],
        "UNSUBSCRIBE packets",
    ),
    packets(
        "packets_unsubscribe_error",
        &[M::UnsubscribeError],
        "UNSUBSCRIBE packets with a filter that there was no subscription for",
    ),
    packets(
        "packets_unsuback_sent",
        &[M::UnsubackSent],
        "UNSUBACK packets",
    ),
    packets(
        "packets_publish_received",
        PUBLISH_RECEIVED,
        "PUBLISH packets from devices, refused ones too",
    ),
    packets(
        "packets_publish_sent",
        &[M::PublishQos0Sent, M::PublishQos1Sent],
        "PUBLISH packets to devices: commands, and errors by subscription. One with QoS 1 counts when it is acknowledged or given up",
    ),
    never(
        "packets_publish_inuse",
        "A packet id that is in use is no error of a device here",
    ),
    packets(
        "packets_publish_error",
        &[M::PublishError],
        "PUBLISH packets that were refused because something is wrong with them (Hono's `unprocessable`)",
    ),
    packets(
        "packets_publish_auth_error",
        &[M::PublishAuthError],
        "PUBLISH packets that were refused because their device may not send them",
    ),
    never("packets_publish_quota_exceeded", NO_QUOTA),
    never("packets_publish_dropped", NO_QUOTA),
    packets(
        "packets_puback_received",
        &[M::PubackReceived],
        "PUBACK packets from devices",
    ),
    packets(
        "packets_puback_sent",
        &[M::PubackSent],
        "PUBACK packets to devices",
    ),
    never("packets_puback_inuse", NO_QOS2),
    packets(
        "packets_puback_missed",
        &[M::PubackMissed],
        "PUBACK packets for what was not sent, or not any more",
    ),
    never("packets_pubrec_received", NO_QOS2),
    never("packets_pubrec_sent", NO_QOS2),
    never("packets_pubrec_inuse", NO_QOS2),
    never("packets_pubrec_missed", NO_QOS2),
    packets(
        "packets_pubrel_received",
        &[M::PubrelReceived],
        "PUBREL packets, which devices send of messages that they sent elsewhere",
    ),
    never("packets_pubrel_sent", NO_QOS2),
    packets(
        "packets_pubrel_missed",
        &[M::PubrelReceived],
        "PUBREL packets: none of them is for a message that was sent here",
    ),
    never("packets_pubcomp_received", NO_QOS2),
    packets(
        "packets_pubcomp_sent",
        &[M::PubcompSent],
        "PUBCOMP packets to devices, the answers to PUBREL",
    ),
    never("packets_pubcomp_inuse", NO_QOS2),
    never("packets_pubcomp_missed", NO_QOS2),
    packets("packets_pingreq_received", &[M::Ping], "PINGREQ packets"),
    packets(
        "packets_pingresp_sent",
        &[M::PingrespSent],
        "PINGRESP packets",
    ),
    packets(
        "packets_disconnect_received",
        &[M::Disconnect],
        "DISCONNECT packets from devices",
    ),
    packets(
        "packets_disconnect_sent",
        &[M::DisconnectSent],
        "DISCONNECT packets to devices",
    ),
    never("packets_auth_received", NO_ENHANCED),
    never("packets_auth_sent", NO_ENHANCED),
];
