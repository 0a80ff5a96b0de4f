//! Connections of a tenant's devices.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::cell::{Level, Summary};
use crate::window::Clock;
use crate::{Gauge, RECORDS};

use super::nanoseconds;

/// Open connections and the device-seconds they add up to.
#[derive(Debug)]
pub struct ConnectedMeter {
    clock: Clock,
    open: Gauge,
    pub(crate) duration: Summary,
    /// Until when the open connections' time is in `duration`.
    accounted_until: Mutex<Option<Instant>>,
}

impl ConnectedMeter {
    pub(super) fn new(clock: Clock, all: Arc<Level>) -> Self {
        Self {
            clock,
            open: Gauge::part_of(all),
            duration: Summary::default(),
            accounted_until: Mutex::new(None),
        }
    }

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

    /// How often time was added.
    pub(super) fn updates(&self) -> u64 {
        self.duration.count()
    }

    fn change(&self, delta: i64, now: Instant) {
        if !RECORDS {
            return;
        }
        let mut until = self
            .accounted_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = u64::try_from(self.open.add(delta)).unwrap_or(0);
        if let Some(until) = *until
            && before > 0
        {
            let elapsed = nanoseconds(now.saturating_duration_since(until));
            let epoch = self.clock.epoch(now);
            self.duration.record(elapsed.saturating_mul(before), epoch);
        }
        // Who read the clock first may come last: time that was added is not added again.
        *until = Some(until.map_or(now, |until| until.max(now)));
    }
}
