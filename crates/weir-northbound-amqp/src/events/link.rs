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
use super::delay::{Claim, MOST_DELAYED, Returned};
use super::seats::Seat;
use super::share::Share;
use super::stored::Stored;
use crate::meters::{Meters, Sent};
use crate::slots::Linked;
use crate::token::Token;

/// Events that are taken from the store at a time. Small, so that consumers share what there is.
const BATCH: usize = 256;
/// How long nothing is taken after the store could not be read, or while too much is held back.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the session may take nothing, though there is credit, before others get what was taken and
/// a drain is answered.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an application may take to answer that a link was ended. What it says of its events until
/// then holds.
const FAREWELL: Duration = Duration::from_secs(2);

static UNREADABLE: LogLimit = LogLimit::new();

/// A link, as the task that owns its connection keeps it.
pub(crate) struct Link {
    id: LinkId,
    session: SessionId,
    slot: usize,
    events: Arc<Events>,
    queue: Queue,
    claim: Arc<Claim>,
    /// What others may know of it; dead letters have nobody who would.
    watched: Option<(Meters, Arc<Seat>)>,
    supply: Supply,
    /// Yields when there may be something to take.
    changes: BoxStream<'static, ()>,
    /// Taken and not sent yet.
    taken: VecDeque<Taken>,
    /// When those are given back.
    send_by: Instant,
    /// How many may be taken at a time; fewer than [`BATCH`] after more were taken than could be sent.
    batch: usize,
    /// Has what is being asked for, what is taken, and what is open.
    share: Share,
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
    /// When that is answered at the latest, while nothing can be sent.
    drain_by: Option<Instant>,
    /// We have ended the link and wait until then for what the application still says.
    leaves_by: Option<Instant>,
}

/// What is known of the store.
enum Supply {
    /// There may be something to take.
    Unknown,
    /// It is being asked for so many.
    Asked(BoxFuture<'static, Result<Vec<Taken>, TakeError>>, usize),
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
    /// None if the application wanted it settled already, and of dead letters.
    pub(crate) sent: Option<Sent>,
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
        (id, session): (LinkId, SessionId),
        events: &Arc<Events>,
        (tenant, queue): (&TenantId, Queue),
        settle_mode: SenderSettleMode,
        (now, neighbour): (Instant, Option<&Self>),
    ) -> Self {
        let store = &events.store;
        let mut changes = store.watch(tenant.as_str(), queue);
        changes.mark_unchanged();
        Self {
            id,
            session,
            slot: 0,
            events: events.clone(),
            queue,
            claim: events.delays.claim(tenant.as_str(), queue),
            watched: (queue == Queue::Event).then(|| events.watch(tenant)),
            supply: Supply::Unknown,
            changes: stream::unfold(changes, changed).fuse().boxed(),
            taken: VecDeque::new(),
            send_by: now,
            batch: BATCH,
            share: Share::beside(neighbour.map(|link| &link.share)),
            open: 0,
            accepted: Vec::new(),
            lost: Vec::new(),
            presettled: settle_mode == SenderSettleMode::Settled,
            is_draining: false,
            drain_by: None,
            leaves_by: None,
        }
    }

    /// Says where it is kept.
    pub(crate) fn in_slot(self, slot: usize) -> Self {
        Self { slot, ..self }
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
        if self.is_leaving() {
            return;
        }
        let open = self.open;
        loop {
            self.poll_supply(cx, now, engine);
            if self.taken.is_empty() {
                break;
            }
            self.send(now, engine);
            if self.open > open || !self.taken.is_empty() {
                break;
            }
        }
        if self.open > open {
            self.drain_by = None;
        }
        self.answer_drain(now, engine);
        if let Some((_, seat)) = &self.watched {
            seat.set(engine.credit(self.id) as usize, self.taken.len());
        }
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
                Supply::Asked(answer, _) => match answer.as_mut().poll(cx) {
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

    /// How much can be sent at once, as far as that is known.
    fn room(&self, engine: &Connection<Token>) -> usize {
        if !engine.can_send(self.id) {
            return 0;
        }
        let credit = engine.credit(self.id) as usize;
        credit.min(self.batch).min(self.share.room())
    }

    fn ask(&mut self, now: Instant, room: usize) {
        if self.claim.delayed() >= MOST_DELAYED {
            self.supply = Supply::Later(now + PAUSE);
            return;
        }
        let claim = self.claim.clone();
        let answer = async move {
            let mut taker = claim.taker.lock().await;
            taker.take(room, OffsetDateTime::now_utc()).await
        };
        self.supply = Supply::Asked(Box::pin(answer), room);
        self.share.take(room);
    }

    /// Nothing is asked for any more.
    fn set_supply(&mut self, supply: Supply) {
        if let Supply::Asked(_, room) = std::mem::replace(&mut self.supply, supply) {
            self.share.give(room);
        }
    }

    fn answered(&mut self, now: Instant, answer: Result<Vec<Taken>, TakeError>) {
        self.set_supply(match &answer {
            Ok(taken) if taken.is_empty() => Supply::Dry,
            Ok(_) => Supply::Unknown,
            Err(TakeError::Busy | TakeError::Io) => Supply::Later(now + PAUSE),
            Err(TakeError::Closed) => Supply::Closed,
        });
        self.taken.extend(answer.unwrap_or_default());
        self.share.take(self.taken.len());
        self.send_by = now + PATIENCE;
    }

    // === to the application ===

    fn send(&mut self, now: Instant, engine: &mut Connection<Token>) {
        let date = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        let date = i64::try_from(date).unwrap_or(i64::MAX);
        while engine.can_send(self.id)
            && let Some(event) = self.taken.pop_front()
        {
            self.send_one(now, date, engine, &event);
        }
        if self.taken.is_empty() {
            self.batch = BATCH.min(2 * self.batch);
        } else if engine.credit(self.id) == 0 {
            // It was taken back meanwhile, so that somebody else may have them.
            self.give_back_unsent();
        } else if self.send_by <= now {
            // The session's window is shut, or it is full, or the application does not read.
            self.batch = self.batch.div_ceil(2);
            self.give_back_unsent();
        }
    }

    fn send_one(&mut self, now: Instant, date: i64, engine: &mut Connection<Token>, event: &Taken) {
        let Some(stored) = Stored::read(event.payload.clone()) else {
            // It stays out with this link: lost to nobody, and in nobody's way.
            self.share.give(1);
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
        let watched = self.watched.as_mut().filter(|_| !self.presettled);
        let token = Token::Event(EventToken {
            id: event.id,
            attempts: event.attempts,
            sent: watched.map(|(meters, _)| meters.sent(now)),
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
            Err(_) => {
                self.share.give(1);
                self.events.delays.release(&[event.id], false);
            }
        }
    }

    fn give_back_unsent(&mut self) {
        let unsent: Vec<_> = self.taken.drain(..).map(|event| event.id).collect();
        self.share.give(unsent.len());
        self.events.delays.release(&unsent, false);
    }

    /// Gives the credit back once there is nothing to send. That there is no room for more only ends
    /// when the application settles, and it may be waiting for this before it does.
    fn answer_drain(&mut self, now: Instant, engine: &mut Connection<Token>) {
        if !self.is_draining {
            return;
        }
        let has_nothing = match self.supply {
            Supply::Dry | Supply::Later(_) | Supply::Closed => true,
            Supply::Unknown => self.share.room() == 0,
            Supply::Asked(..) => false,
        };
        let is_late = match engine.can_send(self.id) {
            true => {
                self.drain_by = None;
                false
            }
            // Perhaps for the same reason, perhaps only until something is written.
            false => *self.drain_by.get_or_insert(now + PATIENCE) <= now,
        };
        let is_done = has_nothing && self.taken.is_empty();
        if is_done || is_late || engine.credit(self.id) == 0 {
            self.is_draining = false;
            self.drain_by = None;
            engine.drained(self.id);
            self.give_back_unsent();
        }
    }

    // === what became of it ===

    /// A delivery of this link has ended.
    pub(crate) fn settled(&mut self, token: &EventToken, outcome: &Outcome) {
        self.open = self.open.saturating_sub(1);
        self.share.give(1);
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
    pub(crate) fn leave(&mut self, now: Instant) {
        self.leaves_by.get_or_insert(now + FAREWELL);
        if let Some((_, seat)) = &self.watched {
            seat.set(0, 0);
        }
        self.take_no_more();
    }

    fn take_no_more(&mut self) {
        self.drain_by = None;
        // Drops what it was about to take.
        self.set_supply(Supply::Closed);
        self.give_back_unsent();
    }

    /// The link has ended; of what it had without an outcome that was an attempt, unless it has ended in
    /// an `orderly` way, or by us.
    pub(crate) fn end(mut self, orderly: bool) {
        self.take_no_more();
        self.tell_accepted();
        if !orderly {
            let lost = std::mem::take(&mut self.lost);
            self.give_back(lost);
        }
        // Also what the application may still speak of, if we do not wait for that any longer.
        self.events.delays.release(&self.claim.out(), false);
    }

    /// Whether we have ended it.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaves_by.is_some()
    }

    /// Whether we have ended it and have waited long enough.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.leaves_by.is_some_and(|by| by <= now)
    }

    /// Whether there is something that the application may still settle.
    pub(crate) fn has_open(&self) -> bool {
        self.open > 0
    }

    /// When this link has to be looked at though nothing happened.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let later = match self.supply {
            Supply::Later(until) => Some(until),
            _ => None,
        };
        let unsent = (!self.taken.is_empty()).then_some(self.send_by);
        let deadlines = [later, unsent, self.drain_by, self.leaves_by];
        deadlines.into_iter().flatten().min()
    }
}

/// Waits for the next change. Unconstrained, so that pending means that there is none, and not that it
/// is some other task's turn: a drain must not end before the last event.
async fn changed(mut changes: watch::Receiver<()>) -> Option<((), watch::Receiver<()>)> {
    unconstrained(changes.changed()).await.ok()?;
    Some(((), changes))
}

#[cfg(test)]
mod tests;
