//! One link to an application that takes events from the store, or dead letters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::unconstrained;
use weir_amqp_engine::{
    Connection, LinkId, Outcome, SendOptions, SenderSettleMode, SessionId, condition,
};
use weir_core::{LogLimit, TenantId};
use weir_event_store::{Cause, EventId, Queue, TakeError, Taken};

use super::Events;
use super::delay::{Claim, Returned};
use super::stored::Stored;
use crate::slots::Linked;
use crate::token::Token;

/// Events that are taken from the store at a time. Small, so that consumers share what there is.
const BATCH: u32 = 256;
/// Events of a link that may wait for their outcome. They have no time-out, and must not use up all that
/// a session may have unsettled.
const MOST_OPEN: usize = 2048;
/// Events of a link that may be held back before it takes no more: an application that gives everything
/// back must not make dead letters of all there is.
const MOST_DELAYED: usize = 1000;
/// How long nothing is taken after the store could not be read, or while too much is held back.
const PAUSE: Duration = Duration::from_secs(1);

static UNREADABLE: LogLimit = LogLimit::new();

/// A link, as the task that owns its connection keeps it.
pub(crate) struct Link {
    id: LinkId,
    session: SessionId,
    slot: usize,
    events: Arc<Events>,
    queue: Queue,
    claim: Arc<Claim>,
    supply: Supply,
    /// Yields when there may be something to take.
    changes: BoxStream<'static, ()>,
    /// Taken and not sent yet.
    taken: VecDeque<Taken>,
    /// Deliveries without an outcome.
    open: usize,
    /// Settled by the application, and not told to the store yet.
    accepted: Vec<EventId>,
    /// Deliveries that lost their link before they had an outcome.
    lost: Vec<Returned>,
    /// The application wants its events settled already.
    presettled: bool,
    /// The application has asked for its credit to be used or given back.
    pub(crate) is_draining: bool,
    /// We have ended the link and wait for what the application still says.
    is_leaving: bool,
}

/// What is known of the store.
enum Supply {
    /// There may be something to take.
    Unknown,
    /// It is being asked.
    Asked(BoxFuture<'static, Result<Vec<Taken>, TakeError>>),
    /// It had nothing.
    Dry,
    /// Not to be asked before.
    Later(Instant),
    /// It is closed.
    Closed,
}

/// What an open delivery carries.
pub(crate) struct EventToken {
    id: EventId,
    attempts: u32,
    /// Where the link is kept that it was sent on.
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
        (id, session, slot): (LinkId, SessionId, usize),
        events: &Arc<Events>,
        (tenant, queue): (&TenantId, Queue),
        settle_mode: SenderSettleMode,
    ) -> Self {
        let store = &events.store;
        let mut changes = store.watch(tenant.as_str(), queue);
        changes.mark_unchanged();
        Self {
            id,
            session,
            slot,
            events: events.clone(),
            queue,
            claim: Arc::new(Claim::new(store.taker(tenant.as_str(), queue))),
            supply: Supply::Unknown,
            changes: stream::unfold(changes, changed).fuse().boxed(),
            taken: VecDeque::new(),
            open: 0,
            accepted: Vec::new(),
            lost: Vec::new(),
            presettled: settle_mode == SenderSettleMode::Settled,
            is_draining: false,
            is_leaving: false,
        }
    }

    /// Tells the store what was settled, then takes and sends a batch at most, so that other links get
    /// their turn. Whatever it sends is written, which leads here again.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        engine: &mut Connection<Token>,
    ) {
        self.tell_accepted();
        if self.is_leaving {
            return;
        }
        loop {
            self.poll_supply(cx, now, engine);
            if self.taken.is_empty() {
                break;
            }
            let open = self.open;
            self.send(now, engine);
            if self.open > open || !self.taken.is_empty() {
                break;
            }
        }
        self.answer_drain(engine);
    }

    // === from the store ===

    /// Goes on until something was taken or there is something to wait for.
    fn poll_supply(&mut self, cx: &mut Context<'_>, now: Instant, engine: &Connection<Token>) {
        while self.taken.is_empty() {
            match &mut self.supply {
                Supply::Unknown => {
                    let room = self.room(engine);
                    if room == 0 {
                        return;
                    }
                    self.ask(now, room);
                }
                Supply::Asked(answer) => match answer.as_mut().poll(cx) {
                    Poll::Ready(answer) => self.answered(now, answer),
                    Poll::Pending => return,
                },
                Supply::Dry => match self.changes.poll_next_unpin(cx) {
                    Poll::Ready(Some(())) => self.supply = Supply::Unknown,
                    Poll::Ready(None) => self.supply = Supply::Closed,
                    Poll::Pending => return,
                },
                Supply::Later(until) if *until <= now => self.supply = Supply::Unknown,
                Supply::Later(_) | Supply::Closed => return,
            }
        }
    }

    /// How much can be sent at once.
    fn room(&self, engine: &Connection<Token>) -> usize {
        if !engine.can_send(self.id) {
            return 0;
        }
        let credit = engine.credit(self.id).min(BATCH) as usize;
        credit.min(MOST_OPEN.saturating_sub(self.open))
    }

    fn ask(&mut self, now: Instant, room: usize) {
        if self.claim.delayed() >= MOST_DELAYED {
            self.supply = Supply::Later(now + PAUSE);
            return;
        }
        let claim = self.claim.clone();
        let answer = async move { claim.taker.lock().await.take(room).await };
        self.supply = Supply::Asked(Box::pin(answer));
    }

    fn answered(&mut self, now: Instant, answer: Result<Vec<Taken>, TakeError>) {
        self.supply = match answer {
            Ok(taken) if taken.is_empty() => Supply::Dry,
            Ok(taken) => {
                self.taken.extend(taken);
                Supply::Unknown
            }
            Err(TakeError::Busy | TakeError::Io) => Supply::Later(now + PAUSE),
            Err(TakeError::Closed) => Supply::Closed,
        };
    }

    // === to the application ===

    fn send(&mut self, now: Instant, engine: &mut Connection<Token>) {
        let date = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        let date = i64::try_from(date).unwrap_or(i64::MAX);
        while engine.can_send(self.id) {
            let Some(event) = self.taken.pop_front() else {
                return;
            };
            self.send_one(now, date, engine, &event);
        }
        if engine.credit(self.id) == 0 {
            // It was taken back meanwhile, so that somebody else may have them.
            self.give_back_unsent();
        }
    }

    fn send_one(&mut self, now: Instant, date: i64, engine: &mut Connection<Token>, event: &Taken) {
        let Some(stored) = Stored::read(event.payload.clone()) else {
            // It stays out with this link: lost to nobody, and in nobody's way.
            if let Some(unlogged) = UNREADABLE.admit(now) {
                let device = &*event.device;
                tracing::error!(
                    device,
                    unlogged,
                    "event of another release is kept and not sent"
                );
            }
            return;
        };
        let token = Token::Event(EventToken {
            id: event.id,
            attempts: event.attempts,
            slot: self.slot,
        });
        let options = SendOptions {
            settled: self.presettled,
            give_up_at: None,
        };
        let sent = engine.send(now, self.id, token, options, |buffer| {
            stored.encode(buffer, event, date);
        });
        match sent {
            Ok(()) => self.open += 1,
            Err(_) => self.events.store.release(&[event.id], false),
        }
    }

    fn give_back_unsent(&mut self) {
        let unsent: Vec<_> = self.taken.drain(..).map(|event| event.id).collect();
        self.events.store.release(&unsent, false);
    }

    fn answer_drain(&mut self, engine: &mut Connection<Token>) {
        let has_nothing = self.taken.is_empty()
            && matches!(self.supply, Supply::Dry | Supply::Later(_) | Supply::Closed);
        if self.is_draining && (has_nothing || engine.credit(self.id) == 0) {
            self.is_draining = false;
            engine.drained(self.id);
        }
    }

    // === what became of it ===

    /// A delivery of this link has ended.
    pub(crate) fn settled(&mut self, token: &EventToken, outcome: &Outcome) {
        self.open = self.open.saturating_sub(1);
        let id = token.id;
        let returned = |counts| Returned {
            id,
            attempts: token.attempts,
            counts,
        };
        let store = &self.events.store;
        match outcome {
            Outcome::Accepted => self.accepted.push(id),
            Outcome::Unknown if self.presettled => self.accepted.push(id),
            Outcome::Rejected { condition, .. } => match condition.as_deref() {
                // A dead letter that is rejected is gone, but this one was never seen: perhaps somebody
                // comes who takes larger messages.
                Some(condition::MESSAGE_SIZE_EXCEEDED) => match self.queue {
                    Queue::Event => store.reject(&[id], Cause::Undeliverable),
                    Queue::DeadLetter => self.give_back([returned(false)]),
                },
                _ => store.reject(&[id], Cause::Rejected),
            },
            Outcome::Modified {
                undeliverable_here: true,
                ..
            } => store.reject(&[id], Cause::Undeliverable),
            Outcome::Modified {
                delivery_failed, ..
            } => self.give_back([returned(*delivery_failed)]),
            Outcome::Released | Outcome::Unknown | Outcome::TimedOut => {
                self.give_back([returned(true)]);
            }
            // How the link has ended decides.
            Outcome::LinkLost => self.lost.push(returned(true)),
        }
    }

    fn give_back(&self, events: impl IntoIterator<Item = Returned>) {
        self.events.delays.give_back(&self.claim, events);
    }

    fn tell_accepted(&mut self) {
        self.events.store.accept(&self.accepted);
        self.accepted.clear();
    }

    // === end ===

    /// We end the link: nothing more is sent, and what is open is waited for.
    pub(crate) fn leave(&mut self) {
        self.is_leaving = true;
        // Drops what it was about to take.
        self.supply = Supply::Closed;
        self.give_back_unsent();
    }

    /// The link has ended; of what it had without an outcome that was an attempt, unless it has ended in
    /// an `orderly` way, or by us.
    pub(crate) fn end(mut self, orderly: bool) {
        self.leave();
        self.tell_accepted();
        let lost = std::mem::take(&mut self.lost);
        if orderly {
            let lost: Vec<_> = lost.iter().map(|event| event.id).collect();
            self.events.store.release(&lost, false);
        } else {
            self.give_back(lost);
        }
    }

    /// Whether we have ended it.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// When this link has to be looked at though nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.supply {
            Supply::Later(until) => Some(until),
            _ => None,
        }
    }
}

/// Waits for the next change. Unconstrained, so that pending means that there is none, and not that it
/// is some other task's turn: a drain must not end before the last event.
async fn changed(mut changes: watch::Receiver<()>) -> Option<((), watch::Receiver<()>)> {
    unconstrained(changes.changed()).await.ok()?;
    Some(((), changes))
}
