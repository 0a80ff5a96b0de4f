//! Names of subjects and issuers.

mod attribute;
mod text;

use std::fmt;
use std::str::FromStr;

use x509_parser::asn1_rs::{FromDer, Oid, Sequence, Set, ToDer};
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT,
};
use x509_parser::x509::X509Name;

use attribute::Attribute;

/// How long a name may be as text, in bytes, both as it is given and as it is normalised.
pub const MAX_NAME: usize = 4096;

/// Why something is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("the name is empty")]
    Empty,
    /// It is longer than [`MAX_NAME`].
    #[error("the name is longer than {MAX_NAME} bytes")]
    TooLong,
    /// Where an attribute should be there is no `type=`.
    #[error("expected 'type=value' at {0:?}")]
    NoAttribute(String),
    /// An attribute's type is neither a known keyword nor an object identifier.
    #[error("unknown attribute type {0:?}")]
    UnknownType(String),
    /// An object identifier that cannot be one, or that is of a range that is not supported.
    #[error("unsupported object identifier {0:?}")]
    UnsupportedOid(String),
    /// A backslash that is not followed by a character that needs it or by two hex digits.
    #[error("invalid escape in the value of {0}")]
    InvalidEscape(String),
    /// A character that has to be escaped.
    #[error("character {character:?} must be escaped in the value of {attribute}")]
    Unescaped {
        /// Which one.
        character: char,
        /// The type of the attribute.
        attribute: String,
    },
    /// A quoted value without an end, or with more behind it.
    #[error("invalid quotation in the value of {0}")]
    InvalidQuotation(String),
    /// What follows `#` is not the DER form of one value in hex digits.
    #[error("the value of {0} is not the hexadecimal form of a DER value")]
    InvalidHex(String),
    /// The bytes of a value are not text of the kind that they claim to be.
    #[error("the value of {0} is not valid text")]
    InvalidText(String),
    /// The bytes are not the DER form of a name.
    #[error("not the DER form of a name")]
    NotDer,
}

/// A name, known by its normalised text.
///
/// That is RFC 2253 as Java's `X500Principal` prints it: the most specific part first, no spaces
/// around separators, upper-case keywords for CN, C, L, ST, O, OU, STREET, DC and UID, any other type
/// as an object identifier with the DER form of its value. Two names are equal if that text is.
///
/// A value of such another type has a string type in its DER form, which text does not tell:
/// `SERIALNUMBER=1` means the `PrintableString` that certificates have there.
#[derive(Clone, Debug)]
pub struct DistinguishedName {
    text: Box<str>,
    common_name: Option<Box<str>>,
    organizational_unit: Option<Box<str>>,
    organization: Option<Box<str>>,
}

impl DistinguishedName {
    /// Reads the DER form of a name.
    ///
    /// # Errors
    /// If it is not one, is not at its end where the bytes end, is too long, or has a value that is
    /// not the text it claims to be.
    pub fn from_der(der: &[u8]) -> Result<Self, NameError> {
        if der.len() > crate::MAX_DER {
            return Err(NameError::TooLong);
        }
        match X509Name::from_der(der) {
            Ok(([], name)) => Self::from_x509(&name),
            Ok(_) | Err(_) => Err(NameError::NotDer),
        }
    }

    /// Takes a name out of something that was parsed. It may be empty.
    ///
    /// # Errors
    /// As of [`DistinguishedName::from_der`].
    pub(crate) fn from_x509(name: &X509Name<'_>) -> Result<Self, NameError> {
        let mut rdns = name
            .iter_rdn()
            .map(|rdn| rdn.iter().map(Attribute::from_x509).collect())
            .collect::<Result<Vec<Vec<_>>, _>>()?;
        // The library stops at the first part it does not understand. Two names that differ only behind
        // it must not become one.
        if to_der(&rdns) != name.as_raw() {
            return Err(NameError::NotDer);
        }
        // RFC 2253 §2.1: the text starts with the last element of the sequence.
        rdns.reverse();
        Self::new(rdns)
    }

    fn new(mut rdns: Vec<Vec<Attribute>>) -> Result<Self, NameError> {
        let mut text = String::new();
        for (index, rdn) in rdns.iter_mut().enumerate() {
            // RFC 2253 §2.2 allows any order; the DER form knows only this one.
            rdn.sort_by_cached_key(Attribute::to_der);
            for (position, attribute) in rdn.iter().enumerate() {
                match (index, position) {
                    (0, 0) => {}
                    (_, 0) => text.push(','),
                    _ => text.push('+'),
                }
                attribute.write(&mut text);
                if text.len() > MAX_NAME {
                    return Err(NameError::TooLong);
                }
            }
        }
        let first = |oid: &Oid<'_>| {
            rdns.iter()
                .flatten()
                .find(|attribute| attribute.is(oid))
                .and_then(|attribute| attribute.text().map(Box::from))
        };
        Ok(Self {
            common_name: first(&OID_X509_COMMON_NAME),
            organizational_unit: first(&OID_X509_ORGANIZATIONAL_UNIT),
            organization: first(&OID_X509_ORGANIZATION_NAME),
            text: text.into_boxed_str(),
        })
    }

    /// The normalised text. Empty for the empty name, which only a certificate can have.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The most specific common name (CN), unescaped. `None` also if its value is not text.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The most specific organizational unit (OU), unescaped. `None` also if its value is not text.
    pub fn organizational_unit(&self) -> Option<&str> {
        self.organizational_unit.as_deref()
    }

    /// The most specific organization (O), unescaped. `None` also if its value is not text.
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }
}

/// The DER form of a name of these parts, in this order.
fn to_der(rdns: &[Vec<Attribute>]) -> Vec<u8> {
    let mut content = Vec::new();
    for rdn in rdns {
        let set: Vec<u8> = rdn.iter().flat_map(Attribute::to_der).collect();
        // Writing to memory does not fail.
        content.extend(Set::new(set.into()).to_der_vec().unwrap_or_default());
    }
    Sequence::new(content.into())
        .to_der_vec()
        .unwrap_or_default()
}

impl FromStr for DistinguishedName {
    type Err = NameError;

    /// Reads RFC 2253, and what RFC 2253 §4 and Java accept beyond it: spaces around separators,
    /// `;` between parts, quoted values, more keywords, keywords in any case.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        Self::new(text::parse(text)?)
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for DistinguishedName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for DistinguishedName {}

impl std::hash::Hash for DistinguishedName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
