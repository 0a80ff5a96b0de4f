//! `weir demo`: the whole path with one command.
//!
//! Everything is real: the gateway of `weir serve`, its management API, sockets to its adapters, and
//! an application that receives over AMQP 1.0.
//!
//! * `provision.rs` creates the tenant and its devices, as an operator would.
//! * `devices.rs` sends, as devices would.
//! * `application.rs` receives and prints, as a back end would.

mod application;
mod devices;
mod provision;
mod text;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::{Addresses, App};
use crate::config::Config;
use crate::secrets;
use crate::{cli, limits, logging};

/// The demonstration's tenant.
const TENANT: &str = "demo";
/// Seconds the messages may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Options of `weir demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the demonstration; the exit status is 0 only if every message arrived.
    #[arg(long)]
    exit_after: bool,
}

/// Runs the demonstration.
///
/// # Errors
/// If the gateway cannot be started, or a part of the path does not work.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("weir-demo-").tempdir()?;
    let mut config = Config::load(None, std::env::vars())?;
    config.data_dir = folder.path().to_owned();
    config.without_tls();
    config.northbound.amqp.permissions = None;
    if config.log.filter == "info" {
        // The demonstration's own words are what is to be read; refusals are still logged.
        "warn,weir_core=info".clone_into(&mut config.log.filter);
    }
    let _log = logging::start(&config.log)?;
    limits::raise_file_limit();
    cli::runtime(config.workers)?.block_on(async {
        let stop = CancellationToken::new();
        cli::stop_on_signal(stop.clone())?;
        let app = App::build(&config).await?;
        let addresses = app.addresses();
        let gateway = tokio::spawn(app.run(stop.clone()));
        let shown = tokio::select! {
            shown = show(&config, addresses, args.exit_after) => shown,
            () = stop.cancelled() => Ok(()),
        };
        stop.cancel();
        gateway.await.context("the gateway failed")??;
        shown.map(|()| ExitCode::SUCCESS)
    })
}

async fn show(config: &Config, addresses: Addresses, exit_after: bool) -> anyhow::Result<()> {
    let secrets = secrets::read(&config.data_dir)?;
    let mut out = io::stdout();
    writeln!(
        out,
        "Weir is running. Creating tenant \"{TENANT}\" and its devices …"
    )?;
    let devices = provision::create(addresses, &secrets.operator).await?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let _application = application::start(addresses, &secrets.application, &arrived).await?;
    writeln!(
        out,
        "An application consumes telemetry/{TENANT} and event/{TENANT} over AMQP 1.0.\n"
    )?;

    let mut missing: BTreeSet<String> = devices::send(addresses, &devices).await?;
    let total = missing.len();
    let all = async {
        while let Some(payload) = arrivals.recv().await {
            missing.remove(&payload);
            if missing.is_empty() {
                break;
            }
        }
    };
    // Those that are missing are told below.
    let _ = tokio::time::timeout(ARRIVAL, all).await;
    if !missing.is_empty() {
        bail!(
            "{} of {total} messages did not arrive: {missing:?}",
            missing.len()
        );
    }
    writeln!(out, "\nAll {total} messages arrived.")?;
    if exit_after {
        return Ok(());
    }
    text::what_next(&mut out, addresses, &devices, &secrets)?;
    std::future::pending().await
}
