//! The durable queue for events: what was acknowledged to a device waits here until an application
//! has accepted it.
//!
//! * [`EventStore::append`] resolves when the event is synced to the disk. A [`Taker`] is one consumer's
//!   link: `take` hands events out to it, `accept`, `release` and `reject` settle them; `watch` tells when
//!   to take.
//! * **Order.** Each tenant has two [`Queue`]s. Several events of a device may be out at once, but only
//!   with one taker, which gets them in the order they were stored; a released one goes before all that
//!   still waits (`waiting.rs`, `line.rs`).
//! * **Memory.** 24 bytes for each waiting event (`index.rs`, `tenant.rs`, `backlog.rs`), and the newest
//!   messages up to a budget (`memory.rs`). Other messages are read when they are taken (`taker.rs`,
//!   `reader.rs`).
//! * **Disk.** One SQLite database in a folder that one process uses (`folder.rs`); all SQL is in
//!   `disk.rs`. One thread, `events-write`, writes and syncs (`writer.rs`): whatever waits in the bounded
//!   `mailbox.rs` shares a transaction and its sync. Nobody waits for settlements (`todo.rs`), they go
//!   with the next batch.
//! * **Full.** A tenant's [`Budgets`], the room on the file system and the mailbox refuse what is new.
//!   What was acknowledged is never dropped for room. A write that fails is told to who waits for it;
//!   settlements are tried again. Their success says nothing of events, so while none comes it is tried
//!   out whether one could be written, for [`EventStore::check`]. A write that hangs is seen by asking
//!   [`EventStore::writing`] twice. There is nothing to repair.
//!
//! It promises each event at least once: a crash may hand out again what was accepted a moment
//! before, also after its successor. It refuses to look at messages, to read the clock, to delay a
//! release, and to give up on a consumer: who hands an event to a link releases it when the link ends.

#![forbid(unsafe_code)]

mod backlog;
mod disk;
mod event;
mod folder;
mod index;
mod line;
mod mailbox;
mod memory;
mod options;
mod reader;
mod store;
mod taker;
mod tenant;
mod todo;
mod waiting;
mod writer;

pub use event::{
    Budget, Cause, Event, EventId, Expired, Queue, QueueFigures, Refused, TakeError, Taken,
    TenantFigures,
};
pub use options::{Budgets, Options};
pub use store::{Append, EventStore, NotFlushed, OpenError, Unwritable};
pub use taker::Taker;
