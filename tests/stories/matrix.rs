//! The failure matrix of the device contract (§8.1, §8.3, §8.4) as far as passwords reach it over
//! HTTP and MQTT: a row a case. What consumers do is in `settlement`.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::kit::{Answer, Application, Device, Gateway, MqttDevice, basic, mqtt_connect, story};

/// A world with one of everything that can be wrong.
struct World {
    gateway: Gateway,
    /// In a tenant that is fine, with a consumer.
    good: Device,
    /// Its registration is disabled, its credentials are not.
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
fn content_and_addresses_over_http() {
    story(async {
        let world = world().await;
        let (good, gw) = (&world.good, &world.concentrator);
        let tenant = &good.tenant;
        let (own, foreign) = (
            format!("/telemetry/{tenant}/sensor"),
            "/telemetry/other/sensor".to_owned(),
        );
        let edge = |device: &str| format!("/telemetry/{tenant}/{device}");
        let empty = "application/vnd.eclipse-hono-empty-notification";
        let big = "x".repeat(2049);
        // case, device, method, path, header, body, status
        let rows: Vec<(_, _, _, String, Option<(_, _)>, &str, u16)> = vec![
            (
                "largest payload",
                good,
                "POST",
                "/telemetry".into(),
                None,
                &big[1..],
                202,
            ),
            (
                "payload too large",
                good,
                "POST",
                "/telemetry".into(),
                None,
                &big,
                413,
            ),
            (
                "unknown endpoint",
                good,
                "POST",
                "/status".into(),
                None,
                "x",
                404,
            ),
            ("method", good, "DELETE", own.clone(), None, "x", 405),
            ("method", good, "POST", own.clone(), None, "x", 405),
            (
                "tenant without device",
                good,
                "PUT",
                format!("/telemetry/{tenant}"),
                None,
                "x",
                404,
            ),
            (
                "incomplete",
                good,
                "PUT",
                "/telemetry".into(),
                None,
                "x",
                404,
            ),
            (
                "broken encoding",
                good,
                "PUT",
                "/telemetry//%zz".into(),
                None,
                "x",
                400,
            ),
            ("foreign tenant", good, "PUT", foreign, None, "x", 403),
            (
                "QoS 2",
                good,
                "POST",
                "/telemetry".into(),
                Some(("QoS-Level", "2")),
                "x",
                400,
            ),
            (
                "event, QoS 0",
                good,
                "POST",
                "/event".into(),
                Some(("QoS-Level", "0")),
                "x",
                400,
            ),
            (
                "empty, no type",
                good,
                "POST",
                "/telemetry".into(),
                None,
                "",
                400,
            ),
            (
                "marked empty",
                good,
                "POST",
                "/telemetry".into(),
                Some(("Content-Type", empty)),
                "x",
                400,
            ),
            (
                "notification",
                good,
                "POST",
                "/telemetry".into(),
                Some(("Content-Type", empty)),
                "",
                202,
            ),
            (
                "bad ttd",
                good,
                "POST",
                "/telemetry".into(),
                Some(("hono-ttd", "soon")),
                "x",
                202,
            ),
            (
                "edge device disabled",
                gw,
                "PUT",
                edge("edge"),
                None,
                "x",
                404,
            ),
            (
                "edge device unknown",
                gw,
                "PUT",
                edge("nobody"),
                None,
                "x",
                404,
            ),
            (
                "gateway not authorised",
                gw,
                "PUT",
                edge("stranger"),
                None,
                "x",
                403,
            ),
        ];
        for (case, device, method, path, header, body, status) in rows {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let url = world.gateway.http(&path);
            let mut request = basic(Client::new().request(method, url), device);
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            let answer = request.body(body.to_owned()).send().await.unwrap();
            assert_eq!(answer.status(), status, "{case}: {path}");
            if status >= 400 && answer.status() != StatusCode::METHOD_NOT_ALLOWED {
                let kind = answer.headers()["Content-Type"]
                    .to_str()
                    .unwrap()
                    .to_owned();
                let text = answer.text().await.unwrap();
                if case == "unknown endpoint" {
                    assert!(
                        kind.starts_with("text/html") && text.contains("not found"),
                        "{text}"
                    );
                } else {
                    assert!(kind.starts_with("application/json"), "{case}: {kind}");
                    let error: Value = serde_json::from_str(&text).unwrap();
                    assert!(error["error"].is_string(), "{case}: {text}");
                }
            }
        }
        // Counted: the refused by registration and the two that went through; see §7.3.
        let metrics = world.gateway.metrics().await;
        assert_eq!(metrics.uploads(tenant, "unprocessable"), 3);
    });
}

#[test]
fn content_and_addresses_over_mqtt() {
    story(async {
        let world = world().await;
        let (good, gw) = (&world.good, &world.concentrator);
        let tenant = &good.tenant;
        let own = format!("t/{tenant}");
        let empty = "t/?content-type=application%2Fvnd.eclipse-hono-empty-notification";
        // case, device, topic, payload, whether the error is terminal, whether it is counted
        let rows = [
            ("unknown endpoint", good, "status", "x", false, false),
            ("malformed topic", good, "/telemetry", "x", false, false),
            ("tenant without device", good, &own, "x", false, false),
            ("foreign tenant", good, "t/other/sensor", "x", false, false),
            ("empty without type", good, "t", "", false, true),
            ("payload marked as empty", good, empty, "x", false, true),
            ("edge device disabled", gw, "t//edge", "x", false, true),
            ("edge device unknown", gw, "t//nobody", "x", false, true),
            ("gateway not authorised", gw, "t//stranger", "x", true, true),
        ];
        let mut counted = 0;
        for (case, device, topic, payload, is_terminal, is_counted) in rows {
            // Without a mode the connection ends; with `ignore` only if the error is terminal.
            let mut mqtt = MqttDevice::v5(&world.gateway, device).await.unwrap();
            assert_eq!(mqtt.publish(topic, payload).await, Answer::Closed, "{case}");
            let bag = if topic.contains("/?") { "&" } else { "/?" };
            let mut mqtt = MqttDevice::v5(&world.gateway, device).await.unwrap();
            let answer = mqtt
                .publish(&format!("{topic}{bag}on-error=ignore"), payload)
                .await;
            let refused = Answer::Acknowledged { success: false };
            let expected = if is_terminal { Answer::Closed } else { refused };
            assert_eq!(answer, expected, "{case}, ignore");
            counted += 2 * usize::from(is_counted);
        }
        // The same rules hold for MQTT 3.1.1, and an event needs QoS 1.
        let mut mqtt = MqttDevice::v3(&world.gateway, good).await.unwrap();
        mqtt.send("event", "x", false).await;
        assert_eq!(mqtt.answer().await, Answer::Closed, "event with QoS 0");
        let mut mqtt = MqttDevice::v3(&world.gateway, good).await.unwrap();
        let big = "x".repeat(4096);
        assert_eq!(
            mqtt.publish("t", &big).await,
            Answer::Closed,
            "payload too large"
        );
        let metrics = world.gateway.metrics().await;
        assert_eq!(metrics.uploads(tenant, "unprocessable"), counted);
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
