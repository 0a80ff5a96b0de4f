//! Taking events, as one consumer does.

use std::sync::PoisonError;

use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::disk::is_damage;
use crate::event::{EventId, Queue, QueueNo, TakeError, Taken, TakerNo, seconds};
use crate::index::Picked;
use crate::memory::Body;
use crate::reader::{Read, ReadResult};
use crate::store::EventStore;

/// One consumer's link to a queue. While events of a device are out with it, no other taker gets any
/// of that device, so several may be out at once without a loss of order.
///
/// Dropping it releases what is still out with it and counts no attempt; to have them counted,
/// [`release`](EventStore::release) them before.
#[derive(Debug)]
pub struct Taker {
    store: EventStore,
    queue: QueueNo,
    no: TakerNo,
}

/// Events that were chosen and have not reached the consumer: gives them back if dropped.
struct Loan<'s> {
    store: &'s EventStore,
    ids: Vec<EventId>,
    now: OffsetDateTime,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.store.release(&self.ids, false, self.now);
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.store.shared().index().leave(self.queue, self.no);
    }
}

impl EventStore {
    /// Begins to take from a tenant's queue.
    pub fn taker(&self, tenant: &str, queue: Queue) -> Taker {
        let (queue, no) = self.shared().index().join(tenant, queue);
        let store = self.clone();
        Taker { store, queue, no }
    }
}

impl Taker {
    /// Hands out up to `max` events, the oldest first, without those of devices of which another taker
    /// has something out. Those that have expired by `now` are dropped. Of each device they come in the
    /// order in which they were stored, but a released one comes again before what still waits, and
    /// after what is out already. An empty answer to a `max` above 0 means that nothing waits that this
    /// taker may have.
    ///
    /// What is handed out has to be settled once, by [`accept`](EventStore::accept),
    /// [`release`](EventStore::release) or [`reject`](EventStore::reject); the store has no time-out of
    /// its own. Dropping the future hands nothing out.
    ///
    /// # Errors
    /// If the store is closed, or if messages had to be read from the disk and could not be. What was
    /// chosen waits again, which all who watch are told at once; so wait a moment before the next try.
    /// What is damaged stays out with this taker, so that the next try gets what follows.
    pub async fn take(&mut self, max: usize, now: OffsetDateTime) -> Result<Vec<Taken>, TakeError> {
        let picked = self.pick(max, now).await?;
        if picked.is_empty() {
            return Ok(Vec::new());
        }
        let taken = self.fetch(picked, now).await?;
        // There may be more, of which something can be read.
        match taken.is_empty() {
            true => Err(TakeError::Io),
            false => Ok(taken),
        }
    }

    /// Finds the messages of what was chosen. An event whose message is damaged stays out with this
    /// taker: others may be able to read it one day, and until then it is in nobody's way.
    async fn fetch(
        &self,
        mut picked: Vec<Picked>,
        now: OffsetDateTime,
    ) -> Result<Vec<Taken>, TakeError> {
        let mut loan = Loan {
            store: &self.store,
            ids: picked.iter().map(|picked| picked.id).collect(),
            now,
        };
        let on_disk = picked.iter().filter(|picked| picked.body.is_none());
        let on_disk: Vec<_> = on_disk.map(|picked| picked.entry.id).collect();
        if !on_disk.is_empty() {
            let (bodies, damaged) = self.read_all(on_disk).await?;
            picked.retain(|picked| !damaged.contains(&picked.entry.id));
            let mut bodies = bodies.into_iter().peekable();
            for picked in picked.iter_mut().filter(|picked| picked.body.is_none()) {
                let is_it = |(id, _): &(i64, _)| *id == picked.entry.id;
                picked.body = bodies.next_if(is_it).map(|(_, body)| body);
            }
        }
        loan.ids.clear();
        let taken = picked.into_iter().filter_map(|picked| {
            let id = picked.id;
            let taken = picked.taken();
            if taken.is_none() {
                tracing::error!(id = id.id, "an event has lost its message");
                self.store.accept(&[id]);
            }
            taken
        });
        Ok(taken.collect())
    }

    /// What is out, the oldest first.
    pub fn out(&self) -> Vec<EventId> {
        self.store.shared().index().out_with(self.queue, self.no)
    }

    async fn pick(&self, max: usize, now: OffsetDateTime) -> Result<Vec<Picked>, TakeError> {
        loop {
            if self.store.shared().mailbox.is_closed() {
                return Err(TakeError::Closed);
            }
            let who = (self.queue, self.no);
            let picks = self.store.shared().index().pick(who, max, seconds(now));
            if picks.has_dropped {
                self.store.shared().mailbox.poke();
            }
            if !picks.picked.is_empty() || !picks.more || max == 0 {
                return Ok(picks.picked);
            }
            // Only a part of a long queue is looked at while others wait for the index.
            tokio::task::yield_now().await;
        }
    }

    /// The messages of these events, in their order, and which are damaged.
    async fn read_all(&self, ids: Vec<i64>) -> Result<(Vec<(i64, Body)>, Vec<i64>), TakeError> {
        if let Ok(bodies) = self.read(ids.clone()).await? {
            return Ok((bodies, Vec::new()));
        }
        let (mut bodies, mut damaged, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids {
            match self.read(vec![id]).await? {
                Ok(body) => bodies.extend(body),
                Err(error) if is_damage(&error) => damaged.push(id),
                Err(_) => unread.push(id),
            }
        }
        if bodies.is_empty() && !unread.is_empty() {
            return Err(TakeError::Io);
        }
        // Others could be read meanwhile, so it is not the disk as a whole.
        damaged.append(&mut unread);
        if !damaged.is_empty() {
            tracing::error!(ids = ?damaged, "events that cannot be read are kept and not handed out");
        }
        Ok((bodies, damaged))
    }

    async fn read(&self, ids: Vec<i64>) -> Result<ReadResult, TakeError> {
        let (done, read) = oneshot::channel();
        {
            let reads = self.store.reads().lock();
            let reads = reads.unwrap_or_else(PoisonError::into_inner);
            let reads = reads.as_ref().ok_or(TakeError::Closed)?;
            reads
                .try_send(Read { ids, done })
                .map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => TakeError::Busy,
                    mpsc::error::TrySendError::Closed(_) => TakeError::Closed,
                })?;
        }
        read.await.map_err(|_| TakeError::Closed)
    }
}
