//! Clients that somebody else wrote.

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, v5};
use weir_core::command::CommandOutcome;

use super::command::{Asked, request};
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

#[tokio::test]
async fn rumqttc_takes_a_command_and_answers_with_version_3_1_1() {
    let mut gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut options = MqttOptions::new("rumqttc", "127.0.0.1", gateway.address.port());
    options.set_credentials("sensor1@acme", "secret");
    let (client, mut events) = AsyncClient::new(options, 10);
    client
        .try_subscribe("command///req/#", QoS::AtLeastOnce)
        .unwrap();
    let mut outcome = None;
    let topic = loop {
        let event = tokio::time::timeout(SOON, events.poll()).await.unwrap();
        match event.unwrap() {
            Event::Incoming(Packet::SubAck(_)) => {
                outcome = Some(gateway.command("4711", "setLight", request()).await);
            }
            Event::Incoming(Packet::Publish(publish)) => break publish.topic,
            _ => {}
        }
    };
    let answer = answer_to(&topic);
    client
        .try_publish(answer, QoS::AtLeastOnce, false, "done")
        .unwrap();
    let driven = async { while events.poll().await.is_ok() {} };
    tokio::select! {
        () = driven => panic!("connection lost"),
        () = expect_answer(&mut gateway, outcome) => {}
    }
}

#[tokio::test]
async fn rumqttc_takes_a_command_and_answers_with_version_5() {
    use v5::mqttbytes::v5::Packet;
    let mut gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut options = v5::MqttOptions::new("rumqttc", "127.0.0.1", gateway.address.port());
    options.set_credentials("sensor1@acme", "secret");
    let (client, mut events) = v5::AsyncClient::new(options, 10);
    let qos = v5::mqttbytes::QoS::AtLeastOnce;
    client.try_subscribe("command///req/#", qos).unwrap();
    let mut outcome = None;
    let topic = loop {
        let event = tokio::time::timeout(SOON, events.poll()).await.unwrap();
        match event.unwrap() {
            v5::Event::Incoming(Packet::SubAck(_)) => {
                outcome = Some(gateway.command("4711", "setLight", request()).await);
            }
            v5::Event::Incoming(Packet::Publish(publish)) => {
                break String::from_utf8(publish.topic.to_vec()).unwrap();
            }
            _ => {}
        }
    };
    client
        .try_publish(answer_to(&topic), qos, false, "done")
        .unwrap();
    let driven = async { while events.poll().await.is_ok() {} };
    tokio::select! {
        () = driven => panic!("connection lost"),
        () = expect_answer(&mut gateway, outcome) => {}
    }
}

/// Where a device answers a command that came by `topic`.
fn answer_to(topic: &str) -> String {
    let segments: Vec<_> = topic.split('/').collect();
    let [_, "", "", "req", request_id, "setLight"] = segments[..] else {
        panic!("{topic}");
    };
    format!("command///res/{request_id}/200")
}

/// That the command was taken, and that its answer is on its way to whom it belongs.
async fn expect_answer(gateway: &mut Gateway, outcome: Option<Asked>) {
    assert_eq!(outcome.unwrap().await, CommandOutcome::Accepted);
    // Before it comes the event that says that the device can be reached.
    assert_eq!(gateway.back.next().await.message.ttd, Some(-1));
    let message = gateway.back.next().await.message;
    assert_eq!(&*message.payload, b"done");
    let response = message.response.unwrap();
    let reply_to = request().unwrap();
    assert_eq!((response.status, response.reply_to), (200, reply_to));
}
