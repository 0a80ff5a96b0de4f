//! Versions of what is stored.

use std::fmt;

use uuid::Uuid;

/// A version of a tenant, a device or a set of credentials. Each change makes a new one, at random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    pub(crate) fn new() -> Self {
        Self(new_id())
    }

    /// The version as text, a UUID if it is one of ours.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the SQL compares with: the expected version, or nothing if any will do.
    pub(crate) fn expected(version: Option<&Self>) -> String {
        version.map(|version| version.0.clone()).unwrap_or_default()
    }
}

/// A version as a client names it. Any text will do: what was never given out equals no version.
/// The empty text stands for any version.
impl From<&str> for Version {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Version {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A fresh identifier.
pub(crate) fn new_id() -> String {
    Uuid::new_v4().to_string()
}
