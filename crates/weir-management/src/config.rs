//! The configuration of the management API.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The lowest and the highest cost bcrypt is used with here: below, its own limit; above, a single
/// check would take longer than five seconds.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=16;

/// The management API, with which operators keep tenants, devices and credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ManagementConfig {
    /// Whether the API is served. Default: true.
    pub enabled: bool,
    /// The IP address to listen on. Default: 127.0.0.1, this host only.
    pub bind: IpAddr,
    /// The TCP port to listen on, 0 to 65535; 0 takes a free one. Default: 28080.
    pub port: u16,
    /// Whether to listen without TLS on an address that other hosts can reach. Passwords then cross
    /// the network in the clear. Default: false.
    pub allow_insecure: bool,
    /// The largest request body accepted, in bytes. Default: 16000.
    pub max_payload_size: usize,
    /// The cost with which passwords are hashed, and the highest cost of bcrypt hashes accepted, 4 to
    /// 16; each step doubles the time a check takes. Default: 10.
    #[serde(deserialize_with = "bcrypt_cost")]
    #[schemars(range(min = 4, max = 16))]
    pub bcrypt_cost: u32,
    /// The web origin whose pages may use the API, for example `https://console.example.com`; `*`
    /// allows any. Default: `*`.
    pub cors_allowed_origin: String,
}

impl Default for ManagementConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            bind: Ipv4Addr::LOCALHOST.into(),
            port: 28080,
            allow_insecure: false,
            max_payload_size: 16_000,
            bcrypt_cost: 10,
            cors_allowed_origin: "*".to_owned(),
        }
    }
}

fn bcrypt_cost<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let cost = u32::deserialize(deserializer)?;
    if !BCRYPT_COSTS.contains(&cost) {
        let (low, high) = (BCRYPT_COSTS.start(), BCRYPT_COSTS.end());
        let text = format!("bcrypt_cost is {cost}, and has to be from {low} to {high}");
        return Err(D::Error::custom(text));
    }
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_known_and_costs_bounded() {
        let config = |json| serde_json::from_value::<ManagementConfig>(json);
        assert_eq!(config(json!({})).unwrap(), ManagementConfig::default());
        assert_eq!(config(json!({"bcrypt_cost": 4})).unwrap().bcrypt_cost, 4);
        for bad in [
            json!({"prot": 1}),
            json!({"bcrypt_cost": 3}),
            json!({"bcrypt_cost": 17}),
        ] {
            assert!(config(bad.clone()).is_err(), "{bad}");
        }
    }
}
