//! The configuration of the management API.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use weir_core::HashFunction;

use crate::rules::password::HashRules;

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
    /// Whether the port without TLS is open; if not, a certificate is needed. Default: true.
    pub plain: bool,
    /// TCP port with TLS, 0 to 65535; 0 takes a free one. It is open if there is a certificate.
    /// Default: 28443.
    pub tls_port: u16,
    /// Certificate chain of this listener alone, PEM; instead of `tls.certificate`.
    pub tls_certificate: Option<PathBuf>,
    /// The private key that belongs to `tls_certificate`, PEM.
    pub tls_key: Option<PathBuf>,
    /// The largest request body accepted, in bytes. Default: 16000.
    pub max_payload_size: usize,
    /// The cost with which passwords are hashed, and the highest cost of bcrypt hashes accepted, 4 to
    /// 16; each step doubles the time a check takes. Default: 10.
    #[serde(deserialize_with = "bcrypt_cost")]
    #[schemars(range(min = 4, max = 16))]
    pub bcrypt_cost: u32,
    /// The functions with which passwords may be hashed that are given as a hash: `sha-256`, `sha-512`,
    /// `bcrypt`. Passwords given as they are do not need one. Default: all three.
    pub hash_algorithms: Vec<HashAlgorithm>,
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
            plain: true,
            tls_port: 28443,
            tls_certificate: None,
            tls_key: None,
            max_payload_size: 16_000,
            bcrypt_cost: 10,
            hash_algorithms: HashAlgorithm::ALL.to_vec(),
            cors_allowed_origin: "*".to_owned(),
        }
    }
}

impl ManagementConfig {
    pub(crate) fn hash_rules(&self) -> HashRules {
        let functions = self.hash_algorithms.iter().copied();
        HashRules {
            max_cost: self.bcrypt_cost,
            functions: functions.map(HashFunction::from).collect(),
        }
    }
}

/// A function with which a password may have been hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HashAlgorithm {
    /// SHA-256 over salt and password.
    #[serde(rename = "sha-256")]
    Sha256,
    /// SHA-512 over salt and password.
    #[serde(rename = "sha-512")]
    Sha512,
    /// bcrypt, version 2a.
    #[serde(rename = "bcrypt")]
    Bcrypt,
}

impl HashAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha512, Self::Bcrypt];
}

impl From<HashAlgorithm> for HashFunction {
    fn from(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha256 => Self::Sha256,
            HashAlgorithm::Sha512 => Self::Sha512,
            HashAlgorithm::Bcrypt => Self::Bcrypt,
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
            json!({"hash_algorithms": ["md5"]}),
        ] {
            assert!(config(bad.clone()).is_err(), "{bad}");
        }
    }
}
