//! Descriptors may be symbols [1.3], also inside, and a lone value may stand for an array of one.

use serde_amqp::{Value, descriptor::Descriptor};

use super::{fuzz::record, wire::Wire, *};
use crate::codec::{
    frame::{self, Front},
    scan,
};

const NAMES: [(u64, &str); 24] = [
    (0x10, "amqp:open:list"),
    (0x11, "amqp:begin:list"),
    (0x12, "amqp:attach:list"),
    (0x13, "amqp:flow:list"),
    (0x14, "amqp:transfer:list"),
    (0x15, "amqp:disposition:list"),
    (0x16, "amqp:detach:list"),
    (0x17, "amqp:end:list"),
    (0x18, "amqp:close:list"),
    (0x1d, "amqp:error:list"),
    (0x23, "amqp:received:list"),
    (0x24, "amqp:accepted:list"),
    (0x25, "amqp:rejected:list"),
    (0x26, "amqp:released:list"),
    (0x27, "amqp:modified:list"),
    (0x28, "amqp:source:list"),
    (0x29, "amqp:target:list"),
    (0x30, "amqp:coordinator:list"),
    (0x40, "amqp:sasl-mechanisms:list"),
    (0x41, "amqp:sasl-init:list"),
    (0x42, "amqp:sasl-challenge:list"),
    (0x43, "amqp:sasl-response:list"),
    (0x44, "amqp:sasl-outcome:list"),
    (0x2b, "amqp:delete-on-close:list"),
];

fn rename(value: &mut Value) {
    match value {
        Value::Described(described) => {
            if let Descriptor::Code(code) = described.descriptor {
                let name = NAMES.iter().find(|(known, _)| *known == code);
                let (_, name) = name.unwrap_or_else(|| panic!("{code:x} has no name here"));
                described.descriptor = Descriptor::Name((*name).into());
            }
            rename(&mut described.value);
        }
        Value::List(values) => values.iter_mut().for_each(rename),
        _ => {}
    }
}

/// The same octets with symbols for all descriptors.
fn symbolic(heard: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut rest = heard;
    while !rest.is_empty() {
        if rest.starts_with(b"AMQP") {
            out.extend_from_slice(&rest[..8]);
            rest = &rest[8..];
            continue;
        }
        let Front::Whole(header) = frame::peek(rest, u32::MAX) else {
            panic!("not a frame");
        };
        let body = &rest[header.body..header.size];
        let start = frame::begin(&mut out, header.kind, header.channel);
        if !body.is_empty() {
            let len = scan::check(body).unwrap();
            let mut value: Value = serde_amqp::from_slice(&body[..len]).unwrap();
            rename(&mut value);
            out.extend_from_slice(&serde_amqp::to_vec(&value).unwrap());
            out.extend_from_slice(&body[len..]);
        }
        frame::end(&mut out, start);
        rest = &rest[header.size..];
    }
    out.to_vec()
}

/// What an obliging owner is told when all this arrives.
fn story(conn: Connection<u32>, now: Instant, heard: &[u8]) -> Vec<String> {
    let mut side = Side::new(conn);
    // Little by little, or transfers would come before there is credit.
    for octet in heard {
        side.input.extend_from_slice(&[*octet]);
        side.turn(now);
    }
    side.events
        .iter()
        .map(|event| format!("{event:?}"))
        .collect()
}

#[test]
fn symbolic_descriptors_tell_the_same_story() {
    let now = Instant::now();
    let (client_heard, server_heard) = record();
    let config = || Config {
        sasl_mechanisms: vec!["PLAIN"],
        ..config()
    };
    let told = |heard: &[u8]| story(Connection::server(config(), now), now, heard);
    let numeric = told(&server_heard);
    assert!(numeric.len() > 15, "{numeric:#?}");
    assert!(numeric.last().unwrap().contains("Remote"));
    assert_eq!(told(&symbolic(&server_heard)), numeric);

    let told = |heard: &[u8]| {
        let sasl = ClientSasl::Plain {
            username: "user".to_owned(),
            password: "secret".to_owned(),
        };
        story(Connection::client(config(), sasl, now), now, heard)
    };
    // Nobody has begun the session that is answered here.
    let numeric = told(&client_heard);
    assert!(numeric[0].contains("Opened") && numeric[1].contains("not begun"));
    assert_eq!(told(&symbolic(&client_heard)), numeric);
}

#[test]
fn outcomes_with_symbolic_descriptors_are_understood() {
    let error = [(0, Outcome::Accepted), (1, Outcome::Released)];
    let rejected = Outcome::Rejected {
        condition: Some("a:b".to_owned()),
        description: Some("c".to_owned()),
    };
    let modified = Outcome::Modified {
        delivery_failed: true,
        undeliverable_here: true,
    };
    let expected = [&error[..], &[(2, rejected), (3, modified)]].concat();
    let mut pair = Pair::open();
    pair.begin();
    pair.server
        .input
        .unsplit(Wire::default().receiver(0).credit(0, 9).0);
    pair.server.turn(pair.now);
    let link = pair.server.attached().unwrap();
    let mut wire = Wire::default();
    for (token, outcome) in &expected {
        send(&mut pair.server, pair.now, link, *token, b"m").unwrap();
        wire = wire.disposition(*token, *token, true, outcome);
    }
    pair.server.input.extend_from_slice(&symbolic(&wire.0));
    pair.server.turn(pair.now);
    assert_eq!(pair.server.outcomes(), expected);
}

#[test]
fn a_lone_symbol_stands_for_an_array_of_one() {
    // open: container-id, then nulls up to desired-capabilities.
    let mut open = b"\x00\x00\x00\x00\x02\x00\x00\x00\x00\x53\x10\xc0\x11\x09\xa1\x01a\x40\x40\x40\x40\x40\x40\xa3\x01x\xa3\x01y".to_vec();
    open[3] = u8::try_from(open.len()).unwrap();
    open[12] = u8::try_from(open.len() - 13).unwrap();
    let now = Instant::now();
    let mut server = Side::new(Connection::server(config(), now));
    server.input.extend_from_slice(b"AMQP\x00\x01\x00\x00");
    server.input.extend_from_slice(&open);
    server.turn(now);
    assert!(server.any(|event| matches!(event, Event::Opened(open)
        if open.offered_capabilities == ["x"] && open.desired_capabilities == ["y"])));

    let mut mechanisms =
        b"\x00\x00\x00\x00\x02\x01\x00\x00\x00\x53\x40\xc0\x00\x01\xa3\x08EXTERNAL".to_vec();
    mechanisms[3] = u8::try_from(mechanisms.len()).unwrap();
    mechanisms[12] = u8::try_from(mechanisms.len() - 13).unwrap();
    let mut client = Side::new(Connection::client(config(), ClientSasl::External, now));
    client.input.extend_from_slice(b"AMQP\x03\x01\x00\x00");
    client.input.extend_from_slice(&mechanisms);
    client.turn(now);
    assert_eq!(client.closed(), None);
    // sasl-init follows the header.
    assert_eq!(client.wire[8 + 10], 0x41);
}
