//! What one tenant's devices have used, and whether it is too much.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use weir_metrics::Status;

use super::pace::{Buckets, Pace};
use super::snapshot::TenantSums;
use super::sum::{Effective, Limit, Sum};
use crate::{DeviceId, Reason, Tenant};

/// The counters of one tenant. Sessions hold it, so that a message finds it without a look-up.
#[derive(Debug)]
pub(crate) struct TenantUsage {
    /// Accounting sizes of messages that were forwarded or unprocessable. It only grows; what counts is
    /// how much it has grown since the period began.
    bytes: AtomicU64,
    volume: Mutex<Sum>,
    /// Whether `volume` goes by a limit.
    is_volume_limited: AtomicBool,
    /// That of `volume`.
    era: AtomicU64,
    connected: Mutex<Connected>,
    buckets: Buckets,
}

#[derive(Debug)]
struct Connected {
    open: u32,
    /// Until when `time` is right.
    until: Instant,
    /// How long the tenant's connections have been open, all together. It only grows.
    time: Duration,
    /// In seconds.
    sum: Sum,
}

/// How many bytes a tenant's devices may exchange until a point in time, and what they have so far.
/// Nothing in it is shared but one counter, so each message may ask.
#[derive(Debug)]
pub(crate) struct Volume {
    usage: Arc<TenantUsage>,
    base: u64,
    era: u64,
    effective: Effective,
}

/// An open connection's claim to be one of so many; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<TenantUsage>);

impl TenantUsage {
    pub(super) fn new(now: OffsetDateTime, at: Instant) -> Self {
        Self::restore(TenantSums::default(), now, at)
    }

    pub(super) fn restore(sums: TenantSums, now: OffsetDateTime, at: Instant) -> Self {
        let (volume, bytes) = Sum::restore(sums.data_volume, now);
        let (sum, seconds) = Sum::restore(sums.connection_duration, now);
        let connected = Connected {
            open: 0,
            until: at,
            time: Duration::from_secs(seconds),
            sum,
        };
        Self {
            bytes: bytes.into(),
            is_volume_limited: volume.has_limit().into(),
            era: volume.era().into(),
            volume: volume.into(),
            connected: connected.into(),
            buckets: Buckets::new(at),
        }
    }

    /// Counts a message or a command of which is known what became of it.
    pub(crate) fn count(&self, status: Status, size: u64) {
        match status {
            Status::Forwarded | Status::Unprocessable => {
                self.bytes.fetch_add(size, Relaxed);
            }
            Status::Undeliverable => {}
        }
    }

    /// How much the tenant's devices may exchange. `None` is as much as they like.
    pub(crate) fn volume(self: &Arc<Self>, tenant: &Tenant) -> Option<Volume> {
        self.volume_at(tenant, OffsetDateTime::now_utc(), Instant::now())
    }

    pub(super) fn volume_at(
        self: &Arc<Self>,
        tenant: &Tenant,
        now: OffsetDateTime,
        at: Instant,
    ) -> Option<Volume> {
        let limits = tenant.resource_limits.as_ref();
        let Some(limit) = limits.and_then(Limit::of_volume) else {
            // Most tenants never have one, and are not to wait for each other here.
            if self.is_volume_limited.load(Relaxed) {
                let mut sum = lock(&self.volume);
                sum.lift();
                self.is_volume_limited.store(false, Relaxed);
            }
            return None;
        };
        let mut sum = lock(&self.volume);
        let effective = sum.apply(limit, (now, at), self.bytes.load(Relaxed));
        self.is_volume_limited.store(true, Relaxed);
        self.era.store(sum.era(), Relaxed);
        Some(Volume {
            usage: self.clone(),
            base: sum.base(),
            era: sum.era(),
            effective,
        })
    }

    /// How fast messages of a device may come. `None` is as fast as they like.
    pub(crate) fn pace(self: &Arc<Self>, tenant: &Tenant, device: &DeviceId) -> Option<Pace> {
        Pace::new(self, tenant, device)
    }

    pub(super) fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// Takes in one more connection.
    ///
    /// # Errors
    /// If the tenant has as many as it may have, or its devices have been connected for too long or have
    /// exchanged too much (device contract §1.12).
    pub(crate) fn enter(self: &Arc<Self>, tenant: &Tenant) -> Result<Seat, Reason> {
        self.enter_at(tenant, OffsetDateTime::now_utc(), Instant::now())
    }

    pub(super) fn enter_at(
        self: &Arc<Self>,
        tenant: &Tenant,
        now: OffsetDateTime,
        at: Instant,
    ) -> Result<Seat, Reason> {
        let limits = tenant.resource_limits.as_ref();
        // Held until the place is taken, so that no two take the last one.
        let mut connected = lock(&self.connected);
        connected.pass(at);
        let most = limits.and_then(|limits| u32::try_from(limits.max_connections).ok());
        if most.is_some_and(|most| connected.open >= most) {
            return Err(Reason::TenantConnectionsExceeded);
        }
        let seconds = connected.time.as_secs();
        match limits.and_then(Limit::of_duration) {
            Some(limit) => {
                let effective = connected.sum.apply(limit, (now, at), seconds);
                if connected.sum.consumed(seconds) / 60 >= effective.most {
                    return Err(Reason::ConnectionDurationExceeded);
                }
            }
            None => connected.sum.lift(),
        }
        let least = tenant.accounting_size(1);
        let volume = self.volume_at(tenant, now, at);
        if volume.is_some_and(|volume| volume.refuses(least)) {
            return Err(Reason::DataVolumeExceeded);
        }
        connected.open = connected.open.saturating_add(1);
        Ok(Seat(self.clone()))
    }

    fn leave(&self, at: Instant) {
        let mut connected = lock(&self.connected);
        connected.pass(at);
        connected.open = connected.open.saturating_sub(1);
    }

    /// What is to outlive the process. Also has periods begin that nothing else has made begin: of
    /// connections that stay open nobody asks.
    pub(super) fn sums(&self, now: OffsetDateTime, at: Instant) -> TenantSums {
        let bytes = self.bytes.load(Relaxed);
        let mut volume = lock(&self.volume);
        let data_volume = volume.store((now, at), bytes);
        self.era.store(volume.era(), Relaxed);
        drop(volume);
        let mut connected = lock(&self.connected);
        connected.pass(at);
        let seconds = connected.time.as_secs();
        let connection_duration = connected.sum.store((now, at), seconds);
        TenantSums {
            data_volume,
            connection_duration,
        }
    }

    /// As if nothing had been used so far: whoever has this name from now on is another tenant. What is
    /// open stays so.
    pub(super) fn reset(&self, now: OffsetDateTime, at: Instant) {
        let mut volume = lock(&self.volume);
        volume.reset(now, self.bytes.load(Relaxed));
        self.era.store(volume.era(), Relaxed);
        self.is_volume_limited.store(false, Relaxed);
        drop(volume);
        let mut connected = lock(&self.connected);
        connected.pass(at);
        let seconds = connected.time.as_secs();
        connected.sum.reset(now, seconds);
        drop(connected);
        self.buckets.reset();
    }
}

impl Volume {
    /// Whether it has to be asked for anew, because another period has begun or the clock was put right.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over_at(OffsetDateTime::now_utc())
    }

    pub(super) fn is_over_at(&self, now: OffsetDateTime) -> bool {
        now >= self.effective.until || self.era != self.usage.era.load(Relaxed)
    }

    /// Whether a message of this accounting size is too much. An empty one never is.
    pub(crate) fn refuses(&self, size: u64) -> bool {
        let bytes = self.usage.bytes.load(Relaxed);
        let consumed = bytes.saturating_sub(self.base);
        size > 0 && consumed.saturating_add(size) > self.effective.most
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.leave(Instant::now());
    }
}

impl Connected {
    fn pass(&mut self, at: Instant) {
        let elapsed = at.saturating_duration_since(self.until);
        self.time = self.time.saturating_add(elapsed.saturating_mul(self.open));
        self.until = self.until.max(at);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
