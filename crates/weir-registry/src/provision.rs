//! Devices that are registered by themselves (northbound contract §8.4).

use serde_json::{Map, json};
use weir_core::{
    Authority, ChangeSubject, CredentialType, Device, DeviceId, LookupError, MAX_ID, NewDevice,
    ProvisionError, TenantId, Timestamp,
};

use crate::cache::Tag;
use crate::change::Change;
use crate::credentials::{NewCredential, NewSecret, SecretData};
use crate::device::{Provisioned, place};
use crate::version::new_id;
use crate::{CreateDeviceError, SetCredentialsError, SqlRegistry, Unavailable};

impl SqlRegistry {
    /// Registers a device that presented a certificate, unless its auth-id is taken by now.
    pub(crate) async fn provision_by_certificate(
        &self,
        tenant: &TenantId,
        new: NewDevice,
    ) -> Result<(), ProvisionError> {
        let id = new.id.clone().unwrap_or_else(|| new_id().into());
        check_id(&id)?;
        let mut device = provisioned();
        if new.is_gateway {
            device.authorities.push(Authority::AutoProvisioning);
        }
        let (tenant, general) = (tenant.clone(), self.max_devices());
        // By its name: the id may be another one each time.
        let place = format!("{tenant}/{}", new.auth_id);
        let done = self.change(&place, move |change| {
            Box::pin(async move {
                let kind = CredentialType::X509Certificate.as_str();
                change
                    .lock(&format!("{kind} {} of {tenant}", new.auth_id))
                    .await?;
                if change.is_taken(&tenant, kind, new.auth_id.as_str()).await? {
                    // That it is not may be remembered here.
                    let (kind, auth_id) = (kind.to_owned(), new.auth_id.clone());
                    change.touched(vec![Tag::Login(tenant, kind, auth_id)]);
                    return Ok(());
                }
                change.check_room(&tenant, Some(&id), general).await?;
                let origin = (None, Provisioned::Unannounced);
                // A device that has the id already gets no second credential by itself.
                let inserted = change.insert_device(&tenant, &id, &device, origin);
                if inserted.await?.is_none() {
                    return Ok(());
                }
                let credential = NewCredential {
                    kind: kind.to_owned(),
                    auth_id: new.auth_id.clone(),
                    enabled: true,
                    ext: Map::new(),
                    comment: None,
                    secrets: vec![NewSecret {
                        id: None,
                        enabled: new.validity.enabled,
                        not_before: new.validity.not_before.map(Timestamp::from),
                        not_after: new.validity.not_after.map(Timestamp::from),
                        comment: None,
                        data: SecretData::None,
                    }],
                };
                let tags = change.replace(&tenant, &id, vec![credential]).await;
                let tags = tags.map_err(Failed::Set)?;
                change.made(&tenant, ChangeSubject::Credentials { device: id }, tags);
                Ok::<_, Failed>(())
            })
        });
        done.await.map_err(Failed::into_error)
    }

    /// Registers a device for which its gateway sent a message, unless it is there by now.
    pub(crate) async fn provision_by_gateway(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        gateway: &DeviceId,
        groups: Vec<String>,
    ) -> Result<(), ProvisionError> {
        check_id(id)?;
        let device = Device {
            via: vec![gateway.to_string()],
            via_groups: groups,
            ..provisioned()
        };
        let place = place(tenant, id);
        let (tenant, id, general) = (tenant.clone(), id.clone(), self.max_devices());
        let done = self.change(&place, move |change| {
            Box::pin(async move {
                change.check_room(&tenant, Some(&id), general).await?;
                let origin = (None, Provisioned::Unannounced);
                let inserted = change.insert_device(&tenant, &id, &device, origin);
                if inserted.await?.is_none() {
                    // That it is not there may be remembered here.
                    change.touched(vec![Tag::Device(tenant, id)]);
                }
                Ok::<_, Failed>(())
            })
        });
        done.await.map_err(Failed::into_error)
    }

    /// Notes that applications have been told of a device.
    pub(crate) async fn note_announced(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
    ) -> Result<(), LookupError> {
        let place = place(tenant, device);
        let (tenant, device) = (tenant.clone(), device.clone());
        let done = self.change(&place, move |change| {
            Box::pin(async move {
                let sql = "UPDATE devices SET provisioned = $1 \
                           WHERE tenant = $2 AND id = $3 AND provisioned = $4";
                let update = sqlx::query(sql)
                    .bind(Provisioned::Announced as i64)
                    .bind(tenant.to_string())
                    .bind(device.to_string())
                    .bind(Provisioned::Unannounced as i64);
                change.execute(update).await?;
                change.touched(vec![
                    Tag::Device(tenant.clone(), device.clone()),
                    Tag::Credentials(tenant, device),
                ]);
                Ok::<_, Unavailable>(())
            })
        });
        Ok(done.await?)
    }
}

impl Change {
    async fn is_taken(
        &mut self,
        tenant: &TenantId,
        kind: &str,
        auth_id: &str,
    ) -> Result<bool, Unavailable> {
        let sql = "SELECT device FROM credentials \
                   WHERE tenant = $1 AND type = $2 AND auth_id = $3";
        let found: Option<(String,)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(kind.to_owned())
            .bind(auth_id.to_owned())
            .fetch_optional(&mut *self.tx)
            .await?;
        Ok(found.is_some())
    }
}

fn provisioned() -> Device {
    let comment = format!("Auto-provisioned at {}", Timestamp::now());
    let ext = Map::from_iter([("comment".to_owned(), json!(comment))]);
    Device {
        ext,
        ..Device::default()
    }
}

/// The rule for ids (northbound contract §3.1), which a certificate's subject may break.
fn check_id(id: &DeviceId) -> Result<(), ProvisionError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:=".contains(c);
    let text = id.as_str();
    if (1..=MAX_ID).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(());
    }
    Err(ProvisionError::InvalidId(id.to_string()))
}

/// Why a device was not registered by itself.
enum Failed {
    Create(CreateDeviceError),
    Set(SetCredentialsError),
}

impl Failed {
    fn into_error(self) -> ProvisionError {
        match self {
            Self::Create(CreateDeviceError::TenantUnknown) => ProvisionError::TenantUnknown,
            Self::Create(CreateDeviceError::LimitReached) => ProvisionError::LimitReached,
            Self::Create(CreateDeviceError::Unavailable(error))
            | Self::Set(SetCredentialsError::Unavailable(error)) => {
                ProvisionError::Unavailable(error.cause().to_owned())
            }
            // Somebody else had the same device registered in between; the next look-up tells.
            Self::Create(error @ CreateDeviceError::Exists) => {
                ProvisionError::Unavailable(error.to_string())
            }
            Self::Set(error) => ProvisionError::Unavailable(error.to_string()),
        }
    }
}

impl From<CreateDeviceError> for Failed {
    fn from(error: CreateDeviceError) -> Self {
        Self::Create(error)
    }
}

impl From<Unavailable> for Failed {
    fn from(error: Unavailable) -> Self {
        Self::Create(error.into())
    }
}
