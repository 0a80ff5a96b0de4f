//! Credentials as the pipeline needs them to authenticate a device.

use crate::{DeviceId, PasswordSecret};

/// How a device proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialType {
    /// A user name and a password.
    HashedPassword,
}

impl CredentialType {
    /// The name in the management API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HashedPassword => "hashed-password",
        }
    }
}

/// One credential of a device: what (tenant, type, auth-id) leads to.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The device that authenticates with it.
    pub device: DeviceId,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Its secrets, also those not valid now; any valid one may match.
    pub secrets: Vec<PasswordSecret>,
}
