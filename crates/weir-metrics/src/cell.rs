//! The values behind the series: plain atomics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use crate::window::{Epoch, WindowMax};

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
