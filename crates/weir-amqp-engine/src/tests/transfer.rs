//! Messages and outcomes, both ways.

use std::time::Duration;

use super::{wire::Wire, *};
use crate::{condition, serial::Serial};

fn rejected(condition: &str, description: &str) -> Outcome {
    Outcome::Rejected {
        condition: Some(condition.to_owned()),
        description: Some(description.to_owned()),
    }
}

#[test]
fn all_four_outcomes_come_back_as_they_were_given() {
    for seed in 0..10 {
        let mut pair = Pair::open().chunks(Chunks::Random, seed);
        let session = pair.begin();
        let (receiver, sender) = pair.telemetry(session, "t", 100);
        let outcomes = [
            Outcome::Accepted,
            rejected("hono:bad-request", "no"),
            Outcome::Rejected {
                condition: None,
                description: None,
            },
            Outcome::Released,
            Outcome::Modified {
                delivery_failed: true,
                undeliverable_here: false,
            },
            Outcome::Modified {
                delivery_failed: false,
                undeliverable_here: true,
            },
        ];
        for token in 0..90 {
            send(
                &mut pair.server,
                pair.now,
                sender,
                token,
                format!("message {token}").as_bytes(),
            )
            .unwrap();
        }
        pair.drive();
        let given = |token: u32| outcomes[token as usize / 3 % outcomes.len()].clone();
        for (token, (link, delivery, message)) in (0..).zip(pair.client.messages()) {
            assert_eq!(
                (link, message),
                (receiver, format!("message {token}").into_bytes())
            );
            pair.client.conn.settle(link, delivery, &given(token));
        }
        pair.drive();
        let mut expected: Vec<_> = (0..90).map(|token| (token, given(token))).collect();
        expected.sort_by_key(|(token, _)| *token);
        assert_eq!(pair.server.outcomes(), expected);
    }
}

#[test]
fn outcomes_out_of_order_find_their_tokens() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 100);
    for token in 0..50 {
        send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
    }
    pair.drive();
    let mut deliveries: Vec<_> = pair
        .client
        .messages()
        .into_iter()
        .map(|(_, delivery, _)| delivery)
        .collect();
    deliveries.reverse();
    for delivery in deliveries {
        pair.client
            .conn
            .settle(receiver, delivery, &Outcome::Accepted);
    }
    pair.drive();
    let tokens: Vec<u32> = pair
        .server
        .outcomes()
        .into_iter()
        .map(|(token, _)| token)
        .collect();
    assert_eq!(tokens, (0..50).rev().collect::<Vec<_>>());
}

#[test]
fn the_client_sends_commands_and_learns_their_outcomes() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (sender, receiver) = pair.commands(session, "c");
    for token in 0..10 {
        send(&mut pair.client, pair.now, sender, token, b"command").unwrap();
    }
    assert_eq!(
        send(&mut pair.client, pair.now, sender, 10, b"command"),
        Err(10)
    );
    pair.drive();
    assert_eq!(pair.server.conn.incoming_credit(receiver), 0);
    for (link, delivery, _) in pair.server.messages() {
        pair.server.conn.settle(link, delivery, &Outcome::Released);
    }
    pair.server.conn.grant_credit(receiver, 10);
    pair.drive();
    assert_eq!(pair.client.outcomes().len(), 10);
    assert_eq!(pair.client.conn.credit(sender), 10);
}

#[test]
fn equal_outcomes_in_a_row_are_one_frame() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 1000);
    for token in 0..1000 {
        send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
    }
    pair.drive();
    for (_, delivery, _) in pair.client.messages() {
        pair.client
            .conn
            .settle(receiver, delivery, &Outcome::Accepted);
    }
    assert!(pair.client.conn.output().len() < 40);
    pair.drive();
    assert_eq!(pair.server.outcomes().len(), 1000);
}

#[test]
fn a_receiver_that_settles_second_is_answered() {
    let mut pair = Pair::open();
    pair.begin();
    pair.server
        .input
        .unsplit(Wire::default().second().credit(0, 5).0);
    pair.server.turn(pair.now);
    let link = pair.server.attached().unwrap();
    for token in 0..3 {
        send(&mut pair.server, pair.now, link, token, b"m").unwrap();
    }
    pair.server.turn(pair.now);
    let twice = Wire::default()
        .disposition(0, 2, false, &Outcome::Accepted)
        .disposition(0, 2, false, &Outcome::Accepted);
    pair.server.conn.handle_input(
        pair.now,
        &mut twice.disposition(0, 2, true, &Outcome::Released).0.clone(),
    );
    let mut answer = BytesMut::new();
    crate::codec::hot::put_disposition(
        &mut answer,
        0,
        false,
        (Serial(0), Serial(2)),
        &Outcome::Accepted,
    );
    assert_eq!(pair.server.conn.output(), &answer);
    pair.server.turn(pair.now);
    let accepted: Vec<_> = (0..3).map(|token| (token, Outcome::Accepted)).collect();
    assert_eq!(pair.server.outcomes(), accepted);
}

#[test]
fn absurd_ranges_settle_what_is_there_and_nothing_else() {
    for (first, last, settles) in [
        (0, u32::MAX / 2, true),
        (u32::MAX - 5, 1 << 30, true),
        (1 << 31, (1 << 31) - 1, false),
        (5, 4, false),
        (100, 1 << 30, false),
        (u32::MAX - 9, u32::MAX, false),
    ] {
        let mut pair = Pair::open();
        pair.begin();
        pair.server
            .input
            .unsplit(Wire::default().receiver(0).credit(0, 5).0);
        pair.server.turn(pair.now);
        let link = pair.server.attached().unwrap();
        for token in 0..3 {
            send(&mut pair.server, pair.now, link, token, b"m").unwrap();
        }
        pair.server.input.unsplit(
            Wire::default()
                .disposition(first, last, true, &Outcome::Accepted)
                .0,
        );
        pair.server.turn(pair.now);
        assert_eq!(
            pair.server.outcomes().len(),
            if settles { 3 } else { 0 },
            "{first}..={last}"
        );
    }
}

#[test]
fn presettled_messages_come_back_at_once() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let request = AttachRequest {
        snd_settle_mode: crate::SenderSettleMode::Settled,
        ..AttachRequest::receiver("t", "telemetry/acme", 10)
    };
    pair.client.conn.attach(session, request);
    pair.drive();
    let sender = pair.server.attached().unwrap();
    send(&mut pair.server, pair.now, sender, 1, b"m").unwrap();
    pair.drive();
    assert_eq!(pair.server.outcomes(), [(1, Outcome::Unknown)]);
    assert!(
        pair.client
            .any(|event| matches!(event, Event::Message { settled: true, .. }))
    );
}

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
fn giving_up_settles_as_released_and_late_outcomes_are_ignored() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 10);
    for token in 0..4 {
        let give_up_at = Some(pair.now + Duration::from_secs(if token == 2 { 5 } else { 1 }));
        let options = SendOptions {
            settled: false,
            give_up_at,
        };
        pair.server
            .conn
            .send(pair.now, sender, token, options, |out| {
                out.extend_from_slice(b"m");
            })
            .unwrap();
    }
    pair.drive();
    pair.pass(Duration::from_millis(1001));
    let timed_out = [
        (0, Outcome::TimedOut),
        (1, Outcome::TimedOut),
        (3, Outcome::TimedOut),
    ];
    assert_eq!(pair.server.outcomes(), timed_out);
    for (_, delivery, _) in pair.client.messages() {
        pair.client
            .conn
            .settle(receiver, delivery, &Outcome::Accepted);
    }
    pair.drive();
    assert_eq!(pair.server.outcomes()[3..], [(2, Outcome::Accepted)]);
    pair.pass(Duration::from_secs(10));
    assert_eq!(pair.server.outcomes().len(), 4);
    assert!(pair.server.closed().is_none());
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

#[test]
fn a_killed_peer_brings_back_a_thousand_tokens_at_once() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (_, sender) = pair.telemetry(session, "t", 2000);
    for token in 0..1000 {
        send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
    }
    pair.drive();
    pair.server.conn.handle_eof(pair.now);
    pair.server.turn(pair.now);
    let lost: Vec<_> = (0..1000).map(|token| (token, Outcome::LinkLost)).collect();
    assert_eq!(pair.server.outcomes(), lost);
    assert!(matches!(
        pair.server.events.last(),
        Some(Event::Closed { .. })
    ));
}

#[test]
fn sequences_wrap() {
    let near = Serial(u32::MAX - 1295);
    // delivery-count too: what a receiver says about it is relative.
    let mut pair = Pair::open_at(Firsts {
        delivery_id: near,
        transfer_id: near,
        delivery_count: near,
    });
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 100);
    let mut token = 0;
    for _ in 0..40 {
        while pair.server.conn.can_send(sender) {
            send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
            token += 1;
        }
        pair.drive();
        for event in std::mem::take(&mut pair.client.events) {
            if let Event::Message { delivery, .. } = event {
                pair.client
                    .conn
                    .settle(receiver, delivery, &Outcome::Accepted);
            }
        }
        pair.client.conn.grant_credit(receiver, 100);
        pair.drive();
    }
    assert_eq!(token, 4000);
    let outcomes = pair.server.outcomes();
    assert_eq!(outcomes.len(), 4000);
    assert!(
        (0..)
            .zip(outcomes)
            .all(|(i, outcome)| outcome == (i, Outcome::Accepted))
    );
}
