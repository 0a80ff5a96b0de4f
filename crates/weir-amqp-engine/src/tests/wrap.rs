//! Delivery-ids, transfer-ids and delivery-counts that start shortly before 2^32, in both roles.

use super::*;
use crate::{SenderSettleMode, serial::Serial};

/// As far before the wrap as takes a few rounds of everything.
const BEFORE: u32 = 1296;

fn firsts() -> Firsts {
    let near = Serial(0_u32.wrapping_sub(BEFORE));
    Firsts {
        delivery_id: near,
        transfer_id: near,
        // What a receiver says about it is relative.
        delivery_count: near,
    }
}

/// A pair and a link on which messages go one way: the ends and their links, the sender's first.
fn one_way(client_sends: bool) -> (Pair, LinkId, LinkId) {
    let small = || Config {
        max_frame_size: 512,
        incoming_window: 50,
        ..config()
    };
    let mut pair = Pair::new(small(), ClientSasl::None, small());
    pair.client.conn.set_firsts(firsts());
    pair.server.conn.set_firsts(firsts());
    pair.drive();
    let session = pair.begin();
    let request = match client_sends {
        true => AttachRequest::sender("a", "command/acme"),
        false => AttachRequest::receiver("a", "telemetry/acme", 10),
    };
    let ours = pair.client.conn.attach(
        session,
        AttachRequest {
            snd_settle_mode: SenderSettleMode::Mixed,
            ..request
        },
    );
    pair.drive();
    let theirs = pair.server.attached().unwrap();
    match client_sends {
        true => (pair, ours, theirs),
        false => (pair, theirs, ours),
    }
}

fn ends(pair: &mut Pair, client_sends: bool) -> (&mut Side, &mut Side) {
    match client_sends {
        true => (&mut pair.client, &mut pair.server),
        false => (&mut pair.server, &mut pair.client),
    }
}

fn outcome_of(token: u32) -> Outcome {
    match token / 5 % 3 {
        0 => Outcome::Accepted,
        1 => Outcome::Released,
        _ => Outcome::Modified {
            delivery_failed: true,
            undeliverable_here: false,
        },
    }
}

#[test]
fn messages_and_outcomes_of_every_kind_cross_the_wrap() {
    for client_sends in [true, false] {
        let (mut pair, sender, receiver) = one_way(client_sends);
        let (mut token, mut expected) = (0, Vec::new());
        for round in 0..80 {
            let now = pair.now;
            let (sending, _) = ends(&mut pair, client_sends);
            for _ in 0..40 {
                let options = SendOptions {
                    settled: token % 11 == 0,
                    give_up_at: (token % 13 == 0).then(|| now + Duration::from_secs(1)),
                };
                // Several frames now and then: transfers run ahead of deliveries.
                let len = if token % 7 == 0 { 1500 } else { 5 };
                let sent = sending.conn.send(now, sender, token, options, |out| {
                    out.resize(out.len() + len, token as u8);
                });
                if sent.is_err() {
                    break;
                }
                expected.push((
                    token,
                    match (options.settled, token % 13 == 0) {
                        (true, _) => Outcome::Unknown,
                        (_, true) => Outcome::TimedOut,
                        _ => outcome_of(token),
                    },
                ));
                token += 1;
            }
            pair.drive();
            let (_, receiving) = ends(&mut pair, client_sends);
            for (link, delivery, message) in receiving.messages() {
                // Enough of the token to know what it gets; those that are given up get nothing.
                let known = (token.saturating_sub(200)..token)
                    .find(|token| {
                        message[0] == *token as u8 && DeliveryId(first_id(*token)) == delivery
                    })
                    .unwrap();
                if known % 13 != 0 {
                    receiving.conn.settle(link, delivery, &outcome_of(known));
                }
            }
            receiving.events.clear();
            if round % 10 == 9 {
                // What is left of the credit is given back, wherever the count stands.
                receiving.conn.grant_credit(receiver, 33);
                receiving.conn.drain(receiver);
                pair.drive();
                let (sending, _) = ends(&mut pair, client_sends);
                sending.conn.drained(sender);
                pair.drive();
                let (sending, receiving) = ends(&mut pair, client_sends);
                assert!(receiving.any(|event| matches!(event, Event::Drained { .. })));
                assert!(!sending.conn.can_send(sender));
            }
            let (_, receiving) = ends(&mut pair, client_sends);
            receiving.conn.grant_credit(receiver, 40);
            pair.pass(Duration::from_secs(2));
        }
        assert!(token > BEFORE + 500, "{token}");
        let (sending, receiving) = ends(&mut pair, client_sends);
        let mut outcomes = sending.outcomes();
        outcomes.sort_by_key(|(token, _)| *token);
        assert_eq!(outcomes.len(), expected.len());
        for (outcome, expected) in outcomes.iter().zip(&expected) {
            assert_eq!(outcome, expected);
        }
        assert!(sending.detached().is_empty() && receiving.detached().is_empty());
        assert!(sending.ended().is_empty() && receiving.ended().is_empty());
        assert_eq!(sending.conn.pending(), [""; 0]);
        assert_eq!(receiving.conn.pending(), [""; 0]);
    }
}

/// Each delivery has the next id.
fn first_id(token: u32) -> u32 {
    firsts().delivery_id.plus(token).0
}

#[test]
fn one_outcome_settles_a_range_across_the_wrap() {
    for client_sends in [true, false] {
        let (mut pair, sender, receiver) = one_way(client_sends);
        let total = BEFORE + 100;
        let (_, receiving) = ends(&mut pair, client_sends);
        receiving.conn.grant_credit(receiver, total);
        pair.drive();
        let mut token = 0;
        while token < total {
            let now = pair.now;
            let (sending, _) = ends(&mut pair, client_sends);
            while send(sending, now, sender, token, b"m").is_ok() {
                token += 1;
            }
            pair.drive();
        }
        let (sending, receiving) = ends(&mut pair, client_sends);
        assert_eq!(sending.conn.credit(sender), 0);
        let messages = receiving.messages();
        assert_eq!(messages.len(), total as usize);
        for (link, delivery, _) in messages {
            receiving.conn.settle(link, delivery, &Outcome::Accepted);
        }
        assert!(receiving.conn.output().len() < 40);
        pair.drive();
        let (sending, _) = ends(&mut pair, client_sends);
        let expected: Vec<_> = (0..total).map(|token| (token, Outcome::Accepted)).collect();
        assert!(sending.outcomes() == expected);
    }
}
