//! Devices, as operators change them.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use weir_core::{
    ChangeKind, ChangeSubject, Device, DeviceId, DeviceStatus, Tenant, TenantId, Timestamp,
};

use crate::cache::Tag;
use crate::change::Change;
use crate::version::new_id;
use crate::{ChangeError, ReadError, SqlRegistry, Unavailable, Version};

/// Why a device could not be created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateDeviceError {
    /// There is no such tenant.
    #[error("no such tenant")]
    TenantUnknown,
    /// The tenant has as many devices as it may have.
    #[error("the tenant may have no more devices")]
    LimitReached,
    /// The tenant has a device with that id.
    #[error("device exists already")]
    Exists,
    /// The storage did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// How a device came to be registered, as `devices.provisioned` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provisioned {
    /// By an operator.
    No = 0,
    /// By itself; applications have not been told.
    Unannounced = 1,
    /// By itself; applications have been told.
    Announced = 2,
}

/// What a device's row says of it besides its object.
pub(crate) type StatusColumns = (i64, Option<i64>, Option<String>, i64);
/// The columns of [`StatusColumns`], for SQL.
pub(crate) const STATUS_COLUMNS: &str =
    "devices.created, devices.updated, devices.last_user, devices.provisioned";

impl SqlRegistry {
    /// Creates a device with an empty set of credentials, under an id made up if none is given.
    /// `user` is the operator who does.
    ///
    /// # Errors
    /// If there is no such tenant, it may have no more devices, the id is taken, or the storage does
    /// not answer.
    pub async fn create_device(
        &self,
        tenant: &TenantId,
        id: Option<DeviceId>,
        device: Device,
        user: Option<&str>,
    ) -> Result<(DeviceId, Version), CreateDeviceError> {
        let id = id.unwrap_or_else(|| new_id().into());
        let (tenant, user) = (tenant.clone(), user.map(str::to_owned));
        let (place, general) = (place(&tenant, &id), self.max_devices());
        self.change(&place, move |change| {
            Box::pin(async move {
                change.check_room(&tenant, Some(&id), general).await?;
                let origin = (user, Provisioned::No);
                let version = change.insert_device(&tenant, &id, &device, origin).await?;
                Ok((id, version.ok_or(CreateDeviceError::Exists)?))
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
        let sql = "SELECT version, object, created, updated, last_user, provisioned FROM devices \
                   WHERE tenant = $1 AND id = $2 \
                   AND EXISTS (SELECT id FROM tenants WHERE id = $1)";
        type Row = (String, String, i64, Option<i64>, Option<String>, i64);
        let row: Option<Row> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(id.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(Unavailable::from)?;
        let (version, object, created, updated, user, provisioned) =
            row.ok_or(ReadError::NotFound)?;
        let device = shown(&object, (created, updated, user, provisioned))?;
        Ok((device, version.into()))
    }

    /// Replaces the registration of a device, if it has the version `expected` (or whichever).
    /// `user` is the operator who does.
    ///
    /// # Errors
    /// If there is no such tenant or device, it has another version, or the storage does not answer.
    pub async fn update_device(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        device: Device,
        expected: Option<&Version>,
        user: Option<&str>,
    ) -> Result<Version, ChangeError> {
        let place = place(tenant, id);
        let (tenant, id) = (tenant.clone(), id.clone());
        let (expected, user) = (Version::expected(expected), user.map(str::to_owned));
        self.change(&place, move |change| {
            Box::pin(async move {
                if change.tenant(&tenant).await?.is_none() {
                    return Err(ChangeError::NotFound);
                }
                let version = Version::new();
                let sql = "UPDATE devices \
                           SET version = $1, updated = $2, last_user = $3, object = $4 \
                           WHERE tenant = $5 AND id = $6 AND ($7 = '' OR version = $7)";
                let update = sqlx::query(sql)
                    .bind(version.to_string())
                    .bind(now_millis())
                    .bind(user)
                    .bind(stored(&device)?)
                    .bind(tenant.to_string())
                    .bind(id.to_string())
                    .bind(expected);
                if change.execute(update).await? == 0 {
                    return Err(change.why_not_device(&tenant, &id).await?);
                }
                let groups = device.member_of.clone();
                let mut tags = change.set_groups(&tenant, &id, groups).await?;
                tags.push(Tag::Device(tenant.clone(), id.clone()));
                let subject = ChangeSubject::Device {
                    device: id,
                    change: ChangeKind::Updated,
                    enabled: device.enabled,
                };
                change.made(&tenant, subject, tags);
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
        let place = place(tenant, id);
        let (tenant, id, expected) = (tenant.clone(), id.clone(), expected.cloned());
        self.change(&place, move |change| {
            Box::pin(async move {
                change
                    .device_to_delete(&tenant, &id, expected.as_ref())
                    .await?;
                // Before the device, whose end would take them along unseen.
                let mut tags = change.set_groups(&tenant, &id, Vec::new()).await?;
                let delete = sqlx::query("DELETE FROM devices WHERE tenant = $1 AND id = $2")
                    .bind(tenant.to_string())
                    .bind(id.to_string());
                change.execute(delete).await?;
                tags.push(Tag::Credentials(tenant.clone(), id.clone()));
                tags.push(Tag::Device(tenant.clone(), id.clone()));
                tags.push(Tag::Room(tenant.clone()));
                let subject = ChangeSubject::Device {
                    device: id,
                    change: ChangeKind::Deleted,
                    enabled: false,
                };
                change.made(&tenant, subject, tags);
                Ok(())
            })
        })
        .await
    }

    /// Removes all devices of a tenant and their credentials, whether it exists or not: a few at a
    /// time, so that others are not kept waiting. What fails half-way can be done again.
    ///
    /// # Errors
    /// If the storage does not answer.
    pub async fn delete_devices(&self, tenant: &TenantId) -> Result<(), Unavailable> {
        while !self.delete_some_devices(tenant).await? {}
        Ok(())
    }

    /// Removes some devices of a tenant; whether there are none left.
    async fn delete_some_devices(&self, tenant: &TenantId) -> Result<bool, Unavailable> {
        let (place, tenant) = (tenant.as_str(), tenant.clone());
        self.change(place, move |change| {
            Box::pin(async move {
                // Credentials and memberships go with them.
                let sql = "DELETE FROM devices WHERE tenant = $1 AND id IN \
                           (SELECT id FROM devices WHERE tenant = $1 ORDER BY id LIMIT $2)";
                let delete = sqlx::query(sql).bind(tenant.to_string()).bind(AT_A_TIME);
                let is_last = change.execute(delete).await? < AT_A_TIME as u64;
                // Whatever is remembered of a device depends on the first too.
                let tags = vec![Tag::Existence(tenant.clone()), Tag::Room(tenant.clone())];
                if is_last {
                    change.made(&tenant, ChangeSubject::AllDevices, tags);
                } else {
                    change.touched(tags);
                }
                Ok(is_last)
            })
        })
        .await
    }
}

/// Devices that are deleted in one transaction.
const AT_A_TIME: i64 = 5_000;

/// What is changed; see [`SqlRegistry::change`].
pub(crate) fn place(tenant: &TenantId, device: &DeviceId) -> String {
    format!("{tenant}/{device}")
}

impl Change {
    /// The configuration of a tenant, if there is such a tenant.
    pub(crate) async fn tenant(&mut self, id: &TenantId) -> Result<Option<Tenant>, Unavailable> {
        let sql = "SELECT object FROM tenants WHERE id = $1";
        let found: Option<(String,)> = sqlx::query_as(sql)
            .bind(id.to_string())
            .fetch_optional(&mut *self.tx)
            .await?;
        let parse = |(object,): (String,)| serde_json::from_str(&object);
        Ok(found.map(parse).transpose()?)
    }

    /// The device that is to be deleted; nobody else changes it until this transaction ends.
    async fn device_to_delete(
        &mut self,
        tenant: &TenantId,
        id: &DeviceId,
        expected: Option<&Version>,
    ) -> Result<(), ChangeError> {
        let select = "SELECT version FROM devices WHERE tenant = $1 AND id = $2";
        let sql = format!("{select}{}", self.dialect.for_update());
        let found: Option<(String,)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(tenant.to_string())
            .bind(id.to_string())
            .fetch_optional(&mut *self.tx)
            .await
            .map_err(Unavailable::from)?;
        let (version,) = found.ok_or(ChangeError::NotFound)?;
        match expected.map(Version::as_str) {
            Some(expected) if !expected.is_empty() && expected != version => {
                Err(ChangeError::VersionMismatch)
            }
            _ => Ok(()),
        }
    }

    async fn has_device(&mut self, tenant: &TenantId, id: &DeviceId) -> Result<bool, Unavailable> {
        let sql = "SELECT id FROM devices WHERE tenant = $1 AND id = $2";
        let found: Option<(String,)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(id.to_string())
            .fetch_optional(&mut *self.tx)
            .await?;
        Ok(found.is_some())
    }

    /// Whether the tenant may have the device, `id` if that is given already: by its own limit, or
    /// else by the `general` one. Devices that are there count as such, not as one more.
    pub(crate) async fn check_room(
        &mut self,
        tenant: &TenantId,
        id: Option<&DeviceId>,
        general: Option<u64>,
    ) -> Result<(), CreateDeviceError> {
        let settings = self.tenant(tenant).await?;
        let settings = settings.ok_or(CreateDeviceError::TenantUnknown)?;
        let own = settings
            .registration_limits
            .map(|limits| limits.max_devices);
        // -1 means that the tenant has no limit of its own.
        let own = own.and_then(|limit| u64::try_from(limit).ok());
        let Some(limit) = own.or(general) else {
            return Ok(());
        };
        // So that two do not take the last place.
        self.lock(&format!("devices of {tenant}")).await?;
        if let Some(id) = id
            && self.has_device(tenant, id).await?
        {
            return Ok(());
        }
        let sql = "SELECT COUNT(*) FROM devices WHERE tenant = $1";
        let (devices,): (i64,) = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .fetch_one(&mut *self.tx)
            .await
            .map_err(Unavailable::from)?;
        if u64::try_from(devices).unwrap_or(0) >= limit {
            return Err(CreateDeviceError::LimitReached);
        }
        Ok(())
    }

    /// Inserts a device unless there is one with the id: then no version is returned.
    pub(crate) async fn insert_device(
        &mut self,
        tenant: &TenantId,
        id: &DeviceId,
        device: &Device,
        origin: (Option<String>, Provisioned),
    ) -> Result<Option<Version>, Unavailable> {
        let (user, provisioned) = origin;
        let version = Version::new();
        let sql = "INSERT INTO devices (tenant, id, version, credentials_version, created, \
                   last_user, provisioned, object) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(sql)
            .bind(tenant.to_string())
            .bind(id.to_string())
            .bind(version.to_string())
            .bind(Version::new().to_string())
            .bind(now_millis())
            .bind(user)
            .bind(provisioned as i64)
            .bind(stored(device)?);
        if self.execute(insert).await? == 0 {
            return Ok(None);
        }
        let mut tags = Vec::new();
        if !device.member_of.is_empty() {
            tags = self
                .set_groups(tenant, id, device.member_of.clone())
                .await?;
        }
        tags.push(Tag::Device(tenant.clone(), id.clone()));
        let subject = ChangeSubject::Device {
            device: id.clone(),
            change: ChangeKind::Created,
            enabled: device.enabled,
        };
        self.made(tenant, subject, tags);
        Ok(Some(version))
    }

    /// Why a change to a device or its credentials found nothing to change.
    pub(crate) async fn why_not_device(
        &mut self,
        tenant: &TenantId,
        id: &DeviceId,
    ) -> Result<ChangeError, Unavailable> {
        Ok(if self.has_device(tenant, id).await? {
            ChangeError::VersionMismatch
        } else {
            ChangeError::NotFound
        })
    }

    /// Sets the groups a gateway belongs to; what depends on those it enters or leaves.
    async fn set_groups(
        &mut self,
        tenant: &TenantId,
        device: &DeviceId,
        groups: Vec<String>,
    ) -> Result<Vec<Tag>, Unavailable> {
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
        let mut tags = Vec::new();
        for (sql, groups) in [(leave, &before - &after), (enter, &after - &before)] {
            for group in groups {
                let statement = sqlx::query(sql)
                    .bind(tenant.to_string())
                    .bind(group.clone())
                    .bind(device.to_string());
                self.execute(statement).await?;
                tags.push(Tag::Group(tenant.clone(), group));
            }
        }
        Ok(tags)
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

/// A device's registration as it is shown, of what is stored.
pub(crate) fn shown(object: &str, columns: StatusColumns) -> Result<Device, Unavailable> {
    let (created, updated, last_user, provisioned) = columns;
    let time = |millis| Timestamp::from_millis(millis).map(|time| time.to_string());
    let mut device: Device = serde_json::from_str(object)?;
    device.status = Some(DeviceStatus {
        created: time(created),
        updated: updated.and_then(time),
        last_user,
        auto_provisioned: provisioned != Provisioned::No as i64,
        auto_provisioning_notification_sent: provisioned == Provisioned::Announced as i64,
    });
    Ok(device)
}

/// The present, in milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(millis).unwrap_or(i64::MAX)
}
