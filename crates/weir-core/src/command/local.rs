//! The router of a gateway that shares its devices with no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;

use super::router::{
    CommandConsumer, CommandRouter, Consumers, Registration, Replaced, RouterUnavailable,
};
use crate::{DeviceId, TenantId};

/// Devices of a tenant whose gateway is remembered. When there are more, it starts anew: a command
/// then goes to any gateway that the device may have.
const SEEN: usize = 100_000;

/// Keeps all routes in this process.
#[derive(Debug, Default)]
pub struct LocalRouter {
    tenants: Mutex<Tenants>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Tenants {
    routes: HashMap<TenantId, Routes>,
    /// At how many tenants those are looked for that nothing is known of.
    sweep_at: usize,
}

/// Tenants from which on it is worth to look for those.
const SWEEP_FROM: usize = 1024;

impl Tenants {
    /// The routes of a tenant, which are made if there are none: applications may ask for any name.
    fn of(&mut self, tenant: &TenantId) -> &mut Routes {
        if !self.routes.contains_key(tenant) && self.routes.len() >= self.sweep_at {
            self.routes.retain(|_, routes| !routes.is_empty());
            self.sweep_at = SWEEP_FROM.max(2 * self.routes.len());
        }
        self.routes.entry(tenant.clone()).or_default()
    }
}

#[derive(Debug, Default)]
struct Routes {
    consumers: HashMap<DeviceId, Entry>,
    seen: HashMap<DeviceId, DeviceId>,
    is_wanted: watch::Sender<bool>,
}

#[derive(Debug)]
struct Entry {
    registration: Registration,
    consumer: Arc<dyn CommandConsumer>,
    until: Option<Instant>,
}

impl Routes {
    fn consumer(&self, device: &DeviceId, now: Instant) -> Option<Arc<dyn CommandConsumer>> {
        let entry = self.consumers.get(device)?;
        let has_ended = entry.until.is_some_and(|until| until <= now);
        (!has_ended).then(|| entry.consumer.clone())
    }

    /// Nothing would be lost with it.
    fn is_empty(&self) -> bool {
        let is_wanted = *self.is_wanted.borrow() || self.is_wanted.receiver_count() > 0;
        self.consumers.is_empty() && self.seen.is_empty() && !is_wanted
    }
}

impl LocalRouter {
    fn lock(&self) -> MutexGuard<'_, Tenants> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommandRouter for LocalRouter {
    fn register<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
        consumer: Arc<dyn CommandConsumer>,
        lifespan: Option<Duration>,
    ) -> BoxFuture<'a, Result<Registration, RouterUnavailable>> {
        let registration = Registration(self.next.fetch_add(1, Ordering::Relaxed));
        let entry = Entry {
            registration,
            consumer,
            until: lifespan.map(|lifespan| Instant::now() + lifespan),
        };
        let mut tenants = self.lock();
        let routes = tenants.of(tenant);
        let replaced = routes.consumers.insert(device.clone(), entry);
        routes.is_wanted.send_if_modified(want);
        drop(tenants);
        // Whoever was replaced is told by this, and may come back for the lock.
        drop(replaced);
        Box::pin(ready(Ok(registration)))
    }

    fn unregister<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
        registration: Registration,
    ) -> BoxFuture<'a, Result<(), Replaced>> {
        let mut tenants = self.lock();
        let removed = tenants.routes.get_mut(tenant).and_then(|routes| {
            let own = routes.consumers.get(device);
            own.filter(|entry| entry.registration == registration)?;
            routes.consumers.remove(device)
        });
        drop(tenants);
        let result = removed.map(|_| ()).ok_or(Replaced);
        Box::pin(ready(result))
    }

    fn find<'a>(
        &'a self,
        tenant: &'a TenantId,
        devices: &'a [DeviceId],
    ) -> BoxFuture<'a, Result<Consumers, RouterUnavailable>> {
        let now = Instant::now();
        let tenants = self.lock();
        let routes = tenants.routes.get(tenant);
        let found = devices.iter().map(|device| routes?.consumer(device, now));
        let found = found.collect();
        drop(tenants);
        Box::pin(ready(Ok(found)))
    }

    fn seen_at(&self, tenant: &TenantId, device: &DeviceId, gateway: &DeviceId) {
        let mut tenants = self.lock();
        let routes = tenants.of(tenant);
        if routes.seen.get(device) == Some(gateway) {
            return;
        }
        if routes.seen.len() >= SEEN {
            routes.seen.clear();
        }
        routes.seen.insert(device.clone(), gateway.clone());
    }

    fn last_seen_at<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Option<DeviceId>> {
        let tenants = self.lock();
        let seen = tenants
            .routes
            .get(tenant)
            .and_then(|routes| routes.seen.get(device));
        Box::pin(ready(seen.cloned()))
    }

    fn is_wanted(&self, tenant: &TenantId) -> watch::Receiver<bool> {
        let mut tenants = self.lock();
        tenants.of(tenant).is_wanted.subscribe()
    }

    fn forget(&self, tenant: &TenantId) {
        let mut tenants = self.lock();
        let Some(routes) = tenants.routes.get_mut(tenant) else {
            return;
        };
        routes.is_wanted.send_if_modified(std::mem::take);
        routes.seen.clear();
        // Consumers take themselves out when their connections are closed. Those of devices that nobody
        // authenticated stay.
        if routes.is_empty() {
            tenants.routes.remove(tenant);
        }
    }

    fn resume(&self, tenant: &TenantId) {
        let tenants = self.lock();
        if let Some(routes) = tenants.routes.get(tenant)
            && !routes.consumers.is_empty()
        {
            routes.is_wanted.send_if_modified(want);
        }
    }
}

/// Says that commands are of use; whether that is new.
fn want(is_wanted: &mut bool) -> bool {
    !std::mem::replace(is_wanted, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_applications_asked_for_are_not_kept_for_ever() {
        let router = LocalRouter::default();
        let kept = router.is_wanted(&"asked-for".into());
        for number in 0..10 * SWEEP_FROM {
            drop(router.is_wanted(&format!("tenant-{number}").as_str().into()));
        }
        let tenants = router.lock();
        assert!(tenants.routes.len() <= SWEEP_FROM);
        assert!(tenants.routes.contains_key("asked-for"));
        drop((tenants, kept));
    }
}
