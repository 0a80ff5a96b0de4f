//! What the pipeline asks of the device registry.

use futures_util::future::BoxFuture;

use crate::{
    Assertion, AuthId, Cached, CredentialType, Credentials, DeviceId, RegisteredTenant, TenantId,
};

/// Tenants, devices and credentials as the pipeline reads them.
///
/// Implementations answer from memory where they can. What they hand out stays valid until they
/// mark it stale ([`Cached::invalidate`]), which they do before a change is answered.
pub trait Registry: Send + Sync + 'static {
    /// The tenant whose id is `name`, or else the one whose alias it is; disabled or not.
    ///
    /// # Errors
    /// [`LookupError::NotFound`] if there is no such tenant.
    fn tenant<'a>(
        &'a self,
        name: &'a TenantId,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>>;

    /// The tenant that has a trust anchor with this subject (RFC 2253, normalised) which is valid
    /// now; disabled or not.
    ///
    /// # Errors
    /// [`LookupError::NotFound`] if no tenant has, or more than one.
    fn tenant_by_anchor<'a>(
        &'a self,
        subject_dn: &'a str,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>>;

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

    /// Registers a device that has presented a certificate which one of `tenant`'s trust anchors
    /// vouches for, with a credential of its own. If it is registered by now, that is fine.
    ///
    /// # Errors
    /// If there is no such tenant or it may have no more devices.
    fn provision<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: NewDevice,
    ) -> BoxFuture<'a, Result<(), ProvisionError>>;

    /// Asserts that `device` is registered and enabled, and that `gateway`, if given, is too and may
    /// act for it. A device that is unknown is registered, if the gateway has the authority to do so
    /// ([`crate::Authority::AutoProvisioning`]).
    ///
    /// # Errors
    /// The first of [`AssertionError`]'s variants that applies, in their order.
    fn assert<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
        gateway: Option<&'a DeviceId>,
    ) -> BoxFuture<'a, Result<Cached<Assertion>, AssertionError>>;

    /// Notes that applications have been told of `device`, which was registered by itself.
    ///
    /// # Errors
    /// If the storage does not answer. A device that is gone by now is no error.
    fn announced<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<(), LookupError>>;
}

/// A device to be registered by itself, and its credential of type
/// [`CredentialType::X509Certificate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// Its id; made up if there is none.
    pub id: Option<DeviceId>,
    /// The name it authenticates with.
    pub auth_id: AuthId,
    /// When its certificate may be used.
    pub validity: crate::Validity,
    /// Whether it may have devices registered in turn.
    pub is_gateway: bool,
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

/// Why a device was not registered by itself.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProvisionError {
    /// There is no such tenant.
    #[error("tenant unknown")]
    TenantUnknown,
    /// The tenant has as many devices as it may have.
    #[error("the tenant may have no more devices")]
    LimitReached,
    /// The id that the certificate gives breaks the rule for ids.
    #[error("not a device's id: {0}")]
    InvalidId(String),
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
    /// The device would have been registered by itself, but its id breaks the rule for ids.
    #[error("not a device's id")]
    InvalidId,
    /// The device would have been registered by itself, but the tenant has as many devices as it may
    /// have.
    #[error("the tenant may have no more devices")]
    LimitReached,
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

impl From<ProvisionError> for AssertionError {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::TenantUnknown => Self::TenantUnknown,
            ProvisionError::LimitReached => Self::LimitReached,
            ProvisionError::InvalidId(_) => Self::InvalidId,
            ProvisionError::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}
