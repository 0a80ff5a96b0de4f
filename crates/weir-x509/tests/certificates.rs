//! What is read from a certificate, and which ones a trust anchor vouches for.

#![allow(clippy::unwrap_used, reason = "test code")]

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, PKCS_RSA_SHA512, RsaKeySize, SanType,
    SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use weir_x509::{
    Certificate, CertificateError, DistinguishedName, KeyAlgorithm, LeafError, MAX_DER, PublicKey,
    SignatureError, TrustAnchor, verify_leaf,
};

fn instant(unix: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix).unwrap()
}

const NOT_BEFORE: i64 = 1_700_000_000;
const NOT_AFTER: i64 = 1_800_000_000;

fn now() -> OffsetDateTime {
    instant(1_750_000_000)
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "ACME");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = instant(NOT_BEFORE);
    params.not_after = instant(NOT_AFTER);
    params
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    if *algorithm == PKCS_RSA_SHA256 || *algorithm == PKCS_RSA_SHA512 {
        KeyPair::generate_rsa_for(algorithm, RsaKeySize::_2048).unwrap()
    } else {
        KeyPair::generate_for(algorithm).unwrap()
    }
}

/// An authority, and what a tenant would know of it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    fn new(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key(algorithm);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: Certificate::from_der(certificate.der()).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certificate::from_der(certificate.der()).unwrap()
    }

    fn anchor(&self) -> TrustAnchor<'_> {
        TrustAnchor {
            subject: self.certificate.subject(),
            public_key: self.certificate.public_key(),
        }
    }
}

fn pem(pem: &[u8]) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem).unwrap().to_vec()
}

#[test]
fn a_certificate_is_taken_apart() {
    let rows = [
        (&PKCS_RSA_SHA256, KeyAlgorithm::Rsa),
        (&PKCS_ECDSA_P256_SHA256, KeyAlgorithm::Ec),
        (&PKCS_ECDSA_P384_SHA384, KeyAlgorithm::Ec),
        (&PKCS_ECDSA_P521_SHA512, KeyAlgorithm::Ec),
        (&PKCS_ED25519, KeyAlgorithm::EdDsa),
    ];
    let authority = Authority::new("authority", &PKCS_ECDSA_P256_SHA256);
    for (algorithm, expected) in rows {
        let key = key(algorithm);
        let issued = params("device-1")
            .signed_by(&key, &authority.issuer)
            .unwrap();
        let certificate = Certificate::from_der(issued.der()).unwrap();
        assert_eq!(certificate.der(), issued.der().as_ref());
        assert_eq!(certificate.subject().as_str(), "CN=device-1,O=ACME");
        assert_eq!(certificate.issuer().as_str(), "CN=authority,O=ACME");
        assert_eq!(certificate.public_key().algorithm(), expected);
        assert_eq!(
            certificate.public_key().der(),
            rcgen::PublicKeyData::subject_public_key_info(&key)
        );
        assert_eq!(certificate.not_before(), instant(NOT_BEFORE));
        assert_eq!(certificate.not_after(), instant(NOT_AFTER));
    }
}

#[test]
fn a_certificate_with_a_part_of_several_attributes_has_the_name_that_java_prints() {
    let der = pem(include_bytes!("data/multi-valued.pem"));
    let certificate = Certificate::from_der(&der).unwrap();
    assert_eq!(
        certificate.subject().as_str(),
        "2.5.4.5=#13023437,CN=a+OU=b,O=ACME"
    );
    let text: DistinguishedName = "serialNumber=47,OU=b+CN=a,O=ACME".parse().unwrap();
    assert_eq!(certificate.subject(), &text);
}

#[test]
fn what_is_not_one_certificate_is_refused() {
    let der = pem(include_bytes!("data/multi-valued.pem"));
    let mut longer = der.clone();
    longer.push(0);
    let refused = |der: &[u8]| Certificate::from_der(der).unwrap_err();
    assert!(matches!(refused(&[]), CertificateError::NotDer(_)));
    assert!(matches!(refused(&der[1..]), CertificateError::NotDer(_)));
    assert!(matches!(
        refused(&der[..der.len() - 1]),
        CertificateError::NotDer(_)
    ));
    assert_eq!(refused(&longer), CertificateError::TrailingBytes);
    longer.resize(MAX_DER + 1, 0);
    assert_eq!(refused(&longer), CertificateError::TooLong);
    // sha256WithRSAEncryption, once more behind what was signed; sha384WithRSAEncryption instead.
    let algorithm = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
    let position = der
        .windows(9)
        .rposition(|bytes| bytes == algorithm)
        .unwrap();
    let mut other = der;
    other[position + 8] = 0x0c;
    assert_eq!(refused(&other), CertificateError::TwoSignatureAlgorithms);
}

#[test]
fn the_same_extension_twice_is_refused() {
    let extension = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
    let mut params = params("device-1");
    params.custom_extensions = vec![extension.clone(), extension];
    let issued = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(
        Certificate::from_der(issued.der()).unwrap_err(),
        CertificateError::InvalidExtensions
    );
}

#[test]
fn a_signature_counts_only_with_the_key_that_made_it() {
    let rows = [
        &PKCS_RSA_SHA256,
        &PKCS_RSA_SHA512,
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ];
    let authorities: Vec<_> = rows.map(|algorithm| Authority::new("ca", algorithm)).into();
    for (index, authority) in authorities.iter().enumerate() {
        let leaf = authority.issue(&params("device-1"));
        for (other, signer) in authorities.iter().enumerate() {
            let verified = leaf.verify_signed_by(signer.certificate.public_key());
            assert_eq!(
                verified.is_ok(),
                index == other,
                "{index} {other}: {verified:?}"
            );
        }
    }
}

#[test]
fn a_certificate_that_was_changed_does_not_verify() {
    let authority = Authority::new("ca", &PKCS_ECDSA_P256_SHA256);
    let leaf = authority.issue(&params("device-1"));
    let position = leaf
        .der()
        .windows(8)
        .position(|bytes| bytes == b"device-1")
        .unwrap();
    let mut der = leaf.der().to_vec();
    der[position + 7] = b'2';
    let forged = Certificate::from_der(&der).unwrap();
    assert_eq!(forged.subject().common_name(), Some("device-2"));
    assert_eq!(
        verify_leaf(&forged, [authority.anchor()], now()),
        Err(SignatureError::Invalid.into())
    );
}

#[test]
fn signatures_of_pss_count_and_those_with_sha1_do_not() {
    let verify = |der: &[u8]| {
        let certificate = Certificate::from_der(&pem(der)).unwrap();
        certificate.verify_signed_by(certificate.public_key())
    };
    assert_eq!(verify(include_bytes!("data/pss.pem")), Ok(()));
    assert_eq!(
        verify(include_bytes!("data/sha1.pem")),
        Err(SignatureError::Unsupported)
    );
}

#[test]
fn a_leaf_counts_within_its_validity_both_ends_included() {
    let authority = Authority::new("ca", &PKCS_ECDSA_P256_SHA256);
    let leaf = authority.issue(&params("device-1"));
    let rows = [
        (NOT_BEFORE - 1, Err(LeafError::NotYetValid)),
        (NOT_BEFORE, Ok(0)),
        (NOT_AFTER, Ok(0)),
        (NOT_AFTER + 1, Err(LeafError::Expired)),
    ];
    for (unix, expected) in rows {
        assert_eq!(leaf.is_valid_at(instant(unix)), expected.is_ok());
        assert_eq!(
            verify_leaf(&leaf, [authority.anchor()], instant(unix)),
            expected
        );
    }
    let late = instant(NOT_AFTER) + Duration::nanoseconds(1);
    assert!(!leaf.is_valid_at(late));
}

#[test]
fn the_anchor_is_the_one_with_the_issuers_name_and_key() {
    let [old, new, other] = ["ca", "ca", "other"].map(|name| Authority::new(name, &PKCS_ED25519));
    let leaf = new.issue(&params("device-1"));
    let text: DistinguishedName = " cn=ca; o = ACME".parse().unwrap();
    let key = new.certificate.public_key().der();
    let stored = PublicKey::parse(key, KeyAlgorithm::EdDsa).unwrap();
    let from_text = TrustAnchor {
        subject: &text,
        public_key: &stored,
    };
    let renamed = TrustAnchor {
        subject: other.certificate.subject(),
        public_key: &stored,
    };
    let rows: [(&[TrustAnchor<'_>], _); 6] = [
        (&[], Err(LeafError::UnknownIssuer)),
        (&[other.anchor()], Err(LeafError::UnknownIssuer)),
        (&[renamed], Err(LeafError::UnknownIssuer)),
        (
            &[other.anchor(), old.anchor()],
            Err(SignatureError::Invalid.into()),
        ),
        (&[other.anchor(), old.anchor(), new.anchor()], Ok(2)),
        (&[from_text, old.anchor()], Ok(0)),
    ];
    for (case, (anchors, expected)) in rows.into_iter().enumerate() {
        assert_eq!(
            verify_leaf(&leaf, anchors.iter().copied(), now()),
            expected,
            "row {case}"
        );
    }
}

#[test]
fn only_the_leaf_counts_and_not_who_signed_its_signer() {
    let root = Authority::new("root", &PKCS_ECDSA_P256_SHA256);
    let mut intermediate = params("intermediate");
    intermediate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let issued = intermediate.signed_by(&key, &root.issuer).unwrap();
    let intermediate = Authority {
        certificate: Certificate::from_der(issued.der()).unwrap(),
        issuer: Issuer::new(intermediate, key),
    };
    let leaf = intermediate.issue(&params("device-1"));
    assert_eq!(
        verify_leaf(&leaf, [root.anchor()], now()),
        Err(LeafError::UnknownIssuer)
    );
    assert_eq!(verify_leaf(&leaf, [intermediate.anchor()], now()), Ok(0));
}

#[test]
fn an_issuer_without_a_name_is_nobody() {
    let mut nameless = CertificateParams::default();
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    let key = KeyPair::generate().unwrap();
    let certificate = nameless.self_signed(&key).unwrap();
    let certificate = Certificate::from_der(certificate.der()).unwrap();
    let anchor = TrustAnchor {
        subject: certificate.subject(),
        public_key: certificate.public_key(),
    };
    assert_eq!(
        verify_leaf(&certificate, [anchor], now()),
        Err(LeafError::UnknownIssuer)
    );
}

#[test]
fn a_leaf_must_be_for_clients_and_have_no_critical_extension_that_is_not_understood() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, Other, ServerAuth};
    type Change = fn(&mut CertificateParams);
    fn extension(params: &mut CertificateParams, critical: bool) {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(critical);
        params.custom_extensions = vec![extension];
    }
    let unknown = || Err(LeafError::UnknownCriticalExtension("1.2.3.4".into()));
    let rows: [(&str, Change, Result<usize, LeafError>); 9] = [
        ("nothing", |_| {}, Ok(0)),
        (
            "client",
            |p| p.extended_key_usages = vec![ServerAuth, ClientAuth],
            Ok(0),
        ),
        ("any", |p| p.extended_key_usages = vec![Any], Ok(0)),
        (
            "server",
            |p| p.extended_key_usages = vec![ServerAuth],
            Err(LeafError::NotForClients),
        ),
        (
            "other",
            |p| p.extended_key_usages = vec![Other(vec![1, 2, 3])],
            Err(LeafError::NotForClients),
        ),
        (
            "key usage",
            |p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature],
            Ok(0),
        ),
        (
            "names",
            |p| p.subject_alt_names = vec![SanType::DnsName("device.example".try_into().unwrap())],
            Ok(0),
        ),
        ("not critical", |p| extension(p, false), Ok(0)),
        ("critical", |p| extension(p, true), unknown()),
    ];
    let authority = Authority::new("ca", &PKCS_ECDSA_P256_SHA256);
    for (case, change, expected) in rows {
        let mut params = params("device-1");
        change(&mut params);
        let leaf = authority.issue(&params);
        assert_eq!(
            verify_leaf(&leaf, [authority.anchor()], now()),
            expected,
            "{case}"
        );
    }
}

#[test]
fn a_leaf_may_be_its_own_anchor() {
    let key = KeyPair::generate().unwrap();
    let certificate = params("device-1").self_signed(&key).unwrap();
    let certificate = Certificate::from_der(certificate.der()).unwrap();
    let anchor = TrustAnchor {
        subject: certificate.subject(),
        public_key: certificate.public_key(),
    };
    assert_eq!(verify_leaf(&certificate, [anchor], now()), Ok(0));
}
