//! The grammar of topics that are published to (device contract §1.2, §3.4).
//!
//! ```text
//! topic    = address [ "/?" bag ]
//! address  = endpoint [ "/" tenant [ "/" device *( "/" more ) ] ] | response
//! endpoint = "telemetry" | "t" | "event" | "e"
//! response = ( "command" | "c" ) "/" tenant "/" device "/" any "/" request-id "/" status *( "/" more )
//! ```
//!
//! Empty segments name nothing, so `event//4711` is device 4711 of the sender's tenant. `any` is `res`
//! or `s` in what devices send; Hono does not look at it either.

use bytestring::ByteString;
use weir_core::command::{RequestId, is_valid_status};
use weir_core::{Endpoint, ResponseHead, Target};

use crate::bag::PropertyBag;

/// A property bag that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Why a topic names no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoEndpoint {
    /// The topic breaks the grammar: nothing is where the endpoint should be.
    Missing,
    /// There is no endpoint of that name.
    Unknown,
}

/// A topic taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) endpoint: Result<Endpoint, NoEndpoint>,
    pub(crate) target: Target,
    pub(crate) bag: PropertyBag,
}

impl Address {
    /// Reads a topic. What it names stays a part of it: nothing is copied.
    ///
    /// Where only the address is wrong, the bag still says what the device wants to happen.
    pub(crate) fn parse(topic: &ByteString) -> Result<Self, Malformed> {
        let bag = match cut(topic) {
            (_, None) => PropertyBag::default(),
            (_, Some(query)) => PropertyBag::parse(topic, query)?,
        };
        let Path { endpoint, target } = path(topic);
        let endpoint = match endpoint {
            "" => Err(NoEndpoint::Missing),
            "telemetry" | "t" => Ok(Endpoint::Telemetry),
            "event" | "e" => Ok(Endpoint::Event),
            "command" | "c" => Ok(Endpoint::CommandResponse),
            _ => Err(NoEndpoint::Unknown),
        };
        Ok(Self {
            endpoint,
            target,
            bag,
        })
    }
}

/// The part of a topic before the property bag, whatever it means.
pub(crate) struct Path<'a> {
    /// As it is spelt; empty if there is none.
    pub(crate) endpoint: &'a str,
    pub(crate) target: Target,
}

/// Reads as much of a topic as needs no property bag.
pub(crate) fn path(topic: &ByteString) -> Path<'_> {
    let (path, _) = cut(topic);
    let mut segments = path.split('/');
    let endpoint = segments.next().unwrap_or_default();
    let mut segment = || {
        let text = segments.next().filter(|text| !text.is_empty());
        text.map(|text| topic.slice_ref(text))
    };
    let target = Target {
        tenant: segment(),
        device: segment(),
    };
    Path { endpoint, target }
}

/// The id that a message is to have in what is told of it, if its property bag can be read and has
/// one.
pub(crate) fn correlation_id(topic: &ByteString) -> Option<ByteString> {
    let (_, query) = cut(topic);
    let bag = PropertyBag::parse(topic, query?).ok()?;
    bag.correlation_id
}

/// A topic for as long as its message has no outcome: no part of what was read from the connection, which
/// can then be given back before. Those that most messages have cost nothing.
pub(crate) fn kept(topic: &ByteString) -> ByteString {
    match &**topic {
        "telemetry" => ByteString::from_static("telemetry"),
        "t" => ByteString::from_static("t"),
        "event" => ByteString::from_static("event"),
        "e" => ByteString::from_static("e"),
        other => ByteString::from(other),
    }
}

/// Cuts the query of a property bag off.
fn cut(topic: &str) -> (&str, Option<&str>) {
    match topic.rfind("/?") {
        None => (topic, None),
        Some(at) => (&topic[..at], Some(&topic[at + "/?".len()..])),
    }
}

/// Reads which command a response answers, and how. A status that is `said` beside the topic takes the
/// place of the one in it. The error is what the device is told.
pub(crate) fn response(topic: &str, said: Option<&str>) -> Result<ResponseHead, &'static str> {
    let (path, _) = cut(topic);
    let mut segments = path.trim_end_matches('/').split('/').skip(4);
    let (Some(request_id), Some(status)) = (segments.next(), segments.next()) else {
        return Err("command response topic has too few segments");
    };
    // Any number is a number: whether it is a status is another question.
    let status = said.unwrap_or(status);
    let status: i32 = status.parse().map_err(|_| "invalid status code")?;
    let status = u16::try_from(status).ok().filter(|&s| is_valid_status(s));
    match (RequestId::parse(request_id), status) {
        (Ok(request_id), Some(status)) => Ok(ResponseHead { request_id, status }),
        _ => Err("command response topic contains invalid data"),
    }
}

#[cfg(test)]
mod tests;
