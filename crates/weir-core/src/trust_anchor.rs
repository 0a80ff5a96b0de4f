//! The certificate authorities that vouch for a tenant's devices (Hono's `trusted-ca`).

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::Timestamp;

/// A certificate authority as it is stored and shown: what was derived from its certificate, if it
/// was given as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrustAnchor {
    /// Made up by the registry unless the operator gave one.
    pub id: String,
    /// Its name, RFC 2253, normalised.
    pub subject_dn: String,
    /// Its key: Base64 of the DER form of a `SubjectPublicKeyInfo`.
    pub public_key: String,
    /// The key's algorithm: `RSA`, `EC`, ….
    #[serde(default = "rsa")]
    pub algorithm: String,
    /// It counts from this instant on.
    pub not_before: Timestamp,
    /// It counts until this instant.
    pub not_after: Timestamp,
    /// How a device's auth-id is made of its certificate's subject; the whole subject if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_id_template: Option<String>,
    /// Whether devices that present a certificate it issued are registered by themselves.
    #[serde(default)]
    pub auto_provisioning_enabled: bool,
    /// Whether such devices become gateways, which may have devices registered in turn.
    #[serde(default)]
    pub auto_provision_as_gateway: bool,
    /// How the id of such a device is made of its certificate's subject; random if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_provisioning_device_id_template: Option<String>,
    /// Whether the issuer is asked if a certificate was revoked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ocsp_revocation_enabled: bool,
    /// Where that is asked; where the certificate says if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_responder_uri: Option<String>,
    /// Base64 of the DER form of the certificate that answers are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp_responder_cert: Option<String>,
    /// Whether each question carries a number that the answer must repeat.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ocsp_nonce_enabled: bool,
}

impl TrustAnchor {
    /// Whether it counts at `now`.
    pub fn is_valid_at(&self, now: OffsetDateTime) -> bool {
        OffsetDateTime::from(self.not_before) <= now && now <= OffsetDateTime::from(self.not_after)
    }
}

fn rsa() -> String {
    "RSA".to_owned()
}

// serde's `skip_serializing_if` hands over references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}
