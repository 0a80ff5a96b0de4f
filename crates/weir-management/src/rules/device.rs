//! Devices.

use axum::http::Uri;
use weir_core::{CommandEndpoint, Device, MAX_ID};

use crate::answer::Failure;
use crate::object::{Broken, check_length, members, parse, tidy};
use crate::request::is_of;

/// Stands for the device's id in a command endpoint's URI.
const DEVICE_ID: &str = "{{deviceId}}";

/// A device's registration; without a body, the default one.
pub(crate) fn device(body: Option<&[u8]>) -> Result<Device, Failure> {
    let Some(body) = body else {
        return Ok(Device::default());
    };
    let mut members = members(body)?;
    // The registry's own, which comes back with what was read and changed.
    members.remove("status");
    tidy::<CommandEndpoint>(&mut members, "command-endpoint")?;
    let device: Device = parse(members)?;
    check(&device)?;
    Ok(device)
}

fn check(device: &Device) -> Result<(), Broken> {
    for (name, ids) in [
        ("via", &device.via),
        ("viaGroups", &device.via_groups),
        ("memberOf", &device.member_of),
    ] {
        for (place, id) in ids.iter().enumerate() {
            check_name(id).map_err(|broken| broken.at(name, place))?;
        }
    }
    let is_behind_gateways = !device.via.is_empty() || !device.via_groups.is_empty();
    if !device.member_of.is_empty() && is_behind_gateways {
        let rule = "a gateway cannot be behind gateways (via, viaGroups)";
        return Err(Broken::new("memberOf", rule));
    }
    match &device.command_endpoint {
        Some(endpoint) => check_endpoint(endpoint).map_err(|b| b.within("command-endpoint")),
        None => Ok(()),
    }
}

fn check_name(id: &str) -> Result<(), Broken> {
    if id.is_empty() {
        return Err(Broken::new("", "is empty"));
    }
    check_length("", id, MAX_ID)
}

fn check_endpoint(endpoint: &CommandEndpoint) -> Result<(), Broken> {
    if endpoint.uri.is_empty() {
        return Err(Broken::missing("uri"));
    }
    if !is_absolute(&endpoint.uri.replace(DEVICE_ID, "id")) {
        return Err(Broken::new("uri", "is not an absolute URI"));
    }
    Ok(())
}

/// Whether it is a URI with a scheme and an authority: others lead nowhere.
pub(crate) fn is_absolute(uri: &str) -> bool {
    // RFC 3986 §2; the library takes more.
    is_of(uri, "-._~:/?#[]@!$&'()*+,;=%")
        && uri
            .parse::<Uri>()
            .is_ok_and(|uri| uri.scheme().is_some() && uri.authority().is_some())
}
