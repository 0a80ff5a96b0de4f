//! Credentials as the pipeline needs them to authenticate a device.

use std::fmt;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::{DeviceId, PasswordSecret, Validity};

/// How a device proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialType {
    /// A user name and a password.
    HashedPassword,
    /// A key that both sides know (DTLS).
    PreSharedKey,
    /// A signature that a public key verifies (JSON Web Tokens).
    RawPublicKey,
    /// A certificate that one of the tenant's trust anchors has issued.
    X509Certificate,
}

impl CredentialType {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::HashedPassword,
        Self::PreSharedKey,
        Self::RawPublicKey,
        Self::X509Certificate,
    ];

    /// The name in the management API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HashedPassword => "hashed-password",
            Self::PreSharedKey => "psk",
            Self::RawPublicKey => "rpk",
            Self::X509Certificate => "x509-cert",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

/// One credential of a device: what (tenant, type, auth-id) leads to.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The device that authenticates with it.
    pub device: DeviceId,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// What a client must not contradict; see [`Credentials::fit`].
    pub ext: Map<String, Value>,
    /// Its secrets, also those not valid now; any valid one may match.
    pub secrets: Secrets,
    /// Whether the device was registered by itself and applications have not been told yet.
    pub is_unannounced: bool,
}

/// What proves who a device is, by type of credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Of [`CredentialType::HashedPassword`].
    Passwords(Vec<PasswordSecret>),
    /// Of [`CredentialType::PreSharedKey`].
    SharedKeys(Vec<SharedKey>),
    /// Of [`CredentialType::RawPublicKey`].
    PublicKeys(Vec<PublicKey>),
    /// Of [`CredentialType::X509Certificate`]: when a certificate for the auth-id may be used.
    Certificates(Vec<Validity>),
}

/// A key that both sides know.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey {
    /// The key.
    pub key: Vec<u8>,
    /// When it may be used.
    pub validity: Validity,
}

/// The key is a secret.
impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKey")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// A key that verifies a device's signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The DER form of a `SubjectPublicKeyInfo`.
    pub key: Vec<u8>,
    /// `RSA` or `EC`.
    pub algorithm: String,
    /// When it may be used.
    pub validity: Validity,
}

impl Credentials {
    /// Whether a client that says `context` of itself (such as its `client-id`) may use them: what
    /// the operator's `ext` says too must be equal (Hono's credentials API, `get`).
    pub fn fit<'a>(&self, context: impl IntoIterator<Item = (&'a str, &'a str)>) -> bool {
        let mut context = context.into_iter();
        context.all(|(name, value)| self.ext.get(name).is_none_or(|wanted| wanted == value))
    }

    /// The password secrets; none if the credential is of another type.
    pub fn passwords(&self) -> &[PasswordSecret] {
        match &self.secrets {
            Secrets::Passwords(passwords) => passwords,
            _ => &[],
        }
    }

    /// The public keys that may be used at `now`; none if the credential is of another type.
    pub fn public_keys(&self, now: OffsetDateTime) -> impl Iterator<Item = &PublicKey> {
        let keys = match &self.secrets {
            Secrets::PublicKeys(keys) => keys.as_slice(),
            _ => &[],
        };
        keys.iter().filter(move |key| key.validity.holds(now))
    }

    /// Whether a certificate for the auth-id may be used at `now`.
    pub fn accept_certificate(&self, now: OffsetDateTime) -> bool {
        match &self.secrets {
            Secrets::Certificates(validities) => validities.iter().any(|v| v.holds(now)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_client_says_of_itself_must_not_contradict_what_is_registered() {
        let ext = json!({"client-id": "meter-1", "site": "Ottawa"});
        let credentials = Credentials {
            device: "4711".into(),
            enabled: true,
            ext: ext.as_object().unwrap().clone(),
            secrets: Secrets::Passwords(Vec::new()),
            is_unannounced: false,
        };
        assert!(credentials.fit([]));
        assert!(credentials.fit([("client-id", "meter-1"), ("unheard-of", "x")]));
        assert!(!credentials.fit([("client-id", "meter-2")]));
    }
}
