//! What is remembered of the database, and the one rule by which it is forgotten.
//!
//! Every entry carries tags: what in the database its value was made from. A change names the tags
//! it touches; [`Caches::forget`] removes the entries that carry them and marks their values stale,
//! which sessions that hold them look at. This happens after the commit and before the change is
//! answered.
//!
//! A load that read the database before the commit must not put its old value in afterwards. So each
//! load, from before its first read until its entry is in, holds its key's gate for reading, and
//! `forget` passes the gates of all tags for writing before it looks. A load is then either through
//! before that (and `forget` finds the entry) or begins after it, hence after the commit (and reads
//! the new state). Hits take no gate. [`Tag::gate`] has to lead to the same gate as the key of every
//! load that may carry the tag.
//!
//! That something is not there is remembered too, for a short time and apart from the rest, so that
//! guessing at names neither asks the database each time nor pushes out what is there.
//!
//! An entry that leaves the cache for any reason (no room, forgotten, its load cancelled) leaves the
//! index of tags too, and its value is marked stale: nobody would tell its holders of a change any
//! more, so they have to ask again.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;
use tokio::time::timeout;
use weir_core::{
    Assertion, AssertionError, AuthId, Cached, CredentialType, Credentials, DeviceId, LookupError,
    RegisteredTenant, TenantId,
};

use crate::Unavailable;
use crate::change::Effect;

/// Something in the database that remembered values are made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Tag {
    /// Which tenant has the name, as its id or its alias, and that tenant's configuration.
    Name(TenantId),
    /// Which tenant has a trust anchor with the subject, and that tenant's configuration.
    Anchor(String),
    /// That the tenant exists.
    Existence(TenantId),
    /// The device's registration.
    Device(TenantId, DeviceId),
    /// The device's credentials.
    Credentials(TenantId, DeviceId),
    /// Whose the name is, for a type of credential.
    Login(TenantId, String, AuthId),
    /// Who the members of the group of gateways are.
    Group(TenantId, String),
    /// How many devices the tenant has, and may have.
    Room(TenantId),
}

impl Tag {
    /// What leads to the gate that loads hold which may carry the tag.
    fn gate(&self) -> &str {
        match self {
            Self::Name(tenant)
            | Self::Existence(tenant)
            | Self::Device(tenant, _)
            | Self::Credentials(tenant, _)
            | Self::Login(tenant, ..)
            | Self::Group(tenant, _)
            | Self::Room(tenant) => tenant.as_str(),
            Self::Anchor(subject_dn) => subject_dn,
        }
    }
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

/// Keys are spread over this many gates.
const GATES: usize = 64;

/// For how long a trust anchor's tenant is remembered: anchors become valid and invalid by time.
const ANCHOR_TIME: Duration = Duration::from_secs(60);
/// How long a load may take.
const LOAD_TIME: Duration = Duration::from_secs(12);
/// For how long it is remembered that something is not there.
const MISS_TIME: Duration = Duration::from_secs(10);
/// Things not there of which that is remembered, of each kind.
const MISSES: u64 = 10_000;

/// All that is remembered. Clones share it.
#[derive(Clone)]
pub(crate) struct Caches(Arc<All>);

struct All {
    tenants: Tagged<TenantId, RegisteredTenant, LookupError>,
    anchors: Tagged<String, RegisteredTenant, LookupError>,
    assertions: Tagged<AssertionKey, Assertion, Denied>,
    credentials: Tagged<CredentialsKey, Credentials, LookupError>,
    gates: [RwLock<()>; GATES],
    hasher: RandomState,
}

impl Caches {
    /// Answers of each kind that are remembered, unless told otherwise.
    pub(crate) const CAPACITY: u64 = 100_000;

    pub(crate) fn new(capacity: u64) -> Self {
        Self(Arc::new(All {
            tenants: Tagged::new(capacity, None),
            anchors: Tagged::new(capacity, Some(ANCHOR_TIME)),
            assertions: Tagged::new(capacity, None),
            credentials: Tagged::new(capacity, None),
            gates: std::array::from_fn(|_| RwLock::new(())),
            hasher: RandomState::new(),
        }))
    }

    pub(crate) async fn tenant(
        &self,
        key: TenantId,
        load: impl Load<RegisteredTenant, LookupError>,
    ) -> Result<Cached<RegisteredTenant>, LookupError> {
        let gate = self.0.gate(key.as_str());
        self.0.tenants.get(gate, key, load).await
    }

    pub(crate) async fn anchor(
        &self,
        subject_dn: String,
        load: impl Load<RegisteredTenant, LookupError>,
    ) -> Result<Cached<RegisteredTenant>, LookupError> {
        let gate = self.0.gate(&subject_dn);
        self.0.anchors.get(gate, subject_dn, load).await
    }

    pub(crate) async fn assertion(
        &self,
        key: AssertionKey,
        load: impl Load<Assertion, Denied>,
    ) -> Result<Cached<Assertion>, Denied> {
        let gate = self.0.gate(key.0.as_str());
        self.0.assertions.get(gate, key, load).await
    }

    /// Remembers for a short time why nothing was asserted, so that asking again costs nothing.
    pub(crate) async fn deny(&self, key: AssertionKey, denied: Denied, tags: Vec<Tag>) {
        self.0.assertions.absent.put(key, denied, tags).await;
    }

    pub(crate) async fn credentials(
        &self,
        key: CredentialsKey,
        load: impl Load<Credentials, LookupError>,
    ) -> Result<Cached<Credentials>, LookupError> {
        let gate = self.0.gate(key.0.as_str());
        self.0.credentials.get(gate, key, load).await
    }

    /// Forgets everything that was made from what `effects` touched. They are committed.
    pub(crate) async fn forget(&self, effects: &[Effect]) {
        let tags: Vec<&Tag> = effects.iter().flat_map(|effect| &effect.tags).collect();
        let gates = tags.iter().map(|tag| self.0.number(tag.gate()));
        for gate in gates.collect::<BTreeSet<_>>() {
            // Whoever is behind it now has begun after the commit.
            drop(self.0.gates[gate].write().await);
        }
        self.0.tenants.forget(&tags).await;
        self.0.anchors.forget(&tags).await;
        self.0.assertions.forget(&tags).await;
        self.0.credentials.forget(&tags).await;
    }

    /// Forgets everything, because nobody knows what has changed.
    pub(crate) async fn forget_everything(&self) {
        for gate in &self.0.gates {
            drop(gate.write().await);
        }
        self.0.tenants.forget_all();
        self.0.anchors.forget_all();
        self.0.assertions.forget_all();
        self.0.credentials.forget_all();
    }
}

impl All {
    fn gate(&self, key: &str) -> &RwLock<()> {
        &self.gates[self.number(key)]
    }

    fn number(&self, key: &str) -> usize {
        // The remainder is below the number of gates.
        (self.hasher.hash_one(key) % GATES as u64) as usize
    }
}

/// Why a load gives nothing; those who wait for the same load share it.
pub(crate) trait Failure: Clone + Send + Sync + 'static {
    /// Whether it says that what was asked for is not there (rather than that nobody knows).
    fn is_miss(&self) -> bool;
    /// For a database that says nothing, not even that it cannot.
    fn silent() -> Self;
}

impl Failure for LookupError {
    fn is_miss(&self) -> bool {
        matches!(self, Self::NotFound)
    }

    fn silent() -> Self {
        Unavailable::silent().into()
    }
}

/// Why nothing was asserted.
#[derive(Clone, Debug)]
pub(crate) enum Denied {
    /// For good.
    Error(AssertionError),
    /// The device is unknown, and the gateway may have it registered.
    MayBeProvisioned {
        /// The groups the gateway belongs to.
        groups: Vec<String>,
    },
}

impl Failure for Denied {
    fn is_miss(&self) -> bool {
        match self {
            Self::Error(error) => !matches!(error, AssertionError::Unavailable(_)),
            // It is about to be there.
            Self::MayBeProvisioned { .. } => false,
        }
    }

    fn silent() -> Self {
        Unavailable::silent().into()
    }
}

/// A load: reads a value from the database, or that it is not there; either with what it depends on.
pub(crate) trait Load<V, E>: Future<Output = Loaded<Result<V, E>>> + Send {}
impl<V, E, F: Future<Output = Loaded<Result<V, E>>> + Send> Load<V, E> for F {}

/// One bounded cache and the index of its entries by tag; and the same for what is not there.
struct Tagged<K, V, E> {
    present: Shelf<K, V>,
    absent: Shelf<K, E>,
}

impl<K, V, E> Tagged<K, V, E>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Failure,
{
    fn new(capacity: u64, time: Option<Duration>) -> Self {
        Self {
            present: Shelf::new(capacity, time),
            absent: Shelf::new(capacity.min(MISSES), Some(MISS_TIME)),
        }
    }

    /// The value for `key`, loaded if it is not known. A storm of misses is one load.
    async fn get(&self, gate: &RwLock<()>, key: K, load: impl Load<V, E>) -> Result<Cached<V>, E> {
        if let Some(value) = self.present.get(&key).await {
            return Ok(value);
        }
        if let Some(missed) = self.absent.get(&key).await {
            return Err(E::clone(&missed));
        }
        let _no_change = gate.read().await;
        let register = async {
            // Changes wait for it, and others behind them.
            let loaded = timeout(LOAD_TIME, load).await;
            let Loaded { value, tags } = loaded.map_err(|_| E::silent())?;
            match value {
                Ok(value) => Ok(self.present.index.register(key.clone(), value, tags)),
                Err(error) => {
                    if error.is_miss() {
                        self.absent.put(key.clone(), error.clone(), tags).await;
                    }
                    Err(error)
                }
            }
        };
        let entry = self.present.entries.try_get_with(key.clone(), register);
        match entry.await {
            Ok(entry) => Ok(entry.value.clone()),
            Err(error) => Err(E::clone(&error)),
        }
    }

    async fn forget(&self, tags: &[&Tag]) {
        self.present.forget(tags).await;
        self.absent.forget(tags).await;
    }

    fn forget_all(&self) {
        self.present.forget_all();
        self.absent.forget_all();
    }
}

/// One bounded cache and the index of its entries by tag.
struct Shelf<K, V> {
    entries: Cache<K, Arc<Entry<K, V>>>,
    index: Arc<Index<K, V>>,
}

impl<K, V> Shelf<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn new(capacity: u64, time: Option<Duration>) -> Self {
        let entries = Cache::builder()
            .max_capacity(capacity)
            // What is new gets in: a value that was not let in would be stale at once.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(|_, entry: Arc<Entry<K, V>>, _| entry.retire());
        let entries = match time {
            Some(time) => entries.time_to_live(time),
            None => entries,
        };
        Self {
            entries: entries.build(),
            index: Arc::default(),
        }
    }

    async fn get(&self, key: &K) -> Option<Cached<V>> {
        let entry = self.entries.get(key).await?;
        (!entry.value.is_stale()).then(|| entry.value.clone())
    }

    async fn put(&self, key: K, value: V, tags: Vec<Tag>) {
        let entry = self.index.register(key.clone(), value, tags);
        self.entries.insert(key, entry).await;
    }

    async fn forget(&self, tags: &[&Tag]) {
        for (key, value) in self.index.take(tags) {
            value.invalidate();
            self.entries.invalidate(&key).await;
        }
    }

    fn forget_all(&self) {
        for (_, value) in self.index.take_all() {
            value.invalidate();
        }
        self.entries.invalidate_all();
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
    fn register(self: &Arc<Self>, key: K, value: V, tags: Vec<Tag>) -> Arc<Entry<K, V>> {
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
    fn take(&self, tags: &[&Tag]) -> Vec<Place<K, V>> {
        let mut by_tag = self.lock();
        tags.iter()
            .filter_map(|tag| by_tag.remove(*tag))
            .flat_map(HashMap::into_values)
            .collect()
    }

    /// Takes out all entries.
    fn take_all(&self) -> Vec<Place<K, V>> {
        let by_tag = std::mem::take(&mut *self.lock());
        by_tag
            .into_values()
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
