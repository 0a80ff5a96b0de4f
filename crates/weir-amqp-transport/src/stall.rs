//! A peer that takes nothing.

use std::time::{Duration, Instant};

/// Since when a stream has passed nothing on although something waits.
///
/// A stream that buffers (TLS) goes on taking octets for a while after its socket has stopped. So what it takes is
/// progress only once it has refused some; before, that it is flushed is.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    since: Option<Instant>,
    /// The last write was refused.
    is_refused: bool,
}

impl Stall {
    /// Nothing more is taken.
    pub(crate) fn refused(&mut self, now: Instant) {
        self.is_refused = true;
        self.since.get_or_insert(now);
    }

    /// What was taken is held back.
    pub(crate) fn held_back(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Something was taken.
    pub(crate) fn taken(&mut self) {
        if self.is_refused {
            *self = Self::default();
        }
    }

    /// Nothing is held back any more.
    pub(crate) fn flushed(&mut self) {
        *self = Self::default();
    }

    /// When `patience` is at its end.
    pub(crate) fn deadline(&self, patience: Option<Duration>) -> Option<Instant> {
        self.since?.checked_add(patience?)
    }
}
