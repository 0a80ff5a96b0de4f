//! Devices that are not asked who they are (device contract §1.6.4, §3.2).

use weir_core::command::CommandOutcome;

use super::client::{Connect, puback, publish, suback, subscribe, unsubscribe};
use super::command::one_way;
use super::*;

async fn start() -> Gateway {
    let config = MqttConfig {
        authentication_required: false,
        ..MqttConfig::default()
    };
    Gateway::with(config, 100).await
}

/// A client that says nothing of itself.
async fn connected(gateway: &Gateway, version: u8) -> Client {
    let mut client = gateway.client().await;
    let connect = Connect {
        version,
        username: None,
        password: None,
        ..Connect::default()
    };
    client.send(&connect.bytes()).await;
    client.expect_connack(0).await;
    client
}

#[tokio::test]
async fn anybody_may_connect_and_is_counted() {
    let gateway = start().await;
    let open = || gateway.series(&["hono_connections_unauthenticated{", "hono-mqtt", " 2"]);
    let silent = connected(&gateway, 4).await;
    // What it says of itself is not looked at.
    let mut wrong = gateway.client().await;
    let connect = Connect {
        username: Some("nobody"),
        ..Connect::default()
    };
    wrong.send(&connect.bytes()).await;
    wrong.expect_connack(0).await;
    assert_eq!(open().len(), 1);
    drop((silent, wrong));
}

#[tokio::test]
async fn one_connection_sends_for_any_device() {
    for version in [4, 5] {
        let mut gateway = start().await;
        gateway.back.always(Ok(()));
        let mut client = connected(&gateway, version).await;
        let topics = [("telemetry/acme/4711", "4711"), ("e/acme/edge-1", "edge-1")];
        for (packet_id, (topic, device)) in (1..).zip(topics.into_iter().cycle().take(6)) {
            client.send(&publish(version, topic, packet_id, "x")).await;
            client.expect(&puback(packet_id)).await;
            let message = gateway.back.next().await.accept();
            assert_eq!(message.device.as_str(), device);
            assert_eq!(message.tenant.as_str(), "acme");
        }
    }
}

/// What follows ends no connection; the statuses are told as errors.
#[tokio::test]
async fn messages_that_name_no_device_there_is_are_refused_and_nothing_is_terminal() {
    let gateway = start().await;
    gateway.back.always(Ok(()));
    let mut client = connected(&gateway, 4).await;
    client.send(&subscribe(4, 1, &[("e/acme/4711/#", 0)])).await;
    client.expect(&suback(4, 1, &[0])).await;
    let rows = [
        ("telemetry", 400),
        ("telemetry/acme", 400),
        ("telemetry//4711", 400),
        ("telemetry/nobody/4711", 404),
        ("telemetry/acme/gone", 404),
        ("telemetry/off/4711", 403),
        ("telemetry/http-only/4711", 403),
    ];
    for (packet_id, (topic, _)) in (1..).zip(rows) {
        let topic = format!("{topic}/?on-error=ignore");
        client.send(&publish(4, &topic, packet_id, "x")).await;
        client.expect(&puback(packet_id)).await;
    }
    gateway.registry.unregister("4711");
    client.send(&publish(4, "t/acme/4711", 9, "x")).await;
    let told = client.packet().await;
    let topic = String::from_utf8_lossy(&told).into_owned();
    assert!(topic.contains("e/acme/4711/t/9/404"), "{topic}");
    client.expect(&puback(9)).await;
    client.send(&publish(4, "t/acme/edge-1", 10, "x")).await;
    client.expect(&puback(10)).await;
}

#[tokio::test]
async fn by_default_a_refused_message_ends_the_connection() {
    let gateway = start().await;
    let mut client = connected(&gateway, 4).await;
    client.send(&publish(4, "telemetry", 1, "x")).await;
    client.expect_end().await;
}

#[tokio::test]
async fn commands_are_subscribed_to_device_by_device() {
    let gateway = start().await;
    gateway.back.always(Ok(()));
    let mut client = connected(&gateway, 4).await;
    let rows = [
        ("command///req/#", 0x80),
        ("command//4711/req/#", 0x80),
        ("command/acme/+/req/#", 0x80),
        ("command/nobody/4711/req/#", 0x80),
        ("command/acme/gone/req/#", 0x80),
        ("command/acme/4711/req/#", 1),
        ("c/acme/edge-1/q/#", 0),
    ];
    for (packet_id, (filter, code)) in (1..).zip(rows) {
        client
            .send(&subscribe(4, packet_id, &[(filter, code & 1)]))
            .await;
        client.expect(&suback(4, packet_id, &[code])).await;
    }
    let own = gateway.command("4711", "on", one_way()).await;
    client
        .expect_publish(4, 1, "command/acme/4711/req//on")
        .await;
    client.send(&puback(1)).await;
    assert_eq!(own.await, CommandOutcome::Accepted);
    let edge = gateway.command("edge-1", "on", one_way()).await;
    client.expect_publish(4, 0, "c/acme/edge-1/q//on").await;
    assert_eq!(edge.await, CommandOutcome::Accepted);
    client
        .send(&unsubscribe(4, 9, &["c/acme/edge-1/q/#"]))
        .await;
    client.expect(&[0xb0, 2, 0, 9]).await;
}

#[tokio::test]
async fn a_place_in_the_process_is_needed_all_the_same() {
    let config = MqttConfig {
        authentication_required: false,
        ..MqttConfig::default()
    };
    let gateway = Gateway::with(config, 1).await;
    let _first = connected(&gateway, 4).await;
    let mut second = gateway.client().await;
    second.send(&Connect::default().bytes()).await;
    second.expect_connack(3).await;
}
