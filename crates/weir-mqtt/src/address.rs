//! The grammar of topics (device contract §1.2, §3.4).
//!
//! ```text
//! topic    = address [ "/?" bag ]
//! address  = endpoint [ "/" tenant [ "/" device *( "/" more ) ] ]
//! endpoint = "telemetry" | "t" | "event" | "e"
//! ```
//!
//! Empty segments name nothing, so `event//4711` is device 4711 of the sender's tenant.

use bytestring::ByteString;
use weir_core::{Endpoint, Target};

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
        let (path, bag) = match topic.rfind("/?") {
            None => (&**topic, PropertyBag::default()),
            Some(at) => (
                &topic[..at],
                PropertyBag::parse(topic, &topic[at + "/?".len()..])?,
            ),
        };
        let mut segments = path.split('/');
        let endpoint = match segments.next() {
            None | Some("") => Err(NoEndpoint::Missing),
            Some("telemetry" | "t") => Ok(Endpoint::Telemetry),
            Some("event" | "e") => Ok(Endpoint::Event),
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

#[cfg(test)]
mod tests;
