//! One attribute of a name: its type and the DER form of its value.

use std::fmt::Write;

use x509_parser::asn1_rs::{Any, Class, Oid, Sequence, Tag, ToDer, oid};
use x509_parser::x509::AttributeTypeAndValue;

use super::NameError;

/// What has a keyword in the normalised text: RFC 2253 §2.3.
const PRINTED: [(&str, Oid<'static>); 9] = [
    ("CN", oid!(2.5.4.3)),
    ("C", oid!(2.5.4.6)),
    ("L", oid!(2.5.4.7)),
    ("ST", oid!(2.5.4.8)),
    ("STREET", oid!(2.5.4.9)),
    ("O", oid!(2.5.4.10)),
    ("OU", oid!(2.5.4.11)),
    ("DC", DOMAIN_COMPONENT),
    ("UID", oid!(0.9.2342.19200300.100.1.1)),
];

/// What has a keyword only in text that is read.
const ACCEPTED: [(&str, Oid<'static>); 13] = [
    ("S", oid!(2.5.4.8)),
    ("T", oid!(2.5.4.12)),
    ("TITLE", oid!(2.5.4.12)),
    ("SERIALNUMBER", oid!(2.5.4.5)),
    ("SURNAME", oid!(2.5.4.4)),
    ("GIVENNAME", oid!(2.5.4.42)),
    ("INITIALS", oid!(2.5.4.43)),
    ("GENERATION", oid!(2.5.4.44)),
    ("DNQ", oid!(2.5.4.46)),
    ("DNQUALIFIER", oid!(2.5.4.46)),
    ("EMAIL", EMAIL_ADDRESS),
    ("EMAILADDRESS", EMAIL_ADDRESS),
    ("IP", oid!(1.3.6.1.4.1.42.2.11.2.1)),
];

const DOMAIN_COMPONENT: Oid<'static> = oid!(0.9.2342.19200300.100.1.25);
const EMAIL_ADDRESS: Oid<'static> = oid!(1.2.840.113549.1.9.1);

/// RFC 2253 §2.4 has all but `=` and `#`, which Java escapes, too.
const ESCAPED: [char; 9] = [',', '=', '+', '<', '>', '#', ';', '"', '\\'];

/// The type of an attribute.
#[derive(Clone, Debug)]
pub(super) struct Type {
    oid: Oid<'static>,
    /// As it is printed: the keyword, or else the dotted numbers.
    name: String,
    has_keyword: bool,
}

impl Type {
    /// Reads a keyword, or dotted numbers with or without `OID.` before them.
    pub(super) fn from_text(text: &str) -> Result<Self, NameError> {
        let upper = text.to_ascii_uppercase();
        if let Some((_, oid)) = PRINTED
            .iter()
            .chain(&ACCEPTED)
            .find(|(keyword, _)| *keyword == upper)
        {
            return Self::from_oid(oid);
        }
        let digits = upper.strip_prefix("OID.").unwrap_or(&upper);
        if !digits.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(NameError::UnknownType(text.to_owned()));
        }
        let unsupported = || NameError::UnsupportedOid(text.to_owned());
        if !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') || !digits.contains('.') {
            return Err(unsupported());
        }
        let oid: Oid<'static> = digits.parse().map_err(|_| unsupported())?;
        Self::from_oid(&oid)
    }

    fn from_oid(oid: &Oid<'_>) -> Result<Self, NameError> {
        if let Some((keyword, known)) = PRINTED.iter().find(|(_, known)| known == oid) {
            return Ok(Self {
                oid: known.clone(),
                name: (*keyword).to_owned(),
                has_keyword: true,
            });
        }
        let name = oid.to_id_string();
        // The library reads the first byte as two arcs, which is wrong from 2.40 on (X.690 §8.19.4),
        // and reads numbers that end early or have leading zeros. Their text would be ambiguous.
        let plain = oid.as_bytes().first().is_some_and(|&first| first < 120)
            && name.parse::<Oid<'static>>().is_ok_and(|read| read == *oid);
        if !plain {
            return Err(NameError::UnsupportedOid(name));
        }
        Ok(Self {
            oid: oid.to_owned(),
            name,
            has_keyword: false,
        })
    }

    /// As it is printed.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// An attribute of a name.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    kind: Type,
    /// The DER form of the value.
    der: Vec<u8>,
    /// The value, if it is of a type that has text.
    text: Option<String>,
}

impl Attribute {
    pub(super) fn from_x509(attribute: &AttributeTypeAndValue<'_>) -> Result<Self, NameError> {
        let kind = Type::from_oid(attribute.attr_type())?;
        Self::from_any(kind, attribute.attr_value())
    }

    /// Of a value's DER form, which is `der` to its end.
    pub(super) fn from_any(kind: Type, value: &Any<'_>) -> Result<Self, NameError> {
        let der = value.to_der_vec().map_err(|_| NameError::NotDer)?;
        let text = decode(value).map_err(|()| NameError::InvalidText(kind.name.clone()))?;
        Ok(Self { kind, der, text })
    }

    /// Of a value that was written as text. `printable`: as `PrintableString`, if the characters allow it.
    pub(super) fn from_text(kind: Type, text: &str, printable: bool) -> Result<Self, NameError> {
        // RFC 5280 §4.1.2.4, appendix A.1: these two are IA5String.
        let ia5 = kind.oid == DOMAIN_COMPONENT || kind.oid == EMAIL_ADDRESS;
        let tag = if ia5 && text.is_ascii() {
            Tag::Ia5String
        } else if printable && text.chars().all(is_printable) {
            Tag::PrintableString
        } else {
            Tag::Utf8String
        };
        Self::from_any(kind, &Any::from_tag_and_data(tag, text.as_bytes()))
    }

    pub(super) fn is(&self, oid: &Oid<'_>) -> bool {
        self.kind.oid == *oid
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The DER form of the attribute. X.690 §11.6 sorts a set by it.
    pub(super) fn to_der(&self) -> Vec<u8> {
        // Writing to memory does not fail.
        let mut content = self.kind.oid.to_der_vec().unwrap_or_default();
        content.extend_from_slice(&self.der);
        Sequence::new(content.into())
            .to_der_vec()
            .unwrap_or_default()
    }

    pub(super) fn write(&self, out: &mut String) {
        out.push_str(&self.kind.name);
        out.push('=');
        match &self.text {
            Some(text) if self.kind.has_keyword => write_escaped(text, out),
            _ => {
                out.push('#');
                for byte in &self.der {
                    let _ = write!(out, "{byte:02x}");
                }
            }
        }
    }
}

fn write_escaped(text: &str, out: &mut String) {
    let is_blank = |c: char| c == ' ' || c == '\r';
    let trimmed = text.trim_start_matches(is_blank);
    let lead = text.len() - trimmed.len();
    let trail = lead + trimmed.trim_end_matches(is_blank).len();
    for (index, c) in text.char_indices() {
        if c == '\0' {
            out.push_str("\\00");
            continue;
        }
        if index < lead || index >= trail || ESCAPED.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}

/// The text of a value; `None` if it is of a type that has no text in a name.
fn decode(value: &Any<'_>) -> Result<Option<String>, ()> {
    if value.class() != Class::Universal || value.header.is_constructed() {
        return Ok(None);
    }
    match value.tag() {
        Tag::Utf8String => String::from_utf8(value.data.to_vec()).map(Some).or(Err(())),
        // Certificates have bytes beyond ASCII in these against the rules. Latin-1 keeps them apart.
        Tag::PrintableString | Tag::Ia5String | Tag::T61String | Tag::GeneralString => Ok(Some(
            value.data.iter().map(|&byte| char::from(byte)).collect(),
        )),
        Tag::BmpString => {
            let (pairs, []) = value.data.as_chunks::<2>() else {
                return Err(());
            };
            let units = pairs.iter().map(|&pair| u16::from_be_bytes(pair));
            char::decode_utf16(units)
                .collect::<Result<_, _>>()
                .map(Some)
                .or(Err(()))
        }
        _ => Ok(None),
    }
}

/// Whether a `PrintableString` may have it (X.680 §41.4).
fn is_printable(c: char) -> bool {
    c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c)
}
