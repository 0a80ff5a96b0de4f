//! Where in an object something is.

use std::fmt;
use std::str::FromStr;

/// A JSON pointer (RFC 6901) to a member of an object, as the object is shown. `/id` is the object's
/// id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// A text that is not a pointer to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It does not begin with a slash.
    #[error("a JSON pointer to a member begins with /")]
    NoSlash,
    /// A tilde is followed by neither 0 nor 1.
    #[error("in a JSON pointer ~ is written ~0, and / within a name ~1")]
    Escape,
    /// It is too long, or leads too deep.
    #[error(
        "a JSON pointer has at most {} characters and {} names",
        Pointer::MAX_CHARS,
        Pointer::MAX_NAMES
    )]
    TooLong,
    /// It has a NUL.
    #[error("a JSON pointer with NUL leads nowhere")]
    Nul,
}

impl Pointer {
    /// The most names.
    pub const MAX_NAMES: usize = 16;
    /// The most characters.
    pub const MAX_CHARS: usize = 256;

    /// The names on the way, at least one.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// The index that a name is in an array, if it can be one (RFC 6901, section 4).
pub(super) fn index(name: &str) -> Option<u32> {
    let is_padded = name.len() > 1 && name.starts_with('0');
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
    // No object is as large as to have elements with more digits.
    (is_number && !is_padded && name.len() <= 6)
        .then(|| name.parse().ok())
        .flatten()
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let names = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        if text.contains('\0') {
            return Err(PointerError::Nul);
        }
        if text.chars().count() > Self::MAX_CHARS || names.split('/').count() > Self::MAX_NAMES {
            return Err(PointerError::TooLong);
        }
        names
            .split('/')
            .map(unescape)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn unescape(name: &str) -> Result<String, PointerError> {
    let mut plain = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '~' => match chars.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(PointerError::Escape),
            },
            c => c,
        });
    }
    Ok(plain)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.0 {
            write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_taken_apart_and_shown_as_it_was() {
        let rows: [(&str, &[&str]); 7] = [
            ("/enabled", &["enabled"]),
            ("/ext/group", &["ext", "group"]),
            ("/", &[""]),
            ("/a//b", &["a", "", "b"]),
            ("/a~1b/c~0d", &["a/b", "c~d"]),
            ("/~01", &["~1"]),
            ("/ä \"'[*]", &["ä \"'[*]"]),
        ];
        for (text, names) in rows {
            let pointer: Pointer = text.parse().unwrap();
            assert!(pointer.names().eq(names.iter().copied()), "{pointer:?}");
            assert_eq!(pointer.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_pointer_to_a_member_is_refused() {
        let long = |chars: usize| format!("/{}", "ä".repeat(chars - 1));
        assert!(long(256).parse::<Pointer>().is_ok());
        assert!("/a".repeat(16).parse::<Pointer>().is_ok());
        let rows = [
            (String::new(), PointerError::NoSlash),
            ("ext/group".to_owned(), PointerError::NoSlash),
            ("/a~2".to_owned(), PointerError::Escape),
            ("/a~".to_owned(), PointerError::Escape),
            ("/a\0".to_owned(), PointerError::Nul),
            (long(257), PointerError::TooLong),
            ("/a".repeat(17), PointerError::TooLong),
        ];
        for (text, error) in rows {
            assert_eq!(text.parse::<Pointer>(), Err(error), "{text}");
        }
    }

    #[test]
    fn some_names_are_indexes() {
        let rows = [
            ("0", Some(0)),
            ("17", Some(17)),
            ("999999", Some(999_999)),
            ("1000000", None),
            ("01", None),
            ("-", None),
            ("-1", None),
            ("", None),
            ("1a", None),
        ];
        for (name, expected) in rows {
            assert_eq!(index(name), expected, "{name}");
        }
    }
}
