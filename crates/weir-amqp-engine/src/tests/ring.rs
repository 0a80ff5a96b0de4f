//! Deliveries that stay open while many others of their session come and go.

use std::collections::BTreeMap;

use super::{wire::Wire, *};
use crate::{ReceiverSettleMode, SenderSettleMode, ring::Ring, serial::Serial};

/// Of other links, while something waits: more than was ever allowed.
const OTHERS: u32 = 70_000;
/// Where few will do.
const FEW: u32 = 5000;
/// Tokens of the others.
const OTHER: u32 = 1 << 20;
/// How far two ids are apart at most.
const WINDOW: u64 = (1 << 31) - 1;

/// Where the ids of a test begin: at 0, and shortly before they wrap.
fn starts() -> [Serial; 2] {
    [Serial(0), Serial(0_u32.wrapping_sub(FEW / 2))]
}

/// A client that receives on two links of one session, as the ends know them; the second has much credit.
struct Lasting {
    pair: Pair,
    session: SessionId,
    stuck: (LinkId, LinkId),
    busy: (LinkId, LinkId),
    others: u32,
}

impl Lasting {
    fn new(first: Serial, rcv_settle_mode: ReceiverSettleMode) -> Self {
        let mut pair = Pair::new(config(), ClientSasl::None, config()).chunks(Chunks::Whole, 1);
        let firsts = Firsts {
            delivery_id: first,
            ..Firsts::default()
        };
        pair.server.conn.set_firsts(firsts);
        pair.drive();
        let session = pair.begin();
        let mut receiver = |name, credit| {
            let request = AttachRequest {
                rcv_settle_mode,
                ..AttachRequest::receiver(name, "telemetry/acme", credit)
            };
            let ours = pair.client.conn.attach(session, request);
            pair.drive();
            (ours, pair.server.attached().unwrap())
        };
        let stuck = receiver("stuck", 100);
        let busy = receiver("busy", 1 << 30);
        Self {
            session: pair.server.events.iter().find_map(begun).unwrap(),
            pair,
            stuck,
            busy,
            others: 0,
        }
    }

    /// A delivery that the client leaves open; its id there.
    fn open(&mut self, token: u32, give_up_at: Option<Instant>) -> DeliveryId {
        let options = SendOptions {
            settled: false,
            give_up_at,
        };
        let now = self.pair.now;
        let conn = &mut self.pair.server.conn;
        conn.send(now, self.stuck.1, token, options, |out| {
            out.extend_from_slice(b"m");
        })
        .unwrap();
        self.pair.drive();
        let (_, delivery, _) = self.pair.client.messages().pop().unwrap();
        self.pair.client.events.clear();
        delivery
    }

    /// That many deliveries of the other link, each of which is settled.
    fn pass_by(&mut self, deliveries: u32) {
        let end = self.others + deliveries;
        while self.others < end {
            let (pair, batch) = (&mut self.pair, (end - self.others).min(1000));
            for _ in 0..batch {
                let token = OTHER + self.others;
                send(&mut pair.server, pair.now, self.busy.1, token, b"m").unwrap();
                self.others += 1;
            }
            pair.drive();
            for (link, delivery, _) in pair.client.messages() {
                pair.client.conn.settle(link, delivery, &Outcome::Accepted);
            }
            pair.client.events.clear();
            pair.drive();
        }
    }

    /// The outcomes of those that were left open, in the order they came.
    fn outcomes(&self) -> Vec<(u32, Outcome)> {
        let mut outcomes = self.pair.server.outcomes();
        outcomes.retain(|(token, _)| *token < OTHER);
        outcomes
    }

    /// Each of the others was accepted once, and nobody waits.
    fn finish(self) {
        let server = &self.pair.server;
        let mut others: Vec<u32> = Vec::new();
        for (token, outcome) in server.outcomes() {
            if token >= OTHER {
                assert_eq!(outcome, Outcome::Accepted);
                others.push(token - OTHER);
            }
        }
        assert!(others == (0..self.others).collect::<Vec<_>>());
        assert_eq!(server.conn.pending(), [""; 0]);
        assert!(server.closed().is_none() && server.ended().is_empty());
    }
}

fn begun(event: &Event<u32>) -> Option<SessionId> {
    match event {
        Event::SessionBegun { session } => Some(*session),
        _ => None,
    }
}

#[test]
fn one_delivery_that_nobody_settles_does_not_hold_up_the_others() {
    for first in starts() {
        let mut lasting = Lasting::new(first, ReceiverSettleMode::First);
        let open = lasting.open(0, None);
        lasting.pass_by(OTHERS);
        assert_eq!(lasting.outcomes(), []);
        let client = &mut lasting.pair.client.conn;
        client.settle(lasting.stuck.0, open, &Outcome::Released);
        lasting.pair.drive();
        assert_eq!(lasting.outcomes(), [(0, Outcome::Released)]);
        lasting.finish();
    }
}

#[test]
fn one_outcome_settles_a_range_of_old_and_recent_deliveries_in_their_order() {
    for first in starts() {
        for (settled, mode) in [
            (true, ReceiverSettleMode::First),
            (false, ReceiverSettleMode::Second),
        ] {
            let mut lasting = Lasting::new(first, mode);
            for token in 0..5 {
                lasting.open(token, None);
                lasting.pass_by(FEW / 5);
            }
            for token in 5..8 {
                lasting.open(token, None);
            }
            // All but the first and the last.
            let range = (first.plus(1).0, first.plus(6 + FEW).0);
            let wire = Wire::default().disposition(range.0, range.1, settled, &Outcome::Accepted);
            lasting.pair.server.input.unsplit(wire.0);
            lasting.pair.drive();
            let accepted: Vec<_> = (1..7).map(|token| (token, Outcome::Accepted)).collect();
            assert_eq!(lasting.outcomes(), accepted);
            let rest = Wire::default().disposition(
                first.0,
                first.plus(7 + FEW).0,
                true,
                &Outcome::Released,
            );
            lasting.pair.server.input.unsplit(rest.0);
            lasting.pair.drive();
            let released = [(0, Outcome::Released), (7, Outcome::Released)];
            assert_eq!(lasting.outcomes()[6..], released);
            lasting.finish();
        }
    }
}

#[test]
fn an_old_delivery_is_given_up_in_its_time() {
    for first in starts() {
        let mut lasting = Lasting::new(first, ReceiverSettleMode::First);
        let give_up_at = Some(lasting.pair.now + Duration::from_secs(5));
        let open = lasting.open(0, None);
        lasting.open(1, give_up_at);
        lasting.pass_by(FEW);
        lasting.open(2, give_up_at);
        lasting.pair.pass(Duration::from_secs(6));
        let timed_out = [(1, Outcome::TimedOut), (2, Outcome::TimedOut)];
        assert_eq!(lasting.outcomes(), timed_out);
        let client = &mut lasting.pair.client.conn;
        client.settle(lasting.stuck.0, open, &Outcome::Accepted);
        lasting.pair.drive();
        assert_eq!(lasting.outcomes()[2..], [(0, Outcome::Accepted)]);
        lasting.finish();
    }
}

#[test]
fn old_deliveries_end_with_their_link_their_session_and_their_connection() {
    let ends: [fn(&mut Lasting); 3] = [
        |lasting| lasting.pair.client.conn.detach(lasting.stuck.0, None),
        |lasting| lasting.pair.server.conn.end(lasting.session, None),
        |lasting| lasting.pair.server.conn.handle_eof(lasting.pair.now),
    ];
    for end in ends {
        let mut lasting = Lasting::new(Serial(0), ReceiverSettleMode::First);
        lasting.open(0, None);
        lasting.open(1, None);
        lasting.pass_by(FEW);
        lasting.open(2, None);
        end(&mut lasting);
        lasting.pair.drive();
        let lost: Vec<_> = (0..3).map(|token| (token, Outcome::LinkLost)).collect();
        assert_eq!(lasting.outcomes(), lost);
        assert_eq!(lasting.pair.server.conn.pending(), [""; 0]);
    }
}

#[test]
fn old_deliveries_count_for_what_may_be_unsettled() {
    let server = Config {
        max_unsettled: 10,
        ..config()
    };
    let mut pair = Pair::open_with(config(), server);
    let session = pair.begin();
    let request = AttachRequest {
        snd_settle_mode: SenderSettleMode::Mixed,
        ..AttachRequest::receiver("t", "telemetry/acme", 1000)
    };
    pair.client.conn.attach(session, request);
    pair.drive();
    let sender = pair.server.attached().unwrap();
    for token in 0..9 {
        send(&mut pair.server, pair.now, sender, token, b"m").unwrap();
    }
    for token in 9..200 {
        let options = SendOptions {
            settled: true,
            give_up_at: None,
        };
        let conn = &mut pair.server.conn;
        conn.send(pair.now, sender, token, options, |_| ()).unwrap();
    }
    send(&mut pair.server, pair.now, sender, 200, b"m").unwrap();
    assert!(!pair.server.conn.can_send(sender));
    pair.drive();
    let (link, delivery, _) = pair.client.messages().swap_remove(3);
    pair.client.conn.settle(link, delivery, &Outcome::Accepted);
    pair.server.events.clear();
    pair.drive();
    assert!(
        pair.server
            .any(|event| matches!(event, Event::Credit { .. }))
    );
    assert!(pair.server.conn.can_send(sender));
}

#[test]
fn a_delivery_is_given_up_before_its_id_becomes_ambiguous() {
    for first in starts() {
        let mut lasting = Lasting::new(first, ReceiverSettleMode::First);
        for token in 0..3 {
            lasting.open(token, None);
        }
        lasting.pass_by(100);
        lasting.pass_by(1);
        let (server, session) = (&mut lasting.pair.server.conn, lasting.session);
        server.skip_deliveries(session, WINDOW - 104 - 1);
        // As far as ids go: each still finds its own.
        let last = first.plus(2).0;
        let wire = Wire::default().disposition(last, last, true, &Outcome::Accepted);
        lasting.pair.server.input.unsplit(wire.0);
        lasting.pair.drive();
        assert_eq!(lasting.outcomes(), [(2, Outcome::Accepted)]);

        let busy = lasting.busy.1;
        assert!(lasting.pair.server.conn.can_send(busy));
        send(
            &mut lasting.pair.server,
            lasting.pair.now,
            busy,
            OTHER,
            b"m",
        )
        .unwrap();
        assert!(!lasting.pair.server.conn.can_send(busy));
        lasting
            .pair
            .server
            .events
            .retain(|event| matches!(event, Event::Settled { .. }));
        lasting.pair.pass(Duration::ZERO);
        let given_up = [(0, Outcome::TimedOut), (1, Outcome::TimedOut)];
        assert_eq!(lasting.outcomes()[1..], given_up);
        let woken = |event: &Event<u32>| matches!(event, Event::Credit { link } if *link == busy);
        assert!(lasting.pair.server.any(woken));
        assert!(lasting.pair.server.conn.can_send(busy));
    }
}

/// What a ring should hold: positions count from the first id.
#[derive(Default)]
struct Model {
    slots: BTreeMap<u64, u32>,
    next: u64,
}

#[test]
fn a_ring_does_what_a_map_without_wrap_does() {
    let mut most_old = 0;
    for seed in 0..cases(100) {
        let _case = Case(seed);
        let mut rng = Rng::new(seed);
        let first = Serial(0_u32.wrapping_sub(rng.below(1000) as u32));
        let (mut ring, mut model) = (Ring::new(first), Model::default());
        let id = |position: u64| first.plus(position as u32);
        // Some seeds leave much open, some little.
        let reach = 1 + rng.below(200) as u64;
        for _ in 0..1500 {
            let mut settled = Vec::new();
            let mut expected = Vec::new();
            match rng.below(20) {
                0..=9 => {
                    let token = rng.next() as u32 % 100;
                    ring.push(token);
                    model.slots.insert(model.next, token);
                    model.next += 1;
                }
                10..=12 => {
                    ring.skip();
                    model.next += 1;
                }
                13..=18 => {
                    // Mostly recent ones, sometimes everything from anywhere on.
                    let all = rng.below(60) == 0;
                    let back = rng.next() % if all { model.next + 9 } else { reach };
                    let from = model.next.saturating_sub(back);
                    let to = from + rng.next() % if all { model.next + 9 } else { 3 };
                    ring.settle(id(from), id(to), |id, token| settled.push((id, token)));
                    let range = model.slots.extract_if(from..=to, |_, _| true);
                    expected.extend(range.map(|(position, token)| (id(position), token)));
                }
                _ => {
                    let token = rng.next() as u32 % 100;
                    ring.settle_where(|slot| *slot == token, |id, token| settled.push((id, token)));
                    let range = model.slots.extract_if(.., |_, slot| *slot == token);
                    expected.extend(range.map(|(position, token)| (id(position), token)));
                }
            }
            assert_eq!(settled, expected);
            most_old = most_old.max(ring.old());
            assert_eq!(ring.live(), model.slots.len());
            assert_eq!(ring.next_id(), id(model.next));
            assert!(ring.iter().eq(model.slots.values()));
        }
        ring.settle_where(|_| true, |_, _| ());
        assert!(ring.is_empty());
    }
    assert!(most_old > 50, "{most_old}");
}
