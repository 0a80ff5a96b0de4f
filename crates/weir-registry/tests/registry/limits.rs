//! How much may be registered for a tenant.

use serde_json::{Map, json};
use weir_core::{Device, Tenant};
use weir_registry::{
    CreateDeviceError, NewCredential, NewSecret, Options, SecretData, SetCredentialsError,
};

use crate::Given;

fn limited(json: serde_json::Value) -> Tenant {
    serde_json::from_value(json!({"registration-limits": json})).unwrap()
}

/// How many devices of ten can be created.
async fn room(general: Option<u64>, own: Option<i64>) -> usize {
    let options = Options {
        max_devices: general,
        ..Options::default()
    };
    let Given {
        registry,
        tenant,
        folder: _kept,
    } = Given::with(options).await;
    if let Some(own) = own {
        let settings = limited(json!({"max-devices": own}));
        registry
            .update_tenant(&tenant, settings, None)
            .await
            .unwrap();
    }
    // All at once: the last place is given once.
    let tasks = (0..10).map(|_| {
        let (registry, tenant) = (registry.clone(), tenant.clone());
        tokio::spawn(async move {
            registry
                .create_device(&tenant, None, Device::default(), None)
                .await
        })
    });
    let mut created = 0;
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(_) => created += 1,
            Err(CreateDeviceError::LimitReached) => {}
            Err(error) => panic!("{error}"),
        }
    }
    created
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_as_many_devices_as_its_own_limit_or_else_the_general_one_allows() {
    let rows = [
        (None, None, 10),
        (None, Some(-1), 10),
        (None, Some(0), 0),
        (None, Some(3), 3),
        (Some(4), None, 4),
        (Some(4), Some(-1), 4),
        (Some(4), Some(6), 6),
    ];
    for (general, own, expected) in rows {
        assert_eq!(room(general, own).await, expected, "{general:?} {own:?}");
    }
}

#[tokio::test]
async fn a_device_has_as_many_credentials_as_its_tenant_allows() {
    let given = Given::new().await;
    let device = given.device("4711", Device::default()).await;
    let settings = limited(json!({"max-credentials-per-device": 1}));
    let (registry, tenant) = (&given.registry, &given.tenant);
    registry
        .update_tenant(tenant, settings, None)
        .await
        .unwrap();
    let credential = |auth_id: &str| NewCredential {
        kind: "generic".to_owned(),
        auth_id: auth_id.into(),
        enabled: true,
        ext: Map::new(),
        comment: None,
        secrets: vec![NewSecret {
            id: None,
            enabled: true,
            not_before: None,
            not_after: None,
            comment: None,
            data: SecretData::None,
        }],
    };
    let two = vec![credential("a"), credential("b")];
    let set = registry.set_credentials(tenant, &device, two, None).await;
    assert!(
        matches!(set, Err(SetCredentialsError::LimitReached(1))),
        "{set:?}"
    );
    let one = vec![credential("a")];
    registry
        .set_credentials(tenant, &device, one, None)
        .await
        .unwrap();
}
