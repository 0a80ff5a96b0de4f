//! Certificates, taken apart.

use time::{OffsetDateTime, UtcOffset};
use x509_parser::asn1_rs::FromDer;
use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::error::X509Error;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA};
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::{DistinguishedName, KeyError, MAX_DER, NameError, PublicKey};

/// Why something is not a certificate that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is longer than [`MAX_DER`].
    #[error("the certificate is longer than {MAX_DER} bytes")]
    TooLong,
    /// Not the DER form of a certificate.
    #[error("not the DER form of a certificate: {0}")]
    NotDer(String),
    /// There are bytes behind the certificate.
    #[error("there are bytes behind the certificate")]
    TrailingBytes,
    /// What was signed names another signature algorithm than what it was signed with.
    #[error("the certificate names two signature algorithms")]
    TwoSignatureAlgorithms,
    /// The same extension twice, or an extension that this crate must understand and cannot read.
    #[error("invalid extensions in the certificate")]
    InvalidExtensions,
    /// The issuer's name is not one.
    #[error("invalid issuer: {0}")]
    Issuer(NameError),
    /// The subject's name is not one.
    #[error("invalid subject: {0}")]
    Subject(NameError),
    /// Its key is not one, or of an unknown algorithm.
    #[error("invalid public key: {0}")]
    Key(#[from] KeyError),
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Of an algorithm that is not known or not trusted any more (SHA-1).
    #[error("the signature algorithm is not supported")]
    Unsupported,
    /// Not made with that key.
    #[error("the signature was not made with this key")]
    Invalid,
}

/// A certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Box<[u8]>,
    subject: DistinguishedName,
    issuer: DistinguishedName,
    public_key: PublicKey,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    allows_client_auth: bool,
    unknown_critical_extension: Option<String>,
}

impl Certificate {
    /// Takes the DER form of a certificate apart.
    ///
    /// # Errors
    /// If the bytes are not one certificate, or one with a name or a key that is not understood.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_DER {
            return Err(CertificateError::TooLong);
        }
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| not_der(error.into()))?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingBytes);
        }
        // RFC 5280 §4.1.1.2
        if parsed.signature_algorithm != parsed.tbs_certificate.signature {
            return Err(CertificateError::TwoSignatureAlgorithms);
        }
        let extensions = || CertificateError::InvalidExtensions;
        parsed.extensions_map().map_err(|_| extensions())?;
        let usage = parsed.extended_key_usage().map_err(|_| extensions())?;
        Ok(Self {
            subject: DistinguishedName::from_x509(parsed.subject())
                .map_err(CertificateError::Subject)?,
            issuer: DistinguishedName::from_x509(parsed.issuer())
                .map_err(CertificateError::Issuer)?,
            public_key: PublicKey::from_der(parsed.public_key().raw)?,
            not_before: utc(parsed.validity().not_before)?,
            not_after: utc(parsed.validity().not_after)?,
            allows_client_auth: usage
                .is_none_or(|usage| usage.value.client_auth || usage.value.any),
            unknown_critical_extension: unknown_critical_extension(&parsed.tbs_certificate),
            der: der.into(),
        })
    }

    /// The DER form.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whom it is about. May be empty.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// Who issued it, by its own account.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// The subject's key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The first instant it is valid at, UTC.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// The last instant it is valid at, UTC.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// Whether `now` is within its validity, both ends included (RFC 5280 §4.1.2.5).
    pub fn is_valid_at(&self, now: OffsetDateTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether a client may prove itself with it: no extended key usage, or one that says so.
    pub fn allows_client_auth(&self) -> bool {
        self.allows_client_auth
    }

    /// The identifier of the first critical extension that this crate does not take into account.
    pub fn unknown_critical_extension(&self) -> Option<&str> {
        self.unknown_critical_extension.as_deref()
    }

    /// Checks that it was signed with the private half of `signer`.
    ///
    /// # Errors
    /// If it was not, or with an algorithm other than RSA (PKCS #1 v1.5 or PSS, 2048 bits and more, SHA-2),
    /// ECDSA on P-256 or P-384 with SHA-256 or SHA-384, and Ed25519.
    pub fn verify_signed_by(&self, signer: &PublicKey) -> Result<(), SignatureError> {
        let (Ok((_, certificate)), Ok((_, key))) = (
            X509Certificate::from_der(&self.der),
            SubjectPublicKeyInfo::from_der(signer.der()),
        ) else {
            return Err(SignatureError::Invalid);
        };
        let algorithm = &certificate.signature_algorithm.algorithm;
        // Whoever may have certificates signed could make two with the same SHA-1.
        if *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA {
            return Err(SignatureError::Unsupported);
        }
        certificate
            .verify_signature(Some(&key))
            .map_err(|error| match error {
                X509Error::SignatureUnsupportedAlgorithm => SignatureError::Unsupported,
                _ => SignatureError::Invalid,
            })
    }
}

fn not_der(error: X509Error) -> CertificateError {
    CertificateError::NotDer(error.to_string())
}

fn utc(time: ASN1Time) -> Result<OffsetDateTime, CertificateError> {
    time.to_datetime()
        .checked_to_offset(UtcOffset::UTC)
        .ok_or_else(|| not_der(X509Error::InvalidDate))
}

/// RFC 5280 §4.2: what is critical and not understood makes a certificate invalid. Understood is what
/// is taken into account here, and what restricts only those who sign others.
fn unknown_critical_extension(certificate: &TbsCertificate<'_>) -> Option<String> {
    certificate
        .iter_extensions()
        .find(|extension| {
            let known = matches!(
                extension.parsed_extension(),
                ParsedExtension::ExtendedKeyUsage(_)
                    | ParsedExtension::KeyUsage(_)
                    | ParsedExtension::BasicConstraints(_)
                    | ParsedExtension::SubjectAlternativeName(_)
                    | ParsedExtension::IssuerAlternativeName(_)
                    | ParsedExtension::AuthorityKeyIdentifier(_)
                    | ParsedExtension::SubjectKeyIdentifier(_)
                    | ParsedExtension::CertificatePolicies(_)
            );
            extension.critical && !known
        })
        .map(|extension| extension.oid.to_id_string())
}
