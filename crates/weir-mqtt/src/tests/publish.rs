//! PUBLISH and PUBACK.

use std::num::NonZeroU16;
use std::sync::atomic::Ordering;

use weir_core::{Qos, Reason, RejectCondition};

use super::client::{PINGREQ, puback, puback_refused, publish, publish_with};
use super::*;

#[tokio::test]
async fn puback_comes_after_the_outcome_and_not_before() {
    let mut gateway = Gateway::start().await;
    for version in [4, 5] {
        let mut client = gateway.connected(version).await;
        client.send(&publish(version, "telemetry", 7, "21.5")).await;
        let sent = gateway.back.next().await;
        client.expect_silence().await;
        sent.settle(Ok(()));
        client.expect(&puback(7)).await;
    }
}

#[tokio::test]
async fn a_message_arrives_with_all_it_says() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected_as("gw@acme", 5).await;
    let topic = "event/acme/edge-1/?hono-ttl=10&content-type=text%2Fplain";
    // QoS 1, RETAIN.
    client
        .send(&publish_with(0x33, 5, topic, 1, b"", "on"))
        .await;
    let message = gateway.back.next().await.accept();
    assert_eq!(message.tenant.as_str(), "acme");
    assert_eq!(message.device.as_str(), "edge-1");
    assert_eq!(message.endpoint.as_str(), "event");
    assert_eq!(message.qos, Qos::AtLeastOnce);
    assert_eq!(message.adapter, "hono-mqtt");
    assert_eq!(&*message.origin_address, topic);
    assert_eq!(message.content_type.as_deref(), Some("text/plain"));
    assert_eq!(message.ttl, Some(10_000));
    assert_eq!(&*message.payload, b"on");
    assert!(message.retain);
    // Properties of version 5: Content Type, Message Expiry Interval.
    let properties = [&[3, 0, 1][..], b"x", &[2, 0, 0, 0, 30]].concat();
    client
        .send(&publish_with(0x32, 5, "e//edge-1", 2, &properties, "on"))
        .await;
    let message = gateway.back.next().await.accept();
    assert_eq!(message.content_type.as_deref(), Some("x"));
    assert_eq!(message.ttl, Some(30_000));
    assert!(!message.retain);
}

#[tokio::test]
async fn qos_0_is_not_answered() {
    let mut gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected(4).await;
    client.send(&publish(4, "t", 0, "x").repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(gateway.back.next().await.message.qos, Qos::AtMostOnce);
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn pubacks_come_in_the_order_of_the_publishes() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected(4).await;
    for packet_id in [3, 1, 2] {
        client.send(&publish(4, "telemetry", packet_id, "x")).await;
    }
    let [first, second, third] = [
        gateway.back.next().await,
        gateway.back.next().await,
        gateway.back.next().await,
    ];
    third.settle(Ok(()));
    second.settle(Ok(()));
    client.expect_silence().await;
    first.settle(Ok(()));
    for packet_id in [3, 1, 2] {
        client.expect(&puback(packet_id)).await;
    }
}

#[tokio::test]
async fn reading_stops_while_as_many_are_open_as_may_be() {
    let config = MqttConfig {
        max_in_flight: NonZeroU16::MIN.saturating_add(1),
        ..MqttConfig::default()
    };
    let mut gateway = Gateway::with(config, 10).await;
    let mut client = gateway.connected(4).await;
    for packet_id in 1..=5 {
        client.send(&publish(4, "telemetry", packet_id, "x")).await;
    }
    client.send(&PINGREQ).await;
    let mut open = vec![gateway.back.next().await, gateway.back.next().await];
    for packet_id in 1..=5 {
        // A place is free only when the oldest was answered.
        assert!(gateway.back.is_idle());
        open.remove(0).settle(Ok(()));
        client.expect(&puback(packet_id)).await;
        if packet_id <= 3 {
            open.push(gateway.back.next().await);
        }
        if packet_id == 4 {
            client.expect(&client::PINGRESP).await;
        }
    }
}

/// Device contract §3.6, without a subscription for errors.
#[tokio::test]
async fn what_a_device_wants_to_happen_on_error() {
    let gateway = Gateway::start().await;
    gateway.back.always(Err(Reason::NoConsumer));
    for version in [4, 5] {
        for mode in [
            "",
            "/?on-error=default",
            "/?on-error=disconnect",
            "/?on-error=Ignore",
        ] {
            for packet_id in [0, 1] {
                let mut client = gateway.connected(version).await;
                let topic = format!("telemetry{mode}");
                client.send(&publish(version, &topic, packet_id, "x")).await;
                client.expect_close(version, 0x83).await;
            }
        }
        let mut client = gateway.connected(version).await;
        for mode in ["ignore", "skip-ack"] {
            let topic = format!("telemetry/?on-error={mode}");
            client.send(&publish(version, &topic, 0, "x")).await;
            client.expect_silence().await;
            client.send(&publish(version, &topic, 9, "x")).await;
            if mode == "ignore" && version == 5 {
                let refused = puback_refused(9, "no consumer available");
                client.expect(&refused).await;
            } else if mode == "ignore" {
                client.expect(&puback(9)).await;
            }
            client.expect_silence().await;
        }
    }
}

/// Device contract §8.1, §8.3 and §8.4, column MQTT MSG: what refuses the message, and the code that
/// version 5 is told. Terminal errors close the connection whatever the device asked for.
#[tokio::test]
async fn refused_messages() {
    let gateway = Gateway::start().await;
    let rows = [
        ("x", 1, "x", 0x90, false),
        ("/telemetry", 1, "x", 0x90, false),
        ("telemetry/acme", 1, "x", 0x90, false),
        ("telemetry/other/4711", 1, "x", 0x87, false),
        ("event", 0, "x", 0x9b, false),
        ("telemetry", 1, "", 0x99, false),
        ("telemetry//nobody", 1, "x", 0x87, false),
        ("telemetry//edge-2", 1, "x", 0x87, true),
    ];
    for (topic, packet_id, payload, code, terminal) in rows {
        for version in [4, 5] {
            let mut client = gateway.connected_as("gw@acme", version).await;
            client
                .send(&publish(version, topic, packet_id, payload))
                .await;
            client.expect_close(version, code).await;

            let mut client = gateway.connected_as("gw@acme", version).await;
            let topic = format!("{topic}/?on-error=skip-ack");
            client
                .send(&publish(version, &topic, packet_id, payload))
                .await;
            if terminal {
                client.expect_close(version, code).await;
            } else {
                client.expect_silence().await;
            }
        }
    }
}

#[tokio::test]
async fn qos_2_is_refused_and_never_received() {
    let gateway = Gateway::start().await;
    for version in [4, 5] {
        for topic in ["telemetry", "event"] {
            let mut client = gateway.connected(version).await;
            client
                .send(&publish_with(0x34, version, topic, 1, b"", "x"))
                .await;
            client.expect_close(version, 0x9b).await;
        }
        let mut client = gateway.connected(version).await;
        let topic = "telemetry/?on-error=ignore";
        client
            .send(&publish_with(0x34, version, topic, 1, b"", "x"))
            .await;
        client.expect_silence().await;
    }
}

#[tokio::test]
async fn what_came_before_a_refusal_is_answered_before_the_end() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected(5).await;
    client.send(&publish(5, "telemetry", 1, "x")).await;
    client.send(&publish(5, "nowhere", 2, "x")).await;
    client.send(&publish(5, "telemetry", 3, "x")).await;
    let [first, third] = [gateway.back.next().await, gateway.back.next().await];
    third.settle(Ok(()));
    first.settle(Ok(()));
    client.expect(&puback(1)).await;
    // What is ready behind the refused one is answered too.
    client.expect(&puback(3)).await;
    client.expect_disconnect(0x90).await;
}

#[tokio::test]
async fn refused_and_skipped_ones_are_taken_out_of_the_row() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected(5).await;
    client
        .send(&publish(5, "t/?on-error=skip-ack", 1, "x"))
        .await;
    client.send(&publish(5, "t/?on-error=ignore", 2, "x")).await;
    client.send(&publish(5, "t", 3, "x")).await;
    let rejected = Reason::Rejected(RejectCondition::Other, None);
    for disposition in [Err(Reason::Released), Err(rejected), Ok(())] {
        gateway.back.next().await.settle(disposition);
    }
    let refused = puback_refused(2, "consumer rejected the message");
    client.expect(&refused).await;
    client.expect(&puback(3)).await;
    client.expect_silence().await;
}

#[tokio::test]
async fn a_warm_connection_does_not_ask_the_registry_until_something_changes() {
    let mut gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 4).await;
    let mut exchange = async |client: &mut Client, topic: &str, packet_id| {
        client.send(&publish(4, topic, packet_id, "x")).await;
        client.expect(&puback(packet_id)).await;
        gateway.back.next().await;
        gateway.registry.asked.load(Ordering::Acquire)
    };
    let connected = 1;
    assert_eq!(exchange(&mut client, "t", 1).await, connected);
    assert_eq!(exchange(&mut client, "t//edge-1", 2).await, connected + 1);
    assert_eq!(exchange(&mut client, "t//edge-1", 3).await, connected + 1);
    gateway.registry.unregister("edge-1");
    client.send(&publish(4, "t//edge-1", 4, "x")).await;
    client.expect_end().await;
}

#[tokio::test]
async fn outcomes_are_served_while_the_registry_is_asked_and_the_order_stays() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected_as("gw@acme", 4).await;
    client.send(&publish(4, "t", 1, "first")).await;
    client.send(&publish(4, "t//slow-1", 2, "second")).await;
    client.send(&publish(4, "t", 3, "third")).await;
    gateway.back.next().await.settle(Ok(()));
    client.expect(&puback(1)).await;
    assert!(gateway.back.is_idle());
    gateway.registry.gate.add_permits(1);
    let [second, third] = [gateway.back.next().await, gateway.back.next().await];
    assert_eq!(&*second.message.payload, b"second");
    assert_eq!(&*third.message.payload, b"third");
    third.settle(Ok(()));
    second.settle(Ok(()));
    client.expect(&puback(2)).await;
    client.expect(&puback(3)).await;
}

#[tokio::test]
async fn messages_are_counted_once_also_when_the_device_is_gone() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected(4).await;
    client.send(&publish(4, "t", 1, "12345")).await;
    let sent = gateway.back.next().await;
    drop(client);
    sent.settle(Ok(()));
    let wanted = ["hono_telemetry_payload_bytes_sum", "forwarded", "qos=\"1\""];
    let deadline = Instant::now() + SOON;
    while gateway.series(&wanted).is_empty() && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    let series = gateway.series(&wanted);
    assert!(series[0].ends_with(" 5"), "{series:?}");
}

/// Device contract §3.5: topic, endpoint and QoS, address, registration, content type.
#[tokio::test]
async fn the_first_check_that_fails_wins() {
    let gateway = Gateway::start().await;
    let rows = [
        ("/other/nobody", 0, "", "malformed topic name"),
        ("x/other/nobody", 0, "", "no such endpoint"),
        (
            "event/other/nobody",
            0,
            "",
            "Only QoS 1 supported for event messages",
        ),
        (
            "event/other/nobody",
            1,
            "",
            "can only publish for device of same tenant",
        ),
        (
            "event/acme/nobody",
            1,
            "",
            "device is disabled or not registered",
        ),
        (
            "event/acme/edge-1",
            1,
            "",
            "Content-Type  does not match payload",
        ),
    ];
    for (topic, packet_id, payload, text) in rows {
        let mut client = gateway.connected_as("gw@acme", 5).await;
        client.send(&publish(5, topic, packet_id, payload)).await;
        let disconnect = client.packet().await;
        let told = String::from_utf8_lossy(&disconnect);
        assert!(told.contains(text), "{topic}: {told}");
    }
}
