//! What an MQTT device is told of a message that is refused: the status, in both versions, and how an
//! MQTT 5 connection ends (column MQTT MSG).

use reqwest::Method;
use serde_json::json;

use super::line::{Line, Told};
use super::{World, world};
use crate::kit::{Device, Gateway, MqttDevice, story};

const NOT_AUTHORIZED: u8 = 0x87;
const TOPIC: u8 = 0x90;
const FORMAT: u8 = 0x99;
const QOS: u8 = 0x9b;

/// Case, sender, topic, QoS, payload, how the error's topic begins, status, DISCONNECT.
type Row<'a> = (&'a str, &'a Device, String, u8, &'a str, &'a str, u16, u8);

fn rows(world: &World) -> Vec<Row<'_>> {
    let (good, gw) = (&world.good, &world.concentrator);
    let topic = |topic: &str| topic.replace("{t}", &good.tenant);
    let row = |case, device, name: &str, qos, payload, told, status, code| {
        (case, device, topic(name), qos, payload, told, status, code)
    };
    let empty = "t/?content-type=application%2Fvnd.eclipse-hono-empty-notification";
    vec![
        row(
            "unknown endpoint",
            good,
            "status",
            1,
            "x",
            "/unknown",
            404,
            TOPIC,
        ),
        row(
            "malformed topic",
            good,
            "/telemetry",
            1,
            "x",
            "/unknown",
            400,
            TOPIC,
        ),
        row(
            "tenant without device",
            good,
            "t/{t}",
            0,
            "x",
            "/t",
            400,
            TOPIC,
        ),
        row(
            "foreign tenant",
            good,
            "t/other/sensor",
            1,
            "x",
            "/t",
            403,
            NOT_AUTHORIZED,
        ),
        row("event, QoS 0", good, "event", 0, "x", "/event", 400, QOS),
        row("event, QoS 2", good, "event", 2, "x", "/event", 400, QOS),
        row(
            "telemetry, QoS 2",
            good,
            "telemetry",
            2,
            "x",
            "/telemetry",
            400,
            QOS,
        ),
        row("empty, no type", good, "t", 1, "", "/t", 400, FORMAT),
        row("marked empty", good, empty, 0, "x", "/t", 400, FORMAT),
        row(
            "response, short",
            good,
            "c///s/1",
            1,
            "x",
            "/c-s",
            400,
            TOPIC,
        ),
        row(
            "response, status",
            good,
            "command///res/1/x",
            1,
            "x",
            "/command-response",
            400,
            TOPIC,
        ),
        row(
            "response, id",
            good,
            "command///res/1/200",
            0,
            "x",
            "/command-response",
            400,
            TOPIC,
        ),
        row(
            "edge disabled",
            gw,
            "t//edge",
            1,
            "x",
            "edge/t",
            404,
            NOT_AUTHORIZED,
        ),
        row(
            "edge unknown",
            gw,
            "t//nobody",
            0,
            "x",
            "nobody/t",
            404,
            NOT_AUTHORIZED,
        ),
        row(
            "not authorised",
            gw,
            "t//stranger",
            1,
            "x",
            "stranger/t",
            403,
            NOT_AUTHORIZED,
        ),
    ]
}

/// Requires that this message is refused so, in both versions.
async fn is_refused(gateway: &Gateway, row: &Row<'_>) {
    let (case, device, topic, qos, payload, told, status, code) = row;
    let bag = if topic.contains("/?") { "&" } else { "/?" };
    let topic = format!("{topic}{bag}on-error=disconnect&correlation-id=c");
    for (level, disconnect) in [(4, None), (5, Some(*code))] {
        let line = Line::of(gateway, device, level).await;
        let expected = Told {
            topic: format!("error//{told}/c/{status}"),
            code: *status,
            disconnect,
        };
        assert_eq!(
            line.publish(&topic, *qos, payload).await,
            expected,
            "{case}"
        );
    }
}

#[test]
fn each_has_its_status_and_its_end() {
    story(async {
        let world = world().await;
        for row in rows(&world) {
            is_refused(&world.gateway, &row).await;
        }
    });
}

#[test]
fn a_tenant_that_may_not_use_the_protocol_any_more() {
    story(async {
        let gateway = Gateway::start().await;
        for (level, disconnect) in [(4, None), (5, Some(NOT_AUTHORIZED))] {
            let device = gateway.tenant_and_device().await;
            let line = Line::of(&gateway, &device, level).await;
            let only_http = json!({"adapters": [{"type": "hono-http", "enabled": true}]});
            let path = format!("tenants/{}", device.tenant);
            gateway.manage(Method::PUT, &path, &only_http).await;
            // Terminal: the device would rather have gone on.
            let told = line.publish("t/?on-error=ignore", 1, "x").await;
            let topic = "error///t/7/403".to_owned();
            let expected = Told {
                topic,
                code: 403,
                disconnect,
            };
            assert_eq!(told, expected);
        }
    });
}

#[test]
fn what_is_ignored_and_what_is_not_granted() {
    story(async {
        let world = world().await;
        let mut mqtt = MqttDevice::v5(&world.gateway, &world.good).await.unwrap();
        for property in [
            "hono-ttl=soon",
            "hono-ttl=-1",
            "hono-ttd=soon",
            "on-error=maybe",
        ] {
            let answer = mqtt.publish(&format!("event/?{property}"), "x").await;
            let success = crate::kit::Answer::Acknowledged { success: true };
            assert_eq!(answer, success, "{property}");
        }
        for (filter, qos) in [
            ("error///#", 1),
            ("error///#", 2),
            ("error", 0),
            ("error/other//#", 0),
            ("command///req/#", 2),
            ("telemetry/#", 0),
        ] {
            assert_eq!(mqtt.subscribe(filter, qos).await, None, "{filter} {qos}");
        }
    });
}
