//! A server process and what it uses.

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

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
