//! `weir command`

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::connect::ConnectArgs;
use super::order::Order;
use super::{Format, id};

/// The largest payload that is read, bytes. Gateways and devices usually take less.
const PAYLOAD: u64 = 16 << 20;
/// The longest wait for an answer, seconds.
const LONGEST: u32 = 86_400;

const EXAMPLES: &str = "\
Examples:
  weir command acme sensor-1 restart
  weir command acme sensor-1 set-interval --payload 30 --content-type text/plain
  weir command acme sensor-1 status --wait           and print the answer, for 10 seconds
  weir command acme sensor-1 update --payload-file firmware.json --content-type application/json
  date | weir command acme sensor-1 set-time --payload-file - --wait 30 -o json

A command reaches devices that are connected and take commands: over MQTT with a subscription, over
HTTP while a request with a time to wait (hono-ttd) is open. The exit status is 0 only if the device
has got the command and, with --wait, has answered with a status from 200 to 299.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CommandArgs {
    /// The device's tenant.
    #[arg(value_parser = id)]
    tenant: String,
    /// The device.
    #[arg(value_parser = id)]
    device: String,
    /// The command's name, which devices get as the message's subject.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    /// What the device gets with the command.
    #[arg(long, value_name = "TEXT", conflicts_with = "payload_file")]
    payload: Option<String>,
    /// A file with that; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// The payload's MIME type.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Wait for the device's answer, for so many seconds, 10 if left out; without this the device is
    /// not asked for one.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10")]
    #[arg(value_parser = seconds)]
    wait: Option<u32>,
    /// Words for people, or a JSON object for programs.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `--wait` takes, which is whatever comes behind it.
fn seconds(text: &str) -> Result<u32, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds| (1..=LONGEST).contains(seconds));
    seconds.ok_or_else(|| {
        format!("is no number of seconds from 1 to {LONGEST}; --wait without one goes to the end of the line")
    })
}

/// Sends the command and tells what became of it.
pub(crate) async fn run(args: CommandArgs) -> anyhow::Result<ExitCode> {
    issue(&args, &mut io::stdout()).await
}

pub(super) async fn issue(args: &CommandArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let payload = args.payload()?;
    let gateway = args.connect.connect().await?;
    let order = Order {
        tenant: &args.tenant,
        device: &args.device,
        name: &args.name,
        content_type: args.content_type.as_deref(),
        payload: payload.as_deref(),
        wait: args.wait,
    };
    let report = order.send(&gateway).await;
    gateway.close().await;
    let report = report?;
    match args.output {
        Format::Text => report.words(out)?,
        Format::Json => {
            let line = serde_json::to_string(&report)?;
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    Ok(match report.is_success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

impl CommandArgs {
    fn payload(&self) -> anyhow::Result<Option<Vec<u8>>> {
        if let Some(text) = &self.payload {
            return Ok(Some(text.clone().into_bytes()));
        }
        let Some(path) = &self.payload_file else {
            return Ok(None);
        };
        let named = || path.display().to_string();
        let payload = read(path).with_context(named)?;
        if payload.len() as u64 > PAYLOAD {
            bail!("{}: more than {PAYLOAD} bytes", named());
        }
        Ok(Some(payload))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut payload = Vec::new();
    // One more tells that it is too large.
    match path.to_str() {
        Some("-") => io::stdin().take(PAYLOAD + 1).read_to_end(&mut payload)?,
        _ => std::fs::File::open(path)?
            .take(PAYLOAD + 1)
            .read_to_end(&mut payload)?,
    };
    Ok(payload)
}
