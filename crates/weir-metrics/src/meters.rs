//! Handles of one tenant at one component.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::{Component, Direction, Gauge, MessageType, Metrics, Name, Qos, Status, Summary, Ttd};

const UPLOADS: usize = MessageType::COUNT * Qos::COUNT * Status::COUNT * Ttd::COUNT;
const COMMANDS: usize = Direction::COUNT * Status::COUNT;

/// The series of one tenant at one component, each resolved at its first use.
#[derive(Debug)]
pub struct TenantMeters {
    metrics: Metrics,
    component: Component,
    tenant: Box<str>,
    uploads: [OnceLock<UploadMeter>; UPLOADS],
    commands: [OnceLock<UploadMeter>; COMMANDS],
    connected: OnceLock<ConnectedMeter>,
}

impl TenantMeters {
    pub(crate) fn new(metrics: Metrics, component: Component, tenant: &str) -> Self {
        Self {
            metrics,
            component,
            tenant: tenant.into(),
            uploads: [const { OnceLock::new() }; UPLOADS],
            commands: [const { OnceLock::new() }; COMMANDS],
            connected: OnceLock::new(),
        }
    }

    /// The tenant these series belong to.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The series of uploads with these labels.
    pub fn upload(&self, kind: MessageType, qos: Qos, status: Status, ttd: Ttd) -> &UploadMeter {
        let mut index = kind as usize;
        index = index * Qos::COUNT + qos as usize;
        index = index * Status::COUNT + status as usize;
        index = index * Ttd::COUNT + ttd as usize;
        self.uploads[index].get_or_init(|| {
            let labels = [
                &*self.tenant,
                kind.as_str(),
                status.as_str(),
                qos.as_str(),
                ttd.as_str(),
            ];
            UploadMeter {
                duration: self.summary(Name::TelemetryProcessingDuration, &labels),
                payload: self.summary(Name::TelemetryPayload, &labels),
            }
        })
    }

    /// The series of commands and responses with these labels.
    pub fn command(&self, direction: Direction, status: Status) -> &UploadMeter {
        let index = direction as usize * Status::COUNT + status as usize;
        self.commands[index].get_or_init(|| {
            let labels = [&*self.tenant, status.as_str(), direction.as_str()];
            UploadMeter {
                duration: self.summary(Name::CommandProcessingDuration, &labels),
                payload: self.summary(Name::CommandPayload, &labels),
            }
        })
    }

    /// Counts an upload whose peer did not wait for the outcome.
    pub fn abandoned(&self, status: Status) {
        let labels = [&*self.tenant, status.as_str()];
        self.metrics
            .counter(Name::UplinksAbandoned, self.component, &labels)
            .increment();
    }

    /// The open connections of this tenant's authenticated devices.
    pub fn connected(&self) -> &ConnectedMeter {
        self.connected.get_or_init(|| {
            let labels = [&*self.tenant];
            ConnectedMeter {
                open: self
                    .metrics
                    .gauge(Name::ConnectionsAuthenticated, self.component, &labels),
                duration: self.summary(Name::ConnectionsAuthenticatedDuration, &labels),
                accounted_until: Mutex::new(None),
            }
        })
    }

    /// Adds the time that connections have been open. Components without connections have none.
    pub(crate) fn update_connected_time(&self, now: Instant) {
        if let Some(connected) = self.connected.get() {
            connected.update(now);
        }
    }

    fn summary(&self, name: Name, labels: &[&str]) -> Arc<Summary> {
        self.metrics.summary(name, self.component, labels)
    }
}

/// The two series every upload, and every command, is recorded in.
#[derive(Debug)]
pub struct UploadMeter {
    duration: Arc<Summary>,
    payload: Arc<Summary>,
}

impl UploadMeter {
    /// Records one message: how long it took until `now`, and its accounting size in bytes.
    pub fn record(&self, elapsed: Duration, size: u64, now: Instant) {
        self.duration.record(nanoseconds(elapsed), now);
        self.payload.record(size, now);
    }
}

/// Open connections and the device-seconds they add up to.
#[derive(Debug)]
pub struct ConnectedMeter {
    open: Arc<Gauge>,
    duration: Arc<Summary>,
    /// Until when the open connections' time is in `duration`.
    accounted_until: Mutex<Option<Instant>>,
}

impl ConnectedMeter {
    /// A connection was opened.
    pub fn opened(&self, now: Instant) {
        self.change(1, now);
    }

    /// A connection was closed.
    pub fn closed(&self, now: Instant) {
        self.change(-1, now);
    }

    /// The number of open connections.
    pub fn open(&self) -> i64 {
        self.open.value()
    }

    /// Adds the time that passed since the last update, once for each open connection.
    pub(crate) fn update(&self, now: Instant) {
        self.change(0, now);
    }

    fn change(&self, delta: i64, now: Instant) {
        let mut until = self
            .accounted_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = u64::try_from(self.open.add(delta)).unwrap_or(0);
        if let Some(until) = *until
            && before > 0
        {
            let elapsed = nanoseconds(now.saturating_duration_since(until));
            self.duration.record(elapsed.saturating_mul(before), now);
        }
        *until = Some(now);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
