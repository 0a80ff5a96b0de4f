//! The message format: what is written is read, by us and by `fe2o3-amqp-types`; what is hostile is refused.

use bytes::{BufMut, Bytes};
use fe2o3_amqp_types::messaging::{self, message::__private::Deserializable};

use super::*;
use crate::{
    Body, Message, MessageWriter, OutgoingHeader, Properties, Value,
    codec::scan::{MAX_DEPTH, check},
};

pub(super) fn telemetry() -> Bytes {
    let mut out = BytesMut::new();
    MessageWriter::new(&mut out)
        .header(true, Some(70_000))
        .annotations(|map| {
            map.string("device_id", "4711")
                .boolean("x-opt-retain", true);
            map.map("x-opt-trace-context", |map| {
                map.string("traceparent", "00-1-2-01")
                    .string("tracestate", "");
            });
        })
        .properties(&Properties {
            message_id: Some("1"),
            user_id: Some(b"me"),
            to: Some("telemetry/acme"),
            content_type: Some("application/octet-stream"),
            creation_time: Some(1_700_000_000_000),
            group_sequence: Some(70_000),
            ..Properties::default()
        })
        .application_properties(|map| {
            map.int("qos", 1).int("big", 70_000).int("negative", -1);
            map.long("long", 7)
                .long("very long", 1 << 40)
                .string("text", "7")
                .double("double", 0.5);
            map.symbol("symbol", "s")
                .boolean("no", false)
                .binary("octets", &[1, 2])
                .timestamp("at", 5);
            map.value("uint", &Value::Uint(7))
                .string("long text", &"x".repeat(300));
        })
        .data(&[9; 300]);
    out.freeze()
}

#[test]
fn what_is_written_is_read_with_its_types() {
    let message = Message::decode(telemetry()).unwrap();
    assert_eq!(
        (message.header.durable, message.header.ttl),
        (true, Some(70_000))
    );
    let annotations = &message.message_annotations;
    assert_eq!(annotations.string("device_id"), Some("4711"));
    assert_eq!(annotations.get("x-opt-retain"), Some(&Value::Bool(true)));
    let Some(Value::Map(trace)) = annotations.get("x-opt-trace-context") else {
        panic!("no trace context")
    };
    assert_eq!(
        trace.get(&Value::String("traceparent".to_owned())),
        Some(&Value::String("00-1-2-01".to_owned()))
    );

    let properties = &message.properties;
    assert_eq!(properties.message_id, Some(Value::String("1".to_owned())));
    assert_eq!(properties.user_id.as_deref(), Some(&b"me"[..]));
    assert_eq!(properties.to.as_deref(), Some("telemetry/acme"));
    assert_eq!(
        properties.content_type.as_deref(),
        Some("application/octet-stream")
    );
    assert_eq!(properties.creation_time, Some(1_700_000_000_000));
    assert_eq!(
        (properties.group_sequence, &properties.reply_to),
        (Some(70_000), &None)
    );

    let own = &message.application_properties;
    assert_eq!(own.get("qos"), Some(&Value::Int(1)));
    assert_eq!(own.get("big"), Some(&Value::Int(70_000)));
    assert_eq!(own.get("negative"), Some(&Value::Int(-1)));
    assert_eq!(own.get("long"), Some(&Value::Long(7)));
    assert_eq!(own.get("very long"), Some(&Value::Long(1 << 40)));
    assert_eq!(own.get("text"), Some(&Value::String("7".to_owned())));
    assert_eq!(own.get("double"), Some(&Value::Double(0.5.into())));
    assert_eq!(own.get("symbol"), Some(&Value::Symbol("s".into())));
    assert_eq!(own.get("no"), Some(&Value::Bool(false)));
    assert_eq!(own.get("octets"), Some(&Value::Binary(vec![1, 2].into())));
    assert_eq!(own.get("at"), Some(&Value::Timestamp(5.into())));
    assert_eq!(own.get("uint"), Some(&Value::Uint(7)));
    assert_eq!(
        (own.integer("qos"), own.integer("long"), own.integer("text")),
        (Some(1), Some(7), None)
    );
    assert_eq!(own.string("long text").map(str::len), Some(300));
    assert_eq!(message.body, Body::Data(Bytes::from(vec![9; 300])));
}

#[test]
fn a_header_says_no_more_than_it_has_to() {
    let header = |durable, ttl, first_acquirer, delivery_count| OutgoingHeader {
        durable,
        ttl,
        first_acquirer,
        delivery_count,
    };
    for (header, fields) in [
        (OutgoingHeader::default(), &b"\x02\x01\x42"[..]),
        (header(true, None, false, 0), b"\x02\x01\x41"),
        (header(true, Some(5), false, 0), b"\x05\x03\x41\x40\x52\x05"),
        (header(true, None, true, 0), b"\x05\x04\x41\x40\x40\x41"),
        (header(false, Some(0), true, 0), b"\x05\x04\x42\x40\x43\x41"),
        (
            header(true, None, false, 3),
            b"\x07\x05\x41\x40\x40\x40\x52\x03",
        ),
        (
            header(true, Some(70_000), true, u32::MAX),
            b"\x0e\x05\x41\x40\x70\x00\x01\x11\x70\x41\x70\xff\xff\xff\xff",
        ),
    ] {
        let mut out = BytesMut::new();
        MessageWriter::new(&mut out).header_with(&header).data(b"");
        assert_eq!(
            out,
            [b"\x00\x53\x70\xc0", fields, b"\0\x53\x75\xa0\0"].concat()
        );

        let own = Message::decode(out.clone().freeze()).unwrap().header;
        assert_eq!(
            (own.durable, own.ttl, own.delivery_count),
            (header.durable, header.ttl, header.delivery_count)
        );
        let read: Deserializable<messaging::Message<messaging::Body<Value>>> =
            serde_amqp::from_slice(&out).unwrap();
        let read = read.0.header.unwrap();
        assert_eq!(
            (
                read.durable,
                read.ttl,
                read.first_acquirer,
                read.delivery_count
            ),
            (
                header.durable,
                header.ttl,
                header.first_acquirer,
                header.delivery_count
            )
        );
    }
}

#[test]
fn another_implementation_reads_it_too() {
    let read: Deserializable<messaging::Message<messaging::Body<Value>>> =
        serde_amqp::from_slice(&telemetry()).unwrap();
    let read = read.0;
    assert!(read.header.unwrap().durable);
    let properties = read.properties.unwrap();
    assert_eq!(properties.to.as_deref(), Some("telemetry/acme"));
    assert_eq!(properties.group_sequence, Some(70_000));
    assert_eq!(read.application_properties.unwrap().0.len(), 13);
}

#[test]
fn the_payload_is_not_copied() {
    let message = telemetry();
    let Body::Data(data) = Message::decode(message.clone()).unwrap().body else {
        panic!("no data")
    };
    assert!(message.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn bodies_of_every_kind() {
    let body =
        |octets: &[u8]| Message::decode(Bytes::copy_from_slice(octets)).map(|message| message.body);
    assert_eq!(body(b""), Ok(Body::Empty));
    assert_eq!(
        body(b"\x00\x53\x75\xa0\x01a\x00\x53\x75\xa0\x01b\x00\x53\x75\xa0\x01c"),
        Ok(Body::Data("abc".into()))
    );
    assert_eq!(
        body(b"\x00\x53\x77\xa1\x01a"),
        Ok(Body::Value(Value::String("a".to_owned())))
    );
    assert_eq!(body(b"\x00\x53\x77\x40"), Ok(Body::Value(Value::Null)));
    assert_eq!(
        body(b"\x00\x53\x76\xc0\x02\x01\x41"),
        Ok(Body::Sequence(vec![Value::Bool(true)]))
    );
    assert_eq!(
        body(b"\x00\xa3\x10amqp:data:binary\xa0\x01a"),
        Ok(Body::Data("a".into()))
    );
    assert!(body(b"\x00\x53\x75\xa0\x01a\x00\x53\x77\x40").is_err());
    assert!(body(b"\x00\x53\x75\xa0\x02a").is_err());
    assert!(body(b"\x00\x53\x99\x40").is_err());
    assert!(body(b"\x41").is_err());
}

#[test]
fn symbols_stay_ascii_and_maps_stay_whole() {
    let mut out = BytesMut::new();
    MessageWriter::new(&mut out).annotations(|map| {
        map.symbol("schlüssel", "wert ü").string("ü", "ü");
    });
    let message = Message::decode(out.freeze()).unwrap();
    assert_eq!(message.message_annotations.0.len(), 2);
    assert_eq!(
        message.message_annotations.get("schl??ssel"),
        Some(&Value::Symbol("wert ??".into()))
    );
}

/// `levels` lists around a null.
fn nested(levels: usize) -> Vec<u8> {
    (0..levels).fold(vec![0x40], |inner, _| {
        let mut outer = vec![0xd0];
        outer.put_u32(u32::try_from(inner.len()).unwrap() + 4);
        outer.put_u32(1);
        outer.extend(inner);
        outer
    })
}

#[test]
fn depth_is_bounded_before_anything_recurses() {
    let limit = MAX_DEPTH as usize;
    assert!(check(&nested(limit)).is_ok());
    assert!(serde_amqp::from_slice::<Value>(&nested(limit)).is_ok());
    assert!(check(&nested(limit + 1)).is_err());
    for hostile in [
        nested(20_000),
        vec![0; 60_000],
        [&[0xf0, 0, 0, 0xea, 0x60, 0, 0, 0, 1][..], &[0; 59_996]].concat(),
    ] {
        assert!(check(&hostile).is_err());
        let mut message = b"\x00\x53\x77".to_vec();
        message.extend_from_slice(&hostile);
        assert!(Message::decode(message.into()).is_err());
    }
}

#[test]
fn counts_are_bounded_by_what_is_there() {
    for hostile in [
        // A list, a map and an array of four billion; elements of no width; a list with fewer octets than elements.
        &b"\xd0\x00\x00\x00\x05\xff\xff\xff\xff\x40"[..],
        b"\xd1\x00\x00\x00\x06\xff\xff\xff\xfe\x40\x40",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x45",
        b"\xc0\x02\x05\x40",
        b"\xc1\x02\x01\x40",
        b"\xb1\xff\xff\xff\xff",
        b"\xe0\x03\x02\x50\x01",
    ] {
        assert!(check(hostile).is_err(), "{hostile:?}");
    }
    let mut long = vec![0xd0];
    long.put_u32(100_004);
    long.put_u32(100_000);
    long.put_bytes(0x40, 100_000);
    assert!(check(&long).is_err());
}
