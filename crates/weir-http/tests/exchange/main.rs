//! Exchanges over real sockets, against a registry and a northbound that do as they are told.

#![allow(
    clippy::unwrap_used,
    reason = "what is wrong in a test's own helpers may end the test"
)]

mod authentication;
mod commands;
mod connections;
mod hostile;
mod kit;
mod metrics;
mod order;
mod responses;
mod tokens;
mod uploads;
