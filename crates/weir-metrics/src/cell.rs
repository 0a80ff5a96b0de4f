//! The values behind the series: plain atomics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// What has been counted so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `delta`, which may be negative, and returns the value before.
    pub fn add(&self, delta: i64) -> i64 {
        self.0.fetch_add(delta, Relaxed)
    }

    /// The present value.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Count, sum and decaying maximum of a measured quantity (what Micrometer exposes for timers and
/// distribution summaries).
///
/// Values are integers in the family's base unit: nanoseconds for durations, bytes for sizes.
#[derive(Debug)]
pub struct Summary {
    count: AtomicU64,
    sum: AtomicU64,
    max: WindowMax,
}

impl Summary {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            max: WindowMax::new(start),
        }
    }

    /// Records one observation made at `now`.
    pub fn record(&self, value: u64, now: Instant) {
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        self.max.record(value, now);
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Sum of the observations in the base unit.
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// Largest observation of the last two to three minutes, 0 if there was none.
    pub fn max(&self, now: Instant) -> u64 {
        self.max.value(now)
    }
}

/// Seconds one slot of a [`WindowMax`] covers.
const SLOT_SECONDS: u64 = 60;
const SLOTS: usize = 3;

/// A maximum that forgets: three slots of a minute each, the oldest overwritten.
///
/// Two threads that meet at the change of a slot may lose one observation's claim to be the
/// maximum. That is the price of taking no lock, and no sum or count depends on it.
#[derive(Debug)]
struct WindowMax {
    start: Instant,
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default)]
struct Slot {
    /// Which slot since the start this is, plus one; 0 is "never used".
    epoch: AtomicU64,
    max: AtomicU64,
}

impl WindowMax {
    fn new(start: Instant) -> Self {
        Self {
            start,
            slots: Default::default(),
        }
    }

    fn epoch(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs() / SLOT_SECONDS + 1
    }

    fn record(&self, value: u64, now: Instant) {
        let epoch = self.epoch(now);
        let slot = &self.slots[(epoch % SLOTS as u64) as usize];
        if slot.epoch.load(Relaxed) != epoch {
            slot.max.store(0, Relaxed);
            slot.epoch.store(epoch, Relaxed);
        }
        if value > slot.max.load(Relaxed) {
            slot.max.fetch_max(value, Relaxed);
        }
    }

    fn value(&self, now: Instant) -> u64 {
        let epoch = self.epoch(now);
        let recent = |slot: &&Slot| {
            let used = slot.epoch.load(Relaxed);
            used > 0 && used + SLOTS as u64 > epoch
        };
        self.slots
            .iter()
            .filter(recent)
            .map(|slot| slot.max.load(Relaxed))
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_maximum_decays_and_the_sum_does_not() {
        let start = Instant::now();
        let summary = Summary::new(start);
        summary.record(70, start);
        summary.record(50, start + Duration::from_secs(61));
        assert_eq!(summary.max(start + Duration::from_secs(62)), 70);
        assert_eq!(summary.max(start + Duration::from_secs(179)), 70);
        assert_eq!(summary.max(start + Duration::from_secs(181)), 50);
        assert_eq!(summary.max(start + Duration::from_secs(600)), 0);
        assert_eq!((summary.count(), summary.sum()), (2, 120));
    }

    #[test]
    fn a_slot_is_used_again_after_three_minutes() {
        let start = Instant::now();
        let summary = Summary::new(start);
        summary.record(70, start);
        summary.record(10, start + Duration::from_secs(180));
        assert_eq!(summary.max(start + Duration::from_secs(180)), 10);
    }
}
