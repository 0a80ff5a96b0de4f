//! What is passed on at once: telemetry and responses to commands.
//!
//! A [`Node`] is an address; it hands every message to one of its [`Consumer`]s, which is the way into
//! the task that owns the consumer's [`Link`]. There it waits for credit, at most for the outcome
//! time-out.

mod consumer;
mod link;
mod node;

pub(crate) use consumer::{Consumer, Order, Outgoing, Queue, Refused};
pub(crate) use link::{Link, UplinkToken};
pub(crate) use node::Node;
