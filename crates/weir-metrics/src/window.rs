//! A maximum that forgets.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Seconds one slot of a [`WindowMax`] covers.
const SLOT_SECONDS: u64 = 60;
const SLOTS: usize = 3;

/// Tells in which slot a moment lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

/// The number of a slot since the start, plus one: 0 is "never".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(u64);

impl Clock {
    pub(crate) const fn new(start: Instant) -> Self {
        Self { start }
    }

    pub(crate) fn epoch(self, now: Instant) -> Epoch {
        Epoch(now.saturating_duration_since(self.start).as_secs() / SLOT_SECONDS + 1)
    }
}

/// The largest value of the last two to three minutes: three slots of a minute each, the oldest
/// overwritten.
///
/// Two threads that meet at the change of a slot may lose one observation's claim to be the
/// maximum. That is the price of taking no lock, and no sum or count depends on it.
#[derive(Debug, Default)]
pub(crate) struct WindowMax {
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default)]
struct Slot {
    epoch: AtomicU64,
    max: AtomicU64,
}

impl WindowMax {
    pub(crate) fn record(&self, value: u64, Epoch(epoch): Epoch) {
        let slot = &self.slots[(epoch % SLOTS as u64) as usize];
        if slot.epoch.load(Relaxed) != epoch {
            slot.max.store(0, Relaxed);
            slot.epoch.store(epoch, Relaxed);
        }
        if value > slot.max.load(Relaxed) {
            slot.max.fetch_max(value, Relaxed);
        }
    }

    pub(crate) fn value(&self, Epoch(epoch): Epoch) -> u64 {
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

    /// The maximum after so many seconds, of values that were recorded after so many.
    fn maximum(recorded: &[(u64, u64)], after: u64) -> u64 {
        let start = Instant::now();
        let clock = Clock::new(start);
        let max = WindowMax::default();
        let epoch = |seconds| clock.epoch(start + Duration::from_secs(seconds));
        for (seconds, value) in recorded {
            max.record(*value, epoch(*seconds));
        }
        max.value(epoch(after))
    }

    #[test]
    fn the_maximum_decays() {
        let recorded = [(0, 70), (61, 50)];
        for (after, expected) in [(62, 70), (179, 70), (181, 50), (600, 0)] {
            assert_eq!(maximum(&recorded, after), expected, "{after} s");
        }
    }

    #[test]
    fn a_slot_is_used_again_after_three_minutes() {
        assert_eq!(maximum(&[(0, 70), (180, 10)], 180), 10);
    }

    #[test]
    fn nothing_recorded_is_zero() {
        assert_eq!(maximum(&[], 0), 0);
    }
}
