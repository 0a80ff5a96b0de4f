//! The northbound of a gateway that has no messaging network beside it: an AMQP 1.0 endpoint that
//! applications connect to.
//!
//! Applications log in with SASL PLAIN or EXTERNAL, attach receivers to `telemetry/{tenant}`,
//! `event/{tenant}` and `command_response/{tenant}/{reply-id}` and settle what they get; and senders to
//! `command/{tenant}`, whose outcomes say what became of a command.
//!
//! * [`Embedded`] implements core's `Northbound`: an outlet per tenant and endpoint (`embedded.rs`).
//! * [`Endpoint`] listens and runs one task per application, which owns the connection's links
//!   (`application.rs`, `links.rs`). There is a folder for each kind of them: `uplink` passes telemetry
//!   and responses on at once, `events` stores and delivers, `command` takes commands to core,
//!   `notification` tells of changes in the registry.
//! * Who may do what is in `login.rs` and `permissions`. `message.rs` writes messages, straight into the
//!   connection's buffer or into the store.
//! * `meters.rs` measures messages on their way, `figures.rs` tells of consumers at each scrape.
//!
//! Telemetry waits in its link's bounded queue until there is credit, at most for the outcome time-out.
//! A consumer that dies ends all its open deliveries at once; one that never settles is given up on, its
//! delivery settled as released. Events have no time-out: they are the consumer's until it settles them
//! or is gone.

#![forbid(unsafe_code)]

mod address;
mod application;
mod command;
mod config;
mod embedded;
mod endpoint;
mod events;
mod figures;
mod links;
mod login;
mod message;
mod meters;
mod notification;
mod permissions;
mod slots;
mod token;
mod uplink;

pub use config::AmqpConfig;
pub use embedded::Embedded;
pub use endpoint::{Endpoint, EndpointError};
pub use events::EventsConfig;
pub use permissions::{Mistake, Permissions, PermissionsError};
