//! Whether a tenant's trust anchors vouch for a certificate.

use time::OffsetDateTime;

use crate::{Certificate, DistinguishedName, PublicKey, SignatureError};

/// Who is trusted to sign certificates of devices: a name and a key.
#[derive(Clone, Copy, Debug)]
pub struct TrustAnchor<'a> {
    /// The authority's name.
    pub subject: &'a DistinguishedName,
    /// The authority's key.
    pub public_key: &'a PublicKey,
}

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Its validity has yet to start.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// Its validity is over.
    #[error("the certificate has expired")]
    Expired,
    /// It was issued for something else than proving a client's identity.
    #[error("the certificate is not for client authentication")]
    NotForClients,
    /// It has a critical extension that is not understood, of this identifier.
    #[error("the certificate has the unknown critical extension {0}")]
    UnknownCriticalExtension(String),
    /// No anchor has the name of its issuer.
    #[error("no trust anchor has the name of the certificate's issuer")]
    UnknownIssuer,
    /// An anchor has the name of its issuer, but not the key that it was signed with.
    #[error("the certificate's signature: {0}")]
    Signature(#[from] SignatureError),
}

/// Finds the first of `anchors` that issued `leaf`, and returns its position.
///
/// Only the leaf is looked at: an anchor must have signed it itself. Several anchors may have the same
/// name, as while an authority changes its key. Whether an anchor is itself valid is for the caller to
/// see to, and so is that `leaf` is the certificate whose key the peer proved to have.
///
/// # Errors
/// If `leaf` is not valid at `now`, is not for clients, or was issued by none of them.
pub fn verify_leaf<'a>(
    leaf: &Certificate,
    anchors: impl IntoIterator<Item = TrustAnchor<'a>>,
    now: OffsetDateTime,
) -> Result<usize, LeafError> {
    if now < leaf.not_before() {
        return Err(LeafError::NotYetValid);
    }
    if !leaf.is_valid_at(now) {
        return Err(LeafError::Expired);
    }
    if !leaf.allows_client_auth() {
        return Err(LeafError::NotForClients);
    }
    if let Some(extension) = leaf.unknown_critical_extension() {
        return Err(LeafError::UnknownCriticalExtension(extension.to_owned()));
    }
    // RFC 5280 §4.1.2.4: an issuer has a name.
    if leaf.issuer().is_empty() {
        return Err(LeafError::UnknownIssuer);
    }
    let mut failure = LeafError::UnknownIssuer;
    for (index, anchor) in anchors.into_iter().enumerate() {
        if anchor.subject != leaf.issuer() {
            continue;
        }
        match leaf.verify_signed_by(anchor.public_key) {
            Ok(()) => return Ok(index),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}
