//! Identifiers. Each role has its own type, so that two cannot be swapped.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Bytes that the id of a tenant or a device, an alias, a group or a type of credential may have:
/// a database's index takes no more than some thousands for a whole key.
pub const MAX_ID: usize = 256;
/// Bytes that an auth-id or a certificate's subject may have.
pub const MAX_NAME: usize = 1024;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

identifier! {
    /// A tenant. Case-sensitive.
    TenantId
}
identifier! {
    /// A device, unique within its tenant. A gateway is a device too. Case-sensitive.
    DeviceId
}
identifier! {
    /// The name a device authenticates with, unique within its tenant and credential type.
    AuthId
}
