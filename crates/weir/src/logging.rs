//! Where log lines go, what they look like, and which there are, which operators may change at any time.
//!
//! What is not logged stays cheap: each place in the code remembers whether its lines are wanted, and is
//! asked anew only when the filter has changed.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};
use weir_management::{LogControl, LogError, LogFilter};

use crate::config::{LogConfig, LogFormat};

/// Lines that may wait for a log that is not read. More are dropped: a log that nobody reads must not
/// stop the gateway.
const WAITING_LINES: usize = 10_000;

/// A process has one log, so these are the process's.
static LINES: [AtomicU64; LEVELS.len()] = [const { AtomicU64::new(0) }; LEVELS.len()];
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
static CONTROL: LazyLock<Control> = LazyLock::new(Control::default);

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

/// Parts that would write what clients send, passwords too, when they are asked to tell everything.
const TELLTALES: [&str; 2] = ["tungstenite", "tokio_tungstenite"];

/// Keeps those from doing so, whatever the filter says.
struct KeepSecrets;

impl<S: Subscriber> Layer<S> for KeepSecrets {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let part = metadata.target().split("::").next().unwrap_or_default();
        *metadata.level() <= Level::INFO || !TELLTALES.contains(&part)
    }
}

/// Libraries that log by another interface ask for its level before they ask for the filter.
fn follow(level: LevelFilter) {
    let level = match level.into_level() {
        None => log::LevelFilter::Off,
        Some(Level::ERROR) => log::LevelFilter::Error,
        Some(Level::WARN) => log::LevelFilter::Warn,
        Some(Level::INFO) => log::LevelFilter::Info,
        Some(Level::DEBUG) => log::LevelFilter::Debug,
        Some(Level::TRACE) => log::LevelFilter::Trace,
    };
    log::set_max_level(level);
}

/// Starts logging to standard error, until the guard is dropped. Without effect if logging was
/// started before.
///
/// # Errors
/// If the filter cannot be understood.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<WorkerGuard> {
    let filter = parse(&config.filter)?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    let (started, reload) = match config.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let reload = reloading(builder.reload_handle());
            let log = builder.finish().with(KeepSecrets).with(CountLines);
            (log.try_init(), reload)
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let reload = reloading(builder.reload_handle());
            let log = builder.finish().with(KeepSecrets).with(CountLines);
            (log.try_init(), reload)
        }
    };
    // In tests several gateways start in one process; the first decides.
    if started.is_ok() {
        let _ = DROPPED.set(dropped);
        CONTROL.begin(&config.filter, reload);
    }
    Ok(guard)
}

/// The log of this process, for operators.
pub(crate) fn control() -> Arc<dyn LogControl> {
    Arc::new(CONTROL.clone())
}

/// What is logged by this text. Changes of it are in any case: who looks for a line that is missing has to
/// find out why.
fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::try_new(filter)?;
    Ok(filter.add_directive(concat!(module_path!(), "=info").parse()?))
}

/// Has another filter hold.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

fn reloading<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Reload {
    Box::new(move |filter| handle.reload(filter))
}

/// The filter that holds, and what becomes of it. Clones share it.
#[derive(Clone, Default)]
struct Control(Arc<Mutex<Filter>>);

#[derive(Default)]
struct Filter {
    configured: String,
    /// What an operator wants instead.
    wanted: Option<String>,
    /// `None` as long as nothing is logged.
    reload: Option<Reload>,
    /// When the configured one holds again, and the task that sees to it.
    end: Option<(Instant, AbortOnDropHandle<()>)>,
    /// Changes so far.
    changes: u64,
}

impl Control {
    fn lock(&self) -> MutexGuard<'_, Filter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, configured: &str, reload: Reload) {
        *self.lock() = Filter {
            configured: configured.to_owned(),
            reload: Some(reload),
            ..Filter::default()
        };
    }

    /// Has the configured filter hold again, unless there has been another change since.
    fn end(&self, change: u64) {
        let mut filter = self.lock();
        if filter.changes != change {
            return;
        }
        let result = filter.set(None);
        let text = filter.configured.clone();
        drop(filter);
        match result {
            Ok(()) => tracing::info!(filter = text, "what is configured is logged again"),
            Err(_) => tracing::error!("the log's filter cannot be changed back"),
        }
    }
}

impl Filter {
    fn set(&mut self, wanted: Option<&str>) -> Result<(), LogError> {
        let reload = self.reload.as_ref().ok_or(LogError::Unavailable)?;
        let text = wanted.unwrap_or(&self.configured);
        let parsed = parse(text).map_err(|_| LogError::Unavailable)?;
        reload(parsed).map_err(|_| LogError::Unavailable)?;
        follow(LevelFilter::current());
        self.wanted = wanted.map(str::to_owned);
        self.end = None;
        self.changes += 1;
        Ok(())
    }
}

impl LogControl for Control {
    fn read(&self) -> LogFilter {
        let filter = self.lock();
        let configured = filter.configured.clone();
        let end = filter.end.as_ref();
        LogFilter {
            filter: filter.wanted.clone().unwrap_or_else(|| configured.clone()),
            configured,
            left: end.map(|(at, _)| at.saturating_duration_since(Instant::now())),
        }
    }

    fn change(
        &self,
        operator: &str,
        wanted: Option<&str>,
        time: Option<Duration>,
    ) -> Result<(), LogError> {
        wanted.map_or(Ok(()), check).map_err(LogError::Filter)?;
        let mut filter = self.lock();
        filter.set(wanted)?;
        if let Some(time) = time {
            let (control, change) = (self.clone(), filter.changes);
            let end = tokio::spawn(async move {
                tokio::time::sleep(time).await;
                control.end(change);
            });
            filter.end = Some((Instant::now() + time, AbortOnDropHandle::new(end)));
        }
        let text = wanted.unwrap_or(&filter.configured).to_owned();
        drop(filter);
        let seconds = time.map(|time| time.as_secs());
        tracing::info!(
            operator,
            filter = text,
            seconds,
            "what is logged was changed"
        );
        Ok(())
    }
}

/// What is allowed at run time is less than in the configuration, where a name alone means all lines of a part
/// and none of the others, so that a level with a typing error silences the log. Spans and their fields are
/// left out too: looking at them costs every message something.
fn check(filter: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |text: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text));
    let is_target = |text: &str| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "_:-".contains(c);
        !text.is_empty() && text.chars().all(is_letter)
    };
    for (at, part) in filter.split(',').enumerate() {
        let is_good = match part.split_once('=') {
            Some((target, level)) => is_target(target) && is_level(level),
            None => is_level(part),
        };
        if !is_good {
            let levels = LEVELS.join(", ");
            let number = at + 1;
            return Err(format!(
                "part {number} is neither a level nor TARGET=LEVEL; levels are {levels}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::DefaultGuard;

    use super::*;

    /// A log of this thread alone that nobody reads.
    fn given() -> (Control, DefaultGuard) {
        let control = Control::default();
        let builder = tracing_subscriber::fmt()
            .with_env_filter(parse("info").unwrap())
            .with_writer(std::io::sink)
            .with_filter_reloading();
        control.begin("info", reloading(builder.reload_handle()));
        let log = builder.finish().with(KeepSecrets).with(CountLines);
        let guard = tracing::subscriber::set_default(log);
        (control, guard)
    }

    #[test]
    fn only_levels_and_parts_with_a_level_are_taken_at_run_time() {
        for good in ["info", "OFF", "warn,weir_mqtt=debug", "a::b=trace,info"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("", 1),
            ("debgu", 1),
            ("info,", 2),
            ("info, weir=debug", 2),
            ("weir_mqtt", 1),
            ("weir_mqtt=loud", 1),
            ("info,=debug", 2),
            ("info,a=b=debug", 2),
            ("info,[span]=debug", 2),
            ("a[b{c=.*}]=debug", 1),
            ("5", 1),
        ] {
            let why = check(bad).unwrap_err();
            assert!(why.starts_with(&format!("part {part} is")), "{bad}: {why}");
        }
    }

    #[tokio::test]
    async fn a_change_holds_at_once_and_a_mistake_changes_nothing() {
        let (control, _guard) = given();
        let is_on = || tracing::enabled!(target: "weir_mqtt", Level::DEBUG);
        assert!(!is_on());
        control
            .change("op", Some("info,weir_mqtt=debug"), None)
            .unwrap();
        assert!(is_on() && !tracing::enabled!(target: "weir_http", Level::DEBUG));
        let refused = control.change("op", Some("info,weir_mqtt"), None);
        assert!(matches!(refused, Err(LogError::Filter(_))), "{refused:?}");
        assert!(is_on());
        assert_eq!(control.read().filter, "info,weir_mqtt=debug");
        control.change("op", None, None).unwrap();
        assert!(!is_on());
        let expected = LogFilter {
            filter: "info".to_owned(),
            configured: "info".to_owned(),
            left: None,
        };
        assert_eq!(control.read(), expected);
    }

    #[tokio::test]
    async fn what_holds_for_a_while_ends_unless_there_is_another_change() {
        let (control, _guard) = given();
        let hour = Duration::from_secs(3600);
        control.change("op", Some("debug"), Some(hour)).unwrap();
        let left = control.read().left.unwrap();
        assert!(left <= hour && left > hour / 2, "{left:?}");
        let first = control.lock().changes;
        control.change("op", Some("trace"), Some(hour)).unwrap();
        // The end of the first, which had begun before the second.
        control.end(first);
        assert_eq!(control.read().filter, "trace");
        control
            .change("op", Some("warn"), Some(Duration::from_millis(1)))
            .unwrap();
        while control.read().left.is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(control.read().filter, "info");
    }

    #[tokio::test]
    async fn what_clients_send_is_never_logged() {
        let (control, _guard) = given();
        let all = "trace,tungstenite::protocol=trace";
        control.change("op", Some(all), None).unwrap();
        assert!(tracing::enabled!(target: "weir_mqtt", Level::TRACE));
        assert!(tracing::enabled!(target: "tungstenite::protocol", Level::INFO));
        assert!(!tracing::enabled!(target: "tungstenite::protocol", Level::TRACE));
        assert!(!tracing::enabled!(target: "tokio_tungstenite", Level::DEBUG));
    }

    #[tokio::test]
    async fn changes_are_logged_whatever_is_not() {
        let (control, _guard) = given();
        control.change("op", Some("off"), None).unwrap();
        assert!(!tracing::enabled!(target: "weir_http", Level::ERROR));
        assert!(tracing::enabled!(target: "weir::logging", Level::INFO));
    }
}
