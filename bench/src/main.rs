//! `just bench`: what things cost.
//!
//! * `messages.rs`: a message, next to mosquitto in the same run. `devices.rs` is the load, `weir.rs`
//!   and `mosquitto.rs` the servers and their consumers.
//! * `registry.rs`: look-ups, provisioning and imports.
//! * `gateway.rs` starts a gateway, `process.rs` and `measure.rs` read what it uses.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

mod devices;
mod gateway;
mod measure;
mod messages;
mod mosquitto;
mod process;
mod registry;
mod weir;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures the gateway.
#[derive(Debug, Parser)]
struct Options {
    /// The gateway's binary.
    #[arg(long, default_value = "target/release/weir")]
    weir: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a message costs, next to mosquitto.
    Messages(messages::Options),
    /// What the registry costs: look-ups, provisioning, imports.
    Registry(registry::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Options { weir, what } = Options::parse();
    match what {
        What::Messages(options) => messages::run_all(&weir, &options).await,
        What::Registry(options) => registry::run_all(&weir, &options).await,
    }
}
