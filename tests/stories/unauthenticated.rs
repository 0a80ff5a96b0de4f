//! A gateway that asks no device who it is, and one that tells applications of devices that connect.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::kit::{
    Answer, Application, Command, Commander, Device, Fate, Gateway, MqttDevice, content_type,
    property, story, string, text,
};

const ANYBODY: [(&str, &str); 2] = [
    ("WEIR__HTTP__AUTHENTICATION_REQUIRED", "false"),
    ("WEIR__MQTT__AUTHENTICATION_REQUIRED", "false"),
];

async fn anybody(gateway: &Gateway, version: u8) -> MqttDevice {
    let address = gateway.address("mqtt");
    let connected = match version {
        4 => MqttDevice::v3_at(address, "anybody", None).await,
        _ => MqttDevice::v5_at(address, "anybody", None).await,
    };
    connected.unwrap()
}

#[test]
fn any_registered_device_may_send_over_http_and_mqtt() {
    story(async {
        let gateway = Gateway::start_with(&ANYBODY).await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let other = gateway.device(tenant, "other", json!({})).await;
        let address = format!("telemetry/{tenant}");
        let mut application = Application::consume(&gateway, &address).await;
        let mut arrived = async |id: &str, payload: &str| {
            let message = application.accept_next().await;
            assert_eq!(property(&message, "device_id"), string(id));
            assert_eq!(text(&message), payload);
        };
        for (id, payload) in [(&device.id, "1"), (&other.id, "2")] {
            let url = gateway.http(&format!("/telemetry/{tenant}/{id}"));
            let sent = Client::new().put(url).body(payload).send().await;
            assert_eq!(sent.unwrap().status(), 202);
            arrived(id, payload).await;
        }
        for version in [4, 5] {
            let mut client = anybody(&gateway, version).await;
            for (id, payload) in [(&device.id, "3"), (&other.id, "4")] {
                let topic = format!("telemetry/{tenant}/{id}");
                let (answer, ()) =
                    tokio::join!(client.publish(&topic, payload), arrived(id, payload));
                assert_eq!(answer, Answer::Acknowledged { success: true });
            }
        }
    });
}

#[test]
fn what_names_no_registered_device_is_refused() {
    story(async {
        let gateway = Gateway::start_with(&ANYBODY).await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let rows = [
            (format!("telemetry/{tenant}"), 404),
            (format!("telemetry//{}", device.id), 404),
            (format!("telemetry/nobody/{}", device.id), 404),
            (format!("telemetry/{tenant}/stranger"), 404),
        ];
        for (path, status) in &rows {
            let sent = Client::new()
                .put(gateway.http(&format!("/{path}")))
                .body("x");
            assert_eq!(sent.send().await.unwrap().status(), *status, "{path}");
            for version in [4, 5] {
                let mut client = anybody(&gateway, version).await;
                assert_eq!(client.publish(path, "x").await, Answer::Closed, "{path}");
            }
        }
        let disabled = json!({"enabled": false});
        let path = format!("tenants/{tenant}");
        gateway.manage(Method::PUT, &path, &disabled).await;
        let url = gateway.http(&format!("/telemetry/{tenant}/{}", device.id));
        let sent = Client::new().put(url).body("x").send().await;
        assert_eq!(sent.unwrap().status(), 403);
    });
}

#[test]
fn commands_reach_whom_a_subscription_names() {
    story(async {
        let gateway = Gateway::start_with(&ANYBODY).await;
        let device = gateway.tenant_and_device().await;
        let (tenant, id) = (&device.tenant, &device.id);
        let mut client = anybody(&gateway, 4).await;
        for filter in [
            "command///req/#".to_owned(),
            format!("command/{tenant}/+/req/#"),
        ] {
            assert_eq!(client.subscribe(&filter, 1).await, None, "{filter}");
        }
        let filter = format!("command/{tenant}/{id}/req/#");
        assert_eq!(client.subscribe(&filter, 1).await, Some(1));
        let mut commander = Commander::of(&gateway, tenant).await;
        let command = Command::one_way(&device, "on", "1");
        let (fate, arrived) = tokio::join!(commander.send(&command), client.command());
        assert_eq!(fate, Fate::Accepted);
        assert_eq!(arrived.topic, format!("command/{tenant}/{id}/req//on"));
    });
}

/// Nobody gets past HTTP's question who he is by way of MQTT.
#[test]
fn websockets_are_there_only_where_http_asks_no_more_than_mqtt() {
    story(async {
        let [http, mqtt] = ANYBODY;
        let rows = [
            (vec![], 400),
            (vec![http], 400),
            (vec![mqtt], 404),
            (vec![http, mqtt], 400),
            (vec![("WEIR__MQTT__WEBSOCKETS", "false")], 404),
        ];
        for (environment, status) in rows {
            let gateway = Gateway::start_with(&environment).await;
            // No handshake, but somebody is there to say so.
            let answer = Client::new().get(gateway.http("/mqtt")).send().await;
            assert_eq!(answer.unwrap().status(), status, "{environment:?}");
        }
    });
}

#[test]
fn applications_may_be_told_of_devices_that_come_and_go() {
    story(async {
        let events = [("WEIR__CONNECTION_EVENTS", "events")];
        let gateway = Gateway::start_with(&events).await;
        let device = gateway.tenant_and_device().await;
        let address = format!("event/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let client = MqttDevice::v3(&gateway, &device).await.unwrap();
        check_told(&mut application, &device, "connected").await;
        drop(client);
        check_told(&mut application, &device, "disconnected").await;
        // A gateway that is stopped says so of its devices, too.
        application.leave().await;
        let client = MqttDevice::v5(&gateway, &device).await.unwrap();
        let gateway = gateway.stop_and_restart().await;
        drop(client);
        let mut application = Application::consume(&gateway, &address).await;
        check_told(&mut application, &device, "connected").await;
        check_told(&mut application, &device, "disconnected").await;
    });
}

/// The next message has to say what has happened to the device's connection.
async fn check_told(application: &mut Application, device: &Device, cause: &str) {
    let message = application.accept_next().await;
    let kind = "application/vnd.eclipse-hono-dc-notification+json";
    assert_eq!(content_type(&message).as_deref(), Some(kind));
    assert_eq!(property(&message, "device_id"), string(&device.id));
    assert_eq!(property(&message, "orig_adapter"), None);
    assert_eq!(property(&message, "orig_address"), None);
    let body: Value = serde_json::from_str(&text(&message)).unwrap();
    let expected = json!({"cause": cause, "remote-id": device.id, "source": "hono-mqtt"});
    assert_eq!(body, expected);
}

#[test]
fn the_log_is_told_otherwise_and_nothing_of_a_device_that_was_deleted() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let mut client = MqttDevice::v3(&gateway, &device).await.unwrap();
        gateway.logged("connected").await;
        let path = format!("devices/{}/{}", device.tenant, device.id);
        gateway.call(Method::DELETE, &path, None).await;
        client.end().await;
        // Whoever comes next is told of after it would have been.
        let next = gateway.device(&device.tenant, "next", json!({})).await;
        drop(MqttDevice::v3(&gateway, &next).await.unwrap());
        let line = gateway.logged("disconnected").await;
        assert!(line.contains("next"), "{line}");
    });
}
