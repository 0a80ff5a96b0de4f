//! Commands: what an application sends to a device, and who takes it there.
//!
//! * [`Command`] is one, valid; [`ReplyTo`] says where the device's response goes and is what the
//!   *request id* that the device sees is made of (`request_id.rs`).
//! * [`Commands`] finds out who takes a command to its device and hands it over (`dispatch.rs`,
//!   northbound contract §5.2).
//! * [`CommandRouter`] keeps who takes whose commands. [`LocalRouter`] does so for one process; gateways
//!   that share a store put their own in its place (`router.rs`, `local.rs`).
//! * [`CommandDelivery`] is a command in the hands of an adapter, who owes an outcome (`delivery.rs`).
//! * [`Subscription`] is how a session takes commands, for as long as a connection or a wait lasts
//!   (`subscription.rs`).

mod delivery;
mod dispatch;
mod local;
mod request_id;
mod router;
mod subscription;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{DeviceId, TenantId, TraceContext};

pub use delivery::{CommandDelivery, CommandOutcome};
pub use dispatch::{Commands, Resolved};
pub use local::LocalRouter;
pub use request_id::{InvalidRequestId, RequestId};
pub use router::{
    CommandConsumer, CommandRouter, Consumers, Registration, Replaced, RouterUnavailable,
};
pub(crate) use subscription::Arrival;
pub use subscription::{CommandTarget, Subscription};

/// How long an application waits at most to hear what became of a command (northbound contract §5.3).
const PATIENCE: Duration = Duration::from_secs(8);
/// How much of that may be spent until the command is handed over: a device must not be given what its
/// application has been told is not delivered.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);

/// Longest correlation id, bytes: two hexadecimal digits in the request id (device contract §1.16).
pub const MAX_CORRELATION_ID: usize = 255;

/// Longest reply id, bytes: what a device is to answer with has to fit into a topic or a path.
pub const MAX_REPLY_ID: usize = 512;

/// Longest name of a command, bytes: it has to fit into a topic or a header.
pub const MAX_NAME: usize = 1024;

/// A command that an application has sent, checked as far as that needs no look-up.
#[derive(Clone, Debug)]
pub struct Command {
    /// Whose device it is for.
    pub tenant: TenantId,
    /// The device it is for.
    pub device: DeviceId,
    /// What the device is to do (the AMQP subject); at most [`MAX_NAME`] bytes.
    pub name: ByteString,
    /// Where the response goes; a one-way command has none.
    pub reply_to: Option<ReplyTo>,
    /// What the payload is.
    pub content_type: Option<ByteString>,
    /// The command's data.
    pub payload: Bytes,
    /// The trace the command belongs to, if its application said so; once it is on its way, there is one.
    pub trace: Option<TraceContext>,
}

impl Command {
    /// The trace that its device is told of: one that is recorded. No other is worth a byte to it.
    pub fn recorded_trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref().filter(|trace| trace.is_sampled())
    }
}

/// Where a device's response goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// How the application sent the command.
    pub messaging: Messaging,
    /// What the application knows its command by; at most [`MAX_CORRELATION_ID`] bytes.
    pub correlation_id: ByteString,
    /// What follows the tenant in the address that the application listens at. Not empty, and at most
    /// [`MAX_REPLY_ID`] bytes.
    pub reply_id: ByteString,
}

/// How applications are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messaging {
    /// AMQP 1.0.
    Amqp,
    /// Kafka.
    Kafka,
    /// Pub/Sub.
    PubSub,
}

/// A device's response to a command, beside what every message has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Where it goes.
    pub reply_to: ReplyTo,
    /// What became of the command: 200 to 299 or 400 to 599.
    pub status: u16,
}

/// Whether a device may answer with `status` (device contract §1.16).
pub fn is_valid_status(status: u16) -> bool {
    matches!(status, 200..=299 | 400..=599)
}
