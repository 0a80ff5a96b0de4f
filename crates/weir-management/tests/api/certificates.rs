//! Certificates and keys, made for a test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    PublicKeyData as _, RsaKeySize,
};
use time::macros::datetime;

pub(crate) const NOT_BEFORE: &str = "2020-01-01T00:00:00Z";
pub(crate) const NOT_AFTER: &str = "2030-12-31T23:59:59Z";

/// A certificate in its textual forms.
pub(crate) struct Certified {
    /// Base64 of the DER form.
    pub(crate) cert: String,
    /// Base64 of the DER form of its `SubjectPublicKeyInfo`.
    pub(crate) key: String,
    /// RFC 2253, normalised.
    pub(crate) subject: String,
}

/// With a key of type `EC`.
pub(crate) fn ec(name: &str) -> Certified {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    certified(name, &key)
}

/// With a key of type `RSA`.
pub(crate) fn rsa(name: &str) -> Certified {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    certified(name, &key)
}

fn certified(name: &str, key: &KeyPair) -> Certified {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let names = [
        (DnType::CountryName, "CA"),
        (DnType::OrganizationName, "Eclipse IoT"),
        (DnType::CommonName, name),
    ];
    for (kind, value) in names {
        params.distinguished_name.push(kind, value);
    }
    params.not_before = datetime!(2020-01-01 00:00:00 UTC);
    params.not_after = datetime!(2030-12-31 23:59:59 UTC);
    Certified {
        cert: BASE64.encode(params.self_signed(key).unwrap().der()),
        key: BASE64.encode(key.subject_public_key_info()),
        subject: format!("CN={name},O=Eclipse IoT,C=CA"),
    }
}
