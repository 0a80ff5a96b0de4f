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

/// Base64 with or without its padding, in either alphabet once the letters of the one for URLs
/// (RFC 4648 §5) are replaced.
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

/// Makes a `T` of what the path (as in `a.b`) leads to ready to be parsed, if there is something: it
/// has to be an object (serde takes an array of a struct's members for one), and members that are null
/// are left out.
pub(crate) fn tidy<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
    path: &str,
) -> Result<(), Broken> {
    let mut names = path.split('.');
    let first = names.next().and_then(|name| members.get_mut(name));
    match names.fold(first, |value, name| value?.get_mut(name)) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(inner)) => {
            leave_nulls_out::<T>(inner);
            Ok(())
        }
        Some(_) => Err(Broken::new(path, "an object is expected")),
    }
}

/// Takes the members of a `T` that are null for left out, as Hono does. Those that `T` does not have
/// stay, to be refused.
pub(crate) fn leave_nulls_out<T: DeserializeOwned>(members: &mut Map<String, Value>) {
    let is_known = |name: &str| {
        let alone = Map::from_iter([(name.to_owned(), Value::Null)]);
        let parsed = T::deserialize(Value::Object(alone));
        !parsed.is_err_and(|error| error.to_string().starts_with(UNKNOWN))
    };
    members.retain(|name, value| !value.is_null() || !is_known(name));
}

/// What `members` mean as a `T`. Those that are null mean nothing.
pub(crate) fn parse<T: DeserializeOwned>(mut members: Map<String, Value>) -> Result<T, Broken> {
    leave_nulls_out::<T>(&mut members);
    parse_with_nulls(members)
}

/// What `members` mean as a `T`.
pub(crate) fn parse_with_nulls<T: DeserializeOwned>(
    members: Map<String, Value>,
) -> Result<T, Broken> {
    serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        broken(path, &error.inner().to_string())
    })
}

/// How serde's text begins where a struct has no such member.
const UNKNOWN: &str = "unknown field";

/// serde's texts quote what was found; they are told apart by how they begin.
fn broken(path: String, text: &str) -> Broken {
    if text.starts_with(UNKNOWN) {
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
        "f64" => "a number",
        "a map" => "an object",
        "a sequence" => "an array",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    Broken::new(path, format!("{expected} is expected"))
}

/// Checks that the member `name` has at most `bytes` bytes.
pub(crate) fn check_length(name: &str, text: &str, bytes: usize) -> Result<(), Broken> {
    if text.len() > bytes {
        return Err(Broken::new(name, format!("has more than {bytes} bytes")));
    }
    Ok(())
}

/// The bytes that the member `name` stands for.
pub(crate) fn decode(name: &str, text: &str) -> Result<Vec<u8>, Broken> {
    let decoded = LENIENT_BASE64.decode(text.replace('-', "+").replace('_', "/"));
    decoded.map_err(|_| Broken::new(name, "is not Base64"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_core::{Device, Period, ResourceLimits, Tenant};

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
    fn members_that_are_null_are_left_out_unless_there_are_none_such() {
        let cleaned = |value: Value| {
            let mut members = object(value).unwrap();
            tidy::<ResourceLimits>(&mut members, "resource-limits").unwrap();
            tidy::<Period>(&mut members, "resource-limits.data-volume.period").unwrap();
            leave_nulls_out::<Tenant>(&mut members);
            Value::Object(members)
        };
        let period =
            |period: Value| json!({"resource-limits": {"data-volume": {"period": period}}});
        let rows = [
            (
                json!({"alias": null, "enabled": null, "trusted-ca": null}),
                json!({}),
            ),
            (json!({"nabled": null}), json!({"nabled": null})),
            (json!({"ext": {"a": null}}), json!({"ext": {"a": null}})),
            (json!({"resource-limits": null}), json!({})),
            (
                json!({"resource-limits": {"max-ttl": null, "max": null, "ext": {"a": null}}}),
                json!({"resource-limits": {"max": null, "ext": {"a": null}}}),
            ),
            (
                period(json!({"mode": null, "no-of-days": null})),
                period(json!({})),
            ),
        ];
        for (value, expected) in rows {
            assert_eq!(cleaned(value), expected);
        }
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
    fn base64_may_lack_its_padding_and_be_of_either_alphabet() {
        for text in ["AQIDBA", "AQIDBA=="] {
            assert_eq!(decode("key", text).unwrap(), [1, 2, 3, 4]);
        }
        for text in ["+/8=", "-_8=", "-_8", "+_8"] {
            assert_eq!(decode("key", text).unwrap(), [0xfb, 0xff]);
        }
        let error = decode("key", "s3cret?").unwrap_err();
        assert_eq!(error.to_string(), "key: is not Base64");
    }
}
