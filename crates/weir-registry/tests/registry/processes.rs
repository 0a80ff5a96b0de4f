//! Who is told of changes, also of those that another process on the same database makes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use weir_core::{
    AssertionError, ChangeKind, ChangeListener, ChangeSubject, Device, LookupError, Registry as _,
    RegistryChange, Tenant, TenantId,
};

use crate::{Given, device, is_shared, open, unique};

/// Keeps what it is told of one tenant.
struct Diary(TenantId, Mutex<Vec<ChangeSubject>>);

impl ChangeListener for Diary {
    fn changed(&self, change: &RegistryChange) {
        if change.tenant == self.0 {
            self.1.lock().unwrap().push(change.subject.clone());
        }
    }
}

impl Diary {
    fn of(tenant: &TenantId) -> Arc<Self> {
        Arc::new(Self(tenant.clone(), Mutex::default()))
    }

    fn entries(&self) -> Vec<ChangeSubject> {
        self.1.lock().unwrap().clone()
    }
}

fn of_device(change: ChangeKind, enabled: bool) -> ChangeSubject {
    ChangeSubject::Device {
        device: "d".into(),
        change,
        enabled,
    }
}

fn of_tenant(change: ChangeKind, enabled: bool, invalidate_cache: bool) -> ChangeSubject {
    ChangeSubject::Tenant {
        change,
        enabled,
        invalidate_cache,
    }
}

/// Makes every kind of change, and some that fail; what is to be told of them.
async fn change_everything(given: &Given, tenant: &TenantId) -> Vec<ChangeSubject> {
    use ChangeKind::{Created, Deleted, Updated};
    let (registry, id) = (&given.registry, "d".into());
    let settings = |json| serde_json::from_value::<Tenant>(json).unwrap();
    let create = registry.create_tenant(Some(tenant.clone()), Tenant::default());
    create.await.unwrap();
    let again = registry.create_tenant(Some(tenant.clone()), Tenant::default());
    assert!(again.await.is_err());
    let asked = settings(json!({"ext": {"invalidate-cache-on-update": true}}));
    registry.update_tenant(tenant, asked, None).await.unwrap();
    let create = registry.create_device(tenant, Some("d".into()), Device::default(), None);
    create.await.unwrap();
    registry
        .set_credentials(tenant, &id, Vec::new(), None)
        .await
        .unwrap();
    let off = device(json!({"enabled": false}));
    registry
        .update_device(tenant, &id, off, None, None)
        .await
        .unwrap();
    registry.delete_device(tenant, &id, None).await.unwrap();
    assert!(registry.delete_device(tenant, &id, None).await.is_err());
    registry.delete_devices(tenant).await.unwrap();
    let off = settings(json!({"enabled": false}));
    registry.update_tenant(tenant, off, None).await.unwrap();
    registry.delete_tenant(tenant, None).await.unwrap();
    vec![
        of_tenant(Created, true, false),
        of_tenant(Updated, true, true),
        of_device(Created, true),
        ChangeSubject::Credentials { device: "d".into() },
        of_device(Updated, false),
        of_device(Deleted, false),
        ChangeSubject::AllDevices,
        of_tenant(Updated, false, false),
        of_tenant(Deleted, false, true),
    ]
}

#[tokio::test]
async fn who_listens_is_told_before_the_answer() {
    let given = Given::new().await;
    let tenant = TenantId::from(unique("told"));
    let diary = Diary::of(&tenant);
    given.registry.listen(diary.clone());
    let expected = change_everything(&given, &tenant).await;
    assert_eq!(diary.entries(), expected);
}

/// Polls until `done`; a change is to be seen everywhere within a second, and a test machine may be
/// slow.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not seen: {what}");
}

#[tokio::test]
async fn another_process_tells_its_listeners_too() {
    if !is_shared() {
        return;
    }
    let given = Given::new().await;
    let other = open(&given.folder).await;
    let tenant = TenantId::from(unique("told"));
    let diary = Diary::of(&tenant);
    other.listen(diary.clone());
    let expected = change_everything(&given, &tenant).await;
    until("all changes", async || {
        diary.entries().len() >= expected.len()
    })
    .await;
    assert_eq!(diary.entries(), expected);
}

#[tokio::test]
async fn another_process_forgets_what_was_changed() {
    if !is_shared() {
        return;
    }
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let other = open(&given.folder).await;
    // What is not there is remembered as well.
    let id = "d".into();
    let unknown = other.assert(tenant, &id, None).await;
    assert!(matches!(unknown, Err(AssertionError::DeviceUnknown)));
    given.device("d", Device::default()).await;
    until("a new device", async || {
        other.assert(tenant, &id, None).await.is_ok()
    })
    .await;
    let held = other.assert(tenant, &id, None).await.unwrap();
    let of_tenant = other.tenant(tenant).await.unwrap();
    registry.delete_device(tenant, &id, None).await.unwrap();
    until("a device's end", async || held.is_stale()).await;
    assert!(!of_tenant.is_stale());
    registry.delete_tenant(tenant, None).await.unwrap();
    until("a tenant's end", async || of_tenant.is_stale()).await;
    let gone = other.tenant(tenant).await;
    assert!(matches!(gone, Err(LookupError::NotFound)));
}

/// Transactions that overlap do not end in the order they began; none is overlooked.
#[tokio::test(flavor = "multi_thread")]
async fn no_change_of_many_at_once_is_overlooked() {
    if !is_shared() {
        return;
    }
    let given = Given::new().await;
    let other = open(&given.folder).await;
    let diary = Diary::of(&given.tenant);
    other.listen(diary.clone());
    let tasks = (0..20).map(|_| {
        let (registry, tenant) = (given.registry.clone(), given.tenant.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                let create = registry.create_device(&tenant, None, Device::default(), None);
                create.await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    until("all changes", async || diary.entries().len() >= 1000).await;
    assert_eq!(diary.entries().len(), 1000);
}
