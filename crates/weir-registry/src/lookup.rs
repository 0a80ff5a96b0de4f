//! What the pipeline reads: from memory if it was read before and nothing has changed since.

use futures_util::future::BoxFuture;
use weir_core::{
    Assertion, AssertionError, AuthId, Cached, CredentialType, Credentials, Device, DeviceId,
    LookupError, Registry, Tenant, TenantId,
};

use crate::cache::{Loaded, Tag};
use crate::stored::StoredCredential;
use crate::{ReadError, SqlRegistry, Unavailable};

impl Registry for SqlRegistry {
    fn tenant<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Cached<Tenant>, LookupError>> {
        let load = self.load_tenant(tenant);
        Box::pin(self.caches().tenant(tenant.clone(), load))
    }

    fn credentials<'a>(
        &'a self,
        tenant: &'a TenantId,
        kind: CredentialType,
        auth_id: &'a AuthId,
    ) -> BoxFuture<'a, Result<Cached<Credentials>, LookupError>> {
        let key = (tenant.clone(), kind, auth_id.clone());
        let load = self.load_credentials(tenant, kind, auth_id);
        Box::pin(self.caches().credentials(key, load))
    }

    fn assert<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
        gateway: Option<&'a DeviceId>,
    ) -> BoxFuture<'a, Result<Cached<Assertion>, AssertionError>> {
        let key = (tenant.clone(), device.clone(), gateway.cloned());
        let load = self.load_assertion(tenant, device, gateway);
        Box::pin(self.caches().assertion(key, load))
    }
}

/// A device as the database has it.
enum Found {
    NoTenant,
    NoDevice,
    Device(Device),
}

impl SqlRegistry {
    async fn load_tenant(&self, tenant: &TenantId) -> Result<Loaded<Tenant>, LookupError> {
        let (value, _) = self
            .read_tenant(tenant)
            .await
            .map_err(|error| match error {
                ReadError::NotFound => LookupError::NotFound,
                ReadError::Unavailable(error) => error.into(),
            })?;
        let tags = vec![Tag::Tenant(tenant.clone())];
        Ok(Loaded { value, tags })
    }

    async fn load_credentials(
        &self,
        tenant: &TenantId,
        kind: CredentialType,
        auth_id: &AuthId,
    ) -> Result<Loaded<Credentials>, LookupError> {
        let sql = "SELECT device, object FROM credentials \
                   WHERE tenant = $1 AND type = $2 AND auth_id = $3 \
                   AND EXISTS (SELECT id FROM tenants WHERE id = $1)";
        let row: Option<(String, String)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(kind.as_str())
            .bind(auth_id.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(Unavailable::from)?;
        let (device, object) = row.ok_or(LookupError::NotFound)?;
        let stored = StoredCredential::parse(&object)?;
        let device = DeviceId::from(device);
        let tags = vec![
            Tag::Existence(tenant.clone()),
            Tag::Credentials(tenant.clone(), device.clone()),
        ];
        let value = stored.into_credentials(device);
        Ok(Loaded { value, tags })
    }

    /// Hono's decision: the device first, then its gateway, then whether that may act for it.
    async fn load_assertion(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        gateway: Option<&DeviceId>,
    ) -> Result<Loaded<Assertion>, AssertionError> {
        let mut tags = vec![
            Tag::Existence(tenant.clone()),
            Tag::Device(tenant.clone(), id.clone()),
        ];
        let device = match self.find(tenant, id).await? {
            Found::NoTenant => return Err(AssertionError::TenantUnknown),
            Found::Device(device) if device.enabled => device,
            Found::NoDevice | Found::Device(_) => return Err(AssertionError::DeviceUnknown),
        };
        if let Some(gateway) = gateway {
            tags.push(Tag::Device(tenant.clone(), gateway.clone()));
            match self.find(tenant, gateway).await? {
                Found::Device(found) if !found.enabled => {
                    return Err(AssertionError::GatewayUnknown);
                }
                Found::Device(found) if may_act(gateway, &found, &device) => {}
                Found::Device(_) => return Err(AssertionError::GatewayNotAuthorised),
                Found::NoDevice | Found::NoTenant => return Err(AssertionError::GatewayUnknown),
            }
        }
        let mut via = device.via;
        for group in device.via_groups {
            for member in self.members(tenant, &group).await? {
                if !via.contains(&member) {
                    via.push(member);
                }
            }
            tags.push(Tag::Group(tenant.clone(), group));
        }
        let defaults = device.defaults;
        let value = Assertion { via, defaults };
        Ok(Loaded { value, tags })
    }

    async fn find(&self, tenant: &TenantId, device: &DeviceId) -> Result<Found, Unavailable> {
        let sql = "SELECT devices.object FROM tenants \
                   LEFT JOIN devices ON devices.tenant = tenants.id AND devices.id = $2 \
                   WHERE tenants.id = $1";
        let row: Option<(Option<String>,)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(device.to_string())
            .fetch_optional(self.readers())
            .await?;
        Ok(match row {
            None => Found::NoTenant,
            Some((None,)) => Found::NoDevice,
            Some((Some(object),)) => Found::Device(serde_json::from_str(&object)?),
        })
    }

    async fn members(&self, tenant: &TenantId, group: &str) -> Result<Vec<String>, Unavailable> {
        let sql = "SELECT device FROM memberships \
                   WHERE tenant = $1 AND group_name = $2 ORDER BY device";
        let rows: Vec<(String,)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(group)
            .fetch_all(self.readers())
            .await?;
        Ok(rows.into_iter().map(|(device,)| device).collect())
    }
}

fn may_act(id: &DeviceId, gateway: &Device, device: &Device) -> bool {
    let named = device.via.iter().any(|via| via == id.as_str());
    let mut groups = gateway.member_of.iter();
    named || groups.any(|group| device.via_groups.contains(group))
}

impl From<Unavailable> for LookupError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error.cause().to_owned())
    }
}

impl From<Unavailable> for AssertionError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error.cause().to_owned())
    }
}
