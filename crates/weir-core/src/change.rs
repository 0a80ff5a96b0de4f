//! What others are told when the registry changes.

use time::OffsetDateTime;

use crate::{DeviceId, TenantId};

/// A change in the registry that has been made, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryChange {
    /// When it was made.
    pub at: OffsetDateTime,
    /// The tenant it concerns.
    pub tenant: TenantId,
    /// What of the tenant was changed.
    pub subject: ChangeSubject,
}

/// What a change concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeSubject {
    /// The tenant itself.
    Tenant {
        /// What was done to it.
        change: ChangeKind,
        /// Whether it is enabled now; not so if it was deleted.
        enabled: bool,
        /// Whether others are to forget what they remember of the tenant (Hono's
        /// `invalidate-cache-on-update`); always so if it was deleted.
        invalidate_cache: bool,
    },
    /// One device's registration.
    Device {
        /// The device.
        device: DeviceId,
        /// What was done to it.
        change: ChangeKind,
        /// Whether it is enabled now; not so if it was deleted.
        enabled: bool,
    },
    /// One device's credentials, which were replaced.
    Credentials {
        /// The device.
        device: DeviceId,
    },
    /// All devices of the tenant, which were deleted.
    AllDevices,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It was replaced.
    Updated,
    /// It is gone.
    Deleted,
}

/// Somebody who is told of changes in the registry.
pub trait ChangeListener: Send + Sync + 'static {
    /// Called once for each change that this process made or heard of, after everything remembered
    /// that depends on it was forgotten, and before whoever made it is answered. It must not wait.
    fn changed(&self, change: &RegistryChange);
}
