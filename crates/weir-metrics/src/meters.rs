//! Handles of one tenant at one component, and the series behind them.

mod amqp;
mod connected;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::RECORDS;
use crate::cell::Level;
use crate::histogram::{DURATION, Histogram, PAYLOAD, TraceId};
use crate::window::Clock;
use crate::{
    AmqpType, AttemptOutcome, Component, Counter, DeliveryOutcome, Direction, MessageType, Qos,
    Status, Ttd,
};

use amqp::AmqpMeters;

pub use connected::ConnectedMeter;

pub(crate) const UPLOADS: usize =
    MessageType::ALL.len() * Qos::ALL.len() * Status::ALL.len() * Ttd::ALL.len();
pub(crate) const COMMANDS: usize = Direction::ALL.len() * Status::ALL.len();

/// What the label `cipher_suite` says where there is no TLS.
const NO_CIPHER_SUITE: &str = "UNKNOWN";

/// The series of one tenant at one component, each made at its first use.
#[derive(Debug)]
pub struct TenantMeters {
    component: Component,
    tenant: Box<str>,
    /// The labels that all of its series begin with, as they are written.
    labels: Box<str>,
    clock: Clock,
    uploads: [OnceLock<Box<UploadMeter>>; UPLOADS],
    commands: [OnceLock<Box<UploadMeter>>; COMMANDS],
    abandoned: [Counter; Status::ALL.len()],
    /// Open connections of all devices.
    connections: Arc<Level>,
    connected: OnceLock<Box<ConnectedMeter>>,
    attempts: Mutex<BTreeMap<(AttemptOutcome, &'static str), u64>>,
    amqp: OnceLock<Box<AmqpMeters>>,
}

impl TenantMeters {
    pub(crate) fn new(
        component: Component,
        tenant: &str,
        labels: Box<str>,
        start: Instant,
        connections: Arc<Level>,
    ) -> Self {
        Self {
            component,
            tenant: tenant.into(),
            labels,
            clock: Clock::new(start),
            uploads: [const { OnceLock::new() }; UPLOADS],
            commands: [const { OnceLock::new() }; COMMANDS],
            abandoned: Default::default(),
            connections,
            connected: OnceLock::new(),
            attempts: Mutex::default(),
            amqp: OnceLock::new(),
        }
    }

    /// The tenant these series belong to: the one that was asked for, or `OVERFLOW` if there are too
    /// many others.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    pub(crate) fn component(&self) -> Component {
        self.component
    }

    /// The labels of component and tenant, as they are written.
    pub(crate) fn labels(&self) -> &str {
        &self.labels
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// The series of uploads with these labels.
    pub fn upload(&self, kind: MessageType, qos: Qos, status: Status, ttd: Ttd) -> &UploadMeter {
        let index = upload_index(kind, qos, status, ttd);
        self.uploads[index].get_or_init(|| Box::new(UploadMeter::new(self.clock)))
    }

    /// The series of commands and responses with these labels.
    pub fn command(&self, direction: Direction, status: Status) -> &UploadMeter {
        let index = command_index(direction, status);
        self.commands[index].get_or_init(|| Box::new(UploadMeter::new(self.clock)))
    }

    /// Counts an upload whose peer did not wait for the outcome.
    pub fn abandoned(&self, status: Status) {
        self.abandoned[status as usize].increment();
    }

    /// The open connections of this tenant's authenticated devices.
    pub fn connected(&self) -> &ConnectedMeter {
        let make = || Box::new(ConnectedMeter::new(self.clock, self.connections.clone()));
        self.connected.get_or_init(make)
    }

    /// The time from sending an AMQP message of this kind to this disposition of its receiver.
    pub fn amqp_delivery(&self, kind: AmqpType, outcome: DeliveryOutcome) -> &LatencyMeter {
        self.amqp().delivery(self.clock, kind, outcome)
    }

    /// Counts an AMQP message that could not be sent because there was no credit.
    pub fn amqp_no_credit(&self, kind: AmqpType) {
        self.amqp().no_credit(kind).increment();
    }

    /// Counts an AMQP message whose disposition did not come in time.
    pub fn amqp_timeout(&self, kind: AmqpType) {
        self.amqp().timeout(kind).increment();
    }

    /// The time that messages of this kind waited for the credit of an application's link.
    pub fn consumer_wait(&self, kind: AmqpType) -> &LatencyMeter {
        self.amqp().consumer_wait(self.clock, kind)
    }

    fn amqp(&self) -> &AmqpMeters {
        self.amqp.get_or_init(Box::default)
    }

    /// Counts one attempt to connect. The cipher suite is one of those this program knows, which a peer
    /// cannot make up.
    pub(crate) fn attempt(&self, outcome: AttemptOutcome, cipher_suite: Option<&'static str>) {
        if !RECORDS {
            return;
        }
        let key = (outcome, cipher_suite.unwrap_or(NO_CIPHER_SUITE));
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        *attempts.entry(key).or_default() += 1;
    }
}

/// What renders series and what keeps them reads.
impl TenantMeters {
    /// Uploads that there are series of, with the position of their labels in [`upload_labels`].
    pub(crate) fn uploads(&self) -> impl Iterator<Item = (usize, &UploadMeter)> {
        made(&self.uploads)
    }

    /// Commands that there are series of, with the position of their labels in [`command_labels`].
    pub(crate) fn commands(&self) -> impl Iterator<Item = (usize, &UploadMeter)> {
        made(&self.commands)
    }

    pub(crate) fn abandonments(&self) -> impl Iterator<Item = (Status, u64)> {
        let counted = Status::ALL.into_iter().zip(&self.abandoned);
        let counted = counted.map(|(status, counter)| (status, counter.value()));
        counted.filter(|(_, count)| *count > 0)
    }

    pub(crate) fn attempts(&self) -> Vec<(AttemptOutcome, &'static str, u64)> {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = attempts.iter();
        rows.map(|((outcome, cipher_suite), count)| (*outcome, *cipher_suite, *count))
            .collect()
    }

    pub(crate) fn connected_if_any(&self) -> Option<&ConnectedMeter> {
        self.connected.get().map(|meter| &**meter)
    }

    pub(crate) fn amqp_if_any(&self) -> Option<&AmqpMeters> {
        self.amqp.get().map(|meters| &**meters)
    }

    /// A number that changes with everything that is recorded.
    pub(crate) fn activity(&self) -> u64 {
        let messages = self.uploads().chain(self.commands());
        let messages: u64 = messages.map(|(_, meter)| meter.duration.count()).sum();
        let attempts: u64 = self.attempts().iter().map(|(_, _, count)| count).sum();
        let connected = self.connected_if_any().map_or(0, ConnectedMeter::updates);
        let amqp = self.amqp_if_any().map_or(0, AmqpMeters::activity);
        messages + attempts + connected + amqp
    }
}

pub(crate) fn upload_index(kind: MessageType, qos: Qos, status: Status, ttd: Ttd) -> usize {
    let mut index = kind as usize;
    index = index * Qos::ALL.len() + qos as usize;
    index = index * Status::ALL.len() + status as usize;
    index * Ttd::ALL.len() + ttd as usize
}

pub(crate) fn command_index(direction: Direction, status: Status) -> usize {
    direction as usize * Status::ALL.len() + status as usize
}

/// The cells that have been made, each with its position.
fn made<T>(cells: &[OnceLock<Box<T>>]) -> impl Iterator<Item = (usize, &T)> {
    let cells = cells.iter().enumerate();
    cells.filter_map(|(index, cell)| Some((index, &**cell.get()?)))
}

/// The labels of each series of uploads, as they are written behind those of the tenant.
pub(crate) fn upload_labels() -> Vec<String> {
    let mut rows = Vec::with_capacity(UPLOADS);
    for kind in MessageType::ALL {
        for qos in Qos::ALL {
            for status in Status::ALL {
                for ttd in Ttd::ALL {
                    let (kind, status) = (kind.as_str(), status.as_str());
                    let (qos, ttd) = (qos.as_str(), ttd.as_str());
                    rows.push(format!(
                        ",type=\"{kind}\",status=\"{status}\",qos=\"{qos}\",ttd=\"{ttd}\""
                    ));
                }
            }
        }
    }
    rows
}

/// The same for commands.
pub(crate) fn command_labels() -> Vec<String> {
    let mut rows = Vec::with_capacity(COMMANDS);
    for direction in Direction::ALL {
        for status in Status::ALL {
            let (direction, status) = (direction.as_str(), status.as_str());
            rows.push(format!(",status=\"{status}\",direction=\"{direction}\""));
        }
    }
    rows
}

/// The two series every upload, and every command, is recorded in.
#[derive(Debug)]
pub struct UploadMeter {
    clock: Clock,
    pub(crate) duration: Histogram,
    pub(crate) payload: Histogram,
}

impl UploadMeter {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            duration: Histogram::new(&DURATION),
            payload: Histogram::new(&PAYLOAD),
        }
    }

    /// Records one message: how long it took until `now`, and its accounting size in bytes.
    pub fn record(&self, elapsed: Duration, size: u64, now: Instant) {
        self.record_traced(elapsed, size, now, None);
    }

    /// The same for a message that may have a trace somebody keeps, which becomes an example of its
    /// duration.
    pub fn record_traced(
        &self,
        elapsed: Duration,
        size: u64,
        now: Instant,
        trace: Option<TraceId>,
    ) {
        let epoch = self.clock.epoch(now);
        let elapsed = nanoseconds(elapsed);
        self.duration.record_traced(elapsed, epoch, now, trace);
        self.payload.record(size, epoch);
    }
}

/// A series of durations.
#[derive(Debug)]
pub struct LatencyMeter {
    clock: Clock,
    pub(crate) duration: Histogram,
}

impl LatencyMeter {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            duration: Histogram::new(&DURATION),
        }
    }

    /// Records what took this long until `now`, and may have a trace somebody keeps.
    pub fn record(&self, elapsed: Duration, now: Instant, trace: Option<TraceId>) {
        let epoch = self.clock.epoch(now);
        self.duration
            .record_traced(nanoseconds(elapsed), epoch, now, trace);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
