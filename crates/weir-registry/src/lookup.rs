//! What the pipeline reads: from memory if it was read before and nothing has changed since.

use futures_util::future::BoxFuture;
use time::OffsetDateTime;
use weir_core::{
    Assertion, AssertionError, AuthId, Authority, Cached, CredentialType, Credentials, Device,
    DeviceId, LookupError, MAX_ID, MAX_NAME, NewDevice, ProvisionError, RegisteredTenant, Registry,
    Tenant, TenantId,
};

use crate::cache::{Denied, Loaded, Tag};
use crate::device::Provisioned;
use crate::stored::StoredCredential;
use crate::{SqlRegistry, Unavailable};

impl Registry for SqlRegistry {
    fn tenant<'a>(
        &'a self,
        name: &'a TenantId,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        Box::pin(async move {
            check(&[(name.as_str(), MAX_ID)])?;
            let load = self.load_tenant(name);
            self.caches().tenant(name.clone(), load).await
        })
    }

    fn tenant_by_anchor<'a>(
        &'a self,
        subject_dn: &'a str,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        Box::pin(async move {
            check(&[(subject_dn, MAX_NAME)])?;
            let load = self.load_anchor(subject_dn);
            self.caches().anchor(subject_dn.to_owned(), load).await
        })
    }

    fn credentials<'a>(
        &'a self,
        tenant: &'a TenantId,
        kind: CredentialType,
        auth_id: &'a AuthId,
    ) -> BoxFuture<'a, Result<Cached<Credentials>, LookupError>> {
        Box::pin(async move {
            check(&[(tenant.as_str(), MAX_ID), (auth_id.as_str(), MAX_NAME)])?;
            let key = (tenant.clone(), kind, auth_id.clone());
            let load = self.load_credentials(tenant, kind, auth_id);
            self.caches().credentials(key, load).await
        })
    }

    fn provision<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: NewDevice,
    ) -> BoxFuture<'a, Result<(), ProvisionError>> {
        Box::pin(self.provision_by_certificate(tenant, device))
    }

    fn assert<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
        gateway: Option<&'a DeviceId>,
    ) -> BoxFuture<'a, Result<Cached<Assertion>, AssertionError>> {
        Box::pin(self.assert_or_provision(tenant, device, gateway))
    }

    fn announced<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<(), LookupError>> {
        Box::pin(self.note_announced(tenant, device))
    }
}

/// A device as the database has it.
enum Found {
    NoTenant,
    NoDevice,
    /// And whether applications are still to be told of it.
    Device(Box<Device>, bool),
}

impl SqlRegistry {
    /// By its id first: whatever others call themselves, a tenant has its id for itself.
    async fn load_tenant(&self, name: &TenantId) -> Loaded<Result<RegisteredTenant, LookupError>> {
        let sql = "SELECT id, object FROM tenants WHERE id = $1 OR alias = $1 \
                   ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";
        let row: Result<Option<(String, String)>, _> = sqlx::query_as(sql)
            .bind(name.to_string())
            .fetch_optional(self.readers())
            .await;
        let value = row.map_err(Unavailable::from).map_err(LookupError::from);
        let value = value.and_then(|row| registered(row.ok_or(LookupError::NotFound)?));
        let tags = vec![Tag::Name(name.clone())];
        Loaded { value, tags }
    }

    async fn load_anchor(&self, subject_dn: &str) -> Loaded<Result<RegisteredTenant, LookupError>> {
        let sql = "SELECT tenants.id, tenants.object FROM anchors \
                   JOIN tenants ON tenants.id = anchors.tenant WHERE anchors.subject_dn = $1";
        let rows: Result<Vec<(String, String)>, _> = sqlx::query_as(sql)
            .bind(subject_dn.to_owned())
            .fetch_all(self.readers())
            .await;
        let rows = rows.map_err(Unavailable::from).map_err(LookupError::from);
        let value = rows.and_then(|rows| the_only_valid(subject_dn, rows));
        let tags = vec![Tag::Anchor(subject_dn.to_owned())];
        Loaded { value, tags }
    }

    async fn load_credentials(
        &self,
        tenant: &TenantId,
        kind: CredentialType,
        auth_id: &AuthId,
    ) -> Loaded<Result<Credentials, LookupError>> {
        let mut tags = vec![
            Tag::Existence(tenant.clone()),
            Tag::Login(tenant.clone(), kind.as_str().to_owned(), auth_id.clone()),
        ];
        let value = self.find_credentials(tenant, kind, auth_id).await;
        if let Ok(credentials) = &value {
            let device = credentials.device.clone();
            tags.push(Tag::Credentials(tenant.clone(), device));
        }
        Loaded { value, tags }
    }

    async fn find_credentials(
        &self,
        tenant: &TenantId,
        kind: CredentialType,
        auth_id: &AuthId,
    ) -> Result<Credentials, LookupError> {
        let sql = "SELECT credentials.device, credentials.object, devices.provisioned \
                   FROM credentials JOIN devices \
                   ON devices.tenant = credentials.tenant AND devices.id = credentials.device \
                   WHERE credentials.tenant = $1 AND credentials.type = $2 \
                   AND credentials.auth_id = $3 \
                   AND EXISTS (SELECT id FROM tenants WHERE id = $1)";
        let row: Option<(String, String, i64)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(kind.as_str())
            .bind(auth_id.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(Unavailable::from)?;
        let (device, object, provisioned) = row.ok_or(LookupError::NotFound)?;
        let stored = StoredCredential::parse(&object)?;
        let is_unannounced = provisioned == Provisioned::Unannounced as i64;
        Ok(stored.into_credentials(device.into(), kind, is_unannounced))
    }

    /// A device that is unknown is registered, if its gateway has the authority.
    async fn assert_or_provision(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        gateway: Option<&DeviceId>,
    ) -> Result<Cached<Assertion>, AssertionError> {
        if check(&[(tenant.as_str(), MAX_ID), (device.as_str(), MAX_ID)]).is_err() {
            return Err(AssertionError::DeviceUnknown);
        }
        match self.cached_assertion(tenant, device, gateway).await {
            Ok(assertion) => return Ok(assertion),
            Err(Denied::Error(error)) => return Err(error),
            Err(Denied::MayBeProvisioned { groups }) => {
                let Some(gateway) = gateway else {
                    return Err(AssertionError::DeviceUnknown);
                };
                let done = self.provision_by_gateway(tenant, device, gateway, groups);
                if let Err(error) = done.await {
                    let error = AssertionError::from(error);
                    self.remember_denial(tenant, device, gateway, &error).await;
                    return Err(error);
                }
            }
        }
        let asserted = self.cached_assertion(tenant, device, gateway).await;
        asserted.map_err(|denied| match denied {
            Denied::Error(error) => error,
            // It was deleted in between.
            Denied::MayBeProvisioned { .. } => AssertionError::DeviceUnknown,
        })
    }

    /// A gateway that has no room for its devices may ask again and again.
    async fn remember_denial(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        gateway: &DeviceId,
        error: &AssertionError,
    ) {
        if !matches!(error, AssertionError::LimitReached) {
            return;
        }
        let key = (tenant.clone(), device.clone(), Some(gateway.clone()));
        let tags = vec![
            Tag::Existence(tenant.clone()),
            Tag::Room(tenant.clone()),
            Tag::Device(tenant.clone(), device.clone()),
            Tag::Device(tenant.clone(), gateway.clone()),
        ];
        self.caches().deny(key, error.clone().into(), tags).await;
    }

    async fn cached_assertion(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        gateway: Option<&DeviceId>,
    ) -> Result<Cached<Assertion>, Denied> {
        let key = (tenant.clone(), device.clone(), gateway.cloned());
        let load = self.load_assertion(tenant, device, gateway);
        self.caches().assertion(key, load).await
    }

    async fn load_assertion(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        gateway: Option<&DeviceId>,
    ) -> Loaded<Result<Assertion, Denied>> {
        let mut tags = vec![
            Tag::Existence(tenant.clone()),
            Tag::Device(tenant.clone(), id.clone()),
        ];
        if let Some(gateway) = gateway {
            tags.push(Tag::Device(tenant.clone(), gateway.clone()));
        }
        let value = self.decide(tenant, id, gateway, &mut tags).await;
        Loaded { value, tags }
    }

    /// Hono's decision: the device first, then its gateway, then whether that may act for it.
    async fn decide(
        &self,
        tenant: &TenantId,
        id: &DeviceId,
        gateway: Option<&DeviceId>,
        tags: &mut Vec<Tag>,
    ) -> Result<Assertion, Denied> {
        let (device, is_unannounced) = match self.find(tenant, id).await? {
            Found::NoTenant => return Err(AssertionError::TenantUnknown.into()),
            Found::Device(device, is_unannounced) if device.enabled => (device, is_unannounced),
            Found::Device(..) => return Err(AssertionError::DeviceUnknown.into()),
            Found::NoDevice => return Err(self.why_unknown(tenant, gateway).await?),
        };
        if let Some(gateway) = gateway {
            match self.find(tenant, gateway).await? {
                Found::Device(found, _) if !found.enabled => {
                    return Err(AssertionError::GatewayUnknown.into());
                }
                Found::Device(found, _) if may_act(gateway, &found, &device) => {}
                Found::Device(..) => return Err(AssertionError::GatewayNotAuthorised.into()),
                Found::NoDevice | Found::NoTenant => {
                    return Err(AssertionError::GatewayUnknown.into());
                }
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
        Ok(Assertion {
            via,
            defaults: device.defaults,
            is_unannounced,
        })
    }

    /// Whether a device that is unknown may be registered for its gateway.
    async fn why_unknown(
        &self,
        tenant: &TenantId,
        gateway: Option<&DeviceId>,
    ) -> Result<Denied, Unavailable> {
        if let Some(gateway) = gateway
            && let Found::Device(gateway, _) = self.find(tenant, gateway).await?
            && gateway.enabled
            && gateway.authorities.contains(&Authority::AutoProvisioning)
        {
            let groups = gateway.member_of;
            return Ok(Denied::MayBeProvisioned { groups });
        }
        Ok(AssertionError::DeviceUnknown.into())
    }

    async fn find(&self, tenant: &TenantId, device: &DeviceId) -> Result<Found, Unavailable> {
        let sql = "SELECT devices.object, devices.provisioned FROM tenants \
                   LEFT JOIN devices ON devices.tenant = tenants.id AND devices.id = $2 \
                   WHERE tenants.id = $1";
        let row: Option<(Option<String>, Option<i64>)> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(device.to_string())
            .fetch_optional(self.readers())
            .await?;
        let Some((object, provisioned)) = row else {
            return Ok(Found::NoTenant);
        };
        let Some(object) = object else {
            return Ok(Found::NoDevice);
        };
        let is_unannounced = provisioned == Some(Provisioned::Unannounced as i64);
        Ok(Found::Device(
            Box::new(serde_json::from_str(&object)?),
            is_unannounced,
        ))
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

/// Refuses names that nothing can have, rather than ask the database for them or remember them.
fn check(names: &[(&str, usize)]) -> Result<(), LookupError> {
    let is_possible = |(name, most): &(&str, usize)| name.len() <= *most && !name.contains('\0');
    if names.iter().all(is_possible) {
        return Ok(());
    }
    Err(LookupError::NotFound)
}

fn may_act(id: &DeviceId, gateway: &Device, device: &Device) -> bool {
    let named = device.via.iter().any(|via| via == id.as_str());
    let mut groups = gateway.member_of.iter();
    named || groups.any(|group| device.via_groups.contains(group))
}

fn registered((id, object): (String, String)) -> Result<RegisteredTenant, LookupError> {
    let settings: Tenant = serde_json::from_str(&object).map_err(Unavailable::from)?;
    let id = id.into();
    Ok(RegisteredTenant { id, settings })
}

/// The one tenant that trusts the authority now.
fn the_only_valid(
    subject_dn: &str,
    rows: Vec<(String, String)>,
) -> Result<RegisteredTenant, LookupError> {
    let now = OffsetDateTime::now_utc();
    let mut found = None;
    for row in rows {
        let tenant = registered(row)?;
        let anchors = &tenant.settings.trusted_ca;
        let mut anchors = anchors.iter().filter(|a| a.subject_dn == subject_dn);
        if anchors.any(|anchor| anchor.is_valid_at(now)) && found.replace(tenant).is_some() {
            // Nobody can tell which of them is meant.
            return Err(LookupError::NotFound);
        }
    }
    found.ok_or(LookupError::NotFound)
}

impl From<AssertionError> for Denied {
    fn from(error: AssertionError) -> Self {
        Self::Error(error)
    }
}

impl From<Unavailable> for Denied {
    fn from(error: Unavailable) -> Self {
        Self::Error(error.into())
    }
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
