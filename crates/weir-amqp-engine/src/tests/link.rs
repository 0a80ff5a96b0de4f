//! Links attach, are accepted or refused.

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

#[test]
fn a_name_may_be_used_again_before_its_first_link_is_answered() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (earlier, _) = pair.telemetry(session, "earlier", 1);
    refusing(&mut pair);
    let first = pair
        .client
        .conn
        .attach(session, AttachRequest::sender("a", "x"));
    // Leaves a place before the first link, where the next one will be.
    pair.client.conn.detach(earlier, None);
    pair.drive();
    pair.client.conn.detach(first, None);
    let second = pair
        .client
        .conn
        .attach(session, AttachRequest::sender("a", "x"));
    pair.drive();
    let theirs = pair.server.attached().unwrap();
    pair.server.conn.accept_link(theirs, AcceptLink::default());
    pair.drive();
    let gone: Vec<_> = pair
        .client
        .detached()
        .iter()
        .map(|(link, _)| *link)
        .collect();
    assert_eq!(gone, [earlier, first]);
    assert!(
        pair.client
            .any(|event| matches!(event, Event::Attached { link, .. } if *link == second))
    );
}

#[test]
fn an_attach_that_cannot_be_is_told_and_harms_nobody() {
    let mut pair = Pair::open_with(
        config(),
        Config {
            max_frame_size: 512,
            ..config()
        },
    );
    let session = pair.begin();
    let (good, _) = pair.commands(session, "a");
    for (request, condition) in [
        (AttachRequest::sender("a", "x"), condition::NOT_ALLOWED),
        (
            AttachRequest::sender("b", "x".repeat(600)),
            condition::FRAME_SIZE_TOO_SMALL,
        ),
    ] {
        pair.client.events.clear();
        let link = pair.client.conn.attach(session, request);
        pair.drive();
        let detached = pair.client.detached();
        assert_eq!((detached.len(), detached[0].0), (1, link));
        assert_eq!(condition_of(&detached[0].1), condition);
    }
    // The other direction has names of its own.
    pair.telemetry(session, "a", 1);
    assert!(
        pair.client
            .any(|event| matches!(event, Event::Attached { .. }))
    );
    assert!(pair.client.conn.can_send(good));
}

#[test]
fn attaches_of_one_name_that_cross_become_one_link_or_none() {
    // In one session each is the answer to the other; in two sessions each takes the name from the other.
    for one_session in [true, false] {
        let mut pair = Pair::open();
        let one = pair.begin();
        let two = if one_session { one } else { pair.begin() };
        let theirs = pair.server.events.iter().filter_map(|event| match event {
            Event::SessionBegun { session } => Some(*session),
            _ => None,
        });
        let theirs = theirs.last().unwrap();
        let sender = pair
            .client
            .conn
            .attach(one, AttachRequest::sender("a", "x"));
        let request = AttachRequest::receiver("a", "x", 5);
        let receiver = pair.server.conn.attach(theirs, request);
        assert!(two == one || !one_session);
        pair.drive();
        if one_session {
            assert!(pair.client.conn.can_send(sender));
            assert_eq!(pair.server.conn.incoming_credit(receiver), 5);
        } else {
            assert_eq!(
                condition_of(&pair.client.detached()[0].1),
                condition::STOLEN
            );
            assert_eq!(
                condition_of(&pair.server.detached()[0].1),
                condition::STOLEN
            );
        }
        assert_eq!(pair.client.conn.pending(), [""; 0]);
        assert_eq!(pair.server.conn.pending(), [""; 0]);
    }
}
