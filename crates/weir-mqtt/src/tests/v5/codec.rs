//! Packets of version 5, byte by byte.

use std::num::NonZeroU16;

use bytes::BytesMut;
use rmqtt_codec::types::QoS;

use super::super::client::{Connect, field, packet, property, publish_with, user};
use crate::codec::{self, BadConnect, Codec, Message, Packet};

const LIMIT: usize = 100_000;

/// What comes of a CONNECT: a codec, or the code that is told.
fn connect(bytes: &[u8]) -> Result<Codec, u8> {
    match codec::connect(&mut BytesMut::from(bytes), LIMIT, LIMIT) {
        Ok(Some((codec, _))) => Ok(codec),
        Ok(None) => panic!("a part is missing: {bytes:02x?}"),
        Err(BadConnect::Told(_, code, _)) => Err(code.v5.into()),
        Err(BadConnect::Silent(text)) => panic!("{text}: {bytes:02x?}"),
    }
}

fn connect_with(properties: &[u8]) -> Result<Codec, u8> {
    let request = Connect {
        version: 5,
        properties,
        ..Connect::default()
    };
    connect(&request.bytes())
}

/// What comes of packets: all of them, or the code that is told of the first that is wrong.
fn decode(packets: &[Vec<u8>]) -> Result<Vec<Packet>, u8> {
    let mut codec = connect_with(b"").unwrap();
    let mut inbox = BytesMut::from(&packets.concat()[..]);
    let mut all = Vec::new();
    while !inbox.is_empty() {
        let packet = codec.decode(&mut inbox).map_err(|found| found.code)?;
        all.push(packet.unwrap());
    }
    Ok(all)
}

fn topics(packets: &[Vec<u8>]) -> Result<Vec<String>, u8> {
    let topic = |packet| match packet {
        Packet::Publish(publish) => publish.topic.to_string(),
        other => panic!("{other:?}"),
    };
    Ok(decode(packets)?.into_iter().map(topic).collect())
}

fn publish(topic: &str, properties: &[u8]) -> Vec<u8> {
    publish_with(0x30, 5, topic, 0, properties, "x")
}

/// A PUBLISH with a topic alias.
fn aliased(topic: &str, alias: u16) -> Vec<u8> {
    publish(topic, &[&[0x23], &alias.to_be_bytes()[..]].concat())
}

/// Every property of CONNECT (MQTT 5 §3.1.2.11): fine once; what is wrong with two of them, and with
/// values that they may not have.
#[test]
fn properties_of_connect() {
    let once: [(&str, &[u8]); 8] = [
        ("session expiry", &[0x11, 0, 0, 0, 0]),
        ("receive maximum", &[0x21, 0, 1]),
        ("maximum packet size", &[0x27, 0, 0, 0, 1]),
        ("topic alias maximum", &[0x22, 0, 0]),
        ("request response information", &[0x19, 1]),
        ("request problem information", &[0x17, 0]),
        ("request problem information, 1", &[0x17, 1]),
        ("user property", &[0x26, 0, 0, 0, 0]),
    ];
    for (name, bytes) in once {
        assert_eq!(connect_with(bytes).err(), None, "{name}");
        let twice = connect_with(&bytes.repeat(2)).err();
        let expected = (name != "user property").then_some(0x82);
        assert_eq!(twice, expected, "{name}");
    }
    let wrong: [(&str, &[u8], u8); 9] = [
        ("receive maximum 0", &[0x21, 0, 0], 0x82),
        ("maximum packet size 0", &[0x27, 0, 0, 0, 0], 0x82),
        ("request response information 2", &[0x19, 2], 0x82),
        ("request problem information 2", &[0x17, 2], 0x82),
        ("authentication data alone", &[0x16, 0, 0], 0x82),
        ("authentication", &[0x15, 0, 0, 0x16, 0, 0], 0x8c),
        ("no property of CONNECT", &[3, 0, 0], 0x81),
        ("no property at all", &[0x7f, 0], 0x81),
        ("half a property", &[0x21, 0], 0x81),
    ];
    for (name, bytes, code) in wrong {
        assert_eq!(connect_with(bytes).err(), Some(code), "{name}");
    }
}

#[test]
fn properties_of_a_will() {
    let with = |properties: &[u8]| {
        let mut body = field("MQTT");
        body.extend([5, 0x06, 0, 60, 0]);
        body.extend(field("client"));
        body.push(properties.len().try_into().unwrap());
        body.extend(properties);
        body.extend([field("telemetry"), field("bye")].concat());
        connect(&packet(0x10, &body)).err()
    };
    let rows: [(&[u8], Option<u8>); 7] = [
        (&[], None),
        (&[0x18, 0, 0, 0, 9, 1, 1, 2, 0, 0, 0, 9], None),
        (&[2, 0, 0, 0, 0], None),
        (&[1, 2], Some(0x82)),
        (&[0x18, 0, 0, 0, 9, 0x18, 0, 0, 0, 9], Some(0x82)),
        (&[3, 0, 0, 3, 0, 0], Some(0x82)),
        (&[0x21, 0, 1], Some(0x81)),
    ];
    for (properties, code) in rows {
        assert_eq!(with(properties), code, "{properties:02x?}");
    }
}

/// MQTT 5 §3.3.2.3.
#[test]
fn properties_of_publish() {
    let rows = [
        ("user properties", user("a", "b").repeat(2), None),
        ("text", vec![1, 1], None),
        ("no text", vec![1, 0], None),
        ("payload format 2", vec![1, 2], Some(0x82)),
        ("payload format twice", vec![1, 1, 1, 1], Some(0x82)),
        ("expiry twice", [2, 0, 0, 0, 9].repeat(2), Some(0x82)),
        (
            "response topic twice",
            property(8, "t").repeat(2),
            Some(0x82),
        ),
        ("correlation twice", property(9, "t").repeat(2), Some(0x82)),
        ("topic alias twice", [0x23, 0, 1].repeat(2), Some(0x82)),
        ("topic alias 0", vec![0x23, 0, 0], Some(0x94)),
        ("topic alias 17", vec![0x23, 0, 17], Some(0x94)),
        ("no property of PUBLISH", vec![0x21, 0, 1], Some(0x81)),
        ("half a user property", property(0x26, "a"), Some(0x81)),
        ("user property with U+0000", user("a\0", "b"), Some(0x81)),
    ];
    for (name, properties, code) in rows {
        let found = topics(&[publish("t", &properties)]);
        assert_eq!(found.err(), code, "{name}");
    }
    let beyond = packet(0x30, &[&field("t")[..], &[9, 1, 1]].concat());
    assert_eq!(topics(&[beyond]).err(), Some(0x81));
}

#[test]
fn a_message_may_expire_at_once() {
    for (seconds, expected) in [(0_u32, 1), (1, 1), (256, 256), (u32::MAX, u32::MAX)] {
        let properties = [&[1, 1, 2], &seconds.to_be_bytes()[..]].concat();
        for first in [0x30, 0x32] {
            let packet_id = u16::from(first == 0x32);
            let publish = publish_with(first, 5, "t", packet_id, &properties, "x");
            let [Packet::Publish(publish)] = &decode(&[publish]).unwrap()[..] else {
                panic!("no PUBLISH");
            };
            assert_eq!(&*publish.payload, b"x");
            let properties = publish.properties.as_ref().unwrap();
            let expiry = properties.message_expiry_interval.unwrap();
            assert_eq!(expiry.get(), expected);
        }
    }
}

/// MQTT 5 §3.3.2.3.4.
#[test]
fn topic_aliases() {
    let rows = [
        (vec![aliased("t", 1), aliased("", 1)], Ok(vec!["t", "t"])),
        (vec![aliased("t", 16), aliased("", 16)], Ok(vec!["t", "t"])),
        // Another topic for the same number, another number for the same topic.
        (
            vec![
                aliased("t", 2),
                aliased("e", 1),
                aliased("e", 2),
                aliased("", 1),
                aliased("", 2),
                publish("c", b""),
                aliased("", 2),
            ],
            Ok(vec!["t", "e", "e", "e", "e", "c", "e"]),
        ),
        (vec![aliased("t", 2), aliased("", 1)], Err(0x82)),
        (vec![aliased("t", 2), aliased("", 3)], Err(0x82)),
        (vec![aliased("", 1)], Err(0x82)),
        (vec![publish("", b"")], Err(0x82)),
        (vec![aliased("", 0)], Err(0x94)),
        (vec![aliased("t", 17)], Err(0x94)),
        (vec![aliased("", u16::MAX)], Err(0x94)),
        (vec![aliased("t/#", 1)], Err(0x90)),
    ];
    for (packets, expected) in rows {
        let found = topics(&packets);
        let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(found, expected, "{packets:02x?}");
    }
}

#[test]
fn properties_of_what_is_no_message() {
    let subscribe = |properties: &[u8], filter: &str, options: u8| {
        let mut body = vec![0, 1, properties.len().try_into().unwrap()];
        body.extend(properties);
        body.extend(field(filter));
        body.push(options);
        packet(0x82, &body)
    };
    let reason = property(0x1f, "why");
    let rows = [
        ("all options", subscribe(b"", "c///q/#", 0x2d), None),
        (
            "identifier",
            subscribe(&[0x0b, 1], "c///q/#", 1),
            Some(0xa1),
        ),
        (
            "identifier 0",
            subscribe(&[0x0b, 0], "c///q/#", 1),
            Some(0x82),
        ),
        (
            "identifier twice",
            subscribe(&[0x0b, 1, 0x0b, 1], "c///q/#", 1),
            Some(0x82),
        ),
        ("QoS 3", subscribe(b"", "c///q/#", 3), Some(0x82)),
        (
            "retain handling 3",
            subscribe(b"", "c///q/#", 0x31),
            Some(0x82),
        ),
        (
            "reserved options",
            subscribe(b"", "c///q/#", 0x41),
            Some(0x81),
        ),
        ("shared", subscribe(b"", "$share/g/c///q/#", 1), None),
        (
            "No Local, shared",
            subscribe(b"", "$share/g/c///q/#", 5),
            Some(0x82),
        ),
        (
            "PUBACK",
            packet(0x40, &[&[0, 1, 0x80, 6], &reason[..]].concat()),
            None,
        ),
        (
            "PUBACK, two reasons",
            packet(0x40, &[&[0, 1, 0x80, 12], &reason.repeat(2)[..]].concat()),
            Some(0x82),
        ),
        (
            "DISCONNECT, two reasons",
            packet(0xe0, &[&[0x80, 12], &reason.repeat(2)[..]].concat()),
            Some(0x82),
        ),
        (
            "PUBACK without properties",
            packet(0x40, &[0, 1, 0x80]),
            None,
        ),
        ("DISCONNECT without anything", packet(0xe0, b""), None),
    ];
    for (name, bytes, code) in rows {
        assert_eq!(decode(&[bytes]).err(), code, "{name}");
    }
}

/// A codec for a client that takes packets of `size` bytes.
fn taking(size: u8) -> Codec {
    connect_with(&[0x27, 0, 0, 0, size]).unwrap()
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

const ONE: NonZeroU16 = NonZeroU16::MIN;

/// [MQTT-3.1.2-29], [MQTT-3.4.2-2].
#[test]
fn why_a_message_was_refused_is_said_if_it_is_wanted_and_fits() {
    let refused = |codec: &Codec, text| written(|out| codec.puback_refused(ONE, text, out));
    let short = [0x40, 3, 0, 1, 0x80];
    // Type, length, packet id, code, length, property of 3 + 2.
    let long = [0x40, 9, 0, 1, 0x80, 5, 0x1f, 0, 2, b'n', b'o'];
    assert_eq!(refused(&connect_with(b"").unwrap(), "no"), long);
    assert_eq!(refused(&connect_with(&[0x17, 1]).unwrap(), "no"), long);
    assert_eq!(refused(&connect_with(&[0x17, 0]).unwrap(), "no"), short);
    assert_eq!(refused(&taking(11), "no"), long);
    assert_eq!(refused(&taking(10), "no"), short);
    let all = connect_with(b"").unwrap();
    assert_eq!(refused(&all, ""), short);
    assert_eq!(refused(&all, "no\0body"), long);
    // Cut where a character ends.
    let much = "é".repeat(40_000);
    let packet = refused(&all, &format!("x{much}"));
    assert_eq!(packet.len(), 3 + 3 + 2 + 3 + 255);
    assert_eq!(packet[..3], [0x40, 0x87, 0x02]);
    let text = std::str::from_utf8(&packet[11..]).unwrap();
    assert!(text.starts_with("xé") && text.ends_with('é'), "{text}");
}

#[test]
fn subscriptions_are_answered_in_packets_that_the_client_takes() {
    let granted = [Some(QoS::AtLeastOnce), None, Some(QoS::AtMostOnce)];
    let suback = |mut codec: Codec, text| written(|out| codec.suback(ONE, &granted, text, out));
    let short = [0x90, 6, 0, 1, 0, 1, 0x80, 0];
    let long = [0x90, 11, 0, 1, 5, 0x1f, 0, 2, b'n', b'o', 1, 0x80, 0];
    assert_eq!(suback(connect_with(b"").unwrap(), "no"), long);
    assert_eq!(suback(connect_with(b"").unwrap(), ""), short);
    assert_eq!(suback(connect_with(&[0x17, 0]).unwrap(), "no"), short);
    assert_eq!(suback(taking(13), "no"), long);
    assert_eq!(suback(taking(12), "no"), short);
    assert_eq!(suback(taking(8), "no"), short);
    assert_eq!(suback(taking(7), "no"), b"");
    let mut codec = taking(7);
    let one = written(|out| codec.unsuback(ONE, &[true, false], out));
    assert_eq!(one, [0xb0, 5, 0, 1, 0, 0, 0x80]);
    let none = written(|out| codec.unsuback(ONE, &[true; 3], out));
    assert_eq!(none, b"");
}

#[test]
fn a_message_with_all_that_can_be_said_of_it() {
    let message = Message {
        topic: "c///q/id/on",
        payload: b"go",
        content_type: Some("text/plain"),
        answer: Some(("c///s/id/200", b"id")),
        user: &[("a", "1"), ("bc", "")],
    };
    let said = [
        property(3, "text/plain"),
        property(8, "c///s/id/200"),
        property(9, "id"),
        b"\x26\0\x01a\0\x011\x26\0\x02bc\0\0".to_vec(),
    ]
    .concat();
    let send = |codec: &Codec, message: Message<'_>, packet_id| {
        let mut out = BytesMut::new();
        let is_sent = codec.publish(message, packet_id, &mut out);
        is_sent.then(|| out.to_vec())
    };
    let expected = publish_with(0x32, 5, message.topic, 1, &said, "go");
    let codec = connect_with(b"").unwrap();
    assert_eq!(send(&codec, message, Some(ONE)), Some(expected.clone()));
    let size = u8::try_from(expected.len()).unwrap();
    assert_eq!(send(&taking(size), message, Some(ONE)), Some(expected));
    assert_eq!(send(&taking(size - 1), message, Some(ONE)), None);
    let v3 = connect(&Connect::default().bytes()).unwrap();
    let plain = publish_with(0x30, 4, message.topic, 0, b"", "go");
    assert_eq!(send(&v3, message, None), Some(plain));

    // What no string can hold.
    let long = "x".repeat(65_536);
    for content_type in ["a\0b", &long] {
        let message = Message {
            content_type: Some(content_type),
            answer: None,
            user: &[],
            ..message
        };
        let expected = publish_with(0x30, 5, message.topic, 0, b"", "go");
        assert_eq!(send(&codec, message, None), Some(expected));
    }
    for message in [
        Message {
            topic: &long,
            ..message
        },
        Message {
            answer: Some((&long, b"id")),
            ..message
        },
        Message {
            answer: Some(("t", long.as_bytes())),
            ..message
        },
    ] {
        assert_eq!(send(&codec, message, None), None);
    }
}

/// Lengths of properties and packets, at each of which one more byte is needed.
#[test]
fn lengths_of_properties() {
    let codec = connect_with(b"").unwrap();
    for length in [0, 1, 124, 125, 16_380, 16_381, 65_535] {
        let content_type = "x".repeat(length);
        let message = Message {
            topic: "t",
            payload: b"go",
            content_type: Some(&content_type),
            ..Message::default()
        };
        let packet = written(|out| assert!(codec.publish(message, None, out)));
        let [Packet::Publish(publish)] = &decode(&[packet]).unwrap()[..] else {
            panic!("no PUBLISH");
        };
        assert_eq!(&*publish.payload, b"go");
        let properties = publish.properties.as_ref().unwrap();
        assert_eq!(properties.content_type.as_deref(), Some(&*content_type));
    }
}
