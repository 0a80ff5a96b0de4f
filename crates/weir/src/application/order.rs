//! A command that is sent, and what becomes of it.

use std::time::Duration;

use anyhow::bail;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use weir_amqp_engine::{Message, MessageWriter, Outcome, Properties, Value};
use weir_amqp_transport::{Credit, Receiver};

use super::connect::{Gateway, random_id};
use super::payload::{Payload, PayloadMembers};
use super::verdict::Verdict;
use crate::person::{note, printable};

/// Answers that may be on their way at a time. There is one, unless a device repeats itself.
const WINDOW: u32 = 10;

/// A command.
pub(crate) struct Order<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) device: &'a str,
    /// What devices get as the message's subject.
    pub(crate) name: &'a str,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) payload: Option<&'a [u8]>,
    /// Seconds to wait for the answer; without, none is asked for.
    pub(crate) wait: Option<u32>,
}

impl Order<'_> {
    /// Sends it, and waits for the answer if one is wanted.
    ///
    /// # Errors
    /// If the gateway does not let us send or receive. Everything else is in the report.
    pub(crate) async fn send(&self, gateway: &Gateway) -> anyhow::Result<Report> {
        let id = random_id();
        let tenant = self.tenant;
        let reply_to = format!("command_response/{tenant}/{id}");
        // Attached first: the device may answer before we hear that it has got the command.
        let answers = match self.wait {
            Some(seconds) => {
                let answers = gateway.receiver(&reply_to, Credit::from(WINDOW));
                Some((answers.await?, seconds))
            }
            None => None,
        };
        let sender = gateway.sender(&format!("command/{tenant}")).await?;
        let to = format!("command/{tenant}/{}", self.device);
        let properties = Properties {
            message_id: Some(&id),
            correlation_id: Some(&id),
            to: Some(&to),
            subject: Some(self.name),
            reply_to: answers.is_some().then_some(&*reply_to),
            content_type: self.content_type,
            ..Properties::default()
        };
        let sent = sender.send(|out| {
            let mut writer = MessageWriter::new(out);
            writer.properties(&properties);
            if let Some(payload) = self.payload {
                writer.data(payload);
            }
        });
        let verdict = Verdict::of(sent.await, tenant);
        let mut report = Report::new(id, verdict);
        if let Some((answers, seconds)) = answers
            && report.delivered
        {
            report.wait(answers, self.device, seconds).await?;
        }
        Ok(report)
    }
}

/// What became of a command.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
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
    /// Who says that it has answered; the gateway vouches for it.
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

    /// Waits for the device's answer to this command.
    async fn wait(
        &mut self,
        mut answers: Receiver,
        device: &str,
        seconds: u32,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(seconds.into());
        loop {
            let received = match timeout_at(until, answers.receive()).await {
                Ok(Some(received)) => received,
                Ok(None) => {
                    self.reason = Some(format!("no answer: {}", answers.ended()));
                    return Ok(());
                }
                Err(_) => {
                    self.reason = Some(format!("no answer within {seconds} s"));
                    return Ok(());
                }
            };
            let (outcome, response) = match Response::of(received.message.clone(), &self.id) {
                // Whoever knows the request id may answer, but not for this device.
                (
                    _,
                    Some(Response {
                        device: Some(other),
                        ..
                    }),
                ) if other != device => {
                    note(&format!(
                        "{other} answered, which is not {device}; still waiting"
                    ))?;
                    (not_ours(), None)
                }
                judged => judged,
            };
            received.settle(outcome);
            if response.is_some() {
                self.response = response;
                return Ok(());
            }
        }
    }

    /// Whether the device has got the command, and has said that it did as it was told, if asked.
    pub(super) fn is_success(&self) -> bool {
        self.reason.is_none() && self.response.as_ref().is_none_or(Response::is_success)
    }

    /// For people: a line for each thing that went well.
    ///
    /// # Errors
    /// What did not.
    pub(super) fn words(&self, out: &mut impl std::io::Write) -> anyhow::Result<()> {
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

    /// The answer of a device that did as it was told, on a line: who, how it went, what.
    ///
    /// # Errors
    /// Why there is none, or what the device says instead.
    pub(crate) fn answer(&self) -> anyhow::Result<String> {
        match (&self.reason, &self.response) {
            (Some(reason), _) => bail!("{}", printable(reason)),
            (None, Some(response)) if response.is_success() => Ok(response.words()),
            (None, Some(response)) => bail!("{}", response.words()),
            (None, None) => bail!("no answer was asked for"),
        }
    }
}

/// What the gateway is told of an answer that is none to our command.
fn not_ours() -> Outcome {
    Outcome::Rejected {
        condition: Some("hono:bad-request".to_owned()),
        description: Some("not an answer to the command".to_owned()),
    }
}

impl Response {
    /// The answer to the command with this id, and what the gateway is told of it.
    fn of(message: bytes::Bytes, id: &str) -> (Outcome, Option<Self>) {
        let Ok(message) = Message::decode(message) else {
            return (not_ours(), None);
        };
        let properties = &message.properties;
        let is_ours = matches!(&properties.correlation_id, Some(Value::String(own)) if own == id);
        if !is_ours {
            return (not_ours(), None);
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

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn words(&self) -> String {
        let device = self.device.as_deref().map(printable);
        let mut words: Vec<String> = device.into_iter().collect();
        words.push(format!("status {}", self.status));
        words.extend(self.content_type.as_deref().map(printable));
        words.extend(self.line.clone());
        words.join("  ")
    }
}
