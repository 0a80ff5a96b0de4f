//! A tenant, its two queues and what they count.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::event::{Budget, Queue};
use crate::options::Budgets;
use crate::waiting::Waiting;
use crate::{QueueFigures, TenantFigures};

#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) name: Arc<str>,
    /// Whether the disk knows its number.
    pub(crate) is_stored: bool,
    pub(crate) event: Queued,
    pub(crate) dead: Queued,
    pub(crate) refused: u64,
    pub(crate) expired: u64,
    pub(crate) dead_lettered: u64,
}

/// One of its queues.
#[derive(Debug, Default)]
pub(crate) struct Queued {
    pub(crate) waiting: Waiting,
    pub(crate) takers: usize,
    /// Events here, those not written yet and those not removed yet included.
    count: u64,
    bytes: u64,
    arrivals: watch::Sender<()>,
}

impl Tenant {
    pub(crate) fn new(name: Arc<str>, is_stored: bool) -> Self {
        Self {
            name,
            is_stored,
            event: Queued::default(),
            dead: Queued::default(),
            refused: 0,
            expired: 0,
            dead_lettered: 0,
        }
    }

    pub(crate) fn queue(&mut self, queue: Queue) -> &mut Queued {
        match queue {
            Queue::Event => &mut self.event,
            Queue::DeadLetter => &mut self.dead,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.event.count == 0 && self.dead.count == 0
    }

    /// Whether nothing is lost if it is forgotten.
    pub(crate) fn is_unused(&self) -> bool {
        let is_unused = |queue: &Queued| queue.takers == 0 && queue.arrivals.receiver_count() == 0;
        !self.is_stored && self.is_empty() && is_unused(&self.event) && is_unused(&self.dead)
    }

    /// The budget that one more event would exceed, if it would.
    pub(crate) fn exceeded(
        &self,
        budgets: &Budgets,
        queue: Queue,
        len: u32,
        now: u32,
    ) -> Option<Budget> {
        let is_too_old = |limit| self.event.age(now).is_some_and(|age| age > limit);
        if self.event.count + self.dead.count >= budgets.count {
            Some(Budget::Count)
        } else if self.event.bytes + self.dead.bytes + u64::from(len) > budgets.bytes {
            Some(Budget::Bytes)
        } else if queue == Queue::Event && budgets.age.is_some_and(is_too_old) {
            Some(Budget::Age)
        } else {
            None
        }
    }

    pub(crate) fn figures(&self, now: u32) -> TenantFigures {
        TenantFigures {
            tenant: self.name.clone(),
            events: self.event.figures(now),
            dead_letters: self.dead.figures(now),
            refused: self.refused,
            expired: self.expired,
            dead_lettered: self.dead_lettered,
        }
    }
}

impl Queued {
    /// Counts an event, before it is written.
    pub(crate) fn count(&mut self, len: u32) {
        self.count += 1;
        self.bytes += u64::from(len);
    }

    /// Does not count an event any more.
    pub(crate) fn forget(&mut self, len: u32) {
        self.count -= 1;
        self.bytes -= u64::from(len);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.arrivals.subscribe()
    }

    /// Tells all who watch that there may be something to take.
    pub(crate) fn wake(&self) {
        self.arrivals.send_replace(());
    }

    fn age(&self, now: u32) -> Option<Duration> {
        let oldest = self.waiting.oldest()?;
        Some(Duration::from_secs(
            now.saturating_sub(oldest.stored).into(),
        ))
    }

    fn figures(&self, now: u32) -> QueueFigures {
        QueueFigures {
            count: self.count,
            bytes: self.bytes,
            oldest_age: self.age(now),
        }
    }
}
