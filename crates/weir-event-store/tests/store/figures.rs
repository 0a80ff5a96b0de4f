//! Figures, not tests: `cargo test --release -p weir-event-store --test store figures -- --ignored --nocapture`.
//! `WEIR_EVENTS` is how many events wait (default 5,000,000), `WEIR_DEVICES` of how many devices (10,000),
//! `WEIR_TTL` for how many seconds they are of use (for ever).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use weir_event_store::{Budgets, EventStore, Options, Queue};

use crate::{TENANT, event, ids, now};

const FOLDER: &str = "WEIR_EVENT_STORE_FIGURES_FOLDER";
/// What the child says when all is stored.
const READY: &str = "everything is stored";

/// A number from the environment.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn events() -> usize {
    setting("WEIR_EVENTS", 5_000_000)
}

/// Resident memory in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or_default() / 1024
}

/// Processor time of this process in seconds.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
    (ticks(13).unwrap_or_default() + ticks(14).unwrap_or_default()) / 100.0
}

struct Clock(Instant, f64);

impl Clock {
    fn start() -> Self {
        Self(Instant::now(), processor())
    }

    fn say(&self, what: &str, events: usize) {
        let (seconds, processor) = (self.0.elapsed().as_secs_f64(), processor() - self.1);
        let rate = events as f64 / seconds;
        let each = processor * 100_000.0 / events as f64;
        println!(
            "{what}: {seconds:.2} s, {rate:.0}/s, {each:.3} CPU-s per 100k, {} MiB resident",
            resident()
        );
    }
}

fn open(folder: &Path) -> EventStore {
    let options = Options {
        budgets: Budgets {
            bytes: u64::MAX / 2,
            count: u64::MAX / 2,
            age: None,
        },
        ..Options::default()
    };
    EventStore::open(folder, options).unwrap()
}

async fn fill(store: &EventStore, events: usize, waiters: usize) {
    let (devices, ttl) = (setting("WEIR_DEVICES", 10_000), setting("WEIR_TTL", 0));
    let tasks = (0..waiters).map(|waiter| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (waiter..events).step_by(waiters) {
                let mut event = event(&format!("device-{}", number % devices), vec![7; 300]);
                // Not all at the same time.
                let ttl = Duration::from_secs((ttl + number % 1_000) as u64);
                event.expires = (ttl.as_secs() >= 1_000).then(|| event.arrived + ttl);
                store.append(event).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn drain(store: &EventStore, events: usize) {
    let mut seen = 0;
    let mut taker = store.taker(TENANT, Queue::Event);
    while seen < events {
        let taken = taker.take(500, now()).await.unwrap();
        assert!(!taken.is_empty());
        seen += taken.len();
        store.accept(&ids(&taken));
    }
    store.flush().await.unwrap();
}

/// Stores events, says so, and waits to be killed.
#[tokio::test]
#[ignore = "the process that another test kills"]
async fn filler() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = open(Path::new(&folder));
    let clock = Clock::start();
    fill(&store, events(), 1_000).await;
    clock.say("store, 1,000 waiters", events());
    println!("{READY}");
    // The end of the other process is the end of this.
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// Kills a process, however this one ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has a process store events and kills it.
fn fill_and_kill(folder: &Path) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "figures::filler", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Killed(child.unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        match line.as_str() {
            READY => return,
            _ if line.contains("CPU-s") => println!("{line}"),
            _ => {}
        }
    }
    panic!("the process that stores has ended by itself");
}

#[tokio::test]
#[ignore = "takes minutes and gigabytes"]
async fn figures() {
    // On a disk, which a folder for temporary files may not be.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fill_and_kill(folder.path());
    println!("before: {} MiB resident", resident());
    let clock = Clock::start();
    let store = open(folder.path());
    clock.say("open after a kill", events());
    let part = events() / 10;
    let clock = Clock::start();
    drain(&store, part).await;
    clock.say("take a backlog and accept", part);
    let clock = Clock::start();
    fill(&store, part, 1_000).await;
    clock.say("store on top", part);
    store.close().await;
    drop(store);
    let clock = Clock::start();
    let store = open(folder.path());
    clock.say("open after a drain", events());
    store.close().await;
}
