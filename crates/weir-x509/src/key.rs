//! Public keys.

use std::fmt;
use std::str::FromStr;

use x509_parser::asn1_rs::{FromDer, Oid, oid};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
    OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::MAX_DER;

/// The curves whose points are known, with the length of a coordinate in bytes.
const CURVES: [(Oid<'static>, usize); 4] = [
    (OID_EC_P256, 32),
    (OID_NIST_EC_P384, 48),
    (OID_NIST_EC_P521, 66),
    // secp256k1
    (oid!(1.3.132.0.10), 32),
];

const ED25519_LENGTH: usize = 32;

/// Java takes none that is smaller, in bits.
const MIN_RSA_MODULUS: usize = 512;

/// What kind of key it is, under the name that Java has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// `RSA`, for PKCS #1 v1.5 and PSS.
    Rsa,
    /// `EC`, on a named curve.
    Ec,
    /// `EdDSA`, which is Ed25519 here.
    EdDsa,
}

impl KeyAlgorithm {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ec => "EC",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = KeyError;

    /// Reads a name in any case; `Ed25519` is the same as `EdDSA`.
    fn from_str(name: &str) -> Result<Self, KeyError> {
        match name.to_ascii_lowercase().as_str() {
            "rsa" => Ok(Self::Rsa),
            "ec" => Ok(Self::Ec),
            "eddsa" | "ed25519" => Ok(Self::EdDsa),
            _ => Err(KeyError::UnknownAlgorithm),
        }
    }
}

/// Why something is not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name of the algorithm, or the identifier in the key, is none of [`KeyAlgorithm`].
    #[error("unknown key algorithm; known are RSA, EC and EdDSA")]
    UnknownAlgorithm,
    /// It is longer than [`MAX_DER`].
    #[error("the key is longer than {MAX_DER} bytes")]
    TooLong,
    /// Not the DER form of a `SubjectPublicKeyInfo`, or more than that.
    #[error("not the DER form of a SubjectPublicKeyInfo")]
    NotDer,
    /// A key, but of another algorithm.
    #[error("the key is of algorithm {found}, not {expected}")]
    OtherAlgorithm {
        /// What it should be.
        expected: KeyAlgorithm,
        /// What it is.
        found: KeyAlgorithm,
    },
    /// An RSA key without a usable modulus and exponent.
    #[error("invalid modulus or exponent of an RSA key")]
    InvalidRsa,
    /// An EC key whose curve is none of P-256, P-384, P-521 and secp256k1.
    #[error("unknown curve of an EC key")]
    UnknownCurve,
    /// An EC key whose point is not uncompressed or does not fit the curve.
    #[error("invalid point of an EC key")]
    InvalidPoint,
    /// An Ed25519 key of another length than 32 bytes.
    #[error("invalid Ed25519 key")]
    InvalidEdDsa,
}

/// A public key that was found to be well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    der: Box<[u8]>,
}

impl PublicKey {
    /// Reads the DER form of a `SubjectPublicKeyInfo` that should be of `algorithm`.
    ///
    /// # Errors
    /// If it is not, or is not well formed. That an EC point is on its curve is not looked at here; a
    /// signature is never verified with one that is not.
    pub fn parse(der: &[u8], algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let key = Self::from_der(der)?;
        if key.algorithm != algorithm {
            return Err(KeyError::OtherAlgorithm {
                expected: algorithm,
                found: key.algorithm,
            });
        }
        Ok(key)
    }

    /// Reads the DER form of a `SubjectPublicKeyInfo` of any known algorithm.
    ///
    /// # Errors
    /// As of [`PublicKey::parse`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_DER {
            return Err(KeyError::TooLong);
        }
        let Ok(([], info)) = SubjectPublicKeyInfo::from_der(der) else {
            return Err(KeyError::NotDer);
        };
        // The library's `raw` ends with the last field it knows, whatever the sequence has behind it.
        if info.raw.len() != der.len() || info.subject_public_key.unused_bits != 0 {
            return Err(KeyError::NotDer);
        }
        Ok(Self {
            algorithm: check(&info)?,
            der: der.into(),
        })
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The DER form of its `SubjectPublicKeyInfo`.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

fn check(info: &SubjectPublicKeyInfo<'_>) -> Result<KeyAlgorithm, KeyError> {
    let algorithm = &info.algorithm.algorithm;
    let key = info.subject_public_key.data.as_ref();
    if *algorithm == OID_PKCS1_RSAENCRYPTION {
        check_rsa(key).ok_or(KeyError::InvalidRsa)?;
        Ok(KeyAlgorithm::Rsa)
    } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        check_ec(info, key)?;
        Ok(KeyAlgorithm::Ec)
    } else if *algorithm == OID_SIG_ED25519 {
        // RFC 8410 §3 and §4: no parameters, 32 bytes.
        if info.algorithm.parameters.is_some() || key.len() != ED25519_LENGTH {
            return Err(KeyError::InvalidEdDsa);
        }
        Ok(KeyAlgorithm::EdDsa)
    } else {
        Err(KeyError::UnknownAlgorithm)
    }
}

/// RFC 8017 §3.1: two positive numbers, which are odd for every key that works.
fn check_rsa(key: &[u8]) -> Option<()> {
    let Ok(([], key)) = RSAPublicKey::from_der(key) else {
        return None;
    };
    let negative = key.modulus.first().is_none_or(|&first| first & 0x80 != 0);
    let even = key.modulus.last().is_none_or(|&last| last & 1 == 0);
    let exponent = key.try_exponent().ok()?;
    let valid = !negative && !even && exponent >= 3 && exponent & 1 == 1;
    (valid && key.key_size() >= MIN_RSA_MODULUS).then_some(())
}

/// RFC 5480 §2.1.1 and §2.2: a named curve; a point that starts with how it is written. Only the
/// uncompressed form is mandatory, and the only one that Java reads.
fn check_ec(info: &SubjectPublicKeyInfo<'_>, point: &[u8]) -> Result<(), KeyError> {
    let curve = info
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok())
        .ok_or(KeyError::UnknownCurve)?;
    let length = CURVES
        .iter()
        .find(|(known, _)| *known == curve)
        .map(|(_, length)| *length)
        .ok_or(KeyError::UnknownCurve)?;
    match point {
        [0x04, coordinates @ ..] if coordinates.len() == 2 * length => Ok(()),
        _ => Err(KeyError::InvalidPoint),
    }
}
