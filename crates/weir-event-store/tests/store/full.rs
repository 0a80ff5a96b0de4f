use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use weir_event_store::{EventStore, Options, Queue, Refused};

use crate::{TENANT, at, event, ids, now};

/// A file system of 48 MiB of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None if this may not be done here.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            other => {
                println!("skipped: a small tmpfs cannot be mounted here: {other:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes so many bytes away.
    fn fill(&self, bytes: usize) {
        let mut file = File::create(self.path().join("ballast")).unwrap();
        file.write_all(&vec![0; bytes]).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn open(disk: &SmallDisk, reserve: u64) -> EventStore {
    let options = Options {
        reserve,
        memory: 0,
        ..Options::default()
    };
    EventStore::open(&disk.path().join("events"), options).unwrap()
}

/// Stores events of 64 KiB, each of its own device, until one is refused. How many were stored.
async fn store_until_full(store: &EventStore, from: usize) -> usize {
    for number in from.. {
        let event = event(&format!("d{number}"), vec![0; 65_536]);
        match store.append(event).await {
            Ok(()) => {}
            Err(refused) => {
                assert_eq!(refused, Refused::NoSpace);
                return number - from;
            }
        }
    }
    unreachable!()
}

fn waiting(store: &EventStore) -> u64 {
    store.figures(at(1_000))[0].events.count
}

#[tokio::test]
async fn a_disk_that_is_full_refuses_and_goes_on_by_itself_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    disk.fill(20 << 20);
    let store = open(&disk, 0);
    let stored = store_until_full(&store, 0).await;
    assert!(stored > 100, "{stored}");
    assert_eq!(waiting(&store), stored as u64);
    store.close().await;
    // A restart does not need the room.
    let store = open(&disk, 0);
    assert_eq!(waiting(&store), stored as u64);
    // What is settled now can perhaps not be written yet.
    let mut taker = store.taker(TENANT, Queue::Event);
    let taken = taker.take(10, now()).await.unwrap();
    assert_eq!(taken.len(), 10);
    store.accept(&ids(&taken));
    let _ = store.flush().await;
    disk.free();
    // What is tried again in the background needs no new event.
    let written = async {
        while store.flush().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written)
        .await
        .unwrap();
    assert_eq!(waiting(&store), stored as u64 - 10);
    let more = store_until_full(&store, stored).await;
    assert!(more > 10, "{more}");
    let owed = (stored - 10 + more) as u64;
    assert_eq!(waiting(&store), owed);
    store.close().await;
    let store = open(&disk, 0);
    assert_eq!(waiting(&store), owed);
    let mut seen = 0;
    let mut taker = store.taker(TENANT, Queue::Event);
    loop {
        let taken = taker.take(100, now()).await.unwrap();
        if taken.is_empty() {
            break;
        }
        assert!(taken.iter().all(|taken| taken.payload.len() == 65_536));
        seen += taken.len() as u64;
        store.accept(&ids(&taken));
    }
    assert_eq!(seen, owed);
}

#[tokio::test]
async fn the_reserve_lets_settlements_through_when_no_event_is_let_in() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let store = open(&disk, 16 << 20);
    store_until_full(&store, 0).await;
    let before = waiting(&store);
    let mut taker = store.taker(TENANT, Queue::Event);
    let taken = taker.take(20, now()).await.unwrap();
    let count = taken.len() as u64;
    assert!(count > 10);
    store.accept(&ids(&taken));
    assert_eq!(store.flush().await, Ok(()));
    assert_eq!(waiting(&store), before - count);
}

#[tokio::test]
async fn the_space_of_removed_events_is_found_although_new_ones_come_all_the_time() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let store = open(&disk, 16 << 20);
    let stored = store_until_full(&store, 0).await;
    let mut taker = store.taker(TENANT, Queue::Event);
    for _ in 0..stored {
        let taken = taker.take(1, now()).await.unwrap();
        store.accept(&ids(&taken));
    }
    store.flush().await.unwrap();
    // Without a pause in which the space could be returned.
    let stored_again = async { while store.append(event("d", "x")).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), stored_again)
        .await
        .unwrap();
}
