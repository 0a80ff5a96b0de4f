//! One bounded cache whose entries can be found by what they were made from.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use weir_core::Cached;

use super::Tag;

/// One bounded cache and the index of its entries by tag.
pub(super) struct Shelf<K, V> {
    pub(super) entries: Cache<K, Arc<Entry<K, V>>>,
    pub(super) index: Arc<Index<K, V>>,
}

impl<K, V> Shelf<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    pub(super) fn new(capacity: u64, time: Option<Duration>) -> Self {
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

    pub(super) async fn get(&self, key: &K) -> Option<Cached<V>> {
        let entry = self.entries.get(key).await?;
        (!entry.value.is_stale()).then(|| entry.value.clone())
    }

    pub(super) async fn put(&self, key: K, value: V, tags: Vec<Tag>) {
        let entry = self.index.register(key.clone(), value, tags);
        self.entries.insert(key, entry).await;
    }

    pub(super) async fn forget(&self, tags: &[&Tag]) {
        for (key, value) in self.index.take(tags) {
            value.invalidate();
            self.entries.invalidate(&key).await;
        }
    }

    pub(super) fn forget_all(&self) {
        for (_, value) in self.index.take_all() {
            value.invalidate();
        }
        self.entries.invalidate_all();
    }
}

/// One remembered value. It is in the index from its making to its end.
pub(super) struct Entry<K, V> {
    pub(super) value: Cached<V>,
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
pub(super) struct Index<K, V> {
    by_tag: Mutex<ByTag<K, V>>,
    next: AtomicU64,
}

/// The entries with each tag, by number.
pub(super) type ByTag<K, V> = HashMap<Tag, HashMap<u64, Place<K, V>>>;
/// Where an entry is, and the mark on its value.
pub(super) type Place<K, V> = (K, Cached<V>);

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self {
            by_tag: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }
}

impl<K: Clone, V> Index<K, V> {
    pub(super) fn register(self: &Arc<Self>, key: K, value: V, tags: Vec<Tag>) -> Arc<Entry<K, V>> {
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
    pub(super) fn take(&self, tags: &[&Tag]) -> Vec<Place<K, V>> {
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

    pub(super) fn lock(&self) -> MutexGuard<'_, ByTag<K, V>> {
        self.by_tag.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
