//! What is remembered of the database, and the one rule by which it is forgotten.
//!
//! Every entry carries tags: what in the database its value was made from. A change names the tags
//! it touches; [`Caches::forget`] removes the entries that carry them and marks their values stale,
//! which sessions that hold them look at. This happens after the commit and before the change is
//! answered.
//!
//! A load that read the database before the commit must not put its old value in afterwards. So each
//! load, from before its first read until its entry is in, holds its tenant's gate for reading, and
//! `forget` holds it for writing. A load is then either through before `forget` (which finds the
//! entry) or begins after it, hence after the commit (and reads the new state). Hits take no gate.
//!
//! An entry that leaves the cache for any reason (no room, forgotten, its load cancelled) leaves the
//! index of tags too, and its value is marked stale: nobody would tell its holders of a change any
//! more, so they have to ask again.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::sync::RwLock;
use weir_core::{
    Assertion, AuthId, Cached, CredentialType, Credentials, DeviceId, Tenant, TenantId,
};

/// Something in the database that remembered values are made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tag {
    /// The tenant's configuration.
    Tenant(TenantId),
    /// That the tenant exists.
    Existence(TenantId),
    /// The device's registration.
    Device(TenantId, DeviceId),
    /// The device's credentials.
    Credentials(TenantId, DeviceId),
    /// Who the members of the group of gateways are.
    Group(TenantId, String),
}

/// What names an assertion: tenant, device and, if another device speaks for it, that one.
pub(crate) type AssertionKey = (TenantId, DeviceId, Option<DeviceId>);
/// What names a credential.
pub(crate) type CredentialsKey = (TenantId, CredentialType, AuthId);

/// A value and what it was made from.
pub(crate) struct Loaded<V> {
    pub(crate) value: V,
    pub(crate) tags: Vec<Tag>,
}

/// Tenants are spread over this many gates.
const GATES: usize = 64;

/// All that is remembered.
pub(crate) struct Caches {
    tenants: Tagged<TenantId, Tenant>,
    assertions: Tagged<AssertionKey, Assertion>,
    credentials: Tagged<CredentialsKey, Credentials>,
    gates: [RwLock<()>; GATES],
    hasher: RandomState,
}

impl Caches {
    /// Answers of each kind that are remembered, unless told otherwise.
    pub(crate) const CAPACITY: u64 = 100_000;

    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            tenants: Tagged::new(capacity),
            assertions: Tagged::new(capacity),
            credentials: Tagged::new(capacity),
            gates: std::array::from_fn(|_| RwLock::new(())),
            hasher: RandomState::new(),
        }
    }

    pub(crate) async fn tenant<E: Failure>(
        &self,
        key: TenantId,
        load: impl Load<Tenant, E>,
    ) -> Result<Cached<Tenant>, E> {
        let gate = self.gate(&key);
        self.tenants.get(gate, key, load).await
    }

    pub(crate) async fn assertion<E: Failure>(
        &self,
        key: AssertionKey,
        load: impl Load<Assertion, E>,
    ) -> Result<Cached<Assertion>, E> {
        let gate = self.gate(&key.0);
        self.assertions.get(gate, key, load).await
    }

    pub(crate) async fn credentials<E: Failure>(
        &self,
        key: CredentialsKey,
        load: impl Load<Credentials, E>,
    ) -> Result<Cached<Credentials>, E> {
        let gate = self.gate(&key.0);
        self.credentials.get(gate, key, load).await
    }

    /// Forgets everything of `tenant` that was made from one of `tags`. The change is committed.
    pub(crate) async fn forget(&self, tenant: &TenantId, tags: &[Tag]) {
        let _no_load = self.gate(tenant).write().await;
        self.tenants.forget(tags).await;
        self.assertions.forget(tags).await;
        self.credentials.forget(tags).await;
    }

    fn gate(&self, tenant: &TenantId) -> &RwLock<()> {
        // The remainder is below the number of gates.
        &self.gates[(self.hasher.hash_one(tenant) % GATES as u64) as usize]
    }
}

/// Why a load fails; those who wait for the same load share it.
pub(crate) trait Failure: Clone + Send + Sync + 'static {}
impl<E: Clone + Send + Sync + 'static> Failure for E {}

/// A load: reads a value from the database.
pub(crate) trait Load<V, E>: Future<Output = Result<Loaded<V>, E>> + Send {}
impl<V, E, F: Future<Output = Result<Loaded<V>, E>> + Send> Load<V, E> for F {}

/// One bounded cache and the index of its entries by tag.
struct Tagged<K, V> {
    entries: Cache<K, Arc<Entry<K, V>>>,
    index: Arc<Index<K, V>>,
}

impl<K, V> Tagged<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn new(capacity: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(capacity)
            // What is new gets in: a value that was not let in would be stale at once.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(|_, entry: Arc<Entry<K, V>>, _| entry.retire())
            .build();
        Self {
            entries,
            index: Arc::default(),
        }
    }

    /// The value for `key`, loaded if it is not known. A storm of misses is one load.
    async fn get<E: Failure>(
        &self,
        gate: &RwLock<()>,
        key: K,
        load: impl Load<V, E>,
    ) -> Result<Cached<V>, E> {
        if let Some(entry) = self.entries.get(&key).await
            && !entry.value.is_stale()
        {
            return Ok(entry.value.clone());
        }
        let _no_change = gate.read().await;
        let register = async {
            let loaded = load.await?;
            Ok(self.index.register(key.clone(), loaded))
        };
        let entry = self.entries.try_get_with(key.clone(), register).await;
        match entry {
            Ok(entry) => Ok(entry.value.clone()),
            Err(error) => Err(E::clone(&error)),
        }
    }

    async fn forget(&self, tags: &[Tag]) {
        for (key, value) in self.index.take(tags) {
            value.invalidate();
            self.entries.invalidate(&key).await;
        }
    }
}

/// One remembered value. It is in the index from its making to its end.
struct Entry<K, V> {
    value: Cached<V>,
    number: u64,
    tags: Vec<Tag>,
    index: Arc<Index<K, V>>,
}

impl<K, V> Entry<K, V> {
    fn retire(&self) {
        self.value.invalidate();
        self.index.remove(self.number, &self.tags);
    }
}

impl<K, V> Drop for Entry<K, V> {
    fn drop(&mut self) {
        self.retire();
    }
}

/// Which entries carry a tag. Entries are numbered, so that one leaving late does not take its
/// successor under the same key with it.
struct Index<K, V> {
    by_tag: Mutex<ByTag<K, V>>,
    next: AtomicU64,
}

/// The entries with each tag, by number.
type ByTag<K, V> = HashMap<Tag, HashMap<u64, Place<K, V>>>;
/// Where an entry is, and the mark on its value.
type Place<K, V> = (K, Cached<V>);

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self {
            by_tag: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }
}

impl<K: Clone, V> Index<K, V> {
    fn register(self: &Arc<Self>, key: K, loaded: Loaded<V>) -> Arc<Entry<K, V>> {
        let Loaded { value, tags } = loaded;
        let value = Cached::new(value);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut by_tag = self.lock();
        for tag in &tags {
            let places = by_tag.entry(tag.clone()).or_default();
            places.insert(number, (key.clone(), value.clone()));
        }
        drop(by_tag);
        Arc::new(Entry {
            value,
            number,
            tags,
            index: self.clone(),
        })
    }

    /// Takes out all entries that carry one of `tags`.
    fn take(&self, tags: &[Tag]) -> Vec<Place<K, V>> {
        let mut by_tag = self.lock();
        tags.iter()
            .filter_map(|tag| by_tag.remove(tag))
            .flat_map(HashMap::into_values)
            .collect()
    }
}

impl<K, V> Index<K, V> {
    fn remove(&self, number: u64, tags: &[Tag]) {
        let mut by_tag = self.lock();
        for tag in tags {
            if let Some(places) = by_tag.get_mut(tag) {
                places.remove(&number);
                if places.is_empty() {
                    by_tag.remove(tag);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ByTag<K, V>> {
        self.by_tag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
