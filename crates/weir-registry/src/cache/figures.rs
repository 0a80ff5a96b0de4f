//! How much a cache is asked, and how much of that it knows.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one cache of the registry has been good for since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheFigures {
    /// What is remembered: `tenant`, `anchor`, `assertion` or `credentials`.
    pub cache: &'static str,
    /// Questions that were answered from memory, or with what another had asked for already.
    pub hits: u64,
    /// Questions that the database was asked.
    pub misses: u64,
    /// Answers that are remembered, also those that there is no such thing. It may be a few seconds old.
    pub entries: u64,
}

#[derive(Default)]
pub(super) struct Uses {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Uses {
    pub(super) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn missed(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn figures(&self, cache: &'static str, entries: u64) -> CacheFigures {
        CacheFigures {
            cache,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries,
        }
    }
}
