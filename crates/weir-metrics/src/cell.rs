//! The values behind the series: plain atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::RECORDS;
use crate::window::{Epoch, WindowMax};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        if RECORDS {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// What has been counted so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge {
    value: AtomicI64,
    /// What it is a part of.
    whole: Option<Arc<Level>>,
}

impl Gauge {
    /// One that is a part of `whole`.
    pub(crate) fn part_of(whole: Arc<Level>) -> Self {
        Self {
            value: AtomicI64::default(),
            whole: Some(whole),
        }
    }

    /// Adds `delta`, which may be negative, and returns the value before.
    pub fn add(&self, delta: i64) -> i64 {
        if let Some(whole) = &self.whole {
            whole.change(delta);
        }
        self.value.fetch_add(delta, Relaxed)
    }

    /// The present value.
    pub fn value(&self) -> i64 {
        self.value.load(Relaxed)
    }
}

/// How many there are of something, and the most that there have been at a time.
#[derive(Debug, Default)]
pub(crate) struct Level {
    now: AtomicI64,
    most: AtomicI64,
}

impl Level {
    pub(crate) fn change(&self, delta: i64) {
        let now = self.now.fetch_add(delta, Relaxed) + delta;
        if delta > 0 {
            self.most.fetch_max(now, Relaxed);
        }
    }

    pub(crate) fn most(&self) -> u64 {
        u64::try_from(self.most.load(Relaxed)).unwrap_or(0)
    }
}

/// Count, sum and decaying maximum of a measured quantity, integers in its recorded unit.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    count: AtomicU64,
    sum: AtomicU64,
    max: WindowMax,
}

impl Summary {
    pub(crate) fn record(&self, value: u64, epoch: Epoch) {
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        self.max.record(value, epoch);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    pub(crate) fn max(&self, epoch: Epoch) -> u64 {
        self.max.value(epoch)
    }
}
