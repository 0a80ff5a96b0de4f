//! Credit, windows, the ring's bound.

use super::{wire::Wire, *};
use crate::{codec::hot::Flow, condition};

#[test]
fn credit_runs_out_and_comes_back() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 3);
    for token in 0..3 {
        send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
    }
    assert_eq!(send(&mut pair.server, pair.now, sender, 3, b"m"), Err(3));
    pair.drive();
    pair.server.events.clear();
    pair.client.conn.grant_credit(receiver, 2);
    pair.drive();
    assert!(
        pair.server
            .any(|event| matches!(event, Event::Credit { link } if *link == sender))
    );
    assert_eq!(pair.server.conn.credit(sender), 2);
    pair.client.conn.grant_credit(receiver, 0);
    pair.drive();
    assert!(!pair.server.conn.can_send(sender));
}

#[test]
fn messages_on_their_way_when_credit_is_taken_back_are_taken() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 5);
    for token in 0..5 {
        send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
    }
    pair.client.conn.grant_credit(receiver, 0);
    pair.drive();
    assert_eq!(pair.client.messages().len(), 5);
    assert!(pair.client.detached().is_empty());
}

#[test]
fn transfers_without_credit_detach_the_link() {
    let mut pair = Pair::open();
    pair.begin();
    pair.server.input.unsplit(Wire::default().sender(0).0);
    pair.server.turn(pair.now);
    let mut wire = Wire::default();
    for id in 0..11 {
        wire = wire.transfer(0, id, b"m");
    }
    pair.server.input.unsplit(wire.0);
    pair.server.turn(pair.now);
    assert_eq!(pair.server.messages().len(), 10);
    assert_eq!(
        condition_of(&pair.server.detached()[0].1),
        condition::TRANSFER_LIMIT_EXCEEDED
    );
    assert!(pair.server.closed().is_none());
}

#[test]
fn a_small_session_window_slows_but_does_not_stop() {
    for window in [1, 2, 3, 7] {
        let mut pair = Pair::open_with(
            Config {
                incoming_window: window,
                ..config()
            },
            config(),
        );
        let session = pair.begin();
        let (_, a) = pair.telemetry(session, "a", 1000);
        let (_, b) = pair.telemetry(session, "b", 1000);
        let mut sent = 0;
        for _ in 0..200 {
            for link in [a, b] {
                if pair.server.conn.can_send(link) {
                    send(&mut pair.server, pair.now, link, sent, b"m").unwrap();
                    sent += 1;
                }
            }
            pair.drive();
        }
        assert!(sent >= 200, "{sent}");
        assert_eq!(pair.client.messages().len(), sent as usize);
        assert!(pair.client.closed().is_none() && pair.client.ended().is_empty());
    }
}

#[test]
fn a_shut_window_wakes_every_sender_when_it_opens() {
    let mut pair = Pair::open();
    pair.begin();
    let flow = |window| Flow {
        next_incoming_id: Some(0),
        incoming_window: window,
        ..Flow::default()
    };
    let wire = Wire::default()
        .receiver(0)
        .receiver(1)
        .credit(0, 5)
        .credit(1, 5)
        .flow(flow(0));
    pair.server.input.unsplit(wire.0);
    pair.server.turn(pair.now);
    let link = pair.server.attached().unwrap();
    assert_eq!(pair.server.conn.credit(link), 5);
    assert!(!pair.server.conn.can_send(link));
    pair.server.events.clear();
    pair.server.input.unsplit(Wire::default().flow(flow(2)).0);
    pair.server.turn(pair.now);
    assert_eq!(
        pair.server
            .events
            .iter()
            .filter(|event| matches!(event, Event::Credit { .. }))
            .count(),
        2
    );
    send(&mut pair.server, pair.now, link, 0, b"m").unwrap();
    send(&mut pair.server, pair.now, link, 1, b"m").unwrap();
    assert_eq!(send(&mut pair.server, pair.now, link, 2, b"m"), Err(2));
    // The window shrinks below what is under way: nothing may be sent, nothing overflows.
    pair.server.input.unsplit(Wire::default().flow(flow(1)).0);
    pair.server.turn(pair.now);
    assert!(!pair.server.conn.can_send(link));
}

#[test]
fn transfers_beyond_our_window_end_the_session() {
    for (transfers, good) in [(4, true), (5, false)] {
        let mut pair = Pair::open_with(
            config(),
            Config {
                incoming_window: 4,
                ..config()
            },
        );
        pair.begin();
        pair.server.input.unsplit(Wire::default().sender(0).0);
        pair.server.turn(pair.now);
        let wire = (0..transfers).fold(Wire::default(), |wire, id| wire.transfer(0, id, b"m"));
        pair.server.input.unsplit(wire.0);
        pair.server.turn(pair.now);
        assert_eq!(pair.server.messages().len(), 4);
        assert_eq!(pair.server.ended().is_empty(), good);
        if !good {
            assert_eq!(
                condition_of(&pair.server.ended()[0].1),
                condition::WINDOW_VIOLATION
            );
        }
    }
}

#[test]
fn a_full_ring_refuses_and_wakes_when_there_is_room() {
    let mut pair = Pair::open_with(
        config(),
        Config {
            max_unsettled: 10,
            ..config()
        },
    );
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 100);
    for token in 0..10 {
        send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
    }
    assert_eq!(send(&mut pair.server, pair.now, sender, 10, b"m"), Err(10));
    pair.drive();
    pair.server.events.clear();
    let (_, delivery, _) = pair.client.messages()[5];
    pair.client
        .conn
        .settle(receiver, delivery, &Outcome::Accepted);
    pair.drive();
    assert!(
        pair.server
            .any(|event| matches!(event, Event::Credit { .. }))
    );
    send(&mut pair.server, pair.now, sender, 10, b"m").unwrap();
}

#[test]
fn a_peer_that_asks_without_reading_is_not_read_either() {
    let mut pair = Pair::open_with(
        config(),
        Config {
            output_high_water: 1,
            ..config()
        },
    );
    pair.begin();
    let echo = Wire::default().echo(Flow {
        incoming_window: 5,
        ..Flow::default()
    });
    let mut input = BytesMut::new();
    for _ in 0..100_000 {
        input.extend_from_slice(&echo.0);
    }
    pair.server.conn.handle_input(pair.now, &mut input);
    assert!(!pair.server.conn.wants_input());
    assert!(!input.is_empty());
    assert!(pair.server.conn.output().len() < (1 << 20));
    pair.server.conn.output().clear();
    assert!(pair.server.conn.wants_input());
}
