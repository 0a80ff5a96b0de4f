//! Devices that are registered by themselves, and deleting many at once.

use serde_json::json;
use time::OffsetDateTime;
use weir_core::{
    AssertionError, CredentialType, Device, DeviceId, LookupError, NewDevice, ProvisionError,
    Registry as _, Tenant, Validity,
};

use crate::{Given, device};

fn new_device(id: Option<&str>, is_gateway: bool) -> NewDevice {
    NewDevice {
        id: id.map(Into::into),
        auth_id: "CN=new".into(),
        validity: Validity {
            not_after: Some(OffsetDateTime::from_unix_timestamp(4_000_000_000).unwrap()),
            ..Validity::default()
        },
        is_gateway,
    }
}

#[tokio::test]
async fn a_gateway_with_the_authority_has_devices_registered() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let authorities = ["auto-provisioning-enabled"];
    let may = device(json!({"memberOf": ["g"], "authorities": authorities}));
    let may = given.device("gw", may).await;
    let may_not = given.device("plain", Device::default()).await;
    let off = device(json!({"enabled": false, "authorities": authorities}));
    let off = given.device("off", off).await;
    let id = DeviceId::from("new");
    for gateway in [&may_not, &off, &"nobody".into()] {
        let refused = registry.assert(tenant, &id, Some(gateway)).await;
        assert!(
            matches!(refused, Err(AssertionError::DeviceUnknown)),
            "{gateway}"
        );
    }
    let bad = registry.assert(tenant, &"a/b".into(), Some(&may)).await;
    assert!(matches!(bad, Err(AssertionError::InvalidId)));

    // Everybody at once: it is registered once, and all of them see it.
    let tasks = (0..10).map(|_| {
        let (registry, tenant) = (registry.clone(), tenant.clone());
        let (id, may) = (id.clone(), may.clone());
        tokio::spawn(async move { registry.assert(&tenant, &id, Some(&may)).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        let asserted = task.await.unwrap().unwrap();
        assert!(asserted.is_unannounced);
        assert_eq!(asserted.via, ["gw"]);
    }
    let (read, _) = registry.read_device(tenant, &id).await.unwrap();
    assert_eq!(read.via, ["gw"]);
    assert_eq!(read.via_groups, ["g"]);
    let status = read.status.unwrap();
    assert!(status.auto_provisioned && !status.auto_provisioning_notification_sent);

    let held = registry.assert(tenant, &id, Some(&may)).await.unwrap();
    registry.announced(tenant, &id).await.unwrap();
    assert!(held.is_stale());
    let asserted = registry.assert(tenant, &id, Some(&may)).await.unwrap();
    assert!(!asserted.is_unannounced);
    let (read, _) = registry.read_device(tenant, &id).await.unwrap();
    assert!(read.status.unwrap().auto_provisioning_notification_sent);
    registry.announced(tenant, &"gone".into()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_has_a_device_and_its_credential_registered() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let kind = CredentialType::X509Certificate;
    let unknown = registry.credentials(tenant, kind, &"CN=new".into()).await;
    assert!(matches!(unknown, Err(LookupError::NotFound)));
    registry
        .provision(tenant, new_device(Some("gw-9"), true))
        .await
        .unwrap();
    let found = registry
        .credentials(tenant, kind, &"CN=new".into())
        .await
        .unwrap();
    assert_eq!(found.device.as_str(), "gw-9");
    assert!(found.is_unannounced && found.enabled);
    let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    assert!(found.accept_certificate(at(2_000_000_000)));
    assert!(!found.accept_certificate(at(4_000_000_001)));
    let (read, _) = registry.read_device(tenant, &"gw-9".into()).await.unwrap();
    assert_eq!(read.authorities.len(), 1);
    // The gateway may have devices registered in turn.
    let edge = registry
        .assert(tenant, &"edge".into(), Some(&"gw-9".into()))
        .await;
    assert_eq!(edge.unwrap().via, ["gw-9"]);
    // Once is enough, whatever id the second attempt would give.
    registry
        .provision(tenant, new_device(None, false))
        .await
        .unwrap();
    let found = registry
        .credentials(tenant, kind, &"CN=new".into())
        .await
        .unwrap();
    assert_eq!(found.device.as_str(), "gw-9");
    registry.announced(tenant, &"gw-9".into()).await.unwrap();
    let found = registry
        .credentials(tenant, kind, &"CN=new".into())
        .await
        .unwrap();
    assert!(!found.is_unannounced);
}

#[tokio::test]
async fn who_may_not_be_registered_is_not() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let unknown = registry
        .provision(&"nowhere".into(), new_device(None, false))
        .await;
    assert!(matches!(unknown, Err(ProvisionError::TenantUnknown)));
    let bad = registry
        .provision(tenant, new_device(Some("CN=new, O=x"), false))
        .await;
    assert!(matches!(bad, Err(ProvisionError::InvalidId(_))));
    let authorities = ["auto-provisioning-enabled"];
    given
        .device("gw", device(json!({"authorities": authorities})))
        .await;
    let full = json!({"registration-limits": {"max-devices": 1}});
    let full: Tenant = serde_json::from_value(full).unwrap();
    registry.update_tenant(tenant, full, None).await.unwrap();
    let no_room = registry.provision(tenant, new_device(None, false)).await;
    assert!(matches!(no_room, Err(ProvisionError::LimitReached)));
    let no_room = registry
        .assert(tenant, &"new".into(), Some(&"gw".into()))
        .await;
    assert!(matches!(no_room, Err(AssertionError::LimitReached)));
}

#[tokio::test]
async fn all_devices_of_a_tenant_go_at_once_and_nobody_elses() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let other = Given::new().await;
    let ids = [
        given.device("a", Device::default()).await,
        given.device("b", Device::default()).await,
    ];
    other.device("a", Device::default()).await;
    let held = registry.assert(tenant, &ids[0], None).await.unwrap();
    registry.delete_devices(tenant).await.unwrap();
    assert!(held.is_stale());
    for id in &ids {
        let gone = registry.assert(tenant, id, None).await;
        assert!(matches!(gone, Err(AssertionError::DeviceUnknown)));
    }
    let (registry, tenant) = (&other.registry, &other.tenant);
    assert!(registry.assert(tenant, &"a".into(), None).await.is_ok());
    registry.delete_devices(&"nowhere".into()).await.unwrap();
}
