//! The store as its users see it.

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;

use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};

use crate::TenantFigures;
use crate::disk::{Batch, Bodies, Disk};
use crate::event::{Cause, Event, EventId, Expired, Queue, Refused, seconds};
use crate::folder::Folder;
use crate::index::Index;
use crate::mailbox::{Job, Mailbox};
use crate::options::Options;
use crate::reader::{self, Read};
use crate::writer::{Shared, Writer};

/// Events that one call of [`EventStore::expire`] drops, or some more.
const EXPIRE: usize = 10_000;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or used.
    #[error("cannot use the folder of the event store: {0}")]
    Folder(std::io::Error),
    /// Another process has it open.
    #[error("the event store is in use by another process")]
    InUse,
    /// The file system allows no write-ahead log, perhaps because it is a network's.
    #[error("the event store's file system allows no write-ahead log, only {0}")]
    NoLog(String),
    /// A newer release made it.
    #[error("a newer release made the event store (layout {0})")]
    Newer(i64),
    /// The database contradicts itself.
    #[error("the event store is damaged: event {0} is of no tenant or cannot be read")]
    Damaged(i64),
    /// The database cannot be used.
    #[error("cannot open the event store: {0}")]
    Database(#[from] rusqlite::Error),
    /// No thread could be started.
    #[error("cannot start a thread for the event store: {0}")]
    Thread(std::io::Error),
}

/// What was settled could not be written. It is tried again until the store is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("settlements of events could not be written")]
pub struct NotFlushed;

/// Why nothing new can be stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unwritable {
    /// The store is closed, or the thread that writes has ended.
    #[error("the event store is closed")]
    Closed,
    /// A write failed, and no event could be written since. It is tried again.
    #[error("events cannot be written")]
    Failing,
    /// The file system has no more than the reserve.
    #[error("there is no room on the event store's disk")]
    NoSpace,
}

/// The events of all tenants. Clones and [`Taker`](crate::Taker)s share it; the last one that is
/// dropped waits until what was settled is on the disk, [`close`](EventStore::close) does so without
/// blocking.
#[derive(Clone, Debug)]
pub struct EventStore(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    shared: Arc<Shared>,
    reads: Mutex<Option<mpsc::Sender<Read>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    done: watch::Receiver<()>,
}

/// An event on its way to the disk: resolves when it is there, or when it is known that it will not be.
/// The event goes its way whether or not somebody waits.
#[derive(Debug)]
#[must_use = "an event may be refused"]
pub struct Append(Result<oneshot::Receiver<Result<(), Refused>>, Refused>);

impl Future for Append {
    type Output = Result<(), Refused>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match &mut self.0 {
            Ok(waiting) => ready!(Pin::new(waiting).poll(context)).unwrap_or(Err(Refused::Closed)),
            Err(refused) => Err(*refused),
        })
    }
}

impl EventStore {
    /// Opens the store in `folder`, which is made if it is not there, and reads what waits. Blocks.
    ///
    /// # Errors
    /// If the store cannot be used; the variants say why.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        let folder = Folder::claim(folder)?;
        let disk = Disk::open(&folder.database())?;
        folder.sync()?;
        let mailbox = Mailbox::new(options.queued_events, options.queued_bytes);
        let room = folder.room(options.reserve);
        let mut index = Index::new(options);
        let last_id = disk.restore(&mut index)?;
        let bodies = Bodies::open(&folder.database())?;
        let (reads, reader) = reader::start(bodies).map_err(OpenError::Thread)?;
        let shared = Arc::new(Shared::new(mailbox, index, room));
        let (done, is_done) = watch::channel(());
        let writer = Writer {
            shared: shared.clone(),
            folder,
            disk,
            last_id,
            reader,
            done,
            next: Batch::default(),
            is_untidy: false,
            rounds: 0,
        };
        let writer = writer.start().map_err(OpenError::Thread)?;
        Ok(Self(Arc::new(Parts {
            shared,
            reads: Mutex::new(Some(reads)),
            writer: Mutex::new(Some(writer)),
            done: is_done,
        })))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Where reads are asked for, until the store is closed.
    pub(crate) fn reads(&self) -> &Mutex<Option<mpsc::Sender<Read>>> {
        &self.0.reads
    }

    /// Stores an event. It is on its way when this returns.
    pub fn append(&self, event: Event) -> Append {
        let (done, waiting) = oneshot::channel();
        let put = self.0.shared.mailbox.put(Job::Append(event, done));
        Append(put.map(|()| waiting))
    }

    /// Whether something new could be stored, for all that is known: a tenant may have used up its budget
    /// nevertheless. Looks at the file system, which may block.
    ///
    /// # Errors
    /// If not; the variants say why.
    pub fn check(&self) -> Result<(), Unwritable> {
        let shared = self.shared();
        if shared.mailbox.is_closed() {
            Err(Unwritable::Closed)
        } else if shared.is_failing.load(Relaxed) {
            Err(Unwritable::Failing)
        } else if !shared.room.is_left() {
            Err(Unwritable::NoSpace)
        } else {
            Ok(())
        }
    }

    /// The number of what the disk is given to do at the moment: to write, or to return space. No two have
    /// the same, so whoever gets one twice knows that it has taken at least as long as lies between: a
    /// disk that hangs fails nothing, and [`check`](Self::check) does not see it.
    pub fn writing(&self) -> Option<u64> {
        self.shared().writing()
    }

    /// Changes whenever there may be something to take from a queue: take until nothing comes, then
    /// wait for a change. All who watch a queue are told.
    pub fn watch(&self, tenant: &str, queue: Queue) -> watch::Receiver<()> {
        self.0.shared.index().watch(tenant, queue)
    }

    /// The consumer has taken responsibility: they are removed. A crash within the next moment may
    /// hand them out again.
    pub fn accept(&self, ids: &[EventId]) {
        self.settle(ids, Index::accept);
    }

    /// The consumer has not taken them, or is gone: they are handed out again at once, before all that
    /// waits of their devices. With `count_attempt`, one that has been tried as often as is allowed
    /// becomes a dead letter instead; dead letters are tried for ever. What has expired by `now` is
    /// dropped.
    pub fn release(&self, ids: &[EventId], count_attempt: bool, now: OffsetDateTime) {
        let now = seconds(now);
        self.settle(ids, |index, id| index.release(id, count_attempt, now));
    }

    /// After how many counted attempts an event becomes a dead letter; at least 1.
    pub fn max_attempts(&self) -> u32 {
        self.0.shared.index().max_attempts()
    }

    /// The consumer does not want them: they become dead letters. Dead letters are removed.
    pub fn reject(&self, ids: &[EventId], cause: Cause) {
        self.settle(ids, |index, id| index.reject(id, cause));
    }

    fn settle(&self, ids: &[EventId], settle: impl Fn(&mut Index, EventId)) {
        if ids.is_empty() {
            return;
        }
        let mut index = self.0.shared.index();
        for &id in ids {
            settle(&mut index, id);
        }
        let has_todo = !index.todo.is_empty();
        drop(index);
        if has_todo {
            self.0.shared.mailbox.poke();
        }
    }

    /// Drops events that wait and have expired by `now`, a bounded number. To be called once a second
    /// or so, at once if there are more: nobody gets what has expired, but until then it counts.
    pub fn expire(&self, now: OffsetDateTime) -> Expired {
        let count = self.0.shared.index().expire(seconds(now), EXPIRE);
        if count > 0 {
            self.0.shared.mailbox.poke();
        }
        let more = count >= EXPIRE;
        Expired { count, more }
    }

    /// What every tenant keeps waiting at `now`. Events count until their removal is on the disk.
    pub fn figures(&self, now: OffsetDateTime) -> Vec<TenantFigures> {
        self.0.shared.index().figures(seconds(now))
    }

    /// Waits until what was settled before is on the disk.
    ///
    /// # Errors
    /// If it could not be written, or the store is closed or too busy.
    pub async fn flush(&self) -> Result<(), NotFlushed> {
        let (done, waiting) = oneshot::channel();
        let put = self.0.shared.mailbox.put(Job::Flush(done));
        put.map_err(|_| NotFlushed)?;
        match waiting.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(NotFlushed),
        }
    }

    /// Writes what waits to be written and closes the files. Whatever is asked of the store from now
    /// on is refused. What is out is waiting when the store is opened again.
    pub async fn close(&self) {
        self.0.stop();
        let mut done = self.0.done.clone();
        // It ends by being dropped.
        while done.changed().await.is_ok() {}
    }
}

impl Parts {
    fn stop(&self) {
        self.shared.mailbox.close();
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        *reads = None;
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.stop();
        let writer = self.writer.get_mut();
        let writer = writer.unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes events has panicked");
        }
    }
}
