//! Commands: from an application to a device and, if one is wanted, the response back. What wrong commands
//! are told is in [`malformed`], who else must not get one in [`apart`], whose turn is over in [`end`].

mod apart;
mod end;
mod gateways;
mod http;
mod malformed;
mod mqtt;

use fe2o3_amqp::types::messaging::MessageId;
use fe2o3_amqp::types::primitives::SimpleValue;

use crate::kit::{
    Accepted, Application, Device, Gateway, content_type, payload, property, string, text,
};

const SUBSCRIBED: Option<u8> = Some(1);
const FILTER: &str = "command///req/#";

async fn events(gateway: &Gateway, tenant: &str) -> Application {
    Application::consume(gateway, &format!("event/{tenant}")).await
}

async fn telemetry(gateway: &Gateway, tenant: &str) -> Application {
    Application::consume(gateway, &format!("telemetry/{tenant}")).await
}

/// Where an application of the tenant listens for responses.
fn reply_address(tenant: &str) -> String {
    format!("command_response/{tenant}/replies/1")
}

async fn replies(gateway: &Gateway, tenant: &str) -> Application {
    Application::consume(gateway, &reply_address(tenant)).await
}

/// The next event has to say whether the device can be reached (northbound contract §1.7).
async fn assert_told(events: &mut Application, device: &Device, ttd: i32) {
    let event = events.accept_next().await;
    let kind = "application/vnd.eclipse-hono-empty-notification";
    assert_eq!(content_type(&event).as_deref(), Some(kind));
    assert_eq!(payload(&event), b"");
    assert_eq!(property(&event, "device_id"), string(&device.id));
    assert_eq!(property(&event, "ttd"), Some(SimpleValue::Int(ttd)));
    assert_eq!(property(&event, "qos"), Some(SimpleValue::Int(1)));
    assert!(event.header.as_ref().unwrap().durable);
    let to = event.properties.as_ref().unwrap().to.as_deref();
    assert_eq!(to, Some(&*format!("event/{}", device.tenant)));
}

/// What a response has to say (northbound contract §1.10).
fn assert_response(response: &Accepted, device: &Device, id: &str, status: i32, body: &str) {
    let properties = response.properties.as_ref().unwrap();
    let to = properties.to.as_deref();
    assert_eq!(to, Some(&*reply_address(&device.tenant)));
    let expected = MessageId::String(id.to_owned());
    assert_eq!(properties.correlation_id.as_ref(), Some(&expected));
    assert!(properties.creation_time.is_some());
    let status = Some(SimpleValue::Int(status));
    assert_eq!(property(response, "status"), status);
    assert_eq!(property(response, "device_id"), string(&device.id));
    assert_eq!(property(response, "tenant_id"), string(&device.tenant));
    assert_eq!(text(response), body);
}
