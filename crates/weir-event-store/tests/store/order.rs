use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weir_event_store::{Cause, EventStore, Options, Queue};

use crate::{Fixture, TENANT, event, ids, now, options, payloads};

/// For what is waited for; nothing takes this long.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_consumer_that_waits_is_told_of_new_released_and_freed_events() {
    let mut fixture = Fixture::new();
    let mut other = fixture.taker();
    let mut watch = fixture.store.watch(TENANT, Queue::Event);
    let mut dead = fixture.store.watch(TENANT, Queue::DeadLetter);
    assert!(!watch.has_changed().unwrap());
    fixture.append("a", &["a1"]).await;
    watch.changed().await.unwrap();
    let first = fixture.take(10).await;
    fixture.store.release(&ids(&first), false, now());
    watch.changed().await.unwrap();
    let first = fixture.take(10).await;
    assert_eq!(payloads(&first), ["a1"]);
    fixture.append("a", &["a2"]).await;
    watch.changed().await.unwrap();
    assert!(other.take(10, now()).await.unwrap().is_empty());
    fixture.store.reject(&ids(&first), Cause::Rejected);
    watch.changed().await.unwrap();
    assert_eq!(payloads(&other.take(10, now()).await.unwrap()), ["a2"]);
    dead.changed().await.unwrap();
    assert_eq!(payloads(&fixture.take_dead(10).await), ["a1"]);
}

#[tokio::test]
async fn messages_come_whole_from_memory_and_from_the_disk() {
    let big = "x".repeat(100_000);
    let options = Options {
        memory: 150_000,
        take_bytes: 250_000,
        ..options()
    };
    let mut fixture = Fixture::with(options);
    for device in ["a", "b", "c"] {
        fixture.append(device, &[&big]).await;
    }
    let two = fixture.take(10).await;
    assert_eq!(payloads(&two), [&big, &big], "bounded by bytes");
    assert_eq!(payloads(&fixture.take(10).await), [&big]);
}

#[tokio::test]
async fn names_may_be_any_text() {
    let mut fixture = Fixture::new();
    let names = [
        "",
        " ",
        "a\0b",
        "a",
        "A",
        "ä",
        "a'; DROP TABLE head; --",
        "%_*",
        "😀\n",
    ];
    for (number, name) in names.iter().enumerate() {
        let mut event = event(&format!("{name}/device"), number.to_string());
        event.tenant = (*name).into();
        fixture.store.append(event).await.unwrap();
    }
    fixture.reopen().await;
    for (number, name) in names.iter().enumerate() {
        let mut taker = fixture.store.taker(name, Queue::Event);
        let taken = taker.take(10, now()).await.unwrap();
        assert_eq!(payloads(&taken), [number.to_string()], "{name:?}");
        assert_eq!(*taken[0].device, format!("{name}/device"));
    }
}

/// The numbers of each device's events in the order they were accepted.
type Seen = HashMap<String, Vec<usize>>;

/// Takes for ever, releases every other answer from its middle on, accepts the rest and says so.
async fn consume(store: EventStore, max: usize, seen: Arc<watch::Sender<Seen>>) {
    let mut arrivals = store.watch(TENANT, Queue::Event);
    let mut taker = store.taker(TENANT, Queue::Event);
    for round in 0.. {
        let mut taken = taker.take(max, now()).await.unwrap();
        if taken.is_empty() {
            arrivals.changed().await.unwrap();
            continue;
        }
        let keep = match round % 2 {
            0 => taken.len(),
            _ => taken.len() / 2,
        };
        let refused = taken.split_off(keep);
        let mut numbers = BTreeMap::<_, Vec<usize>>::new();
        for taken in &taken {
            let number = std::str::from_utf8(&taken.payload).unwrap();
            let device = numbers.entry(taken.device.to_string()).or_default();
            device.push(number.parse().unwrap());
        }
        // Others have their turn while this is out.
        tokio::task::yield_now().await;
        for (device, numbers) in numbers {
            seen.send_modify(|seen| seen.entry(device).or_default().extend(numbers));
        }
        store.accept(&ids(&taken));
        store.release(&ids(&refused), true, now());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_consumers_keep_the_order_of_every_device() {
    const DEVICES: usize = 7;
    const EVENTS: usize = 100;
    // Little memory, so that some messages come from the disk.
    let fixture = Fixture::with(Options {
        memory: 4_000,
        max_attempts: u32::MAX,
        ..options()
    });
    let (sender, mut seen) = watch::channel(Seen::new());
    let sender = Arc::new(sender);
    let mut consumers = tokio::task::JoinSet::new();
    for max in [1, 4, 20] {
        consumers.spawn(consume(fixture.store.clone(), max, sender.clone()));
    }
    for number in 0..EVENTS {
        let appends: Vec<_> = (0..DEVICES)
            .map(|device| event(&format!("d{device}"), number.to_string()))
            .map(|event| fixture.store.append(event))
            .collect();
        for append in appends {
            append.await.unwrap();
        }
    }
    let is_all = |seen: &Seen| seen.values().map(Vec::len).sum::<usize>() == DEVICES * EVENTS;
    let all = tokio::time::timeout(DEADLINE, seen.wait_for(is_all));
    let seen = all.await.unwrap().unwrap().clone();
    consumers.shutdown().await;
    assert_eq!(seen.len(), DEVICES);
    for (device, numbers) in seen {
        assert_eq!(numbers, (0..EVENTS).collect::<Vec<_>>(), "{device}");
    }
    assert_eq!(fixture.figures().await.events.count, 0);
}
