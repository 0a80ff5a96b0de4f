//! Certificates and keys, made for a test.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    PublicKeyData as _, RsaKeySize,
};
use time::macros::datetime;
use x509_parser::parse_x509_certificate;

pub(crate) const NOT_BEFORE: &str = "2020-01-01T00:00:00Z";
pub(crate) const NOT_AFTER: &str = "2030-12-31T23:59:59Z";

/// A certificate in its textual forms.
pub(crate) struct Certified {
    /// Base64 of the DER form.
    pub(crate) cert: String,
    /// The same, in the alphabet for URLs.
    pub(crate) url_safe: String,
    /// Base64 of the PEM text of a key and two certificates, of which the first is this one.
    pub(crate) pem: String,
    /// Base64 of the DER form of its `SubjectPublicKeyInfo`.
    pub(crate) key: String,
    /// RFC 2253, normalised.
    pub(crate) subject: String,
    /// Base64 of its DER form.
    pub(crate) subject_der: String,
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
    let cert = params.self_signed(key).unwrap();
    let other = CertificateParams::default().self_signed(key).unwrap();
    let pem = [key.public_key_pem(), cert.pem(), other.pem()].concat();
    let (_, parsed) = parse_x509_certificate(cert.der()).unwrap();
    Certified {
        cert: BASE64.encode(cert.der()),
        url_safe: URL_SAFE_NO_PAD.encode(cert.der()),
        pem: BASE64.encode(pem),
        key: BASE64.encode(key.subject_public_key_info()),
        subject: format!("CN={name},O=Eclipse IoT,C=CA"),
        subject_der: BASE64.encode(parsed.subject().as_raw()),
    }
}
