//! What is unique among tenants, and by what they are found.

use serde_json::json;
use weir_core::{LookupError, Registry as _, Tenant, TenantId};
use weir_registry::{Clash, CreateTenantError, SqlRegistry, UpdateTenantError};

use crate::{Given, unique};

fn tenant(json: serde_json::Value) -> Tenant {
    serde_json::from_value(json).unwrap()
}

fn trusting(subject_dn: &str, group: Option<&str>, until: &str) -> Tenant {
    tenant(json!({
        "trust-anchor-group": group,
        "trusted-ca": [{
            "id": "1",
            "subject-dn": subject_dn,
            "public-key": "AA==",
            "not-before": "2020-01-01T00:00:00Z",
            "not-after": until,
        }],
    }))
}

const FAR: &str = "2999-01-01T00:00:00Z";
const PAST: &str = "2021-01-01T00:00:00Z";

async fn create(registry: &SqlRegistry, tenant: Tenant) -> Result<TenantId, CreateTenantError> {
    let id = unique("t").as_str().into();
    let created = registry.create_tenant(Some(id), tenant).await;
    created.map(|(id, _)| id)
}

/// Which tenant is found under a name.
async fn named(registry: &SqlRegistry, name: &str) -> Option<TenantId> {
    match registry.tenant(&name.into()).await {
        Ok(found) => Some(found.id.clone()),
        Err(LookupError::NotFound) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn anchored(registry: &SqlRegistry, subject_dn: &str) -> Option<TenantId> {
    match registry.tenant_by_anchor(subject_dn).await {
        Ok(found) => Some(found.id.clone()),
        Err(LookupError::NotFound) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_alias_leads_to_its_tenant_and_is_one_tenants() {
    let Given {
        registry,
        folder: _kept,
        ..
    } = Given::new().await;
    let alias = unique("alias");
    assert_eq!(named(&registry, &alias).await, None);
    let with_alias = || tenant(json!({"alias": alias}));
    let id = create(&registry, with_alias()).await.unwrap();
    assert_eq!(named(&registry, &alias).await, Some(id.clone()));
    let again = create(&registry, with_alias()).await;
    assert!(matches!(again, Err(CreateTenantError::Clash(Clash::Alias))));
    let other = create(&registry, Tenant::default()).await.unwrap();
    let taken = registry.update_tenant(&other, with_alias(), None).await;
    assert!(matches!(taken, Err(UpdateTenantError::Clash(Clash::Alias))));
    // Its owner may keep it; once given up, another may have it.
    registry
        .update_tenant(&id, with_alias(), None)
        .await
        .unwrap();
    registry
        .update_tenant(&id, Tenant::default(), None)
        .await
        .unwrap();
    assert_eq!(named(&registry, &alias).await, None);
    registry
        .update_tenant(&other, with_alias(), None)
        .await
        .unwrap();
    assert_eq!(named(&registry, &alias).await, Some(other.clone()));
    registry.delete_tenant(&other, None).await.unwrap();
    assert_eq!(named(&registry, &alias).await, None);
}

#[tokio::test]
async fn a_tenants_own_id_goes_before_anothers_alias() {
    let Given {
        registry,
        folder: _kept,
        ..
    } = Given::new().await;
    let name = unique("name");
    let other = create(&registry, tenant(json!({"alias": name})))
        .await
        .unwrap();
    assert_eq!(named(&registry, &name).await, Some(other));
    let id = TenantId::from(name.as_str());
    registry
        .create_tenant(Some(id.clone()), Tenant::default())
        .await
        .unwrap();
    assert_eq!(named(&registry, &name).await, Some(id));
}

#[tokio::test]
async fn an_authority_is_one_tenants_unless_both_are_of_one_group() {
    let Given {
        registry,
        folder: _kept,
        ..
    } = Given::new().await;
    let dn = format!("CN={}", unique("ca"));
    let id = create(&registry, trusting(&dn, Some("g"), FAR))
        .await
        .unwrap();
    for group in [None, Some("h")] {
        let clash = create(&registry, trusting(&dn, group, FAR)).await;
        let Err(CreateTenantError::Clash(Clash::Anchor { subject_dn })) = clash else {
            panic!("{clash:?}");
        };
        assert_eq!(subject_dn, dn);
    }
    let shared = create(&registry, trusting(&dn, Some("g"), FAR))
        .await
        .unwrap();
    // The way out of the group is barred as long as they share it.
    let left = registry
        .update_tenant(&shared, trusting(&dn, None, FAR), None)
        .await;
    assert!(matches!(
        left,
        Err(UpdateTenantError::Clash(Clash::Anchor { .. }))
    ));
    registry.delete_tenant(&id, None).await.unwrap();
    registry
        .update_tenant(&shared, trusting(&dn, None, FAR), None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_trust_anchor_leads_to_its_tenant_while_it_is_valid_and_no_other_has_it() {
    let Given {
        registry,
        folder: _kept,
        ..
    } = Given::new().await;
    let dn = format!("CN={}", unique("ca"));
    assert_eq!(anchored(&registry, &dn).await, None);
    let first = create(&registry, trusting(&dn, Some("g"), FAR))
        .await
        .unwrap();
    assert_eq!(anchored(&registry, &dn).await, Some(first.clone()));
    // An expired one of another tenant does not count.
    let second = create(&registry, trusting(&dn, Some("g"), PAST))
        .await
        .unwrap();
    assert_eq!(anchored(&registry, &dn).await, Some(first.clone()));
    let valid = trusting(&dn, Some("g"), FAR);
    registry.update_tenant(&second, valid, None).await.unwrap();
    assert_eq!(anchored(&registry, &dn).await, None);
    registry
        .update_tenant(&first, Tenant::default(), None)
        .await
        .unwrap();
    assert_eq!(anchored(&registry, &dn).await, Some(second));
}
