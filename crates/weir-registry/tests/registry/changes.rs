//! Creating, reading, replacing and removing.

use serde_json::json;
use weir_core::{AssertionError, Device, Registry as _, Tenant};
use weir_registry::{
    ChangeError, CreateDeviceError, CreateTenantError, OpenError, ReadError, SqlRegistry,
    UpdateTenantError, Version,
};

use crate::{Given, device, open};

#[tokio::test]
async fn a_tenant_is_replaced_whole_and_only_in_the_expected_version() {
    let Given {
        registry,
        folder: _kept,
        ..
    } = Given::new().await;
    let sized = Tenant {
        minimum_message_size: 7,
        ..Tenant::default()
    };
    let (id, first) = registry.create_tenant(None, sized.clone()).await.unwrap();
    assert_eq!(id.as_str().len(), 36, "{id}");
    let read = registry.read_tenant(&id).await.unwrap();
    assert_eq!(read, (sized, first.clone()));
    let second = registry
        .update_tenant(&id, Tenant::default(), Some(&first))
        .await
        .unwrap();
    assert_ne!(first, second);
    let again = registry.update_tenant(&id, Tenant::default(), Some(&first));
    assert!(matches!(
        again.await,
        Err(UpdateTenantError::VersionMismatch)
    ));
    let read = registry.read_tenant(&id).await.unwrap();
    assert_eq!(read, (Tenant::default(), second.clone()));
    let wrong = registry.delete_tenant(&id, Some(&first)).await;
    assert!(matches!(wrong, Err(ChangeError::VersionMismatch)));
    registry.delete_tenant(&id, Some(&second)).await.unwrap();
    let gone = registry.read_tenant(&id).await;
    assert!(matches!(gone, Err(ReadError::NotFound)));
    let gone = registry.delete_tenant(&id, Some(&second)).await;
    assert!(matches!(gone, Err(ChangeError::NotFound)));
}

#[tokio::test]
async fn an_id_is_given_once() {
    let given = Given::new().await;
    let registry = &given.registry;
    let again = registry.create_tenant(Some(given.tenant.clone()), Tenant::default());
    assert!(matches!(again.await, Err(CreateTenantError::Exists)));
    let id = given.device("4711", Device::default()).await;
    let again = registry.create_device(&given.tenant, Some(id), Device::default(), None);
    assert!(matches!(again.await, Err(CreateDeviceError::Exists)));
    let unknown = "nowhere".into();
    let nowhere = registry.create_device(&unknown, None, Device::default(), None);
    assert!(matches!(
        nowhere.await,
        Err(CreateDeviceError::TenantUnknown)
    ));
}

#[tokio::test]
async fn a_device_has_a_status_that_the_registry_keeps() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let sent = device(json!({"via": ["gw"], "status": {"created": "long ago"}}));
    let id = given.device("4711", sent).await;
    let (read, version) = registry.read_device(tenant, &id).await.unwrap();
    assert_eq!(read.via, ["gw"]);
    let status = read.status.unwrap();
    assert!(status.created.clone().unwrap().ends_with('Z'), "{status:?}");
    assert_eq!(status.updated, None);
    let newer = registry
        .update_device(tenant, &id, Device::default(), Some(&version), None)
        .await
        .unwrap();
    let (read, version) = registry.read_device(tenant, &id).await.unwrap();
    assert_eq!(version, newer);
    assert!(read.via.is_empty());
    let now = read.status.unwrap();
    assert_eq!(now.created, status.created);
    assert!(now.updated.is_some());
}

#[tokio::test]
async fn a_change_of_a_device_looks_for_it_then_at_its_version() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let id = given.device("4711", Device::default()).await;
    let other = Version::from("other");
    let cases = [
        ("4711", ChangeError::VersionMismatch),
        ("4712", ChangeError::NotFound),
    ];
    for (name, expected) in cases {
        let name = name.into();
        let update = registry.update_device(tenant, &name, Device::default(), Some(&other), None);
        let error = update.await.unwrap_err();
        assert_eq!(error.to_string(), expected.to_string(), "{name}");
        let delete = registry.delete_device(tenant, &name, Some(&other));
        let error = delete.await.unwrap_err();
        assert_eq!(error.to_string(), expected.to_string(), "{name}");
    }
    registry.delete_device(tenant, &id, None).await.unwrap();
    let gone = registry.read_device(tenant, &id).await;
    assert!(matches!(gone, Err(ReadError::NotFound)));
}

#[tokio::test]
async fn a_change_that_is_refused_leaves_nothing_behind() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let gateway = given.device("gw", device(json!({"memberOf": ["g"]}))).await;
    let edge = given
        .device("edge", device(json!({"viaGroups": ["g"]})))
        .await;
    // Deleting takes the gateway out of its groups before it finds the version to differ.
    let other = Version::from("other");
    let refused = registry.delete_device(tenant, &gateway, Some(&other)).await;
    assert!(matches!(refused, Err(ChangeError::VersionMismatch)));
    let asserted = registry.assert(tenant, &edge, Some(&gateway)).await;
    assert_eq!(asserted.unwrap().via, ["gw"]);
}

#[tokio::test]
async fn the_devices_of_a_removed_tenant_are_out_of_reach_but_can_be_removed() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let id = given.device("4711", Device::default()).await;
    let other = given.device("4712", Device::default()).await;
    registry.assert(tenant, &id, None).await.unwrap();
    registry.delete_tenant(tenant, None).await.unwrap();
    let read = registry.read_device(tenant, &id).await;
    assert!(matches!(read, Err(ReadError::NotFound)));
    let read = registry.read_credentials(tenant, &id).await;
    assert!(matches!(read, Err(ReadError::NotFound)));
    let update = registry.update_device(tenant, &id, Device::default(), None, None);
    assert!(matches!(update.await, Err(ChangeError::NotFound)));
    let asserted = registry.assert(tenant, &id, None).await;
    assert!(matches!(asserted, Err(AssertionError::TenantUnknown)));
    registry.delete_device(tenant, &id, None).await.unwrap();
    // A tenant of the same id finds what is left.
    let again = registry.create_tenant(Some(tenant.clone()), Tenant::default());
    again.await.unwrap();
    assert!(registry.read_device(tenant, &other).await.is_ok());
    assert!(registry.read_device(tenant, &id).await.is_err());
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let given = Given::new().await;
    let id = given.device("4711", device(json!({"via": ["gw"]}))).await;
    let before = given
        .registry
        .read_device(&given.tenant, &id)
        .await
        .unwrap();
    given.registry.close().await;
    let after = open(&given.folder).await;
    let after = after.read_device(&given.tenant, &id).await.unwrap();
    assert_eq!(before, after);
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    if crate::is_shared() {
        // A server keeps its own.
        return;
    }
    let given = Given::new().await;
    let mut seen = 0;
    for file in std::fs::read_dir(given.folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
        seen += 1;
    }
    assert!(seen > 0);
}

#[tokio::test]
async fn a_url_that_cannot_work_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("sqlite://{}/no/such.db?mode=rwc", folder.path().display());
    let readable = format!("sqlite://{}/none.db", folder.path().display());
    let error = |url: String| async move { SqlRegistry::open(&url).await.unwrap_err() };
    assert!(matches!(
        error("sqlite::memory:".into()).await,
        OpenError::InMemory
    ));
    assert!(matches!(error("mysql://x".into()).await, OpenError::Scheme));
    assert!(matches!(error(missing).await, OpenError::Create { .. }));
    assert!(matches!(error(readable).await, OpenError::Connect(_)));
}

#[tokio::test]
async fn operations_on_a_closed_registry_fail() {
    let given = Given::new().await;
    given.registry.close().await;
    let read = given.registry.read_tenant(&given.tenant).await;
    assert!(matches!(read, Err(ReadError::Unavailable(_))));
    let changed = given.registry.delete_tenant(&given.tenant, None).await;
    assert!(matches!(changed, Err(ChangeError::Unavailable(_))));
}
