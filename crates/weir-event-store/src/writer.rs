//! The thread that writes: whatever waits shares a transaction and its sync.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::disk::{Batch, Disk, is_full};
use crate::event::{
    Entry, Event, Queue, QueueNo, Refused, device_key, expiry, payload_len, seconds,
};
use crate::folder::{Folder, Room};
use crate::index::Index;
use crate::mailbox::{Found, Job, Mailbox};
use crate::memory::Body;

/// Events in a transaction, and settlements of each kind.
const BATCH: usize = 2_000;
/// For how long nothing may have happened before unused space is returned.
const IDLE: Duration = Duration::from_millis(200);
/// After how long settlements that could not be written are tried again, and whether anything can.
const RETRY: Duration = Duration::from_millis(500);
/// After how many rounds without a pause it is tried out whether events can be written again. Settlements
/// alone need [`RETRY`] for so many, because they are gathered.
const ROUNDS: u32 = 50;

/// What callers and both threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mailbox: Mailbox,
    index: Mutex<Index>,
    pub(crate) room: Room,
    /// Whether a write failed, and none that adds an event has succeeded since.
    pub(crate) is_failing: AtomicBool,
    /// How often the disk was given something to do, and how often it was done with it.
    steps: AtomicU64,
}

impl Shared {
    pub(crate) fn new(mailbox: Mailbox, index: Index, room: Room) -> Self {
        Self {
            mailbox,
            index: Mutex::new(index),
            room,
            is_failing: AtomicBool::new(false),
            steps: AtomicU64::new(0),
        }
    }

    /// The number of what the disk is at, if it is at anything.
    pub(crate) fn writing(&self) -> Option<u64> {
        let steps = self.steps.load(Relaxed);
        (steps % 2 == 1).then_some(steps)
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) folder: Folder,
    pub(crate) disk: Disk,
    /// The greatest id that was given to an event.
    pub(crate) last_id: i64,
    /// Reads for as long as there are consumers; ends before this thread does.
    pub(crate) reader: JoinHandle<()>,
    /// Dropped at the very end.
    pub(crate) done: watch::Sender<()>,
    /// What the next transaction does. Between two it has the settlements that could not be written.
    pub(crate) next: Batch,
    /// Whether unused space could not be returned, so that the log has it once.
    pub(crate) is_untidy: bool,
    /// Rounds since it was last seen whether an event can be written.
    pub(crate) rounds: u32,
}

/// Who waits for an event.
type Waiter = oneshot::Sender<Result<(), Refused>>;

/// Closes the mailbox however the thread ends, so that nobody waits for it.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.mailbox.close();
        // Dropping a job tells who waits for it.
        drop(self.0.mailbox.wait(usize::MAX, None));
    }
}

impl Writer {
    pub(crate) fn start(self) -> std::io::Result<JoinHandle<()>> {
        let name = "events-write".to_owned();
        std::thread::Builder::new()
            .name(name)
            .spawn(move || self.run())
    }

    fn run(mut self) {
        let _closing = Closing(self.shared.clone());
        // How long to wait before unused space is looked for: after the start, and after whatever was
        // written.
        let mut idle = Some(IDLE);
        let mut is_stepped = false;
        loop {
            let patience = match self.next.is_empty() && !self.is_failing() {
                true => idle,
                false => Some(RETRY),
            };
            match self.shared.mailbox.wait(BATCH, patience) {
                Found::Work(jobs) => {
                    if !self.work(jobs) {
                        // Events may come all the time; it is their space that they wait for.
                        is_stepped = self.tidy(is_stepped);
                    }
                    self.rounds = self.rounds.saturating_add(1);
                    if self.is_failing() && self.rounds >= ROUNDS {
                        self.try_out();
                    }
                    idle = Some(IDLE);
                }
                Found::Nothing if !self.next.is_empty() => self.work_off(),
                Found::Nothing if self.is_failing() => self.try_out(),
                Found::Nothing => {
                    is_stepped = self.tidy(is_stepped);
                    idle = is_stepped.then_some(Duration::ZERO);
                }
                Found::Closed(jobs) => {
                    self.work(jobs);
                    break;
                }
            }
        }
        self.finish();
    }

    /// Writes what is still to be written and closes everything in an order in which it can be opened
    /// again at once.
    fn finish(mut self) {
        while self.next.is_empty() && !self.shared.index().todo.is_empty() {
            self.work_off();
        }
        if self.reader.join().is_err() {
            tracing::error!("the thread that reads events has panicked");
        }
        drop(self.disk);
        drop(self.folder);
        drop(self.done);
    }

    /// Returns a little unused space. Whether there is more to return.
    fn tidy(&mut self, is_stepped: bool) -> bool {
        let result = self.disk(|disk| disk.tidy(is_stepped));
        let was_failing = std::mem::replace(&mut self.is_untidy, result.is_err());
        result.unwrap_or_else(|error| {
            if !was_failing {
                tracing::warn!(%error, "cannot return the space of removed events");
            }
            false
        })
    }

    /// One transaction with these jobs and with what was settled. Whether there was room for events,
    /// if there were any.
    fn work(&mut self, jobs: VecDeque<Job>) -> bool {
        let mut flushes = Vec::new();
        let mut events = Vec::new();
        for job in jobs {
            match job {
                Job::Append(event, waiter) => events.push((event, waiter)),
                Job::Flush(waiter) => flushes.push(waiter),
            }
        }
        let has_room = events.is_empty() || self.shared.room.is_left();
        let waiters = self.plan(events, has_room);
        let outcome = self.write();
        if outcome.is_err() && !waiters.is_empty() && !self.next.is_empty() {
            // What is removed may make the room that the events have not found.
            let _ = self.write();
        }
        for waiter in waiters {
            // Whoever waited may be gone.
            let _ = waiter.send(outcome);
        }
        if !flushes.is_empty() {
            self.flush();
        }
        for waiter in flushes {
            let _ = waiter.send(self.next.is_empty());
        }
        if self.next.is_empty() && !self.shared.index().todo.is_empty() {
            self.shared.mailbox.poke();
        }
        has_room
    }

    /// Writes what was settled before, and not what may be settled meanwhile: events wait for this.
    fn flush(&mut self) {
        let rounds = self.shared.index().todo.rounds(BATCH);
        for _ in 0..rounds {
            if self.next.is_empty() {
                self.work_off();
            }
        }
    }

    /// One transaction with what was settled.
    fn work_off(&mut self) {
        self.work(VecDeque::new());
    }

    fn is_failing(&self) -> bool {
        self.shared.is_failing.load(Relaxed)
    }

    /// Finds out whether what failed would succeed now: there may be nothing to write as long as nobody
    /// believes that it can be.
    fn try_out(&mut self) {
        let result = self.disk(Disk::try_out);
        let _ = self.judge(result, true);
    }

    /// Has the disk do something, and whoever looks know that it is at it: it may never return.
    fn disk<T>(&mut self, act: impl FnOnce(&mut Disk) -> T) -> T {
        self.shared.steps.fetch_add(1, Relaxed);
        let result = act(&mut self.disk);
        self.shared.steps.fetch_add(1, Relaxed);
        result
    }

    /// Commits the next batch and has the index follow.
    fn write(&mut self) -> Result<(), Refused> {
        let batch = std::mem::take(&mut self.next);
        if batch.is_empty() {
            return Ok(());
        }
        let result = self.disk(|disk| disk.write(&batch));
        let outcome = self.judge(result, !batch.appends.is_empty());
        self.apply(batch, outcome.is_ok());
        outcome
    }

    /// Puts into the next batch what the budgets allow, and answers the others. Returns who waits.
    fn plan(&mut self, events: Vec<(Event, Waiter)>, has_room: bool) -> Vec<Waiter> {
        let mut waiters = Vec::with_capacity(events.len());
        let mut refused = Vec::new();
        let shared = self.shared.clone();
        let mut index = shared.index();
        for (event, waiter) in events {
            let admitted = match has_room {
                true => index.admit(&event),
                false => Err(Refused::NoSpace),
            };
            match admitted {
                Ok(queue) => {
                    self.add(queue, event);
                    waiters.push(waiter);
                }
                Err(reason) => refused.push((waiter, reason)),
            }
        }
        for at in 0..self.next.appends.len() {
            let number = self.next.appends[at].0.tenant();
            let Some(name) = index.unknown_to_disk(number) else {
                continue;
            };
            if self.next.tenants.iter().all(|tenant| tenant.0 != number) {
                self.next.tenants.push((number, name));
            }
        }
        // While writing fails, what is tried again does not grow.
        if self.next.settlements() < BATCH {
            let due = index.take_due(BATCH);
            self.next.attempts.extend(due.attempts);
            self.next.removals.extend(due.removals);
            self.next.moves.extend(due.moves);
        }
        drop(index);
        for moved in &mut self.next.moves {
            self.last_id += 1;
            moved.new_id = self.last_id;
        }
        for (waiter, reason) in refused {
            let _ = waiter.send(Err(reason));
        }
        waiters
    }

    fn add(&mut self, queue: QueueNo, event: Event) {
        self.last_id += 1;
        let entry = Entry {
            id: self.last_id,
            key: device_key(&event.device),
            len: payload_len(&event),
            stored: seconds(event.arrived),
            expires: match event.queue {
                Queue::Event => expiry(event.expires),
                Queue::DeadLetter => 0,
            },
        };
        let body = Body {
            device: event.device,
            payload: event.payload,
        };
        self.next.appends.push((queue, entry, body));
    }

    /// What a write's result means for those who wait for it, and for those who come.
    fn judge(
        &mut self,
        result: Result<(), rusqlite::Error>,
        has_event: bool,
    ) -> Result<(), Refused> {
        let was_failing = self.is_failing();
        // A disk on which nothing can be added may still let something be removed.
        let is_failing = result.is_err() || (was_failing && !has_event);
        self.shared.is_failing.store(is_failing, Relaxed);
        if has_event {
            self.rounds = 0;
        }
        if was_failing && !is_failing {
            tracing::info!("events can be written again");
        }
        result.map_err(|error| {
            // Once, and not for each batch until it is over.
            if !was_failing {
                tracing::error!(%error, "cannot write events");
            }
            match is_full(&error) {
                true => Refused::NoSpace,
                false => Refused::Io,
            }
        })
    }

    /// Has the index follow the disk. Settlements that were not written stay for the next batch.
    fn apply(&mut self, batch: Batch, is_written: bool) {
        let mut index = self.shared.index();
        if !is_written {
            for (queue, entry, _) in &batch.appends {
                index.discard(*queue, entry.len);
            }
            drop(index);
            self.next = Batch {
                tenants: Vec::new(),
                appends: Vec::new(),
                ..batch
            };
            return;
        }
        for (number, _) in &batch.tenants {
            index.tenant_written(*number);
        }
        index.written(batch.appends);
        for removal in &batch.removals {
            index.removed(removal);
        }
        for moved in &batch.moves {
            index.moved(moved);
        }
    }
}
