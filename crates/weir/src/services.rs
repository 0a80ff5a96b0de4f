//! Whether what the gateway needs is there: the database of the registry, and room and means to write
//! events.
//!
//! A task asks every two seconds. Probes and scrapes are told what it has found and wait for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use weir_event_store::{EventStore, Unwritable};
use weir_metrics::{Figures, Name, Source};
use weir_registry::SqlRegistry;

/// How often they are asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long an answer may take. A database that takes longer for the least of all questions is of no use to
/// anybody.
const PATIENCE: Duration = Duration::from_secs(5);

/// The write that was going on when the event store was last asked, and since when it is known. A disk that
/// hangs fails nothing.
#[derive(Debug, Default)]
struct Writing(Option<(u64, Instant)>);

impl Writing {
    /// An error if the same write has been going on for `patience`.
    fn look(
        &mut self,
        number: Option<u64>,
        now: Instant,
        patience: Duration,
    ) -> Result<(), String> {
        self.0 = number.map(|number| match self.0 {
            Some(known) if known.0 == number => known,
            _ => (number, now),
        });
        match self.0 {
            Some((_, since)) if now.duration_since(since) >= patience => {
                Err("a write takes too long".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// What the gateway needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// The registry's database.
    Registry,
    /// The store of events.
    EventStore,
}

impl Service {
    pub(crate) const ALL: [Self; 2] = [Self::Registry, Self::EventStore];

    /// Its name in `/readiness` and in the metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::EventStore => "event-store",
        }
    }
}

/// What was found last. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Services(Arc<[AtomicBool; Service::ALL.len()]>);

impl Services {
    /// All there, as they are when they have just been opened.
    pub(crate) fn all_up() -> Self {
        Self(Arc::new([const { AtomicBool::new(true) }; _]))
    }

    /// Whether the service was there when it was last asked.
    pub(crate) fn is_up(&self, service: Service) -> bool {
        self.0[service as usize].load(Relaxed)
    }

    /// Sets what probes are told. What they were told before.
    pub(crate) fn set(&self, service: Service, is_up: bool) -> bool {
        self.0[service as usize].swap(is_up, Relaxed)
    }

    /// Notes an answer. The log has each change of it once.
    fn note(&self, service: Service, answer: Result<(), String>) {
        let was_up = self.set(service, answer.is_ok());
        let service = service.as_str();
        match answer {
            Ok(()) if !was_up => tracing::info!(service, "a service is there again"),
            Err(cause) if was_up => tracing::error!(service, cause, "a service is gone"),
            _ => {}
        }
    }

    /// Asks them again and again until `stop` is cancelled.
    pub(crate) async fn keep(
        self,
        registry: SqlRegistry,
        events: EventStore,
        stop: CancellationToken,
    ) {
        // Each by itself: one that is slow is no reason to know less of the other.
        let checked = events.clone();
        let store = self.ask_store(
            (INTERVAL, PATIENCE),
            move || checked.check(),
            || events.writing(),
        );
        let asking = async { tokio::join!(self.ask_registry(registry), store) };
        stop.run_until_cancelled(asking).await;
    }

    async fn ask_registry(&self, registry: SqlRegistry) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let answer = registry.ping(PATIENCE).await;
            let answer = answer.map_err(|error| error.cause().to_owned());
            self.note(Service::Registry, answer);
        }
    }

    async fn ask_store(
        &self,
        (pause, patience): (Duration, Duration),
        check: impl Fn() -> Result<(), Unwritable> + Clone + Send + 'static,
        writing: impl Fn() -> Option<u64>,
    ) {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = None;
        let mut write = Writing::default();
        loop {
            ticks.tick().await;
            // A file system may not answer either. It is not asked twice at a time.
            let ask = || tokio::task::spawn_blocking(check.clone());
            let mut question = asked.take().unwrap_or_else(ask);
            let answer = answer_in_time(&mut question, patience).await;
            if answer.is_none() {
                asked = Some(question);
            }
            let silent = || Err("the file system does not answer".to_owned());
            let written = write.look(writing(), Instant::now(), patience);
            let answer = answer.unwrap_or_else(silent).and(written);
            self.note(Service::EventStore, answer);
        }
    }
}

/// `None` if there is no answer yet.
async fn answer_in_time<E: std::fmt::Display>(
    question: &mut JoinHandle<Result<(), E>>,
    patience: Duration,
) -> Option<Result<(), String>> {
    let answer = timeout(patience, question).await.ok()?;
    Some(match answer {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    })
}

impl Source for Services {
    fn families(&self) -> &'static [Name] {
        &[Name::ServiceUp]
    }

    fn collect(&self, figures: &mut Figures) {
        for service in Service::ALL {
            let is_up = f64::from(self.is_up(service));
            figures.tell(Name::ServiceUp, &[service.as_str()], is_up);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::SystemTime;

    use weir_event_store::Options;
    use weir_metrics::{Format, Metrics, View};

    use super::*;

    fn page(services: &Services) -> String {
        let metrics = Metrics::new("h", Instant::now());
        metrics.register(Arc::new(services.clone()));
        let snapshot = metrics.snapshot(View::Native, Instant::now());
        snapshot.write(Format::Text, SystemTime::now())
    }

    #[test]
    fn the_last_answer_counts() {
        let services = Services::all_up();
        for (answer, value) in [(Err(()), 0), (Err(()), 0), (Ok(()), 1)] {
            let answer = answer.map_err(|()| "gone".to_owned());
            services.note(Service::EventStore, answer.clone());
            assert_eq!(services.is_up(Service::EventStore), answer.is_ok());
            assert!(services.is_up(Service::Registry));
            let page = page(&services);
            let line = format!("weir_service_up{{service=\"event-store\"}} {value}\n");
            assert!(page.contains(&line), "{page}");
            assert!(page.contains("weir_service_up{service=\"registry\"} 1\n"));
        }
    }

    #[test]
    fn only_a_write_that_goes_on_and_on_takes_too_long() {
        let start = Instant::now();
        let patience = Duration::from_secs(5);
        let mut write = Writing::default();
        // At which second, what is written, and whether that is well.
        let rows = [
            (0, None, true),
            (10, Some(1), true),
            (12, Some(3), true),
            (16, Some(3), true),
            (17, Some(3), false),
            (99, Some(3), false),
            (101, Some(5), true),
            (103, None, true),
            (200, Some(7), true),
            (205, Some(7), false),
            (206, None, true),
        ];
        for (second, number, is_well) in rows {
            let now = start + Duration::from_secs(second);
            let answer = write.look(number, now, patience);
            assert_eq!(answer.is_ok(), is_well, "second {second}");
        }
    }

    #[tokio::test]
    async fn a_write_that_hangs_is_found_and_that_it_does_no_longer() {
        let services = Services::all_up();
        let (asked, number) = (services.clone(), Arc::new(AtomicU64::new(7)));
        let seen = number.clone();
        // 0 is none.
        let writing = move || Some(seen.load(Relaxed)).filter(|number| *number > 0);
        let pace = (Duration::from_millis(1), Duration::from_millis(50));
        let asking = tokio::spawn(async move { asked.ask_store(pace, || Ok(()), writing).await });
        for is_up in [false, true] {
            let found = async {
                while services.is_up(Service::EventStore) != is_up {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            timeout(Duration::from_secs(60), found).await.unwrap();
            number.store(0, Relaxed);
        }
        asking.abort();
    }

    #[tokio::test]
    async fn what_is_closed_is_found_to_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let registry = SqlRegistry::open(&url).await.unwrap();
        let options = Options {
            reserve: 0,
            ..Options::default()
        };
        let events = EventStore::open(&folder.path().join("events"), options).unwrap();
        let (services, stop) = (Services::all_up(), CancellationToken::new());
        let kept = services.clone();
        let kept = tokio::spawn(kept.keep(registry.clone(), events.clone(), stop.clone()));
        registry.close().await;
        events.close().await;
        let all_gone = async {
            while Service::ALL.iter().any(|service| services.is_up(*service)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), all_gone).await.unwrap();
        stop.cancel();
        kept.await.unwrap();
    }
}
