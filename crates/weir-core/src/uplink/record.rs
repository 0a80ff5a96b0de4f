//! The record of one message: metrics and log line, written once, when the outcome is known.

use std::sync::Arc;
use std::time::Instant;

use weir_metrics::{Direction, Qos, Status, Ttd};

use super::{Endpoint, Outcome, Received};
use crate::{DeviceId, Disposition, Reason, Session, shorten};

/// Travels with a message from the moment its sender is known, and ends with it.
#[derive(Debug)]
pub(super) struct Record {
    /// Taken when the outcome has been written.
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    session: Arc<Session>,
    device: DeviceId,
    endpoint: Endpoint,
    qos: Qos,
    arrived: Instant,
    /// Accounting size of the payload, bytes.
    size: u64,
    /// Whether somebody waits to be told the outcome.
    awaited: bool,
    /// Whether the message has been taken, and only a command is waited for.
    is_forwarded: bool,
    /// How that wait has ended; so far it has not brought a command.
    ttd: Ttd,
}

impl Record {
    pub(super) fn new(session: Arc<Session>, device: DeviceId, received: &Received) -> Self {
        let size = session
            .principal()
            .snapshot
            .settings
            .accounting_size(received.payload.len());
        let Received {
            endpoint,
            qos,
            arrived,
            ..
        } = *received;
        let open = Open {
            session,
            device,
            endpoint,
            qos,
            arrived,
            size,
            awaited: true,
            is_forwarded: false,
            ttd: Ttd::None,
        };
        Self {
            open: Some(Box::new(open)),
        }
    }

    fn open(&self) -> &Open {
        self.open
            .as_deref()
            .expect("a record is finished by value, so an unfinished one is open")
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.open().session
    }

    pub(super) fn device(&self) -> &DeviceId {
        &self.open().device
    }

    pub(super) fn size(&self) -> u64 {
        self.open().size
    }

    pub(super) fn set_size(&mut self, size: u64) {
        if let Some(open) = &mut self.open {
            open.size = size;
        }
    }

    /// The device waits for a command.
    pub(super) fn waits(&mut self) {
        if let Some(open) = &mut self.open {
            open.ttd = Ttd::Expired;
        }
    }

    /// The message was taken. From now on that is its outcome, whatever becomes of the wait.
    pub(super) fn forwarded(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_forwarded = true;
        }
    }

    /// The wait has brought a command.
    pub(super) fn got_command(&mut self) {
        if let Some(open) = &mut self.open {
            open.ttd = Ttd::Command;
        }
    }

    /// The peer is gone; the outcome will be recorded all the same.
    pub(super) fn nobody_waits(&mut self) {
        if let Some(open) = &mut self.open {
            open.awaited = false;
        }
    }

    /// Ends the message with what the northbound said.
    pub(super) fn finish(self, disposition: Disposition, at: Instant) -> Outcome {
        match disposition {
            Ok(()) => {
                self.write(Status::Forwarded, at);
                Outcome::Accepted
            }
            Err(reason) => {
                let terminal = self.session().is_ended_by(&reason);
                self.end(reason, terminal, Some(at))
            }
        }
    }

    /// Ends the message before it went out.
    pub(super) fn refuse(self, reason: Reason, terminal: bool) -> Outcome {
        self.end(reason, terminal, Some(Instant::now()))
    }

    /// Ends the message for a reason that is not counted for its protocol (device contract §7.3).
    pub(super) fn refuse_uncounted(self, reason: Reason) -> Outcome {
        self.end(reason, false, None)
    }

    fn end(mut self, reason: Reason, terminal: bool, counted_at: Option<Instant>) -> Outcome {
        let open = self.open();
        if let Some(unlogged) = open.session.admit_line() {
            open.log(&reason, terminal, unlogged);
        }
        match counted_at {
            Some(at) => self.write(reason.metric_status(), at),
            None => drop(self.open.take()),
        }
        Outcome::refused(reason, terminal)
    }

    fn write(mut self, status: Status, at: Instant) {
        if let Some(open) = self.open.take() {
            open.write(status, at);
        }
    }
}

impl Open {
    fn log(&self, reason: &Reason, terminal: bool, unlogged: u64) {
        let principal = self.session.principal();
        tracing::info!(
            protocol = self.session.protocol().type_name(),
            tenant = principal.tenant.as_str(),
            device = shorten(self.device.as_str()),
            via = (principal.device != self.device).then(|| principal.device.as_str()),
            endpoint = self.endpoint.as_str(),
            qos = self.qos.as_str(),
            reason = reason.name(),
            status = reason.status(),
            text = shorten(reason.text()),
            terminal,
            unlogged = (unlogged > 0).then_some(unlogged),
            "message refused"
        );
    }

    fn write(&self, status: Status, at: Instant) {
        let meters = self.session.meters();
        // A wait that was not even begun has not expired.
        let ttd = match status {
            Status::Forwarded => self.ttd,
            Status::Undeliverable | Status::Unprocessable => Ttd::None,
        };
        let meter = match self.endpoint.message_type() {
            Some(kind) => meters.upload(kind, self.qos, status, ttd),
            None => meters.command(Direction::Response, status),
        };
        meter.record(at.saturating_duration_since(self.arrived), self.size, at);
        self.session.usage().count(status, self.size);
        if !self.awaited {
            meters.abandoned(status);
        }
    }
}

/// Dropping a message without an outcome is a bug, or the end of its task; both are told.
impl Drop for Record {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        open.awaited = false;
        if open.is_forwarded {
            // The device has not waited to the end, which is its right.
            return open.write(Status::Forwarded, Instant::now());
        }
        tracing::warn!(
            protocol = open.session.protocol().type_name(),
            tenant = open.session.principal().tenant.as_str(),
            device = open.device.as_str(),
            endpoint = open.endpoint.as_str(),
            "message dropped without an outcome"
        );
        open.write(Status::Undeliverable, Instant::now());
    }
}
