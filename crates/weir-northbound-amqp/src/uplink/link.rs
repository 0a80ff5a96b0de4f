//! One link to an application that consumes: what waits for its credit, and what it says of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_amqp_engine::{Connection, LinkId, Outcome, SendOptions, SessionId, condition};
use weir_core::{Completion, Disposition, Reason, RejectCondition};

use super::{Consumer, Node, Outgoing};
use crate::address::Direct;
use crate::message::encode;
use crate::meters::{Meters, Sent};
use crate::slots::Linked;
use crate::token::Token;

/// A link, as the task that owns its connection keeps it.
pub(crate) struct Link {
    id: LinkId,
    session: SessionId,
    pub(crate) address: Direct,
    pub(crate) node: Arc<Node>,
    pub(crate) consumer: Arc<Consumer>,
    /// The application wants its messages settled already.
    pub(crate) presettled: bool,
    /// The application has asked for its credit to be used or given back.
    pub(crate) is_draining: bool,
    meters: Meters,
    /// Waiting for credit, in the order in which they have to be given up.
    waiting: VecDeque<Box<Outgoing>>,
    /// The first of those could not be sent when it was looked at last; so many of them.
    stalled: usize,
    /// Messages sent; numbers their ids.
    sent: u64,
    /// Deliveries without an outcome.
    unsettled: usize,
    /// Credit after the last look: more of it is a sign of life.
    credit: u32,
    /// When the application last could have taken a message: it attached, settled one, or had credit.
    active: Instant,
}

/// What an open delivery carries.
pub(crate) struct UplinkToken {
    completion: Completion,
    /// None if the application wanted it settled already: then it says nothing of it.
    sent: Option<Sent>,
    /// Where the link is kept that counts it.
    pub(crate) slot: usize,
}

impl Linked for Link {
    fn id(&self) -> LinkId {
        self.id
    }

    fn session(&self) -> SessionId {
        self.session
    }
}

impl Link {
    pub(crate) fn new(
        (id, session): (LinkId, SessionId),
        address: Direct,
        (node, consumer): (Arc<Node>, Arc<Consumer>),
        presettled: bool,
        now: Instant,
    ) -> Self {
        let meters = node.meters().clone();
        Self {
            meters,
            id,
            session,
            address,
            node,
            consumer,
            presettled,
            is_draining: false,
            waiting: VecDeque::new(),
            stalled: 0,
            sent: 0,
            unsettled: 0,
            credit: 0,
            active: now,
        }
    }

    /// Takes a message that was offered. One that comes from another consumer's queue has less time
    /// left than those that are here already, and goes before them.
    pub(crate) fn push(&mut self, outgoing: Box<Outgoing>) {
        let deadlines = self.waiting.iter().rev().map(|other| other.give_up_at);
        let behind = deadlines
            .take_while(|deadline| *deadline > outgoing.give_up_at)
            .count();
        let place = self.waiting.len() - behind;
        if place < self.stalled {
            // It has waited elsewhere.
            self.stalled += 1;
        }
        self.waiting.insert(place, outgoing);
    }

    /// Takes what waits out of the queue, for somebody else.
    pub(crate) fn take_waiting(&mut self) -> VecDeque<Box<Outgoing>> {
        let waiting = std::mem::take(&mut self.waiting);
        self.stalled = 0;
        for outgoing in &waiting {
            self.consumer.taken(outgoing);
        }
        waiting
    }

    /// Sends what can be sent, gives up on what has waited too long, and tells the senders how much
    /// more would be taken.
    pub(crate) fn send_waiting(&mut self, now: Instant, engine: &mut Connection<Token>) {
        if engine.credit(self.id) > self.credit {
            self.consumer.set_frozen(false);
        }
        while let Some(oldest) = self.waiting.front() {
            let is_late = oldest.give_up_at <= now;
            if !is_late && !engine.can_send(self.id) {
                break;
            }
            let Some(outgoing) = self.waiting.pop_front() else {
                break;
            };
            self.consumer.taken(&outgoing);
            if self.stalled > 0 {
                self.stalled -= 1;
                let waited = self.waited(&outgoing, now);
                self.meters.waited(waited, now, &outgoing.message.trace);
            }
            if is_late {
                self.meters.refused(&Reason::NoCredit);
                outgoing.completion.settle(Err(Reason::NoCredit), now);
            } else {
                self.send(now, engine, *outgoing);
            }
        }
        self.stalled = self.waiting.len();
        self.publish_credit(now, engine);
    }

    /// How long a message has been here.
    fn waited(&self, outgoing: &Outgoing, now: Instant) -> Duration {
        let left = outgoing.give_up_at.saturating_duration_since(now);
        let late = now.saturating_duration_since(outgoing.give_up_at);
        self.patience().saturating_sub(left) + late
    }

    /// Tells the senders how much this link can take. Credit that cannot be used, because the
    /// session's window is shut or the application does not read, is none: else messages would be
    /// given to the one consumer that never sends them on.
    fn publish_credit(&mut self, now: Instant, engine: &mut Connection<Token>) {
        let has_had_credit = self.consumer.has_credit();
        if has_had_credit || engine.can_send(self.id) {
            self.active = now;
        }
        if self.is_draining && (self.waiting.is_empty() || engine.credit(self.id) == 0) {
            self.is_draining = false;
            engine.drained(self.id);
        }
        self.credit = engine.credit(self.id);
        let credit = match engine.can_send(self.id) {
            true => self.credit as usize,
            false => 0,
        };
        self.consumer
            .set_credit(credit, self.unsettled, self.is_asleep(now, credit));
        if self.consumer.is_ready() {
            self.node.nudge_others(&self.consumer);
        } else if !self.waiting.is_empty() && self.node.has_other_with_credit(&self.consumer) {
            self.consumer.nudge();
        }
    }

    fn send(&mut self, now: Instant, engine: &mut Connection<Token>, outgoing: Outgoing) {
        let Outgoing {
            message,
            completion,
            give_up_at,
        } = outgoing;
        self.sent += 1;
        let number = self.sent;
        let token = Token::Uplink(UplinkToken {
            completion,
            sent: (!self.presettled).then(|| self.meters.sent(now).traced(&message.trace)),
            slot: self.consumer.slot(),
        });
        let options = SendOptions {
            settled: self.presettled,
            give_up_at: Some(give_up_at),
        };
        let sent = engine.send(now, self.id, token, options, |buffer| {
            encode(buffer, &message, number);
        });
        match sent {
            Ok(()) => self.unsettled += 1,
            Err(token) => {
                self.meters.refused(&Reason::NoCredit);
                token.refuse(Reason::NoCredit, now);
            }
        }
    }

    /// A delivery of this link has ended. That we have given up on it is no sign of life.
    pub(crate) fn settled(&mut self, now: Instant, outcome: &Outcome) {
        self.unsettled = self.unsettled.saturating_sub(1);
        let has_timed_out = *outcome == Outcome::TimedOut;
        self.consumer.set_frozen(has_timed_out);
        if !has_timed_out {
            self.active = now;
        }
    }

    /// An application without credit that has nothing left to settle and has been silent for as long
    /// as a message may take will not give credit in time for the next one either.
    fn is_asleep(&self, now: Instant, credit: usize) -> bool {
        credit == 0 && self.unsettled == 0 && now >= self.active + self.patience()
    }

    fn patience(&self) -> Duration {
        self.consumer.outcome_timeout()
    }

    /// When this link has to be looked at though nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let oldest = self.waiting.front().map(|outgoing| outgoing.give_up_at);
        let may_fall_asleep = self.unsettled == 0 && self.consumer.is_out_of_credit_awake();
        let asleep = may_fall_asleep.then(|| self.active + self.patience());
        oldest.into_iter().chain(asleep).min()
    }
}

impl UplinkToken {
    /// Tells the waiting side what became of its message. Who has left it `open` what to make of the
    /// outcome has said nothing that holds (northbound contract §1.3).
    pub(crate) fn settle(self, outcome: Outcome, open: bool, now: Instant) {
        if let Some(sent) = &self.sent {
            sent.ended(&outcome, now);
        }
        let disposition = match open {
            true => Err(Reason::Unsettled),
            false => disposition(outcome, self.sent.is_none()),
        };
        self.completion.settle(disposition, now);
    }

    /// It could not be sent.
    pub(crate) fn refuse(self, reason: Reason, now: Instant) {
        self.completion.settle(Err(reason), now);
    }
}

/// What a consumer's outcome means for the device (northbound contract §1.3).
fn disposition(outcome: Outcome, presettled: bool) -> Disposition {
    match outcome {
        Outcome::Accepted => Ok(()),
        Outcome::Unknown if presettled => Ok(()),
        Outcome::Rejected {
            condition: name,
            description,
        } => {
            let condition = match name.as_deref() {
                Some(condition::INTERNAL_ERROR) => RejectCondition::InternalError,
                Some(condition::RESOURCE_LIMIT_EXCEEDED) => RejectCondition::ResourceLimitExceeded,
                Some(condition::UNAUTHORIZED_ACCESS) => RejectCondition::UnauthorizedAccess,
                _ => RejectCondition::Other,
            };
            Err(Reason::Rejected(condition, description.map(Arc::from)))
        }
        Outcome::Modified {
            undeliverable_here: true,
            ..
        } => Err(Reason::UndeliverableHere),
        Outcome::Modified { .. } => Err(Reason::Modified),
        // Settled without saying anything, or gone before it could: nobody has taken it.
        Outcome::Released | Outcome::Unknown | Outcome::LinkLost => Err(Reason::Released),
        Outcome::TimedOut => Err(Reason::OutcomeTimeout),
    }
}
