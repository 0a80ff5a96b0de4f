//! From JSON text to objects, and where an object breaks a rule.
//!
//! What an operator sends may be secret wherever it was put, so no error quotes a value: each names a
//! member and says what is expected there.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::answer::Failure;

/// Base64 with or without its padding.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A rule that an object breaks, and where in it.
#[derive(Debug)]
pub(crate) struct Broken {
    /// Names of members and places in arrays, as in `adapters[0].type`; may be empty.
    path: String,
    rule: Cow<'static, str>,
}

impl Broken {
    /// The member `path` breaks the rule that `rule` says.
    pub(crate) fn new(path: impl Into<String>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self {
            path: path.into(),
            rule: rule.into(),
        }
    }

    /// A member that may not be left out was.
    pub(crate) fn missing(path: impl Into<String>) -> Self {
        Self::new(path, "is required")
    }

    /// The same, told by somebody who holds the object as the member `outer`.
    pub(crate) fn within(self, outer: &str) -> Self {
        let path = match (outer, self.path.as_str()) {
            ("", path) => path.to_owned(),
            (outer, "") => outer.to_owned(),
            (outer, path) if path.starts_with('[') => format!("{outer}{path}"),
            (outer, path) => format!("{outer}.{path}"),
        };
        Self { path, ..self }
    }

    /// The same, told by somebody who holds the object in the array `outer`.
    pub(crate) fn at(self, outer: &str, place: usize) -> Self {
        self.within(&format!("{outer}[{place}]"))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.rule)
        } else {
            write!(f, "{}: {}", self.path, self.rule)
        }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::bad_request(broken.to_string())
    }
}

/// Any JSON text.
pub(crate) fn json(body: &[u8]) -> Result<Value, Failure> {
    let value = serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("malformed JSON: {error}")))?;
    if has_nul(&value) {
        let text = "the character U+0000 is not allowed";
        return Err(Failure::bad_request(text));
    }
    Ok(value)
}

/// PostgreSQL has no such character in its texts. The JSON parser has bounded the depth.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(elements) => elements.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The members of the object that has to be in a request's body.
pub(crate) fn members(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    match json(body)? {
        Value::Object(members) => Ok(members),
        _ => Err(Failure::bad_request("a JSON object is required")),
    }
}

/// The members of an object.
pub(crate) fn object(value: Value) -> Result<Map<String, Value>, Broken> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Broken::new("", "an object is expected")),
    }
}

/// The elements of an array.
pub(crate) fn elements(value: Value) -> Result<Vec<Value>, Broken> {
    match value {
        Value::Array(elements) => Ok(elements),
        _ => Err(Broken::new("", "an array is expected")),
    }
}

/// Checks that what the paths (as in `a.b`) lead to are objects, if it is there: serde takes an array
/// of a struct's members for one.
pub(crate) fn check_objects(members: &Map<String, Value>, paths: &[&str]) -> Result<(), Broken> {
    let find = |path: &str| {
        let mut names = path.split('.');
        let first = members.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    };
    let is_other = |value: &Value| !value.is_object() && !value.is_null();
    match paths.iter().find(|path| find(path).is_some_and(is_other)) {
        Some(path) => Err(Broken::new(*path, "an object is expected")),
        None => Ok(()),
    }
}

/// What `members` mean as a `T`.
pub(crate) fn parse<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Broken> {
    serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        broken(path, &error.inner().to_string())
    })
}

/// serde's texts quote what was found; they are told apart by how they begin.
fn broken(path: String, text: &str) -> Broken {
    if text.starts_with("unknown field") {
        return Broken::new(path, "there is no such member");
    }
    if let Some(name) = text.strip_prefix("missing field ") {
        return Broken::missing(name.trim_matches('`')).within(&path);
    }
    let Some((_, expected)) = text.rsplit_once(", expected ") else {
        return Broken::new(path, text.to_owned());
    };
    let expected = match expected {
        "i64" => "an integer",
        "u64" | "u32" => "an integer from 0 on",
        "a map" => "an object",
        "a sequence" => "an array",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    Broken::new(path, format!("{expected} is expected"))
}

/// The bytes that the member `name` stands for.
pub(crate) fn decode(name: &str, text: &str) -> Result<Vec<u8>, Broken> {
    let decoded = LENIENT_BASE64.decode(text);
    decoded.map_err(|_| Broken::new(name, "is not Base64"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_core::{Device, Tenant};

    use super::*;

    fn why<T: DeserializeOwned + fmt::Debug>(value: Value) -> String {
        let parsed = object(value).and_then(parse::<T>);
        parsed.unwrap_err().to_string()
    }

    #[test]
    fn errors_name_the_member_and_what_is_expected_without_quoting() {
        let volume = |volume| json!({"resource-limits": {"data-volume": volume}});
        let rows = [
            (
                json!({"enabled": "s3cret"}),
                "enabled: a boolean is expected",
            ),
            (json!({"nabled": 1}), "nabled: there is no such member"),
            (json!({"alias": ["s3cret"]}), "alias: a string is expected"),
            (
                json!({"defaults": "s3cret, expected x"}),
                "defaults: an object is expected",
            ),
            (json!({"tracing": 5}), "tracing: an object is expected"),
            (
                json!({"tracing": {"sampling-mode-per-auth-id": {"a": "s3cret"}}}),
                "tracing.sampling-mode-per-auth-id.a: one of `default`, `all`, `none` is expected",
            ),
            (
                json!({"adapters": [{"type": "a"}, {"enabled": true}]}),
                "adapters[1].type: is required",
            ),
            (
                json!({"adapters": [{"type": "a", "x": 1}]}),
                "adapters[0].x: there is no such member",
            ),
            (
                volume(json!({"effective-since": "2026-01-01T00:00:00Z", "max-bytes": "1"})),
                "resource-limits.data-volume.max-bytes: an integer is expected",
            ),
            (
                volume(json!({"max-bytes": 1})),
                "resource-limits.data-volume.effective-since: is required",
            ),
            (
                volume(json!({"effective-since": "soon"})),
                "resource-limits.data-volume.effective-since: \
                 not an ISO 8601 date and time with an offset",
            ),
            (json!("s3cret"), "an object is expected"),
        ];
        for (value, expected) in rows {
            assert_eq!(why::<Tenant>(value), expected);
        }
        assert_eq!(
            why::<Device>(json!({"via": 1})),
            "via: a string or an array of strings is expected"
        );
    }

    #[test]
    fn paths_grow_outwards() {
        let rows = [
            (Broken::new("a", "x").within("b"), "b.a: x"),
            (Broken::new("", "x").within("b"), "b: x"),
            (Broken::new("[0].a", "x").within("b"), "b[0].a: x"),
            (Broken::new("a", "x").within(""), "a: x"),
            (Broken::new("a", "x").at("b", 3), "b[3].a: x"),
        ];
        for (broken, expected) in rows {
            assert_eq!(broken.to_string(), expected);
        }
    }

    #[test]
    fn json_that_no_database_takes_is_refused() {
        for text in [r#"["\u0000"]"#, r#"{"a": {"\u0000": 1}}"#, "{", "[1e999]"] {
            assert!(json(text.as_bytes()).is_err(), "{text}");
        }
        assert!(json(br#"["\\u0000"]"#).is_ok());
    }

    #[test]
    fn base64_may_lack_its_padding() {
        for text in ["AQIDBA", "AQIDBA=="] {
            assert_eq!(decode("key", text).unwrap(), [1, 2, 3, 4]);
        }
        let error = decode("key", "s3cret?").unwrap_err();
        assert_eq!(error.to_string(), "key: is not Base64");
    }
}
