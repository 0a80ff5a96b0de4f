//! The rule of forgetting, one interleaving at a time.

use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

fn tenant() -> TenantId {
    "acme".into()
}

fn loaded(minimum_message_size: u64) -> Loaded<Tenant> {
    let value = Tenant {
        minimum_message_size,
        ..Tenant::default()
    };
    let tags = vec![Tag::Tenant(tenant())];
    Loaded { value, tags }
}

async fn get(caches: &Caches, size: u64) -> Cached<Tenant> {
    let load = async { Ok::<_, Infallible>(loaded(size)) };
    caches.tenant(tenant(), load).await.unwrap()
}

fn assertion(device: &str, tags: &[Tag]) -> (AssertionKey, Loaded<Assertion>) {
    let value = Assertion::default();
    let tags = tags.to_vec();
    ((tenant(), device.into(), None), Loaded { value, tags })
}

#[tokio::test]
async fn a_hit_is_not_loaded_again() {
    let caches = Caches::new(10);
    assert_eq!(get(&caches, 1).await.minimum_message_size, 1);
    assert_eq!(get(&caches, 2).await.minimum_message_size, 1);
}

#[tokio::test]
async fn what_was_touched_is_stale_and_loaded_again() {
    let caches = Caches::new(10);
    let held = get(&caches, 1).await;
    caches.forget(&tenant(), &[Tag::Existence(tenant())]).await;
    assert!(!held.is_stale(), "another tag");
    caches.forget(&tenant(), &[Tag::Tenant(tenant())]).await;
    assert!(held.is_stale());
    let fresh = get(&caches, 2).await;
    assert_eq!(fresh.minimum_message_size, 2);
    assert!(!fresh.is_stale());
}

/// A load has read the old value; the change commits; the change is not answered before the old
/// value is in and out again.
#[tokio::test]
async fn a_load_that_began_before_a_change_does_not_outlive_it() {
    let caches = Arc::new(Caches::new(10));
    let (has_read, read) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel::<()>();
    let loader = tokio::spawn({
        let caches = caches.clone();
        async move {
            let load = async {
                has_read.send(()).unwrap();
                goes_on.await.unwrap();
                Ok::<_, Infallible>(loaded(1))
            };
            caches.tenant(tenant(), load).await.unwrap()
        }
    });
    read.await.unwrap();
    let mut forget = tokio::spawn({
        let caches = caches.clone();
        async move { caches.forget(&tenant(), &[Tag::Tenant(tenant())]).await }
    });
    let early = timeout(Duration::from_millis(50), &mut forget).await;
    assert!(early.is_err(), "the change was answered during the load");
    go_on.send(()).unwrap();
    let old = loader.await.unwrap();
    forget.await.unwrap();
    assert!(old.is_stale());
    assert_eq!(get(&caches, 2).await.minimum_message_size, 2);
}

#[tokio::test]
async fn a_storm_of_misses_is_one_load() {
    let caches = Arc::new(Caches::new(10));
    let loads = Arc::new(AtomicUsize::new(0));
    let storm = (0..100).map(|_| {
        let (caches, loads) = (caches.clone(), loads.clone());
        tokio::spawn(async move {
            let load = async {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok::<_, Infallible>(loaded(1))
            };
            caches.tenant(tenant(), load).await.unwrap();
        })
    });
    for task in storm.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_failed_load_is_not_remembered() {
    let caches = Caches::new(10);
    let failed = caches.tenant(tenant(), async { Err("down") }).await;
    assert_eq!(failed.err(), Some("down"));
    assert_eq!(get(&caches, 2).await.minimum_message_size, 2);
}

#[tokio::test]
async fn what_has_no_room_any_more_is_stale_and_leaves_the_index() {
    let caches = Caches::new(4);
    let mut held = Vec::new();
    for number in 0..100 {
        let tags = [
            Tag::Existence(tenant()),
            Tag::Device(tenant(), number.to_string().into()),
        ];
        let (key, loaded) = assertion(&number.to_string(), &tags);
        let load = async { Ok::<_, Infallible>(loaded) };
        held.push(caches.assertion(key, load).await.unwrap());
        caches.assertions.entries.run_pending_tasks().await;
    }
    let fresh = held.iter().filter(|value| !value.is_stale()).count();
    assert_eq!(fresh, 4);
    let by_tag = caches.assertions.index.lock();
    assert_eq!(by_tag[&Tag::Existence(tenant())].len(), 4);
    assert_eq!(by_tag.len(), 5);
}

#[tokio::test]
async fn a_cancelled_load_leaves_nothing_behind_and_lets_changes_through() {
    let caches = Caches::new(4);
    let never = async {
        std::future::pending::<()>().await;
        Ok::<_, Infallible>(loaded(1))
    };
    let cancelled = timeout(Duration::from_millis(10), caches.tenant(tenant(), never)).await;
    assert!(cancelled.is_err());
    caches.forget(&tenant(), &[Tag::Tenant(tenant())]).await;
    assert!(caches.tenants.index.lock().is_empty());
    assert_eq!(get(&caches, 2).await.minimum_message_size, 2);
}

#[tokio::test]
async fn an_entry_that_leaves_late_does_not_take_its_successor_along() {
    let index = Arc::new(Index::<TenantId, Tenant>::default());
    let old = index.register(tenant(), loaded(1));
    let new = index.register(tenant(), loaded(2));
    drop(old);
    assert!(!new.value.is_stale());
    let taken = index.take(&[Tag::Tenant(tenant())]);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].1.minimum_message_size, 2);
}
