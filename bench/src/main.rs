//! `just bench`: what things cost.
//!
//! * `messages.rs`: a message, next to mosquitto in the same run. `devices.rs` is the load, `weir.rs`
//!   and `mosquitto.rs` the servers and their consumers.
//! * `registry.rs`: look-ups, provisioning and imports.
//! * `idle.rs`: the memory of idle connections. `storm.rs`: all devices come back at once.
//! * `fairness.rs`: what one tenant feels of another. `hostile.rs`: what devices feel of the attackers
//!   of `attacks.rs`. `probe.rs` has the devices whose latency is taken.
//! * `http.rs`: an upload over HTTP.
//! * `overhead.rs`: what metrics cost of a message.
//! * `metrics.rs`: recording, scrapes with many tenants, tenants that come and go.
//! * `gateway.rs` starts a gateway, `fleet.rs` provisions it, `tls.rs` gives it a certificate,
//!   `consumer.rs` takes what it carries; `process.rs` and `measure.rs` read what it uses. `side.rs`
//!   keeps what measures and what makes the load apart.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

mod attacks;
mod consumer;
mod devices;
mod fairness;
mod fleet;
mod gateway;
mod hostile;
mod http;
mod idle;
mod measure;
mod messages;
mod metrics;
mod mosquitto;
mod overhead;
mod probe;
mod process;
mod registry;
mod side;
mod storm;
mod tls;
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
    /// The memory of idle connections.
    Idle(idle::Options),
    /// All devices come back at once.
    Storm(storm::Options),
    /// What one tenant feels of another.
    Fairness(fairness::Options),
    /// What well-behaved devices feel of attackers.
    Hostile(hostile::Options),
    /// What an upload over HTTP costs.
    Http(http::Options),
    /// What metrics cost of a message, next to a gateway without.
    Overhead(overhead::Options),
    /// What parts of the metrics cost.
    Metrics(metrics::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Options { weir, what } = Options::parse();
    match what {
        What::Metrics(options) => metrics::run_all(&options),
        What::Messages(options) => messages::run_all(&weir, &options).await,
        What::Overhead(options) => overhead::run_all(&weir, &options).await,
        What::Registry(options) => registry::run_all(&weir, &options).await,
        What::Idle(options) => idle::run_all(&weir, &options).await,
        What::Storm(options) => storm::run_all(&weir, &options).await,
        What::Fairness(options) => fairness::run_all(&weir, &options).await,
        What::Hostile(options) => hostile::run_all(&weir, &options).await,
        What::Http(options) => http::run_all(&weir, &options).await,
    }
}
