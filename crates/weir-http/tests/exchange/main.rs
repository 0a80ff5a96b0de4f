//! Exchanges over real sockets, against a registry and a northbound that do as they are told.

#![allow(
    clippy::unwrap_used,
    reason = "what is wrong in a test's own helpers may end the test"
)]

mod anonymous;
mod authentication;
mod commands;
mod conformance;
mod connections;
mod hostile;
mod http2;
mod kit;
mod metrics;
mod order;
mod responses;
mod tokens;
mod uploads;
mod websocket;
