//! What the pipeline asks of the device registry.

use futures_util::future::BoxFuture;

use crate::{Assertion, AuthId, Cached, CredentialType, Credentials, DeviceId, Tenant, TenantId};

/// Tenants, devices and credentials as the pipeline reads them.
///
/// Implementations answer from memory where they can. What they hand out stays valid until they
/// mark it stale ([`Cached::invalidate`]), which they do before a change is answered.
pub trait Registry: Send + Sync + 'static {
    /// The configuration of `tenant`, disabled or not.
    ///
    /// # Errors
    /// [`LookupError::NotFound`] if there is no such tenant.
    fn tenant<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Cached<Tenant>, LookupError>>;

    /// The credential that `auth_id` names within `tenant`.
    ///
    /// # Errors
    /// [`LookupError::NotFound`] if there is no such tenant or credential.
    fn credentials<'a>(
        &'a self,
        tenant: &'a TenantId,
        kind: CredentialType,
        auth_id: &'a AuthId,
    ) -> BoxFuture<'a, Result<Cached<Credentials>, LookupError>>;

    /// Asserts that `device` is registered and enabled, and that `gateway`, if given, is too and may
    /// act for it.
    ///
    /// # Errors
    /// The first of [`AssertionError`]'s variants that applies, in their order.
    fn assert<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
        gateway: Option<&'a DeviceId>,
    ) -> BoxFuture<'a, Result<Cached<Assertion>, AssertionError>>;
}

/// Why a look-up gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    /// There is no such object.
    #[error("not found")]
    NotFound,
    /// The registry's storage did not answer; the text is for the log.
    #[error("registry unavailable: {0}")]
    Unavailable(String),
}

/// Why a device's registration was not asserted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AssertionError {
    /// There is no such tenant.
    #[error("tenant unknown")]
    TenantUnknown,
    /// The device is unknown or disabled.
    #[error("device unknown or disabled")]
    DeviceUnknown,
    /// The gateway is unknown or disabled.
    #[error("gateway unknown or disabled")]
    GatewayUnknown,
    /// The gateway may not act for the device.
    #[error("gateway not authorised for the device")]
    GatewayNotAuthorised,
    /// The registry's storage did not answer; the text is for the log.
    #[error("registry unavailable: {0}")]
    Unavailable(String),
}
