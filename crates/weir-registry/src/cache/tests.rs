//! The rule of forgetting, one interleaving at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use weir_core::Tenant;

use super::shelf::Index;
use super::*;

fn tenant() -> TenantId {
    "acme".into()
}

fn registered(minimum_message_size: u64) -> RegisteredTenant {
    let settings = Tenant {
        minimum_message_size,
        ..Tenant::default()
    };
    let id = tenant();
    RegisteredTenant { id, settings }
}

fn loaded(size: u64) -> Loaded<Result<RegisteredTenant, LookupError>> {
    let value = Ok(registered(size));
    let tags = vec![Tag::Name(tenant())];
    Loaded { value, tags }
}

fn missing() -> Loaded<Result<RegisteredTenant, LookupError>> {
    let value = Err(LookupError::NotFound);
    let tags = vec![Tag::Name(tenant())];
    Loaded { value, tags }
}

async fn get(caches: &Caches, size: u64) -> Cached<RegisteredTenant> {
    let load = async { loaded(size) };
    caches.tenant(tenant(), load).await.unwrap()
}

fn assertion(device: &str, tags: &[Tag]) -> (AssertionKey, Loaded<Result<Assertion, Denied>>) {
    let value = Ok(Assertion::default());
    let tags = tags.to_vec();
    ((tenant(), device.into(), None), Loaded { value, tags })
}

fn touching(tag: Tag) -> [Effect; 1] {
    let tags = vec![tag];
    [Effect { tags, change: None }]
}

#[tokio::test]
async fn what_is_asked_is_counted_as_known_or_not() {
    let caches = Caches::new(10);
    let figures = |caches: &Caches| caches.figures().map(|it| (it.cache, it.hits, it.misses));
    for _ in 0..3 {
        get(&caches, 1).await;
    }
    for _ in 0..2 {
        let absent = caches.tenant("nobody".into(), async { missing() });
        absent.await.unwrap_err();
    }
    let unused = ["anchor", "assertion", "credentials"].map(|cache| (cache, 0, 0));
    let [anchors, assertions, credentials] = unused;
    let expected = [("tenant", 3, 2), anchors, assertions, credentials];
    assert_eq!(figures(&caches), expected);
    caches.tidy().await;
    assert_eq!(caches.figures()[0].entries, 2);
    // Of those who ask at the same time one asks the database.
    let storm = [1, 2, 3].map(|size| {
        let load = async move {
            tokio::task::yield_now().await;
            loaded(size)
        };
        caches.tenant("storm".into(), load)
    });
    for answer in futures_util::future::join_all(storm).await {
        answer.unwrap();
    }
    assert_eq!(figures(&caches)[0], ("tenant", 5, 3));
    caches.forget_everything().await;
    caches.tidy().await;
    assert_eq!(caches.figures()[0].entries, 0);
}

#[tokio::test]
async fn a_hit_is_not_loaded_again() {
    let caches = Caches::new(10);
    assert_eq!(get(&caches, 1).await.settings.minimum_message_size, 1);
    assert_eq!(get(&caches, 2).await.settings.minimum_message_size, 1);
}

#[tokio::test]
async fn what_was_touched_is_stale_and_loaded_again() {
    let caches = Caches::new(10);
    let held = get(&caches, 1).await;
    caches.forget(&touching(Tag::Existence(tenant()))).await;
    assert!(!held.is_stale(), "another tag");
    caches.forget(&touching(Tag::Name(tenant()))).await;
    assert!(held.is_stale());
    let fresh = get(&caches, 2).await;
    assert_eq!(fresh.settings.minimum_message_size, 2);
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
                loaded(1)
            };
            caches.tenant(tenant(), load).await.unwrap()
        }
    });
    read.await.unwrap();
    let mut forget = tokio::spawn({
        let caches = caches.clone();
        async move { caches.forget(&touching(Tag::Name(tenant()))).await }
    });
    let early = timeout(Duration::from_millis(50), &mut forget).await;
    assert!(early.is_err(), "the change was answered during the load");
    go_on.send(()).unwrap();
    let old = loader.await.unwrap();
    forget.await.unwrap();
    assert!(old.is_stale());
    assert_eq!(get(&caches, 2).await.settings.minimum_message_size, 2);
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
                loaded(1)
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
    let failed = async || Loaded {
        value: Err(LookupError::Unavailable("down".to_owned())),
        tags: Vec::new(),
    };
    let failed = caches.tenant(tenant(), failed()).await;
    assert!(matches!(failed, Err(LookupError::Unavailable(_))));
    assert_eq!(get(&caches, 2).await.settings.minimum_message_size, 2);
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
        let load = async { loaded };
        held.push(caches.assertion(key, load).await.unwrap());
        caches
            .0
            .assertions
            .present
            .entries
            .run_pending_tasks()
            .await;
    }
    let fresh = held.iter().filter(|value| !value.is_stale()).count();
    assert_eq!(fresh, 4);
    let by_tag = caches.0.assertions.present.index.lock();
    assert_eq!(by_tag[&Tag::Existence(tenant())].len(), 4);
    assert_eq!(by_tag.len(), 5);
}

#[tokio::test]
async fn a_cancelled_load_leaves_nothing_behind_and_lets_changes_through() {
    let caches = Caches::new(4);
    let never = async {
        std::future::pending::<()>().await;
        loaded(1)
    };
    let cancelled = timeout(Duration::from_millis(10), caches.tenant(tenant(), never)).await;
    assert!(cancelled.is_err());
    caches.forget(&touching(Tag::Name(tenant()))).await;
    assert!(caches.0.tenants.present.index.lock().is_empty());
    assert_eq!(get(&caches, 2).await.settings.minimum_message_size, 2);
}

#[tokio::test]
async fn an_entry_that_leaves_late_does_not_take_its_successor_along() {
    let index = Arc::new(Index::<TenantId, RegisteredTenant>::default());
    let tag = Tag::Name(tenant());
    let old = index.register(tenant(), registered(1), vec![tag.clone()]);
    let new = index.register(tenant(), registered(2), vec![tag.clone()]);
    drop(old);
    assert!(!new.value.is_stale());
    let taken = index.take(&[&tag]);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].1.settings.minimum_message_size, 2);
}

#[tokio::test]
async fn what_is_not_there_is_remembered_until_it_is_made() {
    let caches = Caches::new(10);
    let missed = caches.tenant(tenant(), async { missing() }).await;
    assert!(matches!(missed, Err(LookupError::NotFound)));
    let unasked = async { panic!("the database was asked again") };
    let missed = caches.tenant(tenant(), unasked).await;
    assert!(matches!(missed, Err(LookupError::NotFound)));
    caches.forget(&touching(Tag::Name(tenant()))).await;
    assert_eq!(get(&caches, 1).await.settings.minimum_message_size, 1);
    // It does not push out what is there.
    for number in 0..100 {
        let name = TenantId::from(number.to_string());
        let missed = caches.tenant(name, async { missing() }).await;
        assert!(missed.is_err());
    }
    assert_eq!(get(&caches, 2).await.settings.minimum_message_size, 1);
}

#[tokio::test]
async fn everything_can_be_forgotten() {
    let caches = Caches::new(10);
    let held = get(&caches, 1).await;
    caches.forget_everything().await;
    assert!(held.is_stale());
    assert_eq!(get(&caches, 2).await.settings.minimum_message_size, 2);
}
