//! The links to events, as others see them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use weir_core::TenantId;

use crate::figures::ConsumerFigures;

/// Links from which on it is worth to look for those that have ended.
const SWEEP_FROM: usize = 64;

/// What a link tells of itself.
#[derive(Debug)]
pub(super) struct Seat {
    tenant: TenantId,
    credit: AtomicUsize,
    /// Events that were taken from the store and not sent yet.
    taken: AtomicUsize,
}

impl Seat {
    pub(super) fn set(&self, credit: usize, taken: usize) {
        self.credit.store(credit, Ordering::Relaxed);
        self.taken.store(taken, Ordering::Relaxed);
    }
}

/// All links there are.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    seats: Vec<Weak<Seat>>,
    /// At how many those that nobody has any more are looked for.
    sweep_at: usize,
}

impl Seats {
    pub(super) fn add(&self, tenant: &TenantId) -> Arc<Seat> {
        let seat = Arc::new(Seat {
            tenant: tenant.clone(),
            credit: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
        });
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.seats.len() >= taken.sweep_at.max(SWEEP_FROM) {
            taken.seats.retain(|seat| seat.strong_count() > 0);
            taken.sweep_at = 2 * taken.seats.len();
        }
        taken.seats.push(Arc::downgrade(&seat));
        seat
    }

    pub(super) fn figures(&self) -> Vec<(TenantId, ConsumerFigures)> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = taken.seats.iter().filter_map(Weak::upgrade);
        let figures = seats.map(|seat| {
            let figures = ConsumerFigures {
                links: 1,
                credit: seat.credit.load(Ordering::Relaxed),
                queued: seat.taken.load(Ordering::Relaxed),
            };
            (seat.tenant.clone(), figures)
        });
        figures.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_have_ended_leave_nothing_behind() {
        let seats = Seats::default();
        let stays = seats.add(&"acme".into());
        stays.set(7, 3);
        for _ in 0..10 * SWEEP_FROM {
            drop(seats.add(&"other".into()));
        }
        let expected = ConsumerFigures {
            links: 1,
            credit: 7,
            queued: 3,
        };
        assert_eq!(seats.figures(), [("acme".into(), expected)]);
        assert!(seats.0.lock().unwrap().seats.len() <= SWEEP_FROM);
    }
}
