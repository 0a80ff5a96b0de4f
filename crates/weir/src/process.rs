//! What the process and its runtime use, told when it is asked for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Handle, RuntimeMetrics};
use weir_metrics::{Figures, Name, Source};

use crate::logging;

/// Figures of this process.
#[derive(Debug)]
pub(crate) struct Process {
    runtime: RuntimeMetrics,
    /// When the process started; not known where there is no `/proc`.
    started: Option<SystemTime>,
}

impl Process {
    /// Those of the process and of the runtime that this is called in.
    pub(crate) fn here() -> Self {
        Self {
            runtime: Handle::current().metrics(),
            started: started(),
        }
    }

    fn runtime(&self, figures: &mut Figures) {
        let runtime = &self.runtime;
        let workers = runtime.num_workers();
        let busy: Duration = (0..workers)
            .map(|worker| runtime.worker_total_busy_duration(worker))
            .sum();
        for (name, value) in [
            (Name::RuntimeWorkers, workers as f64),
            (Name::RuntimeTasks, runtime.num_alive_tasks() as f64),
            (Name::RuntimeQueue, runtime.global_queue_depth() as f64),
            (Name::RuntimeBusy, busy.as_secs_f64()),
        ] {
            figures.tell(name, &[], value);
        }
    }
}

impl Source for Process {
    fn families(&self) -> &'static [Name] {
        &[
            Name::BuildInfo,
            Name::LogDropped,
            Name::LogEvents,
            Name::ProcessCpu,
            Name::ProcessMaxFds,
            Name::ProcessOpenFds,
            Name::ProcessResident,
            Name::ProcessStart,
            Name::ProcessThreads,
            Name::ProcessVirtual,
            Name::RuntimeBusy,
            Name::RuntimeQueue,
            Name::RuntimeTasks,
            Name::RuntimeWorkers,
        ]
    }

    fn collect(&self, figures: &mut Figures) {
        let version = env!("CARGO_PKG_VERSION");
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        figures.tell(Name::BuildInfo, &[version, os, arch], 1.0);
        for (level, lines) in logging::lines() {
            figures.tell(Name::LogEvents, &[level], lines as f64);
        }
        figures.tell(Name::LogDropped, &[], logging::dropped() as f64);
        figures.tell(Name::ProcessCpu, &[], cpu_seconds());
        let files = getrlimit(Resource::Nofile).current;
        let files = files.map_or(f64::INFINITY, |files| files as f64);
        figures.tell(Name::ProcessMaxFds, &[], files);
        if let Some(open) = open_files() {
            figures.tell(Name::ProcessOpenFds, &[], open as f64);
        }
        let started = self
            .started
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        if let Some(started) = started {
            figures.tell(Name::ProcessStart, &[], started.as_secs_f64());
        }
        if let Some(stat) = stat() {
            figures.tell(Name::ProcessResident, &[], stat.resident() as f64);
            figures.tell(Name::ProcessThreads, &[], stat.threads as f64);
            figures.tell(Name::ProcessVirtual, &[], stat.virtual_bytes as f64);
        }
        self.runtime(figures);
    }
}

/// Some fields of `/proc/self/stat` (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) threads: u64,
    /// Clock ticks from the machine's start to the process's.
    started: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// Resident memory, bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.resident_pages * rustix::param::page_size() as u64
    }
}

pub(crate) fn stat() -> Option<Stat> {
    parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

fn parse(stat: &str) -> Option<Stat> {
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some(Stat {
        threads: field(20)?,
        started: field(22)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

fn started() -> Option<SystemTime> {
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let started = stat()?.started as f64 / rustix::param::clock_ticks_per_second() as f64;
    let age = Duration::try_from_secs_f64(uptime - started).unwrap_or_default();
    SystemTime::now().checked_sub(age)
}

/// Processor time used, user and system.
pub(crate) fn cpu_seconds() -> f64 {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9
}

pub(crate) fn open_files() -> Option<u64> {
    const FILES: &str = "/proc/self/fd";
    // From Linux 6.2 on the folder's size is their number; before, it is 0.
    match rustix::fs::stat(FILES).ok()?.st_size {
        0 => Some(std::fs::read_dir(FILES).ok()?.count() as u64),
        open => u64::try_from(open).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use weir_metrics::{Format, Metrics, View};

    use super::*;

    #[test]
    fn fields_are_found_behind_any_program_name() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let line = format!("17 (a) b (c) S {}", numbers.join(" "));
        let expected = Stat {
            threads: 20,
            started: 22,
            virtual_bytes: 23,
            resident_pages: 24,
        };
        assert_eq!(parse(&line), Some(expected));
        for broken in ["", "17 (a", "17 (a) S 1 2", "17 (a) S x"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[tokio::test]
    async fn every_family_that_is_promised_is_told() {
        let metrics = Metrics::new("h", Instant::now());
        let source = Arc::new(Process::here());
        metrics.register(source.clone());
        let snapshot = metrics.snapshot(View::Native, Instant::now());
        let page = snapshot.write(Format::Text, SystemTime::now());
        let value = |name: &str| {
            let mut lines = page.lines();
            let line = lines.find(|line| line.split([' ', '{']).next() == Some(name));
            let line = line.unwrap_or_else(|| panic!("{name} is missing in\n{page}"));
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        for family in source.families() {
            let value = value(family.as_str());
            assert!(value >= 0.0, "{family:?} {value}");
        }
        // A test has a thread of its own beside the first.
        assert!(value("process_threads") >= 2.0);
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") <= value("process_max_fds"));
        let started = value("process_start_time_seconds");
        let age = UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - started;
        assert!((0.0..3600.0).contains(&age), "{age}");
    }
}
