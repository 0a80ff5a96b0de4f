use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use weir_event_store::{Cause, EventStore, Queue};

use crate::{Fixture, TENANT, at, event, ids, now, options, payloads};

#[tokio::test]
async fn a_restart_recovers_exactly_what_was_not_settled() {
    let mut fixture = Fixture::new();
    fixture.append("a", &["a1", "a2", "a3"]).await;
    fixture.append("b", &["b1"]).await;
    fixture.append("c", &["c1"]).await;
    let mut other = event("a", "other");
    other.tenant = "another".into();
    fixture.store.append(other).await.unwrap();
    let taken = fixture.take(10).await;
    assert_eq!(payloads(&taken), ["a1", "a2", "a3", "b1", "c1"]);
    fixture.store.accept(&ids(&taken[..1]));
    fixture.store.reject(&ids(&taken[4..]), Cause::Rejected);
    // The others are out and are waiting again.
    let before = fixture.figures().await;
    fixture.reopen().await;
    let after = fixture.figures().await;
    assert_eq!(after.events, before.events);
    assert_eq!(after.dead_letters, before.dead_letters);
    let taken = fixture.take(10).await;
    assert_eq!(payloads(&taken), ["a2", "a3", "b1"]);
    assert_eq!(taken[0].stored_at, at(1_000));
    let mut other = fixture.store.taker("another", Queue::Event);
    assert_eq!(payloads(&other.take(9, now()).await.unwrap()), ["other"]);
    assert_eq!(fixture.take_dead(9).await.len(), 1);
}

#[tokio::test]
async fn dropping_the_store_writes_what_was_settled() {
    let mut fixture = Fixture::new();
    fixture.append("a", &["a1", "a2"]).await;
    let taken = fixture.take(1).await;
    fixture.store.accept(&ids(&taken));
    // The last of all that share it.
    let Fixture {
        folder,
        store,
        taker,
        dead,
        ..
    } = fixture;
    drop((store, dead));
    drop(taker);
    let store = EventStore::open(folder.path(), options()).unwrap();
    let taken = store
        .taker(TENANT, Queue::Event)
        .take(10, now())
        .await
        .unwrap();
    assert_eq!(payloads(&taken), ["a2"]);
}

#[tokio::test]
async fn a_tenant_that_had_nothing_left_starts_anew() {
    let mut fixture = Fixture::new();
    fixture.append("a", &["a1"]).await;
    let taken = fixture.take(10).await;
    fixture.store.accept(&ids(&taken));
    fixture.store.close().await;
    let store = EventStore::open(fixture.folder.path(), options()).unwrap();
    assert!(store.figures(at(1_000)).is_empty());
    drop(store);
    fixture.reopen().await;
    for payload in ["a2", "a3"] {
        fixture.append("a", &[payload]).await;
        fixture.reopen().await;
    }
    assert_eq!(fixture.figures().await.events.count, 2);
}

const FOLDER: &str = "WEIR_EVENT_STORE_CHILD_FOLDER";
const FIRST: &str = "WEIR_EVENT_STORE_CHILD_FIRST";
const ROUNDS: u64 = 20;
/// Events that a child stores at a time.
const BURST: u64 = 40;

/// Stores numbered events for ever, says which are stored, and which it is about to accept.
#[tokio::test]
#[ignore = "the process that another test kills"]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = EventStore::open(Path::new(&folder), options()).unwrap();
    let say = |what: char, number: &str| {
        let line = format!("{what} {number}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    };
    let mut taker = store.taker(TENANT, Queue::Event);
    for burst in 0.. {
        let start = first + burst * BURST;
        let numbers = start..start + BURST;
        let appends: Vec<_> = numbers
            .map(|number| (number, device(number)))
            .map(|(number, device)| (number, event(&device, number.to_string())))
            .map(|(number, event)| (number, store.append(event)))
            .collect();
        for (number, append) in appends {
            append.await.unwrap();
            say('S', &number.to_string());
        }
        let taken = taker.take(4, now()).await.unwrap();
        for number in payloads(&taken) {
            say('A', number);
        }
        store.accept(&ids(&taken[..taken.len() / 2]));
        store.release(&ids(&taken), burst % 2 == 0, now());
    }
}

fn device(number: u64) -> String {
    format!("d{}", number % 5)
}

/// Starts a child and kills it when it has said so many lines. What it has stored, and what it may have
/// accepted.
fn run_and_kill(folder: &Path, first: u64, lines: usize) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (mut stored, mut accepted) = (BTreeSet::new(), BTreeSet::new());
    let mut said = 0;
    let mut line = String::new();
    while stdout.read_line(&mut line).unwrap() > 0 {
        if let Some(number) = line.strip_suffix('\n').and_then(|line| line.get(2..)) {
            match line.get(..2) {
                Some("S ") => stored.insert(number.parse().unwrap()),
                Some("A ") => accepted.insert(number.parse().unwrap()),
                _ => false,
            };
        }
        line.clear();
        said += 1;
        if said == lines {
            // What it has said meanwhile is read to the end.
            child.kill().unwrap();
        }
    }
    assert!(said >= lines, "the child has ended by itself");
    child.wait().unwrap();
    (stored, accepted)
}

/// Takes and accepts everything; the numbers of each device in the order they came.
async fn drain(store: &EventStore) -> BTreeMap<String, Vec<u64>> {
    let mut seen = BTreeMap::<_, Vec<_>>::new();
    let mut taker = store.taker(TENANT, Queue::Event);
    loop {
        let taken = taker.take(100, now()).await.unwrap();
        if taken.is_empty() {
            return seen;
        }
        for (taken, number) in taken.iter().zip(payloads(&taken)) {
            let numbers = seen.entry(taken.device.to_string()).or_default();
            numbers.push(number.parse().unwrap());
        }
        store.accept(&ids(&taken));
    }
}

#[tokio::test]
async fn a_process_that_is_killed_loses_nothing_it_has_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stored, mut accepted) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..ROUNDS {
        let lines = 40 + 97 * round as usize % 600;
        let (new, gone) = run_and_kill(folder.path(), round * 1_000_000, lines);
        stored.extend(new);
        accepted.extend(gone);
        // Some processes start where others have left something.
        if round % 4 != 3 {
            continue;
        }
        let store = EventStore::open(folder.path(), options()).unwrap();
        let seen = drain(&store).await;
        store.close().await;
        let all: BTreeSet<_> = seen.values().flatten().copied().collect();
        let count = seen.values().map(Vec::len).sum::<usize>();
        assert_eq!(all.len(), count, "round {round}: none is there twice");
        let owed: BTreeSet<_> = stored.difference(&accepted).copied().collect();
        let lost: Vec<_> = owed.difference(&all).collect();
        assert!(
            !owed.is_empty() && lost.is_empty(),
            "round {round}: {lost:?}"
        );
        for (name, numbers) in &seen {
            assert!(numbers.is_sorted(), "round {round}: order of {name}");
            assert!(numbers.iter().all(|&number| device(number) == *name));
        }
        stored.clear();
    }
}
