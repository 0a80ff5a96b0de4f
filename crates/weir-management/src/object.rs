//! Tenants and devices: from JSON to objects that keep the rules.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use weir_core::{Device, ResourceLimits, Tenant};

use crate::answer::Failure;

/// A tenant's configuration; without a body, the default one.
pub(crate) fn tenant(body: Option<&[u8]>) -> Result<Tenant, Failure> {
    let tenant: Tenant = body.map_or_else(|| Ok(Tenant::default()), object)?;
    if let Some(adapters) = &tenant.adapters {
        if adapters.is_empty() {
            let text = "adapters: leave it out, or list at least one";
            return Err(Failure::bad_request(text));
        }
        let mut kinds = BTreeSet::new();
        for adapter in adapters {
            if adapter.kind.is_empty() || !kinds.insert(&adapter.kind) {
                let text = "adapters: each needs a type that no other has";
                return Err(Failure::bad_request(text));
            }
        }
    }
    if let Some(limits) = &tenant.resource_limits {
        check_limits(limits)?;
    }
    Ok(tenant)
}

fn check_limits(limits: &ResourceLimits) -> Result<(), Failure> {
    let ResourceLimits {
        max_ttl,
        max_ttl_telemetry_qos0,
        max_ttl_telemetry_qos1,
        max_ttl_command_response,
    } = limits;
    let rows = [
        ("max-ttl", max_ttl),
        ("max-ttl-telemetry-qos0", max_ttl_telemetry_qos0),
        ("max-ttl-telemetry-qos1", max_ttl_telemetry_qos1),
        ("max-ttl-command-response", max_ttl_command_response),
    ];
    match rows.into_iter().find(|(_, seconds)| **seconds < -1) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::bad_request(format!(
            "resource-limits: {name}: seconds, or -1 for no limit"
        ))),
    }
}

/// A device's registration; without a body, the default one.
pub(crate) fn device(body: Option<&[u8]>) -> Result<Device, Failure> {
    let device: Device = body.map_or_else(|| Ok(Device::default()), object)?;
    let is_behind_gateways = !device.via.is_empty() || !device.via_groups.is_empty();
    if !device.member_of.is_empty() && is_behind_gateways {
        let text = "memberOf: a gateway cannot be behind gateways (via, viaGroups)";
        return Err(Failure::bad_request(text));
    }
    Ok(device)
}

/// Any JSON text.
pub(crate) fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("malformed JSON: {error}")))
}

fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let Value::Object(members) = json(body)? else {
        return Err(Failure::bad_request("a JSON object is required"));
    };
    parse(members).map_err(Failure::bad_request)
}

/// An object of these members, none of which `T` may demand. What is wrong comes with the name of
/// the member.
pub(crate) fn parse<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, String> {
    let error = match T::deserialize_members(members.clone()) {
        Ok(object) => return Ok(object),
        Err(error) => error,
    };
    // serde does not say where the error is, so look for the first member that fails by itself.
    let culprit = members.into_iter().find_map(|(name, value)| {
        let alone = Map::from_iter([(name.clone(), value)]);
        let error = T::deserialize_members(alone).err()?;
        Some(format!("{name}: {error}"))
    });
    Err(culprit.unwrap_or_else(|| error.to_string()))
}

trait FromMembers: Sized {
    fn deserialize_members(members: Map<String, Value>) -> Result<Self, serde_json::Error>;
}

impl<T: DeserializeOwned> FromMembers for T {
    fn deserialize_members(members: Map<String, Value>) -> Result<Self, serde_json::Error> {
        serde_json::from_value(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn why<T>(result: Result<T, Failure>) -> Option<String> {
        let failure = result.err()?;
        let text = format!("{failure:?}");
        assert_eq!(failure.into_response().status(), 400, "{text}");
        Some(text)
    }

    #[test]
    fn a_tenant_that_breaks_a_rule_is_refused_with_the_members_name() {
        let rows = [
            (r#"{"enabled": "yes"}"#, "enabled: "),
            (r#"{"enabeld": true}"#, "unknown field `enabeld`"),
            (r#"{"adapters": []}"#, "adapters: "),
            (r#"{"adapters": [{"enabled": true}]}"#, "adapters: "),
            (
                r#"{"adapters": [{"type": "a"}, {"type": "a"}]}"#,
                "adapters: ",
            ),
            (r#"{"adapters": [{"type": "a", "x": 1}]}"#, "adapters: "),
            (r#"{"minimum-message-size": -1}"#, "minimum-message-size: "),
            (r#"{"resource-limits": {"max-ttl": -2}}"#, "max-ttl: "),
            (r#"{"defaults": 5}"#, "defaults: "),
            ("{", "malformed JSON"),
            ("[]", "a JSON object is required"),
            ("null", "a JSON object is required"),
        ];
        for (body, expected) in rows {
            let text = why(tenant(Some(body.as_bytes()))).unwrap_or_default();
            assert!(text.contains(expected), "{body}: {text}");
        }
    }

    #[test]
    fn a_device_that_breaks_a_rule_is_refused_with_the_members_name() {
        let rows = [
            (r#"{"memberOf": ["g"], "via": ["gw"]}"#, "memberOf: "),
            (r#"{"memberOf": "g", "viaGroups": "g"}"#, "memberOf: "),
            (r#"{"via": [1]}"#, "via: "),
            (r#"{"ext": []}"#, "ext: "),
            (r#"{"vai": []}"#, "unknown field `vai`"),
        ];
        for (body, expected) in rows {
            let text = why(device(Some(body.as_bytes()))).unwrap_or_default();
            assert!(text.contains(expected), "{body}: {text}");
        }
        assert!(device(Some(br#"{"memberOf": ["g"], "via": []}"#)).is_ok());
    }
}
