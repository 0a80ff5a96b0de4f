//! Whether an object is what a file says already.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Members;

/// Which defaults an object has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Tenant,
    Device,
    Credential,
}

/// Whether both are the same to the API, which leaves out what has its default, and adds what is its
/// own.
pub(super) fn is_same(kind: Kind, one: &Members, other: &Members) -> bool {
    tidy(kind, one) == tidy(kind, other)
}

/// The object without what goes without saying.
fn tidy(kind: Kind, members: &Members) -> Members {
    let mut tidied = object(kind, "", members);
    // The gateway's own.
    tidied.remove("status");
    if let Some(Value::Array(adapters)) = tidied.get_mut("adapters") {
        adapters.sort_by_key(|adapter| adapter["type"].to_string());
    }
    tidied
}

fn object(kind: Kind, path: &str, members: &Members) -> Members {
    let members = members.iter().filter_map(|(name, value)| {
        let path = format!("{path}/{name}");
        let value = match is_free(&path) {
            true => value.clone(),
            false => self::value(kind, &path, value),
        };
        let is_said = !is_empty(&value) && !is_default(kind, &path, &value);
        is_said.then(|| (name.clone(), value))
    });
    members.collect()
}

fn value(kind: Kind, path: &str, value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(object(kind, path, members)),
        Value::Array(elements) => {
            let path = format!("{path}/*");
            let elements = elements.iter();
            elements
                .map(|element| self::value(kind, &path, element))
                .collect()
        }
        Value::String(one) if is_list(path) => vec![Value::from(one.as_str())].into(),
        Value::String(text) if is_instant(path) => {
            instant(text).map_or_else(|| value.clone(), |instant| instant.unix_timestamp().into())
        }
        // The API shows a number without a fraction as an integer.
        Value::Number(number) if number.is_f64() => {
            match number.as_f64().map(|number| (number, number as i64)) {
                Some((number, integer)) if integer as f64 == number => integer.into(),
                _ => value.clone(),
            }
        }
        value => value.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// Objects that are the operator's own, in which nothing has a default.
fn is_free(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(
        name,
        "ext" | "defaults" | "headers" | "payload-properties" | "sampling-mode-per-auth-id"
    )
}

/// Lists for which a single text may stand.
fn is_list(path: &str) -> bool {
    matches!(path, "/via" | "/viaGroups" | "/memberOf" | "/authorities")
}

fn is_instant(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(name, "not-before" | "not-after" | "effective-since")
}

fn instant(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

fn is_default(kind: Kind, path: &str, value: &Value) -> bool {
    let limits = ["/resource-limits/", "/registration-limits/"];
    if limits.iter().any(|limits| path.starts_with(limits)) && *value == -1 {
        return true;
    }
    match (kind, path) {
        (_, "/enabled") | (Kind::Credential, "/secrets/*/enabled") => *value == true,
        (Kind::Tenant, "/minimum-message-size") => *value == 0,
        (Kind::Tenant, "/adapters/*/enabled") => *value == false,
        (Kind::Tenant, "/adapters/*/device-authentication-required") => *value == true,
        (Kind::Tenant, "/tracing/sampling-mode") => *value == "default",
        (Kind::Tenant, "/resource-limits/data-volume/period/mode")
        | (Kind::Tenant, "/resource-limits/connection-duration/period/mode") => *value == "monthly",
        // Given by the gateway where they are left out.
        (Kind::Tenant, "/trusted-ca/*/id") => true,
        (Kind::Tenant, "/trusted-ca/*/algorithm") => *value == "RSA",
        (Kind::Tenant, path) if path.starts_with("/trusted-ca/*/") => *value == false,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        let rows = [
            (Kind::Device, json!({}), json!({"enabled": true}), true),
            (Kind::Device, json!({}), json!({"enabled": false}), false),
            (
                Kind::Device,
                json!({"via": "gw"}),
                json!({"via": ["gw"]}),
                true,
            ),
            (Kind::Device, json!({"via": []}), json!({"ext": {}}), true),
            (Kind::Device, json!({"via": null}), json!({}), true),
            (
                Kind::Device,
                json!({"via": ["a", "b"]}),
                json!({"via": ["b", "a"]}),
                false,
            ),
            (
                Kind::Device,
                json!({"status": {"created": "2026-01-01T00:00:00Z"}}),
                json!({}),
                true,
            ),
            (
                Kind::Device,
                json!({"ext": {"enabled": true}}),
                json!({"ext": {}}),
                false,
            ),
            (
                Kind::Device,
                json!({"ext": {"list": []}}),
                json!({"ext": {"list": null}}),
                false,
            ),
            (
                Kind::Tenant,
                json!({"adapters": [{"type": "b"}, {"type": "a", "enabled": true}]}),
                json!({"adapters": [
                    {"type": "a", "enabled": true, "device-authentication-required": true},
                    {"type": "b", "enabled": false, "ext": {}},
                ]}),
                true,
            ),
            (
                Kind::Tenant,
                json!({"adapters": [{"type": "a", "enabled": true}]}),
                json!({"adapters": [{"type": "a"}]}),
                false,
            ),
            (
                Kind::Tenant,
                json!({"resource-limits": {"max-ttl": -1}, "minimum-message-size": 0}),
                json!({"registration-limits": {"max-devices": -1}}),
                true,
            ),
            (
                Kind::Tenant,
                json!({"resource-limits": {"max-ttl": 10}}),
                json!({"resource-limits": {"max-ttl": 11}}),
                false,
            ),
            (
                Kind::Tenant,
                json!({"resource-limits": {"message-rate": {
                    "tenant": {"max-messages-per-second": 10.0},
                    "device": {"max-messages-per-second": -1.0}
                }}}),
                json!({"resource-limits": {"message-rate": {
                    "tenant": {"max-messages-per-second": 10}
                }}}),
                true,
            ),
            (
                Kind::Tenant,
                json!({"resource-limits": {"message-rate": {
                    "device": {"max-messages-per-second": 0.5}
                }}}),
                json!({"resource-limits": {"message-rate": {
                    "device": {"max-messages-per-second": 0}
                }}}),
                false,
            ),
            (
                Kind::Tenant,
                json!({"trusted-ca": [{
                    "id": "1", "subject-dn": "CN=x", "not-before": "2026-01-01T01:00:00+01:00"
                }]}),
                json!({"trusted-ca": [{
                    "subject-dn": "CN=x", "not-before": "2026-01-01T00:00:00Z",
                    "algorithm": "RSA", "auto-provisioning-enabled": false
                }]}),
                true,
            ),
        ];
        for (kind, one, other, expected) in rows {
            let (one, other) = (one.as_object().unwrap(), other.as_object().unwrap());
            assert_eq!(is_same(kind, one, other), expected, "{one:?} {other:?}");
        }
    }
}
