//! Which public keys are taken for what.

#![allow(clippy::unwrap_used, reason = "test code")]

use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use weir_x509::{KeyAlgorithm, KeyError, MAX_DER, PublicKey};

macro_rules! key {
    ($name:literal) => {
        der(include_bytes!(concat!("data/", $name, ".pub.pem")))
    };
}

fn der(pem: &[u8]) -> Vec<u8> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem)
        .unwrap()
        .to_vec()
}

#[test]
fn a_key_is_of_the_algorithm_that_it_says() {
    use KeyAlgorithm::{Ec, EdDsa, Rsa};
    let rows = [
        ("RSA", key!("rsa"), Ok(Rsa)),
        ("P-256", key!("p256"), Ok(Ec)),
        ("P-384", key!("p384"), Ok(Ec)),
        ("P-521", key!("p521"), Ok(Ec)),
        ("secp256k1", key!("secp256k1"), Ok(Ec)),
        ("Ed25519", key!("ed25519"), Ok(EdDsa)),
        ("X25519", key!("x25519"), Err(KeyError::UnknownAlgorithm)),
        ("brainpool", key!("brainpool"), Err(KeyError::UnknownCurve)),
        (
            "explicit curve",
            key!("explicit"),
            Err(KeyError::UnknownCurve),
        ),
        (
            "compressed point",
            key!("compressed"),
            Err(KeyError::InvalidPoint),
        ),
    ];
    for (case, der, expected) in rows {
        let key = PublicKey::from_der(&der);
        assert_eq!(
            key.as_ref().map(PublicKey::algorithm).map_err(|e| *e),
            expected,
            "{case}"
        );
        if let Ok(key) = key {
            assert_eq!(key.der(), der, "{case}");
            assert_eq!(PublicKey::parse(&der, key.algorithm()), Ok(key), "{case}");
        }
    }
}

#[test]
fn a_key_of_another_algorithm_is_refused() {
    assert_eq!(
        PublicKey::parse(&key!("rsa"), KeyAlgorithm::Ec),
        Err(KeyError::OtherAlgorithm {
            expected: KeyAlgorithm::Ec,
            found: KeyAlgorithm::Rsa,
        })
    );
}

#[test]
fn algorithms_have_the_names_of_java() {
    for (name, algorithm) in [
        ("RSA", KeyAlgorithm::Rsa),
        ("EC", KeyAlgorithm::Ec),
        ("EdDSA", KeyAlgorithm::EdDsa),
    ] {
        assert_eq!(name.parse(), Ok(algorithm));
        assert_eq!(name.to_ascii_lowercase().parse(), Ok(algorithm));
        assert_eq!(algorithm.to_string(), name);
    }
    assert_eq!("Ed25519".parse(), Ok(KeyAlgorithm::EdDsa));
    for name in ["", "DSA", "RSA ", "ECDSA"] {
        assert_eq!(
            name.parse::<KeyAlgorithm>(),
            Err(KeyError::UnknownAlgorithm)
        );
    }
}

/// `der` with the bytes at `position` replaced.
fn patched(mut der: Vec<u8>, position: usize, bytes: &[u8]) -> Vec<u8> {
    der[position..position + bytes.len()].copy_from_slice(bytes);
    der
}

#[test]
fn a_key_that_is_not_well_formed_is_refused() {
    let rsa = key!("rsa");
    let last = rsa.len() - 1;
    let mut longer = rsa.clone();
    longer.push(0);
    let rows = [
        ("nothing", vec![], KeyError::NotDer),
        ("a byte too many", longer, KeyError::NotDer),
        ("a byte too few", rsa[..last].to_vec(), KeyError::NotDer),
        ("too long", vec![0x30; MAX_DER + 1], KeyError::TooLong),
        // The exponent is the last number, 02 03 01 00 01; the modulus ends before it.
        (
            "an even exponent",
            patched(rsa.clone(), last, &[2]),
            KeyError::InvalidRsa,
        ),
        (
            "exponent 1",
            patched(rsa.clone(), last - 2, &[0, 0, 1]),
            KeyError::InvalidRsa,
        ),
        (
            "a negative exponent",
            patched(rsa.clone(), last - 2, &[0x81]),
            KeyError::InvalidRsa,
        ),
        (
            "an even modulus",
            patched(rsa.clone(), last - 5, &[2]),
            KeyError::InvalidRsa,
        ),
        // The modulus starts with 00 behind 02 82 01 01.
        (
            "a negative modulus",
            patched(rsa, 32, &[0x80]),
            KeyError::InvalidRsa,
        ),
        // The point starts with 04 behind 03 42 00; the 00 are the bits that do not count.
        (
            "an unknown form of a point",
            patched(key!("p256"), 26, &[5]),
            KeyError::InvalidPoint,
        ),
        (
            "a point of a part of a byte",
            patched(key!("p256"), 25, &[1]),
            KeyError::NotDer,
        ),
    ];
    for (case, der, error) in rows {
        assert_eq!(PublicKey::from_der(&der), Err(error), "{case}");
    }
}

#[test]
fn a_point_must_be_as_long_as_its_curve_has_it() {
    // The identifier of P-384 has 5 bytes as that of secp256k1 has, whose points are shorter.
    let mut der = key!("secp256k1");
    let position = der
        .windows(5)
        .position(|bytes| bytes == [0x2b, 0x81, 0x04, 0x00, 0x0a])
        .unwrap();
    der[position + 4] = 0x22;
    assert_eq!(PublicKey::from_der(&der), Err(KeyError::InvalidPoint));
}
