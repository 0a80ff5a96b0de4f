//! What is wrong with a message itself (§8.3).

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::world;
use crate::kit::{Answer, MqttDevice, basic, story};

#[test]
fn content_and_addresses_over_http() {
    story(async {
        let world = world().await;
        let (good, gw, off) = (&world.good, &world.concentrator, &world.disabled_device);
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
                "event, QoS 1",
                good,
                "POST",
                "/event".into(),
                Some(("QoS-Level", "1")),
                "x",
                202,
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
                "bad ttl",
                good,
                "POST",
                "/event".into(),
                Some(("hono-ttl", "soon")),
                "x",
                202,
            ),
            (
                "response, too short",
                good,
                "PUT",
                format!("/command/res/{tenant}/sensor"),
                Some(("hono-cmd-status", "200")),
                "x",
                404,
            ),
            (
                "gateway disabled",
                off,
                "PUT",
                edge("orphan"),
                None,
                "x",
                403,
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
        assert_eq!(metrics.uploads(tenant, "unprocessable"), 4);
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
        let answer = mqtt.publish("event", "x").await;
        assert_eq!(answer, Answer::Acknowledged { success: true }, "with QoS 1");
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
