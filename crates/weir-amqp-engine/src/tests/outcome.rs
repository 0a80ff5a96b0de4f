//! Outcomes, both ways; deliveries that end without one.

use std::time::Duration;

use super::{wire::Wire, *};
use crate::{
    ReceiverSettleMode,
    codec::hot::{self, DispositionOut},
    serial::Serial,
};

fn rejected(condition: &str, description: &str) -> Outcome {
    Outcome::Rejected {
        condition: Some(condition.to_owned()),
        description: Some(description.to_owned()),
    }
}

fn settle_all(side: &mut Side, link: LinkId) {
    for (_, delivery, _) in side.messages() {
        side.conn.settle(link, delivery, &Outcome::Accepted);
    }
}

/// For each outcome in turn, whether the receiver left it to us to settle.
fn left_to_us(side: &Side) -> Vec<bool> {
    let settled = side.events.iter().filter_map(|event| match event {
        Event::Settled { left_to_us, .. } => Some(*left_to_us),
        _ => None,
    });
    settled.collect()
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
    let disposition = DispositionOut {
        as_receiver: false,
        settled: true,
        range: (Serial(0), Serial(2)),
    };
    hot::put_disposition(&mut answer, 0, disposition, &Outcome::Accepted);
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
fn a_receiver_that_settles_second_leaves_it_to_the_sender() {
    for (mode, left) in [
        (ReceiverSettleMode::First, false),
        (ReceiverSettleMode::Second, true),
    ] {
        // The client receives.
        let mut pair = Pair::open();
        let session = pair.begin();
        let request = AttachRequest {
            rcv_settle_mode: mode,
            ..AttachRequest::receiver("t", "telemetry/acme", 10)
        };
        let receiver = pair.client.conn.attach(session, request);
        pair.drive();
        let sender = pair.server.attached().unwrap();
        for token in 0..3 {
            send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
        }
        pair.drive();
        settle_all(&mut pair.client, receiver);
        pair.drive();
        assert_eq!(left_to_us(&pair.server), [left; 3]);

        // The server receives; whatever the client wishes for, the server decides.
        for wish in [ReceiverSettleMode::First, ReceiverSettleMode::Second] {
            let request = AttachRequest {
                rcv_settle_mode: wish,
                ..AttachRequest::sender("c", "command/acme")
            };
            pair.server.obliging = false;
            pair.server.events.clear();
            pair.client.events.clear();
            let sender = pair.client.conn.attach(session, request);
            pair.drive();
            let receiver = pair.server.attached().unwrap();
            let accept = AcceptLink {
                credit: 10,
                rcv_settle_mode: mode,
                ..AcceptLink::default()
            };
            pair.server.conn.accept_link(receiver, accept);
            pair.drive();
            for token in 0..3 {
                send(&mut pair.client, pair.now, sender, token, b"m").unwrap();
            }
            pair.drive();
            settle_all(&mut pair.server, receiver);
            pair.drive();
            assert_eq!(left_to_us(&pair.client), [left; 3]);
            assert!(pair.client.any(
                |event| matches!(event, Event::Attached { attach, .. } if attach.rcv_settle_mode == mode)
            ));
            pair.client.conn.detach(sender, None);
            pair.drive();
        }
    }
}

#[test]
fn an_outcome_without_settlement_is_told_whatever_was_agreed() {
    let mut pair = Pair::open();
    pair.begin();
    pair.server
        .input
        .unsplit(Wire::default().receiver(0).credit(0, 9).0);
    pair.server.turn(pair.now);
    let link = pair.server.attached().unwrap();
    for token in 0..4 {
        send(&mut pair.server, pair.now, link, token, b"m").unwrap();
    }
    let wire = Wire::default()
        .disposition(0, 1, false, &Outcome::Accepted)
        .disposition(2, 2, true, &Outcome::Accepted)
        .disposition(0, 2, true, &Outcome::Released)
        .disposition(3, 3, false, &rejected("hono:bad-request", "no"));
    pair.server.input.unsplit(wire.0);
    pair.server.turn(pair.now);
    assert_eq!(left_to_us(&pair.server), [true, true, false, true]);
    assert_eq!(
        pair.server.outcomes()[3].1,
        rejected("hono:bad-request", "no")
    );
}

#[test]
fn outcomes_of_links_that_settle_differently_are_not_merged() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let mut links = Vec::new();
    for (name, rcv_settle_mode) in [
        ("a", ReceiverSettleMode::First),
        ("b", ReceiverSettleMode::Second),
    ] {
        let request = AttachRequest {
            rcv_settle_mode,
            ..AttachRequest::receiver(name, "telemetry/acme", 10)
        };
        let ours = pair.client.conn.attach(session, request);
        pair.drive();
        links.push((ours, pair.server.attached().unwrap()));
    }
    for token in 0..6 {
        let (_, sender) = links[token as usize % 2];
        send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
    }
    pair.drive();
    for (link, delivery, _) in pair.client.messages() {
        pair.client.conn.settle(link, delivery, &Outcome::Accepted);
    }
    pair.drive();
    assert_eq!(
        left_to_us(&pair.server),
        [false, true, false, true, false, true]
    );
}
