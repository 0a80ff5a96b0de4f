//! `weir demo`: the whole path with one command.
//!
//! Everything is real: the gateway of `weir serve`, its management API, sockets to its adapters, and
//! an application that receives and sends commands over AMQP 1.0.
//!
//! * `provision.rs` creates the tenant and its devices, as an operator would.
//! * `devices.rs` sends and answers commands, as devices would.
//! * `application.rs` receives and prints, and sends a command to a device that says that it takes them,
//!   as a back end would.
//! * `text.rs` has the command lines to be copied.

mod application;
mod devices;
mod provision;
mod text;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::app::{Addresses, App};
use crate::config::Config;
use crate::secrets;
use crate::{cli, limits, logging};
use application::Application;

/// The demonstration's tenant.
const TENANT: &str = "demo";
/// For everything that one device does, its command included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `weir demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the demonstration; the exit status is 0 only if every message arrived and
    /// every command was answered.
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
        "warn,weir_core=info,weir_core::connection_events=warn".clone_into(&mut config.log.filter);
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
    let mut application = Application::start(addresses, &secrets.application).await?;
    writeln!(
        out,
        "An application consumes telemetry/{TENANT} and event/{TENANT} over AMQP 1.0, and commands devices.\n"
    )?;

    let (mut sent, mut commands) = (BTreeSet::new(), 0);
    if let Some(address) = addresses.http {
        let device = &devices.http;
        let answer = application.command(device.id);
        sent.extend(together(devices::http(address, device), answer).await?);
        commands += 1;
    }
    if let Some(address) = addresses.mqtt {
        let device = &devices.mqtt;
        let answer = application.command(device.id);
        sent.extend(together(devices::mqtt(address, device), answer).await?);
        commands += 1;
    }
    application.arrived(&sent).await?;
    writeln!(
        out,
        "\nAll {} messages arrived, and {commands} commands were answered.",
        sent.len()
    )?;
    if exit_after {
        return Ok(());
    }
    text::what_next(&mut out, addresses, &devices, &secrets)?;
    std::future::pending().await
}

/// What a device does, and what the application does about it meanwhile.
async fn together(
    device: impl Future<Output = anyhow::Result<BTreeSet<String>>>,
    application: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<BTreeSet<String>> {
    let both = async { tokio::try_join!(device, application) };
    let done = tokio::time::timeout(PATIENCE, both).await;
    let (sent, ()) = done.context("device and application did not come to an end")??;
    Ok(sent)
}
