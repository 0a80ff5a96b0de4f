//! What a device hears of its messages that were refused, if it has subscribed to that.

use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{Answer, Application, Device, End, Gateway, MqttDevice, connect_packet, story};

const GRANTED: Option<u8> = Some(0);
const NO_CONSUMER: &str = "no consumer available";

/// The next error: its topic, and what it says but for the time.
async fn error(mqtt: &mut MqttDevice) -> (String, Value) {
    let arrived = mqtt.command().await;
    assert_eq!(arrived.qos, 0, "{}", arrived.topic);
    let mut error: Value = serde_json::from_str(&arrived.payload).unwrap();
    let time = error.as_object_mut().unwrap().remove("timestamp").unwrap();
    let time = time.as_str().unwrap();
    // 2026-11-21T10:00:00.000Z
    let dot = time.rfind('.').unwrap();
    assert_eq!(dot, "2026-11-21T10:00:00".len(), "{time}");
    assert!(time.len() == dot + 5 && time.ends_with('Z'), "{time}");
    (arrived.topic, error)
}

async fn assert_error(mqtt: &mut MqttDevice, topic: &str, message: &str) {
    let (told, error) = error(mqtt).await;
    assert_eq!(told, topic);
    let mut end = topic.rsplit('/');
    let code: u16 = end.next().unwrap().parse().unwrap();
    let id = end.next().unwrap();
    let expected = json!({"code": code, "message": message, "correlation-id": id});
    assert_eq!(error, expected, "{topic}");
}

/// A device connected in either version.
async fn both(gateway: &Gateway, device: &Device) -> [MqttDevice; 2] {
    [
        MqttDevice::v3(gateway, device).await.unwrap(),
        MqttDevice::v5(gateway, device).await.unwrap(),
    ]
}

/// What is acknowledged all the same: version 3.1.1 cannot say that it was refused.
fn acknowledged(mqtt: &MqttDevice) -> Answer {
    Answer::Acknowledged {
        success: matches!(mqtt, MqttDevice::V3(..)),
    }
}

#[test]
fn without_a_consumer_the_device_is_told_so_and_may_go_on() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        for mqtt in &mut both(&gateway, &device).await {
            assert_eq!(mqtt.subscribe("error///#", 1).await, None);
            assert_eq!(mqtt.subscribe("error///#", 0).await, GRANTED);
            mqtt.send("telemetry", "21.5", false).await;
            assert_error(mqtt, "error///telemetry/-1/503", NO_CONSUMER).await;
            // Another spelling takes its place.
            let filter = format!("e/{tenant}//#");
            assert_eq!(mqtt.subscribe(&filter, 0).await, GRANTED);
            mqtt.send("t/?correlation-id=first", "21.5", true).await;
            let topic = format!("e/{tenant}//t/first/503");
            assert_error(mqtt, &topic, NO_CONSUMER).await;
            assert_eq!(mqtt.answer().await, acknowledged(mqtt));
            mqtt.send("event", "no event", false).await;
            let topic = format!("e/{tenant}//event/-1/400");
            assert_error(mqtt, &topic, "Only QoS 1 supported for event messages").await;
        }
        let mut application = Application::consume(&gateway, &format!("telemetry/{tenant}")).await;
        for mqtt in &mut both(&gateway, &device).await {
            assert_eq!(mqtt.subscribe("error///#", 0).await, GRANTED);
            let publish = mqtt.publish("telemetry", "22");
            let (answer, _) = tokio::join!(publish, application.accept_next());
            assert_eq!(answer, Answer::Acknowledged { success: true });
            // Without the subscription the same is the end.
            mqtt.unsubscribe("error//+/#").await;
            mqtt.send("nowhere", "22", false).await;
            let end = match mqtt {
                MqttDevice::V3(..) => End::Closed,
                MqttDevice::V5(..) => End::Told(DisconnectReasonCode::TopicNameInvalid),
            };
            assert_eq!(mqtt.end().await, end);
        }
    });
}

#[test]
fn a_gateway_is_told_whose_message_it_was() {
    story(async {
        let gateway = Gateway::start().await;
        let tenant = gateway.tenant(json!({})).await;
        let concentrator = gateway.device(&tenant, "concentrator", json!({})).await;
        let via = json!({"via": ["concentrator"]});
        gateway.device(&tenant, "edge", via).await;
        for mqtt in &mut both(&gateway, &concentrator).await {
            for filter in ["error//+/#", "error///#"] {
                assert_eq!(mqtt.subscribe(filter, 0).await, GRANTED);
                mqtt.send("t//edge", "1", false).await;
                assert_error(mqtt, "error//edge/t/-1/503", NO_CONSUMER).await;
                mqtt.send("t//concentrator", "1", false).await;
                assert_error(mqtt, "error///t/-1/503", NO_CONSUMER).await;
                mqtt.send("e//nobody/?correlation-id=7", "1", true).await;
                let text = "device is disabled or not registered";
                assert_error(mqtt, "error//nobody/e/7/404", text).await;
                assert_eq!(mqtt.answer().await, acknowledged(mqtt));
            }
        }
    });
}

/// By hand: a client library may see the end before it has handed over what came last.
#[test]
fn a_terminal_error_is_told_before_the_connection_is_closed() {
    story(async {
        let gateway = Gateway::start().await;
        let tenant = gateway.tenant(json!({})).await;
        let concentrator = gateway.device(&tenant, "concentrator", json!({})).await;
        gateway.device(&tenant, "stranger", json!({})).await;
        let login = (&*concentrator.username, &*concentrator.password);
        for level in [4, 5] {
            let properties: &[u8] = if level == 5 { &[0] } else { &[] };
            let filter = field("error///#");
            let subscribe = [&[0, 1], properties, &filter, &[0]].concat();
            let topic = field("t//stranger/?on-error=ignore&correlation-id=last");
            let publish = [&topic, &[0, 2][..], properties, b"1"].concat();
            let packets = [
                connect_packet(level, Some(login.0), Some(login.1)),
                packet(0x82, &subscribe),
                packet(0x32, &publish),
            ];
            let address = gateway.address("mqtt");
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&packets.concat()).await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();

            let topic = field("error//stranger/t/last/403");
            let at = heard
                .windows(topic.len())
                .position(|part| part == topic)
                .unwrap();
            let rest = &heard[at + topic.len() + properties.len()..];
            let end = rest.iter().position(|byte| *byte == b'}').unwrap() + 1;
            let error: Value = serde_json::from_slice(&rest[..end]).unwrap();
            assert_eq!(error["message"], "gateway is disabled or not registered");
            assert_eq!(error["correlation-id"], "last");
            match &rest[end..] {
                // DISCONNECT: not authorized.
                [0xe0, _, 0x87, ..] if level == 5 => {}
                [] if level == 4 => {}
                other => panic!("{level} {other:02x?}"),
            }
        }
    });
}

fn field(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap();
    assert!(length < 128, "the length takes one byte");
    [&[first, length], body].concat()
}
