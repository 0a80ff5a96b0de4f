//! The northbound of a gateway that has no messaging network beside it: an AMQP 1.0 endpoint that
//! applications connect to.
//!
//! Applications log in with SASL PLAIN, attach receivers to `telemetry/{tenant}` and
//! `event/{tenant}` and settle what they get; what they say reaches the device.
//!
//! * [`Embedded`] implements core's `Northbound`: an outlet per tenant and endpoint, each a `Node`,
//!   which hands every message to one of its competing consumers.
//! * [`Endpoint`] listens and runs one task per application, which owns the connection's links
//!   (`application.rs`, `link.rs`). A message waits in its link's bounded queue until there is
//!   credit, at most for the outcome time-out, and is encoded once, straight into the connection's
//!   buffer (`message.rs`).
//!
//! A consumer that dies ends all its open deliveries at once; one that never settles is given up on,
//! its delivery settled as released.

#![forbid(unsafe_code)]

mod address;
mod application;
mod config;
mod consumer;
mod endpoint;
mod link;
mod message;
mod node;
mod notification;
mod subscription;

pub use config::AmqpConfig;
pub use endpoint::Endpoint;
pub use node::Embedded;
