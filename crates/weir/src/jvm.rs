//! What Hono has from its Java virtual machine, under those names: a shim for its dashboard "JVM details".

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_metrics::{Figures, Metrics, Name, Source};

use crate::logging;
use crate::process::{cpu_seconds, open_files, stat};

/// What is there for other systems' sake alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CompatConfig {
    /// Whether `/prometheus` has the names of a Java virtual machine too, for Hono's dashboard "JVM
    /// details": memory, processors, threads, open files and log lines, each as near as there is.
    pub jvm_names: bool,
}

/// Shows these names if the configuration wants them.
pub(crate) fn register(metrics: &Metrics, config: &CompatConfig) {
    if config.jvm_names {
        metrics.register(Arc::new(Jvm::here()));
    }
}

/// The only area of memory there is: nothing is collected.
const AREA: &str = "nonheap";
/// Shares over less would say little; a second scraper sees what the first one saw.
const SHORTEST: Duration = Duration::from_secs(1);
const GROUPS: &str = "/sys/fs/cgroup";

#[derive(Debug)]
struct Jvm {
    cpu: Mutex<Cpu>,
    most_threads: AtomicU64,
}

/// What the processors had done at the last look, and the shares that followed from it.
#[derive(Debug)]
struct Cpu {
    at: Instant,
    used: Used,
    process: f64,
    system: f64,
}

/// Time that processors were used.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Used {
    /// By the process, seconds.
    process: f64,
    /// By anybody, and all there was, in one unit. Not known where there is no `/proc`.
    system: Option<(u64, u64)>,
}

impl Jvm {
    fn here() -> Self {
        Self {
            cpu: Mutex::new(Cpu::new(Instant::now(), Used::now())),
            most_threads: AtomicU64::new(0),
        }
    }
}

impl Source for Jvm {
    fn families(&self) -> &'static [Name] {
        &[
            Name::JvmGcPause,
            Name::JvmGcPromoted,
            Name::JvmMemoryMax,
            Name::JvmMemoryUsed,
            Name::JvmThreads,
            Name::JvmThreadsPeak,
            Name::LogbackEvents,
            Name::ProcessCpuUsage,
            Name::ProcessFilesOpen,
            Name::SystemCpuCount,
            Name::SystemCpuUsage,
        ]
    }

    fn collect(&self, figures: &mut Figures) {
        figures.tell(Name::JvmGcPause, &[], 0.0);
        figures.tell(Name::JvmGcPromoted, &[], 0.0);
        if let Some(most) = memory_limit() {
            figures.tell(Name::JvmMemoryMax, &[AREA], most as f64);
        }
        if let Some(stat) = stat() {
            figures.tell(Name::JvmMemoryUsed, &[AREA], stat.resident() as f64);
            figures.tell(Name::JvmThreads, &[], stat.threads as f64);
            let before = self.most_threads.fetch_max(stat.threads, Relaxed);
            let most = before.max(stat.threads);
            figures.tell(Name::JvmThreadsPeak, &[], most as f64);
        }
        for (level, lines) in logging::lines() {
            figures.tell(Name::LogbackEvents, &[level], lines as f64);
        }
        if let Some(open) = open_files() {
            figures.tell(Name::ProcessFilesOpen, &[], open as f64);
        }
        let processors = available_parallelism().map_or(1.0, |it| it.get() as f64);
        figures.tell(Name::SystemCpuCount, &[], processors);
        let mut cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        cpu.look(Instant::now(), Used::now(), processors);
        figures.tell(Name::ProcessCpuUsage, &[], cpu.process);
        if cpu.used.system.is_some() {
            figures.tell(Name::SystemCpuUsage, &[], cpu.system);
        }
    }
}

impl Cpu {
    fn new(at: Instant, used: Used) -> Self {
        Self {
            at,
            used,
            process: 0.0,
            system: 0.0,
        }
    }

    fn look(&mut self, now: Instant, used: Used, processors: f64) {
        let elapsed = now.saturating_duration_since(self.at);
        if elapsed < SHORTEST {
            return;
        }
        let had = elapsed.as_secs_f64() * processors;
        self.process = ((used.process - self.used.process) / had).clamp(0.0, 1.0);
        if let (Some(before), Some(after)) = (self.used.system, used.system) {
            let (busy, all) = (
                after.0.saturating_sub(before.0),
                after.1.saturating_sub(before.1),
            );
            self.system = (busy as f64 / all.max(1) as f64).clamp(0.0, 1.0);
        }
        (self.at, self.used) = (now, used);
    }
}

impl Used {
    fn now() -> Self {
        let system = std::fs::read_to_string("/proc/stat").ok();
        Self {
            process: cpu_seconds(),
            system: system.and_then(|text| system_time(&text)),
        }
    }
}

/// Clock ticks that all processors together were busy, and all of them (proc_stat(5)).
fn system_time(stat: &str) -> Option<(u64, u64)> {
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?;
    // Guests, which come behind, are contained in the first.
    let ticks = ticks.split_whitespace().take(8).map(str::parse);
    let ticks: Vec<u64> = ticks.collect::<Result<_, _>>().ok()?;
    let idle = ticks.get(3)? + ticks.get(4)?;
    let all: u64 = ticks.iter().sum();
    Some((all - idle, all))
}

/// Bytes of memory that the process may have.
fn memory_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups);
    let limits = limits.iter().filter_map(|file| {
        let limit = std::fs::read_to_string(file).ok()?;
        // Without a limit it is a word, or in version 1 a very large number.
        limit.trim().parse::<u64>().ok()
    });
    limits.chain(machine_memory()).min()
}

/// Bytes of memory that the machine has (proc_meminfo(5)).
fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let all = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = all.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Where the limits of the process's control group and of those around it may be (cgroups(7)): versions 2
/// and 1. In a container its own group is the outermost.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => (PathBuf::from(GROUPS), "memory.max"),
            one if one.split(',').any(|it| it == "memory") => {
                (Path::new(GROUPS).join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = root.join(group.trim_start_matches('/'));
        let folders = own.ancestors().take_while(|it| it.starts_with(&root));
        files.extend(folders.map(|folder| folder.join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use weir_metrics::{Format, View};

    use super::*;

    fn page(config: &CompatConfig) -> String {
        let metrics = Metrics::new("h", Instant::now());
        register(&metrics, config);
        let snapshot = metrics.snapshot(View::Hono, Instant::now());
        snapshot.write(Format::Text, SystemTime::now())
    }

    #[test]
    fn the_names_are_there_only_if_they_are_wanted() {
        let families = Jvm::here().families();
        assert!(families.iter().all(|name| name.is_of_jvm()));
        let all = Name::ALL.iter().filter(|name| name.is_of_jvm());
        assert_eq!(all.count(), families.len());
        let (without, with) = (
            page(&CompatConfig::default()),
            page(&CompatConfig { jvm_names: true }),
        );
        for name in families {
            let name = name.as_str();
            assert!(!without.contains(name), "{name}");
            let is_series = |line: &&str| line.starts_with(&format!("{name}{{"));
            let line = with.lines().find(is_series);
            let line = line.unwrap_or_else(|| panic!("{name} is missing in\n{with}"));
            assert!(line.contains("host=\"h\""), "{line}");
        }
    }

    #[test]
    fn the_process_has_less_memory_than_it_may_have() {
        let used = stat().unwrap().resident();
        assert!(used > 100_000 && used < memory_limit().unwrap());
    }

    #[test]
    fn shares_are_of_the_last_interval() {
        let start = Instant::now();
        let used = |process, busy, all| Used {
            process,
            system: Some((busy, all)),
        };
        let mut cpu = Cpu::new(start, used(10.0, 100, 1_000));
        let mut look = |after: u64, used| {
            cpu.look(start + Duration::from_millis(after), used, 2.0);
            (cpu.process, cpu.system)
        };
        assert_eq!(look(999, used(11.0, 200, 1_100)), (0.0, 0.0));
        assert_eq!(look(10_000, used(15.0, 400, 1_400)), (0.25, 0.75));
        assert_eq!(look(10_500, used(16.0, 500, 1_500)), (0.25, 0.75));
        assert_eq!(look(20_000, used(15.0, 400, 2_400)), (0.0, 0.0));
        // Clocks of two kinds do not quite agree.
        assert_eq!(look(21_000, used(17.5, 1_500, 3_400)), (1.0, 1.0));
    }

    #[test]
    fn the_machines_time_is_read_without_that_of_guests() {
        let text = "cpu  1 2 3 40 5 6 7 8 900 900\ncpu0 1 1 1 1\n";
        assert_eq!(system_time(text), Some((27, 72)));
        for broken in ["", "cpu  1 2 3", "cpu  1 2 3 x 5", "intr 1 2 3 4 5"] {
            assert_eq!(system_time(broken), None, "{broken}");
        }
    }

    #[test]
    fn limits_are_looked_for_in_the_group_and_around_it() {
        let rows: [(&str, &[&str]); 4] = [
            ("0::/\n", &["memory.max"]),
            (
                "0::/system.slice/weir.service\n",
                &[
                    "system.slice/weir.service/memory.max",
                    "system.slice/memory.max",
                    "memory.max",
                ],
            ),
            (
                "5:cpu,memory:/a\n4:pids:/b\nnothing\n",
                &[
                    "memory/a/memory.limit_in_bytes",
                    "memory/memory.limit_in_bytes",
                ],
            ),
            ("", &[]),
        ];
        for (groups, expected) in rows {
            let expected = expected.iter().map(|file| Path::new(GROUPS).join(file));
            assert_eq!(
                limit_files(groups),
                expected.collect::<Vec<_>>(),
                "{groups}"
            );
        }
    }
}
