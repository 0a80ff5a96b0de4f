//! The failure matrix of the device contract (§8) over HTTP and MQTT, from end to end: a row a case.
//!
//! Every row, and what shows it. Names without a file are in this module and those below it; other files are
//! beside this one, or in the tests of the crate `weir-http` or `weir-mqtt` where no real gateway can be
//! brought into that state. What each adapter makes of each reason is in the tests of its `outcome.rs`.
//!
//! | §8.1, identity and registration | HTTP | MQTT, connecting | MQTT, a message |
//! |---|---|---|---|
//! | no credentials; malformed user name; wrong password, no such auth-id; credentials disabled, no valid secret | [`logging_in`] | [`logging_in`] | – |
//! | unknown tenant | [`logging_in`], [`anonymous`] | [`logging_in`] | `unauthenticated.rs` |
//! | tenant disabled | [`logging_in`], [`anonymous`] | [`logging_in`] | closed at once: `registry.rs` |
//! | adapter disabled | [`logging_in`], [`anonymous`] | [`logging_in`] | [`messages`] |
//! | own device unknown or disabled | [`logging_in`], [`anonymous`]; deleted: `registry.rs` | the same | closed at once: `registry.rs`; `weir-mqtt` `end.rs` |
//! | edge device unknown or disabled | [`content`] | – | [`content`], [`messages`] |
//! | gateway unknown or disabled | [`content`] | it is a device | it is a device |
//! | gateway not authorised | [`content`] | – | [`content`], [`messages`] |
//! | foreign tenant in address | [`content`] | – | [`content`], [`messages`] |
//! | certificate: not verifiable; expired; issuer unknown; host name without a dot | `certificates.rs` | `certificates.rs` | – |
//! | token expired | [`tokens`] | [`tokens`] | [`tokens`]; `weir-mqtt` `token.rs` |
//! | deleted or disabled while connected | `registry.rs` | – | `registry.rs`, [`what_changes_while_connected`] |
//! | registry cannot be reached | `interop/test_postgres.py`; `weir-http` `authentication.rs` | `weir-mqtt` `connect.rs` | known devices go on: `interop/test_postgres.py` |
//!
//! | §8.2, limits | HTTP | MQTT, connecting | MQTT, a message |
//! |---|---|---|---|
//! | connections of the process | – | `floods.rs` | – |
//! | connections, their duration | – | `limits.rs` | – |
//! | data volume, also by a command | `limits.rs` | `limits.rs` | `limits.rs` |
//! | payload too large | [`content`], `oversized.rs` | `oversized.rs` | [`content`], `oversized.rs` |
//! | Prometheus unreachable | there is none to reach: `limits.rs` has what is counted instead | | |
//!
//! | §8.3, content and addresses | HTTP | MQTT, a message |
//! |---|---|---|
//! | unknown endpoint | [`content`] | [`content`], [`messages`] |
//! | method not supported | [`content`], [`anonymous`] | – |
//! | malformed address; tenant without device | [`content`] | [`content`], [`messages`] |
//! | unauthenticated without tenant and device | [`anonymous`] | `unauthenticated.rs` |
//! | invalid QoS | [`content`] | [`content`], [`messages`] |
//! | empty payload without type; payload marked as empty | [`content`] | [`content`], [`messages`] |
//! | invalid ttd or ttl | [`content`] | [`messages`] |
//! | response: bad id or status | `downlink/http.rs` | `downlink/mqtt.rs`, [`messages`] |
//! | response: too few segments | [`content`], [`anonymous`] | [`messages`] |
//! | unsupported filter, QoS 2; errors with QoS 1 or 2 | – | `downlink/mqtt.rs`, [`messages`] |
//!
//! | §8.4, downstream | HTTP | MQTT |
//! |---|---|---|
//! | no consumer | `settlement.rs`, [`anonymous`] | `settlement.rs`, `errors.rs` |
//! | no credit | [`downstream`] | [`downstream`] |
//! | released; modified; undeliverable here; rejected; no outcome in time | `settlement.rs` | `settlement.rs`, [`downstream`] |
//! | Kafka down | there is none | |
//! | commands cannot be subscribed to | they are routed in this process, which does not fail | `weir-mqtt` `subscribe.rs` |
//! | connected event cannot be sent | – | [`downstream`] |
//!
//! | §8.5, commands | HTTP | MQTT |
//! |---|---|---|
//! | not connected, or nobody waits | `downlink/http.rs` | `downlink/end.rs` |
//! | a second command during one wait | `downlink/http.rs` | – |
//! | no PUBACK in time; connection lost | – | `downlink/end.rs` |
//! | the device rejects it (MQTT 5) | – | `weir-mqtt` `v5.rs` |
//! | malformed | `downlink/malformed.rs` | `downlink/malformed.rs` |
//! | data volume exceeded | `limits.rs` | `limits.rs` |
//! | gateway lost its authorisation | – | `downlink/gateways.rs` |
//! | the upload fails after the command has come | [`downstream`] | – |

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
