//! End-to-end stories: the real binary on free ports, public clients on both sides.
//!
//! * [`kit`] starts the gateway, hands out tenants and devices, and has the applications that accept,
//!   reject, release, stall or die on demand.
//! * [`path`]: a message goes from a device to an application, with everything in it.
//! * [`settlement`]: what an application says of a message, and what the device hears of it.
//! * [`matrix`]: the failure matrix of the device contract, a row a case.
//! * [`faults`]: consumers that die, processes that are killed or stopped.
//! * [`hostile`]: what no well-behaved client sends.
//! * [`operation`]: commands, configuration, accounts, logs.
//!
//! No story sleeps to wait for a state: each waits for the state itself, with one generous deadline
//! for the whole story ([`kit::story`]).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::print_stdout,
    reason = "the gateway's log belongs to a failed story"
)]

mod faults;
mod hostile;
mod kit;
mod matrix;
mod operation;
mod path;
mod settlement;
