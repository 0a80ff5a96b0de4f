//! A device's registration (Hono's Device Registry Management API v1, device object).

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What an operator registers for a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Device {
    /// Whether the device may use the gateway.
    pub enabled: bool,
    /// Properties added to the device's messages that do not carry them; over the tenant's.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub defaults: Map<String, Value>,
    /// Ids of the gateways that may act for the device.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "one_or_many"
    )]
    pub via: Vec<String>,
    /// Groups of gateways that may act for the device.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "one_or_many"
    )]
    pub via_groups: Vec<String>,
    /// Groups that this gateway belongs to.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "one_or_many"
    )]
    pub member_of: Vec<String>,
    /// What this gateway may do beyond sending for the devices that name it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<Authority>,
    /// The name of a mapper for what the device sends.
    #[serde(
        rename = "downstream-message-mapper",
        skip_serializing_if = "Option::is_none"
    )]
    pub downstream_message_mapper: Option<String>,
    /// The name of a mapper for what is sent to the device.
    #[serde(
        rename = "upstream-message-mapper",
        skip_serializing_if = "Option::is_none"
    )]
    pub upstream_message_mapper: Option<String>,
    /// Where commands are sent to whose device does not fetch them (LoRa).
    #[serde(rename = "command-endpoint", skip_serializing_if = "Option::is_none")]
    pub command_endpoint: Option<CommandEndpoint>,
    /// Free for the operator.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub ext: Map<String, Value>,
    /// Kept by the registry; ignored when sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<DeviceStatus>,
}

/// Something that a gateway may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub enum Authority {
    /// Have a device registered by sending a message for it.
    #[serde(rename = "auto-provisioning-enabled")]
    AutoProvisioning,
}

/// serde itself would also take an object with the name as its member.
impl TryFrom<String> for Authority {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        match name.as_str() {
            "auto-provisioning-enabled" => Ok(Self::AutoProvisioning),
            _ => Err("`auto-provisioning-enabled` is expected"),
        }
    }
}

/// Where commands for a device are sent to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CommandEndpoint {
    /// May contain `{{deviceId}}`.
    pub uri: String,
    /// HTTP headers to send along.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "texts")]
    pub headers: BTreeMap<String, String>,
    /// Members to add to the request's body.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "texts")]
    pub payload_properties: BTreeMap<String, String>,
}

/// What the registry itself knows of a device. Times are ISO 8601 in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct DeviceStatus {
    /// When the device was registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When its registration was changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
    /// The operator who registered it or changed it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_user: Option<String>,
    /// Whether it was registered by itself.
    #[serde(skip_serializing_if = "is_false")]
    pub auto_provisioned: bool,
    /// Whether applications were told so.
    #[serde(skip_serializing_if = "is_false")]
    pub auto_provisioning_notification_sent: bool,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            enabled: true,
            defaults: Map::new(),
            via: Vec::new(),
            via_groups: Vec::new(),
            member_of: Vec::new(),
            authorities: Vec::new(),
            downstream_message_mapper: None,
            upstream_message_mapper: None,
            command_endpoint: None,
            ext: Map::new(),
            status: None,
        }
    }
}

/// What the registry asserts of a device that a message names: it exists, is enabled, and the
/// gateway that speaks for it (if one does) may do so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assertion {
    /// Ids of the gateways that may act for the device, groups resolved.
    pub via: Vec<String>,
    /// The device's own defaults.
    pub defaults: Map<String, Value>,
    /// Whether the device was registered by itself and applications have not been told yet.
    pub is_unannounced: bool,
}

// serde's `skip_serializing_if` hands over references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Accepts a single string where an array of strings is meant, as Hono does.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    // The default text would speak of variants of an enum.
    let given = OneOrMany::deserialize(deserializer)
        .map_err(|_| D::Error::custom("a string or an array of strings is expected"))?;
    Ok(match given {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// Accepts numbers and booleans where strings are meant, as Hono does.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(try_from = "Value")]
    struct Text(String);

    impl TryFrom<Value> for Text {
        type Error = &'static str;

        fn try_from(value: Value) -> Result<Self, &'static str> {
            match value {
                Value::String(text) => Ok(Self(text)),
                Value::Number(number) => Ok(Self(number.to_string())),
                Value::Bool(value) => Ok(Self(value.to_string())),
                Value::Null | Value::Array(_) | Value::Object(_) => Err("a string is expected"),
            }
        }
    }

    let given = BTreeMap::<String, Text>::deserialize(deserializer)?;
    let texts = given.into_iter().map(|(name, Text(text))| (name, text));
    Ok(texts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_gateway_may_be_given_without_an_array() {
        let device: Device = serde_json::from_str(r#"{"via": "gw-1"}"#).unwrap();
        assert_eq!(device.via, ["gw-1"]);
        assert_eq!(
            serde_json::to_string(&device).unwrap(),
            r#"{"enabled":true,"via":["gw-1"]}"#
        );
    }

    #[test]
    fn unknown_members_are_refused() {
        assert!(serde_json::from_str::<Device>(r#"{"viaa": []}"#).is_err());
    }

    #[test]
    fn an_authority_is_a_string() {
        let device = |authorities: &str| {
            serde_json::from_str::<Device>(&format!(r#"{{"authorities": [{authorities}]}}"#))
        };
        let gateway = device(r#""auto-provisioning-enabled""#).unwrap();
        assert_eq!(gateway.authorities, [Authority::AutoProvisioning]);
        let text = serde_json::to_string(&gateway.authorities).unwrap();
        assert_eq!(text, r#"["auto-provisioning-enabled"]"#);
        for other in [r#""all""#, r#"{"auto-provisioning-enabled": null}"#] {
            assert!(device(other).is_err(), "{other}");
        }
    }
}
