//! Sets of credentials and the rules for keeping secrets.

use serde_json::Map;
use weir_core::{
    AuthId, CredentialType, Device, DeviceId, HashFunction, LookupError, Registry as _,
};
use weir_registry::{
    NewCredential, NewSecret, PasswordHash, ReadError, SecretData, SetCredentialsError, Version,
};

use crate::{Given, open};

fn credential(auth_id: &str, secrets: Vec<NewSecret>) -> NewCredential {
    NewCredential {
        kind: CredentialType::HashedPassword.as_str().to_owned(),
        auth_id: auth_id.into(),
        enabled: true,
        ext: Map::new(),
        comment: None,
        secrets,
    }
}

fn secret(id: Option<&str>, hash: Option<&str>) -> NewSecret {
    NewSecret {
        id: id.map(str::to_owned),
        enabled: true,
        not_before: None,
        not_after: None,
        comment: None,
        data: hash.map_or(SecretData::None, |hash| {
            SecretData::Password(PasswordHash {
                function: HashFunction::Sha256,
                hash: hash.to_owned(),
                salt: vec![1, 2, 3],
            })
        }),
    }
}

impl Given {
    async fn set(&self, set: Vec<NewCredential>) -> Result<Version, SetCredentialsError> {
        let device = DeviceId::from("4711");
        self.registry
            .set_credentials(&self.tenant, &device, set, None)
            .await
    }

    /// The ids of the first credential's secrets.
    async fn secret_ids(&self) -> Vec<String> {
        let device = DeviceId::from("4711");
        let read = self.registry.read_credentials(&self.tenant, &device).await;
        let secrets = &read.unwrap().0[0].secrets;
        secrets
            .iter()
            .map(|secret| secret.head.id.clone())
            .collect()
    }

    /// The hashes that the pipeline compares with.
    async fn hashes(&self, auth_id: &str) -> Result<Vec<String>, LookupError> {
        let (kind, auth_id) = (CredentialType::HashedPassword, AuthId::from(auth_id));
        let found = self
            .registry
            .credentials(&self.tenant, kind, &auth_id)
            .await?;
        Ok(found.passwords().iter().map(|s| s.hash.clone()).collect())
    }
}

async fn given() -> Given {
    let given = Given::new().await;
    given.device("4711", Device::default()).await;
    given
}

#[tokio::test]
async fn a_new_device_has_an_empty_set_with_a_version_of_its_own() {
    let given = given().await;
    let (registry, tenant, id) = (&given.registry, &given.tenant, DeviceId::from("4711"));
    let (set, version) = registry.read_credentials(tenant, &id).await.unwrap();
    assert!(set.is_empty());
    let (_, of_device) = registry.read_device(tenant, &id).await.unwrap();
    assert_ne!(version, of_device);
    let set = vec![credential("sensor1", vec![secret(None, Some("h"))])];
    let wrong = registry.set_credentials(tenant, &id, set.clone(), Some(&of_device));
    let wrong = wrong.await;
    assert!(matches!(wrong, Err(SetCredentialsError::VersionMismatch)));
    let newer = registry.set_credentials(tenant, &id, set, Some(&version));
    let newer = newer.await.unwrap();
    let (set, version) = registry.read_credentials(tenant, &id).await.unwrap();
    assert_eq!((set.len(), version), (1, newer));
    assert_eq!(
        registry.read_device(tenant, &id).await.unwrap().1,
        of_device
    );
}

#[tokio::test]
async fn only_a_device_has_credentials() {
    let given = given().await;
    let none = DeviceId::from("none");
    let set = given
        .registry
        .set_credentials(&given.tenant, &none, Vec::new(), None);
    assert!(matches!(set.await, Err(SetCredentialsError::NotFound)));
    let read = given.registry.read_credentials(&given.tenant, &none).await;
    assert!(matches!(read, Err(ReadError::NotFound)));
}

#[tokio::test]
async fn a_secret_named_by_its_id_keeps_its_hash_and_nothing_else() {
    let given = given().await;
    let mut first = secret(None, Some("h1"));
    first.comment = Some("the first".into());
    first.enabled = false;
    let both = vec![first, secret(None, Some("h2"))];
    given.set(vec![credential("sensor1", both)]).await.unwrap();
    let ids = given.secret_ids().await;
    // The second is replaced, the first kept, and its comment and state are the request's.
    let kept = vec![
        secret(Some(&ids[1]), Some("h3")),
        secret(Some(&ids[0]), None),
    ];
    given.set(vec![credential("sensor1", kept)]).await.unwrap();
    assert_eq!(given.hashes("sensor1").await.unwrap(), ["h3", "h1"]);
    assert_eq!(given.secret_ids().await, [ids[1].clone(), ids[0].clone()]);
    let device = DeviceId::from("4711");
    let read = given
        .registry
        .read_credentials(&given.tenant, &device)
        .await;
    let secret = read.unwrap().0[0].secrets[1].head.clone();
    assert!(secret.enabled && secret.comment.is_none());
}

#[tokio::test]
async fn what_is_not_mentioned_is_gone_and_what_has_no_id_is_new() {
    let given = given().await;
    let two = vec![secret(None, Some("h1")), secret(None, Some("h2"))];
    given.set(vec![credential("a", two)]).await.unwrap();
    let before = given.secret_ids().await;
    given
        .set(vec![credential("a", vec![secret(None, Some("h1"))])])
        .await
        .unwrap();
    let after = given.secret_ids().await;
    assert_eq!(after.len(), 1);
    assert!(!before.contains(&after[0]));
    given.set(Vec::new()).await.unwrap();
    let gone = given.hashes("a").await;
    assert!(matches!(gone, Err(LookupError::NotFound)));
}

#[tokio::test]
async fn an_unknown_secret_is_refused_and_the_set_stays() {
    let given = given().await;
    given
        .set(vec![credential("a", vec![secret(None, Some("h1"))])])
        .await
        .unwrap();
    let id = given.secret_ids().await.remove(0);
    let refused = [
        credential("a", vec![secret(Some("unknown"), None)]),
        credential("a", vec![secret(Some("unknown"), Some("h"))]),
        // A secret does not move to another credential.
        credential("b", vec![secret(Some(&id), None)]),
    ];
    for credential in refused {
        let set = given.set(vec![credential]).await;
        assert!(matches!(
            set,
            Err(SetCredentialsError::SecretUnknown { .. })
        ));
    }
    let set = given
        .set(vec![credential("a", vec![secret(None, None)])])
        .await;
    assert!(matches!(
        set,
        Err(SetCredentialsError::SecretWithoutHash { .. })
    ));
    assert_eq!(given.hashes("a").await.unwrap(), ["h1"]);
    assert_eq!(given.secret_ids().await, [id]);
}

#[tokio::test]
async fn an_auth_id_is_one_devices_of_a_tenant() {
    let given = given().await;
    let other = given.device("4712", Device::default()).await;
    let set = vec![credential("sensor1", vec![secret(None, Some("h"))])];
    given.set(set.clone()).await.unwrap();
    let (registry, tenant) = (&given.registry, &given.tenant);
    let taken = registry
        .set_credentials(tenant, &other, set.clone(), None)
        .await;
    assert!(matches!(
        taken,
        Err(SetCredentialsError::AuthIdTaken { .. })
    ));
    // Its owner may set it again, and once the owner is gone it is free.
    given.set(set.clone()).await.unwrap();
    registry
        .delete_device(tenant, &"4711".into(), None)
        .await
        .unwrap();
    registry
        .set_credentials(tenant, &other, set, None)
        .await
        .unwrap();
    let kind = CredentialType::HashedPassword;
    let found = registry.credentials(tenant, kind, &"sensor1".into()).await;
    assert_eq!(found.unwrap().device, other);
}

#[tokio::test]
async fn the_pipeline_gets_what_was_set_also_after_reopening() {
    let given = given().await;
    let mut late = secret(None, Some("h"));
    late.not_after = Some("2026-11-21T10:00:00+01:00".parse().unwrap());
    let mut credential = credential("sensor1", vec![late]);
    credential.enabled = false;
    given.set(vec![credential]).await.unwrap();
    given.registry.close().await;
    let registry = open(&given.folder).await;
    let kind = CredentialType::HashedPassword;
    let found = registry
        .credentials(&given.tenant, kind, &"sensor1".into())
        .await;
    let found = found.unwrap();
    assert_eq!(found.device.as_str(), "4711");
    assert!(!found.enabled);
    let secret = &found.passwords()[0];
    assert_eq!(secret.salt, [1, 2, 3]);
    let until = secret.validity.not_after.unwrap();
    assert_eq!(until.unix_timestamp(), 1_795_251_600);
}

#[tokio::test]
async fn no_hash_is_shown() {
    let given = given().await;
    let set = vec![credential("sensor1", vec![secret(None, Some("HASH"))])];
    let debug = format!("{set:?}");
    given.set(set).await.unwrap();
    let device = DeviceId::from("4711");
    let read = given
        .registry
        .read_credentials(&given.tenant, &device)
        .await;
    let shown = serde_json::to_string(&read.unwrap().0).unwrap();
    for text in [debug, shown] {
        assert!(!text.contains("HASH") && !text.contains("AQID"), "{text}");
    }
}
