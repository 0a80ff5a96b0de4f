//! Messages in one frame or in many, and what is too large.

use std::time::Duration;

use super::{wire::Wire, *};
use crate::{
    codec::{
        frame::{self, Front},
        hot::{self, Transfer},
        primitive::Reader,
    },
    condition,
};

#[test]
fn a_mebibyte_goes_through_frames_of_512_octets() {
    for chunks in [Chunks::Whole, Chunks::Random] {
        let small = || Config {
            max_frame_size: 512,
            incoming_window: 64,
            ..config()
        };
        let mut pair = Pair::open_with(small(), small()).chunks(chunks, 3);
        let session = pair.begin();
        let (receiver, sender) = pair.telemetry(session, "t", 5);
        let big: Vec<u8> = (0..1_048_576_u32).map(|i| (i / 7) as u8).collect();
        send(&mut pair.server, pair.now, sender, 1, &big).unwrap();
        assert!(!pair.server.conn.can_send(sender));
        pair.drive();
        send(&mut pair.server, pair.now, sender, 2, b"small").unwrap();
        pair.drive();
        let messages = pair.client.messages();
        assert!(messages[0].2 == big && messages[1].2 == b"small");
        for (_, delivery, _) in messages {
            pair.client
                .conn
                .settle(receiver, delivery, &Outcome::Accepted);
        }
        pair.drive();
        assert_eq!(
            pair.server.outcomes(),
            [(1, Outcome::Accepted), (2, Outcome::Accepted)]
        );
    }
}

#[test]
fn output_stays_near_its_high_water_mark_while_a_long_message_leaves() {
    let limits = || Config {
        output_high_water: 10_000,
        max_frame_size: 4096,
        ..config()
    };
    let mut pair = Pair::open_with(limits(), limits());
    let session = pair.begin();
    let (_, sender) = pair.telemetry(session, "t", 5);
    send(&mut pair.server, pair.now, sender, 1, &vec![7; 900_000]).unwrap();
    let mut seen = 0;
    while !pair.server.conn.output().is_empty() {
        let output = pair.server.conn.output();
        assert!(output.len() < 10_000 + 4096);
        seen += output.len();
        output.clear();
    }
    assert!(seen > 900_000);
}

#[test]
fn messages_larger_than_the_peer_takes_are_not_sent() {
    let mut pair = Pair::open_with(
        Config {
            max_message_size: 1000,
            ..config()
        },
        config(),
    );
    let session = pair.begin();
    let (_, sender) = pair.telemetry(session, "t", 5);
    send(&mut pair.server, pair.now, sender, 1, &[0; 1001]).unwrap();
    send(&mut pair.server, pair.now, sender, 2, &[0; 1000]).unwrap();
    pair.drive();
    let (token, outcome) = pair.server.outcomes().remove(0);
    assert_eq!(token, 1);
    assert!(
        matches!(outcome, Outcome::Rejected { condition: Some(c), .. } if c == condition::MESSAGE_SIZE_EXCEEDED)
    );
    assert_eq!(pair.client.messages().len(), 1);
}

#[test]
fn messages_larger_than_we_take_detach_the_link() {
    let chunk = [0; 600];
    for wire in [
        Wire::default().sender(0).transfer(0, 0, &[0; 1001]),
        Wire::default()
            .sender(0)
            .fragment(0, 0, &chunk, true, true)
            .fragment(0, 0, &chunk, false, false),
    ] {
        let mut pair = Pair::open_with(
            config(),
            Config {
                max_message_size: 1000,
                ..config()
            },
        );
        pair.begin();
        let attach = Wire::default().sender(0).0;
        let (head, tail) = wire.0.split_at(attach.len());
        pair.server.input.extend_from_slice(head);
        pair.server.turn(pair.now);
        pair.server.input.extend_from_slice(tail);
        pair.server.turn(pair.now);
        assert_eq!(
            condition_of(&pair.server.detached()[0].1),
            condition::MESSAGE_SIZE_EXCEEDED
        );
        assert!(pair.server.closed().is_none());
    }
}

#[test]
fn partial_messages_have_a_budget_per_connection() {
    let mut pair = Pair::open_with(
        config(),
        Config {
            max_partial_bytes: 1000,
            ..config()
        },
    );
    pair.begin();
    pair.server
        .input
        .unsplit(Wire::default().sender(0).sender(1).0);
    pair.server.turn(pair.now);
    let half = [0; 600];
    let wire = Wire::default()
        .fragment(0, 0, &half, true, true)
        .fragment(1, 1, &half, true, true);
    pair.server
        .input
        .unsplit(wire.fragment(0, 0, b"end", false, false).0);
    pair.server.turn(pair.now);
    assert_eq!(
        condition_of(&pair.server.detached()[0].1),
        condition::RESOURCE_LIMIT_EXCEEDED
    );
    assert_eq!(pair.server.messages()[0].2.len(), 603);
}

#[test]
fn an_aborted_message_is_not_seen_and_costs_no_credit() {
    let mut pair = Pair::open();
    pair.begin();
    pair.server.input.unsplit(Wire::default().sender(0).0);
    pair.server.turn(pair.now);
    let link = pair.server.attached().unwrap();
    let wire = Wire::default()
        .fragment(0, 0, b"half", true, true)
        .aborted(0, 0)
        .transfer(0, 1, b"whole");
    pair.server.input.unsplit(wire.0);
    pair.server.turn(pair.now);
    assert_eq!(
        pair.server
            .messages()
            .iter()
            .map(|(_, _, m)| m.as_slice())
            .collect::<Vec<_>>(),
        [b"whole"]
    );
    assert_eq!(pair.server.conn.incoming_credit(link), 9);
}

#[test]
fn a_delivery_that_interrupts_another_detaches_the_link() {
    let mut pair = Pair::open();
    pair.begin();
    pair.server.input.unsplit(Wire::default().sender(0).0);
    pair.server.turn(pair.now);
    pair.server.input.unsplit(
        Wire::default()
            .fragment(0, 0, b"half", true, true)
            .transfer(0, 1, b"m")
            .0,
    );
    pair.server.turn(pair.now);
    assert_eq!(
        condition_of(&pair.server.detached()[0].1),
        condition::NOT_ALLOWED
    );
}

#[test]
fn giving_up_a_message_that_is_half_sent_aborts_it() {
    let small = || Config {
        max_frame_size: 512,
        incoming_window: 4,
        ..config()
    };
    let mut pair = Pair::open_with(small(), small());
    let session = pair.begin();
    let (_, sender) = pair.telemetry(session, "t", 10);
    pair.client.frozen = true;
    let options = SendOptions {
        settled: false,
        give_up_at: Some(pair.now + Duration::from_secs(1)),
    };
    pair.server
        .conn
        .send(pair.now, sender, 1, options, |out| {
            out.extend_from_slice(&[1; 10_000]);
        })
        .unwrap();
    pair.pass(Duration::from_secs(2));
    assert_eq!(pair.server.outcomes(), [(1, Outcome::TimedOut)]);
    pair.client.frozen = false;
    pair.drive();
    send(&mut pair.server, pair.now, sender, 2, b"next").unwrap();
    pair.drive();
    assert_eq!(
        pair.client
            .messages()
            .iter()
            .map(|(_, _, m)| m.as_slice())
            .collect::<Vec<_>>(),
        [b"next"]
    );
}

/// Of each first transfer frame in `heard`.
fn delivery_ids(heard: &[u8]) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut rest = &heard[8..];
    while let Front::Whole(header) = frame::peek(rest, u32::MAX) {
        let mut body = Reader::new(&rest[header.body..header.size]);
        if !body.is_empty() && body.descriptor() == Ok(hot::TRANSFER) {
            let transfer = Transfer::decode(body.fields().unwrap()).unwrap();
            ids.extend(transfer.delivery_id);
        }
        rest = &rest[header.size..];
    }
    ids
}

#[test]
fn delivery_ids_follow_one_another_on_the_wire() {
    // Peers end the session over an id that is not the next one: a long message whose turn has not come must not be
    // overtaken by a short one that was sent later.
    let small = || Config {
        max_frame_size: 512,
        output_high_water: 2000,
        ..config()
    };
    let mut pair = Pair::open_with(small(), small());
    let session = pair.begin();
    let links: Vec<_> = ["a", "b", "c"]
        .map(|name| pair.telemetry(session, name, 50).1)
        .into();
    let mut token = 0;
    for round in 0..150 {
        for link in &links {
            let len = if round % 3 == token as usize % 3 {
                9000
            } else {
                10
            };
            let options = SendOptions {
                settled: token % 5 == 0,
                give_up_at: (token % 4 == 0).then_some(pair.now),
            };
            let sent = pair
                .server
                .conn
                .send(pair.now, *link, token, options, |out| {
                    out.extend_from_slice(&vec![7; len]);
                });
            token += u32::from(sent.is_ok());
        }
        // The transport takes what there is; some messages are given up half-way.
        let output = pair.server.conn.output().split();
        pair.server.wire.unsplit(output);
        if round % 4 == 0 {
            pair.server.conn.handle_timeout(pair.now);
        }
    }
    pair.drive();
    assert!(token > 30, "{token}");
    assert_eq!(
        delivery_ids(&pair.client.heard),
        (0..token).collect::<Vec<_>>()
    );
    assert!(pair.client.ended().is_empty());
}
