//! The store as its users see it: real files, real processes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and the child speaks to its parent"
)]

mod budgets;
mod commit;
mod durability;
mod figures;
mod full;
mod model;
mod order;
mod redelivery;
mod takers;

use std::sync::Arc;

use bytes::Bytes;
use time::OffsetDateTime;
use weir_event_store::{Event, EventId, EventStore, Options, Queue, Taken, Taker, TenantFigures};

/// The tenant that most tests use.
const TENANT: &str = "t";

/// A store in a folder that is removed at the end, and a taker for each of its queues.
struct Fixture {
    options: Options,
    store: EventStore,
    taker: Taker,
    dead: Taker,
    folder: tempfile::TempDir,
}

/// Options for a disk that may be nearly full.
fn options() -> Options {
    Options {
        reserve: 0,
        ..Options::default()
    }
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

/// Before anything expires.
fn now() -> OffsetDateTime {
    at(1_000)
}

fn event(device: &str, payload: impl Into<Bytes>) -> Event {
    Event {
        tenant: TENANT.into(),
        device: device.into(),
        queue: Queue::Event,
        arrived: at(1_000),
        expires: None,
        payload: payload.into(),
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with(options())
    }

    fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EventStore::open(folder.path(), options.clone()).unwrap();
        Self {
            taker: store.taker(TENANT, Queue::Event),
            dead: store.taker(TENANT, Queue::DeadLetter),
            options,
            store,
            folder,
        }
    }

    async fn reopen(&mut self) {
        self.store.close().await;
        self.store = EventStore::open(self.folder.path(), self.options.clone()).unwrap();
        self.taker = self.taker();
        self.dead = self.store.taker(TENANT, Queue::DeadLetter);
    }

    /// Stores events with these payloads, in this order.
    async fn append(&self, device: &str, payloads: &[&str]) {
        for payload in payloads {
            let event = event(device, payload.to_string());
            self.store.append(event).await.unwrap();
        }
    }

    /// One more taker of events.
    fn taker(&self) -> Taker {
        self.store.taker(TENANT, Queue::Event)
    }

    async fn take(&mut self, max: usize) -> Vec<Taken> {
        self.taker.take(max, now()).await.unwrap()
    }

    async fn take_dead(&mut self, max: usize) -> Vec<Taken> {
        self.dead.take(max, now()).await.unwrap()
    }

    /// The tenant's figures once everything is on the disk.
    async fn figures(&self) -> TenantFigures {
        self.store.flush().await.unwrap();
        let mut figures = self.store.figures(at(1_000)).into_iter();
        figures.find(|f| &*f.tenant == TENANT).unwrap()
    }
}

fn payloads(taken: &[Taken]) -> Vec<&str> {
    let text = |taken| std::str::from_utf8(taken).unwrap();
    taken.iter().map(|t| text(&t.payload[..])).collect()
}

fn ids(taken: &[Taken]) -> Vec<EventId> {
    taken.iter().map(|taken| taken.id).collect()
}

fn name(text: &str) -> Arc<str> {
    text.into()
}
