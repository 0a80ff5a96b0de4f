//! What became of a fleet: told, counted, its progress shown.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Map, Value, json};

use super::Outcome;
use super::one::Applied;
use crate::operator::resource::Resource;
use crate::operator::show::Format;
use crate::person::{note, printable};

/// Up to so many entries, a line is printed for each.
const FEW: u64 = 50;
/// Without a terminal, progress is told after at most so long.
const PAUSE: Duration = Duration::from_secs(10);
/// The same, in entries, where it is not known how many there will be.
const STEP: u64 = 10_000;

/// The report on a fleet.
pub(super) struct Report {
    format: Format,
    dry_run: bool,
    tells_each: bool,
    total: Option<u64>,
    progress: Progress,
    tenants: Counts,
    devices: Counts,
    failed: u64,
    taken: u64,
    skipped: u64,
}

#[derive(Default)]
struct Counts {
    created: u64,
    updated: u64,
    unchanged: u64,
}

enum Progress {
    Bar(ProgressBar),
    Lines { told: u64, at: Instant },
    None,
}

impl Report {
    pub(super) fn new(format: Format, verbose: bool, dry_run: bool, total: Option<u64>) -> Self {
        let is_few = total.is_some_and(|total| total <= FEW);
        let progress = match is_few {
            true => Progress::None,
            false if io::stderr().is_terminal() => Progress::Bar(bar(total)),
            false => Progress::Lines {
                told: 0,
                at: Instant::now(),
            },
        };
        Self {
            format,
            dry_run,
            tells_each: verbose || is_few,
            total,
            progress,
            tenants: Counts::default(),
            devices: Counts::default(),
            failed: 0,
            taken: 0,
            skipped: 0,
        }
    }

    pub(super) fn tenant(&mut self, id: &str, outcome: Outcome) -> io::Result<()> {
        self.tenants.count(outcome);
        self.tell(Resource::Tenant(id), outcome)
    }

    pub(super) fn device(&mut self, tenant: &str, id: &str, applied: &Applied) -> io::Result<()> {
        self.devices.count(applied.outcome);
        self.taken += applied.taken;
        self.skipped += applied.skipped;
        self.tell(Resource::Device(tenant, id), applied.outcome)
    }

    /// Tells an error, which is about `what`, and counts it.
    pub(super) fn failed(&mut self, what: &str, error: &str) -> io::Result<()> {
        self.failed += 1;
        let text = format!("{what}: {error}");
        self.aside(|| note(&format!("error: {text}")))?;
        self.step()
    }

    /// Counts what was not tried, because of an error that was told.
    pub(super) fn passed_over(&mut self) -> io::Result<()> {
        self.failed += 1;
        self.step()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failed
    }

    fn tell(&mut self, what: Resource<'_>, outcome: Outcome) -> io::Result<()> {
        if self.tells_each {
            let word = outcome.word();
            let line = match (self.format, what) {
                (Format::Table, what) => format!("{word:<9}  {}", printable(&what.to_string())),
                (Format::Json, Resource::Device(tenant, device)) => {
                    json!({"tenant": tenant, "device": device, "outcome": word}).to_string()
                }
                (Format::Json, Resource::Tenant(tenant)) => {
                    json!({"tenant": tenant, "outcome": word}).to_string()
                }
                (Format::Json, _) => String::new(),
            };
            self.aside(|| writeln!(io::stdout(), "{line}"))?;
        }
        self.step()
    }

    /// Writes something beside the progress bar.
    fn aside(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match &self.progress {
            Progress::Bar(bar) => bar.suspend(write),
            _ => write(),
        }
    }

    fn step(&mut self) -> io::Result<()> {
        let done = self.tenants.all() + self.devices.all() + self.failed;
        let Self { failed, total, .. } = *self;
        match &mut self.progress {
            Progress::Bar(bar) => {
                bar.set_position(done);
                if failed > 0 {
                    bar.set_message(format!("{failed} failed"));
                }
            }
            Progress::Lines { told, at } => {
                let step = total.map_or(STEP, |total| total.div_ceil(10).max(1));
                if done - *told >= step || at.elapsed() >= PAUSE {
                    (*told, *at) = (done, Instant::now());
                    let of = total
                        .map(|total| format!(" of {total}"))
                        .unwrap_or_default();
                    note(&format!("{done}{of} done, {failed} failed"))?;
                }
            }
            Progress::None => {}
        }
        Ok(())
    }

    /// Ends with the numbers.
    pub(super) fn finish(self) -> io::Result<()> {
        if let Progress::Bar(bar) = &self.progress {
            bar.finish_and_clear();
        }
        match self.format {
            Format::Table => self.summary()?,
            Format::Json => {
                let summary = json!({
                    "tenants": self.tenants.json(),
                    "devices": self.devices.json(),
                    "failed": self.failed,
                    "dry-run": self.dry_run,
                });
                writeln!(io::stdout(), "{}", json!({"summary": summary}))?;
            }
        }
        if self.skipped > 0 {
            let skipped = self.skipped;
            note(&format!(
                "credentials left out, whose secrets are not known: {skipped}"
            ))?;
        }
        if self.taken > 0 {
            let taken = self.taken;
            note(&format!(
                "secrets of the file taken for the stored ones, which nobody can read: {taken} \
                 (--rotate-secrets writes them anew)"
            ))?;
        }
        Ok(())
    }

    fn summary(&self) -> io::Result<()> {
        let mut out = io::stdout();
        for (name, counts) in [("tenants", &self.tenants), ("devices", &self.devices)] {
            if counts.all() > 0 {
                writeln!(out, "{name}: {}", counts.text())?;
            }
        }
        if self.tenants.all() + self.devices.all() + self.failed == 0 {
            writeln!(out, "nothing in it")?;
        }
        if self.failed > 0 {
            writeln!(out, "failed: {}", self.failed)?;
        }
        if self.dry_run {
            writeln!(out, "nothing was written (--dry-run)")?;
        }
        Ok(())
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(total, target);
    let form = match total {
        Some(_) => "{bar:30} {human_pos} of {human_len}, {rate}, {eta} to go  {msg}",
        None => "{spinner} {human_pos}, {rate}  {msg}",
    };
    match ProgressStyle::with_template(form) {
        Ok(style) => bar.with_style(style.with_key("rate", rate)),
        Err(_) => bar,
    }
}

fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // What cannot be written is not shown.
    let _ = write!(out, "{:.0}/s", state.per_sec());
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Counts {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Created => self.created += 1,
            Outcome::Updated => self.updated += 1,
            Outcome::Unchanged => self.unchanged += 1,
        }
    }

    fn rows(&self) -> [(Outcome, u64); 3] {
        [
            (Outcome::Created, self.created),
            (Outcome::Updated, self.updated),
            (Outcome::Unchanged, self.unchanged),
        ]
    }

    fn all(&self) -> u64 {
        self.created + self.updated + self.unchanged
    }

    fn text(&self) -> String {
        let parts = self.rows();
        let parts = parts.map(|(outcome, count)| format!("{count} {}", outcome.word()));
        parts.join(", ")
    }

    fn json(&self) -> Map<String, Value> {
        let parts = self.rows().into_iter();
        let parts = parts.map(|(outcome, count)| (outcome.word().to_owned(), count.into()));
        parts.collect()
    }
}
