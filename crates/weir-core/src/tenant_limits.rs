//! A tenant's limits (Hono's `registration-limits` and `resource-limits`).

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::Timestamp;

/// How much may be registered; -1 means no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RegistrationLimits {
    /// Devices of the tenant. 0 allows none.
    #[serde(skip_serializing_if = "is_unlimited")]
    pub max_devices: i64,
    /// Credentials of each device.
    #[serde(skip_serializing_if = "is_unlimited")]
    pub max_credentials_per_device: i64,
}

/// What the tenant's devices may use; -1 means no limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ResourceLimits {
    /// Devices connected at a time.
    #[serde(skip_serializing_if = "is_unlimited")]
    pub max_connections: i64,
    /// Seconds for which an event stays valid.
    #[serde(skip_serializing_if = "is_unlimited")]
    pub max_ttl: i64,
    /// Seconds for which telemetry with QoS 0 stays valid.
    #[serde(
        rename = "max-ttl-telemetry-qos0",
        skip_serializing_if = "is_unlimited"
    )]
    pub max_ttl_telemetry_qos0: i64,
    /// Seconds for which telemetry with QoS 1 stays valid.
    #[serde(
        rename = "max-ttl-telemetry-qos1",
        skip_serializing_if = "is_unlimited"
    )]
    pub max_ttl_telemetry_qos1: i64,
    /// Seconds for which a response to a command stays valid.
    #[serde(skip_serializing_if = "is_unlimited")]
    pub max_ttl_command_response: i64,
    /// Bytes per period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_volume: Option<DataVolume>,
    /// Minutes connected per period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_duration: Option<ConnectionDuration>,
    /// Messages per second. Weir's own; Hono has no such limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_rate: Option<MessageRates>,
    /// Free for the operator.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub ext: Map<String, Value>,
}

/// How many bytes a tenant's devices may send and receive in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataVolume {
    /// When the first period began.
    pub effective_since: Timestamp,
    /// Bytes; -1 means no limit.
    #[serde(default = "unlimited", skip_serializing_if = "is_unlimited")]
    pub max_bytes: i64,
    /// The period; a month if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
}

/// How many minutes a tenant's devices may be connected in a period, all together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConnectionDuration {
    /// When the first period began.
    pub effective_since: Timestamp,
    /// Minutes; -1 means no limit.
    #[serde(default = "unlimited", skip_serializing_if = "is_unlimited")]
    pub max_minutes: i64,
    /// The period; a month if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
}

/// How fast a tenant's devices may send: telemetry, events and responses to commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct MessageRates {
    /// All of them together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<MessageRate>,
    /// Each of them. What a gateway sends for a device is the device's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<MessageRate>,
}

/// How fast messages may come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct MessageRate {
    /// Messages per second in the long run, more than 0; -1 means no limit.
    #[serde(
        serialize_with = "as_short_as_possible",
        skip_serializing_if = "is_without_limit"
    )]
    pub max_messages_per_second: f64,
    /// Messages that may come at once after a silence, 1 or more; as many as in a second if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// A stretch of time after which counting starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Period {
    /// What it is made of.
    pub mode: PeriodMode,
    /// How many days, for [`PeriodMode::Days`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_of_days: Option<u32>,
}

/// What a period is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum PeriodMode {
    /// A number of days.
    Days,
    /// A calendar month.
    Monthly,
}

/// serde itself would also take an object with the name as its member.
impl TryFrom<String> for PeriodMode {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        match name.as_str() {
            "days" => Ok(Self::Days),
            "monthly" => Ok(Self::Monthly),
            _ => Err("`days` or `monthly` is expected"),
        }
    }
}

impl Default for RegistrationLimits {
    fn default() -> Self {
        Self {
            max_devices: -1,
            max_credentials_per_device: -1,
        }
    }
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self {
            max_connections: -1,
            max_ttl: -1,
            max_ttl_telemetry_qos0: -1,
            max_ttl_telemetry_qos1: -1,
            max_ttl_command_response: -1,
            data_volume: None,
            connection_duration: None,
            message_rate: None,
            ext: Map::new(),
        }
    }
}

impl Default for MessageRate {
    fn default() -> Self {
        Self {
            max_messages_per_second: -1.0,
            burst: None,
        }
    }
}

fn unlimited() -> i64 {
    -1
}

// serde's `skip_serializing_if` hands over references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_unlimited(value: &i64) -> bool {
    *value == -1
}

// The same.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_without_limit(per_second: &f64) -> bool {
    *per_second == -1.0
}

/// A number without a fraction as an integer, as it was probably written.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn as_short_as_possible<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // The cast keeps to the bounds of an integer, and what is beyond them is another number then.
    let integer = *number as i64;
    if integer as f64 == *number {
        serializer.serialize_i64(integer)
    } else {
        serializer.serialize_f64(*number)
    }
}
