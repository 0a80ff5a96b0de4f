//! The event that tells of a new device is stored before the device goes on: it waits for applications,
//! and the device for it.

use reqwest::Method;
use serde_json::json;

use super::{
    assert_announced, authorised, consume_events, consume_telemetry, open_tenant, registered,
    send_for,
};
use crate::kit::{
    Answer, Application, Authority, Gateway, MqttDevice, TlsGateway, basic, payload, property,
    refusal, story, string, subject,
};

/// The store takes no event.
const FULL: [(&str, &str); 1] = [("WEIR__NORTHBOUND__EVENTS__MAX_EVENTS_PER_TENANT", "0")];

/// A device of the tenant sends an event of its own, which has to be the next one.
async fn assert_nothing_before_next(gateway: &Gateway, tenant: &str, events: &mut Application) {
    let device = gateway.device(tenant, "other", json!({})).await;
    let request = reqwest::Client::new().post(gateway.http("/event"));
    let answer = basic(request, &device).body("fire").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(payload(&events.accept_next().await), b"fire");
}

#[test]
fn an_application_that_comes_later_is_told_of_a_device_that_has_gone_on() {
    story(async {
        let gateway = Gateway::start().await;
        let tenant = gateway.tenant(json!({})).await;
        let sender = gateway.device(&tenant, "gw", authorised()).await;
        let mut telemetry = consume_telemetry(&gateway, &tenant).await;
        let mut v3 = MqttDevice::v3(&gateway, &sender).await.unwrap();
        let topic = format!("telemetry/{tenant}/by-mqtt");
        for _ in 0..2 {
            let sent = send_for(&gateway, &sender, "by-http");
            let (answer, message) = tokio::join!(sent, telemetry.accept_next());
            assert_eq!(answer.status(), 202);
            assert_eq!(property(&message, "device_id"), string("by-http"));
            let (answer, _) = tokio::join!(v3.publish(&topic, "x"), telemetry.accept_next());
            assert_eq!(answer, Answer::Acknowledged { success: true });
        }
        let gateway = gateway.kill_and_restart().await;
        let mut events = consume_events(&gateway, &tenant).await;
        let mut told = [events.accept_next().await, events.accept_next().await];
        told.sort_by_key(|event| format!("{:?}", property(event, "device_id")));
        for (event, edge) in told.iter().zip(["by-http", "by-mqtt"]) {
            assert_announced(event, &tenant, edge, Some("gw"));
            registered(&gateway, &tenant, edge, true).await;
        }
        assert_nothing_before_next(&gateway, &tenant, &mut events).await;
    });
}

#[test]
fn a_device_waits_while_the_event_that_tells_of_it_cannot_be_stored() {
    story(async {
        let gateway = Gateway::start_with(&FULL).await;
        let tenant = gateway.tenant(json!({})).await;
        let sender = gateway.device(&tenant, "gw", authorised()).await;
        // Telemetry would be taken.
        let telemetry = consume_telemetry(&gateway, &tenant).await;
        for _ in 0..2 {
            let answer = send_for(&gateway, &sender, "edge").await;
            assert_eq!(answer.status(), 503);
            assert_eq!(answer.headers()["retry-after"], "2");
        }
        let topic = format!("telemetry/{tenant}/edge");
        for mqtt in [
            MqttDevice::v3(&gateway, &sender).await,
            MqttDevice::v5(&gateway, &sender).await,
        ] {
            assert_eq!(mqtt.unwrap().publish(&topic, "x").await, Answer::Closed);
        }
        registered(&gateway, &tenant, "edge", false).await;

        drop(telemetry);
        let gateway = gateway.kill_and_restart().await;
        let mut telemetry = consume_telemetry(&gateway, &tenant).await;
        let sent = send_for(&gateway, &sender, "edge");
        let (answer, message) = tokio::join!(sent, telemetry.accept_next());
        assert_eq!(answer.status(), 202);
        assert_eq!(property(&message, "device_id"), string("edge"));
        registered(&gateway, &tenant, "edge", true).await;
        let mut events = consume_events(&gateway, &tenant).await;
        let event = events.accept_next().await;
        assert_announced(&event, &tenant, "edge", Some("gw"));
        assert_nothing_before_next(&gateway, &tenant, &mut events).await;
    });
}

#[test]
fn an_application_that_comes_later_is_told_of_a_certificates_device() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let tenant = open_tenant(&gateway, &authority, json!({})).await;
        let visitor = gateway.visitor(&authority.issue(&subject("sensor")));
        let mut telemetry = consume_telemetry(&gateway, &tenant).await;
        let (answer, _) = tokio::join!(visitor.upload("x"), telemetry.accept_next());
        assert_eq!(answer.0, 202);
        let mut mqtt = visitor.v5("c", None).await.unwrap();
        let publish = mqtt.publish("telemetry", "x");
        let (answer, _) = tokio::join!(publish, telemetry.accept_next());
        assert_eq!(answer, Answer::Acknowledged { success: true });

        // Its id was made up, once.
        let found = gateway.get(&format!("devices/{tenant}")).await;
        assert_eq!(found["total"], 1, "{found}");
        let id = found["result"][0]["id"].as_str().unwrap();
        assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
        registered(&gateway, &tenant, id, true).await;
        let mut events = consume_events(&gateway, &tenant).await;
        assert_announced(&events.accept_next().await, &tenant, id, None);
        assert_nothing_before_next(&gateway, &tenant, &mut events).await;
    });
}

#[test]
fn a_certificates_device_waits_while_the_event_that_tells_of_it_cannot_be_stored() {
    story(async {
        let gateway = TlsGateway::start_with(&FULL).await;
        let authority = Authority::new("Acme Devices");
        let tenant = open_tenant(&gateway, &authority, json!({})).await;
        let visitor = gateway.visitor(&authority.issue(&subject("sensor")));
        let _telemetry = consume_telemetry(&gateway, &tenant).await;
        assert_eq!(visitor.upload("x").await.0, 503);
        let request = visitor.request(Method::POST, "/event").body("x");
        assert_eq!(request.send().await.unwrap().status(), 503);
        let unavailable = ["ServiceUnavailable", "ServerUnavailable"];
        let attempts = [visitor.v3("c", None).await, visitor.v5("c", None).await];
        assert_eq!(attempts.map(refusal), unavailable);
        // It stays the same device over all attempts.
        let found = gateway.get(&format!("devices/{tenant}")).await;
        assert_eq!(found["total"], 1, "{found}");
        let id = found["result"][0]["id"].as_str().unwrap();
        registered(&gateway, &tenant, id, false).await;
    });
}
