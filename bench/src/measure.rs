//! Figures.

use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// One of so many deliveries has its latency taken.
const SAMPLED: u64 = 16;

/// Nanoseconds since the first call.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// What a consumer has taken. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries(Arc<Taken>);

#[derive(Debug, Default)]
struct Taken {
    count: AtomicU64,
    /// Nanoseconds from sending a message to its arrival, of some.
    latencies: Mutex<Vec<u64>>,
}

impl Deliveries {
    /// One more, whose payload begins with when it was sent.
    pub(crate) fn add(&self, payload: &[u8]) {
        let count = self.0.count.fetch_add(1, Ordering::Relaxed);
        if count.is_multiple_of(SAMPLED)
            && let Some(sent) = payload.first_chunk()
        {
            let latency = now().saturating_sub(u64::from_be_bytes(*sent));
            self.latencies().push(latency);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Milliseconds within which half of the deliveries since the last call arrived, and 99 of 100.
    pub(crate) fn take_latencies(&self) -> (f64, f64) {
        let mut latencies = std::mem::take(&mut *self.latencies());
        latencies.sort_unstable();
        let at = |percent: usize| {
            let index = latencies.len().saturating_sub(1) * percent / 100;
            latencies.get(index).copied().unwrap_or_default() as f64 / 1e6
        };
        (at(50), at(99))
    }

    fn latencies(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.0
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One round of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
    /// Seconds of the server's processor time.
    pub(crate) cpu: f64,
    /// Milliseconds from a device's sending to the consumer, of half and of 99 in 100.
    pub(crate) latency: (f64, f64),
}

impl Round {
    pub(crate) fn per_second(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn cpu_per_100k(&self) -> f64 {
        self.cpu * 100_000.0 / self.messages as f64
    }
}

/// Least, median and most of several rounds.
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

pub(crate) fn spread(figures: impl Iterator<Item = f64>) -> Spread {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
    let last = figures.len().saturating_sub(1);
    Spread {
        least: at(0),
        median: at(figures.len() / 2),
        most: at(last),
    }
}

/// How long things took. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Arc<Mutex<Vec<Duration>>>);

/// Of so many things, the milliseconds within which half were done, 99 of 100, and all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Percentiles {
    pub(crate) count: usize,
    pub(crate) half: f64,
    pub(crate) most: f64,
    pub(crate) all: f64,
}

impl Latencies {
    pub(crate) fn add(&self, latency: Duration) {
        self.all().push(latency);
    }

    /// Of everything since the last call.
    pub(crate) fn take(&self) -> Percentiles {
        percentiles(self.take_all())
    }

    /// Everything since the last call.
    pub(crate) fn take_all(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.all())
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn percentiles(mut latencies: Vec<Duration>) -> Percentiles {
    latencies.sort_unstable();
    let at = |percent: usize| {
        let index = latencies.len().saturating_sub(1) * percent / 100;
        let latency = latencies.get(index).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e3
    };
    Percentiles {
        count: latencies.len(),
        half: at(50),
        most: at(99),
        all: at(100),
    }
}

/// Connections that the kernel has dropped so far since a listener's queue was full; their peers try
/// again after one second, three, seven, and so on (proc(5), `net/netstat`).
pub(crate) fn listen_overflows() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/net/netstat")?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = lines.next().zip(lines.next()).context("TcpExt")?;
    let mut pairs = names.split(' ').zip(values.split(' '));
    let found = pairs.find(|(name, _)| *name == "ListenOverflows");
    Ok(found.context("ListenOverflows")?.1.parse()?)
}

/// Of bytes.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Counts a process's system calls with `perf`, which hardly slows it.
pub(crate) struct SystemCalls(Child);

impl SystemCalls {
    /// Starts counting; `None` where `perf` is not to be had.
    pub(crate) async fn start(pid: u32) -> anyhow::Result<Option<Self>> {
        let started = Command::new("perf")
            .args([
                "stat",
                "-x,",
                "-e",
                "raw_syscalls:sys_enter",
                "-p",
                &pid.to_string(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else {
            return Ok(None);
        };
        // It attaches before it counts; there is nothing it says when it has.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let is_running = child.try_wait()?.is_none();
        Ok(is_running.then_some(Self(child)))
    }

    /// The number of calls so far; `None` if it could not be counted.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Option<u64>> {
        if let Some(pid) = self.0.id() {
            // SIGINT makes it print what it counted.
            Command::new("kill")
                .args(["-INT", &pid.to_string()])
                .status()
                .await?;
        }
        let mut text = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut text).await?;
        }
        self.0.wait().await?;
        let line = text.lines().find(|line| line.contains("raw_syscalls"));
        Ok(line.and_then(|line| line.split(',').next()?.parse().ok()))
    }
}
