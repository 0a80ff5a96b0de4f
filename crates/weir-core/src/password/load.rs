//! How much there is to check.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a [`PasswordVerifier`](crate::PasswordVerifier) has to do with expensive hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PasswordFigures {
    /// Checks that were begun.
    pub checks: u64,
    /// Checks that run.
    pub running: u64,
    /// Those who wait for their turn: for a processor, or for another check of the same hash.
    pub waiting: u64,
}

#[derive(Debug, Default)]
pub(super) struct Load {
    checks: AtomicU64,
    running: AtomicU64,
    waiting: AtomicU64,
}

/// One more, for as long as it is held.
#[must_use]
pub(super) struct OneMore {
    load: Arc<Load>,
    count: fn(&Load) -> &AtomicU64,
}

impl Load {
    /// Somebody waits for a check.
    pub(super) fn waits(self: &Arc<Self>) -> OneMore {
        OneMore::new(self, |load| &load.waiting)
    }

    /// A check runs.
    pub(super) fn runs(self: &Arc<Self>) -> OneMore {
        self.checks.fetch_add(1, Ordering::Relaxed);
        OneMore::new(self, |load| &load.running)
    }

    pub(super) fn figures(&self) -> PasswordFigures {
        PasswordFigures {
            checks: self.checks.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }
}

impl OneMore {
    fn new(load: &Arc<Load>, count: fn(&Load) -> &AtomicU64) -> Self {
        count(load).fetch_add(1, Ordering::Relaxed);
        Self {
            load: load.clone(),
            count,
        }
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        (self.count)(&self.load).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_still_a_check_and_does_not_run() {
        let load = Arc::new(Load::default());
        let figures = |checks, running, waiting| PasswordFigures {
            checks,
            running,
            waiting,
        };
        let (waiting, running) = (load.waits(), load.runs());
        assert_eq!(load.figures(), figures(1, 1, 1));
        drop((waiting, running));
        assert_eq!(load.figures(), figures(1, 0, 0));
    }
}
