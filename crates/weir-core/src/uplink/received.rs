//! The first state: parsed, not believed.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;
use weir_metrics::{MessageType, Qos};

use super::record::Record;
use super::{Authenticated, Outcome};
use crate::command::RequestId;
use crate::northbound::keep_allowed;
use crate::{DeviceId, Reason, Rule, Session, TraceContext};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Data of which the next will come soon.
    Telemetry,
    /// Something that must not be missed.
    Event,
    /// The answer to a command.
    CommandResponse,
}

impl Endpoint {
    /// What devices upload by themselves, in the order of their numbers.
    pub const UPLOADS: [Self; 2] = [Self::Telemetry, Self::Event];

    /// The endpoint's name in addresses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CommandResponse => "command_response",
            Self::Event => "event",
            Self::Telemetry => "telemetry",
        }
    }

    /// How an upload is counted; responses are counted with commands.
    pub(crate) const fn message_type(self) -> Option<MessageType> {
        match self {
            Self::CommandResponse => None,
            Self::Event => Some(MessageType::Event),
            Self::Telemetry => Some(MessageType::Telemetry),
        }
    }
}

/// The device an address names, as far as it does. Empty segments name nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The tenant.
    pub tenant: Option<ByteString>,
    /// The device.
    pub device: Option<ByteString>,
}

/// Which command a response answers, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The id that came with the command.
    pub request_id: RequestId,
    /// What became of the command; see [`crate::command::is_valid_status`].
    pub status: u16,
}

/// What a peer sent: parsed, but not believed.
#[derive(Debug)]
#[must_use = "a message that was received has to end in an outcome"]
pub struct Received {
    /// What it is.
    pub endpoint: Endpoint,
    /// Of a response: the command it answers. Nothing for other endpoints.
    pub response: Option<ResponseHead>,
    /// The guarantee the device asks for.
    pub qos: Qos,
    /// The device the address names.
    pub target: Target,
    /// As the device gave it, parameters cut off; an empty one is none.
    pub content_type: Option<ByteString>,
    /// The data.
    pub payload: Bytes,
    /// Seconds for which an event is of use, if the device said so.
    pub ttl: Option<u64>,
    /// Seconds the device waits for a command, if it said so; 0 or less means it does not.
    pub ttd: Option<i32>,
    /// The address the device used, in its own protocol's form.
    pub origin_address: ByteString,
    /// Whether the device asked for the message to be retained (MQTT).
    pub retain: bool,
    /// What the device says of the message besides (MQTT 5's user properties). They become application
    /// properties, unless the gateway itself says something by that name.
    pub properties: Vec<(ByteString, ByteString)>,
    /// The trace the device continues, if it said so.
    pub trace: Option<TraceContext>,
    /// When the message was received.
    pub arrived: Instant,
}

/// What a device may say of one message, in properties of its own.
const MAX_PROPERTIES: usize = 64;

impl Received {
    /// Joins the message with who sent it: names the device it is for.
    ///
    /// # Errors
    /// The outcome, if the sender's credentials have expired or the address names a device that it
    /// cannot speak for.
    pub fn authenticate(mut self, session: &Arc<Session>) -> Result<Authenticated, Outcome> {
        if session.has_expired() {
            return Err(session.refuse(Reason::CredentialExpired));
        }
        if !self.properties.is_empty() {
            if self.properties.len() > MAX_PROPERTIES {
                let text = "message has too many properties";
                return Err(session.refuse(Reason::BadRequest(Rule::Encoding, text.into())));
            }
            keep_allowed(&mut self.properties);
        }
        let principal = session.principal();
        let own_tenant = principal.tenant.as_str();
        let device = match (&self.target.tenant, &self.target.device) {
            (None, None) => principal.device.clone(),
            (Some(_), None) => {
                let text = "message address must not contain tenant ID only";
                return Err(session.refuse(Reason::BadRequest(Rule::Address, text.into())));
            }
            (Some(tenant), Some(_)) if **tenant != *own_tenant => {
                return Err(session.refuse(Reason::ForeignTenant));
            }
            (_, Some(device)) if **device == *principal.device.as_str() => principal.device.clone(),
            (_, Some(device)) => DeviceId::from(&**device),
        };
        let record = Record::new(session.clone(), device, &self);
        Ok(Authenticated {
            received: self,
            record,
        })
    }
}
