//! Message sections.

use serde_amqp::{described::Described, descriptor::Descriptor};

use super::*;
use crate::{Body, Map, Message, MessageWriter, Value, tests::message::telemetry};

const CASES: u64 = 15_000;

/// Values of every kind in every place.
fn messages() -> Vec<Vec<u8>> {
    let mut rich = BytesMut::new();
    let described = Value::Described(Box::new(Described {
        descriptor: Descriptor::Code(5),
        value: Value::List(vec![Value::Null, Value::Char('x')]),
    }));
    let values = [
        described,
        Value::Array(serde_amqp::primitives::Array(vec![
            Value::Symbol("a".into()),
            Value::Symbol("b".into()),
        ])),
        Value::Uuid([7; 16].into()),
        Value::Decimal32([1; 4].into()),
        Value::Decimal64([1; 8].into()),
        Value::Decimal128([1; 16].into()),
        Value::Float(1.5.into()),
        Value::Ulong(1 << 40),
    ];
    MessageWriter::new(&mut rich)
        .annotations(|map| {
            for value in &values {
                map.value("value", value);
            }
        })
        .application_properties(|map| {
            map.map("map", |map| {
                map.int("int", 1).map("inner", |_| {});
            });
        })
        .value(&Value::List(values.to_vec()));
    vec![
        telemetry().to_vec(),
        rich.to_vec(),
        // Two data sections, a sequence, delivery annotations and a footer, symbolic descriptors.
        b"\x00\x53\x75\xa0\x01a\x00\x53\x75\xb0\x00\x00\x00\x01b".to_vec(),
        b"\x00\x53\x71\xc1\x05\x02\xa3\x01a\x41\x00\x53\x76\xc0\x03\x02\x41\x42\x00\x53\x78\xc1\x01\x00".to_vec(),
        b"\x00\xa3\x10amqp:header:list\xc0\x02\x01\x41\x00\xa3\x11amqp:amqp-value:*\x40".to_vec(),
    ]
}

#[test]
fn broken_messages_are_read_or_refused() {
    let good = messages();
    for message in &good {
        Message::decode(message.clone().into()).unwrap();
    }
    let (mut read, mut refused) = (0, 0);
    for case in 0..cases(CASES) {
        let _case = Case(case);
        let mut rng = Rng::new(case);
        let mut octets = good[rng.below(good.len())].clone();
        break_octets(&mut octets, &mut rng);
        let len = octets.len();
        let Ok(message) = Message::decode(octets.into()) else {
            refused += 1;
            continue;
        };
        read += 1;
        if let Body::Data(data) = &message.body {
            assert!(data.len() <= len);
        }
        write_again(&message);
    }
    assert!(read.min(refused) > cases(CASES) / 20, "{read} {refused}");
}

/// What was read can be passed on, and is read as the same.
fn write_again(message: &Message) {
    let mut out = BytesMut::new();
    let all = |map: &Map| map.0.clone();
    MessageWriter::new(&mut out)
        .annotations(|map| {
            for (key, value) in all(&message.message_annotations) {
                map.value(&key, &value);
            }
        })
        .application_properties(|map| {
            for (key, value) in all(&message.application_properties) {
                map.value(&key, &value);
            }
        });
    let again = Message::decode(out.freeze()).unwrap();
    assert_eq!(
        again.application_properties.0.len(),
        message.application_properties.0.len()
    );
}
