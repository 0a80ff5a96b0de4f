//! What tenants use, for their limits (device contract §1.12).
//!
//! * [`Usage`] keeps the counters of all tenants ([`TenantUsage`]) and hands each session its own.
//! * A message adds its size to one counter when its record is written. Whether the next one is too much
//!   is told by a [`Volume`]: the period's limit and end, resolved once with everything else that a
//!   session knows of its tenant, and anew when the tenant's configuration or the period changes.
//! * Whether the next one comes too fast is told by a [`Pace`], from buckets of tokens: `rate.rs` is one of
//!   them, `pace.rs` has those of a tenant and its devices. They are not kept over restarts.
//! * A connection takes a [`Seat`], and is refused one if there are too many or too much was used.
//! * `period.rs` says when periods begin and how much of a limit the first of them gets, `sum.rs` what was
//!   used in the present one.
//! * [`UsageSnapshot`] is what outlives the process.
//!
//! Everything is counted for every tenant. Without a limit that is by the months of the calendar: a limit
//! that is set later finds what this process has counted in the month, if its period began with the
//! month or before. A limit that changes within a period holds for what was used in it so far. When the
//! period's rule changes, the sum goes on if the new period began before counting did, and else starts
//! anew: which part of it the new period has is not known. A clock that goes back begins no period, and
//! what a tenant that was deleted has used is forgotten.
//!
//! A message is counted when its outcome is known, so those that are in flight at the same time may
//! together pass the limit. What is counted is what this process has taken.

mod pace;
mod period;
mod rate;
mod snapshot;
mod sum;
mod tenant;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use time::OffsetDateTime;

use crate::{ChangeKind, ChangeListener, ChangeSubject, RegistryChange, TenantId};

pub(crate) use pace::Pace;
pub use snapshot::{PeriodSum, TenantSums, UsageSnapshot};
pub(crate) use tenant::{Seat, TenantUsage, Volume};

/// What tenants have used in this process. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Usage(Arc<RwLock<Tenants>>);

#[derive(Debug, Default)]
struct Tenants {
    known: HashMap<TenantId, Arc<TenantUsage>>,
    /// At how many tenants those are looked for of which nothing has to be kept.
    sweep_at: usize,
}

/// Tenants from which on it is worth to look for those.
const SWEEP_FROM: usize = 1024;

impl Usage {
    /// Goes on where another process has ended.
    pub fn restore(snapshot: UsageSnapshot) -> Self {
        let (now, at) = (OffsetDateTime::now_utc(), Instant::now());
        let restored = snapshot.tenants.into_iter().map(|(tenant, sums)| {
            let usage = TenantUsage::restore(sums, now, at);
            (TenantId::from(&*tenant), Arc::new(usage))
        });
        let tenants = Tenants {
            known: restored.collect(),
            sweep_at: 0,
        };
        Self(Arc::new(RwLock::new(tenants)))
    }

    /// What is to outlive this process. It is to be asked for every few seconds: this is also what has
    /// the periods of open connections begin.
    pub fn snapshot(&self) -> UsageSnapshot {
        self.snapshot_at(OffsetDateTime::now_utc(), Instant::now())
    }

    fn snapshot_at(&self, now: OffsetDateTime, at: Instant) -> UsageSnapshot {
        let tenants = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<_> = tenants
            .known
            .iter()
            .map(|(tenant, usage)| (tenant.clone(), usage.clone()))
            .collect();
        drop(tenants);
        let sums = known
            .iter()
            .map(|(tenant, usage)| (tenant.to_string(), usage.sums(now, at)));
        UsageSnapshot {
            tenants: sums.filter(|(_, sums)| !sums.is_empty()).collect(),
        }
    }

    /// The counters of a tenant that exists.
    pub(crate) fn of(&self, tenant: &TenantId) -> Arc<TenantUsage> {
        let tenants = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(usage) = tenants.known.get(tenant) {
            return usage.clone();
        }
        drop(tenants);
        let (now, at) = (OffsetDateTime::now_utc(), Instant::now());
        let mut tenants = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if tenants.known.len() >= tenants.sweep_at {
            tenants.sweep(now, at);
        }
        let make = || Arc::new(TenantUsage::new(now, at));
        let usage = tenants.known.entry(tenant.clone());
        usage.or_insert_with(make).clone()
    }
}

impl ChangeListener for Usage {
    /// A tenant that is made anew inherits nothing from one of that name. Sessions that go on for both
    /// still find one and the same counters.
    fn changed(&self, change: &RegistryChange) {
        let ChangeSubject::Tenant {
            change: ChangeKind::Deleted,
            ..
        } = change.subject
        else {
            return;
        };
        let mut tenants = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(usage) = tenants.known.get(&change.tenant) else {
            return;
        };
        if Arc::strong_count(usage) > 1 {
            usage.reset(OffsetDateTime::now_utc(), Instant::now());
        } else {
            tenants.known.remove(&change.tenant);
        }
    }
}

impl Tenants {
    /// Forgets those that nobody holds and of which nothing is to be kept: they have no limit, and their
    /// buckets are full.
    fn sweep(&mut self, now: OffsetDateTime, at: Instant) {
        self.known.retain(|_, usage| {
            let is_held = Arc::strong_count(usage) > 1;
            is_held || !usage.sums(now, at).is_empty() || usage.buckets().are_in_use(at)
        });
        self.sweep_at = SWEEP_FROM.max(2 * self.known.len());
    }
}
