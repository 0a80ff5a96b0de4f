//! Distributions: fixed buckets, a sum, a decaying maximum, and examples.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::RECORDS;
use crate::window::{Epoch, WindowMax};

/// The most buckets of a family, the last without a bound.
const BUCKETS: usize = 17;

/// Upper bounds of a family's buckets.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// Each as recorded and as it stands in the label `le`, always as a decimal, so that series are the same
    /// in both formats. No two are of the same length in binary.
    rows: &'static [(u64, &'static str)],
    /// How many of them are shorter in binary than values of so many digits.
    shorter: [u8; u64::BITS as usize + 1],
}

impl Bounds {
    const fn new(rows: &'static [(u64, &'static str)]) -> Self {
        let mut shorter = [0; _];
        let (mut row, mut digits) = (0, 0);
        while digits < shorter.len() {
            while row < rows.len() && length(rows[row].0) < digits {
                row += 1;
                assert!(row == rows.len() || length(rows[row - 1].0) < length(rows[row].0));
            }
            shorter[digits] = row as u8;
            digits += 1;
        }
        assert!(row == rows.len() && row < BUCKETS);
        Self { rows, shorter }
    }

    /// The number of the bucket that a value belongs to. The length tells it but for one comparison.
    fn bucket(&self, value: u64) -> usize {
        let shorter = usize::from(self.shorter[length(value)]);
        let next = self.rows.get(shorter);
        shorter + usize::from(next.is_some_and(|(bound, _)| value > *bound))
    }
}

/// How many binary digits it has; 0 has none.
const fn length(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()) as usize
}

/// Half a millisecond to ten seconds; beyond that are devices that wait for a command. Nanoseconds.
pub(crate) static DURATION: Bounds = Bounds::new(&[
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5.0"),
    (10_000_000_000, "10.0"),
    (30_000_000_000, "30.0"),
    (60_000_000_000, "60.0"),
]);

/// Nothing to one MiB. Bytes.
pub(crate) static PAYLOAD: Bounds = Bounds::new(&[
    (0, "0.0"),
    (64, "64.0"),
    (256, "256.0"),
    (1024, "1024.0"),
    (4096, "4096.0"),
    (16_384, "16384.0"),
    (65_536, "65536.0"),
    (262_144, "262144.0"),
    (1_048_576, "1048576.0"),
]);

/// The id of a trace, as W3C's trace context has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One observation that a trace tells more about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exemplar {
    pub(crate) trace: TraceId,
    pub(crate) value: u64,
    pub(crate) at: Instant,
}

/// Observations by size. Values are integers: nanoseconds for durations, bytes for sizes.
///
/// There is no counter of its own: the count is the sum of the buckets, so that both always agree.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static Bounds,
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: WindowMax,
    /// The latest of each bucket; made when the first is recorded.
    exemplars: OnceLock<Box<[Mutex<Option<Exemplar>>; BUCKETS]>>,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static Bounds) -> Self {
        Self {
            bounds,
            buckets: Default::default(),
            sum: AtomicU64::new(0),
            max: WindowMax::default(),
            exemplars: OnceLock::new(),
        }
    }

    /// Records one observation, and returns the number of its bucket.
    pub(crate) fn record(&self, value: u64, epoch: Epoch) -> usize {
        let bucket = self.bounds.bucket(value);
        if RECORDS {
            self.buckets[bucket].fetch_add(1, Relaxed);
            self.sum.fetch_add(value, Relaxed);
            self.max.record(value, epoch);
        }
        bucket
    }

    /// Records one observation that was made at `at` and may have a trace.
    pub(crate) fn record_traced(
        &self,
        value: u64,
        epoch: Epoch,
        at: Instant,
        trace: Option<TraceId>,
    ) {
        let bucket = self.record(value, epoch);
        let Some(trace) = trace.filter(|_| RECORDS) else {
            return;
        };
        let slots = self.exemplars.get_or_init(Box::default);
        // Whoever comes second is one example less, and does not wait.
        if let Ok(mut slot) = slots[bucket].try_lock() {
            *slot = Some(Exemplar { trace, value, at });
        }
    }

    /// Upper bound and count of each bucket, not cumulated; the last has no bound.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Option<&'static str>, u64)> {
        let bounds = self.bounds.rows.iter().map(|(_, text)| Some(*text));
        let bounds = bounds.chain([None]);
        bounds
            .zip(&self.buckets)
            .map(|(bound, count)| (bound, count.load(Relaxed)))
    }

    /// The latest example of the bucket with this number.
    pub(crate) fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        let slot = self.exemplars.get()?.get(bucket)?;
        *slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets().map(|(_, count)| count).sum()
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    pub(crate) fn max(&self, epoch: Epoch) -> u64 {
        self.max.value(epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::Clock;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let now = Instant::now();
        let epoch = Clock::new(now).epoch(now);
        let histogram = Histogram::new(&PAYLOAD);
        let values = [
            (0, 0),
            (1, 1),
            (64, 1),
            (65, 2),
            (1_048_576, 8),
            (1_048_577, 9),
            (u64::MAX >> 1, 9),
        ];
        for (value, bucket) in values {
            assert_eq!(histogram.record(value, epoch), bucket, "{value}");
        }
        let counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 2, 1, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(histogram.count(), 7);
        assert_eq!(histogram.max(epoch), u64::MAX >> 1);
    }

    #[test]
    fn bounds_grow_and_are_written_as_they_are() {
        for (bounds, unit) in [(&DURATION, 1e9), (&PAYLOAD, 1.0)] {
            for (index, (bound, text)) in bounds.rows.iter().enumerate() {
                assert_eq!(bounds.bucket(*bound), index);
                assert_eq!(bounds.bucket(*bound + 1), index + 1);
                let written: f64 = text.parse().unwrap();
                assert_eq!(written, *bound as f64 / unit);
                assert!(text.contains('.'), "{text}");
            }
        }
    }

    #[test]
    fn the_latest_example_of_each_bucket_is_kept() {
        let now = Instant::now();
        let epoch = Clock::new(now).epoch(now);
        let histogram = Histogram::new(&PAYLOAD);
        histogram.record_traced(70, epoch, now, None);
        assert!(histogram.exemplar(2).is_none());
        for (value, id) in [(70, 1), (80, 2), (5000, 3)] {
            histogram.record_traced(value, epoch, now, Some(TraceId(id)));
        }
        let found = |bucket| histogram.exemplar(bucket).map(|it| (it.trace, it.value));
        assert_eq!(found(2), Some((TraceId(2), 80)));
        assert_eq!(found(5), Some((TraceId(3), 5000)));
        assert_eq!(found(0), None);
    }
}
