//! A command's trace, from its application to its device.

use fe2o3_amqp::types::messaging::{Body, Message, MessageAnnotations};
use fe2o3_amqp::types::primitives::{OrderedMap, Symbol, Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rumqttc::v5;
use rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};

use super::collector::Collector;
use super::{PARENT, start, telemetry, trace};
use crate::kit::{Command, Commander, Device, MqttDevice, basic, story};

/// A command that belongs to a trace.
fn traced(device: &Device, traceparent: &str) -> Message<Body<Value>> {
    let mut map = OrderedMap::new();
    let text = |text: &str| Value::String(text.to_owned());
    map.insert(text("traceparent"), text(traceparent));
    map.insert(text("tracestate"), text("a=1"));
    let key = Symbol::from("x-opt-trace-context");
    let annotations = MessageAnnotations::builder().insert(key, Value::Map(map));
    let mut message = Command::one_way(device, "set", "20").message();
    message.message_annotations = Some(annotations.build());
    message
}

/// The next message, whose acknowledgement is let go.
async fn message(packets: &mut v5::EventLoop) -> Publish {
    let message = loop {
        let event = packets.poll().await.unwrap();
        if let v5::Event::Incoming(Packet::Publish(message)) = event {
            break message;
        }
    };
    while !matches!(packets.poll().await.unwrap(), v5::Event::Outgoing(_)) {}
    message
}

#[test]
fn a_device_of_mqtt_5_is_told_which_trace_its_command_belongs_to() {
    story(async {
        let mut collector = Collector::start().await;
        let gateway = start(&collector, &[]).await;
        let device = gateway.tenant_and_device().await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let mut sender = commander.beside(&device.tenant).await;
        let MqttDevice::V5(client, mut packets) = MqttDevice::v5(&gateway, &device).await.unwrap()
        else {
            panic!("not version 5");
        };
        let subscribed = client.subscribe("command///req/#", AtLeastOnce);
        subscribed.await.unwrap();
        for is_recorded in [true, false] {
            let (trace, parent) = trace(is_recorded);
            let sent = sender.send(traced(&device, &parent));
            let (sent, arrived) = tokio::join!(sent, message(&mut packets));
            sent.unwrap();
            let said = arrived.properties.unwrap_or_default().user_properties;
            let said = |name: &str| {
                let said = said.iter().find(|(said, _)| said == name);
                said.map(|(_, value)| value.clone())
            };
            assert_said(&mut collector, &trace, is_recorded, said).await;
        }
    });
}

#[test]
fn so_is_one_of_http_that_waits_for_a_command() {
    story(async {
        let mut collector = Collector::start().await;
        let gateway = start(&collector, &[]).await;
        let device = gateway.tenant_and_device().await;
        let mut application = telemetry(&gateway, &device).await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let mut sender = commander.beside(&device.tenant).await;
        for is_recorded in [true, false] {
            let (trace, parent) = trace(is_recorded);
            let url = gateway.http("/telemetry?hono-ttd=50");
            let request = basic(reqwest::Client::new().post(url), &device).body("x");
            let waiting = tokio::spawn(request.send());
            application.accept_next().await;
            sender.send(traced(&device, &parent)).await.unwrap();
            let answer = waiting.await.unwrap().unwrap();
            assert_eq!(answer.headers()["hono-command"], "set");
            let said = |name: &str| {
                let value = answer.headers().get(name)?;
                Some(value.to_str().unwrap().to_owned())
            };
            assert_said(&mut collector, &trace, is_recorded, said).await;
        }
    });
}

/// The device has to be told of the span that sent its command, if that is recorded.
async fn assert_said(
    collector: &mut Collector,
    trace: &str,
    is_recorded: bool,
    said: impl Fn(&str) -> Option<String>,
) {
    if !is_recorded {
        assert_eq!((said("traceparent"), said("tracestate")), (None, None));
        return;
    }
    let receive = collector.of(trace, "receive command").await;
    let send = collector.of(trace, "send command").await;
    assert_eq!((&*receive.parent, &receive.id), (PARENT, &send.parent));
    assert_eq!(receive.kind, SpanKind::Consumer as i32);
    assert_eq!(receive.says("command"), "set");
    assert_eq!(receive.says("device_id"), "sensor");
    let expected = format!("00-{trace}-{}-01", send.id);
    assert_eq!(said("traceparent").as_deref(), Some(&*expected));
    assert_eq!(said("tracestate").as_deref(), Some("a=1"));
}
