//! Events: stored before their device is told that they were taken, and kept until an application has
//! accepted them (northbound contract §1.1).
//!
//! * [`Outlet`] encodes an event once and appends it to the store (`outlet.rs`, `stored.rs`).
//! * [`Link`] is an application's link to `event/{tenant}` or to `event-dlq/{tenant}`, where the dead
//!   letters are; it takes from the store what there is credit for (`link.rs`), within what the links
//!   of its session may have (`share.rs`). What others may know of it is in `seats.rs`.
//! * What an application gives back is offered again at once the first time and after a growing pause
//!   then, so that a fault that lasts does not use up all attempts (`delay.rs`).

mod config;
mod delay;
mod link;
mod outlet;
mod seats;
mod share;
mod stored;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use weir_core::TenantId;
use weir_event_store::EventStore;
use weir_metrics::{AmqpType, Metrics};

use crate::figures::ConsumerFigures;
use crate::meters::Meters;
use delay::Delays;
use outlet::Outlet;
use seats::{Seat, Seats};

pub use config::EventsConfig;
pub(crate) use link::{EventToken, Link};

/// How often it is looked for events that have expired.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// Message ids that a process may give before it runs into those of one that starts a millisecond
/// later, as a power of two.
const IDS_PER_MILLISECOND: u32 = 20;

/// The events of all tenants.
#[derive(Debug)]
pub(crate) struct Events {
    store: EventStore,
    delays: Delays,
    metrics: Metrics,
    seats: Seats,
    /// The next event's number, which no other has had.
    number: AtomicU64,
}

impl Events {
    pub(crate) fn new(store: EventStore, metrics: Metrics) -> Self {
        let started = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        let started = u64::try_from(started).unwrap_or_default();
        Self {
            delays: Delays::new(store.clone()),
            store,
            metrics,
            seats: Seats::default(),
            number: AtomicU64::new(started << IDS_PER_MILLISECOND),
        }
    }

    /// What is measured of a new link to a tenant's events, and where it tells of itself.
    fn watch(&self, tenant: &TenantId) -> (Meters, Arc<Seat>) {
        let meters = Meters::new(&self.metrics, tenant, AmqpType::Event);
        (meters, self.seats.add(tenant))
    }

    /// The links to events, each with its tenant.
    pub(crate) fn consumers(&self) -> Vec<(TenantId, ConsumerFigures)> {
        self.seats.figures()
    }

    /// Where the events of a tenant leave.
    pub(crate) fn outlet(self: &Arc<Self>, tenant: &TenantId) -> Outlet {
        Outlet::new(self.clone(), tenant)
    }

    /// Drops what has expired, so that nobody gets it.
    pub(crate) async fn expire(&self) {
        while self.store.expire(OffsetDateTime::now_utc()).more {
            tokio::task::yield_now().await;
        }
    }

    /// Drops what expires and offers again what was given back, until `stop` is cancelled, which is to
    /// be done when all links have ended. Then nothing is out any more and the store is closed.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let expiry = stop.run_until_cancelled(self.keep_expiring());
        let delays = self.delays.run(&stop);
        tokio::join!(expiry, delays);
        self.store.close().await;
    }

    async fn keep_expiring(&self) {
        let mut interval = tokio::time::interval(EXPIRY_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.expire().await;
        }
    }
}
