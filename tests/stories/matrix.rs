//! The failure matrix of the device contract (§8.1, §8.3, §8.4) as far as passwords reach it over
//! HTTP and MQTT: a row a case. What is wrong with a message itself is in [`content`]; what consumers do
//! is in `settlement`.

mod anonymous;
mod content;
mod downstream;
mod line;
mod messages;
mod tokens;

use reqwest::{Client, Method};
use serde_json::json;

use crate::kit::{Answer, Application, Device, Gateway, MqttDevice, basic, mqtt_connect, story};

/// A world with one of everything that can be wrong.
struct World {
    gateway: Gateway,
    /// In a tenant that is fine, with a consumer.
    good: Device,
    /// Its registration is disabled, its credentials are not. Otherwise it could act for `orphan`.
    disabled_device: Device,
    /// Its credentials are disabled.
    disabled_credentials: Device,
    /// Its only secret has expired.
    expired: Device,
    /// Its tenant is disabled.
    disabled_tenant: Device,
    /// Its tenant may use neither protocol.
    no_adapter: Device,
    /// A gateway that may act for `edge`, whose registration is disabled, and not for `stranger`.
    concentrator: Device,
    _application: Application,
}

async fn world() -> World {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant(json!({})).await;
    let good = gateway.device(&tenant, "sensor", json!({})).await;
    let disabled_device = gateway
        .device(&tenant, "off", json!({"enabled": false}))
        .await;
    let disabled_credentials = gateway.device(&tenant, "locked", json!({})).await;
    gateway
        .credentials(&disabled_credentials, json!({"enabled": false}))
        .await;
    let expired = gateway.device(&tenant, "expired", json!({})).await;
    let secret = json!([{"pwd-plain": expired.password, "not-after": "2020-01-01T00:00:00Z"}]);
    gateway
        .credentials(&expired, json!({"secrets": secret}))
        .await;
    let concentrator = gateway.device(&tenant, "concentrator", json!({})).await;
    let edge = json!({"enabled": false, "via": ["concentrator"]});
    gateway.device(&tenant, "edge", edge).await;
    let orphan = json!({"via": ["off"]});
    gateway.device(&tenant, "orphan", orphan).await;
    gateway.device(&tenant, "stranger", json!({})).await;

    let off = gateway.tenant(json!({})).await;
    let disabled_tenant = gateway.device(&off, "sensor", json!({})).await;
    gateway
        .manage(
            Method::PUT,
            &format!("tenants/{off}"),
            &json!({"enabled": false}),
        )
        .await;
    let adapters = json!({"adapters": [{"type": "hono-coap", "enabled": true}]});
    let coap_only = gateway.tenant(adapters).await;
    let no_adapter = gateway.device(&coap_only, "sensor", json!({})).await;

    let application = Application::consume(&gateway, &format!("telemetry/{tenant}")).await;
    World {
        gateway,
        good,
        disabled_device,
        disabled_credentials,
        expired,
        disabled_tenant,
        no_adapter,
        concentrator,
        _application: application,
    }
}

fn with_password(device: &Device, username: &str, password: &str) -> Device {
    Device {
        username: username.into(),
        password: password.into(),
        ..device.clone()
    }
}

#[test]
fn logging_in() {
    story(async {
        let world = world().await;
        let good = &world.good;
        let tenant = &good.tenant;
        let wrong = |username: &str, password: &str| with_password(good, username, password);
        let unknown_id = format!("nobody@{tenant}");
        // case, login, HTTP status, whether HTTP challenges, CONNACK of MQTT 3.1.1 and 5
        let rows = [
            ("good", good.clone(), 202, false, 0, 0),
            (
                "malformed user name",
                wrong("sensor", "x"),
                401,
                true,
                4,
                0x86,
            ),
            (
                "wrong password",
                wrong(&good.username, "x"),
                401,
                false,
                4,
                0x86,
            ),
            (
                "no such auth-id",
                wrong(&unknown_id, "x"),
                401,
                false,
                4,
                0x86,
            ),
            (
                "unknown tenant",
                wrong("sensor@nowhere", "x"),
                401,
                false,
                4,
                0x86,
            ),
            (
                "credentials disabled",
                world.disabled_credentials.clone(),
                401,
                false,
                4,
                0x86,
            ),
            (
                "all secrets expired",
                world.expired.clone(),
                401,
                false,
                4,
                0x86,
            ),
            (
                "tenant disabled",
                world.disabled_tenant.clone(),
                403,
                false,
                5,
                0x87,
            ),
            (
                "tenant disabled, wrong password",
                with_password(&world.disabled_tenant, &world.disabled_tenant.username, "x"),
                403,
                false,
                5,
                0x87,
            ),
            (
                "adapter disabled",
                world.no_adapter.clone(),
                403,
                false,
                5,
                0x87,
            ),
            (
                "device disabled",
                world.disabled_device.clone(),
                404,
                false,
                5,
                0x87,
            ),
        ];
        for (case, device, status, challenges, v3, v5) in rows {
            let request = Client::new().post(world.gateway.http("/telemetry"));
            let answer = basic(request, &device).body("x").send().await.unwrap();
            assert_eq!(answer.status(), status, "{case}");
            let count = answer.headers().get_all("WWW-Authenticate").iter().count();
            assert_eq!(count, if challenges { 2 } else { 0 }, "{case}");
            let login = (
                Some(device.username.as_str()),
                Some(device.password.as_str()),
            );
            let connack = mqtt_connect(&world.gateway, 4, login.0, login.1).await;
            assert_eq!(connack, Some(v3), "{case}, MQTT 3.1.1");
            let connack = mqtt_connect(&world.gateway, 5, login.0, login.1).await;
            assert_eq!(connack, Some(v5), "{case}, MQTT 5");
        }
        let bare = Client::new()
            .post(world.gateway.http("/telemetry"))
            .body("x");
        let answer = bare.send().await.unwrap();
        assert_eq!(answer.status(), 401, "no credentials");
        assert_eq!(
            answer.headers().get_all("WWW-Authenticate").iter().count(),
            2
        );
        assert_eq!(
            mqtt_connect(&world.gateway, 4, None, None).await,
            Some(4),
            "no credentials"
        );
        assert_eq!(
            mqtt_connect(&world.gateway, 5, None, None).await,
            Some(0x86)
        );
    });
}

#[test]
fn what_changes_while_connected() {
    story(async {
        let gateway = Gateway::start().await;
        // case, what is changed, and how; the next message of a connected device ends its connection
        let disabled = json!({"enabled": false});
        let no_mqtt = json!({"adapters": [{"type": "hono-http", "enabled": true}]});
        let rows = [
            (
                "device disabled",
                "device",
                Method::PUT,
                disabled.clone(),
                404,
            ),
            ("device deleted", "device", Method::DELETE, json!({}), 401),
            ("tenant disabled", "tenant", Method::PUT, disabled, 403),
            ("adapter disabled", "tenant", Method::PUT, no_mqtt, 202),
            ("tenant deleted", "tenant", Method::DELETE, json!({}), 401),
        ];
        for (case, what, method, body, http_status) in rows {
            let device = gateway.tenant_and_device().await;
            let address = format!("telemetry/{}", device.tenant);
            let mut application = Application::consume(&gateway, &address).await;
            let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
            let (answer, _) = tokio::join!(mqtt.publish("t", "x"), application.accept_next());
            assert_eq!(answer, Answer::Acknowledged { success: true }, "{case}");
            let path = match what {
                "device" => format!("devices/{}/{}", device.tenant, device.id),
                _ => format!("tenants/{}", device.tenant),
            };
            gateway.manage(method, &path, &body).await;
            let answer = mqtt.publish("t/?on-error=ignore", "x").await;
            assert_eq!(answer, Answer::Closed, "{case}");
            let request = basic(Client::new().post(gateway.http("/telemetry")), &device);
            let answer = request.body("x").send().await.unwrap();
            assert_eq!(answer.status(), http_status, "{case}");
        }
    });
}
