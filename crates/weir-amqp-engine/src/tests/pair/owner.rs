//! One end of the pair and what sits on it: checks every event by what the other end has done.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::{Buf, Bytes};

use super::super::*;
use crate::{Role, condition};

/// The only condition owners give.
pub(super) const OWN: &str = "test:own";
pub(super) const MAX_MESSAGE: usize = 6000;

/// What both ends did; each checks the other by it.
#[derive(Default)]
pub(super) struct Ledger {
    /// By whether the client sent it, and its token.
    pub(super) sent: HashMap<(bool, u32), Sent>,
    /// Events are printed.
    pub(super) aloud: bool,
    /// How often what happened, over all stories.
    pub(super) tally: BTreeMap<&'static str, u64>,
}

impl Ledger {
    /// What belonged to the last story.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }
}

pub(super) struct Sent {
    pub(super) link: LinkId,
    pub(super) sequence: u32,
    pub(super) len: usize,
    pub(super) may_time_out: bool,
    pub(super) presettled: bool,
    /// The outcome the receiver gave, and whether it left the settling to the sender.
    pub(super) given: Option<(Outcome, bool)>,
}

/// A link as its owner knows it.
pub(super) struct Own {
    pub(super) session: SessionId,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) second: bool,
    /// Senders: messages sent. Receivers: messages arrived.
    pub(super) count: u32,
    /// Receivers: as many may arrive, ever.
    pub(super) allowed: u32,
    pub(super) draining: bool,
    /// Receivers: the link at the other end, and its last message's place.
    pub(super) last: Option<(LinkId, u32)>,
}

pub(super) struct Owner {
    pub(super) conn: Connection<u32>,
    pub(super) input: BytesMut,
    pub(super) is_client: bool,
    pub(super) closed: Option<CloseReason>,
    pub(super) open: HashSet<u32>,
    pub(super) next_token: u32,
    pub(super) opened: bool,
    pub(super) sessions: Vec<SessionId>,
    /// Ended by us, but not yet by the peer.
    pub(super) ending: HashSet<SessionId>,
    pub(super) links: HashMap<LinkId, Own>,
    /// What waits for an answer of ours.
    pub(super) sasl: Option<SaslCode>,
    pub(super) unanswered_open: bool,
    pub(super) asked: Vec<(LinkId, Box<crate::PeerAttach>)>,
    pub(super) drains: Vec<LinkId>,
    pub(super) deliveries: Vec<(LinkId, DeliveryId, u32)>,
    /// Links that lost a delivery: none of them may still be there at rest.
    pub(super) losers: HashSet<LinkId>,
}

impl Owner {
    pub(super) fn new(conn: Connection<u32>, is_client: bool) -> Self {
        Self {
            conn,
            input: BytesMut::new(),
            is_client,
            closed: None,
            open: HashSet::new(),
            next_token: 0,
            opened: false,
            sessions: Vec::new(),
            ending: HashSet::new(),
            links: HashMap::new(),
            sasl: None,
            unanswered_open: false,
            asked: Vec::new(),
            drains: Vec::new(),
            deliveries: Vec::new(),
            losers: HashSet::new(),
        }
    }

    fn name(&self) -> &'static str {
        if self.is_client { "client" } else { "server" }
    }

    /// Hands in what has arrived; true if that led to anything.
    pub(super) fn take_input(&mut self, now: Instant, ledger: &mut Ledger) -> bool {
        let before = self.input.len();
        self.conn.handle_input(now, &mut self.input);
        let moved = self.input.len() != before;
        self.collect(ledger) | moved
    }

    /// Takes the events and checks them.
    pub(super) fn collect(&mut self, ledger: &mut Ledger) -> bool {
        let mut any = false;
        while let Some(event) = self.conn.poll_event() {
            any = true;
            assert_eq!(self.closed, None, "{event:?} after the end");
            self.on_event(event, ledger);
        }
        any
    }

    fn on_event(&mut self, event: Event<u32>, ledger: &mut Ledger) {
        if ledger.aloud {
            println!("{} {event:?}", self.name());
        }
        match event {
            Event::SaslInit {
                mechanism,
                response,
                ..
            } => {
                let good = mechanism != "PLAIN" || &response[..] == b"\0user\0secret";
                self.sasl = Some(if good { SaslCode::Ok } else { SaslCode::Auth });
            }
            Event::Opened(_) => {
                self.opened = self.is_client;
                self.unanswered_open = !self.is_client;
            }
            Event::SessionBegun { session } => {
                if !self.sessions.contains(&session) {
                    self.sessions.push(session);
                }
            }
            Event::Attach { link, attach } => self.asked.push((link, attach)),
            Event::Attached { link, .. } => assert!(self.links.contains_key(&link)),
            Event::Credit { link } => assert!(self.role_of(link) == Some(Role::Sender)),
            Event::Drain { link } => self.drains.push(link),
            Event::Drained { link } => {
                let own = self.links.get_mut(&link).unwrap();
                assert!(own.draining, "drained without having asked");
                own.draining = false;
                ledger.count("drained");
            }
            Event::Settled {
                link,
                token,
                outcome,
                left_to_us,
            } => self.on_settled(link, token, outcome, left_to_us, ledger),
            Event::Message {
                link,
                delivery,
                message,
                settled,
            } => self.on_message(link, delivery, message, settled, ledger),
            Event::Detached { link, error, .. } => {
                ledger.count(match &error {
                    Some(error) if error.condition == condition::STOLEN => "stolen",
                    Some(_) => "detached with an error",
                    None => "detached",
                });
                expected(error.as_ref());
                self.links.remove(&link);
                self.asked.retain(|(asked, _)| *asked != link);
            }
            Event::SessionEnded { session, error } => {
                expected(error.as_ref());
                self.forget(session);
                self.ending.remove(&session);
            }
            Event::Closed { error, reason } => {
                assert_ne!(reason, CloseReason::Violation, "{error:?}");
                self.closed = Some(reason);
            }
        }
    }

    fn role_of(&self, link: LinkId) -> Option<Role> {
        let asked = self.asked.iter().find(|(asked, _)| *asked == link);
        let role = self.links.get(&link).map(|own| own.role);
        role.or_else(|| asked.map(|(_, attach)| attach.role))
    }

    pub(super) fn forget(&mut self, session: SessionId) {
        self.sessions.retain(|other| *other != session);
        self.links.retain(|_, own| own.session != session);
        self.asked.retain(|(_, attach)| attach.session != session);
    }

    fn on_settled(
        &mut self,
        link: LinkId,
        token: u32,
        outcome: Outcome,
        left_to_us: bool,
        ledger: &mut Ledger,
    ) {
        assert!(self.open.remove(&token), "token {token} came back twice");
        let sent = ledger.sent.get_mut(&(self.is_client, token)).unwrap();
        assert_eq!(sent.link, link);
        let what = match outcome {
            Outcome::Unknown => "presettled",
            Outcome::TimedOut => "given up",
            Outcome::LinkLost => "lost",
            _ if left_to_us => "settled second",
            _ => "settled first",
        };
        match outcome {
            Outcome::Unknown => sent.presettled = true,
            Outcome::TimedOut => assert!(sent.may_time_out),
            Outcome::LinkLost => {
                self.losers.insert(link);
            }
            Outcome::Rejected {
                condition: Some(name),
                ..
            } if name == condition::MESSAGE_SIZE_EXCEEDED => assert!(sent.len > MAX_MESSAGE),
            outcome => assert_eq!(sent.given, Some((outcome, left_to_us)), "token {token}"),
        }
        ledger.count(what);
    }

    fn on_message(
        &mut self,
        link: LinkId,
        delivery: DeliveryId,
        message: Bytes,
        settled: bool,
        ledger: &mut Ledger,
    ) {
        ledger.count("arrived");
        let token = (&message[..]).get_u32();
        let sent = &ledger.sent[&(!self.is_client, token)];
        assert_eq!(message.len(), sent.len);
        assert!(message[4..].iter().all(|octet| *octet == token as u8));
        assert_eq!(settled, sent.presettled, "token {token}");
        assert!(sent.len <= MAX_MESSAGE && sent.given.is_none());
        let own = self.links.get_mut(&link).expect("a message on no link");
        own.count += 1;
        assert!(own.count <= own.allowed, "more messages than credit");
        if let Some((peer, sequence)) = own.last {
            assert_eq!(peer, sent.link, "messages of two links on one");
            assert!(sequence < sent.sequence, "messages out of order");
        }
        own.last = Some((sent.link, sent.sequence));
        if !settled {
            self.deliveries.push((link, delivery, token));
        }
    }

    /// Nothing is under way: then nothing may wait.
    pub(super) fn check_rest(&self) {
        assert_eq!(self.conn.pending(), [""; 0]);
        assert!(self.open.is_empty(), "open tokens: {:?}", self.open);
        for (link, own) in &self.links {
            assert!(!own.draining, "{} is still draining", own.name);
            assert!(!self.losers.contains(link), "{} lost deliveries", own.name);
        }
        let mut known: Vec<_> = self.links.values().map(|own| own.name.clone()).collect();
        known.sort_unstable();
        let standings = self.conn.standings().into_iter();
        assert_eq!(known, standings.map(|link| link.name).collect::<Vec<_>>());
    }

    pub(super) fn check_end(&self) {
        assert!(self.conn.is_closed() && self.closed.is_some());
        assert!(self.open.is_empty(), "lost tokens: {:?}", self.open);
        assert_eq!(self.conn.poll_timeout(), None);
        assert_eq!(self.conn.pending(), [""; 0]);
    }
}

/// Errors are the owners' own, or say that a name was taken over.
fn expected(error: Option<&Error>) {
    let condition = error.map_or(OWN, |error| &error.condition);
    assert!(
        [OWN, condition::STOLEN].contains(&condition),
        "{error:?} out of nothing"
    );
}
