//! A tenant's configuration (Hono's Device Registry Management API v1, tenant object).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tenant_limits::{RegistrationLimits, ResourceLimits};
use crate::{AuthId, Protocol, TenantId, TrustAnchor};

/// A tenant as the registry knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredTenant {
    /// Its real id, also where it was asked for by its alias or a trust anchor.
    pub id: TenantId,
    /// What is configured for it.
    pub settings: Tenant,
}

/// What an operator configures for a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Tenant {
    /// Whether the tenant's devices may use the gateway at all.
    pub enabled: bool,
    /// Another name that devices may use instead of the tenant's id; unique among aliases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The protocols the tenant may use; absent or empty means all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Vec<AdapterSettings>>,
    /// Properties added to messages that do not carry them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub defaults: Map<String, Value>,
    /// Bytes; payloads are accounted in multiples of it. 0 means as they are.
    #[serde(skip_serializing_if = "is_zero")]
    pub minimum_message_size: u64,
    /// How much may be registered for the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_limits: Option<RegistrationLimits>,
    /// Upper bounds on what the tenant's devices use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_limits: Option<ResourceLimits>,
    /// Which messages are traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
    /// Tenants of one group may trust the same certificate authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_anchor_group: Option<String>,
    /// The certificate authorities that vouch for the tenant's devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_ca: Vec<TrustAnchor>,
    /// Free for the operator.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub ext: Map<String, Value>,
}

/// A tenant's settings for one protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdapterSettings {
    /// The adapter type name, for example `hono-http`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the tenant may use the protocol.
    #[serde(default)]
    pub enabled: bool,
    /// Kept for Hono's clients; like there, it has no effect.
    #[serde(default = "yes")]
    pub device_authentication_required: bool,
    /// Settings that only this protocol reads.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub ext: Map<String, Value>,
}

/// Which of a tenant's messages are traced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Tracing {
    /// For all of the tenant's devices.
    #[serde(skip_serializing_if = "SamplingMode::is_default")]
    pub sampling_mode: SamplingMode,
    /// For those who authenticate under these names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sampling_mode_per_auth_id: BTreeMap<String, SamplingMode>,
}

/// Whether messages are traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum SamplingMode {
    /// As the gateway is configured.
    #[default]
    Default,
    /// All of them.
    All,
    /// None of them.
    None,
}

impl SamplingMode {
    // serde's `skip_serializing_if` hands over references.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

/// serde itself would also take an object with the name as its member.
impl TryFrom<String> for SamplingMode {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        match name.as_str() {
            "default" => Ok(Self::Default),
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            _ => Err("one of `default`, `all`, `none` is expected"),
        }
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self {
            enabled: true,
            alias: None,
            adapters: None,
            defaults: Map::new(),
            minimum_message_size: 0,
            registration_limits: None,
            resource_limits: None,
            tracing: None,
            trust_anchor_group: None,
            trusted_ca: Vec::new(),
            ext: Map::new(),
        }
    }
}

impl Tenant {
    /// Whether the tenant may use `protocol`, its own `enabled` apart.
    pub fn is_adapter_enabled(&self, protocol: Protocol) -> bool {
        match self.adapters.as_deref() {
            None | Some([]) => true,
            Some(adapters) => adapters
                .iter()
                .any(|adapter| adapter.kind == protocol.type_name() && adapter.enabled),
        }
    }

    /// Seconds for which a device that asks for `ttd` may wait for a command: at most the protocol's
    /// `max-ttd` (Hono's, 60 unless configured). `None` if it does not wait.
    pub fn wait_for_command(&self, protocol: Protocol, ttd: i32) -> Option<i32> {
        let adapters = self.adapters.iter().flatten();
        let max = adapters
            .filter(|adapter| adapter.kind == protocol.type_name())
            .find_map(|adapter| adapter.ext.get("max-ttd")?.as_i64())
            .unwrap_or(MAX_TTD);
        let max = i32::try_from(max).unwrap_or(i32::MAX);
        Some(ttd.min(max)).filter(|ttd| *ttd > 0)
    }

    /// Whether messages are traced of whoever authenticated under this name; none stands for those who
    /// were not asked, and for what concerns no device in particular.
    pub fn sampling_mode(&self, auth_id: Option<&AuthId>) -> SamplingMode {
        let Some(tracing) = &self.tracing else {
            return SamplingMode::Default;
        };
        let by_name = &tracing.sampling_mode_per_auth_id;
        let own = auth_id.and_then(|auth_id| by_name.get(auth_id.as_str()));
        own.copied().unwrap_or(tracing.sampling_mode)
    }

    /// The size at which a payload of `bytes` is accounted.
    pub fn accounting_size(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        match self.minimum_message_size {
            0 => bytes,
            step => bytes.div_ceil(step).saturating_mul(step),
        }
    }
}

/// Seconds for which a device may wait for a command, if its tenant says nothing.
const MAX_TTD: i64 = 60;

fn yes() -> bool {
    true
}

// serde's `skip_serializing_if` hands over references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(json: Value) -> Tenant {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn without_a_list_every_adapter_is_enabled() {
        assert!(tenant(serde_json::json!({})).is_adapter_enabled(Protocol::Http));
        assert!(tenant(serde_json::json!({"adapters": []})).is_adapter_enabled(Protocol::Mqtt));
    }

    #[test]
    fn with_a_list_only_what_it_enables_is() {
        let tenant = tenant(serde_json::json!({
            "adapters": [{"type": "hono-http", "enabled": true}, {"type": "hono-coap"}]
        }));
        assert!(tenant.is_adapter_enabled(Protocol::Http));
        assert!(!tenant.is_adapter_enabled(Protocol::Mqtt));
    }

    #[test]
    fn a_device_waits_no_longer_than_its_tenant_allows() {
        let strict = serde_json::json!({"adapters": [
            {"type": "hono-http", "enabled": true, "ext": {"max-ttd": 10}}, {"type": "hono-mqtt"}
        ]});
        let none = serde_json::json!({});
        let rows = [
            (&none, 5, Some(5)),
            (&none, 3600, Some(60)),
            (&none, 0, None),
            (&none, -1, None),
            (&strict, 5, Some(5)),
            (&strict, 11, Some(10)),
        ];
        for (settings, wanted, effective) in rows {
            let tenant = tenant(settings.clone());
            let wait = tenant.wait_for_command(Protocol::Http, wanted);
            assert_eq!(wait, effective, "{wanted} {settings}");
        }
    }

    #[test]
    fn payloads_are_accounted_in_steps_and_empty_ones_are_free() {
        let tenant = tenant(serde_json::json!({"minimum-message-size": 4096}));
        let sizes = [
            (0, 0),
            (1, 4096),
            (4096, 4096),
            (4097, 8192),
            (10 * 1024, 12 * 1024),
        ];
        for (payload, accounted) in sizes {
            assert_eq!(tenant.accounting_size(payload), accounted, "{payload}");
        }
    }

    #[test]
    fn unknown_members_are_refused_and_defaults_are_not_written() {
        assert!(serde_json::from_str::<Tenant>(r#"{"enabeld": true}"#).is_err());
        let text = serde_json::to_string(&Tenant::default()).unwrap();
        assert_eq!(text, r#"{"enabled":true}"#);
    }

    #[test]
    fn what_is_said_of_a_name_goes_before_what_is_said_of_all() {
        use SamplingMode::{All, Default, None as Never};
        let tracing = serde_json::json!({
            "sampling-mode": "none",
            "sampling-mode-per-auth-id": {"loud": "all", "usual": "default"},
        });
        let settings = tenant(serde_json::json!({"tracing": tracing}));
        for (auth_id, mode) in [("loud", All), ("usual", Default), ("other", Never)] {
            assert_eq!(
                settings.sampling_mode(Some(&auth_id.into())),
                mode,
                "{auth_id}"
            );
        }
        assert_eq!(settings.sampling_mode(None), Never);
        assert_eq!(tenant(serde_json::json!({})).sampling_mode(None), Default);
    }

    #[test]
    fn how_messages_are_sampled_is_a_string() {
        for (name, mode) in [
            ("default", SamplingMode::Default),
            ("all", SamplingMode::All),
            ("none", SamplingMode::None),
        ] {
            let value = serde_json::to_value(mode).unwrap();
            assert_eq!(value, name);
            assert_eq!(serde_json::from_value::<SamplingMode>(value).unwrap(), mode);
        }
        for other in [serde_json::json!("ALL"), serde_json::json!({"all": null})] {
            assert!(serde_json::from_value::<SamplingMode>(other).is_err());
        }
    }
}
