//! Where log lines go and what they look like.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Lines that may wait for a log that is not read. More are dropped: a log that nobody reads must not
/// stop the gateway.
const WAITING_LINES: usize = 10_000;

/// A process has one log, so these are the process's.
static LINES: [AtomicU64; LEVELS.len()] = [const { AtomicU64::new(0) }; LEVELS.len()];
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

const LEVELS: [(Level, &str); 5] = [
    (Level::ERROR, "error"),
    (Level::WARN, "warn"),
    (Level::INFO, "info"),
    (Level::DEBUG, "debug"),
    (Level::TRACE, "trace"),
];

/// Lines logged so far, of each level.
pub(crate) fn lines() -> impl Iterator<Item = (&'static str, u64)> {
    let counts = LEVELS.iter().zip(&LINES);
    counts.map(|((_, level), count)| (*level, count.load(Relaxed)))
}

/// Lines dropped so far because the log was not read.
pub(crate) fn dropped() -> usize {
    DROPPED.get().map_or(0, ErrorCounter::dropped_lines)
}

/// Counts the lines that the filter lets through.
struct CountLines;

impl<S: Subscriber> Layer<S> for CountLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = event.metadata().level();
        let index = LEVELS.iter().position(|(it, _)| it == level);
        if let Some(index) = index {
            LINES[index].fetch_add(1, Relaxed);
        }
    }
}

/// Starts logging to standard error, until the guard is dropped. Without effect if logging was
/// started before.
///
/// # Errors
/// If the filter cannot be understood.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match config.format {
        LogFormat::Text => builder.finish().with(CountLines).try_init(),
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true);
            builder.finish().with(CountLines).try_init()
        }
    };
    // In tests several gateways start in one process; the first decides.
    if started.is_ok() {
        let _ = DROPPED.set(dropped);
    }
    Ok(guard)
}
