//! A look-up that follows a change's answer sees the change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::{Map, json};
use tokio::time::timeout;
use weir_core::{
    AssertionError, Cached, CredentialType, Device, DeviceId, HashFunction, LookupError,
    RegisteredTenant, Registry as _, Tenant,
};
use weir_registry::{NewCredential, NewSecret, PasswordHash, SecretData, SqlRegistry};

use crate::{Given, device};

fn of_size(minimum_message_size: u64) -> Tenant {
    Tenant {
        minimum_message_size,
        ..Tenant::default()
    }
}

fn password(auth_id: &str, hash: &str) -> Vec<NewCredential> {
    let hash = PasswordHash {
        function: HashFunction::Sha256,
        hash: hash.into(),
        salt: Vec::new(),
    };
    vec![NewCredential {
        kind: CredentialType::HashedPassword.as_str().to_owned(),
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
            data: SecretData::Password(hash),
        }],
    }]
}

#[tokio::test]
async fn hits_do_not_touch_the_storage() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let id = given.device("4711", Device::default()).await;
    let kind = CredentialType::HashedPassword;
    registry
        .set_credentials(tenant, &id, password("a", "h"), None)
        .await
        .unwrap();
    let auth_id = "a".into();
    registry.tenant(tenant).await.unwrap();
    registry.assert(tenant, &id, None).await.unwrap();
    registry.credentials(tenant, kind, &auth_id).await.unwrap();
    registry.close().await;
    assert!(registry.tenant(tenant).await.is_ok());
    assert!(registry.assert(tenant, &id, None).await.is_ok());
    assert!(registry.credentials(tenant, kind, &auth_id).await.is_ok());
    let unread = registry.assert(tenant, &"4712".into(), None).await;
    assert!(matches!(unread, Err(AssertionError::Unavailable(_))));
}

#[tokio::test]
async fn a_change_reaches_what_depends_on_it_and_nothing_else() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let gateway = given.device("gw", Device::default()).await;
    let edge = given.device("edge", device(json!({"via": ["gw"]}))).await;
    let other = given.device("other", Device::default()).await;
    let grouped = given
        .device("grouped", device(json!({"viaGroups": ["g"]})))
        .await;
    let kind = CredentialType::HashedPassword;
    registry
        .set_credentials(tenant, &edge, password("a", "h"), None)
        .await
        .unwrap();

    // What each change makes stale of: tenant, own, through, apart, in a group, credentials.
    let all = async || {
        let own = registry.assert(tenant, &edge, None).await.unwrap();
        let through = registry
            .assert(tenant, &edge, Some(&gateway))
            .await
            .unwrap();
        let apart = registry.assert(tenant, &other, None).await.unwrap();
        let group = registry.assert(tenant, &grouped, None).await.unwrap();
        let credentials = registry
            .credentials(tenant, kind, &"a".into())
            .await
            .unwrap();
        let held = registry.tenant(tenant).await.unwrap();
        move || {
            [
                held.is_stale(),
                own.is_stale(),
                through.is_stale(),
                apart.is_stale(),
                group.is_stale(),
                credentials.is_stale(),
            ]
            .map(u8::from)
        }
    };

    let stale = all().await;
    registry
        .update_tenant(tenant, of_size(1), None)
        .await
        .unwrap();
    assert_eq!(stale(), [1, 0, 0, 0, 0, 0], "tenant");

    let stale = all().await;
    let same = device(json!({"via": ["gw"]}));
    registry
        .update_device(tenant, &edge, same, None, None)
        .await
        .unwrap();
    assert_eq!(stale(), [0, 1, 1, 0, 0, 0], "the device");

    let stale = all().await;
    let joined = device(json!({"memberOf": ["g"]}));
    registry
        .update_device(tenant, &gateway, joined.clone(), None, None)
        .await
        .unwrap();
    assert_eq!(
        stale(),
        [0, 0, 1, 0, 1, 0],
        "its gateway, which joins a group"
    );

    let stale = all().await;
    registry
        .update_device(tenant, &gateway, joined.clone(), None, None)
        .await
        .unwrap();
    assert_eq!(
        stale(),
        [0, 0, 1, 0, 0, 0],
        "its gateway, which stays in the group"
    );

    let stale = all().await;
    let member = registry.create_device(tenant, Some("gw-2".into()), joined, None);
    member.await.unwrap();
    assert_eq!(stale(), [0, 0, 0, 0, 1, 0], "another member of the group");

    let stale = all().await;
    registry
        .set_credentials(tenant, &edge, password("a", "h2"), None)
        .await
        .unwrap();
    assert_eq!(stale(), [0, 0, 0, 0, 0, 1], "credentials");

    let stale = all().await;
    registry
        .delete_device(tenant, &"gw-2".into(), None)
        .await
        .unwrap();
    assert_eq!(stale(), [0, 0, 0, 0, 1, 0], "a member is removed");

    let stale = all().await;
    registry.delete_tenant(tenant, None).await.unwrap();
    assert_eq!(stale(), [1, 1, 1, 1, 1, 1], "the tenant is removed");
    let gone = registry.tenant(tenant).await;
    assert!(matches!(gone, Err(LookupError::NotFound)));
    let gone = registry.credentials(tenant, kind, &"a".into()).await;
    assert!(matches!(gone, Err(LookupError::NotFound)));
}

#[tokio::test]
async fn a_removed_device_takes_its_credentials_and_those_it_speaks_for_along() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let gateway = given.device("gw", Device::default()).await;
    let edge = given.device("edge", device(json!({"via": ["gw"]}))).await;
    let kind = CredentialType::HashedPassword;
    registry
        .set_credentials(tenant, &gateway, password("a", "h"), None)
        .await
        .unwrap();
    registry
        .credentials(tenant, kind, &"a".into())
        .await
        .unwrap();
    registry
        .assert(tenant, &edge, Some(&gateway))
        .await
        .unwrap();
    registry
        .delete_device(tenant, &gateway, None)
        .await
        .unwrap();
    let gone = registry.credentials(tenant, kind, &"a".into()).await;
    assert!(matches!(gone, Err(LookupError::NotFound)));
    let refused = registry.assert(tenant, &edge, Some(&gateway)).await;
    assert!(matches!(refused, Err(AssertionError::GatewayUnknown)));
    assert!(registry.assert(tenant, &edge, None).await.is_ok());
}

/// An operator who goes away while the change is made must not leave old values in memory.
#[tokio::test]
async fn a_change_nobody_waits_for_any_more_is_made_and_seen() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    for size in 1..=20 {
        registry.tenant(tenant).await.unwrap();
        let left_alone = registry.update_tenant(tenant, of_size(size), None);
        assert!(left_alone.now_or_never().is_none());
        let seen = async {
            while registry
                .tenant(tenant)
                .await
                .unwrap()
                .settings
                .minimum_message_size
                != size
            {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), seen).await.unwrap();
    }
}

/// Readers and a writer at the same time: a reader that begins after a change was answered sees it,
/// and so does one that holds a value and looks at its mark.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_interleaving_brings_an_old_value_back() {
    let given = Given::new().await;
    let (registry, tenant) = (&given.registry, &given.tenant);
    let id = given.device("4711", Device::default()).await;
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..8)
        .map(|number| {
            let (registry, tenant, id) = (registry.clone(), tenant.clone(), id.clone());
            let over = over.clone();
            tokio::spawn(async move {
                let mut reads = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    // Most hit; some devices are not there and always load.
                    let device = match number {
                        7 => DeviceId::from(format!("none-{reads}")),
                        _ => id.clone(),
                    };
                    let _ = registry.assert(&tenant, &device, None).await;
                    registry.tenant(&tenant).await.unwrap();
                    reads += 1;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let mut held: Option<Cached<RegisteredTenant>> = None;
    for round in 1..=300 {
        registry
            .update_tenant(tenant, of_size(round), None)
            .await
            .unwrap();
        assert!(held.is_none_or(|held| held.is_stale()), "round {round}");
        let read = registry.tenant(tenant).await.unwrap();
        assert_eq!(read.settings.minimum_message_size, round);
        held = Some(read);
        let defaults = device(json!({"defaults": {"round": round}}));
        registry
            .update_device(tenant, &id, defaults, None, None)
            .await
            .unwrap();
        assert_eq!(round_of(registry, &given, &id).await, round);
    }
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

async fn round_of(registry: &SqlRegistry, given: &Given, id: &DeviceId) -> u64 {
    let asserted = registry.assert(&given.tenant, id, None).await.unwrap();
    asserted.defaults["round"].as_u64().unwrap()
}
