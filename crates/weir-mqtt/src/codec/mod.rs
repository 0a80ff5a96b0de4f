//! The wire format: packets in, packets out, for both versions of the protocol.
//!
//! [`connect()`] reads the first packet and tells the version; [`Codec`] then reads and writes in
//! that version. Decoding itself is `rmqtt-codec`'s. Here is what that crate leaves to its users:
//!
//! * A packet is handed over only when it is there in full, and its announced length is held
//!   against a limit first. (The crate reserves the announced length at once.)
//! * The checks in `check`: U+0000 in strings, wildcards in topic names, DUP with QoS 0, options that
//!   CONNACK says are not to be had, a body where there must be none, what follows the end of CONNECT.
//! * What version 5 calls a protocol error, in `layout`, and its topic aliases, in `aliases`.
//! * Direction: packets that only a server sends end the connection, as does a second CONNECT.
//!
//! Of version 5 the following is left alone on purpose. Response Information is not given to clients that
//! ask for it: each command brings its response topic. No PUBLISH to a client has a topic alias: there is
//! mostly one of each topic. A will, No Local and how to handle retained messages have no meaning here.

mod aliases;
mod check;
mod connect;
mod encode;
mod layout;

use std::num::NonZeroU16;

use bytes::BytesMut;
use bytestring::ByteString;
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v5::{DisconnectReasonCode, PublishAckReason};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder as _;

pub(crate) use connect::{BadConnect, Connect, connect};
pub(crate) use encode::{Limits, Message, is_string};

use aliases::Aliases;

/// The largest remaining length the protocol has (MQTT 3.1.1 §2.2.3).
pub(crate) const LONGEST: usize = 268_435_455;

/// Reads and writes packets of one connection, in the version its CONNECT asked for.
pub(crate) struct Codec {
    format: Format,
    /// The largest remaining length.
    limit: usize,
}

enum Format {
    V3(v3::Codec),
    V5(Box<V5>),
}

/// Version 5, in which clients say what they take.
struct V5 {
    codec: v5::Codec,
    /// The size of a whole packet.
    max_packet_size: u32,
    /// PUBLISHes with QoS 1 that it has not acknowledged.
    receive_maximum: NonZeroU16,
    /// Whether it is to be told in words what went wrong, also where it goes on (§3.1.2.11.7).
    wants_problem_information: bool,
    aliases: Aliases,
}

/// What a client may send once it is connected.
#[derive(Debug)]
pub(crate) enum Packet {
    /// A message.
    Publish(Box<Publish>),
    /// It asks for subscriptions: filters, and the best quality it wants.
    Subscribe(NonZeroU16, Vec<(ByteString, QoS)>),
    /// It gives up subscriptions.
    Unsubscribe(NonZeroU16, Vec<ByteString>),
    /// It has a message with QoS 1.
    PublishAck(NonZeroU16, PublishAckReason),
    /// The second half of QoS 2, whose first half never got an answer.
    PublishRelease(NonZeroU16),
    /// A part of QoS 2 for something that was not sent.
    Unasked,
    /// It wants to know whether we are there.
    Ping,
    /// It goes.
    Disconnect,
}

/// A breach of the protocol; the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// What an MQTT 5 client is told.
    pub(crate) code: DisconnectReasonCode,
    /// What it did.
    pub(crate) text: &'static str,
}

impl Violation {
    pub(crate) const fn new(code: DisconnectReasonCode, text: &'static str) -> Self {
        Self { code, text }
    }

    const fn malformed(text: &'static str) -> Self {
        Self::new(DisconnectReasonCode::MalformedPacket, text)
    }

    const fn protocol(text: &'static str) -> Self {
        Self::new(DisconnectReasonCode::ProtocolError, text)
    }
}

const WRONG_DIRECTION: Violation = Violation::protocol("a packet that only a server sends");
const SECOND_CONNECT: Violation = Violation::protocol("a second CONNECT");
const EMPTY_BODY: Violation = Violation::malformed("a body where there must be none");
/// Enhanced authentication was not agreed upon in CONNECT (MQTT 5 §4.12).
const NO_ENHANCED_AUTHENTICATION: Violation = Violation::new(
    DisconnectReasonCode::BadAuthenticationMethod,
    "enhanced authentication is not supported",
);

impl Codec {
    /// Takes the next packet from `inbox`, if it is there in full.
    pub(crate) fn decode(&mut self, inbox: &mut BytesMut) -> Result<Option<Packet>, Violation> {
        let Some(Frame { header, body }) = frame(inbox, self.limit)? else {
            return Ok(None);
        };
        match &mut self.format {
            Format::V3(codec) => codec
                .decode(inbox)
                .map_err(|error| violation(&error))?
                .map(|(packet, length)| from_v3(packet, length)),
            Format::V5(v5) => {
                layout::check(inbox[0], &mut inbox[header..header + body])?;
                v5.codec
                    .decode(inbox)
                    .map_err(|error| violation(&error))?
                    .map(|(packet, length)| from_v5(packet, length, &mut v5.aliases))
            }
        }
        .transpose()
    }
}

/// Where the first packet's parts are.
pub(crate) struct Frame {
    /// Length of the fixed header.
    header: usize,
    /// Length of the rest.
    body: usize,
}

/// Finds the first packet in `buffer`; `None` as long as it is not there in full.
pub(crate) fn frame(buffer: &[u8], limit: usize) -> Result<Option<Frame>, Violation> {
    let mut body = 0;
    for (index, byte) in buffer.iter().skip(1).take(4).enumerate() {
        body |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let header = index + 2;
            if body > limit {
                let code = DisconnectReasonCode::PacketTooLarge;
                return Err(Violation::new(code, "packet too large"));
            }
            return Ok((buffer.len() - header >= body).then_some(Frame { header, body }));
        }
    }
    // A remaining length has four bytes at most (MQTT 3.1.1 §2.2.3).
    if buffer.len() > 4 {
        return Err(Violation::malformed("remaining length"));
    }
    Ok(None)
}

fn from_v3(packet: v3::Packet, length: u32) -> Result<Packet, Violation> {
    use v3::Packet as V3;
    Ok(match packet {
        V3::Publish(publish) => {
            check::publish(&publish)?;
            Packet::Publish(publish)
        }
        V3::Subscribe {
            packet_id,
            topic_filters,
        } => {
            check::strings(topic_filters.iter().map(|(filter, _)| filter))?;
            Packet::Subscribe(packet_id, topic_filters)
        }
        V3::Unsubscribe {
            packet_id,
            topic_filters,
        } => {
            check::strings(&topic_filters)?;
            Packet::Unsubscribe(packet_id, topic_filters)
        }
        V3::PublishRelease { packet_id } => Packet::PublishRelease(packet_id),
        V3::PublishAck { packet_id } => Packet::PublishAck(packet_id, PublishAckReason::Success),
        V3::PublishReceived { .. } | V3::PublishComplete { .. } => Packet::Unasked,
        V3::PingRequest | V3::Disconnect if length > 0 => return Err(EMPTY_BODY),
        V3::PingRequest => Packet::Ping,
        V3::Disconnect => Packet::Disconnect,
        V3::Connect(_) => return Err(SECOND_CONNECT),
        V3::ConnectAck(_)
        | V3::SubscribeAck { .. }
        | V3::UnsubscribeAck { .. }
        | V3::PingResponse => return Err(WRONG_DIRECTION),
    })
}

fn from_v5(packet: v5::Packet, length: u32, aliases: &mut Aliases) -> Result<Packet, Violation> {
    use v5::Packet as V5;
    Ok(match packet {
        V5::Publish(mut publish) => {
            aliases.resolve(&mut publish)?;
            check::publish(&publish)?;
            Packet::Publish(publish)
        }
        V5::Subscribe(subscribe) => {
            check::subscribe(&subscribe)?;
            let filters = subscribe.topic_filters.into_iter();
            let filters = filters.map(|(filter, options)| (filter, options.qos));
            Packet::Subscribe(subscribe.packet_id, filters.collect())
        }
        V5::Unsubscribe(unsubscribe) => {
            check::strings(&unsubscribe.topic_filters)?;
            check::user_properties(&unsubscribe.user_properties)?;
            Packet::Unsubscribe(unsubscribe.packet_id, unsubscribe.topic_filters)
        }
        V5::PublishRelease(release) => Packet::PublishRelease(release.packet_id),
        V5::PublishAck(ack) => {
            check::strings(&ack.reason_string)?;
            check::user_properties(&ack.properties)?;
            Packet::PublishAck(ack.packet_id, ack.reason_code)
        }
        V5::PublishReceived(_) | V5::PublishComplete(_) => Packet::Unasked,
        V5::PingRequest if length > 0 => return Err(EMPTY_BODY),
        V5::PingRequest => Packet::Ping,
        V5::Disconnect(_) => Packet::Disconnect,
        V5::Connect(_) => return Err(SECOND_CONNECT),
        V5::Auth(_) => return Err(NO_ENHANCED_AUTHENTICATION),
        V5::ConnectAck(_) | V5::SubscribeAck(_) | V5::UnsubscribeAck(_) | V5::PingResponse => {
            return Err(WRONG_DIRECTION);
        }
    })
}

/// What the crate's refusal means for the peer.
fn violation(error: &DecodeError) -> Violation {
    match error {
        DecodeError::InvalidTopicName => {
            Violation::new(DisconnectReasonCode::TopicNameInvalid, "empty topic name")
        }
        DecodeError::InvalidTopicFilter => Violation::protocol("no topic filter"),
        _ => Violation::malformed("malformed packet"),
    }
}

#[cfg(test)]
mod tests;
