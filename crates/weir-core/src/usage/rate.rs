//! A token bucket in one number. The present is always an argument.
//!
//! It is the generic cell rate algorithm (ITU-T I.371 §A.1): each message has the bucket be full again one
//! interval later, and may not have it be so later than a burst of messages does. No clock has to tick
//! for that, and no lock is needed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::MessageRate;

/// 146 years, in nanoseconds. With it no sum of times is too large.
const FOREVER: u64 = u64::MAX / 4;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Nanoseconds in which there is one token more.
    interval: u64,
    /// How much later than now the bucket may be full again for there to be one token: the nanoseconds
    /// of all tokens but one.
    tolerance: u64,
}

/// The tokens of whoever may send only so fast.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// When it is full again.
    full_at: AtomicU64,
}

impl Rate {
    /// `None` if there is no limit.
    pub(super) fn new(limit: &MessageRate) -> Option<Self> {
        let per_second = limit.max_messages_per_second;
        if per_second.is_nan() || per_second <= 0.0 {
            return None;
        }
        // Casts of floats keep to the bounds of the integer. Faster than in a nanosecond nothing comes.
        let interval = ((1e9 / per_second).round() as u64).clamp(1, FOREVER);
        let in_a_second = per_second.ceil() as u64;
        let burst = limit.burst.map_or(in_a_second, u64::from).max(1);
        Some(Self {
            interval,
            tolerance: interval.saturating_mul(burst - 1).min(FOREVER),
        })
    }
}

impl Bucket {
    /// Takes a token, at so many nanoseconds of some clock.
    ///
    /// # Errors
    /// After how long there is one, if there is none.
    pub(super) fn take(&self, rate: Rate, now: u64) -> Result<(), Duration> {
        let mut seen = self.full_at.load(Relaxed);
        loop {
            // Tokens may have been taken when the rate was slower. There are not less than none.
            let full_at = seen.min(now + rate.tolerance + rate.interval);
            let available_at = full_at.saturating_sub(rate.tolerance);
            let (next, taken) = if available_at <= now {
                (full_at.max(now) + rate.interval, Ok(()))
            } else {
                let wait = Duration::from_nanos(available_at - now);
                (full_at, Err(wait))
            };
            let changed = self
                .full_at
                .compare_exchange_weak(seen, next, Relaxed, Relaxed);
            match changed {
                Ok(_) => return taken,
                Err(other) => seen = other,
            }
        }
    }

    /// Puts a token back that was taken just now.
    pub(super) fn give_back(&self, rate: Rate) {
        let earlier = |at: u64| Some(at.saturating_sub(rate.interval));
        // It may have been filled in between, or have taken on another rate: it is never fuller than full.
        let _ = self.full_at.fetch_update(Relaxed, Relaxed, earlier);
    }

    /// Whether it says no more than one that was never used.
    pub(super) fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Relaxed) <= now
    }

    /// Fills it.
    pub(super) fn fill(&self) {
        self.full_at.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(per_second: f64, burst: Option<u32>) -> Option<Rate> {
        Rate::new(&MessageRate {
            max_messages_per_second: per_second,
            burst,
        })
    }

    /// How many of a thousand messages pass at a time.
    fn passes(bucket: &Bucket, rate: Rate, now: u64) -> usize {
        let taken = (0..1000).filter(|_| bucket.take(rate, now).is_ok());
        taken.count()
    }

    #[test]
    fn what_is_no_limit_limits_nothing() {
        for per_second in [-1.0, -0.5, 0.0, f64::NAN, f64::NEG_INFINITY] {
            assert!(rate(per_second, Some(1)).is_none(), "{per_second}");
        }
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_the_rate_allows() {
        // Per second, burst, how many pass at once, and how many so much later.
        let rows = [
            (1.0, None, 1, SECOND, 1),
            (1.0, None, 1, SECOND - 1, 0),
            (1.0, None, 1, 60 * SECOND, 1),
            (10.0, None, 10, SECOND, 10),
            (10.0, None, 10, SECOND / 2, 5),
            (10.0, Some(1), 1, SECOND, 1),
            (10.0, Some(30), 30, SECOND, 10),
            (10.0, Some(30), 30, 3600 * SECOND, 30),
            (1.5, None, 2, SECOND, 1),
            (1.5, None, 2, 2 * SECOND, 2),
            (0.1, None, 1, 10 * SECOND, 1),
            (0.1, None, 1, 10 * SECOND - 1, 0),
            (0.001, Some(3), 3, 1000 * SECOND, 1),
            (0.001, Some(0), 1, 1000 * SECOND, 1),
            // More than comes in 146 years does not pass at once.
            (f64::MIN_POSITIVE, Some(u32::MAX), 2, SECOND, 0),
            (f64::MIN_POSITIVE, None, 1, 1_000_000 * SECOND, 0),
            (f64::MAX, None, 1000, SECOND, 1000),
            (f64::INFINITY, None, 1000, SECOND, 1000),
        ];
        for row in rows {
            let (per_second, burst, at_once, later, then) = row;
            let rate = rate(per_second, burst).unwrap();
            for start in [0, 7 * SECOND] {
                let bucket = Bucket::default();
                assert_eq!(passes(&bucket, rate, start), at_once, "{row:?} {start}");
                assert_eq!(passes(&bucket, rate, start + later), then, "{row:?}");
            }
        }
    }

    #[test]
    fn a_refusal_costs_nothing_and_says_when_the_next_one_passes() {
        let rate = rate(0.1, Some(2)).unwrap();
        let bucket = Bucket::default();
        assert_eq!(passes(&bucket, rate, 0), 2);
        for (now, wait) in [(0, 10), (SECOND, 9), (4 * SECOND, 6)] {
            let refused = bucket.take(rate, now).unwrap_err();
            assert_eq!(refused, Duration::from_secs(wait));
        }
        assert!(bucket.take(rate, 10 * SECOND).is_ok());
        assert!(bucket.take(rate, 10 * SECOND).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let rate = rate(0.1, Some(2)).unwrap();
        let bucket = Bucket::default();
        assert_eq!(passes(&bucket, rate, 0), 2);
        bucket.give_back(rate);
        assert_eq!(passes(&bucket, rate, 0), 1);
    }

    #[test]
    fn a_bucket_is_full_when_all_tokens_are_there() {
        let rate = rate(1.0, Some(3)).unwrap();
        let bucket = Bucket::default();
        assert!(bucket.is_full(0));
        assert_eq!(passes(&bucket, rate, 0), 3);
        assert!(!bucket.is_full(3 * SECOND - 1));
        assert!(bucket.is_full(3 * SECOND));
        bucket.fill();
        assert!(bucket.is_full(0));
    }

    #[test]
    fn an_earlier_time_than_before_gives_away_the_difference_at_most() {
        let rate = rate(1.0, Some(2)).unwrap();
        let bucket = Bucket::default();
        assert_eq!(passes(&bucket, rate, 5 * SECOND), 2);
        assert_eq!(passes(&bucket, rate, 4 * SECOND), 0);
        assert_eq!(passes(&bucket, rate, 5 * SECOND), 1);
        assert_eq!(passes(&bucket, rate, 6 * SECOND), 1);
    }

    #[test]
    fn a_token_that_comes_back_to_a_full_bucket_is_one_too_many() {
        let rate = rate(0.001, Some(2)).unwrap();
        let bucket = Bucket::default();
        assert_eq!(passes(&bucket, rate, 0), 2);
        bucket.fill();
        bucket.give_back(rate);
        assert!(bucket.is_full(0));
        assert_eq!(passes(&bucket, rate, 0), 2);
    }

    #[test]
    fn another_rate_goes_on_with_the_time_that_the_bucket_needs_and_never_with_less_than_nothing() {
        // All tokens are taken at the first; how many pass at the second at once, and after so long.
        let rows = [
            ((0.001, Some(2)), (0.001, Some(5)), 3, 1000 * SECOND, 1),
            ((0.001, Some(5)), (0.001, Some(2)), 0, 1000 * SECOND, 1),
            ((0.001, Some(5)), (100.0, None), 0, SECOND / 100, 1),
            ((0.001, Some(5)), (100.0, None), 0, SECOND, 100),
            ((100.0, None), (0.5, Some(4)), 3, SECOND, 1),
        ];
        for row in rows {
            let (first, second, at_once, later, then) = row;
            let [first, second] = [first, second].map(|(per, burst)| rate(per, burst).unwrap());
            let bucket = Bucket::default();
            passes(&bucket, first, 0);
            assert_eq!(passes(&bucket, second, 0), at_once, "{row:?}");
            assert_eq!(passes(&bucket, second, later), then, "{row:?}");
        }
    }

    #[test]
    fn threads_that_take_at_the_same_time_get_no_more_than_there_is() {
        let rate = rate(0.001, Some(5000)).unwrap();
        let bucket = Bucket::default();
        let taken: usize = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(|| passes(&bucket, rate, 0)));
            let taken = threads.map(|thread| thread.join().unwrap());
            taken.iter().sum()
        });
        assert_eq!(taken, 5000);
    }
}
