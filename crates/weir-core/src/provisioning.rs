//! Devices that are registered by themselves, and that applications are told so.

use std::sync::Arc;

use bytestring::ByteString;
use serde_json::Value;

use crate::{Defaults, DeviceId, Downstream, Endpoint, LookupError, Pipeline, Reason, TenantId};

/// Says that a device was registered by itself (northbound contract §8.3).
const CONTENT_TYPE: ByteString =
    ByteString::from_static("application/vnd.eclipse-hono-device-provisioning-notification");

/// Tells applications, with an event, of a device that was registered by itself, and notes that they
/// were told. `gateway` sent the message that had it registered.
///
/// Two processes may tell them at the same time: each device is told of at least once.
///
/// # Errors
/// If nobody takes the event or the note cannot be made. The device may try again.
pub(crate) async fn announce(
    pipeline: &Pipeline,
    tenant: &TenantId,
    device: &DeviceId,
    gateway: Option<&DeviceId>,
) -> Result<(), Reason> {
    let event = event(tenant, device, gateway);
    let outlet = pipeline.northbound().outlet(tenant, Endpoint::Event);
    if let Err(reason) = outlet.publish(event).await.disposition {
        tracing::warn!(
            tenant = tenant.as_str(),
            device = device.as_str(),
            reason = reason.name(),
            "no application took the notification of a device that was registered by itself"
        );
        return Err(Reason::NotAnnounced);
    }
    let noted = pipeline.registry().announced(tenant, device).await;
    noted.or_else(|error| match error {
        LookupError::NotFound => Ok(()),
        LookupError::Unavailable(cause) => {
            let tenant = tenant.as_str();
            tracing::warn!(tenant, cause, "the registry did not note a notification");
            Err(Reason::RegistryUnavailable)
        }
    })
}

fn event(tenant: &TenantId, device: &DeviceId, gateway: Option<&DeviceId>) -> Downstream {
    let text = |name: &str, value: &str| (name.to_owned(), Value::from(value));
    let mut properties = vec![
        text("hono_registration_status", "NEW"),
        text("tenant_id", tenant.as_str()),
    ];
    if let Some(gateway) = gateway {
        properties.push(text("gateway_id", gateway.as_str()));
    }
    let defaults = Defaults {
        properties,
        ..Defaults::default()
    };
    Downstream {
        origin_address: ByteString::from_static("event"),
        defaults: Arc::new(defaults),
        ..Downstream::notification(tenant, device, "hono-device-registry", CONTENT_TYPE)
    }
}
