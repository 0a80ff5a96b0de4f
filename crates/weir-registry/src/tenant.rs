//! Tenants, as operators change them.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_core::{ChangeKind, ChangeSubject, Tenant, TenantId};

use crate::cache::Tag;
use crate::change::Change;
use crate::version::new_id;
use crate::{ChangeError, ReadError, SqlRegistry, Unavailable, Version};

/// Whoever changes a tenant waits for whoever else does: what has to be unique among tenants takes a
/// look at all of them.
const LOCK: &str = "tenants";

/// Why a tenant could not be created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateTenantError {
    /// There is a tenant with that id.
    #[error("tenant exists already")]
    Exists,
    /// It clashes with another tenant.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// The storage did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a tenant could not be replaced.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpdateTenantError {
    /// There is no such tenant.
    #[error("not found")]
    NotFound,
    /// It has another version than the one expected.
    #[error("resource version does not match")]
    VersionMismatch,
    /// It clashes with another tenant.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// The storage did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What a tenant has that only one may have.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Clash {
    /// Another tenant has the alias.
    #[error("alias: another tenant has it")]
    Alias,
    /// Another tenant, not of the same trust anchor group, trusts the same authority.
    #[error("trusted-ca: another tenant has one with subject {subject_dn}")]
    Anchor {
        /// The authority's name.
        subject_dn: String,
    },
}

/// A check among tenants failed, or could not be made.
enum Failed {
    Clash(Clash),
    Unavailable(Unavailable),
}

impl SqlRegistry {
    /// Creates a tenant, under an id made up if none is given.
    ///
    /// # Errors
    /// If the id is taken, the tenant clashes with another, or the storage does not answer.
    pub async fn create_tenant(
        &self,
        id: Option<TenantId>,
        tenant: Tenant,
    ) -> Result<(TenantId, Version), CreateTenantError> {
        let id = id.unwrap_or_else(|| new_id().into());
        let place = id.to_string();
        self.change(&place, move |change| {
            Box::pin(async move {
                change.lock(LOCK).await?;
                change.check_unique(&id, &tenant).await?;
                let version = Version::new();
                let sql = "INSERT INTO tenants (id, version, alias, object) \
                           VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";
                let insert = sqlx::query(sql)
                    .bind(id.to_string())
                    .bind(version.to_string())
                    .bind(tenant.alias.clone())
                    .bind(serde_json::to_string(&tenant).map_err(Unavailable::from)?);
                if change.execute(insert).await? == 0 {
                    return Err(CreateTenantError::Exists);
                }
                change.set_anchors(&id, &tenant).await?;
                // Devices of a former tenant of that id come within reach again.
                let mut tags = names(&tenant);
                tags.extend([Tag::Name(id.clone()), Tag::Existence(id.clone())]);
                change.made(&id, subject(ChangeKind::Created, &tenant), tags);
                Ok((id, version))
            })
        })
        .await
    }

    /// The configuration of a tenant.
    ///
    /// # Errors
    /// If there is no such tenant, or the storage does not answer.
    pub async fn read_tenant(&self, id: &TenantId) -> Result<(Tenant, Version), ReadError> {
        let sql = "SELECT version, object FROM tenants WHERE id = $1";
        let row: Option<(String, String)> = sqlx::query_as(sql)
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(Unavailable::from)?;
        let (version, object) = row.ok_or(ReadError::NotFound)?;
        let tenant = serde_json::from_str(&object).map_err(Unavailable::from)?;
        Ok((tenant, version.into()))
    }

    /// How many tenants there are.
    ///
    /// # Errors
    /// If the storage does not answer.
    pub async fn count_tenants(&self) -> Result<u64, Unavailable> {
        let count = sqlx::query_as("SELECT COUNT(*) FROM tenants").fetch_one(self.readers());
        let (count,): (i64,) = count.await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Replaces the configuration of a tenant, if it has the version `expected` (or whichever).
    ///
    /// # Errors
    /// If there is no such tenant, it has another version or clashes with another tenant, or the
    /// storage does not answer.
    pub async fn update_tenant(
        &self,
        id: &TenantId,
        tenant: Tenant,
        expected: Option<&Version>,
    ) -> Result<Version, UpdateTenantError> {
        let (place, id, expected) = (id.as_str(), id.clone(), expected.cloned());
        self.change(place, move |change| {
            Box::pin(async move {
                change.lock(LOCK).await?;
                let before = change.tenant_to_change(&id, expected.as_ref()).await?;
                change.check_unique(&id, &tenant).await?;
                let version = Version::new();
                let sql = "UPDATE tenants SET version = $1, alias = $2, object = $3 WHERE id = $4";
                let update = sqlx::query(sql)
                    .bind(version.to_string())
                    .bind(tenant.alias.clone())
                    .bind(serde_json::to_string(&tenant).map_err(Unavailable::from)?)
                    .bind(id.to_string());
                change.execute(update).await?;
                change.set_anchors(&id, &tenant).await?;
                let mut tags = names(&before);
                tags.extend(names(&tenant));
                tags.extend([Tag::Name(id.clone()), Tag::Room(id.clone())]);
                change.made(&id, subject(ChangeKind::Updated, &tenant), tags);
                Ok(version)
            })
        })
        .await
    }

    /// Removes a tenant, if it has the version `expected` (or whichever). Its devices stay, out of
    /// reach.
    ///
    /// # Errors
    /// If there is no such tenant or it has another version, or the storage does not answer.
    pub async fn delete_tenant(
        &self,
        id: &TenantId,
        expected: Option<&Version>,
    ) -> Result<(), ChangeError> {
        let (place, id, expected) = (id.as_str(), id.clone(), expected.cloned());
        self.change(place, move |change| {
            Box::pin(async move {
                change.lock(LOCK).await?;
                let before = change.tenant_to_change(&id, expected.as_ref()).await?;
                // Takes its anchors along.
                let delete = sqlx::query("DELETE FROM tenants WHERE id = $1").bind(id.to_string());
                change.execute(delete).await?;
                let mut tags = names(&before);
                tags.extend([Tag::Name(id.clone()), Tag::Existence(id.clone())]);
                let gone = Tenant {
                    enabled: false,
                    ..before
                };
                change.made(&id, subject(ChangeKind::Deleted, &gone), tags);
                Ok(())
            })
        })
        .await
    }
}

impl Change {
    /// The tenant that is to be changed, as it is now.
    async fn tenant_to_change(
        &mut self,
        id: &TenantId,
        expected: Option<&Version>,
    ) -> Result<Tenant, ChangeError> {
        let sql = "SELECT version, object FROM tenants WHERE id = $1";
        let row: Option<(String, String)> = sqlx::query_as(sql)
            .bind(id.to_string())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(Unavailable::from)?;
        let (version, object) = row.ok_or(ChangeError::NotFound)?;
        let expected = expected.map_or("", Version::as_str);
        if !expected.is_empty() && expected != version {
            return Err(ChangeError::VersionMismatch);
        }
        Ok(serde_json::from_str(&object).map_err(Unavailable::from)?)
    }

    async fn check_unique(&mut self, id: &TenantId, tenant: &Tenant) -> Result<(), Failed> {
        if let Some(alias) = &tenant.alias {
            let sql = "SELECT id FROM tenants WHERE alias = $1 AND id <> $2";
            let other: Option<(String,)> = sqlx::query_as(sql)
                .bind(alias.clone())
                .bind(id.to_string())
                .fetch_optional(&mut *self.tx)
                .await?;
            if other.is_some() {
                return Err(Failed::Clash(Clash::Alias));
            }
        }
        for subject_dn in subjects(tenant) {
            let sql = "SELECT tenants.object FROM anchors \
                       JOIN tenants ON tenants.id = anchors.tenant \
                       WHERE anchors.subject_dn = $1 AND anchors.tenant <> $2";
            let others: Vec<(String,)> = sqlx::query_as(sql)
                .bind(subject_dn.clone())
                .bind(id.to_string())
                .fetch_all(&mut *self.tx)
                .await?;
            for (object,) in others {
                let other: Tenant = serde_json::from_str(&object).map_err(Unavailable::from)?;
                let group = tenant.trust_anchor_group.as_ref();
                if group.is_none() || group != other.trust_anchor_group.as_ref() {
                    return Err(Failed::Clash(Clash::Anchor { subject_dn }));
                }
            }
        }
        Ok(())
    }

    async fn set_anchors(&mut self, id: &TenantId, tenant: &Tenant) -> Result<(), Unavailable> {
        let delete = sqlx::query("DELETE FROM anchors WHERE tenant = $1").bind(id.to_string());
        self.execute(delete).await?;
        for subject_dn in subjects(tenant) {
            let sql = "INSERT INTO anchors (tenant, subject_dn) VALUES ($1, $2)";
            let insert = sqlx::query(sql).bind(id.to_string()).bind(subject_dn);
            self.execute(insert).await?;
        }
        Ok(())
    }
}

/// The subjects of a tenant's trust anchors, each once: several with one subject are fine.
fn subjects(tenant: &Tenant) -> BTreeSet<String> {
    let anchors = tenant.trusted_ca.iter();
    anchors.map(|anchor| anchor.subject_dn.clone()).collect()
}

/// By what a tenant is found, its id apart.
fn names(tenant: &Tenant) -> Vec<Tag> {
    let alias = tenant.alias.as_deref().map(|alias| Tag::Name(alias.into()));
    let anchors = subjects(tenant).into_iter().map(Tag::Anchor);
    alias.into_iter().chain(anchors).collect()
}

fn subject(change: ChangeKind, tenant: &Tenant) -> ChangeSubject {
    let asked = tenant.ext.get("invalidate-cache-on-update");
    ChangeSubject::Tenant {
        change,
        enabled: tenant.enabled,
        invalidate_cache: change == ChangeKind::Deleted || asked == Some(&Value::Bool(true)),
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<Unavailable> for Failed {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}

impl From<Failed> for CreateTenantError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Clash(clash) => Self::Clash(clash),
            Failed::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl From<Failed> for UpdateTenantError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Clash(clash) => Self::Clash(clash),
            Failed::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl From<ChangeError> for UpdateTenantError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => Self::NotFound,
            ChangeError::VersionMismatch => Self::VersionMismatch,
            ChangeError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}
