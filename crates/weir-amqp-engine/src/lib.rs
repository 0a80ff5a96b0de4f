//! AMQP 1.0 as a state machine: both roles, no sockets, no clock, no runtime.
//!
//! Octets, time and commands go in; octets, events and the next deadline come out. A *shell* owns the socket and the
//! clock; the engine owns the protocol.
//!
//! # The types that matter
//!
//! - [`Connection`]: one connection with its sessions and links, generic over the owner's token of an outgoing
//!   delivery. A token goes in with [`Connection::send`] and comes back exactly once, in [`Event::Settled`].
//! - [`Event`]: what the owner is told. SASL, open and attach are questions that are answered later by a command, so
//!   that a registry can be asked without blocking anything.
//! - [`Config`]: every limit. What a peer can make us hold is bounded by these numbers.
//! - [`MessageWriter`] puts message sections straight into the output; [`Message`] decodes what arrives.
//!
//! # Polling order
//!
//! ```text
//! loop {
//!     commands (accept_link, send, settle, ..)
//!     handle_input(now, &mut input)      as long as it takes something from `input`
//!     poll_event()                       until None; may lead to commands and to more handle_input
//!     write output()                     taking off what was written; never waiting for it alone, and not for
//!                                        longer than idle_timeout(): then handle_eof(now)
//!     wait for: the socket readable (if wants_input) or writable (if output), a command, poll_timeout()
//!     handle_timeout(now)                when that is due; handle_eof(now) when the transport ends
//! }                                      until is_closed(): write what is left, drop the socket
//! ```
//!
//! # What it refuses to do
//!
//! - Read a clock, open a socket, spawn a task, log.
//! - Believe a peer: sizes, counts and nesting are checked before anything is allocated or recursed into, rules are
//!   enforced with the specification's error conditions, and nothing a peer sends panics.
//! - Wait for ever: handshake, close, silence and (if asked to) outcomes have deadlines. What else a peer owes
//!   an answer (begin, attach, detach, end) is the owner's to wait for; silence ends it in any case.
//! - Transactions, link recovery, message priorities. Peers that ask are answered politely.
//!
//! # Where things are
//!
//! `connection` is the state machine, one file per topic; `codec` the octets: three hot frames by hand, all others
//! through `serde_amqp`; `ring` and `serial` the arithmetic that wraps; `message` the message format. References like
//! `[2.6.7]` are to the sections of the AMQP 1.0 specification (OASIS, 29 October 2012).
//!
//! `tests::pair` tells random stories of a client and a server, `tests::fuzz` breaks what arrives, `tests::wire` plays
//! peers that do not follow our habits; the other tests have a topic each.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod codec;
mod config;
mod connection;
mod error;
mod event;
mod message;
mod ring;
mod serial;
mod slab;
#[cfg(test)]
mod tests;

pub use config::{ClientSasl, Config};
pub use connection::Connection;
pub use error::{Error, condition};
pub use event::{
    AcceptLink, AttachRequest, CloseReason, DeliveryId, Event, LinkId, Outcome, PeerAttach,
    PeerOpen, ReceiverSettleMode, Role, SaslCode, SendOptions, SenderSettleMode, SessionId,
    Terminus,
};
pub use message::{
    Body, DecodeError, Header, Map, MapWriter, Message, MessageProperties, MessageWriter,
    OutgoingHeader, Properties,
};
pub use serde_amqp::Value;
