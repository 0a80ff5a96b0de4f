//! What of the usage outlives the process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Period, Timestamp};

/// The sums of all tenants that have limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UsageSnapshot {
    /// By the tenant's id.
    pub tenants: BTreeMap<String, TenantSums>,
}

/// The sums of one tenant; what has no limit has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TenantSums {
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_volume: Option<PeriodSum>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_duration: Option<PeriodSum>,
}

/// What was used in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PeriodSum {
    /// When the first period began.
    pub effective_since: Timestamp,
    /// How long periods are.
    pub period: Period,
    /// From when on has been counted: the period's beginning, or later if counting began within it.
    pub since: Timestamp,
    /// Bytes or seconds.
    pub consumed: u64,
}

impl TenantSums {
    pub(super) fn is_empty(&self) -> bool {
        self.data_volume.is_none() && self.connection_duration.is_none()
    }
}
