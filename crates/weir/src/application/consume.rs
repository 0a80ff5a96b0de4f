//! `weir consume`

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{Message, Outcome, condition};
use weir_amqp_transport::{Credit, Received};

use super::connect::{ConnectArgs, Gateway};
use super::reader;
use super::show::{self, Style};
use super::sources::{Endpoint, Held, Sources};
use super::{Format, id, json};
use crate::cli;
use crate::person::note;

/// Messages that may be on their way at a time.
const WINDOW: u32 = 100;
/// The same where those of other devices are held for a while; so many devices may be in front.
const HELD_WINDOW: u32 = 1000;

const EXAMPLES: &str = "\
Examples:
  weir consume --tenant acme                         telemetry and events, until Ctrl-C
  weir consume --tenant acme --events --count 10     ten events, then end
  weir consume --tenant acme -o json | jq .payload
  weir consume --tenant acme --dead-letters          events that no application could take
  WEIR_AMQP_USER=app:secret weir consume --tenant acme --url amqps://gateway --cacert ca.pem

A message is handed to one consumer: what this command shows, no other application gets, and
events are removed. So that a device's messages can be watched beside other applications, have it
send to a tenant of its own.

With --device, telemetry of other devices is accepted and dropped: other applications do not get
it. Events and dead letters of other devices are given back after half a second; they stay stored,
but reach other applications later while this runs, and what is behind the first thousand of them
is not seen.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConsumeArgs {
    /// The tenant whose devices are listened to.
    #[arg(short, long, value_parser = id)]
    tenant: String,
    /// Show telemetry.
    #[arg(long)]
    telemetry: bool,
    /// Show events. Without this, --telemetry and --dead-letters: telemetry and events.
    #[arg(long)]
    events: bool,
    /// Show events that were rejected, or handed out too often without success. They are removed.
    #[arg(long)]
    dead_letters: bool,
    /// Show only what this device sent; see below what becomes of the rest.
    #[arg(short, long, value_parser = id)]
    device: Option<String>,
    /// End after this many messages.
    #[arg(short = 'n', long, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// A line for people, or a JSON object with everything, for programs.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs until it is stopped, has shown as many as asked for, or something fails.
pub(crate) async fn run(args: ConsumeArgs) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    cli::stop_on_signal(stop.clone())?;
    // A reader that does not take the output must not keep us from hearing the gateway and Ctrl-C.
    let out = io::stdout().as_fd().try_clone_to_owned()?;
    let (read, nobody_reads) = (out.try_clone()?, stop.clone());
    tokio::spawn(async move {
        reader::gone(read).await;
        nobody_reads.cancel();
    });
    let out = tokio::fs::File::from_std(out.into());
    consume(&args, Style::of_stdout(), out, &stop).await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn consume(
    args: &ConsumeArgs,
    style: Style,
    out: impl AsyncWrite + Unpin,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let gateway = tokio::select! {
        gateway = args.connect.connect() => gateway?,
        () = stop.cancelled() => return Ok(()),
    };
    let ended = follow(args, style, out, &gateway, stop).await;
    // Whatever happened: the gateway is told what was accepted, and takes back the rest at once.
    gateway.close().await;
    ended
}

async fn follow(
    args: &ConsumeArgs,
    style: Style,
    out: impl AsyncWrite + Unpin,
    gateway: &Gateway,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut sources = tokio::select! {
        sources = args.sources(gateway) => sources?,
        () = stop.cancelled() => return Ok(()),
    };
    // Until the first message there would be nothing to see; scripts need not be told.
    if io::stderr().is_terminal() {
        let tenant = &args.tenant;
        note(&format!(
            "waiting for messages of tenant {tenant}; Ctrl-C ends"
        ))?;
    }
    let mut consumer = Consumer {
        args,
        style,
        out,
        held: Held::default(),
        has_noted: false,
    };
    let ended = consumer.run(&mut sources, stop).await;
    // While the links are there; the rest goes back with them.
    consumer.held.release_all();
    ended
}

impl ConsumeArgs {
    fn endpoints(&self) -> Vec<Endpoint> {
        let is_default = !(self.telemetry || self.events || self.dead_letters);
        let wanted = [
            (Endpoint::Telemetry, self.telemetry || is_default),
            (Endpoint::Event, self.events || is_default),
            (Endpoint::DeadLetters, self.dead_letters),
        ];
        let wanted = wanted.into_iter().filter(|(_, is_wanted)| *is_wanted);
        wanted.map(|(endpoint, _)| endpoint).collect()
    }

    /// No more than will be shown: the rest would be held up for nothing.
    fn credit(&self, endpoint: Endpoint) -> Credit {
        let total = self.count.filter(|_| self.device.is_none());
        let window = match self.device.is_some() && endpoint.is_stored() {
            true => HELD_WINDOW,
            false => WINDOW,
        };
        Credit { window, total }
    }

    async fn sources(&self, gateway: &Gateway) -> anyhow::Result<Sources> {
        let mut sources = Sources::default();
        for endpoint in self.endpoints() {
            let address = endpoint.address(&self.tenant);
            let receiver = gateway.receiver(&address, self.credit(endpoint)).await?;
            sources.add(endpoint, receiver);
        }
        Ok(sources)
    }
}

struct Consumer<'a, W> {
    args: &'a ConsumeArgs,
    style: Style,
    out: W,
    held: Held,
    /// Said that there may be more behind what is held.
    has_noted: bool,
}

impl<W: AsyncWrite + Unpin> Consumer<'_, W> {
    async fn run(&mut self, sources: &mut Sources, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut shown = 0;
        while self.args.count.is_none_or(|count| shown < count) {
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.held.release_due() => continue,
                next = sources.next() => next,
            };
            let (endpoint, received) = next.context("connection lost")?;
            tokio::select! {
                biased;
                is_shown = self.arrived(endpoint, received) => shown += u64::from(is_shown?),
                () = stop.cancelled() => return Ok(()),
            }
        }
        Ok(())
    }

    /// Shows a message and accepts it; whether it was one to show.
    async fn arrived(&mut self, endpoint: Endpoint, received: Received) -> anyhow::Result<bool> {
        let message = match Message::decode(received.message.clone()) {
            Ok(message) => message,
            Err(error) => {
                note(&format!("{}: {error}", endpoint.name()))?;
                received.settle(Outcome::Rejected {
                    condition: Some(condition::DECODE_ERROR.to_owned()),
                    description: Some(error.to_string()),
                });
                return Ok(false);
            }
        };
        let device = message.application_properties.string("device_id");
        if self.args.device.is_some() && self.args.device.as_deref() != device {
            self.skip(endpoint, received)?;
            return Ok(false);
        }
        let mut line = match self.args.output {
            Format::Text => show::line(endpoint, &message, self.style),
            Format::Json => json::line(endpoint, &self.args.tenant, &message)?,
        };
        line.push('\n');
        self.out.write_all(line.as_bytes()).await?;
        self.out.flush().await?;
        received.settle(Outcome::Accepted);
        Ok(true)
    }

    fn skip(&mut self, endpoint: Endpoint, received: Received) -> anyhow::Result<()> {
        if !endpoint.is_stored() {
            received.settle(Outcome::Accepted);
            return Ok(());
        }
        self.held.hold(received);
        if self.held.len() >= HELD_WINDOW as usize && !self.has_noted {
            self.has_noted = true;
            note("events of many other devices wait in front; what is behind them is not seen")?;
        }
        Ok(())
    }
}
