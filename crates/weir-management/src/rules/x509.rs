//! Names, keys, certificates and templates in members of objects.
//!
//! The library's own texts quote what they are about; those for operators do not.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use weir_x509::{
    Certificate, CertificateError, DistinguishedName, KeyAlgorithm, NameError, Template,
    TemplateError,
};

use crate::object::{Broken, decode};

/// The certificate in the member `name`: Base64 of its DER form, or of PEM text, of which the first
/// certificate counts.
pub(super) fn certificate(name: &str, text: &str) -> Result<Certificate, Broken> {
    let bytes = decode(name, text)?;
    let parsed = Certificate::from_der(&bytes).or_else(|error| {
        let first = CertificateDer::from_pem_slice(&bytes).map_err(|_| error)?;
        Certificate::from_der(&first)
    });
    parsed.map_err(|error| Broken::new(name, certificate_rule(&error)))
}

/// The name that the member `name` has the text of.
pub(super) fn distinguished_name(name: &str, text: &str) -> Result<DistinguishedName, Broken> {
    let parsed = text.parse::<DistinguishedName>();
    parsed.map_err(|error| Broken::new(name, name_rule(&error)))
}

/// The name that the member `name` has the Base64 of the DER form of.
pub(super) fn encoded_name(name: &str, text: &str) -> Result<DistinguishedName, Broken> {
    let parsed = DistinguishedName::from_der(&decode(name, text)?);
    parsed.map_err(|error| Broken::new(name, name_rule(&error)))
}

/// The key algorithm that the member `name` names.
pub(super) fn key_algorithm(name: &str, text: &str) -> Result<KeyAlgorithm, Broken> {
    let parsed = text.parse::<KeyAlgorithm>();
    parsed.map_err(|error| Broken::new(name, error.to_string()))
}

/// Checks that the member `name` is a template.
pub(super) fn check_template(name: &str, text: &str) -> Result<(), Broken> {
    let rule = match Template::parse(text) {
        Ok(_) => return Ok(()),
        Err(TemplateError::UnknownPlaceholder(_)) => {
            "unknown placeholder; known are subject-dn, subject-cn, subject-ou and subject-o".into()
        }
        Err(error) => error.to_string(),
    };
    Err(Broken::new(name, rule))
}

fn certificate_rule(error: &CertificateError) -> String {
    match error {
        CertificateError::NotDer(_) => "not the DER form of a certificate".to_owned(),
        CertificateError::Issuer(error) => format!("invalid issuer: {}", name_rule(error)),
        CertificateError::Subject(error) => format!("invalid subject: {}", name_rule(error)),
        error => error.to_string(),
    }
}

fn name_rule(error: &NameError) -> &'static str {
    match error {
        NameError::Empty => "is empty",
        NameError::TooLong => "the name is too long",
        NameError::NoAttribute(_) => "attributes in the form type=value are expected",
        NameError::UnknownType(_) => "unknown type of an attribute",
        NameError::UnsupportedOid(_) => "unsupported object identifier",
        NameError::InvalidEscape(_) => "invalid escape in a value",
        NameError::Unescaped { .. } => "a character in a value has to be escaped",
        NameError::InvalidQuotation(_) => "invalid quotation in a value",
        NameError::InvalidHex(_) => "a value is not the hexadecimal form of a DER value",
        NameError::InvalidText(_) => "a value is not valid text",
        NameError::NotDer => "not the DER form of a name",
    }
}
