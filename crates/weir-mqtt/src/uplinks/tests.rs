use std::num::NonZeroU32;

use bytes::Bytes;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn publish(topic: &str, qos: QoS) -> Publish {
    Publish {
        dup: false,
        retain: false,
        qos,
        topic: ByteString::from(topic),
        packet_id: (qos != QoS::AtMostOnce).then_some(NonZeroU16::MIN),
        payload: Bytes::from_static(b"21.5"),
        properties: None,
    }
}

fn with(topic: &str, properties: PublishProperties) -> Received {
    let publish = Publish {
        properties: Some(properties),
        ..publish(topic, QoS::AtLeastOnce)
    };
    receive(publish, Instant::now()).1.unwrap()
}

fn user(name: &'static str, value: &'static str) -> (ByteString, ByteString) {
    (name.into(), value.into())
}

#[test]
fn which_quality_goes_with_which_endpoint() {
    use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
    let rows = [
        ("t", AtMostOnce, None),
        ("t", AtLeastOnce, None),
        ("t", ExactlyOnce, Some(400)),
        ("e", AtMostOnce, Some(400)),
        ("e", AtLeastOnce, None),
        ("e", ExactlyOnce, Some(400)),
        ("c///s/0014r/200", AtMostOnce, None),
        ("c///s/0014r/200", AtLeastOnce, None),
        ("c///s/0014r/200", ExactlyOnce, Some(400)),
        ("x", AtMostOnce, Some(404)),
        ("x", ExactlyOnce, Some(404)),
        // The topic is looked at first.
        ("/t", ExactlyOnce, Some(400)),
    ];
    for (topic, qos, status) in rows {
        let (_, received) = receive(publish(topic, qos), Instant::now());
        let refused = received.err().map(|reason| reason.status());
        assert_eq!(refused, status, "{topic} {qos:?}");
    }
    let (_, event) = receive(publish("e", AtMostOnce), Instant::now());
    assert_eq!(
        event.unwrap_err().text(),
        "Only QoS 1 supported for event messages"
    );
    let (_, malformed) = receive(publish("/t", AtMostOnce), Instant::now());
    assert_eq!(malformed.unwrap_err().text(), "malformed topic name");
}

#[test]
fn only_qos_1_is_ever_acknowledged() {
    let reply = |topic, qos| receive(publish(topic, qos), Instant::now()).0;
    assert_eq!(reply("t", QoS::AtMostOnce).packet_id, None);
    assert_eq!(
        reply("t/?on-error=ignore", QoS::ExactlyOnce).packet_id,
        None
    );
    let expected = Reply {
        packet_id: Some(NonZeroU16::MIN),
        on_error: OnError::Ignore,
        topic: "x/?on-error=ignore".into(),
    };
    assert_eq!(reply("x/?on-error=ignore", QoS::AtLeastOnce), expected);
    assert_eq!(reply("/t", QoS::AtLeastOnce).on_error, OnError::Default);
}

#[test]
fn what_the_bag_says_wins_over_the_properties() {
    let properties = || PublishProperties {
        content_type: Some("application/json".into()),
        message_expiry_interval: NonZeroU32::new(60),
        user_properties: vec![
            user("x", "y"),
            user("traceparent", PARENT),
            user("tracestate", "a=b"),
        ],
        ..PublishProperties::default()
    };
    let plain = with("event", properties());
    assert_eq!(plain.content_type.as_deref(), Some("application/json"));
    assert_eq!(plain.ttl, Some(60));
    let trace = plain.trace.unwrap();
    assert_eq!(
        (trace.to_string().as_str(), trace.tracestate()),
        (PARENT, Some("a=b"))
    );

    let other = PARENT.replace("-01", "-00");
    let topic = format!("event/?content-type=text/plain&hono-ttl=5&traceparent={other}");
    let bag = with(&topic, properties());
    assert_eq!(bag.content_type.as_deref(), Some("text/plain"));
    assert_eq!(bag.ttl, Some(5));
    assert_eq!(bag.trace.unwrap().to_string(), other);
    assert_eq!(&*bag.origin_address, topic.as_str());
}

#[test]
fn only_events_have_a_time_to_live_and_an_empty_content_type_is_none() {
    let telemetry = with(
        "telemetry/?hono-ttl=5&content-type=",
        PublishProperties::default(),
    );
    assert_eq!((telemetry.ttl, telemetry.content_type), (None, None));
    let event = with("event/?hono-ttl=0", PublishProperties::default());
    assert_eq!(event.ttl, Some(0));
}
