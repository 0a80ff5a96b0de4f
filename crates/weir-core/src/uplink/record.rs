//! The record of one message: metrics, log line and span, written once, when the outcome is known.

use std::sync::Arc;
use std::time::Instant;

use weir_metrics::{Direction, Qos, Status, Ttd};

use super::{Endpoint, Outcome, Received};
use crate::refusals::Refused;
use crate::spans::{Ending, OpenTrace};
use crate::{
    DeviceId, Disposition, Reason, Session, SpanKind, SpanValue, Tenant, TraceContext, shorten,
};

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
    /// If its way is told of.
    trace: Option<Box<OpenTrace>>,
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
            trace: None,
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

    /// Decides whether the message's way is told of. Returns the trace as whoever is next is to hear of it.
    pub(super) fn begin_trace(
        &mut self,
        tenant: &Tenant,
        parent: Option<TraceContext>,
    ) -> TraceContext {
        let session = self.session();
        let mode = || tenant.sampling_mode(session.principal().auth_id.as_ref());
        let (context, trace) = session.pipeline().tracer().begin(mode, parent);
        if let Some(open) = &mut self.open {
            open.trace = trace;
        }
        context
    }

    /// The message goes out.
    pub(super) fn hand_on(&mut self) {
        let trace = self.open.as_mut().and_then(|open| open.trace.as_mut());
        if let Some(trace) = trace {
            trace.hand_on(Instant::now());
        }
    }

    /// The message was taken. From now on that is its outcome, whatever becomes of the wait.
    pub(super) fn forwarded(&mut self, at: Instant) {
        if let Some(open) = &mut self.open {
            open.is_forwarded = true;
            if let Some(trace) = &mut open.trace {
                trace.taken(at);
            }
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
                self.write(Status::Forwarded, at, None);
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
        if let Some(unlogged) = open.session.admit_line(&reason) {
            open.log(&reason, terminal, unlogged);
        }
        let protocol = open.session.protocol();
        let refusals = open.session.pipeline().refusals();
        refusals.count(protocol, Refused::Message, &reason);
        match (counted_at, self.open.take()) {
            (Some(at), Some(open)) => open.write(reason.metric_status(), at, Some(&reason)),
            (None, Some(open)) => open.tell(Instant::now(), Some(&reason)),
            (_, None) => {}
        }
        Outcome::refused(reason, terminal)
    }

    fn write(mut self, status: Status, at: Instant, reason: Option<&Reason>) {
        if let Some(open) = self.open.take() {
            open.write(status, at, reason);
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
            trace_id = self.trace.as_ref().map(|trace| trace.id().to_string()),
            unlogged = (unlogged > 0).then_some(unlogged),
            "message refused"
        );
    }

    fn write(self, status: Status, at: Instant, reason: Option<&Reason>) {
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
        let elapsed = at.saturating_duration_since(self.arrived);
        let trace = self.trace.as_ref().map(|trace| trace.id());
        meter.record_traced(elapsed, self.size, at, trace);
        self.session.usage().count(status, self.size);
        if !self.awaited {
            meters.abandoned(status);
        }
        self.tell(at, reason);
    }

    /// Tells of the message's way, if somebody listens.
    fn tell(mut self, at: Instant, reason: Option<&Reason>) {
        let Some(trace) = self.trace.take() else {
            return;
        };
        let (name, handed) = match self.endpoint {
            Endpoint::CommandResponse => ("upload command response", "send command response"),
            Endpoint::Event => ("upload event", "send event"),
            Endpoint::Telemetry => ("upload telemetry", "send telemetry"),
        };
        let principal = self.session.principal();
        let mut attributes: Vec<(_, SpanValue)> = vec![
            ("component", self.session.protocol().type_name().into()),
            ("tenant_id", principal.tenant.as_str().into()),
            ("device_id", self.device.as_str().into()),
            ("qos", self.qos.as_str().into()),
            ("accounting_size", self.size.into()),
        ];
        if principal.device != self.device {
            attributes.push(("gateway_id", principal.device.as_str().into()));
        }
        if let Some(auth_id) = &principal.auth_id {
            attributes.push(("auth_id", auth_id.as_str().into()));
        }
        match reason {
            Some(reason) => {
                attributes.push(("reason", reason.name().into()));
                attributes.push(("status", u64::from(reason.status()).into()));
            }
            // What a device waited for, and whether it came.
            None if self.ttd != Ttd::None => attributes.push(("ttd", self.ttd.as_str().into())),
            None => {}
        }
        let ending = Ending {
            name,
            kind: SpanKind::Server,
            started: self.arrived,
            ended: at,
            attributes,
            error: reason.map(|reason| shorten(reason.text()).to_owned()),
        };
        trace.end(ending, handed);
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
            return open.write(Status::Forwarded, Instant::now(), None);
        }
        tracing::warn!(
            protocol = open.session.protocol().type_name(),
            tenant = open.session.principal().tenant.as_str(),
            device = open.device.as_str(),
            endpoint = open.endpoint.as_str(),
            "message dropped without an outcome"
        );
        open.write(
            Status::Undeliverable,
            Instant::now(),
            Some(&Reason::Internal),
        );
    }
}
