//! How many events the links of a session may have on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Events of a session's links together that may be taken or wait for their outcome: half of what the
/// engine lets a session have unsettled. They have no time-out, so without a bound of their own they
/// could stop whatever else is sent in the session.
const MOST: usize = 2048;
/// What each link may have, whatever the others have.
const LEAST: usize = 4;

/// What one link has of it. Dropped, it has nothing.
#[derive(Debug)]
pub(super) struct Share {
    /// Of all links of the session.
    all: Arc<AtomicUsize>,
    own: usize,
}

impl Share {
    /// A share beside another one of the same session, if there is one.
    pub(super) fn beside(other: Option<&Self>) -> Self {
        let all = other.map_or_else(Arc::default, |other| other.all.clone());
        Self { all, own: 0 }
    }

    /// How many more this link may have.
    pub(super) fn room(&self) -> usize {
        let kept_for_others = LEAST * (Arc::strong_count(&self.all) - 1);
        let left = MOST.saturating_sub(kept_for_others + self.all.load(Ordering::Relaxed));
        left.max(LEAST.saturating_sub(self.own))
    }

    pub(super) fn take(&mut self, count: usize) {
        self.own += count;
        self.all.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn give(&mut self, count: usize) {
        let count = count.min(self.own);
        self.own -= count;
        self.all.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give(self.own);
    }
}

#[cfg(test)]
mod tests {
    use weir_amqp_engine::Config;

    use super::*;

    #[test]
    fn the_links_of_a_session_share_half_of_it_and_none_is_left_without() {
        assert_eq!(2 * MOST, Config::default().max_unsettled);
        let mut first = Share::beside(None);
        let mut second = Share::beside(Some(&first));
        assert_eq!(first.room(), MOST - LEAST);
        first.take(first.room());
        assert_eq!(first.room(), 0);
        for _ in 0..LEAST {
            assert!(second.room() > 0);
            second.take(1);
        }
        assert_eq!(second.room(), 0);
        assert_eq!(first.all.load(Ordering::Relaxed), MOST);
        // Who comes later has its share too.
        let late = Share::beside(Some(&second));
        assert_eq!(late.room(), LEAST);
        first.give(100);
        assert!(second.room() > 0);
        drop(first);
        assert_eq!(second.room(), MOST - 2 * LEAST);
        assert_eq!(Share::beside(None).room(), MOST, "of another session");
    }
}
