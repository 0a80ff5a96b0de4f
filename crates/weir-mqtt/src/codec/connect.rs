//! The first packet of a connection.

use std::num::NonZeroU16;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use rmqtt_codec::error::DecodeError;
use rmqtt_codec::v3::ConnectAckReason as V3Code;
use rmqtt_codec::v5::{ConnectAckReason as V5Code, DisconnectReasonCode};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::Decoder as _;

use super::aliases::Aliases;
use super::layout::{self, Rest};
use super::{Codec, Format, Frame, V5, Violation, check, frame};
use crate::outcome::ConnectCode;

const CONNECT: u8 = 0x10;
/// Connect flags (MQTT 3.1.1 §3.1.2.3).
const USERNAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN_AND_QOS: u8 = 0x38;
const WILL: u8 = 0x04;

const MALFORMED: Violation = Violation::malformed("malformed CONNECT");
const NOT_CONNECT: Violation = Violation::malformed("not a CONNECT");

/// What the gateway uses of a CONNECT. Clean or not, no session outlives its connection, and a
/// will is not published (device contract §3.1).
#[derive(Debug, Default)]
pub(crate) struct Connect {
    /// The name the client gave itself; may be empty.
    pub(crate) client_id: ByteString,
    /// Seconds; 0 is off.
    pub(crate) keep_alive: u16,
    pub(crate) username: Option<ByteString>,
    pub(crate) password: Option<Bytes>,
}

/// Why a CONNECT is not one that can be looked at further.
pub(crate) enum BadConnect {
    /// The peer is left without an answer: it does not speak the protocol.
    Silent(&'static str),
    /// The peer is told in its version.
    Told(Codec, ConnectCode, &'static str),
}

/// The versions that are understood.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V3,
    V5,
}

/// Reads the CONNECT at the start of `inbox`, once it is there in full. `limit` is its largest
/// remaining length; `packet_limit` that of the packets that follow.
pub(crate) fn connect(
    inbox: &mut BytesMut,
    limit: usize,
    packet_limit: usize,
) -> Result<Option<(Codec, Connect)>, BadConnect> {
    match inbox.first() {
        None => return Ok(None),
        // [MQTT-3.1.0-1]: anything else first. No need to wait for the rest of it.
        Some(&first) if first != CONNECT => return Err(BadConnect::Silent("not a CONNECT")),
        Some(_) => {}
    }
    let found = frame(inbox, limit).map_err(|violation| BadConnect::Silent(violation.text))?;
    let Some(Frame { header, body }) = found else {
        return Ok(None);
    };
    let body = &mut inbox[header..header + body];
    let codec = |version| Codec::new(version, packet_limit);
    let version = version(body).map_err(|told| {
        if told {
            // [MQTT-3.1.2-2]; in the older form, which clients of any version can read.
            let text = "unsupported protocol version";
            BadConnect::Told(codec(Version::V3), ConnectCode::VERSION, text)
        } else {
            BadConnect::Silent("not MQTT")
        }
    })?;
    let breach = |Violation { code, text }| match version {
        // Version 3.1.1 has no code for it.
        Version::V3 => BadConnect::Silent(text),
        Version::V5 if code == DisconnectReasonCode::ProtocolError => {
            BadConnect::Told(codec(version), ConnectCode::PROTOCOL, text)
        }
        Version::V5 => BadConnect::Told(codec(version), ConnectCode::MALFORMED, text),
    };
    check_layout(body, version).map_err(breach)?;
    let mut codec = codec(version);
    match codec.connect(inbox) {
        Ok(connect) => Ok(Some((codec, connect))),
        Err(Unfit::Breach(violation)) => Err(breach(violation)),
        Err(Unfit::Code(code, text)) => Err(BadConnect::Told(codec, code, text)),
    }
}

/// Why the decoder's CONNECT does not do.
enum Unfit {
    Breach(Violation),
    Code(ConnectCode, &'static str),
}

impl From<&DecodeError> for Unfit {
    fn from(error: &DecodeError) -> Self {
        match error {
            // Empty without a clean session [MQTT-3.1.3-8]; Hono refuses it in version 5 too.
            DecodeError::InvalidClientId => {
                Self::Code(ConnectCode::CLIENT_ID, "client identifier missing")
            }
            _ => Self::Breach(MALFORMED),
        }
    }
}

impl From<Violation> for Unfit {
    fn from(violation: Violation) -> Self {
        Self::Breach(violation)
    }
}

impl Codec {
    fn new(version: Version, limit: usize) -> Self {
        let format = match version {
            Version::V3 => Format::V3(v3::Codec::new(0)),
            Version::V5 => Format::V5(Box::new(V5 {
                codec: v5::Codec::new(0, 0),
                // Unless it says otherwise (MQTT 5 §3.1.2.11).
                max_packet_size: u32::MAX,
                receive_maximum: NonZeroU16::MAX,
                wants_problem_information: true,
                aliases: Aliases::default(),
            })),
        };
        Self { format, limit }
    }

    fn connect(&mut self, inbox: &mut BytesMut) -> Result<Connect, Unfit> {
        match &mut self.format {
            Format::V3(codec) => match codec.decode(inbox) {
                Ok(Some((v3::Packet::Connect(connect), _))) => from_v3(*connect),
                Ok(_) => Err(Unfit::Breach(NOT_CONNECT)),
                Err(error) => Err(Unfit::from(&error)),
            },
            Format::V5(v5) => match v5.codec.decode(inbox) {
                Ok(Some((v5::Packet::Connect(connect), _))) => {
                    if let Some(limit) = connect.max_packet_size {
                        v5.codec.set_max_outbound_size(limit.get());
                        v5.max_packet_size = limit.get();
                    }
                    if let Some(maximum) = connect.receive_max {
                        v5.receive_maximum = maximum;
                    }
                    v5.wants_problem_information = connect.request_problem_info;
                    from_v5(*connect)
                }
                Ok(_) => Err(Unfit::Breach(NOT_CONNECT)),
                Err(error) => Err(Unfit::from(&error)),
            },
        }
    }
}

fn from_v3(connect: v3::Connect) -> Result<Connect, Unfit> {
    check::strings([&connect.client_id])?;
    check::strings(&connect.username)?;
    check::strings(connect.last_will.iter().map(|will| &will.topic))?;
    if connect.username.is_none() && connect.password.is_some() {
        // [MQTT-3.1.2-22]
        let text = "a password without a user name";
        return Err(Unfit::Breach(Violation::malformed(text)));
    }
    Ok(Connect {
        client_id: connect.client_id,
        keep_alive: connect.keep_alive,
        username: connect.username,
        password: connect.password,
    })
}

fn from_v5(connect: v5::Connect) -> Result<Connect, Unfit> {
    check::strings([&connect.client_id])?;
    check::strings(&connect.username)?;
    check::user_properties(&connect.user_properties)?;
    if let Some(will) = &connect.last_will {
        check::strings([&will.topic])?;
        check::strings(will.content_type.iter().chain(&will.response_topic))?;
        check::user_properties(&will.user_properties)?;
    }
    if connect.auth_method.is_none() && connect.auth_data.is_some() {
        // MQTT 5 §3.1.2.11.10.
        let text = "authentication data without a method";
        return Err(Unfit::Breach(Violation::protocol(text)));
    }
    if connect.auth_method.is_some() {
        let text = "enhanced authentication is not supported";
        return Err(Unfit::Code(ConnectCode::AUTHENTICATION_METHOD, text));
    }
    Ok(Connect {
        client_id: connect.client_id,
        keep_alive: connect.keep_alive,
        username: connect.username,
        password: connect.password,
    })
}

/// Tells the version by protocol name and level (MQTT 3.1.1 §3.1.2.1). `Err(true)` is a version
/// that is not supported, `Err(false)` another protocol.
fn version(body: &[u8]) -> Result<Version, bool> {
    let mut rest = Rest::new(body);
    let name = rest.field().ok_or(false)?;
    let level = rest.byte().ok_or(false)?;
    match (name, level) {
        (b"MQTT", 3 | 4) | (b"MQIsdp", 3) => Ok(Version::V3),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT" | b"MQIsdp", _) => Err(true),
        _ => Err(false),
    }
}

/// The decoder overlooks what follows the last field, and in version 5 a will's QoS or RETAIN
/// without a will [MQTT-3.1.2-11, -13]. What properties may not say is found here too.
fn check_layout(body: &mut [u8], version: Version) -> Result<(), Violation> {
    let Layout { flags, properties } = layout(body, version).ok_or(MALFORMED)?;
    if flags & WILL == 0 && flags & WILL_RETAIN_AND_QOS != 0 {
        return Err(Violation::malformed("will flags without a will"));
    }
    let mut properties = properties.into_iter();
    properties.try_for_each(|all| layout::check_properties(&mut body[all]))
}

struct Layout {
    flags: u8,
    /// Where those of version 5 are, the connection's and the will's; empty if there are none.
    properties: [Range<usize>; 2],
}

/// Walks over all fields, if the packet ends where the last of them does.
fn layout(body: &[u8], version: Version) -> Option<Layout> {
    let mut rest = Rest::new(body);
    rest.field()?;
    rest.byte()?;
    let flags = rest.byte()?;
    rest.take(2)?;
    let mut properties = [0..0, 0..0];
    let is_v5 = version == Version::V5;
    if is_v5 {
        properties[0] = rest.properties()?;
    }
    rest.field()?;
    if flags & WILL != 0 {
        if is_v5 {
            properties[1] = rest.properties()?;
        }
        rest.field()?;
        rest.field()?;
    }
    for credential in [USERNAME, PASSWORD] {
        if flags & credential != 0 {
            rest.field()?;
        }
    }
    rest.is_empty().then_some(Layout { flags, properties })
}

impl ConnectCode {
    const VERSION: Self = Self {
        v3: V3Code::UnacceptableProtocolVersion,
        v5: V5Code::UnsupportedProtocolVersion,
    };
    const CLIENT_ID: Self = Self {
        v3: V3Code::IdentifierRejected,
        v5: V5Code::ClientIdentifierNotValid,
    };
    /// Version 3.1.1 is never told.
    const MALFORMED: Self = Self {
        v3: V3Code::ServiceUnavailable,
        v5: V5Code::MalformedPacket,
    };
    /// The same.
    const PROTOCOL: Self = Self {
        v3: V3Code::ServiceUnavailable,
        v5: V5Code::ProtocolError,
    };
    /// There is no such thing in version 3.1.1.
    const AUTHENTICATION_METHOD: Self = Self {
        v3: V3Code::BadUserNameOrPassword,
        v5: V5Code::BadAuthenticationMethod,
    };
}
