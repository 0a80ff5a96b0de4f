//! Which tenants have series of their own.
//!
//! There is room for so many; whoever comes later is counted as `OVERFLOW`, together with all others
//! that do. Idle ones make room.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::tally::{Messages, Removed};
use crate::{Component, ConnectedMeter, Counter, TenantMeters};

/// Stands for tenants that are not known, or not real.
pub(crate) const UNKNOWN: &str = "UNKNOWN";

/// Stands for the tenants that have no series of their own. A real tenant of this name shares them.
pub(crate) const OVERFLOW: &str = "OVERFLOW";

/// Takes no place from tenants, and is never idle.
fn is_reserved(tenant: &str) -> bool {
    tenant == UNKNOWN || tenant == OVERFLOW
}

/// The handles of all tenants.
#[derive(Debug)]
pub(crate) struct Tenants {
    map: RwLock<Map>,
    most: usize,
    /// After how long without traffic a tenant's series go; zero is never.
    idle: Duration,
    pub(crate) evicted: Counter,
    pub(crate) folded: Folded,
}

#[derive(Debug, Default)]
struct Map {
    tenants: BTreeMap<Box<str>, Tenant>,
    /// Those of them that are real.
    own: usize,
    /// What those have counted that are gone.
    removed: Removed,
}

#[derive(Debug)]
struct Tenant {
    /// One for each component that knows the tenant.
    meters: Vec<Arc<TenantMeters>>,
    /// What [`TenantMeters::activity`] was at the last look, if there was one, and since when.
    activity: u64,
    since: Option<Instant>,
}

impl Tenants {
    pub(crate) fn new(most: usize, idle: Duration) -> Self {
        Self {
            map: RwLock::default(),
            most,
            idle,
            evicted: Counter::default(),
            folded: Folded::default(),
        }
    }

    /// The handles of `tenant` at `component`, which `make` makes for the name that it is given.
    pub(crate) fn get(
        &self,
        component: Component,
        tenant: &str,
        make: impl Fn(&str) -> TenantMeters,
    ) -> Arc<TenantMeters> {
        if let Some(known) = self.known(component, tenant) {
            return known;
        }
        let mut map = self.write();
        let has_place = is_reserved(tenant) || map.tenants.contains_key(tenant);
        let tenant = match has_place || map.own < self.most {
            true => tenant,
            false => OVERFLOW,
        };
        if !has_place && tenant != OVERFLOW {
            map.own += 1;
        }
        let place = map.tenants.entry(tenant.into());
        let place = place.or_insert_with(|| Tenant {
            meters: Vec::with_capacity(1),
            activity: 0,
            since: None,
        });
        // Somebody else may have been quicker.
        match place.at(component) {
            Some(known) => known.clone(),
            None => {
                let meters = Arc::new(make(tenant));
                place.meters.push(meters.clone());
                meters
            }
        }
    }

    /// Handles that there are already: its own, or those it shares because there is no room.
    fn known(&self, component: Component, tenant: &str) -> Option<Arc<TenantMeters>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let place = match map.tenants.get(tenant) {
            Some(own) => own,
            None if is_reserved(tenant) || map.own < self.most => return None,
            None => {
                self.folded.add(tenant);
                map.tenants.get(OVERFLOW)?
            }
        };
        place.at(component).cloned()
    }

    /// All handles, by tenant.
    pub(crate) fn all(&self) -> Vec<Arc<TenantMeters>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let places = map.tenants.values();
        places.flat_map(|place| &place.meters).cloned().collect()
    }

    /// The same, and what tenants that have been removed had counted: nobody is in both, or in neither.
    pub(crate) fn all_and_removed(&self) -> (Vec<Arc<TenantMeters>>, Vec<Messages>) {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let places = map.tenants.values();
        let all = places.flat_map(|place| &place.meters).cloned().collect();
        (all, map.removed.all())
    }

    /// Calls `visit` with all handles.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&TenantMeters)) {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        for meters in map.tenants.values().flat_map(|place| &place.meters) {
            visit(meters);
        }
    }

    /// Tenants that have series of their own.
    pub(crate) fn len(&self) -> usize {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.own
    }

    /// Removes the series of tenants that have been idle for long enough: nothing was recorded, no
    /// connection is open, and nobody holds their handles.
    pub(crate) fn evict(&self, now: Instant) {
        if self.idle.is_zero() {
            return;
        }
        let mut map = self.write();
        let Map {
            tenants, removed, ..
        } = &mut *map;
        let before = tenants.len();
        tenants.retain(|name, place| {
            if is_reserved(name) || !place.is_idle(now, self.idle) {
                return true;
            }
            let gone = place.take();
            gone.iter().flatten().for_each(|meters| removed.add(meters));
            gone.is_none()
        });
        let gone = before - map.tenants.len();
        map.own -= gone;
        for _ in 0..gone {
            self.evicted.increment();
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Map> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenant {
    fn at(&self, component: Component) -> Option<&Arc<TenantMeters>> {
        let mut meters = self.meters.iter();
        meters.find(|meters| meters.component() == component)
    }

    /// Whether it seems so; handles are weak at some places, so it may be wrong at once.
    fn is_idle(&mut self, now: Instant, limit: Duration) -> bool {
        let activity = self.meters.iter().map(|meters| meters.activity()).sum();
        if activity != self.activity {
            self.activity = activity;
            self.since = Some(now);
        }
        let since = *self.since.get_or_insert(now);
        let is_in_use = |meters: &Arc<TenantMeters>| {
            let open = meters.connected_if_any().map_or(0, ConnectedMeter::open);
            Arc::strong_count(meters) > 1 || open > 0
        };
        now.saturating_duration_since(since) >= limit && !self.meters.iter().any(is_in_use)
    }

    /// Takes all handles out, if nobody has any and nothing was recorded since the last look. Who has a weak
    /// one and takes it up at this moment keeps them, or comes too late to record in what is gone.
    fn take(&mut self) -> Option<Vec<TenantMeters>> {
        let mut gone = Vec::with_capacity(self.meters.len());
        for meters in std::mem::take(&mut self.meters) {
            match Arc::try_unwrap(meters) {
                Ok(meters) => gone.push(meters),
                Err(held) => self.meters.push(held),
            }
        }
        let activity: u64 = gone.iter().map(TenantMeters::activity).sum();
        if self.meters.is_empty() && activity == self.activity {
            return Some(gone);
        }
        self.meters.extend(gone.into_iter().map(Arc::new));
        None
    }
}

/// Counts tenants that share the series of `OVERFLOW`, each once.
///
/// They cannot all be remembered, so each has a bit; two that have the same one are counted as one.
/// Of a hundred thousand, 5 in 100 are missed so.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    /// Made when it is needed.
    seen: OnceLock<Box<[AtomicU64]>>,
    count: Counter,
}

impl Folded {
    /// 2^20 bits in 128 KiB.
    const WORDS: usize = 1 << 14;

    fn add(&self, tenant: &str) {
        let mut hasher = DefaultHasher::new();
        tenant.hash(&mut hasher);
        let hash = hasher.finish();
        let make = || (0..Self::WORDS).map(|_| AtomicU64::new(0)).collect();
        let words = self.seen.get_or_init(make);
        let (word, bit) = ((hash >> 6) as usize % Self::WORDS, 1 << (hash & 63));
        let word = &words[word];
        if word.load(Relaxed) & bit == 0 && word.fetch_or(bit, Relaxed) & bit == 0 {
            self.count.increment();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.value()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{Direction, Metrics, Options, Status};

    const MINUTE: Duration = Duration::from_secs(60);

    fn metrics(max_tenants: usize, tenant_idle_timeout: Duration, now: Instant) -> Metrics {
        let options = Options {
            max_tenants,
            tenant_idle_timeout,
        };
        Metrics::with_options("h", now, options)
    }

    fn name(metrics: &Metrics, tenant: &str) -> String {
        let meters = metrics.tenant(Component::REGISTRY, tenant);
        meters.tenant().to_owned()
    }

    #[test]
    fn tenants_beyond_the_limit_share_series() {
        let metrics = metrics(2, Duration::ZERO, Instant::now());
        let asked = ["a", "b", "c", "a", "d", "c", "UNKNOWN", "OVERFLOW"];
        let told = asked.map(|tenant| name(&metrics, tenant));
        let expected = [
            "a", "b", "OVERFLOW", "a", "OVERFLOW", "OVERFLOW", "UNKNOWN", "OVERFLOW",
        ];
        assert_eq!(told, expected);
        // At another component it has a place too.
        let elsewhere = metrics.tenant(Component::AUTH, "b");
        assert_eq!(elsewhere.tenant(), "b");
        let text = crate::render(&metrics, Instant::now());
        for line in [
            "weir_metrics_tenants 2\n",
            "weir_metrics_tenants_folded_total 2\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn idle_tenants_make_room() {
        let start = Instant::now();
        let metrics = metrics(2, MINUTE, start);
        drop(metrics.tenant(Component::REGISTRY, "idle"));
        let held = metrics.tenant(Component::REGISTRY, "held");
        assert_eq!(name(&metrics, "late"), "OVERFLOW");
        metrics.upkeep(start);
        metrics.upkeep(start + MINUTE / 2);
        assert_eq!(name(&metrics, "late"), "OVERFLOW");
        metrics.upkeep(start + MINUTE);
        assert_eq!(name(&metrics, "late"), "late");
        drop(held);
        // What came since the last look is looked at for the first time.
        metrics.upkeep(start + MINUTE);
        let text = crate::render(&metrics, start + MINUTE);
        assert!(
            text.contains("weir_metrics_tenants_evicted_total 2\n"),
            "{text}"
        );
    }

    #[test]
    fn what_is_recorded_while_tenants_are_removed_is_not_lost() {
        const MESSAGES: u64 = 20_000;
        let start = Instant::now();
        let metrics = metrics(1, MINUTE, start);
        let is_over = AtomicBool::new(false);
        let record = || {
            let mut known = Weak::new();
            for message in 0..MESSAGES {
                let meters = known.upgrade().unwrap_or_else(|| {
                    let found = metrics.tenant(Component::REGISTRY, "a");
                    known = Arc::downgrade(&found);
                    found
                });
                let meter = meters.command(Direction::Response, Status::Forwarded);
                meter.record(Duration::ZERO, 1, start);
                drop(meters);
                // Long enough for the tenant to be idle now and then.
                for _ in 0..message % 256 {
                    std::hint::spin_loop();
                }
            }
            is_over.store(true, Relaxed);
        };
        let remove = || {
            for minute in 0.. {
                metrics.upkeep(start + MINUTE * minute);
                if is_over.load(Relaxed) {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(record);
            scope.spawn(remove);
        });
        let tally = metrics.tally();
        let counts = tally.messages();
        let counts = counts.map(|it| it.commands(Direction::Response, Status::Forwarded));
        assert_eq!(counts.sum::<u64>(), MESSAGES);
    }

    #[test]
    fn traffic_and_open_connections_keep_a_tenant() {
        let start = Instant::now();
        let metrics = metrics(10, MINUTE, start);
        for tenant in ["sends", "connected", "tries"] {
            drop(metrics.tenant(Component::REGISTRY, tenant));
        }
        let meters = |tenant| metrics.tenant(Component::REGISTRY, tenant);
        meters("connected").connected().opened(start);
        for minutes in 1..5 {
            meters("sends").amqp_timeout(crate::AmqpType::Event);
            metrics.connection_attempt(
                Component::REGISTRY,
                Some("tries"),
                crate::AttemptOutcome::Unauthorized,
                None,
            );
            metrics.upkeep(start + MINUTE * minutes);
        }
        let text = crate::render(&metrics, start + MINUTE * 5);
        assert!(text.contains("weir_metrics_tenants 3\n"), "{text}");
        meters("connected").connected().closed(start + MINUTE * 5);
        metrics.upkeep(start + MINUTE * 5);
        metrics.upkeep(start + MINUTE * 6);
        let text = crate::render(&metrics, start + MINUTE * 6);
        assert!(text.contains("weir_metrics_tenants 0\n"), "{text}");
        assert!(!text.contains("tenant=\"connected\""), "{text}");
    }

    #[test]
    fn by_default_no_tenant_is_ever_idle() {
        let start = Instant::now();
        let metrics = Metrics::new("h", start);
        assert_eq!(name(&metrics, "a"), "a");
        metrics.upkeep(start + MINUTE * 1_000_000);
        let text = crate::render(&metrics, start);
        assert!(text.contains("weir_metrics_tenants 1\n"), "{text}");
    }
}
