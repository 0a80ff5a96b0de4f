//! What became of the connections that came to a listener.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What became of a connection before its protocol began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// It was handed over.
    Accepted,
    /// There was no place for it in the budget.
    OverBudget,
    /// It was to have TLS, and did not come to that.
    HandshakeFailed,
}

impl Arrived {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::OverBudget, Self::HandshakeFailed];

    /// What it is called in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::OverBudget => "over-budget",
            Self::HandshakeFailed => "handshake-failed",
        }
    }
}

/// The connections of one listener so far.
#[derive(Debug)]
pub struct Counts {
    listener: &'static str,
    counts: [AtomicU64; Arrived::ALL.len()],
}

impl Counts {
    pub(crate) fn new(listener: &'static str) -> Self {
        Self {
            listener,
            counts: Default::default(),
        }
    }

    pub(crate) fn count(&self, what: Arrived) {
        self.counts[what as usize].fetch_add(1, Relaxed);
    }

    /// The listener's section in the configuration.
    pub fn listener(&self) -> &'static str {
        self.listener
    }

    /// How many there were of this.
    pub fn of(&self, what: Arrived) -> u64 {
        self.counts[what as usize].load(Relaxed)
    }
}
