//! The commands and their help.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use weir_northbound_amqp::Permissions;
use weir_traces::Traces;

use crate::app::App;
use crate::application::command::CommandArgs;
use crate::application::consume::ConsumeArgs;
use crate::application::{command, consume};
use crate::config::Config;
use crate::operator::credentials::CredentialsArgs;
use crate::operator::device::DeviceArgs;
use crate::operator::fleet::apply::ApplyArgs;
use crate::operator::fleet::export::ExportArgs;
use crate::operator::log::LogArgs;
use crate::operator::tenant::TenantArgs;
use crate::operator::{self, credentials, device, fleet, log, tenant};
use crate::secrets::{self, Login};
use crate::{certificates, demo, limits, logging};

pub use crate::person::words;

/// A multi-protocol IoT gateway: devices speak HTTP or MQTT to it, back-end applications read one
/// stream over AMQP 1.0, and everything that passes is authenticated, acknowledged honestly and
/// counted.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Try it:
  weir demo                       see messages go all the way, with commands to copy
  weir serve                      run the gateway on this machine, data in ./weir-data
  weir secret operator            the user and password for the management API
  weir check --config weir.toml   find mistakes before a restart does

Keep devices, while the gateway runs:
  weir tenant create acme
  weir device create acme sensor-1
  weir credentials create acme sensor-1 --password-stdin < password
  weir apply -f fleet.yaml        the same for many, as often as you like
  weir export > fleet.yaml

Look closer for a while:
  weir log info,weir_mqtt=debug --for 10m

Be a back-end application:
  weir consume --tenant acme      see what its devices send
  weir command acme sensor-1 restart --wait   have a device do something, and see its answer";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    ///
    /// Without configuration it listens on loopback only, keeps its registry in ./weir-data and
    /// writes an application's and an operator's password to ./weir-data/credentials at its first
    /// start. SIGTERM or SIGINT stops it: it accepts nothing new, answers what is in flight and exits
    /// with status 0. A second signal ends it at once.
    Serve(ConfigArgs),
    /// Show the whole path with one command: devices, gateway, application.
    ///
    /// Starts a gateway on the default ports with a temporary data folder, creates a tenant with one
    /// device per protocol, sends real messages through every adapter and prints each one as an
    /// application receives it over AMQP 1.0. The application sends each device a command and prints
    /// its answer. Then follow command lines to try next. It goes on until it is stopped and leaves
    /// nothing behind.
    Demo(demo::DemoArgs),
    /// Validate a configuration, with its permission file, and name the place of a mistake.
    Check(ConfigArgs),
    /// Print the user and password that the first start made, as user:password.
    ///
    /// For example: curl -u "$(weir secret operator)" http://127.0.0.1:28080/v1/tenants/acme
    Secret(SecretArgs),
    /// Create, show, change and delete tenants.
    Tenant(TenantArgs),
    /// Create, show, change and delete devices.
    Device(DeviceArgs),
    /// Create, show, change and delete what devices log in with.
    Credentials(CredentialsArgs),
    /// Make tenants, devices and credentials be as a file says.
    ///
    /// It can be applied again and again: only what differs is written, and what changed is printed.
    /// The exit status is not 0 if anything could not be applied; the rest is then applied nevertheless.
    Apply(ApplyArgs),
    /// Write tenants, devices and credentials to a file that can be applied.
    Export(ExportArgs),
    /// Show what the gateway logs, or change it while it runs.
    Log(LogArgs),
    /// Show what a tenant's devices send, as a back-end application receives it.
    ///
    /// Connects over AMQP 1.0 and prints telemetry and events, a line each. A message is accepted once
    /// its line is written, not before: that is when a device that asked to be told hears that its
    /// message has arrived, and when an event is removed. Ctrl-C ends it with exit status 0.
    Consume(ConsumeArgs),
    /// Send a command to a device, and wait for its answer if wanted.
    ///
    /// Prints whether the device has got it; if not, why not. The exit status says the same.
    #[command(name = "command")]
    Instruct(CommandArgs),
    /// Print what makes a shell complete these commands.
    ///
    /// For example: weir completion bash > /etc/bash_completion.d/weir
    Completion {
        /// Which shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file, TOML; every key can also be set as WEIR__SECTION__KEY.
    #[arg(short, long, env = "WEIR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct SecretArgs {
    /// Whose.
    account: Account,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Account {
    /// Back-end applications, over AMQP 1.0.
    Application,
    /// Operators, over the management API.
    Operator,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, in words for whoever typed the command.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check(&args),
        Command::Secret(args) => secret(&args),
        Command::Tenant(args) => operator::run(tenant::run(args)),
        Command::Device(args) => operator::run(device::run(args)),
        Command::Credentials(args) => operator::run(credentials::run(args)),
        Command::Apply(args) => operator::run(fleet::apply::run(args)),
        Command::Export(args) => operator::run(fleet::export::run(args)),
        Command::Log(args) => operator::run(log::run(args)),
        Command::Consume(args) => operator::run(consume::run(args)),
        Command::Instruct(args) => operator::run(command::run(args)),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "weir", &mut script);
            std::io::stdout().write_all(&script)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl ConfigArgs {
    fn load(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.config.as_deref(), std::env::vars())?)
    }
}

fn serve(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = args.load()?;
    let _log = logging::start(&config.log)?;
    limits::raise_file_limit();
    let runtime = runtime(config.workers)?;
    let served = runtime.block_on(async {
        let app = App::build(&config).await?;
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone())?;
        app.run(stop).await?;
        Ok(ExitCode::SUCCESS)
    });
    // A file system that does not answer is waited for by threads that nobody can end.
    runtime.shutdown_timeout(LAST_THREADS);
    served
}

fn check(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = args.load()?;
    if let Some(path) = &config.northbound.amqp.permissions {
        Permissions::check(path).context("northbound.amqp.permissions")?;
    }
    certificates::check(&config)?;
    Traces::check(&config.traces).context("cannot send traces")?;
    let source = args
        .config
        .as_deref()
        .unwrap_or_else(|| Path::new("the default configuration, with what the environment sets,"));
    writeln!(std::io::stdout(), "{} is valid", source.display())?;
    Ok(ExitCode::SUCCESS)
}

fn secret(args: &SecretArgs) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    let made = secrets::read(&config.data_dir)?;
    let Login { username, password } = match args.account {
        Account::Application => made.application,
        Account::Operator => made.operator,
    };
    writeln!(std::io::stdout(), "{username}:{password}")?;
    Ok(ExitCode::SUCCESS)
}

/// One multi-thread runtime; see docs/decisions/0005-runtime-topology.md.
pub(crate) fn runtime(workers: usize) -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("weir")
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// How long threads that still do something may take to end when everything else has ended.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// Cancels `stop` at the first SIGTERM or SIGINT; the second ends the process.
pub(crate) fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        for has_been_told in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if has_been_told {
                std::process::exit(130);
            }
            // It may stop already, by itself.
            stop.cancel();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    fn check_usage(command: &mut clap::Command, checked: &mut u32) {
        let usage = command.render_usage().to_string();
        let mut rest = &*usage;
        for argument in command.get_positionals() {
            let name = &argument.get_value_names().unwrap()[0];
            let found = rest.find(name.as_str());
            let at = found.unwrap_or_else(|| panic!("{name} is not in its place: {usage}"));
            rest = &rest[at..];
            *checked += 1;
        }
        for command in command.get_subcommands_mut() {
            check_usage(command, checked);
        }
    }

    #[test]
    fn usage_shows_arguments_in_the_order_in_which_they_are_taken() {
        let (mut command, mut checked) = (Cli::command(), 0);
        command.build();
        check_usage(&mut command, &mut checked);
        assert!(checked > 20, "{checked}");
    }

    #[test]
    fn a_check_finds_mistakes_in_the_permission_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let permissions = path("permissions.json");
        let config = format!("[northbound.amqp]\npermissions = {permissions:?}\n");
        std::fs::write(path("weir.toml"), config).unwrap();
        let args = ConfigArgs {
            config: Some(path("weir.toml")),
        };
        let mistake = || format!("{:#}", check(&args).unwrap_err());
        let missing = mistake();
        assert!(
            missing.starts_with("northbound.amqp.permissions: cannot read"),
            "{missing}"
        );
        std::fs::write(&permissions, r#"{"users": {"app": {}}}"#).unwrap();
        let wrong = mistake();
        assert!(
            wrong.ends_with("users.app: missing field `mechanism`"),
            "{wrong}"
        );
        std::fs::write(&permissions, "{}").unwrap();
        check(&args).unwrap();
    }

    #[test]
    fn a_check_finds_certificates_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let args = ConfigArgs {
            config: Some(path("weir.toml")),
        };
        let (certificate, key) = (path("it.pem"), path("it.key"));
        for section in ["tls", "northbound.amqp"] {
            let prefix = if section == "tls" { "" } else { "tls_" };
            let config = format!(
                "[{section}]\n{prefix}certificate = {certificate:?}\n{prefix}key = {key:?}\n"
            );
            std::fs::write(path("weir.toml"), config).unwrap();
            let mistake = format!("{:#}", check(&args).unwrap_err());
            assert!(mistake.contains("it.pem"), "{mistake}");
        }
    }

    #[test]
    fn a_check_finds_authorities_of_a_collector_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let args = ConfigArgs {
            config: Some(path("weir.toml")),
        };
        let authorities = path("ca.pem");
        let config = format!(
            "[traces]\nenabled = true\nendpoint = \"https://localhost:1\"\ntls_ca = {authorities:?}\n"
        );
        std::fs::write(path("weir.toml"), config).unwrap();
        let mistake = || format!("{:#}", check(&args).unwrap_err());
        let missing = mistake();
        assert!(missing.contains("cannot read"), "{missing}");
        std::fs::write(&authorities, "no PEM").unwrap();
        let wrong = mistake();
        assert!(
            wrong.ends_with("ca.pem has no certificate (traces.tls_ca)"),
            "{wrong}"
        );
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&authorities, made.cert.pem()).unwrap();
        check(&args).unwrap();
    }
}
