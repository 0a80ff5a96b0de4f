//! What one tenant's devices have used, and whether it is too much.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use weir_metrics::Status;

use super::period::Rule;
use super::snapshot::{PeriodSum, TenantSums};
use crate::{ConnectionDuration, DataVolume, Reason, ResourceLimits, Tenant, Timestamp};

/// The counters of one tenant. Sessions hold it, so that a message finds it without a look-up.
#[derive(Debug)]
pub(crate) struct TenantUsage {
    /// Accounting sizes of messages that were forwarded or unprocessable. It only grows; what counts is
    /// how much it has grown since the period began.
    bytes: AtomicU64,
    volume: Mutex<Sum>,
    connected: Mutex<Connected>,
}

/// What a counter has grown by in the present period.
#[derive(Debug)]
struct Sum {
    rule: Rule,
    /// Whether there is a limit, or has been one.
    is_limited: bool,
    /// From when on has been counted.
    since: OffsetDateTime,
    /// What the counter showed then.
    base: u64,
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

/// A limit of a period, as it is configured.
#[derive(Clone, Copy, Debug)]
struct Limit {
    rule: Rule,
    most: u64,
}

/// A limit as it is now.
#[derive(Clone, Copy, Debug)]
struct Effective {
    most: u64,
    until: OffsetDateTime,
}

/// How many bytes a tenant's devices may exchange until a point in time, and what they have so far.
/// Nothing in it is shared but one counter, so each message may ask.
#[derive(Debug)]
pub(crate) struct Volume {
    usage: Arc<TenantUsage>,
    base: u64,
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
            volume: volume.into(),
            connected: connected.into(),
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
        self.volume_at(tenant, OffsetDateTime::now_utc())
    }

    pub(super) fn volume_at(
        self: &Arc<Self>,
        tenant: &Tenant,
        now: OffsetDateTime,
    ) -> Option<Volume> {
        let limit = Limit::of_volume(tenant.resource_limits.as_ref()?)?;
        let mut sum = lock(&self.volume);
        let effective = sum.apply(limit, now, self.bytes.load(Relaxed));
        Some(Volume {
            usage: self.clone(),
            base: sum.base,
            effective,
        })
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
        if let Some(limit) = limits.and_then(Limit::of_duration) {
            let seconds = connected.time.as_secs();
            let effective = connected.sum.apply(limit, now, seconds);
            if connected.sum.consumed(seconds) / 60 >= effective.most {
                return Err(Reason::ConnectionDurationExceeded);
            }
        }
        let least = tenant.accounting_size(1);
        let volume = self.volume_at(tenant, now);
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
        let data_volume = lock(&self.volume).store(now, bytes);
        let mut connected = lock(&self.connected);
        connected.pass(at);
        let seconds = connected.time.as_secs();
        let connection_duration = connected.sum.store(now, seconds);
        TenantSums {
            data_volume,
            connection_duration,
        }
    }
}

impl Volume {
    /// Whether it has to be asked for anew, because another period has begun.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over_at(OffsetDateTime::now_utc())
    }

    pub(super) fn is_over_at(&self, now: OffsetDateTime) -> bool {
        now >= self.effective.until
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

impl Limit {
    /// `None` if there is none, which is what -1 means.
    fn of_volume(limits: &ResourceLimits) -> Option<Self> {
        let DataVolume {
            effective_since,
            max_bytes,
            period,
        } = *limits.data_volume.as_ref()?;
        Some(Self {
            rule: Rule::new(effective_since, period)?,
            most: u64::try_from(max_bytes).ok()?,
        })
    }

    fn of_duration(limits: &ResourceLimits) -> Option<Self> {
        let ConnectionDuration {
            effective_since,
            max_minutes,
            period,
        } = *limits.connection_duration.as_ref()?;
        Some(Self {
            rule: Rule::new(effective_since, period)?,
            most: u64::try_from(max_minutes).ok()?,
        })
    }
}

impl Sum {
    /// The sum, and what its counter begins with.
    fn restore(stored: Option<PeriodSum>, now: OffsetDateTime) -> (Self, u64) {
        let read = stored.and_then(|stored| {
            let rule = Rule::new(stored.effective_since, Some(stored.period))?;
            Some((rule, stored.since.into(), stored.consumed))
        });
        let is_limited = read.is_some();
        let (rule, since, counter) = read.unwrap_or((Rule::CALENDAR, now, 0));
        let sum = Self {
            rule,
            is_limited,
            since,
            base: 0,
        };
        (sum, counter)
    }

    fn apply(&mut self, limit: Limit, now: OffsetDateTime, counter: u64) -> Effective {
        self.is_limited = true;
        self.rule = limit.rule;
        self.advance(now, counter);
        match limit.rule.window(now) {
            Some(window) => Effective {
                most: window.limit(limit.most),
                until: window.end,
            },
            None => Effective {
                most: 0,
                until: limit.rule.first(),
            },
        }
    }

    /// Starts anew if a period has begun since it started. What was counted since the period began
    /// stays, also if another rule says so now than when it was counted.
    fn advance(&mut self, now: OffsetDateTime, counter: u64) {
        // The clock may have been ahead.
        self.since = self.since.min(now);
        if let Some(window) = self.rule.window(now)
            && window.start > self.since
        {
            self.since = window.start;
            self.base = counter;
        }
    }

    fn consumed(&self, counter: u64) -> u64 {
        counter.saturating_sub(self.base)
    }

    fn store(&mut self, now: OffsetDateTime, counter: u64) -> Option<PeriodSum> {
        self.advance(now, counter);
        let consumed = self.consumed(counter);
        (self.is_limited && consumed > 0).then(|| PeriodSum {
            effective_since: Timestamp::from(self.rule.first()),
            period: self.rule.period(),
            since: Timestamp::from(self.since),
            consumed,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
