//! Tenants, as operators change them.

use weir_core::{Tenant, TenantId};

use crate::cache::Tag;
use crate::change::Change;
use crate::version::new_id;
use crate::{ChangeError, ReadError, SqlRegistry, Unavailable, Version};

/// Why a tenant could not be created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateTenantError {
    /// There is a tenant with that id.
    #[error("tenant exists already")]
    Exists,
    /// The storage did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl SqlRegistry {
    /// Creates a tenant, under an id made up if none is given.
    ///
    /// # Errors
    /// If the id is taken, or the storage does not answer.
    pub async fn create_tenant(
        &self,
        id: Option<TenantId>,
        tenant: Tenant,
    ) -> Result<(TenantId, Version), CreateTenantError> {
        let id = id.unwrap_or_else(|| new_id().into());
        let key = id.clone();
        self.change(&key, move |change| {
            Box::pin(async move {
                let version = Version::new();
                let sql = "INSERT INTO tenants (id, version, object) VALUES ($1, $2, $3) \
                           ON CONFLICT DO NOTHING";
                let insert = sqlx::query(sql)
                    .bind(id.to_string())
                    .bind(version.to_string())
                    .bind(serde_json::to_string(&tenant).map_err(Unavailable::from)?);
                if change.execute(insert).await? == 0 {
                    return Err(CreateTenantError::Exists);
                }
                // Devices of a former tenant of that id come within reach again. Nothing is
                // remembered of what was not found, so there is nothing to forget.
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

    /// Replaces the configuration of a tenant, if it has the version `expected` (or whichever).
    ///
    /// # Errors
    /// If there is no such tenant or it has another version, or the storage does not answer.
    pub async fn update_tenant(
        &self,
        id: &TenantId,
        tenant: Tenant,
        expected: Option<&Version>,
    ) -> Result<Version, ChangeError> {
        let (key, expected) = (id.clone(), Version::expected(expected));
        self.change(id, move |change| {
            Box::pin(async move {
                let version = Version::new();
                let sql = "UPDATE tenants SET version = $1, object = $2 \
                           WHERE id = $3 AND ($4 = '' OR version = $4)";
                let update = sqlx::query(sql)
                    .bind(version.to_string())
                    .bind(serde_json::to_string(&tenant).map_err(Unavailable::from)?)
                    .bind(key.to_string())
                    .bind(expected);
                if change.execute(update).await? == 0 {
                    return Err(why_not(change, &key).await?);
                }
                change.touched.push(Tag::Tenant(key));
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
        let (key, expected) = (id.clone(), Version::expected(expected));
        self.change(id, move |change| {
            Box::pin(async move {
                let sql = "DELETE FROM tenants WHERE id = $1 AND ($2 = '' OR version = $2)";
                let delete = sqlx::query(sql).bind(key.to_string()).bind(expected);
                if change.execute(delete).await? == 0 {
                    return Err(why_not(change, &key).await?);
                }
                change.touched.push(Tag::Tenant(key.clone()));
                change.touched.push(Tag::Existence(key));
                Ok(())
            })
        })
        .await
    }
}

/// Why nothing was changed.
async fn why_not(change: &mut Change, id: &TenantId) -> Result<ChangeError, Unavailable> {
    Ok(if change.has_tenant(id).await? {
        ChangeError::VersionMismatch
    } else {
        ChangeError::NotFound
    })
}
