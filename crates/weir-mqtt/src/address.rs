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
        let (path, bag) = match cut(topic) {
            (path, None) => (path, PropertyBag::default()),
            (path, Some(query)) => (path, PropertyBag::parse(topic, query)?),
        };
        let mut segments = path.split('/');
        let endpoint = match segments.next() {
            None | Some("") => Err(NoEndpoint::Missing),
            Some("telemetry" | "t") => Ok(Endpoint::Telemetry),
            Some("event" | "e") => Ok(Endpoint::Event),
            Some("command" | "c") => Ok(Endpoint::CommandResponse),
            Some(_) => Err(NoEndpoint::Unknown),
        };
        let mut segment = || {
            let text = segments.next().filter(|text| !text.is_empty());
            text.map(|text| topic.slice_ref(text))
        };
        let target = Target {
            tenant: segment(),
            device: segment(),
        };
        Ok(Self {
            endpoint,
            target,
            bag,
        })
    }
}

/// Cuts the query of a property bag off.
fn cut(topic: &str) -> (&str, Option<&str>) {
    match topic.rfind("/?") {
        None => (topic, None),
        Some(at) => (&topic[..at], Some(&topic[at + "/?".len()..])),
    }
}

/// Reads which command a response answers, and how. The error is what the device is told.
pub(crate) fn response(topic: &str) -> Result<ResponseHead, &'static str> {
    let (path, _) = cut(topic);
    let mut segments = path.trim_end_matches('/').split('/').skip(4);
    let (Some(request_id), Some(status)) = (segments.next(), segments.next()) else {
        return Err("command response topic has too few segments");
    };
    // Any number is a number: whether it is a status is another question.
    let status: i32 = status.parse().map_err(|_| "invalid status code")?;
    let status = u16::try_from(status).ok().filter(|&s| is_valid_status(s));
    match (RequestId::parse(request_id), status) {
        (Ok(request_id), Some(status)) => Ok(ResponseHead { request_id, status }),
        _ => Err("command response topic contains invalid data"),
    }
}

#[cfg(test)]
mod tests;
