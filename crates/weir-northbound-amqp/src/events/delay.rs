//! Events that an application has given back and that are not offered again yet.
//!
//! They stay out with the link they were sent on, also when that has ended, so that what their devices
//! have sent since does not overtake them by another link.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use weir_event_store::{EventId, EventStore, Taker};

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// Events that may wait here; those of links that are over are the only ones that could be so many.
const MOST: usize = 100_000;

/// A link's claim to what it has taken. Dropped, everything that is still out with it waits again.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) taker: AsyncMutex<Taker>,
    /// How many of its events wait here.
    delayed: AtomicUsize,
}

/// An event that is given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returned {
    pub(super) id: EventId,
    /// How often it was tried before.
    pub(super) attempts: u32,
    /// Whether this was an attempt too.
    pub(super) counts: bool,
}

/// An event, and who has it.
type Held = (Arc<Claim>, Returned);

/// Holds events back.
#[derive(Debug)]
pub(super) struct Delays {
    store: EventStore,
    returned: mpsc::UnboundedSender<Held>,
    /// Until it is run.
    queue: Mutex<Option<mpsc::UnboundedReceiver<Held>>>,
    waiting: AtomicUsize,
}

impl Claim {
    pub(super) fn new(taker: Taker) -> Self {
        Self {
            taker: AsyncMutex::new(taker),
            delayed: AtomicUsize::new(0),
        }
    }

    /// How many of its events are held back.
    pub(super) fn delayed(&self) -> usize {
        self.delayed.load(Ordering::Relaxed)
    }
}

impl Returned {
    fn pause(&self) -> Duration {
        pause(self.attempts, self.counts)
    }
}

/// None the first time, because whatever it was may be over; then twice as long each time. What does not
/// count as an attempt could go on for ever, so it has a pause from the first time on.
fn pause(attempts: u32, counts: bool) -> Duration {
    if counts && attempts == 0 {
        return Duration::ZERO;
    }
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1));
    Duration::from_secs(factor.unwrap_or(u32::MAX).into()).min(LONGEST)
}

impl Delays {
    pub(super) fn new(store: EventStore) -> Self {
        let (returned, queue) = mpsc::unbounded_channel();
        Self {
            store,
            returned,
            queue: Mutex::new(Some(queue)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Gives events back, each now or when its time has come.
    pub(super) fn give_back(&self, claim: &Arc<Claim>, events: impl IntoIterator<Item = Returned>) {
        let mut at_once = [Vec::new(), Vec::new()];
        for event in events {
            if event.pause().is_zero() || !self.delay(claim, event) {
                at_once[usize::from(event.counts)].push(event.id);
            }
        }
        for (ids, counts) in at_once.iter().zip([false, true]) {
            self.store.release(ids, counts);
        }
    }

    /// Whether the event is held back. It is not when there is no room, or the end has come.
    fn delay(&self, claim: &Arc<Claim>, event: Returned) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        claim.delayed.fetch_add(1, Ordering::Relaxed);
        let is_held = self.returned.send((claim.clone(), event)).is_ok();
        if !is_held {
            self.done(claim);
        }
        is_held
    }

    fn done(&self, claim: &Claim) {
        claim.delayed.fetch_sub(1, Ordering::Relaxed);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn release(&self, claim: &Claim, event: Returned) {
        self.done(claim);
        self.store.release(&[event.id], event.counts);
    }

    /// Gives each back in its time, until `stop` is cancelled; then all of them.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        let queue = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut returned) = queue else {
            return;
        };
        let mut waiting = DelayQueue::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(item) = returned.recv() => {
                    let pause = item.1.pause();
                    waiting.insert(item, pause);
                }
                Some(due) = waiting.next(), if !waiting.is_empty() => {
                    let (claim, event) = due.into_inner();
                    self.release(&claim, event);
                }
            }
        }
        returned.close();
        while let Ok((claim, event)) = returned.try_recv() {
            self.release(&claim, event);
        }
        while let Some(key) = waiting.peek() {
            let (claim, event) = waiting.remove(&key).into_inner();
            self.release(&claim, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use time::OffsetDateTime;
    use weir_event_store::{Event, Options, Queue, Taken};

    use super::*;

    #[test]
    fn the_first_time_there_is_no_pause_and_then_it_doubles_up_to_a_minute() {
        let rows = [
            (0, 0, 1),
            (1, 1, 1),
            (2, 2, 2),
            (3, 4, 4),
            (6, 32, 32),
            (7, 60, 60),
            (32, 60, 60),
            (33, 60, 60),
            (u32::MAX, 60, 60),
        ];
        for (attempts, counted, uncounted) in rows {
            assert_eq!(pause(attempts, true).as_secs(), counted, "{attempts}");
            assert_eq!(pause(attempts, false).as_secs(), uncounted, "{attempts}");
        }
    }

    struct Fixture {
        store: EventStore,
        delays: Arc<Delays>,
        claim: Arc<Claim>,
        _folder: tempfile::TempDir,
    }

    /// A store with two events, and who takes them.
    async fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = EventStore::open(folder.path(), Options::default()).unwrap();
        for device in ["4711", "4712"] {
            let event = Event {
                tenant: "acme".into(),
                device: device.into(),
                queue: Queue::Event,
                arrived: OffsetDateTime::UNIX_EPOCH,
                expires: None,
                payload: Bytes::new(),
            };
            store.append(event).await.unwrap();
        }
        Fixture {
            delays: Arc::new(Delays::new(store.clone())),
            claim: Arc::new(Claim::new(store.taker("acme", Queue::Event))),
            store,
            _folder: folder,
        }
    }

    impl Fixture {
        async fn take(&self) -> Vec<Taken> {
            self.claim.taker.lock().await.take(10).await.unwrap()
        }

        /// Takes both events and gives them back as if they had been tried before.
        async fn give_back(&self, attempts: [u32; 2]) {
            let taken = self.take().await;
            let returned = taken
                .iter()
                .zip(attempts)
                .map(|(event, attempts)| Returned {
                    id: event.id,
                    attempts,
                    counts: true,
                });
            self.delays.give_back(&self.claim, returned);
        }
    }

    fn attempts(taken: &[Taken]) -> Vec<(&str, u32)> {
        let attempts = taken.iter().map(|event| (&*event.device, event.attempts));
        attempts.collect()
    }

    #[tokio::test]
    async fn each_is_offered_again_when_its_time_has_come() {
        let fixture = fixture().await;
        let delays = fixture.delays.clone();
        tokio::spawn(async move { delays.run(&CancellationToken::new()).await });
        let mut offered = fixture.store.watch("acme", Queue::Event);
        fixture.give_back([1, 0]).await;
        let taken = fixture.take().await;
        assert_eq!(attempts(&taken), [("4712", 1)], "at once");
        let taken = loop {
            offered.changed().await.unwrap();
            let taken = fixture.take().await;
            if !taken.is_empty() {
                break taken;
            }
        };
        assert_eq!(attempts(&taken), [("4711", 1)]);
        assert_eq!(fixture.claim.delayed(), 0);
    }

    #[tokio::test]
    async fn at_the_end_all_are_given_back_and_none_is_held_any_more() {
        let fixture = fixture().await;
        fixture.give_back([5, 7]).await;
        assert_eq!(fixture.claim.delayed(), 2);
        let stop = CancellationToken::new();
        stop.cancel();
        fixture.delays.run(&stop).await;
        assert_eq!(fixture.claim.delayed(), 0);
        let taken = fixture.take().await;
        assert_eq!(attempts(&taken), [("4711", 1), ("4712", 1)]);
        let ids: Vec<_> = taken.iter().map(|event| event.id).collect();
        fixture.store.release(&ids, false);
        fixture.give_back([5, 7]).await;
        let taken = fixture.take().await;
        assert_eq!(attempts(&taken), [("4711", 2), ("4712", 2)]);
    }

    #[tokio::test]
    async fn what_is_held_stays_with_a_link_that_has_ended() {
        let mut fixture = fixture().await;
        fixture.give_back([5, 0]).await;
        let mut other = fixture.store.taker("acme", Queue::Event);
        fixture.claim = Arc::new(Claim::new(fixture.store.taker("acme", Queue::Event)));
        let taken = other.take(10).await.unwrap();
        assert_eq!(attempts(&taken), [("4712", 1)]);
        let stop = CancellationToken::new();
        stop.cancel();
        fixture.delays.run(&stop).await;
        let taken = other.take(10).await.unwrap();
        assert_eq!(attempts(&taken), [("4711", 1)]);
    }
}
