//! Devices, as operators change them.

use std::collections::BTreeSet;

use weir_core::{Device, DeviceId, DeviceStatus, TenantId};

use crate::cache::Tag;
use crate::change::Change;
use crate::timestamp::now_millis;
use crate::version::new_id;
use crate::{ChangeError, ReadError, SqlRegistry, Timestamp, Unavailable, Version};

/// Why a device could not be created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateDeviceError {
    /// There is no such tenant.
    #[error("no such tenant")]
    TenantUnknown,
    /// The tenant has a device with that id.
    #[error("device exists already")]
    Exists,
    /// The storage did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl SqlRegistry {
    /// Creates a device with an empty set of credentials, under an id made up if none is given.
    ///
    /// # Errors
    /// If there is no such tenant, the id is taken, or the storage does not answer.
    pub async fn create_device(
        &self,
        tenant: &TenantId,
        id: Option<DeviceId>,
        device: Device,
    ) -> Result<(DeviceId, Version), CreateDeviceError> {
        let id = id.unwrap_or_else(|| new_id().into());
        let key = tenant.clone();
        self.change(tenant, move |change| {
            Box::pin(async move {
                if !change.has_tenant(&key).await? {
                    return Err(CreateDeviceError::TenantUnknown);
                }
                let version = Version::new();
                let sql = "INSERT INTO devices \
                           (tenant, id, version, credentials_version, created, object) \
                           VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
                let insert = sqlx::query(sql)
                    .bind(key.to_string())
                    .bind(id.to_string())
                    .bind(version.to_string())
                    .bind(Version::new().to_string())
                    .bind(now_millis())
                    .bind(stored(&device)?);
                if change.execute(insert).await? == 0 {
                    return Err(CreateDeviceError::Exists);
                }
                change.set_groups(&key, &id, device.member_of).await?;
                Ok((id, version))
            })
        })
        .await
    }

    /// The registration of a device, with its status.
    ///
    /// # Errors
    /// If there is no such tenant or device, or the storage does not answer.
    pub async fn read_device(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
    ) -> Result<(Device, Version), ReadError> {
        let sql = "SELECT version, created, updated, object FROM devices \
                   WHERE tenant = $1 AND id = $2 \
                   AND EXISTS (SELECT id FROM tenants WHERE id = $1)";
        let row: Option<(String, i64, Option<i64>, String)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(Unavailable::from)?;
        let (version, created, updated, object) = row.ok_or(ReadError::NotFound)?;
        let mut device: Device = serde_json::from_str(&object).map_err(Unavailable::from)?;
        device.status = Some(DeviceStatus {
            created: shown(created),
            updated: updated.and_then(shown),
        });
        Ok((device, version.into()))
    }

    /// Replaces the registration of a device, if it has the version `expected` (or whichever).
    ///
    /// # Errors
    /// If there is no such tenant or device, it has another version, or the storage does not answer.
    pub async fn update_device(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        device: Device,
        expected: Option<&Version>,
    ) -> Result<Version, ChangeError> {
        let (key, id) = (tenant.clone(), id.clone());
        let expected = Version::expected(expected);
        self.change(tenant, move |change| {
            Box::pin(async move {
                if !change.has_tenant(&key).await? {
                    return Err(ChangeError::NotFound);
                }
                let version = Version::new();
                let sql = "UPDATE devices SET version = $1, updated = $2, object = $3 \
                           WHERE tenant = $4 AND id = $5 AND ($6 = '' OR version = $6)";
                let update = sqlx::query(sql)
                    .bind(version.to_string())
                    .bind(now_millis())
                    .bind(stored(&device)?)
                    .bind(key.to_string())
                    .bind(id.to_string())
                    .bind(expected);
                if change.execute(update).await? == 0 {
                    return Err(change.why_not_device(&key, &id).await?);
                }
                change.set_groups(&key, &id, device.member_of).await?;
                change.touched.push(Tag::Device(key, id));
                Ok(version)
            })
        })
        .await
    }

    /// Removes a device and its credentials, if it has the version `expected` (or whichever). This
    /// works also where its tenant is gone.
    ///
    /// # Errors
    /// If there is no such device, it has another version, or the storage does not answer.
    pub async fn delete_device(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        expected: Option<&Version>,
    ) -> Result<(), ChangeError> {
        let (key, id) = (tenant.clone(), id.clone());
        let expected = Version::expected(expected);
        self.change(tenant, move |change| {
            Box::pin(async move {
                // Before the device, whose end would take them along unseen. If it stays after all,
                // the transaction takes this back.
                change.set_groups(&key, &id, Vec::new()).await?;
                let sql = "DELETE FROM devices \
                           WHERE tenant = $1 AND id = $2 AND ($3 = '' OR version = $3)";
                let delete = sqlx::query(sql)
                    .bind(key.to_string())
                    .bind(id.to_string())
                    .bind(expected);
                if change.execute(delete).await? == 0 {
                    return Err(change.why_not_device(&key, &id).await?);
                }
                change
                    .touched
                    .push(Tag::Credentials(key.clone(), id.clone()));
                change.touched.push(Tag::Device(key, id));
                Ok(())
            })
        })
        .await
    }
}

impl Change {
    /// Why a change to a device or its credentials found nothing to change.
    pub(crate) async fn why_not_device(
        &mut self,
        tenant: &TenantId,
        id: &DeviceId,
    ) -> Result<ChangeError, Unavailable> {
        let sql = "SELECT id FROM devices WHERE tenant = $1 AND id = $2";
        let found: Option<(String,)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(id.to_string())
            .fetch_optional(&mut *self.tx)
            .await?;
        Ok(match found {
            Some(_) => ChangeError::VersionMismatch,
            None => ChangeError::NotFound,
        })
    }

    /// Sets the groups a gateway belongs to, and touches those it enters or leaves.
    async fn set_groups(
        &mut self,
        tenant: &TenantId,
        device: &DeviceId,
        groups: Vec<String>,
    ) -> Result<(), Unavailable> {
        let sql = "SELECT group_name FROM memberships WHERE tenant = $1 AND device = $2";
        let rows: Vec<(String,)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(device.to_string())
            .fetch_all(&mut *self.tx)
            .await?;
        let before: BTreeSet<String> = rows.into_iter().map(|(group,)| group).collect();
        let after: BTreeSet<String> = groups.into_iter().collect();
        let leave = "DELETE FROM memberships \
                     WHERE tenant = $1 AND group_name = $2 AND device = $3";
        let enter = "INSERT INTO memberships (tenant, group_name, device) VALUES ($1, $2, $3)";
        for (sql, groups) in [(leave, &before - &after), (enter, &after - &before)] {
            for group in groups {
                let statement = sqlx::query(sql)
                    .bind(tenant.to_string())
                    .bind(group.clone())
                    .bind(device.to_string());
                self.execute(statement).await?;
                self.touched.push(Tag::Group(tenant.clone(), group));
            }
        }
        Ok(())
    }
}

/// A device's registration as it is stored: its status is kept in columns.
fn stored(device: &Device) -> Result<String, Unavailable> {
    let device = Device {
        status: None,
        ..device.clone()
    };
    Ok(serde_json::to_string(&device)?)
}

fn shown(millis: i64) -> Option<String> {
    Timestamp::from_millis(millis).map(|time| time.to_string())
}
