//! What is wrong with a command, and what its application is told (northbound contract §1.8).

use fe2o3_amqp::types::messaging::{AmqpSequence, AmqpValue, Batch, Body, MessageId};
use fe2o3_amqp::types::primitives::{Binary, Value};
use serde_json::json;

use super::{FILTER, SUBSCRIBED, reply_address};
use crate::kit::{Command, Commander, Fate, Gateway, MqttDevice, story};

const BAD: &str = "hono:bad-request";
const MALFORMED: &str = "malformed command message";
const NO_TARGET: &str = "missing or invalid command target address";
const NO_DEVICE: &str = "invalid command target address";

type Change = Box<dyn Fn(&mut Command)>;

/// To where it is addressed.
fn to(address: String) -> Change {
    Box::new(move |command| command.properties.to = Some(address.clone()))
}

/// Where its response is to go.
fn reply_to(address: String) -> Change {
    let id = MessageId::String("1".to_owned());
    Box::new(move |command| {
        command.properties.reply_to = Some(address.clone());
        command.properties.correlation_id = Some(id.clone());
    })
}

fn body(value: Value) -> Change {
    Box::new(move |command| command.body = Body::Value(AmqpValue(value.clone())))
}

fn sequence() -> AmqpSequence<Value> {
    AmqpSequence(vec![Value::Int(20)])
}

#[test]
fn each_mistake_has_its_condition_and_no_device_hears_of_it() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let off = json!({"enabled": false});
        gateway.device(tenant, "off", off).await;
        let other = gateway.tenant_and_device().await;
        let replies = reply_address(tenant);
        let no_id = replies.clone();
        let number = replies.clone();
        let rows: Vec<(Change, &str, &str)> = vec![
            (Box::new(|it| it.properties.to = None), BAD, NO_TARGET),
            (to("nonsense".into()), BAD, NO_TARGET),
            (to(format!("telemetry/{tenant}/sensor")), BAD, NO_TARGET),
            (to("command".into()), BAD, NO_TARGET),
            (to(format!("command/{tenant}")), BAD, NO_DEVICE),
            (to(format!("command/{tenant}/")), BAD, NO_DEVICE),
            (
                to(format!("command/{}/sensor", other.tenant)),
                "amqp:unauthorized-access",
                "",
            ),
            (Box::new(|it| it.properties.subject = None), BAD, MALFORMED),
            (
                Box::new(move |it| it.properties.reply_to = Some(no_id.clone())),
                BAD,
                MALFORMED,
            ),
            (
                Box::new(move |it| {
                    it.properties.reply_to = Some(number.clone());
                    it.properties.message_id = Some(MessageId::Ulong(7));
                }),
                BAD,
                MALFORMED,
            ),
            (reply_to(format!("replies/{tenant}/1")), BAD, MALFORMED),
            (
                reply_to(format!("command_response/{tenant}")),
                BAD,
                MALFORMED,
            ),
            (
                reply_to(format!("command_response/{tenant}/")),
                BAD,
                MALFORMED,
            ),
            (reply_to(reply_address(&other.tenant)), BAD, MALFORMED),
            (body(Value::Int(20)), BAD, MALFORMED),
            (
                Box::new(|it| it.body = Body::Sequence(Batch::new(vec![sequence()]))),
                BAD,
                MALFORMED,
            ),
            (to(format!("command/{tenant}/nobody")), BAD, "device"),
            (to(format!("command/{tenant}/off")), BAD, "device"),
        ];
        let mut commander = Commander::of(&gateway, tenant).await;
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
        let mut theirs = MqttDevice::v3(&gateway, &other).await.unwrap();
        assert_eq!(theirs.subscribe(FILTER, 1).await, SUBSCRIBED);
        for (place, (change, expected, words)) in rows.into_iter().enumerate() {
            let mut command = Command::one_way(&device, "set", "wrong");
            change(&mut command);
            match commander.send(&command).await {
                Fate::Rejected { condition, text } => {
                    assert_eq!(condition, expected, "{command:?}");
                    assert!(text.contains(words), "{text}: {command:?}");
                }
                other => panic!("{other:?}: {command:?}"),
            }
            // The link goes on, and the next that the device hears of is this.
            let right = place.to_string();
            let command = Command::one_way(&device, "set", &right);
            let (fate, arrived) = tokio::join!(commander.send(&command), mqtt.command());
            assert_eq!((fate, arrived.payload), (Fate::Accepted, right));
        }
        let metrics = gateway.metrics().await;
        let rejected = metrics.commands(tenant, "one-way", "unprocessable");
        assert_eq!(rejected, 2, "those that could be a command of the tenant");
        let mut commander = Commander::of(&gateway, &other.tenant).await;
        let command = Command::one_way(&other, "set", "theirs");
        let (_, arrived) = tokio::join!(commander.send(&command), theirs.command());
        assert_eq!(arrived.payload, "theirs");
    });
}

#[test]
fn what_is_unusual_is_no_mistake() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.subscribe(FILTER, 1).await, SUBSCRIBED);
        let rows: [(Change, &str); 5] = [
            (body(Value::String("höher".into())), "höher"),
            (body(Value::Binary(Binary::from("20"))), "20"),
            (body(Value::Null), ""),
            (Box::new(|it| it.body = Body::Empty), ""),
            (
                // Its id will do for a request, and nothing is wanted of a one-way command.
                Box::new(|it| it.properties.message_id = Some("m-1".to_owned().into())),
                "x",
            ),
        ];
        for (change, payload) in rows {
            let mut command = Command::one_way(&device, "set", "x");
            change(&mut command);
            let (fate, arrived) = tokio::join!(commander.send(&command), mqtt.command());
            assert_eq!(fate, Fate::Accepted, "{command:?}");
            assert_eq!(arrived.payload, payload, "{command:?}");
        }
        let mut command = Command::one_way(&device, "get", "");
        command.properties.reply_to = Some(reply_address(&device.tenant));
        command.properties.message_id = Some("m-1".to_owned().into());
        let (fate, arrived) = tokio::join!(commander.send(&command), mqtt.command());
        assert_eq!(fate, Fate::Accepted);
        assert!(!arrived.request_id().is_empty());
    });
}
