//! Devices that nobody authenticates (§1.6.4, the rows for unauthenticated mode).

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::kit::{Application, Gateway, property, story, string};

#[test]
fn over_http() {
    story(async {
        let open = [("WEIR__HTTP__AUTHENTICATION_REQUIRED", "false")];
        let gateway = Gateway::start_with(&open).await;
        let tenant = gateway.tenant(json!({})).await;
        gateway.device(&tenant, "sensor", json!({})).await;
        // Whoever sends is no gateway: this device may speak for itself.
        let via = json!({"via": ["concentrator"]});
        gateway.device(&tenant, "edge", via).await;
        let disabled = json!({"enabled": false});
        gateway.device(&tenant, "off", disabled.clone()).await;
        let off = gateway.tenant(disabled).await;
        let mqtt_only = json!({"adapters": [{"type": "hono-mqtt", "enabled": true}]});
        let mqtt_only = gateway.tenant(mqtt_only).await;
        for tenant in [&off, &mqtt_only] {
            gateway.device(tenant, "sensor", json!({})).await;
        }
        let quiet = gateway.tenant_and_device().await.tenant;

        let mut application = Application::consume(&gateway, &format!("telemetry/{tenant}")).await;
        let send = async |method: &str, path: &str, body: String| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let request = Client::new().request(method, gateway.http(path));
            let answer = request.body(body).send().await.unwrap();
            assert!(!answer.headers().contains_key("www-authenticate"), "{path}");
            let status = answer.status().as_u16();
            let body = answer.text().await.unwrap();
            let error = serde_json::from_str::<Value>(&body).unwrap_or_default();
            let error = error["error"].as_str().map(str::to_owned);
            (status, error)
        };
        for device in ["sensor", "edge"] {
            let path = format!("/telemetry/{tenant}/{device}");
            let sent = send("PUT", &path, "x".into());
            let (answer, message) = tokio::join!(sent, application.accept_next());
            assert_eq!(answer, (202, None), "{device}");
            assert_eq!(property(&message, "device_id"), string(device));
        }

        let no_tenant = Some("tenant is disabled or not registered");
        let no_device = Some("device is disabled or not registered");
        let small = "x".to_owned();
        let rows = [
            (
                "unknown tenant",
                "PUT",
                "/telemetry/nowhere/sensor".into(),
                &small,
                404,
                no_tenant,
            ),
            (
                "tenant disabled",
                "PUT",
                format!("/event/{off}/sensor"),
                &small,
                403,
                no_tenant,
            ),
            (
                "adapter disabled",
                "PUT",
                format!("/event/{mqtt_only}/sensor"),
                &small,
                403,
                Some("adapter is disabled"),
            ),
            (
                "device unknown",
                "PUT",
                format!("/event/{tenant}/nobody"),
                &small,
                404,
                no_device,
            ),
            (
                "device disabled",
                "PUT",
                format!("/telemetry/{tenant}/off"),
                &small,
                404,
                no_device,
            ),
            (
                "no device",
                "PUT",
                format!("/telemetry/{tenant}"),
                &small,
                404,
                Some("request URI must contain device ID"),
            ),
            (
                "no tenant",
                "PUT",
                "/telemetry//sensor".into(),
                &small,
                404,
                Some("request URI must contain tenant ID"),
            ),
            ("neither", "PUT", "/telemetry".into(), &small, 404, None),
            (
                "a device's own",
                "POST",
                "/telemetry".into(),
                &small,
                404,
                None,
            ),
            ("a device's own", "POST", "/event".into(), &small, 404, None),
            (
                "a device's own",
                "POST",
                "/command/res/1?hono-cmd-status=200".into(),
                &small,
                405,
                Some("method not allowed"),
            ),
            (
                "response, short",
                "PUT",
                format!("/command/res/{tenant}/sensor?hono-cmd-status=200"),
                &small,
                404,
                Some("request URI must contain tenant, device and request ID"),
            ),
            (
                "too large",
                "PUT",
                format!("/event/{tenant}/sensor"),
                &"x".repeat(2049),
                413,
                Some("N/A"),
            ),
            (
                "no consumer",
                "PUT",
                format!("/telemetry/{quiet}/sensor"),
                &small,
                503,
                Some("no consumer available"),
            ),
        ];
        for (case, method, path, body, status, error) in rows {
            let answer = send(method, &path, body.clone()).await;
            assert_eq!(answer, (status, error.map(str::to_owned)), "{case}: {path}");
        }
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(&tenant, "forwarded"), 2);
    });
}
