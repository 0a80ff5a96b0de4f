//! A registry that takes its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// Where look-ups wait while it is closed.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Waiting>);

struct Waiting {
    is_open: watch::Sender<bool>,
    asked: AtomicUsize,
}

impl Gate {
    /// One that is open.
    pub(super) fn new() -> Self {
        Self(Arc::new(Waiting {
            is_open: watch::Sender::new(true),
            asked: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn close(&self) {
        self.0.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.0.is_open.send_replace(true);
    }

    /// Look-ups that have come this far.
    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::Relaxed)
    }

    pub(super) async fn pass(self) {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        let mut is_open = self.0.is_open.subscribe();
        is_open.wait_for(|is_open| *is_open).await.unwrap();
    }
}
