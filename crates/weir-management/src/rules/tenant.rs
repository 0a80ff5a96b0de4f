//! Tenants.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use weir_core::{
    AdapterSettings, ConnectionDuration, DataVolume, MAX_ID, MessageRate, MessageRates, Period,
    PeriodMode, RegistrationLimits, ResourceLimits, Tenant, Tracing,
};

use super::anchor;
use crate::answer::Failure;
use crate::object::{Broken, check_length, elements, leave_nulls_out, members, parse, tidy};

const LIMIT: &str = "a positive number or 0 is expected, or -1 for no limit";
/// The highest number of what is an int for Hono's components.
const MAX_INT: i64 = i32::MAX as i64;
/// Seconds of a hundred years. What takes longer than that to come was not meant.
const CENTURY: f64 = 100.0 * 365.0 * 24.0 * 3600.0;

/// A tenant's configuration; without a body, the default one.
pub(crate) fn tenant(body: Option<&[u8]>) -> Result<Tenant, Failure> {
    let Some(body) = body else {
        return Ok(Tenant::default());
    };
    let mut members = members(body)?;
    // They are given in another form than they are stored in.
    let anchors = members.remove("trusted-ca");
    tidy_all(&mut members)?;
    let mut tenant: Tenant = parse(members)?;
    check(&tenant)?;
    if let Some(anchors) = anchors.filter(|anchors| !anchors.is_null()) {
        let parsed = elements(anchors).and_then(anchor::parse_all);
        tenant.trusted_ca = parsed.map_err(|broken| broken.within("trusted-ca"))?;
    }
    Ok(tenant)
}

fn tidy_all(members: &mut Map<String, Value>) -> Result<(), Broken> {
    tidy::<RegistrationLimits>(members, "registration-limits")?;
    tidy::<ResourceLimits>(members, "resource-limits")?;
    tidy::<DataVolume>(members, "resource-limits.data-volume")?;
    tidy::<Period>(members, "resource-limits.data-volume.period")?;
    tidy::<ConnectionDuration>(members, "resource-limits.connection-duration")?;
    tidy::<Period>(members, "resource-limits.connection-duration.period")?;
    tidy::<MessageRates>(members, "resource-limits.message-rate")?;
    tidy::<MessageRate>(members, "resource-limits.message-rate.tenant")?;
    tidy::<MessageRate>(members, "resource-limits.message-rate.device")?;
    tidy::<Tracing>(members, "tracing")?;
    let adapters = members.get_mut("adapters").and_then(Value::as_array_mut);
    for (place, adapter) in adapters.into_iter().flatten().enumerate() {
        let Value::Object(adapter) = adapter else {
            return Err(Broken::new("", "an object is expected").at("adapters", place));
        };
        leave_nulls_out::<AdapterSettings>(adapter);
    }
    Ok(())
}

fn check(tenant: &Tenant) -> Result<(), Broken> {
    if let Some(alias) = &tenant.alias {
        let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if alias.is_empty() || !alias.bytes().all(is_allowed) {
            let rule = "only lower-case letters, digits and - are allowed";
            return Err(Broken::new("alias", rule));
        }
        check_length("alias", alias, MAX_ID)?;
    }
    if let Some(group) = &tenant.trust_anchor_group {
        check_length("trust-anchor-group", group, MAX_ID)?;
    }
    if tenant.minimum_message_size > MAX_INT.unsigned_abs() {
        let rule = format!("at most {MAX_INT} is expected");
        return Err(Broken::new("minimum-message-size", rule));
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
    let limits = [
        ("max-devices", limits.max_devices),
        (
            "max-credentials-per-device",
            limits.max_credentials_per_device,
        ),
    ];
    check_limits(&limits)?;
    check_ints(&limits)
}

fn check_resources(limits: &ResourceLimits) -> Result<(), Broken> {
    check_ints(&[("max-connections", limits.max_connections)])?;
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
    if let Some(MessageRates { tenant, device }) = &limits.message_rate {
        for (whose, rate) in [("tenant", tenant), ("device", device)] {
            let checked = rate.as_ref().map_or(Ok(()), check_rate);
            checked.map_err(|broken| broken.within(whose).within("message-rate"))?;
        }
    }
    Ok(())
}

fn check_rate(rate: &MessageRate) -> Result<(), Broken> {
    let per_second = rate.max_messages_per_second;
    // A tenant whose devices may not send at all is one that is disabled.
    if per_second <= 0.0 && per_second != -1.0 {
        let rule = "a number above 0 is expected, or -1 for no limit";
        return Err(Broken::new("max-messages-per-second", rule));
    }
    let burst = rate.burst.unwrap_or(1);
    if burst == 0 {
        return Err(Broken::new("burst", "at least 1 is expected"));
    }
    if f64::from(burst) / per_second > CENTURY {
        let rule = "as few take more than a hundred years for a burst";
        return Err(Broken::new("max-messages-per-second", rule));
    }
    Ok(())
}

fn check_limits(limits: &[(&str, i64)]) -> Result<(), Broken> {
    match limits.iter().find(|(_, limit)| *limit < -1) {
        Some((name, _)) => Err(Broken::new(*name, LIMIT)),
        None => Ok(()),
    }
}

fn check_ints(limits: &[(&str, i64)]) -> Result<(), Broken> {
    match limits.iter().find(|(_, limit)| *limit > MAX_INT) {
        Some((name, _)) => Err(Broken::new(*name, format!("at most {MAX_INT} is expected"))),
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
