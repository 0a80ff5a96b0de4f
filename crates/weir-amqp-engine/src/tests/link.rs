//! Sessions begin and end, links attach and detach.

use super::{wire::Wire, *};
use crate::{ReceiverSettleMode, Role, SenderSettleMode, condition};

fn refusing(pair: &mut Pair) {
    pair.server.obliging = false;
}

#[test]
fn an_attach_tells_what_the_owner_needs() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let request = AttachRequest {
        snd_settle_mode: SenderSettleMode::Settled,
        rcv_settle_mode: ReceiverSettleMode::Second,
        properties: vec![("key".to_owned(), crate::Value::Int(7))],
        capabilities: vec!["queue".to_owned()],
        ..AttachRequest::receiver("link", "event/acme", 3)
    };
    let ours = pair.client.conn.attach(session, request);
    pair.drive();
    let attach = pair.server.events.iter().find_map(|event| match event {
        Event::Attach { attach, .. } => Some(attach.clone()),
        _ => None,
    });
    let attach = attach.unwrap();
    assert_eq!((attach.name.as_str(), attach.role), ("link", Role::Sender));
    let source = attach.source.unwrap();
    assert_eq!(source.address.as_deref(), Some("event/acme"));
    assert_eq!(source.capabilities, ["queue"]);
    assert_eq!(attach.snd_settle_mode, SenderSettleMode::Settled);
    assert_eq!(attach.rcv_settle_mode, ReceiverSettleMode::Second);
    assert_eq!(
        attach.properties,
        [("key".to_owned(), crate::Value::Int(7))]
    );
    assert!(
        pair.client
            .any(|event| matches!(event, Event::Attached { link, .. } if *link == ours))
    );
    assert_eq!(pair.server.conn.credit(pair.server.attached().unwrap()), 3);
}

#[test]
fn a_dynamic_source_gets_its_address_from_the_accepting_side() {
    let mut pair = Pair::open();
    refusing(&mut pair);
    let session = pair.client.conn.begin(pair.now);
    let request = AttachRequest {
        dynamic: true,
        source: None,
        ..AttachRequest::receiver("reply", "", 1)
    };
    pair.client.conn.attach(session, request);
    pair.drive();
    let link = pair.server.attached().unwrap();
    pair.server.conn.accept_link(
        link,
        AcceptLink {
            source: Some("reply-1".to_owned()),
            ..AcceptLink::default()
        },
    );
    pair.drive();
    assert!(pair.client.any(|event| matches!(event, Event::Attached { attach, .. }
        if attach.source.as_ref().is_some_and(|source| source.address.as_deref() == Some("reply-1")))));
}

#[test]
fn a_refused_link_is_attached_to_nothing_and_detached_with_the_reason() {
    for sender in [true, false] {
        let mut pair = Pair::open();
        refusing(&mut pair);
        let session = pair.client.conn.begin(pair.now);
        let request = if sender {
            AttachRequest::sender("a", "nowhere")
        } else {
            AttachRequest::receiver("a", "nowhere", 100)
        };
        let link = pair.client.conn.attach(session, request.clone());
        pair.drive();
        let theirs = pair.server.attached().unwrap();
        pair.server
            .conn
            .refuse_link(theirs, Error::new(condition::UNAUTHORIZED_ACCESS, "no"));
        pair.drive();
        let error = Error::new(condition::UNAUTHORIZED_ACCESS, "no");
        assert_eq!(pair.client.detached(), [(link, Some(error))]);
        assert!(
            !pair
                .client
                .any(|event| matches!(event, Event::Attached { .. }))
        );
        assert!(pair.server.detached().is_empty());
        // Name and handle can be used again.
        pair.server.obliging = true;
        pair.client.conn.attach(session, request);
        pair.drive();
        assert!(
            pair.client
                .any(|event| matches!(event, Event::Attached { .. }))
        );
        assert!(pair.server.closed().is_none());
    }
}

#[test]
fn flow_transfer_and_detach_before_the_answer_are_survived() {
    for (with_detach, accept) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut pair = Pair::open();
        refusing(&mut pair);
        pair.begin();
        let mut wire = Wire::default()
            .sender(0)
            .credit(0, 7)
            .transfer(0, 0, b"m")
            .transfer(0, 1, b"m");
        if with_detach {
            wire = wire.detach(0, true);
        }
        pair.server.input.unsplit(wire.0);
        pair.server.turn(pair.now);
        let link = pair.server.attached().unwrap();
        if accept {
            pair.server.conn.accept_link(
                link,
                AcceptLink {
                    credit: 10,
                    ..AcceptLink::default()
                },
            );
        } else {
            pair.server
                .conn
                .refuse_link(link, condition::NOT_FOUND.into());
        }
        // More of it after the answer has been sent, but before it has been seen.
        pair.server.input.unsplit(match with_detach {
            false => {
                Wire::default()
                    .transfer(0, 2, b"m")
                    .credit(0, 9)
                    .detach(0, true)
                    .0
            }
            true => BytesMut::new(),
        });
        pair.server.turn(pair.now);
        let detached = pair.server.detached();
        match (with_detach, accept) {
            (true, _) => assert_eq!(detached, [(link, None)]),
            (false, true) => assert_eq!(
                condition_of(&detached[0].1),
                condition::TRANSFER_LIMIT_EXCEEDED
            ),
            (false, false) => assert!(detached.is_empty()),
        }
        assert!(pair.server.messages().is_empty());
        assert!(pair.server.closed().is_none() && pair.server.ended().is_empty());
        // The handle is free again.
        pair.server.input.unsplit(Wire::default().sender(0).0);
        pair.server.turn(pair.now);
        assert_ne!(pair.server.attached().unwrap(), link);
    }
}

#[test]
fn credit_granted_before_the_answer_counts_after_it() {
    let mut pair = Pair::open();
    refusing(&mut pair);
    pair.begin();
    pair.server
        .input
        .unsplit(Wire::default().receiver(0).credit(0, 5).0);
    pair.server.turn(pair.now);
    let link = pair.server.attached().unwrap();
    assert!(!pair.server.conn.can_send(link));
    pair.server.conn.accept_link(link, AcceptLink::default());
    assert_eq!(pair.server.conn.credit(link), 5);
    assert!(pair.server.conn.can_send(link));
    pair.server.turn(pair.now);
    assert!(
        pair.server
            .any(|event| matches!(event, Event::Credit { .. }))
    );
}

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
fn a_name_that_no_frame_of_the_peer_can_carry_closes_the_connection() {
    let mut pair = Pair::open_with(
        Config {
            max_frame_size: 512,
            ..config()
        },
        config(),
    );
    let session = pair.begin();
    // Our own max-frame-size does not keep us from writing a long attach; the echo would be too long for us.
    pair.client
        .conn
        .attach(session, AttachRequest::sender("n", "x".repeat(600)));
    pair.drive();
    assert_eq!(
        condition_of(&pair.client.closed().unwrap().0),
        condition::FRAME_SIZE_TOO_SMALL
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
    let (one, two) = (pair.begin(), pair.begin());
    let (_, old) = pair.telemetry(one, "same", 5);
    let (_, new) = pair.telemetry(two, "same", 5);
    assert_ne!(old, new);
    assert_eq!(
        condition_of(&pair.server.detached()[0].1),
        condition::STOLEN
    );
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

#[test]
fn a_coordinator_is_refused_politely() {
    let mut pair = Pair::open();
    pair.begin();
    pair.server.input.unsplit(Wire::default().coordinator().0);
    pair.server.turn(pair.now);
    assert!(pair.server.closed().is_none(), "{:?}", pair.server.closed());
    assert!(pair.server.attached().is_none());
    // Attach and detach went out.
    pair.server
        .input
        .unsplit(Wire::default().detach(0, true).receiver(0).0);
    pair.server.turn(pair.now);
    assert!(pair.server.attached().is_some());
}
