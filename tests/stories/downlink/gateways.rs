//! Commands for devices that a gateway acts for.

use reqwest::Method;
use serde_json::json;

use super::{
    FILTER, SUBSCRIBED, assert_response, assert_told, events, replies, reply_address, telemetry,
};
use crate::kit::{
    Answer, Command, Commander, Device, Fate, Gateway, MqttDevice, basic, property, story, string,
};

/// A gateway, a device it acts for and one it does not.
struct Floor {
    gateway: Gateway,
    concentrator: Device,
    edge: Device,
    stranger: Device,
}

async fn floor() -> Floor {
    let gateway = Gateway::start().await;
    let tenant = gateway.tenant(json!({})).await;
    let concentrator = gateway.device(&tenant, "concentrator", json!({})).await;
    let via = json!({"via": ["concentrator"]});
    let edge = gateway.device(&tenant, "edge", via).await;
    let stranger = gateway.device(&tenant, "stranger", json!({})).await;
    Floor {
        gateway,
        concentrator,
        edge,
        stranger,
    }
}

#[test]
fn over_mqtt() {
    story(async {
        let floor = floor().await;
        let (gateway, edge) = (&floor.gateway, &floor.edge);
        let tenant = &edge.tenant;
        let mut events = events(gateway, tenant).await;
        let mut replies = replies(gateway, tenant).await;
        let mut commander = Commander::of(gateway, tenant).await;
        for version in [3, 5] {
            let connect = match version {
                3 => MqttDevice::v3(gateway, &floor.concentrator).await,
                _ => MqttDevice::v5(gateway, &floor.concentrator).await,
            };
            let mut mqtt = connect.unwrap();
            for (filter, told) in [
                ("command//+/req/#", &floor.concentrator),
                ("command//edge/req/#", edge),
            ] {
                assert_eq!(mqtt.subscribe(filter, 1).await, SUBSCRIBED, "{filter}");
                assert_told(&mut events, told, -1).await;
                let request = Command::one_way(edge, "get", "?");
                let request = request.answered_at(&reply_address(tenant), filter);
                let (fate, arrived) = tokio::join!(commander.send(&request), mqtt.command());
                assert_eq!(fate, Fate::Accepted, "{filter}");
                let id = arrived.request_id();
                assert_eq!(arrived.topic, format!("command//edge/req/{id}/get"));
                let topic = format!("command//edge/res/{id}/200");
                let publish = mqtt.publish(&topic, "42");
                let (answer, response) = tokio::join!(publish, replies.accept_next());
                assert_eq!(answer, Answer::Acknowledged { success: true });
                assert_response(&response, edge, filter, 200, "42");
                mqtt.unsubscribe(filter).await;
                assert_told(&mut events, told, 0).await;
            }
            for filter in ["command//stranger/req/#", "command//nobody/req/#"] {
                assert_eq!(mqtt.subscribe(filter, 1).await, None, "{filter}");
            }
        }
    });
}

#[test]
fn the_device_itself_comes_first_and_only_who_takes_all_gets_more_than_its_own() {
    story(async {
        let floor = floor().await;
        let (gateway, edge) = (&floor.gateway, &floor.edge);
        let mut commander = Commander::of(gateway, &edge.tenant).await;
        let command = Command::one_way(edge, "blink", "");
        let mut mqtt = MqttDevice::v5(gateway, &floor.concentrator).await.unwrap();
        assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
        assert_eq!(commander.send(&command).await, Fate::Released);
        let to_stranger = Command::one_way(&floor.stranger, "blink", "");
        assert_eq!(mqtt.subscribe("command//+/req/#", 1).await, SUBSCRIBED);
        assert_eq!(commander.send(&to_stranger).await, Fate::Released);
        let (fate, arrived) = tokio::join!(commander.send(&command), mqtt.command());
        assert_eq!(
            (fate, &*arrived.topic),
            (Fate::Accepted, "command//edge/req//blink")
        );
        let own = Command::one_way(&floor.concentrator, "blink", "");
        let (fate, arrived) = tokio::join!(commander.send(&own), mqtt.command());
        assert_eq!(
            (fate, &*arrived.topic),
            (Fate::Accepted, "command///req//blink")
        );

        let mut itself = MqttDevice::v3(gateway, edge).await.unwrap();
        assert_eq!(itself.subscribe(FILTER, 1).await, SUBSCRIBED);
        let (fate, arrived) = tokio::join!(commander.send(&command), itself.command());
        assert_eq!(
            (fate, &*arrived.topic),
            (Fate::Accepted, "command///req//blink")
        );
    });
}

#[test]
fn a_gateway_that_may_not_act_any_more_gets_no_commands() {
    story(async {
        let floor = floor().await;
        let (gateway, edge) = (&floor.gateway, &floor.edge);
        let mut commander = Commander::of(gateway, &edge.tenant).await;
        let mut mqtt = MqttDevice::v5(gateway, &floor.concentrator).await.unwrap();
        let filter = "command//edge/req/#";
        assert_eq!(mqtt.subscribe(filter, 1).await, SUBSCRIBED);
        let command = Command::one_way(edge, "blink", "");
        let (fate, _) = tokio::join!(commander.send(&command), mqtt.command());
        assert_eq!(fate, Fate::Accepted);
        let path = format!("devices/{}/edge", edge.tenant);
        let nobody = json!({"via": []});
        gateway.manage(Method::PUT, &path, &nobody).await;
        match commander.send(&command).await {
            Fate::Rejected { condition, .. } => assert_eq!(condition, "hono:bad-request"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn over_http() {
    story(async {
        let floor = floor().await;
        let (gateway, edge) = (&floor.gateway, &floor.edge);
        let tenant = &edge.tenant;
        let mut telemetry = telemetry(gateway, tenant).await;
        let mut replies = replies(gateway, tenant).await;
        let mut commander = Commander::of(gateway, tenant).await;
        let client = reqwest::Client::new();
        // It waits for all of its devices, or for one.
        for (method, path, sent_for) in [
            (Method::POST, "/telemetry".to_owned(), "concentrator"),
            (Method::PUT, format!("/telemetry/{tenant}/edge"), "edge"),
            (Method::PUT, "/telemetry//edge".to_owned(), "edge"),
        ] {
            let request = client.request(method, gateway.http(&path));
            let request = basic(request, &floor.concentrator).header("hono-ttd", "50");
            let waiting = tokio::spawn(request.body("x").send());
            let message = telemetry.accept_next().await;
            assert_eq!(property(&message, "device_id"), string(sent_for));
            let command = Command::one_way(edge, "get", "?");
            let command = command.answered_at(&reply_address(tenant), &path);
            assert_eq!(commander.send(&command).await, Fate::Accepted, "{path}");
            let answer = waiting.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200, "{path}");
            let headers = answer.headers();
            assert_eq!(headers["hono-command"], "get");
            assert_eq!(headers["hono-cmd-target-device"], "edge");
            let id = headers["hono-cmd-req-id"].to_str().unwrap();

            let url = gateway.http(&format!("/command/res/{tenant}/edge/{id}"));
            let request = basic(client.put(url), &floor.concentrator);
            let request = request.header("hono-cmd-status", "404").body("none");
            let (answer, response) = tokio::join!(request.send(), replies.accept_next());
            assert_eq!(answer.unwrap().status(), 202, "{path}");
            assert_response(&response, edge, &path, 404, "none");
        }
    });
}
