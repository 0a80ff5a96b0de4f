//! Spans are handed over to something that stands for the exporter.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use opentelemetry::Key;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::SpanData;
use weir_core::SpanKind;

use super::*;

/// Says which batch came, and answers when it is told to.
#[derive(Debug)]
struct Slow {
    came: Sender<usize>,
    answer: Mutex<Receiver<OTelSdkResult>>,
}

impl Exporter for Slow {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let _ = self.came.send(batch.len());
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        answer.recv().unwrap_or(Ok(()))
    }
}

/// Never answers.
#[derive(Debug)]
struct Silent;

impl Exporter for Silent {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        std::future::pending().await
    }
}

/// Has spans sent by these, one after the other.
fn traces<E: Exporter + 'static>(text: &str, exporters: impl Into<Vec<E>>) -> Traces {
    let config = toml::from_str(text).unwrap();
    let exporters = Mutex::new(exporters.into().into_iter());
    let next = move || {
        let next = exporters.lock().unwrap().next();
        next.ok_or(TracesError::Headers)
    };
    Traces::with_exporter(&config, "test", next).unwrap()
}

fn slow(text: &str) -> (Traces, Receiver<usize>, Sender<OTelSdkResult>) {
    let ((came, seen), (say, answer)) = (channel(), channel());
    let exporter = Slow {
        came,
        answer: Mutex::new(answer),
    };
    (traces(text, [exporter]), seen, say)
}

fn span() -> Span {
    Span {
        trace_id: 1,
        span_id: 2,
        parent: None,
        tracestate: None,
        name: "connect",
        kind: SpanKind::Server,
        started: SystemTime::now(),
        ended: SystemTime::now(),
        attributes: Vec::new(),
        error: None,
    }
}

#[test]
fn what_there_is_no_room_for_is_dropped_at_once_and_counted() {
    let (traces, seen, say) = slow("max_queue_size = 4\nschedule_delay = 10");
    let sink = traces.sink();
    for _ in 0..4 {
        sink.take(span());
    }
    // The first batch is under way: it still counts.
    let mut under_way = seen.recv().unwrap();
    for _ in 0..10 {
        sink.take(span());
    }
    assert_eq!(traces.figures().dropped, 10);
    // All answers are there, so all four can go, in however many batches.
    for _ in 0..4 {
        say.send(Ok(())).unwrap();
    }
    while under_way < 4 {
        under_way += seen.recv().unwrap();
    }
    traces.shutdown(Duration::from_secs(60));
    let expected = Figures {
        exported: 4,
        dropped: 10,
        failed: 0,
    };
    assert_eq!(traces.figures(), expected);
}

/// Each is sent once more, over a new connection.
#[test]
fn what_fails_is_counted_and_makes_room() {
    let (said, seen) = channel();
    let refusing = (0..6).map(|_| Answering(Does::Refuse, said.clone()));
    let refusing: Vec<_> = refusing.collect();
    let traces = traces("max_queue_size = 2\nschedule_delay = 10", refusing);
    let sink = traces.sink();
    for _ in 0..3 {
        while traces.0.counts.waiting.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        sink.take(span());
        for _ in 0..2 {
            assert_eq!(seen.recv().unwrap(), Does::Refuse);
        }
    }
    traces.shutdown(Duration::from_secs(60));
    let figures = traces.figures();
    assert_eq!((figures.exported, figures.failed), (0, 3));
}

#[test]
fn a_batch_whose_connection_broke_goes_over_a_new_one() {
    let (said, _seen) = channel();
    let exporters = [Does::Refuse, Does::Answer];
    let exporters = exporters.map(|does| Answering(does, said.clone()));
    let traces = traces("schedule_delay = 10", exporters);
    traces.sink().take(span());
    traces.shutdown(Duration::from_secs(60));
    let figures = traces.figures();
    assert_eq!((figures.exported, figures.failed), (1, 0));
}

#[test]
fn a_collector_that_does_not_answer_is_given_up() {
    let traces = traces("timeout = 10\nschedule_delay = 10", [Silent]);
    traces.sink().take(span());
    traces.shutdown(Duration::from_secs(60));
    assert_eq!(traces.figures().failed, 1);
}

/// What somebody does within 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Answer,
    Nothing,
    /// Says no at once.
    Refuse,
    /// He gives up by himself, when the time is over.
    GiveUp,
}

#[derive(Debug)]
struct Answering(Does, Sender<Does>);

impl Exporter for Answering {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        let _ = self.1.send(self.0);
        match self.0 {
            Does::Answer => Ok(()),
            Does::Nothing => std::future::pending().await,
            Does::Refuse => Err(OTelSdkError::InternalFailure("no".to_owned())),
            Does::GiveUp => {
                std::thread::sleep(Duration::from_millis(10));
                Err(OTelSdkError::InternalFailure("no answer".to_owned()))
            }
        }
    }
}

#[test]
fn a_connection_on_which_nobody_answers_is_not_used_again() {
    let (said, seen) = channel();
    let exporters = [Does::Nothing, Does::GiveUp, Does::Answer];
    let exporters = exporters.map(|does| Answering(does, said.clone()));
    let traces = traces("timeout = 10\nschedule_delay = 10", exporters);
    for does in [Does::Nothing, Does::GiveUp, Does::Answer, Does::Answer] {
        traces.sink().take(span());
        assert_eq!(seen.recv().unwrap(), does);
    }
    traces.shutdown(Duration::from_secs(60));
    let figures = traces.figures();
    assert_eq!((figures.exported, figures.failed), (2, 2));
}

#[test]
fn at_the_end_what_waits_is_sent_and_nothing_more_is_taken() {
    let (traces, _seen, say) = slow("schedule_delay = 60000");
    let sink = traces.sink();
    for _ in 0..3 {
        sink.take(span());
    }
    say.send(Ok(())).unwrap();
    traces.shutdown(Duration::from_secs(60));
    for _ in 0..2 {
        sink.take(span());
    }
    let expected = Figures {
        exported: 3,
        dropped: 2,
        failed: 0,
    };
    assert_eq!(traces.figures(), expected);
}

#[test]
fn the_end_does_not_wait_for_a_collector_that_does_not_answer() {
    let traces = traces("timeout = 60000\nschedule_delay = 60000", [Silent]);
    traces.sink().take(span());
    traces.shutdown(Duration::from_millis(10));
    assert_eq!(traces.figures().exported, 0);
}

/// Also where a thread carries messages, which must not wait.
#[tokio::test]
async fn nothing_is_left_behind_by_a_configuration_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.pem");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let wrong = ["not base64!", "bm8gY2VydGlmaWNhdGU="].map(|inner| {
        let path = folder.path().join(inner);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{inner}\n-----END CERTIFICATE-----\n");
        std::fs::write(&path, pem).unwrap();
        path
    });
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let config = |tls_ca: Option<PathBuf>| TracesConfig {
            endpoint: Some(format!(
                "{}://localhost:1",
                tls_ca.as_ref().map_or("http", |_| "https")
            )),
            protocol,
            tls_ca,
            ..TracesConfig::default()
        };
        let error = Traces::build(&config(Some(missing.clone())), "test").unwrap_err();
        assert!(matches!(error, TracesError::Authorities { .. }), "{error}");
        let error = Traces::build(&config(Some(empty.clone())), "test").unwrap_err();
        assert!(
            matches!(error, TracesError::NoAuthorities { .. }),
            "{error}"
        );
        for path in &wrong {
            let error = Traces::build(&config(Some(path.clone())), "test").unwrap_err();
            assert!(
                matches!(error, TracesError::WrongAuthorities { .. }),
                "{protocol:?} {path:?}: {error}"
            );
        }
        for (enabled, is_fine) in [(true, false), (false, true)] {
            let config = TracesConfig {
                enabled,
                ..config(Some(missing.clone()))
            };
            assert_eq!(Traces::check(&config).is_ok(), is_fine, "{protocol:?}");
        }
        assert!(Traces::build(&config(None), "test").is_ok(), "{protocol:?}");
        let bad = TracesConfig {
            endpoint: Some("localhost".to_owned()),
            ..config(None)
        };
        let error = Traces::build(&bad, "test").unwrap_err();
        assert!(matches!(error, TracesError::Endpoint(_)), "{error}");
    }
}

#[test]
fn the_gateway_says_who_it_is() {
    let resource = resource(&TracesConfig::default(), "host-1");
    let get = |key| resource.get(&Key::new(key)).map(|value| value.to_string());
    assert_eq!(get("service.name").as_deref(), Some("weir"));
    assert_eq!(
        get("service.namespace").as_deref(),
        Some("org.eclipse.hono")
    );
    assert_eq!(get("service.instance.id").as_deref(), Some("host-1"));
}
