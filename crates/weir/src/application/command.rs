//! `weir command`

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use weir_amqp_engine::{Message, MessageWriter, Outcome, Properties, Value};
use weir_amqp_transport::{Credit, Receiver};

use super::connect::{ConnectArgs, Gateway, random_id};
use super::payload::{Payload, PayloadMembers};
use super::verdict::Verdict;
use super::{Format, id};
use crate::person::printable;

/// The largest payload that is read, bytes. Gateways and devices usually take less.
const PAYLOAD: u64 = 16 << 20;
/// Answers that may be on their way at a time. There is one, unless a device repeats itself.
const WINDOW: u32 = 10;

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
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    wait: Option<u32>,
    /// Words for people, or a JSON object for programs.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Sends the command and tells what became of it.
pub(crate) async fn run(args: CommandArgs) -> anyhow::Result<ExitCode> {
    issue(&args, &mut io::stdout()).await
}

pub(super) async fn issue(args: &CommandArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let payload = args.payload()?;
    let gateway = args.connect.connect().await?;
    let report = args.send(&gateway, payload.as_deref()).await;
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

    async fn send(&self, gateway: &Gateway, payload: Option<&[u8]>) -> anyhow::Result<Report> {
        let id = random_id();
        let tenant = &self.tenant;
        let reply_to = format!("command_response/{tenant}/{id}");
        // Attached first: the device may answer before we hear that it has got the command.
        let answers = match self.wait {
            Some(_) => {
                let credit = Credit::from(WINDOW);
                Some(gateway.receiver(&reply_to, credit).await?)
            }
            None => None,
        };
        let sender = gateway.sender(&format!("command/{tenant}")).await?;
        let to = format!("command/{tenant}/{}", self.device);
        let properties = Properties {
            message_id: Some(&id),
            correlation_id: Some(&id),
            to: Some(&to),
            subject: Some(&self.name),
            reply_to: answers.is_some().then_some(&*reply_to),
            content_type: self.content_type.as_deref(),
            ..Properties::default()
        };
        let sent = sender.send(|out| {
            let mut writer = MessageWriter::new(out);
            writer.properties(&properties);
            if let Some(payload) = payload {
                writer.data(payload);
            }
        });
        let verdict = Verdict::of(sent.await, tenant);
        let mut report = Report::new(id, verdict);
        if let Some(answers) = answers
            && report.delivered
        {
            let seconds = self.wait.unwrap_or_default();
            report.wait(answers, seconds).await;
        }
        Ok(report)
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

/// What became of a command.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    id: String,
    delivered: bool,
    outcome: &'static str,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
}

/// What the device answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Response {
    status: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(flatten)]
    payload: PayloadMembers,
    /// The payload for people.
    #[serde(skip)]
    line: Option<String>,
}

impl Report {
    fn new(id: String, verdict: Verdict) -> Self {
        Self {
            id,
            delivered: verdict.is_delivered(),
            outcome: verdict.outcome,
            reason: verdict.reason,
            response: None,
        }
    }

    /// Waits for the answer to this command.
    async fn wait(&mut self, mut answers: Receiver, seconds: u32) {
        let until = Instant::now() + Duration::from_secs(seconds.into());
        loop {
            let received = match timeout_at(until, answers.receive()).await {
                Ok(Some(received)) => received,
                Ok(None) => {
                    self.reason = Some(format!("no answer: {}", answers.ended()));
                    return;
                }
                Err(_) => {
                    self.reason = Some(format!("no answer within {seconds} s"));
                    return;
                }
            };
            let (outcome, response) = Response::of(received.message.clone(), &self.id);
            received.settle(outcome);
            if response.is_some() {
                self.response = response;
                return;
            }
        }
    }

    fn is_success(&self) -> bool {
        let is_good = |response: &Response| (200..300).contains(&response.status);
        self.reason.is_none() && self.response.as_ref().is_none_or(is_good)
    }

    fn words(&self, out: &mut impl Write) -> anyhow::Result<()> {
        if self.delivered {
            writeln!(out, "delivered")?;
        }
        if let Some(response) = &self.response {
            writeln!(out, "{}", response.words())?;
        }
        match &self.reason {
            Some(reason) if self.delivered => bail!("{}", printable(reason)),
            Some(reason) => bail!("not delivered: {}", printable(reason)),
            None => Ok(()),
        }
    }
}

impl Response {
    /// The answer to the command with this id, and what the gateway is told of it.
    fn of(message: bytes::Bytes, id: &str) -> (Outcome, Option<Self>) {
        let not_ours = Outcome::Rejected {
            condition: Some("hono:bad-request".to_owned()),
            description: Some("not an answer to the command".to_owned()),
        };
        let Ok(message) = Message::decode(message) else {
            return (not_ours, None);
        };
        let properties = &message.properties;
        let is_ours = matches!(&properties.correlation_id, Some(Value::String(own)) if own == id);
        if !is_ours {
            return (not_ours, None);
        }
        let own = &message.application_properties;
        let Some(status) = own.integer("status") else {
            return (Outcome::Released, None);
        };
        let payload = Payload::of(&message.body);
        let response = Self {
            status,
            device: own.string("device_id").map(str::to_owned),
            content_type: properties.content_type.clone(),
            line: payload.line(),
            payload: payload.members(),
        };
        (Outcome::Accepted, Some(response))
    }

    fn words(&self) -> String {
        let mut words = vec![format!("status {}", self.status)];
        words.extend(self.content_type.as_deref().map(printable));
        words.extend(self.line.clone());
        words.join("  ")
    }
}
