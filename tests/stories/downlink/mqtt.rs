//! Commands by subscription.

use serde_json::json;

use super::{FILTER, SUBSCRIBED, assert_response, assert_told, events, replies, reply_address};
use crate::kit::{
    Answer, Command, Commander, Device, Fate, Gateway, MqttDevice, content_type, story,
};

/// A device connected in either version.
async fn both(gateway: &Gateway, device: &Device) -> [MqttDevice; 2] {
    [
        MqttDevice::v3(gateway, device).await.unwrap(),
        MqttDevice::v5(gateway, device).await.unwrap(),
    ]
}

#[test]
fn one_way_and_with_a_response_by_each_filter() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let mut commander = Commander::of(&gateway, tenant).await;
        let mut replies = replies(&gateway, tenant).await;
        // Filter, how its topics begin, how those of responses begin.
        let rows = [
            (
                "command///req/#".to_owned(),
                "command///req",
                "command///res",
            ),
            ("c///q/#".to_owned(), "c///q", "c///s"),
            (
                format!("command/{tenant}//q/#"),
                &*format!("command/{tenant}//q"),
                &format!("command/{tenant}/sensor/res"),
            ),
            (
                format!("c/{tenant}/sensor/req/#"),
                &format!("c/{tenant}/sensor/req"),
                "command//sensor/res",
            ),
        ];
        let mut count = 0;
        for mqtt in &mut both(&gateway, &device).await {
            for (qos, (filter, begin, answer)) in [0, 1]
                .into_iter()
                .flat_map(|qos| rows.iter().map(move |row| (qos, row)))
            {
                assert_eq!(mqtt.subscribe(filter, qos).await, Some(qos), "{filter}");
                let command = Command::one_way(&device, "setBrightness", "20");
                let (fate, arrived) = tokio::join!(commander.send(&command), mqtt.command());
                assert_eq!(fate, Fate::Accepted, "{filter}");
                assert_eq!(arrived.topic, format!("{begin}//setBrightness"));
                assert_eq!((&*arrived.payload, arrived.qos), ("20", qos), "{filter}");

                let id = format!("id/{count} ü");
                let request = Command::one_way(&device, "get", "?");
                let request = request.answered_at(&reply_address(tenant), &id);
                let (fate, arrived) = tokio::join!(commander.send(&request), mqtt.command());
                assert_eq!(fate, Fate::Accepted, "{filter}");
                let request_id = arrived.request_id();
                assert!(!request_id.is_empty(), "{}", arrived.topic);
                assert_eq!(arrived.topic, format!("{begin}/{request_id}/get"));
                let topic = format!("{answer}/{request_id}/207/?content-type=text%2Fplain");
                let publish = mqtt.publish(&topic, "42");
                let (answered, response) = tokio::join!(publish, replies.accept_next());
                assert_eq!(answered, Answer::Acknowledged { success: true }, "{topic}");
                assert_response(&response, &device, &id, 207, "42");
                assert_eq!(content_type(&response).as_deref(), Some("text/plain"));
                count += 1;
            }
        }
        let metrics = gateway.metrics().await;
        for (direction, bytes) in [("one-way", 2), ("request", 1), ("response", 2)] {
            assert_eq!(metrics.commands(tenant, direction, "forwarded"), count);
            let labels = [("tenant", &**tenant), ("direction", direction)];
            let sum = metrics.sum("hono_command_payload_bytes_sum", &labels);
            assert_eq!(sum as usize, bytes * count, "{direction}");
        }
        assert_eq!(metrics.uploads(tenant, "forwarded"), 0, "no telemetry");
    });
}

#[test]
fn commands_arrive_in_their_order() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
        let commands: Vec<_> = (0..50)
            .map(|number| Command::one_way(&device, "set", &number.to_string()))
            .collect();
        let take = async {
            for number in 0..50 {
                assert_eq!(mqtt.command().await.payload, number.to_string());
            }
        };
        let (fates, ()) = tokio::join!(commander.send_all(&commands), take);
        assert_eq!(fates, vec![Fate::Accepted; 50]);
    });
}

#[test]
fn nobody_may_send_before_a_device_of_the_tenant_has_subscribed() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let other = gateway.tenant_and_device().await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let mut theirs = MqttDevice::v3(&gateway, &other).await.unwrap();
        assert_eq!(theirs.subscribe(FILTER, 1).await, SUBSCRIBED);
        let mut beside = commander.beside(&other.tenant).await;
        let command = Command::one_way(&device, "blink", "");
        // The other tenant's credit comes by the same connection, and this command would be released
        // if it could leave before anybody takes it.
        let mut sent = std::pin::pin!(commander.send(&command));
        let to_other = Command::one_way(&other, "blink", "");
        let message = to_other.message();
        let others = async { tokio::join!(beside.send(message), theirs.command()) };
        tokio::select! {
            biased;
            fate = &mut sent => panic!("{fate:?} without credit"),
            (outcome, _) = others => assert!(outcome.unwrap().is_accepted()),
        }
        let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
        let (fate, arrived) = tokio::join!(sent, mqtt.command());
        assert_eq!(
            (fate, &*arrived.topic),
            (Fate::Accepted, "command///req//blink")
        );
    });
}

#[test]
fn applications_are_told_who_can_be_reached() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        // The first time they come later.
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
        mqtt.unsubscribe(FILTER).await;
        let mut events = events(&gateway, &device.tenant).await;
        for mqtt in both(&gateway, &device).await {
            assert_told(&mut events, &device, -1).await;
            assert_told(&mut events, &device, 0).await;
            let mut mqtt = mqtt;
            assert_eq!(mqtt.subscribe("c///q/#", 0).await, Some(0));
            assert_told(&mut events, &device, -1).await;
            // Lost, with the subscription.
            drop(mqtt);
            assert_told(&mut events, &device, 0).await;
            let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
            assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
            mqtt.unsubscribe(FILTER).await;
        }
    });
}

#[test]
fn what_is_not_for_a_device_is_not_granted() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        gateway.device(&device.tenant, "other", json!({})).await;
        let own = format!("command/{}/sensor/req/#", device.tenant);
        for mqtt in &mut both(&gateway, &device).await {
            for (filter, qos) in [
                ("command/somebody-else//req/#", 1),
                ("command/+//req/#", 1),
                ("command//other/req/#", 1),
                ("command//nobody/req/#", 1),
                ("command///req", 1),
                ("command/#", 1),
                ("telemetry", 1),
                ("#", 0),
                (FILTER, 2),
            ] {
                assert_eq!(mqtt.subscribe(filter, qos).await, None, "{filter}");
            }
            // The connection goes on.
            assert_eq!(mqtt.subscribe(&own, 1).await, SUBSCRIBED);
        }
    });
}

#[test]
fn a_response_needs_a_request_a_status_and_somebody_who_waits() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let mut commander = Commander::of(&gateway, tenant).await;
        let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
        let request = Command::one_way(&device, "get", "");
        let request = request.answered_at(&reply_address(tenant), "1");
        let (fate, arrived) = tokio::join!(commander.send(&request), mqtt.command());
        assert_eq!(fate, Fate::Accepted);
        let id = arrived.request_id();
        let refused = Answer::Acknowledged { success: false };
        let topic = |rest: &str| format!("command///res/{rest}/?on-error=ignore");
        for wrong in [
            "nonsense/200".to_owned(),
            format!("{id}/199"),
            format!("{id}/300"),
            format!("{id}/600"),
            format!("{id}/fine"),
        ] {
            assert_eq!(mqtt.publish(&topic(&wrong), "").await, refused, "{wrong}");
        }
        let right = topic(&format!("{id}/200"));
        assert_eq!(mqtt.publish(&right, "42").await, refused, "nobody waits");
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.commands(tenant, "response", "undeliverable"), 1);
        assert_eq!(metrics.commands(tenant, "response", "forwarded"), 0);

        // Any gateway would know where it goes, also this one after a kill.
        let gateway = gateway.kill_and_restart().await;
        let mut replies = replies(&gateway, tenant).await;
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        let (answer, response) = tokio::join!(mqtt.publish(&right, "42"), replies.accept_next());
        assert_eq!(answer, Answer::Acknowledged { success: true });
        assert_response(&response, &device, "1", 200, "42");
    });
}
