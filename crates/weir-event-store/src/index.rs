//! Everything about the waiting events that is not their messages, in memory.
//!
//! The disk changes first and this after it, with one exception: a settlement is known here at once,
//! so that nobody need wait for the disk to have what follows, and is written with the next batch. A
//! crash in between hands the event out again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use crate::TenantFigures;
use crate::event::{
    Cause, Entry, Event, EventId, Queue, QueueNo, Refused, Taken, TakerNo, payload_len, seconds,
    time_of,
};
use crate::memory::{Body, Memory};
use crate::options::Options;
use crate::tenant::{Queued, Tenant};
use crate::todo::{self, Due, Move, Note, Removal, Todo};

mod restore;

/// Tenants in memory from which on it is worth to look for those that only somebody has asked about.
const SWEEP_FROM: usize = 1024;

#[derive(Debug)]
pub(crate) struct Index {
    options: Options,
    numbers: HashMap<Arc<str>, u32>,
    tenants: HashMap<u32, Tenant>,
    next_tenant: u32,
    next_taker: u64,
    sweep_at: usize,
    notes: HashMap<i64, Note>,
    memory: Memory,
    pub(crate) todo: Todo,
}

/// An event that was chosen for a consumer.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) id: EventId,
    pub(crate) entry: Entry,
    pub(crate) note: Note,
    pub(crate) body: Option<Body>,
}

/// What was chosen.
#[derive(Debug, Default)]
pub(crate) struct Picks {
    pub(crate) picked: Vec<Picked>,
    /// Whether there is more to look at.
    pub(crate) more: bool,
    /// Whether there were others that have expired.
    pub(crate) has_dropped: bool,
}

impl Picked {
    /// What the consumer gets, if the message was found.
    pub(crate) fn taken(self) -> Option<Taken> {
        let body = self.body?;
        Some(Taken {
            id: self.id,
            device: body.device,
            attempts: self.note.attempts,
            cause: self.note.cause,
            stored_at: time_of(self.entry.stored),
            expires: (self.entry.expires > 0).then(|| time_of(self.entry.expires)),
            payload: body.payload,
        })
    }
}

impl Index {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            memory: Memory::new(options.memory),
            options,
            numbers: HashMap::new(),
            tenants: HashMap::new(),
            next_tenant: 1,
            next_taker: 1,
            sweep_at: SWEEP_FROM,
            notes: HashMap::new(),
            todo: Todo::default(),
        }
    }

    /// After how many counted attempts an event is a dead letter.
    pub(crate) fn max_attempts(&self) -> u32 {
        self.options.max_attempts.max(1)
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        if self.tenants.len() >= self.sweep_at {
            self.tenants.retain(|_, tenant| !tenant.is_unused());
            let tenants = &self.tenants;
            self.numbers
                .retain(|_, number| tenants.contains_key(number));
            self.sweep_at = SWEEP_FROM.max(2 * self.tenants.len());
        }
        let number = self.next_tenant;
        self.add_tenant(number, name.into(), false);
        number
    }

    fn add_tenant(&mut self, number: u32, name: Arc<str>, is_stored: bool) {
        self.next_tenant = self.next_tenant.max(number + 1);
        self.numbers.insert(name.clone(), number);
        self.tenants.insert(number, Tenant::new(name, is_stored));
    }

    fn queue(&mut self, queue: QueueNo) -> Option<&mut Queued> {
        let tenant = self.tenants.get_mut(&queue.tenant())?;
        Some(tenant.queue(queue.queue()))
    }

    /// Told whenever there may be something to take.
    pub(crate) fn watch(&mut self, tenant: &str, queue: Queue) -> watch::Receiver<()> {
        let number = self.number(tenant);
        match self.queue(QueueNo::new(number, queue)) {
            Some(queue) => queue.watch(),
            None => watch::Sender::default().subscribe(),
        }
    }

    /// Somebody is going to take from a queue.
    pub(crate) fn join(&mut self, tenant: &str, queue: Queue) -> (QueueNo, TakerNo) {
        let no = QueueNo::new(self.number(tenant), queue);
        if let Some(queue) = self.queue(no) {
            queue.takers += 1;
        }
        let taker = TakerNo(self.next_taker);
        self.next_taker += 1;
        (no, taker)
    }

    /// A taker is gone: what is out with it waits again.
    pub(crate) fn leave(&mut self, no: QueueNo, taker: TakerNo) {
        let Some(queue) = self.queue(no) else {
            return;
        };
        queue.takers -= 1;
        for id in self.out_with(no, taker) {
            // Whoever takes it looks at the clock.
            self.release(id, false, 0);
        }
    }

    /// What is out with a taker.
    pub(crate) fn out_with(&mut self, queue: QueueNo, taker: TakerNo) -> Vec<EventId> {
        let Some(queued) = self.queue(queue) else {
            return Vec::new();
        };
        let out = queued.waiting.out_with(taker).into_iter();
        out.map(|id| EventId { queue, taker, id }).collect()
    }

    /// Counts an event against its tenant's budgets, before it is written.
    pub(crate) fn admit(&mut self, event: &Event) -> Result<QueueNo, Refused> {
        let number = self.number(&event.tenant);
        let budgets = self.options.budgets;
        let Some(tenant) = self.tenants.get_mut(&number) else {
            return Err(Refused::Io);
        };
        let (len, now) = (payload_len(event), seconds(event.arrived));
        if let Some(budget) = tenant.exceeded(&budgets, event.queue, len, now) {
            tenant.refused += 1;
            return Err(Refused::Full(budget));
        }
        tenant.queue(event.queue).count(len);
        Ok(QueueNo::new(number, event.queue))
    }

    /// An event that was admitted could not be written.
    pub(crate) fn discard(&mut self, queue: QueueNo, len: u32) {
        if let Some(queue) = self.queue(queue) {
            queue.forget(len);
        }
    }

    /// The tenant's name, if the disk does not know its number.
    pub(crate) fn unknown_to_disk(&self, number: u32) -> Option<Arc<str>> {
        let tenant = self.tenants.get(&number).filter(|t| !t.is_stored)?;
        Some(tenant.name.clone())
    }

    /// The disk knows the tenant's number now.
    pub(crate) fn tenant_written(&mut self, number: u32) {
        if let Some(tenant) = self.tenants.get_mut(&number) {
            tenant.is_stored = true;
        }
    }

    /// Events that were admitted are on the disk.
    pub(crate) fn written(&mut self, appends: Vec<(QueueNo, Entry, Body)>) {
        let mut touched = BTreeSet::new();
        for (no, entry, body) in appends {
            if let Some(queue) = self.queue(no) {
                queue.waiting.push(entry);
                self.memory.insert(entry.id, body);
                touched.insert(no);
            }
        }
        for no in touched {
            if let Some(queue) = self.queue(no) {
                queue.wake();
            }
        }
    }

    /// An event is gone from the disk.
    pub(crate) fn removed(&mut self, removal: &Removal) {
        self.discard(removal.queue, removal.len);
    }

    /// An event is a dead letter on the disk.
    pub(crate) fn moved(&mut self, moved: &Move) {
        let Some(tenant) = self.tenants.get_mut(&moved.tenant) else {
            return;
        };
        tenant.event.forget(moved.entry.len);
        tenant.dead_lettered += 1;
        tenant.dead.count(moved.entry.len);
        tenant.dead.waiting.push(moved.letter());
        tenant.dead.wake();
        let note = Note {
            cause: Some(moved.cause),
            ..Note::default()
        };
        self.notes.insert(moved.new_id, note);
    }

    /// Chooses up to `max` events for a taker, and drops those that have expired by `now`.
    pub(crate) fn pick(&mut self, (no, taker): (QueueNo, TakerNo), max: usize, now: u32) -> Picks {
        let limits = (max, self.options.take_bytes);
        let Some(queue) = self.queue(no) else {
            return Picks::default();
        };
        let choice = queue.waiting.pick(taker, limits, now);
        for entry in &choice.expired {
            self.drop_expired(no, entry);
        }
        let picked = choice.picked.into_iter().map(|entry| {
            let (queue, id) = (no, entry.id);
            Picked {
                id: EventId { queue, taker, id },
                entry,
                note: self.notes.get(&id).copied().unwrap_or_default(),
                body: self.memory.take(id),
            }
        });
        Picks {
            picked: picked.collect(),
            more: choice.more,
            has_dropped: !choice.expired.is_empty(),
        }
    }

    /// An event that nobody has any more has expired.
    fn drop_expired(&mut self, no: QueueNo, entry: &Entry) {
        if let Some(tenant) = self.tenants.get_mut(&no.tenant()) {
            tenant.expired += 1;
        }
        self.memory.take(entry.id);
        self.remove(no, entry);
    }

    /// The consumer has taken responsibility.
    pub(crate) fn accept(&mut self, id: EventId) {
        if let Some(entry) = self.settle(id) {
            self.remove(id.queue, &entry);
        }
    }

    /// The consumer has not taken it; it goes before what waits of its device, unless it has expired
    /// by `now` or has been handed out often enough.
    pub(crate) fn release(&mut self, id: EventId, count_attempt: bool, now: u32) {
        let max_attempts = self.max_attempts();
        let queue = self.queue(id.queue);
        let Some(entry) = queue.and_then(|queue| queue.waiting.out(id.id, id.taker)) else {
            return;
        };
        if entry.has_expired(now) {
            if let Some(entry) = self.settle(id) {
                self.drop_expired(id.queue, &entry);
            }
            return;
        }
        if count_attempt {
            let note = self.notes.entry(id.id).or_default();
            note.attempts = note.attempts.saturating_add(1);
            if note.attempts >= max_attempts && id.queue.queue() == Queue::Event {
                return self.reject(id, Cause::Attempts);
            }
            if !std::mem::replace(&mut note.is_due, true) {
                self.todo.attempts.push_back(id.id);
            }
        }
        let Some(queue) = self.queue(id.queue) else {
            return;
        };
        if queue.waiting.release(id.id, id.taker) {
            queue.wake();
        }
    }

    /// No consumer is to see it again, except as a dead letter. A dead letter itself is removed.
    pub(crate) fn reject(&mut self, id: EventId, cause: Cause) {
        let Some(entry) = self.settle(id) else {
            return;
        };
        if id.queue.queue() == Queue::DeadLetter {
            return self.remove(id.queue, &entry);
        }
        self.notes.remove(&id.id);
        self.todo.moves.push_back(Move {
            tenant: id.queue.tenant(),
            entry,
            cause,
            new_id: 0,
        });
    }

    fn settle(&mut self, id: EventId) -> Option<Entry> {
        let queue = self.queue(id.queue)?;
        let (entry, has_next) = queue.waiting.settle(id.id, id.taker)?;
        if has_next {
            queue.wake();
        }
        Some(entry)
    }

    fn remove(&mut self, queue: QueueNo, entry: &Entry) {
        let has_note = self.notes.remove(&entry.id).is_some();
        self.todo.removals.push_back(Removal {
            queue,
            id: entry.id,
            len: entry.len,
            has_note,
        });
    }

    /// Drops events that wait and have expired, `max` or some more. How many; if there are fewer, none
    /// is left. Those that are out do not expire.
    pub(crate) fn expire(&mut self, now: u32, max: usize) -> usize {
        let mut expired = Vec::new();
        for (&number, tenant) in &mut self.tenants {
            let missing = max.saturating_sub(expired.len());
            let expiry = tenant.event.waiting.expire(now, missing);
            if expiry.has_next {
                tenant.event.wake();
            }
            let no = QueueNo::new(number, Queue::Event);
            expired.extend(expiry.entries.into_iter().map(|entry| (no, entry)));
        }
        for (no, entry) in &expired {
            self.drop_expired(*no, entry);
        }
        expired.len()
    }

    /// What is to be written about settled events, `max` of each kind at most.
    pub(crate) fn take_due(&mut self, max: usize) -> Due {
        let due = todo::oldest(&mut self.todo.attempts, max).into_iter();
        let attempts = due.filter_map(|id| {
            let note = self.notes.get_mut(&id)?;
            note.is_due = false;
            Some((id, *note))
        });
        Due {
            attempts: attempts.collect(),
            removals: todo::oldest(&mut self.todo.removals, max),
            moves: todo::oldest(&mut self.todo.moves, max),
        }
    }

    pub(crate) fn figures(&self, now: u32) -> Vec<TenantFigures> {
        let tenants = self.tenants.values();
        tenants.map(|tenant| tenant.figures(now)).collect()
    }
}
