//! Commands that nobody takes, or nobody any more.

use reqwest::Method;
use serde_json::json;

use super::{FILTER, SUBSCRIBED, assert_told, events};
use crate::kit::{
    Answer, Command, Commander, Device, End, Fate, Gateway, MqttDevice, payload, story,
};

/// A device in a tenant where somebody else has subscribed, so that applications may send.
async fn awaited(gateway: &Gateway) -> (Device, MqttDevice) {
    let device = gateway.tenant_and_device().await;
    let other = gateway.device(&device.tenant, "other", json!({})).await;
    let mut mqtt = MqttDevice::v5(gateway, &other).await.unwrap();
    assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
    (device, mqtt)
}

#[test]
fn what_is_not_acknowledged_is_released() {
    story(async {
        let hasty = [("WEIR__MQTT__COMMAND_TIMEOUT", "100")];
        let gateway = Gateway::start_with(&hasty).await;
        let device = gateway.tenant_and_device().await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        for mut mqtt in MqttDevice::silent(&gateway, &device).await {
            assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
            let command = Command::one_way(&device, "set", "1");
            let (fate, first) = tokio::join!(commander.send(&command), mqtt.command());
            assert_eq!((fate, &*first.payload), (Fate::Released, "1"));
            // Late, it says nothing of the next one, and nothing is sent twice.
            mqtt.acknowledge(&first).await;
            let command = Command::one_way(&device, "set", "2");
            let (fate, second) = tokio::join!(commander.send(&command), mqtt.command());
            assert_eq!((fate, &*second.payload), (Fate::Released, "2"));
            // With QoS 0 there is nothing to acknowledge.
            assert_eq!(mqtt.subscribe(FILTER, 0).await, Some(0));
            let (fate, third) = tokio::join!(commander.send(&command), mqtt.command());
            assert_eq!((fate, third.qos), (Fate::Accepted, 0));
        }
        let metrics = gateway.metrics().await;
        let tenant = &device.tenant;
        assert_eq!(metrics.commands(tenant, "one-way", "undeliverable"), 4);
        assert_eq!(metrics.commands(tenant, "one-way", "forwarded"), 2);
    });
}

#[test]
fn a_connection_that_is_lost_before_the_acknowledgement_releases() {
    story(async {
        let patient = [("WEIR__MQTT__COMMAND_TIMEOUT", "7000")];
        let gateway = Gateway::start_with(&patient).await;
        let device = gateway.tenant_and_device().await;
        let mut events = events(&gateway, &device.tenant).await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        for mut mqtt in MqttDevice::silent(&gateway, &device).await {
            assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
            assert_told(&mut events, &device, -1).await;
            let command = Command::one_way(&device, "set", "1");
            let lose = async {
                mqtt.command().await;
                drop(mqtt);
                // The time for the acknowledgement is far from over.
                assert_told(&mut events, &device, 0).await;
            };
            let (fate, ()) = tokio::join!(commander.send(&command), lose);
            assert_eq!(fate, Fate::Released);
        }
    });
}

#[test]
fn who_has_left_gets_nothing() {
    story(async {
        let gateway = Gateway::start().await;
        let (device, other) = awaited(&gateway).await;
        let mut events = events(&gateway, &device.tenant).await;
        events.accept_next().await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let command = Command::one_way(&device, "blink", "");
        assert_eq!(commander.send(&command).await, Fate::Released, "never came");
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        for _ in 0..2 {
            assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
            assert_told(&mut events, &device, -1).await;
            let (fate, _) = tokio::join!(commander.send(&command), mqtt.command());
            assert_eq!(fate, Fate::Accepted);
            mqtt.unsubscribe(FILTER).await;
            assert_told(&mut events, &device, 0).await;
            assert_eq!(commander.send(&command).await, Fate::Released);
        }
        assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
        assert_told(&mut events, &device, -1).await;
        drop(mqtt);
        assert_told(&mut events, &device, 0).await;
        assert_eq!(commander.send(&command).await, Fate::Released);
        let metrics = gateway.metrics().await;
        let released = metrics.commands(&device.tenant, "one-way", "undeliverable");
        assert_eq!(released, 4);
        drop(other);
    });
}

#[test]
fn the_latest_subscription_counts() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let mut first = MqttDevice::v3(&gateway, &device).await.unwrap();
        let mut second = MqttDevice::v5(&gateway, &device).await.unwrap();
        assert_eq!(first.subscribe(FILTER, 1).await, SUBSCRIBED);
        assert_eq!(second.subscribe(FILTER, 1).await, SUBSCRIBED);
        let command = Command::one_way(&device, "blink", "");
        let (fate, _) = tokio::join!(commander.send(&command), second.command());
        assert_eq!(fate, Fate::Accepted);
        // The end of the first takes nothing from the second.
        first.unsubscribe(FILTER).await;
        let (fate, _) = tokio::join!(commander.send(&command), second.command());
        assert_eq!(fate, Fate::Accepted);
    });
}

#[test]
fn a_device_that_is_deleted_while_it_is_subscribed() {
    story(async {
        let gateway = Gateway::start().await;
        let (device, mut other) = awaited(&gateway).await;
        let mut events = events(&gateway, &device.tenant).await;
        events.accept_next().await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let command = Command::one_way(&device, "blink", "");
        let mut v3 = MqttDevice::v3(&gateway, &device).await.unwrap();
        let mut v5 = MqttDevice::v5(&gateway, &device).await.unwrap();
        for mqtt in [&mut v3, &mut v5] {
            assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
            assert_told(&mut events, &device, -1).await;
        }
        let path = format!("devices/{}/{}", device.tenant, device.id);
        gateway.manage(Method::DELETE, &path, &json!({})).await;
        assert_eq!(v3.end().await, End::Closed);
        assert!(matches!(v5.end().await, End::Told(_)));
        match commander.send(&command).await {
            Fate::Rejected { condition, .. } => assert_eq!(condition, "hono:bad-request"),
            other => panic!("{other:?}"),
        }
        // Applications know of it by other means: nobody says that it cannot be reached.
        let answer = other.publish("event", "next").await;
        assert_eq!(answer, Answer::Acknowledged { success: true });
        assert_eq!(payload(&events.accept_next().await), b"next");
    });
}
