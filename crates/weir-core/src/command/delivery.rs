//! A command in the hands of whoever takes it to the device.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytestring::ByteString;
use tokio::sync::oneshot;
use weir_metrics::{Direction, Status, TenantMeters};

use super::{Command, PATIENCE, RequestId};
use crate::spans::{Ending, OpenTrace};
use crate::usage::TenantUsage;
use crate::{DeviceId, Reason, SpanKind, SpanValue, shorten};

/// What became of a command (northbound contract §1.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The device's side has taken it.
    Accepted,
    /// It was not taken, and may be sent again.
    Released,
    /// It will never be taken.
    Rejected(Reason),
}

/// A command that is to be taken to a device. It is settled once; dropped without that it is released.
#[derive(Debug)]
#[must_use = "a command that is dropped is released"]
pub struct CommandDelivery(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    command: Command,
    gateway: Option<DeviceId>,
    record: CommandRecord,
    done: oneshot::Sender<CommandOutcome>,
}

/// A future of what became of a command that was handed over.
#[derive(Debug)]
pub(crate) struct Handed(oneshot::Receiver<CommandOutcome>);

/// Writes metrics, log line and span of one command, once.
#[derive(Debug)]
pub(crate) struct CommandRecord {
    pub(crate) meters: Arc<TenantMeters>,
    /// Of its tenant, if there is such a tenant.
    pub(crate) usage: Option<Arc<TenantUsage>>,
    /// The protocol it goes to the device by, if it got that far.
    pub(crate) protocol: Option<&'static str>,
    pub(crate) received: Instant,
    /// Accounting size of the payload, bytes.
    pub(crate) size: u64,
    /// If its way is told of.
    pub(crate) trace: Option<Box<OpenTrace>>,
}

impl CommandRecord {
    pub(crate) fn write(mut self, command: &Command, outcome: &CommandOutcome) {
        let direction = match command.reply_to {
            Some(_) => Direction::Request,
            None => Direction::OneWay,
        };
        let (status, reason) = match outcome {
            CommandOutcome::Accepted => (Status::Forwarded, None),
            CommandOutcome::Released => (Status::Undeliverable, None),
            CommandOutcome::Rejected(reason) => (reason.metric_status(), Some(reason)),
        };
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.received);
        let meter = self.meters.command(direction, status);
        let trace = self.trace.take();
        let trace_id = trace.as_ref().map(|trace| trace.id());
        meter.record_traced(elapsed, self.size, now, trace_id);
        if let Some(usage) = &self.usage {
            usage.count(status, self.size);
        }
        if status != Status::Forwarded {
            tracing::info!(
                protocol = self.protocol,
                tenant = command.tenant.as_str(),
                device = command.device.as_str(),
                command = shorten(&command.name),
                reason = reason.map_or("released", Reason::name),
                text = reason.map(|reason| shorten(reason.text())),
                trace_id = trace_id.map(|trace| trace.to_string()),
                "command not delivered"
            );
        }
        if let Some(trace) = trace {
            self.tell(*trace, command, outcome, now);
        }
    }

    /// Tells of the command's way.
    fn tell(&self, trace: OpenTrace, command: &Command, outcome: &CommandOutcome, now: Instant) {
        let mut attributes: Vec<(_, SpanValue)> = vec![
            ("tenant_id", command.tenant.as_str().into()),
            ("device_id", command.device.as_str().into()),
            ("command", shorten(&command.name).into()),
            ("accounting_size", self.size.into()),
        ];
        if let Some(protocol) = self.protocol {
            attributes.push(("component", protocol.into()));
        }
        let error = match outcome {
            CommandOutcome::Accepted => None,
            CommandOutcome::Released => Some("released".to_owned()),
            CommandOutcome::Rejected(reason) => {
                attributes.push(("reason", reason.name().into()));
                attributes.push(("status", u64::from(reason.status()).into()));
                Some(shorten(reason.text()).to_owned())
            }
        };
        let ending = Ending {
            name: "receive command",
            kind: SpanKind::Consumer,
            started: self.received,
            ended: now,
            attributes,
            error,
        };
        trace.end(ending, "send command");
    }
}

impl CommandDelivery {
    pub(crate) fn new(
        command: Command,
        gateway: Option<DeviceId>,
        mut record: CommandRecord,
    ) -> (Self, Handed) {
        let (done, handed) = oneshot::channel();
        if let Some(trace) = &mut record.trace {
            trace.hand_on(Instant::now());
        }
        let open = Open {
            command,
            gateway,
            record,
            done,
        };
        (Self(Some(Box::new(open))), Handed(handed))
    }

    fn open(&self) -> &Open {
        self.0
            .as_deref()
            .expect("a delivery is settled by value, so an unsettled one is open")
    }

    /// The command.
    pub fn command(&self) -> &Command {
        &self.open().command
    }

    /// The gateway that takes it to its device; none if the device takes it itself. If there is one,
    /// it is told which device the command is for.
    pub fn gateway(&self) -> Option<&DeviceId> {
        self.open().gateway.as_ref()
    }

    /// Whether its application has been told that it was not delivered, because it took too long.
    pub(crate) fn is_overdue(&self) -> bool {
        self.open().done.is_closed()
    }

    /// What the device is to answer with, if an answer is wanted.
    pub fn request_id(&self) -> Option<ByteString> {
        let command = self.command();
        let reply_to = command.reply_to.as_ref()?;
        Some(RequestId::encode(reply_to, &command.device))
    }

    /// The device's side has it.
    pub fn accept(self) {
        self.settle(CommandOutcome::Accepted);
    }

    /// The device's side does not take it now.
    pub fn release(self) {
        self.settle(CommandOutcome::Released);
    }

    /// The device's side will never take it.
    pub fn reject(self, reason: Reason) {
        self.settle(CommandOutcome::Rejected(reason));
    }

    fn settle(mut self, outcome: CommandOutcome) {
        if let Some(open) = self.0.take() {
            open.settle(outcome);
        }
    }
}

impl Open {
    fn settle(self, outcome: CommandOutcome) {
        // Too late, the application has been told otherwise.
        let is_late = self.done.is_closed() && self.record.received.elapsed() >= PATIENCE;
        let outcome = match is_late {
            true => CommandOutcome::Released,
            false => outcome,
        };
        self.record.write(&self.command, &outcome);
        // The application may be gone.
        let _ = self.done.send(outcome);
    }
}

impl Drop for CommandDelivery {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            open.settle(CommandOutcome::Released);
        }
    }
}

impl Future for Handed {
    type Output = CommandOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CommandOutcome> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|outcome| outcome.unwrap_or(CommandOutcome::Released))
    }
}
