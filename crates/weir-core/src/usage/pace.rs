//! Whose messages may come how fast: the buckets of a tenant and its devices.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::TenantUsage;
use super::rate::{Bucket, Rate};
use crate::{DeviceId, RateOf, Reason, Tenant};

/// Devices' buckets that are kept of one tenant, apart from those that sessions hold.
pub(super) const KEPT: usize = 100_000;
/// Buckets from which on it is worth to look for those that are full.
const SWEEP_FROM: usize = 1024;

/// The buckets of one tenant.
#[derive(Debug)]
pub(super) struct Buckets {
    /// When their clock has begun.
    start: Instant,
    tenant: Bucket,
    devices: Mutex<Devices>,
    /// Whether there are any of devices.
    has_devices: AtomicBool,
}

#[derive(Debug, Default)]
struct Devices {
    /// One that is full may be left out.
    known: HashMap<DeviceId, Arc<Bucket>>,
    /// At how many of them those are looked for that are full.
    sweep_at: usize,
}

/// How fast messages of a device may come, as long as its tenant is configured as it is. Nothing in it is
/// shared but two numbers, so each message may ask.
#[derive(Debug)]
pub(crate) struct Pace {
    usage: Arc<TenantUsage>,
    tenant: Option<Rate>,
    device: Option<(Rate, Arc<Bucket>)>,
}

impl Pace {
    /// `None` is as fast as they like.
    pub(super) fn new(
        usage: &Arc<TenantUsage>,
        tenant: &Tenant,
        device: &DeviceId,
    ) -> Option<Self> {
        let limits = tenant.resource_limits.as_ref();
        let rates = limits.and_then(|limits| limits.message_rate.as_ref());
        let tenant = rates.and_then(|rates| Rate::new(rates.tenant.as_ref()?));
        let per_device = rates.and_then(|rates| Rate::new(rates.device.as_ref()?));
        let buckets = usage.buckets();
        let device = match per_device {
            Some(rate) => Some((rate, buckets.of(device, Instant::now()))),
            None => {
                buckets.forget_devices();
                None
            }
        };
        (tenant.is_some() || device.is_some()).then(|| Self {
            usage: usage.clone(),
            tenant,
            device,
        })
    }

    /// Lets a message pass, if it does not come too fast.
    ///
    /// # Errors
    /// The reason why it may not. It has cost nothing then: neither those who keep to a tenant's rate pay
    /// for a device that does not keep to its own, nor a device for its tenant's others.
    pub(crate) fn take(&self) -> Result<(), Reason> {
        self.take_at(Instant::now())
    }

    pub(super) fn take_at(&self, at: Instant) -> Result<(), Reason> {
        let buckets = self.usage.buckets();
        let now = buckets.now(at);
        if let Some((rate, bucket)) = &self.device {
            let taken = bucket.take(*rate, now);
            taken.map_err(|wait| Reason::MessageRateExceeded(RateOf::Device, wait))?;
        }
        if let Some(rate) = self.tenant {
            buckets.tenant.take(rate, now).map_err(|wait| {
                if let Some((rate, bucket)) = &self.device {
                    bucket.give_back(*rate);
                }
                Reason::MessageRateExceeded(RateOf::Tenant, wait)
            })?;
        }
        Ok(())
    }
}

impl Buckets {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            tenant: Bucket::default(),
            devices: Mutex::default(),
            has_devices: AtomicBool::new(false),
        }
    }

    /// Whether one of them says anything.
    pub(super) fn are_in_use(&self, at: Instant) -> bool {
        let now = self.now(at);
        let is_used = |bucket: &Arc<Bucket>| !bucket.is_full(now);
        !self.tenant.is_full(now) || self.lock().known.values().any(is_used)
    }

    /// Fills them all.
    pub(super) fn reset(&self) {
        self.tenant.fill();
        self.lock().known.values().for_each(|bucket| bucket.fill());
        self.forget_devices();
    }

    /// Those of devices are not needed any more, except by sessions that do not know yet. Most tenants never
    /// have any, and are not to wait for each other here.
    fn forget_devices(&self) {
        if self.has_devices.load(Relaxed) && self.has_devices.swap(false, Relaxed) {
            let mut devices = self.lock();
            devices.known.retain(|_, bucket| is_held(bucket));
            devices.known.shrink_to_fit();
        }
    }

    fn of(&self, device: &DeviceId, at: Instant) -> Arc<Bucket> {
        let mut devices = self.lock();
        if let Some(bucket) = devices.known.get(device) {
            return bucket.clone();
        }
        if devices.known.len() >= devices.sweep_at {
            devices.sweep(self.now(at));
        }
        self.has_devices.store(true, Relaxed);
        let bucket = devices.known.entry(device.clone());
        bucket.or_default().clone()
    }

    /// Nanoseconds of their clock.
    fn now(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.start);
        u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX / 4)
    }

    fn lock(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn known_devices(&self) -> usize {
        self.lock().known.len()
    }
}

impl Devices {
    /// Forgets those that are full, unless a session holds them: another session of the device would get
    /// another bucket. Where very many are left, all that no session holds are forgotten: it is better to
    /// let a burst through than to use memory without bound, and the tenant's own rate holds all the same.
    fn sweep(&mut self, now: u64) {
        let mut held = 0;
        self.known.retain(|_, bucket| {
            held += usize::from(is_held(bucket));
            is_held(bucket) || !bucket.is_full(now)
        });
        // With less room than that the next time would be soon.
        if self.known.len().saturating_sub(held) > KEPT / 2 {
            self.known.retain(|_, bucket| is_held(bucket));
        }
        let others = self.known.len().saturating_sub(held);
        let room = (2 * others).clamp(SWEEP_FROM, KEPT);
        // Those that are held are walked over too.
        self.sweep_at = held + room.max(held / 2);
    }
}

/// Whether a session has it in use. Only who has the store's lock takes one from there.
fn is_held(bucket: &Arc<Bucket>) -> bool {
    Arc::strong_count(bucket) > 1
}
