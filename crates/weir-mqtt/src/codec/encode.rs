//! What the server says.
//!
//! PUBLISH and the answers to PUBLISH and PINGREQ are written by hand, straight into the output; so are
//! SUBACK and UNSUBACK of version 5, which the crate miscounts for clients that take only small packets.
//! All others go through the crate. What would be larger than the client's Maximum Packet Size is not
//! sent (MQTT 5 §3.1.2.11.4).

use std::num::NonZeroU16;

use bytes::{BufMut as _, BytesMut};
use bytestring::ByteString;
use rmqtt_codec::types::QoS;
use rmqtt_codec::v5::DisconnectReasonCode;
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Encoder as _;

use super::{Codec, Format, LONGEST, V5, aliases};
use crate::outcome::ConnectCode;

const PUBLISH: u8 = 0x30;
const PUBLISH_QOS1: u8 = 0x32;
const PUBACK: u8 = 0x40;
const PUBCOMP: u8 = 0x70;
const SUBACK: u8 = 0x90;
const UNSUBACK: u8 = 0xb0;
const PINGRESP: u8 = 0xd0;
/// Property identifiers (MQTT 5 §2.2.2.2).
const CONTENT_TYPE: u8 = 0x03;
const RESPONSE_TOPIC: u8 = 0x08;
const CORRELATION_DATA: u8 = 0x09;
const REASON_STRING: u8 = 0x1f;
const USER_PROPERTY: u8 = 0x26;
/// What a property has beside its bytes: the identifier and the length.
const PROPERTY_HEAD: usize = 3;
/// What another field of a property has beside its bytes: the length.
const FIELD_HEAD: usize = 2;

/// The longest reason string, bytes: it is for people, and an application may have written it.
const LONGEST_REASON: usize = 256;

/// Reason code "success" of UNSUBACK.
const SUCCESS: u8 = 0x00;
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
    /// Seconds; in place of the keep-alive it asked for.
    pub(crate) keep_alive: Option<u16>,
}

/// A message to a client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// What the payload is; only version 5 can say it. One that no string can hold is left out.
    pub(crate) content_type: Option<&'a str>,
    /// Where an answer goes, and what comes with it; only version 5 can say it.
    pub(crate) answer: Option<(&'a str, &'a [u8])>,
    /// What else is said of it, by name; only version 5 can say it. Strings of the protocol.
    pub(crate) user: &'a [(&'a str, &'a str)],
}

impl Message<'_> {
    /// The properties of version 5.
    fn properties(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let content_type = self.content_type.filter(|text| is_string(text));
        let content_type = content_type.map(|text| (CONTENT_TYPE, text.as_bytes()));
        let answer = self.answer.into_iter().flat_map(|(topic, data)| {
            [(RESPONSE_TOPIC, topic.as_bytes()), (CORRELATION_DATA, data)]
        });
        content_type.into_iter().chain(answer)
    }
}

impl Codec {
    /// Whether the client speaks version 5.
    pub(crate) fn is_v5(&self) -> bool {
        matches!(self.format, Format::V5(_))
    }

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
                    topic_alias_max: aliases::MAXIMUM,
                    server_keepalive_sec: limits.keep_alive,
                    // RETAIN is not acted upon, but back ends are told of it.
                    retain_available: true,
                    subscription_identifiers_available: false,
                    shared_subscription_available: false,
                    ..v5::ConnectAck::default()
                };
                self.put_v5(ack.into(), out)
            }
        }
    }

    /// CONNACK: go away. Says whether it was written.
    pub(crate) fn refuse(&mut self, code: ConnectCode, text: &str, out: &mut BytesMut) -> bool {
        match &mut self.format {
            Format::V3(_) => self.put_v3(connack_v3(code.v3), out),
            Format::V5(_) => {
                let ack = v5::ConnectAck {
                    reason_code: code.v5,
                    reason_string: Some(reason_string(text).into()),
                    ..v5::ConnectAck::default()
                };
                self.put_v5(ack.into(), out)
            }
        }
    }

    /// PUBACK: the message was taken.
    pub(crate) fn puback(&self, packet_id: NonZeroU16, out: &mut BytesMut) {
        // Version 5 may leave out the reason code that means success (§3.4.2.1).
        put_ack(PUBACK, packet_id, out);
    }

    /// PUBACK: the message was not taken, for the reason that `text` says, and the client wants to
    /// hear no more of it. Version 3.1.1 has no way to say that.
    pub(crate) fn puback_refused(&self, packet_id: NonZeroU16, text: &str, out: &mut BytesMut) {
        match &self.format {
            Format::V3(_) => put_ack(PUBACK, packet_id, out),
            Format::V5(v5) => match v5.reason(text, 3) {
                None => put_ack_with(PUBACK, packet_id, UNSPECIFIED, out),
                Some(text) => {
                    let properties = PROPERTY_HEAD + text.len();
                    let remaining = 3 + length_bytes(properties) + properties;
                    out.reserve(packet_size(remaining));
                    out.put_u8(PUBACK);
                    put_length(remaining, out);
                    out.put_u16(packet_id.get());
                    out.put_u8(UNSPECIFIED);
                    put_length(properties, out);
                    put_property((REASON_STRING, text.as_bytes()), out);
                }
            },
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

    /// SUBACK: the quality that each filter was granted with, or none if it was not; `text` says why,
    /// to clients of version 5.
    pub(crate) fn suback(
        &mut self,
        packet_id: NonZeroU16,
        granted: &[Option<QoS>],
        text: &str,
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
            Format::V5(v5) => {
                // Hono's only code for a refusal (device contract §3.9).
                let code = |granted: &Option<QoS>| granted.map_or(UNSPECIFIED, u8::from);
                let codes = granted.iter().map(code);
                v5.put_codes((SUBACK, packet_id), codes, text, out);
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
            Format::V5(v5) => {
                let code = |&ended: &bool| if ended { SUCCESS } else { UNSPECIFIED };
                let codes = ended.iter().map(code);
                v5.put_codes((UNSUBACK, packet_id), codes, "", out);
            }
        }
    }

    /// PUBLISH; with a packet id it has QoS 1. `false` if the packet would be larger than the client
    /// takes [MQTT-3.1.2-24 in version 5], or than any may be; the topics and what comes with an
    /// answer have 65,535 bytes at most each.
    pub(crate) fn publish(
        &self,
        message: Message<'_>,
        packet_id: Option<NonZeroU16>,
        out: &mut BytesMut,
    ) -> bool {
        let Message { topic, payload, .. } = message;
        let fits = |bytes: &[u8]| bytes.len() <= usize::from(u16::MAX);
        if !fits(topic.as_bytes()) || message.properties().any(|(_, bytes)| !fits(bytes)) {
            return false;
        }
        let lengths = message.properties().map(|(_, bytes)| bytes.len());
        let users = message.user.iter();
        let users = users.map(|(name, value)| name.len() + FIELD_HEAD + value.len());
        let properties = lengths.chain(users);
        let properties: usize = properties.map(|length| PROPERTY_HEAD + length).sum();
        let (section, limit) = match &self.format {
            Format::V3(_) => (0, u32::MAX),
            Format::V5(v5) => (length_bytes(properties) + properties, v5.max_packet_size),
        };
        let id_length = if packet_id.is_some() { 2 } else { 0 };
        let remaining = 2 + topic.len() + id_length + section + payload.len();
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
        put_field(topic.as_bytes(), out);
        if let Some(packet_id) = packet_id {
            out.put_u16(packet_id.get());
        }
        if self.is_v5() {
            put_length(properties, out);
            message.properties().for_each(|all| put_property(all, out));
            for (name, value) in message.user {
                put_property((USER_PROPERTY, name.as_bytes()), out);
                put_field(value.as_bytes(), out);
            }
        }
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

    /// DISCONNECT, which in version 3.1.1 only a client may send. Says whether it was written.
    pub(crate) fn disconnect(
        &mut self,
        code: DisconnectReasonCode,
        text: Option<&str>,
        out: &mut BytesMut,
    ) -> bool {
        let disconnect = v5::Disconnect {
            reason_string: text.map(|text| reason_string(text).into()),
            ..v5::Disconnect::new(code)
        };
        self.put_v5(disconnect.into(), out)
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

impl V5 {
    /// The reason string of an acknowledgement whose remaining length is `rest` without properties;
    /// none if there is nothing to say, if the client does not want to know it [MQTT-3.1.2-29], or if
    /// the packet would be too large for it [MQTT-3.4.2-2, 3.9.2-1].
    fn reason<'a>(&self, text: &'a str, rest: usize) -> Option<&'a str> {
        let text = reason_string(text);
        let properties = PROPERTY_HEAD + text.len();
        let size = packet_size(rest + length_bytes(properties) + properties);
        let is_wanted = self.wants_problem_information && !text.is_empty();
        (is_wanted && size <= self.max_packet_size as usize).then_some(text)
    }

    /// An acknowledgement with a code for each filter.
    fn put_codes(
        &self,
        (kind, packet_id): (u8, NonZeroU16),
        codes: impl ExactSizeIterator<Item = u8>,
        text: &str,
        out: &mut BytesMut,
    ) {
        let rest = 2 + codes.len();
        let text = self.reason(text, rest);
        let properties = text.map_or(0, |text| PROPERTY_HEAD + text.len());
        let remaining = rest + length_bytes(properties) + properties;
        let size = packet_size(remaining);
        if size > self.max_packet_size as usize {
            return;
        }
        out.reserve(size);
        out.put_u8(kind);
        put_length(remaining, out);
        out.put_u16(packet_id.get());
        put_length(properties, out);
        if let Some(text) = text {
            put_property((REASON_STRING, text.as_bytes()), out);
        }
        codes.for_each(|code| out.put_u8(code));
    }
}

/// As much of `text` as a reason string may have: no U+0000 [MQTT-1.5.4-2].
fn reason_string(text: &str) -> &str {
    let text = text.split('\0').next().unwrap_or_default();
    &text[..text.floor_char_boundary(LONGEST_REASON)]
}

/// Whether there is such a string on the wire.
pub(crate) fn is_string(text: &str) -> bool {
    text.len() <= usize::from(u16::MAX) && !text.contains('\0')
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

/// Bytes with their length in front, 65,535 at most.
fn put_field(bytes: &[u8], out: &mut BytesMut) {
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

fn put_property((id, bytes): (u8, &[u8]), out: &mut BytesMut) {
    out.put_u8(id);
    put_field(bytes, out);
}

/// A length of a packet or of properties, seven bits to the byte, the lowest first (MQTT 3.1.1 §2.2.3).
fn put_length(mut length: usize, out: &mut BytesMut) {
    while length > 0x7f {
        out.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
}

/// How many bytes a length has.
fn length_bytes(length: usize) -> usize {
    match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// The size of a whole packet whose remaining length is `remaining`.
fn packet_size(remaining: usize) -> usize {
    1 + length_bytes(remaining) + remaining
}
