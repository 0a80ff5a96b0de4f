//! Events that an application has given back and that are not offered again yet.
//!
//! They stay out with the link they were sent on, also when that has ended, so that what their devices
//! have sent since does not overtake them by another link.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use time::OffsetDateTime;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use weir_event_store::{EventId, EventStore, Queue, Taker};

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// Events of a link that may be held back. It takes no more then: an application that gives everything
/// back must not make dead letters of all there is.
pub(super) const MOST_DELAYED: usize = 1000;
/// Events of a tenant that may be held back; only links that are over could have so many.
const MOST_OF_TENANT: usize = 10_000;
/// Tenants from which on it is worth to look for those that nobody has a link to.
const SWEEP_FROM: usize = 1024;

/// A link's claim to what it has taken. Dropped, everything that is still out with it waits again.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) taker: AsyncMutex<Taker>,
    queue: Queue,
    /// Its events that wait here.
    delayed: Mutex<HashSet<EventId>>,
    /// How many of its tenant's do.
    of_tenant: Arc<AtomicUsize>,
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
    /// How often an event is tried.
    max_attempts: u32,
    returned: mpsc::UnboundedSender<Held>,
    /// Until it is run.
    queue: Mutex<Option<mpsc::UnboundedReceiver<Held>>>,
    /// How many events of each tenant wait here. Its links share the number.
    tenants: Mutex<HashMap<Arc<str>, Arc<AtomicUsize>>>,
}

impl Claim {
    /// How many of its events are held back.
    pub(super) fn delayed(&self) -> usize {
        self.held().len()
    }

    /// What is out and not held back.
    pub(super) fn out(&self) -> Vec<EventId> {
        // Somebody who is taking something has it to himself until then.
        let mut out = self
            .taker
            .try_lock()
            .map_or_else(|_| Vec::new(), |it| it.out());
        let held = self.held();
        out.retain(|id| !held.contains(id));
        out
    }

    fn held(&self) -> MutexGuard<'_, HashSet<EventId>> {
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for one more.
    fn hold(&self, id: EventId) -> bool {
        let mut held = self.held();
        let all = self.of_tenant.load(Ordering::Relaxed);
        let has_room = held.len() < MOST_DELAYED && all < MOST_OF_TENANT;
        if has_room && held.insert(id) {
            self.of_tenant.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    fn let_go(&self, id: EventId) {
        if self.held().remove(&id) {
            self.of_tenant.fetch_sub(1, Ordering::Relaxed);
        }
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
            max_attempts: store.max_attempts(),
            store,
            returned,
            queue: Mutex::new(Some(queue)),
            tenants: Mutex::default(),
        }
    }

    /// A claim to what a new link takes.
    pub(super) fn claim(&self, tenant: &str, queue: Queue) -> Arc<Claim> {
        Arc::new(Claim {
            taker: AsyncMutex::new(self.store.taker(tenant, queue)),
            queue,
            delayed: Mutex::default(),
            of_tenant: self.of_tenant(tenant),
        })
    }

    fn of_tenant(&self, tenant: &str) -> Arc<AtomicUsize> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = tenants.get(tenant) {
            return count.clone();
        }
        if tenants.len() >= SWEEP_FROM {
            tenants.retain(|_, count| Arc::strong_count(count) > 1);
        }
        let count = Arc::default();
        tenants.insert(tenant.into(), Arc::clone(&count));
        count
    }

    /// Gives events back, each now or when its time has come. One that should pause and for which there
    /// is no room was no attempt: without a pause a fault that lasts would use them up.
    pub(super) fn give_back(&self, claim: &Arc<Claim>, events: impl IntoIterator<Item = Returned>) {
        let mut at_once = [Vec::new(), Vec::new()];
        for event in events {
            if self.is_due(claim, event) {
                at_once[usize::from(event.counts)].push(event.id);
            } else if !self.hold(claim, event) {
                at_once[0].push(event.id);
            }
        }
        for (ids, counts) in at_once.iter().zip([false, true]) {
            self.release(ids, counts);
        }
    }

    /// Whether it needs no pause: it never does before it becomes a dead letter, nor when the end has
    /// come.
    fn is_due(&self, claim: &Claim, event: Returned) -> bool {
        let is_last = claim.queue == Queue::Event
            && event.counts
            && event.attempts.saturating_add(1) >= self.max_attempts;
        is_last || event.pause().is_zero() || self.returned.is_closed()
    }

    /// Whether the event is held back, for which there has to be room.
    fn hold(&self, claim: &Arc<Claim>, event: Returned) -> bool {
        if !claim.hold(event.id) {
            return false;
        }
        let is_held = self.returned.send((claim.clone(), event)).is_ok();
        if !is_held {
            claim.let_go(event.id);
        }
        is_held
    }

    /// Gives events back now.
    pub(super) fn release(&self, ids: &[EventId], counts: bool) {
        self.store.release(ids, counts, OffsetDateTime::now_utc());
    }

    fn let_go(&self, claim: &Claim, event: Returned) {
        claim.let_go(event.id);
        self.release(&[event.id], event.counts);
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
                    self.let_go(&claim, event);
                }
            }
        }
        returned.close();
        while let Ok((claim, event)) = returned.try_recv() {
            self.let_go(&claim, event);
        }
        while let Some(key) = waiting.peek() {
            let (claim, event) = waiting.remove(&key).into_inner();
            self.let_go(&claim, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use weir_event_store::{Event, Options, Taken};

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

    fn now() -> OffsetDateTime {
        OffsetDateTime::now_utc()
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
        let delays = Arc::new(Delays::new(store.clone()));
        Fixture {
            claim: delays.claim("acme", Queue::Event),
            delays,
            store,
            _folder: folder,
        }
    }

    impl Fixture {
        async fn take(&self) -> Vec<Taken> {
            self.claim.taker.lock().await.take(10, now()).await.unwrap()
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
        fixture.store.release(&ids, false, now());
        fixture.give_back([5, 7]).await;
        let taken = fixture.take().await;
        assert_eq!(attempts(&taken), [("4711", 2), ("4712", 2)]);
    }

    #[tokio::test]
    async fn what_is_held_stays_with_a_link_that_has_ended() {
        let mut fixture = fixture().await;
        fixture.give_back([5, 0]).await;
        let mut other = fixture.store.taker("acme", Queue::Event);
        fixture.claim = fixture.delays.claim("acme", Queue::Event);
        let taken = other.take(10, now()).await.unwrap();
        assert_eq!(attempts(&taken), [("4712", 1)]);
        let stop = CancellationToken::new();
        stop.cancel();
        fixture.delays.run(&stop).await;
        let taken = other.take(10, now()).await.unwrap();
        assert_eq!(attempts(&taken), [("4711", 1)]);
    }

    fn returned(id: EventId, attempts: u32) -> Returned {
        let counts = true;
        Returned {
            id,
            attempts,
            counts,
        }
    }

    #[tokio::test]
    async fn the_last_attempt_is_followed_by_the_dead_letter_without_a_pause() {
        let fixture = fixture().await;
        let last = fixture.store.max_attempts() - 1;
        let mut dead = fixture.store.taker("acme", Queue::DeadLetter);
        // As often as it takes the store to count them too.
        for _ in 0..last {
            let ids: Vec<_> = fixture.take().await.iter().map(|event| event.id).collect();
            fixture.store.release(&ids, true, now());
        }
        fixture.give_back([last, last - 1]).await;
        assert_eq!(fixture.claim.delayed(), 1);
        fixture.store.flush().await.unwrap();
        let letters = dead.take(10, now()).await.unwrap();
        assert_eq!(attempts(&letters), [("4711", 0)]);
        // A dead letter is not followed by anything.
        let claim = fixture.delays.claim("acme", Queue::DeadLetter);
        fixture
            .delays
            .give_back(&claim, [returned(letters[0].id, last)]);
        assert_eq!(claim.delayed(), 1);
    }

    #[tokio::test]
    async fn what_is_too_much_to_be_held_was_no_attempt_and_leaves_other_tenants_theirs() {
        let fixture = fixture().await;
        let full = MOST_DELAYED;
        let claims: Vec<_> = (0..=MOST_OF_TENANT / full)
            .map(|_| fixture.delays.claim("acme", Queue::Event))
            .collect();
        let (last, others) = claims.split_last().unwrap();
        for claim in others {
            claim.of_tenant.fetch_add(full, Ordering::Relaxed);
        }
        let taken = fixture.take().await;
        let event = returned(taken[0].id, 5);
        fixture.delays.give_back(last, [event]);
        assert_eq!(last.delayed(), 0);
        let taken = fixture.take().await;
        assert_eq!(attempts(&taken), [("4711", 0)]);
        let other = fixture.delays.claim("other", Queue::Event);
        fixture.delays.give_back(&other, [returned(taken[0].id, 5)]);
        assert_eq!(other.delayed(), 1);
        // There is room again.
        for claim in others {
            claim.of_tenant.fetch_sub(full, Ordering::Relaxed);
        }
        fixture.delays.give_back(last, [event]);
        assert_eq!(last.delayed(), 1);
        assert_eq!(last.of_tenant.load(Ordering::Relaxed), 1);
    }
}
