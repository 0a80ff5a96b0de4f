//! Tenants.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use weir_core::{AdapterSettings, Period, PeriodMode, RegistrationLimits, ResourceLimits, Tenant};

use super::anchor;
use crate::answer::Failure;
use crate::object::{Broken, check_objects, elements, members, parse};

const LIMIT: &str = "a positive number or 0 is expected, or -1 for no limit";

/// A tenant's configuration; without a body, the default one.
pub(crate) fn tenant(body: Option<&[u8]>) -> Result<Tenant, Failure> {
    let Some(body) = body else {
        return Ok(Tenant::default());
    };
    let mut members = members(body)?;
    // They are given in another form than they are stored in.
    let anchors = members.remove("trusted-ca");
    check_types(&members)?;
    let mut tenant: Tenant = parse(members)?;
    check(&tenant)?;
    if let Some(anchors) = anchors {
        let parsed = elements(anchors).and_then(anchor::parse_all);
        tenant.trusted_ca = parsed.map_err(|broken| broken.within("trusted-ca"))?;
    }
    Ok(tenant)
}

fn check_types(members: &Map<String, Value>) -> Result<(), Broken> {
    let objects = [
        "registration-limits",
        "resource-limits",
        "resource-limits.data-volume",
        "resource-limits.data-volume.period",
        "resource-limits.connection-duration",
        "resource-limits.connection-duration.period",
        "tracing",
    ];
    check_objects(members, &objects)?;
    let adapters = members.get("adapters").and_then(Value::as_array);
    let other = adapters.and_then(|all| all.iter().position(|one| !one.is_object()));
    match other {
        Some(place) => Err(Broken::new("", "an object is expected").at("adapters", place)),
        None => Ok(()),
    }
}

fn check(tenant: &Tenant) -> Result<(), Broken> {
    if let Some(alias) = &tenant.alias {
        let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if alias.is_empty() || !alias.bytes().all(is_allowed) {
            let rule = "only lower-case letters, digits and - are allowed";
            return Err(Broken::new("alias", rule));
        }
    }
    if let Some(adapters) = &tenant.adapters {
        check_adapters(adapters)?;
    }
    if let Some(limits) = &tenant.registration_limits {
        check_registration(limits).map_err(|broken| broken.within("registration-limits"))?;
    }
    if let Some(limits) = &tenant.resource_limits {
        check_resources(limits).map_err(|broken| broken.within("resource-limits"))?;
    }
    Ok(())
}

fn check_adapters(adapters: &[AdapterSettings]) -> Result<(), Broken> {
    if adapters.is_empty() {
        let rule = "leave it out, or list at least one";
        return Err(Broken::new("adapters", rule));
    }
    let mut kinds = BTreeSet::new();
    for (place, adapter) in adapters.iter().enumerate() {
        if adapter.kind.is_empty() {
            return Err(Broken::missing("type").at("adapters", place));
        }
        if !kinds.insert(&adapter.kind) {
            let broken = Broken::new("type", "another adapter has the same");
            return Err(broken.at("adapters", place));
        }
    }
    Ok(())
}

fn check_registration(limits: &RegistrationLimits) -> Result<(), Broken> {
    check_limits(&[
        ("max-devices", limits.max_devices),
        (
            "max-credentials-per-device",
            limits.max_credentials_per_device,
        ),
    ])
}

fn check_resources(limits: &ResourceLimits) -> Result<(), Broken> {
    check_limits(&[
        ("max-connections", limits.max_connections),
        ("max-ttl", limits.max_ttl),
        ("max-ttl-telemetry-qos0", limits.max_ttl_telemetry_qos0),
        ("max-ttl-telemetry-qos1", limits.max_ttl_telemetry_qos1),
        ("max-ttl-command-response", limits.max_ttl_command_response),
    ])?;
    if let Some(volume) = &limits.data_volume {
        check_limits(&[("max-bytes", volume.max_bytes)])
            .and_then(|()| check_period(volume.period.as_ref()))
            .map_err(|broken| broken.within("data-volume"))?;
    }
    if let Some(duration) = &limits.connection_duration {
        check_limits(&[("max-minutes", duration.max_minutes)])
            .and_then(|()| check_period(duration.period.as_ref()))
            .map_err(|broken| broken.within("connection-duration"))?;
    }
    Ok(())
}

fn check_limits(limits: &[(&str, i64)]) -> Result<(), Broken> {
    match limits.iter().find(|(_, limit)| *limit < -1) {
        Some((name, _)) => Err(Broken::new(*name, LIMIT)),
        None => Ok(()),
    }
}

fn check_period(period: Option<&Period>) -> Result<(), Broken> {
    match period {
        Some(Period {
            mode: PeriodMode::Days,
            no_of_days: None | Some(0),
        }) => {
            let rule = "at least 1 is required in mode days";
            Err(Broken::new("period.no-of-days", rule))
        }
        _ => Ok(()),
    }
}
