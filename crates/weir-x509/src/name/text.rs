//! Reads the text of a name.

use x509_parser::asn1_rs::{Any, FromDer};

use super::NameError;
use super::attribute::{Attribute, Type};

/// What may follow a backslash. RFC 2253 §2.4 has fewer; the others are what names are seen with.
const ESCAPABLE: &str = ",=+<>#;\"\\ \n\r";

/// The parts of a name in the order of the text.
pub(super) fn parse(text: &str) -> Result<Vec<Vec<Attribute>>, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let mut scanner = Scanner { rest: text };
    let mut rdns = vec![vec![scanner.attribute()?]];
    while let Some(separator) = scanner.next() {
        let attribute = scanner.attribute()?;
        match (separator, rdns.last_mut()) {
            ('+', Some(rdn)) => rdn.push(attribute),
            _ => rdns.push(vec![attribute]),
        }
    }
    Ok(rdns)
}

struct Scanner<'a> {
    rest: &'a str,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    fn at_end_of_value(&self) -> bool {
        matches!(self.peek(), None | Some(',' | ';' | '+'))
    }

    /// Reads to the separator behind it, or to the end.
    fn attribute(&mut self) -> Result<Attribute, NameError> {
        let Some((kind, rest)) = self.rest.split_once('=') else {
            return Err(NameError::NoAttribute(self.rest.to_owned()));
        };
        let kind = Type::from_text(kind.trim())?;
        self.rest = rest;
        self.skip_spaces();
        match self.peek() {
            Some('#') => self.hex(kind),
            Some('"') => self.quoted(kind),
            _ => self.plain(kind),
        }
    }

    /// `#` and the DER form of the value.
    fn hex(&mut self, kind: Type) -> Result<Attribute, NameError> {
        let invalid = || NameError::InvalidHex(kind.name().to_owned());
        self.next();
        let mut digits = Vec::new();
        while let Some(digit) = self.peek().and_then(hex_digit) {
            digits.push(digit);
            self.next();
        }
        self.skip_spaces();
        let (pairs, []) = digits.as_chunks::<2>() else {
            return Err(invalid());
        };
        if !self.at_end_of_value() {
            return Err(invalid());
        }
        let der: Vec<u8> = pairs.iter().map(|&[high, low]| high << 4 | low).collect();
        match Any::from_der(&der) {
            Ok(([], value)) => Attribute::from_any(kind, &value),
            Ok(_) | Err(_) => Err(invalid()),
        }
    }

    /// RFC 2253 §4: a value in quotes, where only `"` and `\` need a backslash.
    fn quoted(&mut self, kind: Type) -> Result<Attribute, NameError> {
        let invalid = || NameError::InvalidQuotation(kind.name().to_owned());
        self.next();
        let mut value = Value::default();
        loop {
            match self.next() {
                Some('"') => break,
                Some('\\') => self.escape(&kind, &mut value)?,
                Some(c) => value.push(c),
                None => return Err(invalid()),
            }
        }
        self.skip_spaces();
        if !self.at_end_of_value() {
            return Err(invalid());
        }
        value.finish(kind, |text| text.trim_matches(|c: char| c <= ' '))
    }

    fn plain(&mut self, kind: Type) -> Result<Attribute, NameError> {
        let mut value = Value::default();
        // Spaces count only if something follows them.
        let mut spaces = 0;
        while !self.at_end_of_value() {
            let Some(c) = self.next() else { break };
            if c == ' ' {
                spaces += 1;
                continue;
            }
            (0..std::mem::take(&mut spaces)).for_each(|_| value.push(' '));
            match c {
                '\\' => self.escape(&kind, &mut value)?,
                '"' | '<' | '>' => {
                    return Err(NameError::Unescaped {
                        character: c,
                        attribute: kind.name().to_owned(),
                    });
                }
                _ => value.push(c),
            }
        }
        value.finish(kind, |text| text)
    }

    /// What is behind a backslash.
    fn escape(&mut self, kind: &Type, value: &mut Value) -> Result<(), NameError> {
        let invalid = || NameError::InvalidEscape(kind.name().to_owned());
        let c = self.next().ok_or_else(invalid)?;
        if let Some(high) = hex_digit(c) {
            let low = self.next().and_then(hex_digit).ok_or_else(invalid)?;
            value.bytes.push(high << 4 | low);
            value.has_hex = true;
        } else if ESCAPABLE.contains(c) {
            value.push(c);
        } else {
            return Err(invalid());
        }
        Ok(())
    }
}

/// The value of an attribute while it is read. Hex pairs make up characters together.
#[derive(Default)]
struct Value {
    bytes: Vec<u8>,
    has_hex: bool,
}

impl Value {
    fn push(&mut self, c: char) {
        self.bytes
            .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn finish(self, kind: Type, trim: fn(&str) -> &str) -> Result<Attribute, NameError> {
        let text = String::from_utf8(self.bytes)
            .map_err(|_| NameError::InvalidText(kind.name().to_owned()))?;
        // Java takes what was escaped as bytes for UTF8String, whatever it is.
        Attribute::from_text(kind, trim(&text), !self.has_hex)
    }
}

fn hex_digit(c: char) -> Option<u8> {
    c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
