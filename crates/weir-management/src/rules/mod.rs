//! What objects have to keep to: from what an operator sends to what is stored, or the rule broken.

pub(crate) mod anchor;
pub(crate) mod credential;
pub(crate) mod device;
pub(crate) mod password;
pub(crate) mod secret;
pub(crate) mod tenant;
mod x509;
