//! Drain both ways, `available`, and flows that want an answer.

use super::{wire::Wire, *};
use crate::codec::hot::{Flow, LinkFlow};

fn drained(side: &Side) -> usize {
    let drained = side.events.iter();
    drained
        .filter(|event| matches!(event, Event::Drained { .. }))
        .count()
}

/// A server that receives on a link with credit 10 from a peer that is not our engine, and drains it.
fn draining() -> (Pair, LinkId) {
    let mut pair = Pair::open();
    pair.begin();
    pair.server.input.unsplit(Wire::default().sender(0).0);
    pair.server.turn(pair.now);
    let link = pair.server.attached().unwrap();
    pair.server.conn.drain(link);
    (pair, link)
}

#[test]
fn drain_lets_the_sender_finish_and_gives_back_the_rest() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 10);
    pair.client.conn.drain(receiver);
    pair.drive();
    assert!(
        pair.server
            .any(|event| matches!(event, Event::Drain { link } if *link == sender))
    );
    for token in 0..4 {
        send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
    }
    pair.server.conn.drained(sender);
    assert!(!pair.server.conn.can_send(sender));
    pair.drive();
    assert_eq!(pair.client.messages().len(), 4);
    assert!(
        pair.client
            .any(|event| matches!(event, Event::Drained { link } if *link == receiver))
    );
    assert_eq!(pair.client.conn.incoming_credit(receiver), 0);
    pair.client.conn.grant_credit(receiver, 3);
    pair.drive();
    assert_eq!(pair.server.conn.credit(sender), 3);
}

#[test]
fn drain_without_credit_is_answered_by_the_engine() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, _) = pair.telemetry(session, "t", 0);
    pair.client.conn.drain(receiver);
    pair.drive();
    assert!(
        !pair
            .server
            .any(|event| matches!(event, Event::Drain { .. }))
    );
    assert!(
        pair.client
            .any(|event| matches!(event, Event::Drained { .. }))
    );
}

#[test]
fn a_sender_that_uses_all_its_credit_has_drained_whether_it_says_so_or_not() {
    let (mut pair, _) = draining();
    let used = (0..9).fold(Wire::default(), |wire, id| wire.transfer(0, id, b"m"));
    pair.server.input.unsplit(used.0);
    pair.server.turn(pair.now);
    assert_eq!(drained(&pair.server), 0);
    let last = Wire::default()
        .transfer(0, 9, b"m")
        .sender_flow(0, 10, true);
    pair.server.input.unsplit(last.0);
    pair.server.turn(pair.now);
    assert_eq!(
        (pair.server.messages().len(), drained(&pair.server)),
        (10, 1)
    );
    assert!(pair.server.detached().is_empty());
}

#[test]
fn a_drain_ends_after_the_message_that_is_under_way() {
    for aborted in [false, true] {
        let (mut pair, link) = draining();
        let half = Wire::default()
            .fragment(0, 0, b"half", true, true)
            .sender_flow(0, 10, true);
        pair.server.input.unsplit(half.0);
        pair.server.turn(pair.now);
        assert_eq!(drained(&pair.server), 0);
        let rest = match aborted {
            true => Wire::default().aborted(0, 0),
            false => Wire::default().fragment(0, 0, b"way", false, false),
        };
        pair.server.input.unsplit(rest.0);
        pair.server.turn(pair.now);
        assert_eq!(pair.server.messages().len(), usize::from(!aborted));
        assert!(matches!(
            pair.server.events.last(),
            Some(Event::Drained { .. })
        ));
        assert_eq!(pair.server.conn.incoming_credit(link), 0);
    }
}

#[test]
fn a_drain_before_the_answer_to_the_attach_is_not_forgotten() {
    for credit in [0, 5] {
        let mut pair = Pair::open();
        let session = pair.begin();
        let request = AttachRequest::receiver("t", "telemetry/acme", credit);
        let receiver = pair.client.conn.attach(session, request);
        pair.client.conn.drain(receiver);
        pair.drive();
        let sender = pair.server.attached().unwrap();
        assert_eq!(pair.server.conn.credit(sender), credit);
        pair.server.conn.drained(sender);
        pair.drive();
        assert_eq!(drained(&pair.client), 1);
    }
}

#[test]
fn nothing_is_drained_on_a_link_that_is_being_detached() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 5);
    pair.client.conn.drain(receiver);
    pair.drive();
    pair.server.conn.detach(sender, None);
    pair.server.conn.drained(sender);
    pair.drive();
    assert_eq!(pair.client.detached(), [(receiver, None)]);
    assert!(pair.client.ended().is_empty() && pair.server.ended().is_empty());
}

#[test]
fn what_waits_at_the_sender_is_told() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 5);
    assert_eq!(pair.client.conn.available(receiver), None);
    pair.server.conn.set_available(sender, 7);
    pair.client.conn.drain(receiver);
    pair.drive();
    pair.server.conn.drained(sender);
    pair.drive();
    assert_eq!(pair.client.conn.available(receiver), Some(7));
    assert_eq!(pair.server.conn.available(sender), None);

    let (mut pair, link) = draining();
    pair.server
        .input
        .unsplit(Wire::default().sender_flow(0, 0, false).0);
    pair.server.turn(pair.now);
    assert_eq!(pair.server.conn.available(link), Some(3));
}

#[test]
fn an_echo_is_answered_once() {
    let flow = |handle: Option<u32>| Flow {
        incoming_window: 5,
        link: handle.map(|handle| LinkFlow {
            handle,
            link_credit: Some(5),
            ..LinkFlow::default()
        }),
        ..Flow::default()
    };
    for handle in [None, Some(0)] {
        let mut pair = Pair::open();
        pair.begin();
        pair.server.input.unsplit(Wire::default().receiver(0).0);
        pair.server.turn(pair.now);
        pair.server.wire.clear();
        let answer = |pair: &mut Pair, wire: Wire| {
            pair.server.input.unsplit(wire.0);
            pair.server.turn(pair.now);
            pair.server.wire.split()
        };
        assert!(answer(&mut pair, Wire::default().flow(flow(handle))).is_empty());
        let echo = answer(&mut pair, Wire::default().echo(flow(handle)));
        assert_eq!((echo.len(), echo[10]), (usize::from(echo[3]), 0x13));
    }
}

#[test]
fn an_echo_before_the_answer_to_the_attach_is_answered_after_it() {
    for wire in [Wire::default().receiver(0), Wire::default().sender(0)] {
        let mut pair = Pair::open();
        pair.begin();
        pair.server.obliging = false;
        let link = LinkFlow {
            delivery_count: Some(0),
            ..LinkFlow::default()
        };
        let echo = wire.echo(Flow {
            incoming_window: 5,
            link: Some(link),
            ..Flow::default()
        });
        pair.server.input.unsplit(echo.0);
        pair.server.turn(pair.now);
        assert!(pair.server.wire.is_empty());
        let link = pair.server.attached().unwrap();
        pair.server.conn.accept_link(link, AcceptLink::default());
        pair.server.turn(pair.now);
        let attach = usize::from(pair.server.wire[3]);
        assert_eq!(
            (pair.server.wire[10], pair.server.wire[attach + 10]),
            (0x12, 0x13)
        );
    }
}
