//! What the server says.
//!
//! PUBLISH and the answers to PUBLISH and PINGREQ are written by hand, straight into the output. All
//! others are rare and go through the crate, which also keeps them under the client's Maximum Packet
//! Size: what would be larger is not sent (MQTT 5 §3.1.2.11.4).

use std::num::NonZeroU16;

use bytes::{BufMut as _, BytesMut};
use bytestring::ByteString;
use rmqtt_codec::types::QoS;
use rmqtt_codec::v5::DisconnectReasonCode;
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Encoder as _;

use super::{Codec, Format, LONGEST, reason_string};
use crate::outcome::ConnectCode;

const PUBLISH: u8 = 0x30;
const PUBLISH_QOS1: u8 = 0x32;
const PUBACK: u8 = 0x40;
const PUBCOMP: u8 = 0x70;
const PINGRESP: u8 = 0xd0;
/// Reason code "unspecified error".
const UNSPECIFIED: u8 = 0x80;
/// Reason code "packet identifier not found".
const UNKNOWN_PACKET: u8 = 0x92;

/// What an MQTT 5 client is told about the server in CONNACK.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// PUBLISHes it may have open.
    pub(crate) receive_maximum: NonZeroU16,
    /// The name it was given, if it gave none.
    pub(crate) assigned_client_id: Option<ByteString>,
}

impl Codec {
    /// CONNACK: welcome. `false` if the client takes only smaller packets than that.
    pub(crate) fn accept(&mut self, limits: Limits, out: &mut BytesMut) -> bool {
        let max_packet_size = u32::try_from(packet_size(self.limit)).ok();
        match &mut self.format {
            Format::V3(_) => {
                let return_code = v3::ConnectAckReason::ConnectionAccepted;
                self.put_v3(connack_v3(return_code), out)
            }
            Format::V5(_) => {
                let ack = v5::ConnectAck {
                    // No session outlives its connection, whatever the client asked for.
                    session_expiry_interval_secs: Some(0),
                    receive_max: limits.receive_maximum,
                    max_qos: QoS::AtLeastOnce,
                    max_packet_size,
                    assigned_client_id: limits.assigned_client_id,
                    topic_alias_max: 0,
                    subscription_identifiers_available: false,
                    shared_subscription_available: false,
                    ..v5::ConnectAck::default()
                };
                self.put_v5(ack.into(), out)
            }
        }
    }

    /// CONNACK: go away.
    pub(crate) fn refuse(&mut self, code: ConnectCode, text: &str, out: &mut BytesMut) {
        match &mut self.format {
            Format::V3(_) => {
                self.put_v3(connack_v3(code.v3), out);
            }
            Format::V5(_) => {
                let ack = v5::ConnectAck {
                    reason_code: code.v5,
                    reason_string: Some(reason_string(text)),
                    ..v5::ConnectAck::default()
                };
                self.put_v5(ack.into(), out);
            }
        }
    }

    /// PUBACK: the message was taken.
    pub(crate) fn puback(&self, packet_id: NonZeroU16, out: &mut BytesMut) {
        // Version 5 may leave out the reason code that means success (§3.4.2.1).
        put_ack(PUBACK, packet_id, out);
    }

    /// PUBACK: the message was not taken, and the client wants to hear no more of it. Version 3.1.1
    /// has no way to say that.
    pub(crate) fn puback_refused(&self, packet_id: NonZeroU16, out: &mut BytesMut) {
        match self.format {
            Format::V3(_) => put_ack(PUBACK, packet_id, out),
            Format::V5(_) => put_ack_with(PUBACK, packet_id, UNSPECIFIED, out),
        }
    }

    /// PUBCOMP, the answer a client needs to forget a message it sent with QoS 2 to somebody else
    /// [MQTT-4.3.3-2].
    pub(crate) fn pubcomp(&self, packet_id: NonZeroU16, out: &mut BytesMut) {
        match self.format {
            Format::V3(_) => put_ack(PUBCOMP, packet_id, out),
            Format::V5(_) => put_ack_with(PUBCOMP, packet_id, UNKNOWN_PACKET, out),
        }
    }

    /// PINGRESP.
    pub(crate) fn pingresp(&self, out: &mut BytesMut) {
        out.put_slice(&[PINGRESP, 0]);
    }

    /// SUBACK: the quality that each filter was granted with, or none if it was not.
    pub(crate) fn suback(
        &mut self,
        packet_id: NonZeroU16,
        granted: &[Option<QoS>],
        out: &mut BytesMut,
    ) {
        match &mut self.format {
            Format::V3(_) => {
                let code = |granted: &Option<QoS>| match granted {
                    Some(qos) => v3::SubscribeReturnCode::Success(*qos),
                    None => v3::SubscribeReturnCode::Failure,
                };
                let status = granted.iter().map(code).collect();
                self.put_v3(v3::Packet::SubscribeAck { packet_id, status }, out);
            }
            Format::V5(_) => {
                let code = |granted: &Option<QoS>| match granted {
                    Some(QoS::AtMostOnce) => v5::SubscribeAckReason::GrantedQos0,
                    Some(QoS::AtLeastOnce) => v5::SubscribeAckReason::GrantedQos1,
                    Some(QoS::ExactlyOnce) => v5::SubscribeAckReason::GrantedQos2,
                    // Hono's only one (device contract §3.9).
                    None => v5::SubscribeAckReason::UnspecifiedError,
                };
                let ack = v5::SubscribeAck {
                    packet_id,
                    properties: Vec::new(),
                    reason_string: None,
                    status: granted.iter().map(code).collect(),
                };
                self.put_v5(ack.into(), out);
            }
        }
    }

    /// UNSUBACK; version 5 is told of each filter whether there was such a subscription, in Hono's
    /// way (device contract §3.9).
    pub(crate) fn unsuback(&mut self, packet_id: NonZeroU16, ended: &[bool], out: &mut BytesMut) {
        match &mut self.format {
            Format::V3(_) => {
                self.put_v3(v3::Packet::UnsubscribeAck { packet_id }, out);
            }
            Format::V5(_) => {
                let code = |ended: &bool| match ended {
                    true => v5::UnsubscribeAckReason::Success,
                    false => v5::UnsubscribeAckReason::UnspecifiedError,
                };
                let ack = v5::UnsubscribeAck {
                    packet_id,
                    properties: Vec::new(),
                    reason_string: None,
                    status: ended.iter().map(code).collect(),
                };
                self.put_v5(v5::Packet::UnsubscribeAck(ack), out);
            }
        }
    }

    /// PUBLISH; with a packet id it has QoS 1. `false` if the packet would be larger than the client
    /// takes [MQTT-3.1.2-24 in version 5], or than any may be; the topic has 65,535 bytes at most.
    pub(crate) fn publish(
        &self,
        topic: &str,
        packet_id: Option<NonZeroU16>,
        payload: &[u8],
        out: &mut BytesMut,
    ) -> bool {
        let Ok(topic_length) = u16::try_from(topic.len()) else {
            return false;
        };
        let (properties, limit): (&[u8], _) = match &self.format {
            Format::V3(_) => (&[], u32::MAX),
            Format::V5(v5) => (&[0], v5.max_packet_size),
        };
        let id_length = if packet_id.is_some() { 2 } else { 0 };
        let remaining = 2 + topic.len() + id_length + properties.len() + payload.len();
        let size = packet_size(remaining);
        if remaining > LONGEST || size > limit as usize {
            return false;
        }
        out.reserve(size);
        out.put_u8(if packet_id.is_some() {
            PUBLISH_QOS1
        } else {
            PUBLISH
        });
        put_length(remaining, out);
        out.put_u16(topic_length);
        out.put_slice(topic.as_bytes());
        if let Some(packet_id) = packet_id {
            out.put_u16(packet_id.get());
        }
        out.put_slice(properties);
        out.put_slice(payload);
        true
    }

    /// How many PUBLISHes with QoS 1 the client lets us send without acknowledging them.
    pub(crate) fn receive_maximum(&self) -> NonZeroU16 {
        match &self.format {
            Format::V3(_) => NonZeroU16::MAX,
            Format::V5(v5) => v5.receive_maximum,
        }
    }

    /// DISCONNECT, which in version 3.1.1 only a client may send.
    pub(crate) fn disconnect(
        &mut self,
        code: DisconnectReasonCode,
        text: Option<&str>,
        out: &mut BytesMut,
    ) {
        if let Format::V5(_) = self.format {
            let disconnect = v5::Disconnect {
                reason_string: text.map(reason_string),
                ..v5::Disconnect::new(code)
            };
            self.put_v5(disconnect.into(), out);
        }
    }

    /// Whether it was written; the crate fails only for packets that are not written here.
    fn put_v3(&mut self, packet: v3::Packet, out: &mut BytesMut) -> bool {
        match &mut self.format {
            Format::V3(codec) => codec.encode(packet, out).is_ok(),
            Format::V5(_) => false,
        }
    }

    /// Whether it was written; not if the client would not take a packet of that size.
    fn put_v5(&mut self, packet: v5::Packet, out: &mut BytesMut) -> bool {
        match &mut self.format {
            Format::V3(_) => false,
            Format::V5(v5) => v5.codec.encode(packet, out).is_ok(),
        }
    }
}

fn connack_v3(return_code: v3::ConnectAckReason) -> v3::Packet {
    v3::Packet::ConnectAck(v3::ConnectAck {
        return_code,
        session_present: false,
    })
}

fn put_ack(kind: u8, packet_id: NonZeroU16, out: &mut BytesMut) {
    let [high, low] = packet_id.get().to_be_bytes();
    out.put_slice(&[kind, 2, high, low]);
}

fn put_ack_with(kind: u8, packet_id: NonZeroU16, code: u8, out: &mut BytesMut) {
    let [high, low] = packet_id.get().to_be_bytes();
    out.put_slice(&[kind, 3, high, low, code]);
}

/// A remaining length, seven bits to the byte, the lowest first (MQTT 3.1.1 §2.2.3).
fn put_length(mut length: usize, out: &mut BytesMut) {
    while length > 0x7f {
        out.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
}

/// The size of a whole packet whose remaining length is `remaining`.
fn packet_size(remaining: usize) -> usize {
    let length_bytes = match remaining {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    };
    1 + length_bytes + remaining
}
