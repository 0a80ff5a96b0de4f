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

mod figures;
mod shelf;

use std::collections::BTreeSet;
use std::future::Future;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;
use tokio::time::timeout;
use weir_core::{
    Assertion, AssertionError, AuthId, Cached, CredentialType, Credentials, DeviceId, LookupError,
    RegisteredTenant, TenantId,
};

use crate::Unavailable;
use crate::change::Effect;
use figures::Uses;
use shelf::Shelf;

pub use figures::CacheFigures;

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

    /// What each cache has been good for. It does not wait.
    pub(crate) fn figures(&self) -> [CacheFigures; 4] {
        [
            self.0.tenants.figures("tenant"),
            self.0.anchors.figures("anchor"),
            self.0.assertions.figures("assertion"),
            self.0.credentials.figures("credentials"),
        ]
    }

    /// Has what has left the caches counted out, which else is done by and by.
    pub(crate) async fn tidy(&self) {
        self.0.tenants.tidy().await;
        self.0.anchors.tidy().await;
        self.0.assertions.tidy().await;
        self.0.credentials.tidy().await;
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
    uses: Uses,
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
            uses: Uses::default(),
        }
    }

    /// The value for `key`, loaded if it is not known. A storm of misses is one load.
    async fn get(&self, gate: &RwLock<()>, key: K, load: impl Load<V, E>) -> Result<Cached<V>, E> {
        if let Some(value) = self.present.get(&key).await {
            self.uses.hit();
            return Ok(value);
        }
        if let Some(missed) = self.absent.get(&key).await {
            self.uses.hit();
            return Err(E::clone(&missed));
        }
        let _no_change = gate.read().await;
        let mut is_asked = false;
        let register = async {
            is_asked = true;
            self.uses.missed();
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
        let entry = entry.await;
        if !is_asked {
            self.uses.hit();
        }
        match entry {
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

    fn figures(&self, cache: &'static str) -> CacheFigures {
        let entries = self.present.entries.entry_count() + self.absent.entries.entry_count();
        self.uses.figures(cache, entries)
    }

    async fn tidy(&self) {
        self.present.entries.run_pending_tasks().await;
        self.absent.entries.run_pending_tasks().await;
    }
}

#[cfg(test)]
mod tests;
