//! What a device that takes commands over MQTT does.

use rumqttc::v5;

use super::MqttDevice;

/// A command as a device gets it.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    packet: Packet,
}

#[derive(Clone, Debug)]
enum Packet {
    V3(rumqttc::Publish),
    V5(v5::mqttbytes::v5::Publish),
}

impl Arrived {
    /// What a response has to name; empty if none is wanted.
    pub(crate) fn request_id(&self) -> &str {
        self.topic.split('/').nth(4).unwrap()
    }
}

impl MqttDevice {
    /// Subscribes and waits for the answer: the QoS that is granted, or none.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> Option<u8> {
        match self {
            Self::V3(client, events) => {
                use rumqttc::SubscribeReasonCode::Success;
                let qos = rumqttc::qos(qos).unwrap();
                client.subscribe(filter, qos).await.unwrap();
                loop {
                    let event = events.poll().await.unwrap();
                    if let rumqttc::Event::Incoming(rumqttc::Packet::SubAck(answer)) = event {
                        return match answer.return_codes[..] {
                            [Success(granted)] => Some(granted as u8),
                            _ => None,
                        };
                    }
                }
            }
            Self::V5(client, events) => {
                use v5::mqttbytes::v5::{Packet, SubscribeReasonCode::Success};
                let qos = v5::mqttbytes::qos(qos).unwrap();
                client.subscribe(filter, qos).await.unwrap();
                loop {
                    let event = events.poll().await.unwrap();
                    if let v5::Event::Incoming(Packet::SubAck(answer)) = event {
                        return match answer.return_codes[..] {
                            [Success(granted)] => Some(granted as u8),
                            _ => None,
                        };
                    }
                }
            }
        }
    }

    /// Unsubscribes and waits for the answer.
    pub(crate) async fn unsubscribe(&mut self, filter: &str) {
        match self {
            Self::V3(client, events) => {
                client.unsubscribe(filter).await.unwrap();
                let is_answer = |event: &rumqttc::Event| {
                    matches!(
                        event,
                        rumqttc::Event::Incoming(rumqttc::Packet::UnsubAck(_))
                    )
                };
                while !is_answer(&events.poll().await.unwrap()) {}
            }
            Self::V5(client, events) => {
                use v5::mqttbytes::v5::Packet;
                client.unsubscribe(filter).await.unwrap();
                let is_answer =
                    |event: &v5::Event| matches!(event, v5::Event::Incoming(Packet::UnsubAck(_)));
                while !is_answer(&events.poll().await.unwrap()) {}
            }
        }
    }

    /// The next command. The client has acknowledged it when it is returned, unless it is
    /// [silent](MqttDevice::silent).
    pub(crate) async fn command(&mut self) -> Arrived {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match self {
            Self::V3(_, events) => loop {
                let event = events.poll().await.unwrap();
                if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(packet)) = event {
                    return Arrived {
                        topic: packet.topic.clone(),
                        payload: text(&packet.payload),
                        qos: packet.qos as u8,
                        packet: Packet::V3(packet),
                    };
                }
            },
            Self::V5(_, events) => loop {
                let event = events.poll().await.unwrap();
                if let v5::Event::Incoming(v5::mqttbytes::v5::Packet::Publish(packet)) = event {
                    return Arrived {
                        topic: text(&packet.topic),
                        payload: text(&packet.payload),
                        qos: packet.qos as u8,
                        packet: Packet::V5(packet),
                    };
                }
            },
        }
    }

    /// Hands the acknowledgement of a command to a silent client, which lets it go when it is polled.
    pub(crate) async fn acknowledge(&mut self, arrived: &Arrived) {
        match (self, &arrived.packet) {
            (Self::V3(client, _), Packet::V3(packet)) => client.ack(packet).await.unwrap(),
            (Self::V5(client, _), Packet::V5(packet)) => client.ack(packet).await.unwrap(),
            (_, packet) => panic!("{packet:?}"),
        }
    }
}
