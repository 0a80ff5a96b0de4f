//! What owners do, at random.

use bytes::BufMut;

use super::{
    super::*,
    owner::{Ledger, MAX_MESSAGE, OWN, Own, Owner, Sent},
};
use crate::{ReceiverSettleMode, Role, SenderSettleMode};

const MAX_SESSIONS: usize = 3;
/// Before the peer's begin has come a session takes no more.
const MAX_LINKS: usize = 8;

impl Owner {
    /// Does one thing or another.
    pub(super) fn act(&mut self, now: Instant, rng: &mut Rng, ledger: &mut Ledger) {
        self.collect(ledger);
        if !self.opened || self.closed.is_some() {
            self.answer_handshake(now);
            self.collect(ledger);
            return;
        }
        match rng.below(40) {
            0..=1 if self.sessions.len() + self.ending.len() < MAX_SESSIONS => {
                let session = self.conn.begin(now);
                self.sessions.push(session);
            }
            2..=6 => self.attach(rng),
            7..=10 => self.answer_attach(rng),
            11..=20 => self.send(now, rng, ledger),
            21..=27 => {
                let some = 1 + rng.below(6);
                self.settle(rng, ledger, some);
            }
            28..=33 => self.flow(rng, ledger),
            34..=35 => self.answer_drain(),
            36 => {
                if let Some(link) = self.any_link(rng, |own| own.role == Role::Sender) {
                    self.conn.set_available(link, 1);
                }
            }
            37 | 38 if rng.below(3) == 0 => {
                if let Some(link) = self.any_link(rng, |_| true) {
                    self.conn.detach(link, own_error(rng));
                }
            }
            39 if rng.below(4) == 0 => {
                if let Some(session) = pick(rng, &self.sessions).copied() {
                    self.conn.end(session, own_error(rng));
                    self.forget(session);
                    self.ending.insert(session);
                }
            }
            _ => {}
        }
        self.collect(ledger);
    }

    pub(super) fn answer_handshake(&mut self, now: Instant) {
        if let Some(code) = self.sasl.take() {
            self.conn.sasl_outcome(now, code);
        }
        if std::mem::take(&mut self.unanswered_open) {
            self.conn.open(now);
            self.opened = true;
        }
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.conn.close(now, None);
        self.opened = false;
        self.unanswered_open = false;
    }

    /// A link, the same for the same seed.
    fn any_link(&self, rng: &mut Rng, matches: impl Fn(&Own) -> bool) -> Option<LinkId> {
        let links = self.links.iter().filter(|(_, own)| matches(own));
        let mut links: Vec<LinkId> = links.map(|(link, _)| *link).collect();
        links.sort_unstable();
        pick(rng, &links).copied()
    }

    fn attach(&mut self, rng: &mut Rng) {
        let Some(session) = pick(rng, &self.sessions).copied() else {
            return;
        };
        // Names are used again, also by the other end: sooner or later two collide.
        let name = format!("{}", rng.below(40));
        let taken = self.links.values().any(|own| own.name == name)
            || self.asked.iter().any(|(_, attach)| attach.name == name);
        if self.links.len() >= MAX_LINKS || taken {
            return;
        }
        let is_sender = rng.below(2) == 0;
        let credit = rng.below(12) as u32;
        let request = AttachRequest {
            snd_settle_mode: settle_mode(rng),
            rcv_settle_mode: receiver_mode(rng),
            ..if is_sender {
                AttachRequest::sender(name, "there")
            } else {
                AttachRequest::receiver(name, "here", credit)
            }
        };
        let own = Own {
            session,
            name: request.name.clone(),
            role: request.role,
            second: request.rcv_settle_mode == ReceiverSettleMode::Second,
            count: 0,
            allowed: credit,
            draining: false,
            last: None,
        };
        let link = self.conn.attach(session, request);
        self.links.insert(link, own);
    }

    fn answer_attach(&mut self, rng: &mut Rng) {
        if self.asked.is_empty() {
            return;
        }
        let (link, attach) = self.asked.remove(rng.below(self.asked.len()));
        if rng.below(6) == 0 {
            return self.conn.refuse_link(link, OWN.into());
        }
        let accept = AcceptLink {
            credit: rng.below(12) as u32,
            rcv_settle_mode: receiver_mode(rng),
            ..AcceptLink::default()
        };
        let own = Own {
            session: attach.session,
            name: attach.name,
            role: attach.role,
            second: accept.rcv_settle_mode == ReceiverSettleMode::Second,
            count: 0,
            allowed: accept.credit,
            draining: false,
            last: None,
        };
        self.links.insert(link, own);
        self.conn.accept_link(link, accept);
    }

    fn send(&mut self, now: Instant, rng: &mut Rng, ledger: &mut Ledger) {
        let Some(link) = self.any_link(rng, |own| own.role == Role::Sender) else {
            return;
        };
        for _ in 0..1 + rng.below(5) {
            let token = self.next_token;
            let len = match rng.below(12) {
                0 => MAX_MESSAGE + 1,
                1..=2 => 500 + rng.below(5500),
                _ => 4 + rng.below(100),
            };
            let give_up_at =
                (rng.below(4) == 0).then(|| now + Duration::from_millis(rng.below(80) as u64));
            let options = SendOptions {
                settled: rng.below(5) == 0,
                give_up_at,
            };
            let can = self.conn.can_send(link);
            let result = self.conn.send(now, link, token, options, |out| {
                out.put_u32(token);
                out.put_bytes(token as u8, len - 4);
            });
            assert_eq!(result.is_ok(), can);
            if !can {
                return;
            }
            self.next_token += 1;
            self.open.insert(token);
            let own = self.links.get_mut(&link).unwrap();
            own.count += 1;
            let sent = Sent {
                link,
                sequence: own.count,
                len,
                may_time_out: give_up_at.is_some(),
                presettled: false,
                given: None,
            };
            ledger.sent.insert((self.is_client, token), sent);
            // So that the other end knows which came back at once.
            self.collect(ledger);
        }
    }

    /// Settles some of what has arrived, mostly in order.
    pub(super) fn settle(&mut self, rng: &mut Rng, ledger: &mut Ledger, mut some: usize) -> bool {
        let any = !self.deliveries.is_empty();
        let mut outcome = an_outcome(rng);
        while some > 0 && !self.deliveries.is_empty() {
            some -= 1;
            let at = match rng.below(4) {
                0 => rng.below(self.deliveries.len()),
                _ => 0,
            };
            if rng.below(3) == 0 {
                outcome = an_outcome(rng);
            }
            let (link, delivery, token) = self.deliveries.remove(at);
            let second = self.links.get(&link).is_some_and(|own| own.second);
            let sent = ledger.sent.get_mut(&(!self.is_client, token)).unwrap();
            sent.given = Some((outcome.clone(), second));
            self.conn.settle(link, delivery, &outcome);
        }
        any
    }

    fn flow(&mut self, rng: &mut Rng, ledger: &mut Ledger) {
        let Some(link) = self.any_link(rng, |own| own.role == Role::Receiver) else {
            return;
        };
        let in_part = u32::from(self.conn.is_receiving_in_part(link));
        let own = self.links.get_mut(&link).unwrap();
        if rng.below(4) == 0 {
            own.draining = true;
            self.conn.drain(link);
        } else {
            let credit = rng.below(15) as u32;
            own.allowed = own.allowed.max(own.count + in_part + credit);
            own.draining = false;
            self.conn.grant_credit(link, credit);
        }
        self.collect(ledger);
    }

    fn answer_drain(&mut self) {
        for link in std::mem::take(&mut self.drains) {
            self.conn.drained(link);
        }
    }

    /// Answers everything, true if there was anything.
    pub(super) fn answer_all(&mut self, now: Instant, rng: &mut Rng, ledger: &mut Ledger) -> bool {
        let any = self.sasl.is_some()
            || self.unanswered_open
            || !self.asked.is_empty()
            || !self.drains.is_empty();
        self.answer_handshake(now);
        while !self.asked.is_empty() {
            self.answer_attach(rng);
        }
        self.answer_drain();
        let settled = self.settle(rng, ledger, usize::MAX);
        self.collect(ledger) | any | settled
    }
}

fn pick<'a, V>(rng: &mut Rng, values: &'a [V]) -> Option<&'a V> {
    (!values.is_empty()).then(|| &values[rng.below(values.len())])
}

fn own_error(rng: &mut Rng) -> Option<Error> {
    (rng.below(2) == 0).then(|| OWN.into())
}

fn settle_mode(rng: &mut Rng) -> SenderSettleMode {
    [
        SenderSettleMode::Unsettled,
        SenderSettleMode::Mixed,
        SenderSettleMode::Settled,
    ][rng.below(3)]
}

fn receiver_mode(rng: &mut Rng) -> ReceiverSettleMode {
    [ReceiverSettleMode::First, ReceiverSettleMode::Second][rng.below(2)]
}

fn an_outcome(rng: &mut Rng) -> Outcome {
    let flag = rng.below(2) == 0;
    match rng.below(5) {
        0 | 1 => Outcome::Accepted,
        2 => Outcome::Released,
        3 => Outcome::Modified {
            delivery_failed: flag,
            undeliverable_here: !flag,
        },
        _ => Outcome::Rejected {
            condition: flag.then(|| "test:no".to_owned()),
            description: flag.then(|| "because".to_owned()),
        },
    }
}
