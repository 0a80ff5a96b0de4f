//! Sessions and links end, by either side, alone or together; handles and channels.

use super::{wire::Wire, *};
use crate::condition;

#[test]
fn a_detach_that_does_not_close_is_mirrored_and_forgotten() {
    let mut pair = Pair::open();
    pair.begin();
    pair.server
        .input
        .unsplit(Wire::default().receiver(0).credit(0, 5).0);
    pair.server.turn(pair.now);
    let link = pair.server.attached().unwrap();
    send(&mut pair.server, pair.now, link, 1, b"m").unwrap();
    pair.server
        .input
        .unsplit(Wire::default().detach(0, false).receiver(0).0);
    pair.server.turn(pair.now);
    assert!(pair.server.any(|event| matches!(
        event,
        Event::Detached {
            closed: false,
            error: None,
            ..
        }
    )));
    assert_eq!(pair.server.outcomes(), [(1, Outcome::LinkLost)]);
    assert_ne!(pair.server.attached().unwrap(), link);
}

#[test]
fn handles_that_are_in_use_or_unknown_end_the_session() {
    for (wire, condition) in [
        (
            Wire::default().receiver(0).receiver(0),
            condition::HANDLE_IN_USE,
        ),
        (
            Wire::default().detach(3, true),
            condition::UNATTACHED_HANDLE,
        ),
        (Wire::default().credit(3, 1), condition::UNATTACHED_HANDLE),
        (
            Wire::default().transfer(3, 1, b"m"),
            condition::UNATTACHED_HANDLE,
        ),
    ] {
        let mut pair = Pair::open();
        pair.begin();
        pair.server.input.unsplit(wire.0);
        pair.drive();
        assert_eq!(condition_of(&pair.server.ended()[0].1), condition);
        assert_eq!(condition_of(&pair.client.ended()[0].1), condition);
        assert!(pair.server.closed().is_none() && pair.client.closed().is_none());
    }
}

#[test]
fn handles_and_channels_above_the_limit_close_the_connection() {
    let mut pair = Pair::open_with(
        config(),
        Config {
            handle_max: 4,
            ..config()
        },
    );
    pair.begin();
    pair.server.input.unsplit(Wire::default().receiver(5).0);
    pair.drive();
    assert_eq!(
        condition_of(&pair.client.closed().unwrap().0),
        condition::FRAMING_ERROR
    );
}

#[test]
fn detach_by_either_side_brings_back_what_is_open() {
    for by_server in [true, false] {
        let mut pair = Pair::open();
        let session = pair.begin();
        let (receiver, sender) = pair.telemetry(session, "t", 50);
        for token in 0..20 {
            send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
        }
        if by_server {
            pair.server
                .conn
                .detach(sender, Some(condition::DETACH_FORCED.into()));
        } else {
            pair.client.conn.detach(receiver, None);
        }
        pair.drive();
        let outcomes = pair.server.outcomes();
        assert_eq!(outcomes.len(), 20);
        assert!(
            outcomes
                .iter()
                .all(|(_, outcome)| *outcome == Outcome::LinkLost)
        );
        assert_eq!(pair.server.detached().len(), 1);
        assert_eq!(pair.client.detached().len(), 1);
        if by_server {
            assert_eq!(
                condition_of(&pair.client.detached()[0].1),
                condition::DETACH_FORCED
            );
        }
        assert_eq!(send(&mut pair.server, pair.now, sender, 99, b"m"), Err(99));
    }
}

#[test]
fn the_end_of_a_session_takes_its_links_and_leaves_the_others() {
    for by_server in [true, false] {
        let mut pair = Pair::open();
        let (one, two) = (pair.begin(), pair.begin());
        let (_, first) = pair.telemetry(one, "a", 50);
        let (_, second) = pair.telemetry(two, "b", 50);
        for token in 0..5 {
            send(&mut pair.server, pair.now, first, token, b"m").unwrap();
            send(&mut pair.server, pair.now, second, 100 + token, b"m").unwrap();
        }
        if by_server {
            let session = pair.server.events.iter().find_map(|event| match event {
                Event::SessionBegun { session } => Some(*session),
                _ => None,
            });
            pair.server.conn.end(session.unwrap(), None);
        } else {
            pair.client.conn.end(one, None);
        }
        pair.drive();
        assert_eq!(
            (pair.client.ended().len(), pair.server.ended().len()),
            (1, 1)
        );
        let lost: Vec<u32> = pair
            .server
            .outcomes()
            .into_iter()
            .map(|(token, _)| token)
            .collect();
        assert_eq!(lost, [0, 1, 2, 3, 4]);
        send(&mut pair.server, pair.now, second, 200, b"m").unwrap();
        pair.drive();
        assert!(
            pair.client
                .messages()
                .iter()
                .any(|(_, _, message)| message == b"m")
        );
        // The channel is free again.
        let three = pair.begin();
        pair.telemetry(three, "c", 1);
        assert!(pair.server.closed().is_none() && pair.client.closed().is_none());
    }
}

#[test]
fn sessions_and_links_that_cannot_be_had_are_told() {
    let limits = Config {
        channel_max: 1,
        handle_max: 2,
        ..config()
    };
    let mut pair = Pair::open_with(config(), limits);
    let session = pair.begin();
    pair.begin();
    let third = pair.client.conn.begin(pair.now);
    for name in ["a", "b", "c"] {
        pair.client
            .conn
            .attach(session, AttachRequest::sender(name, "x"));
    }
    let fourth = pair
        .client
        .conn
        .attach(session, AttachRequest::sender("d", "x"));
    pair.drive();
    assert_eq!(pair.client.ended()[0].0, third);
    assert_eq!(
        pair.client
            .detached()
            .iter()
            .map(|(link, _)| *link)
            .collect::<Vec<_>>(),
        [fourth]
    );
    assert!(pair.client.closed().is_none() && pair.server.closed().is_none());
}

#[test]
fn a_second_link_of_the_same_name_steals_the_first() {
    let mut pair = Pair::open();
    pair.begin();
    for handle in [0, 1] {
        let wire = Wire::default()
            .receiver_named(handle, "same")
            .credit(handle, 5);
        pair.server.input.unsplit(wire.0);
        pair.server.turn(pair.now);
    }
    let attached = pair.server.events.iter().filter_map(|event| match event {
        Event::Attach { link, .. } => Some(*link),
        _ => None,
    });
    let [old, new] = attached.collect::<Vec<_>>()[..] else {
        panic!("two attaches make two links");
    };
    let [(stolen, error)] = &pair.server.detached()[..] else {
        panic!("one link is lost");
    };
    assert_eq!(*stolen, old);
    assert_eq!(condition_of(error), condition::STOLEN);
    assert!(pair.server.conn.can_send(new) && !pair.server.conn.can_send(old));
}

#[test]
fn many_links_on_many_sessions_do_not_mix() {
    let mut pair = Pair::open();
    let mut links = Vec::new();
    for session in 0..4 {
        let id = pair.begin();
        for link in 0..10 {
            links.push(pair.telemetry(id, &format!("{session}/{link}"), 10));
        }
    }
    for round in 0..3_u8 {
        for (token, (_, sender)) in (0_u8..).zip(&links) {
            send(
                &mut pair.server,
                pair.now,
                *sender,
                u32::from(token),
                &[token, round],
            )
            .unwrap();
        }
    }
    pair.drive();
    let messages = pair.client.messages();
    assert_eq!(messages.len(), 120);
    for (link, delivery, message) in messages {
        assert_eq!(links[usize::from(message[0])].0, link);
        pair.client.conn.settle(link, delivery, &Outcome::Accepted);
    }
    pair.drive();
    assert_eq!(pair.server.outcomes().len(), 120);
}
