//! Figures.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// One round of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
    /// Seconds of the server's processor time.
    pub(crate) cpu: f64,
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
