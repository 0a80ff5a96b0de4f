//! Names, keys and certificates of X.509, as far as devices prove with them who they are.
//!
//! * [`DistinguishedName`] is a subject or an issuer. Whether it was written as text (`name/text.rs`)
//!   or read from a certificate (`name/attribute.rs`), it prints the same normalised text of RFC 2253,
//!   which is what names are stored and compared by.
//! * [`PublicKey`] is a `SubjectPublicKeyInfo` that is known to be a key of its [`KeyAlgorithm`].
//! * [`Certificate`] is a certificate that was taken apart. That it parses says nothing about trust.
//! * [`verify_leaf`] decides whether one of a tenant's [`TrustAnchor`]s vouches for a certificate:
//!   only the leaf counts, directly against the anchor's name and key.
//! * [`Template`] makes an auth-id or a device id of a subject.
//!
//! Everything here is a function of its arguments: no sockets, no storage, no clock. What a peer
//! sends is bounded by [`MAX_DER`] and [`MAX_NAME`]. The crate does not build chains, does not ask
//! whether a certificate was revoked, and issues nothing.

#![forbid(unsafe_code)]

mod certificate;
mod key;
mod leaf;
mod name;
mod template;

pub use certificate::{Certificate, CertificateError, SignatureError};
pub use key::{KeyAlgorithm, KeyError, PublicKey};
pub use leaf::{LeafError, TrustAnchor, verify_leaf};
pub use name::{DistinguishedName, MAX_NAME, NameError};
pub use template::{MAX_RENDERED, MAX_TEMPLATE, Template, TemplateError};

/// How long the DER form of a certificate or a key may be, in bytes.
pub const MAX_DER: usize = 16 * 1024;
