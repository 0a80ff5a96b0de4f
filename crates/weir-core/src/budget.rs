//! How many connections this process may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of connections shared by all listeners. Clones share it.
#[derive(Clone, Debug)]
pub struct ConnectionBudget(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    limit: usize,
    open: AtomicUsize,
}

/// One connection's place in the budget, given back when dropped.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<Counts>);

impl ConnectionBudget {
    /// A budget of `limit` connections.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Counts {
            limit,
            open: AtomicUsize::new(0),
        }))
    }

    /// A place for one more connection, or `None` if all are taken.
    pub fn acquire(&self) -> Option<ConnectionPermit> {
        let more = |open: usize| (open < self.0.limit).then_some(open + 1);
        let taken = self
            .0
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.ok().map(|_| ConnectionPermit(self.0.clone()))
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Connections allowed.
    pub fn limit(&self) -> usize {
        self.0.limit
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_limit_fits_and_places_come_back() {
        let budget = ConnectionBudget::new(2);
        let first = budget.acquire();
        let second = budget.acquire();
        assert!(first.is_some() && second.is_some() && budget.acquire().is_none());
        drop(first);
        assert!(budget.acquire().is_some());
        drop(second);
        assert_eq!(budget.open(), 0);
    }
}
