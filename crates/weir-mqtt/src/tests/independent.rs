//! Clients that somebody else wrote.

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, v5};

use super::*;

const MESSAGES: usize = 100;

#[tokio::test]
async fn rumqttc_publishes_with_version_3_1_1() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut options = MqttOptions::new("rumqttc", "127.0.0.1", gateway.address.port());
    options
        .set_credentials("sensor1@acme", "secret")
        .set_inflight(20);
    let (client, mut events) = AsyncClient::new(options, 2 * MESSAGES);
    for number in 0..MESSAGES {
        let topic = if number % 2 == 0 {
            "telemetry"
        } else {
            "e//4711"
        };
        client
            .try_publish(topic, QoS::AtLeastOnce, false, "21.5")
            .unwrap();
    }
    let mut acknowledged = 0;
    while acknowledged < MESSAGES {
        let event = tokio::time::timeout(SOON, events.poll()).await.unwrap();
        acknowledged += usize::from(matches!(event.unwrap(), Event::Incoming(Packet::PubAck(_))));
    }
}

#[tokio::test]
async fn rumqttc_publishes_with_version_5() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut options = v5::MqttOptions::new("rumqttc", "127.0.0.1", gateway.address.port());
    options.set_credentials("sensor1@acme", "secret");
    let (client, mut events) = v5::AsyncClient::new(options, 2 * MESSAGES);
    for _ in 0..MESSAGES {
        let qos = v5::mqttbytes::QoS::AtLeastOnce;
        client.try_publish("telemetry", qos, false, "21.5").unwrap();
    }
    let mut acknowledged = 0;
    while acknowledged < MESSAGES {
        let event = tokio::time::timeout(SOON, events.poll())
            .await
            .unwrap()
            .unwrap();
        let puback = matches!(
            event,
            v5::Event::Incoming(v5::mqttbytes::v5::Packet::PubAck(_))
        );
        acknowledged += usize::from(puback);
    }
}
