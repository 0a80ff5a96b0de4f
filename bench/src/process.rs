//! A server process and what it uses.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// A server, ended when dropped.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdout(Stdio::null()).spawn();
        Ok(Self {
            child: child.with_context(|| format!("cannot start {program}"))?,
        })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of processor time used so far, of all threads, user and system (proc(5), `stat`).
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The second field is the program's name in parentheses and may hold anything.
        let fields = stat.rsplit_once(')').context("stat")?.1.split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(str::parse::<u64>)
            .sum::<Result<_, _>>()
            .context("stat")?;
        // USER_HZ is 100 on every Linux that matters here.
        Ok(ticks as f64 / 100.0)
    }

    /// The same of each thread, and exact: the sum is kept in hundredths of a second. Linux has it in
    /// `schedstat` (its documentation of sched-stats).
    pub(crate) fn threads(&self) -> anyhow::Result<Threads> {
        let mut threads = BTreeMap::new();
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let thread = thread?;
            // It may have ended in the meantime.
            if let Ok(text) = std::fs::read_to_string(thread.path().join("schedstat")) {
                let used = text.split(' ').next().context("schedstat")?;
                threads.insert(thread.file_name(), used.parse()?);
            }
        }
        Ok(Threads(threads))
    }

    /// Resident memory, bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }
}

/// Nanoseconds of processor time that threads have used so far, by their ids.
pub(crate) struct Threads(BTreeMap<OsString, u64>);

impl Threads {
    /// Seconds since another time, without what threads have used that have ended in between.
    pub(crate) fn since(&self, earlier: &Self) -> f64 {
        let used = self.0.iter().map(|(id, used)| {
            let before = earlier.0.get(id).copied().unwrap_or(0);
            used.saturating_sub(before)
        });
        used.sum::<u64>() as f64 / 1e9
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
