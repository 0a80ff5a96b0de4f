//! The commands against a gateway that does as it is told, over real sockets.

mod server;

use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll};

use bytes::BytesMut;
use clap::{Args, Parser};
use serde_json::Value as Json;
use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{Body, Outcome, Value};

use super::command::{self, CommandArgs};
use super::consume::{self, ConsumeArgs};
use super::show::Style;
use server::Server;

#[derive(Parser)]
struct Line<T: Args> {
    #[command(flatten)]
    args: T,
}

fn parse<T: Args>(server: &Server, line: &str) -> T {
    parse_as("app:secret", server, line)
}

fn parse_as<T: Args>(user: &str, server: &Server, line: &str) -> T {
    let url = format!("amqp://{}", server.address);
    let connection = ["weir", "--url", &url, "--user", user];
    let words = connection.into_iter().chain(line.split_whitespace());
    Line::<T>::try_parse_from(words).unwrap().args
}

async fn consumed(server: &Server, line: &str) -> (String, anyhow::Result<()>) {
    let args: ConsumeArgs = parse(server, line);
    let mut out = Vec::new();
    let stop = CancellationToken::new();
    let ended = consume::consume(&args, Style::Plain, &mut out, &stop).await;
    (String::from_utf8(out).unwrap(), ended)
}

async fn commanded(server: &Server, line: &str) -> (String, anyhow::Result<ExitCode>) {
    let args: CommandArgs = parse(server, line);
    let mut out = Vec::new();
    let ended = command::issue(&args, &mut out).await;
    (String::from_utf8(out).unwrap(), ended)
}

fn accepted(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, Outcome)> {
    let numbers = numbers.into_iter();
    numbers.map(|number| (number, Outcome::Accepted)).collect()
}

#[tokio::test]
async fn telemetry_and_events_are_shown_and_accepted() {
    let server = Server::start().await;
    server.put("telemetry/acme", 1, "sensor-1");
    server.put("event/acme", 2, "sensor-2");
    server.put("event-dlq/acme", 3, "sensor-3");
    let (shown, ended) = consumed(&server, "--tenant acme --count 2").await;
    ended.unwrap();
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    let time = "1970-01-01T00:00:00.000Z";
    assert_eq!(
        lines,
        [
            format!("{time}  event  sensor-2  text/plain  2"),
            format!("{time}  telemetry  sensor-1  text/plain  1"),
        ]
    );
    assert_eq!(server.settled(), accepted([1, 2]));
}

#[tokio::test]
async fn what_is_asked_for_is_consumed_and_no_more() {
    let server = Server::start().await;
    for number in 0..10 {
        server.put("event-dlq/acme", number, "sensor-1");
    }
    let line = "-t acme --dead-letters -n 3 -o json";
    let (shown, ended) = consumed(&server, line).await;
    ended.unwrap();
    let payloads = shown.lines().map(|line| {
        let object: Json = serde_json::from_str(line).unwrap();
        assert_eq!(object["endpoint"], "dead-letter");
        object["payload"].as_str().unwrap().to_owned()
    });
    assert_eq!(payloads.collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!(server.settled(), accepted(0..3));
}

#[tokio::test]
async fn telemetry_of_other_devices_is_dropped_and_their_events_are_given_back() {
    let server = Server::start().await;
    for (address, first) in [("telemetry/acme", 0), ("event/acme", 2)] {
        server.put(address, first, "other");
        server.put(address, first + 1, "mine");
    }
    let (shown, ended) = consumed(&server, "-t acme -d mine -n 2").await;
    ended.unwrap();
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(!shown.contains("other"), "{shown}");
    let mut expected = accepted(0..4);
    // Which does not count as an attempt.
    expected[2].1 = Outcome::Modified {
        delivery_failed: false,
        undeliverable_here: false,
    };
    assert_eq!(server.settled(), expected);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_rejected() {
    let server = Server::start().await;
    server.put_raw("event/acme", 0, BytesMut::from(&b"nonsense"[..]));
    server.put("event/acme", 1, "sensor-1");
    let (shown, ended) = consumed(&server, "-t acme --events -n 1").await;
    ended.unwrap();
    assert_eq!(shown.lines().count(), 1);
    let settled = server.settled();
    assert!(
        matches!(settled[0], (0, Outcome::Rejected { .. })),
        "{settled:?}"
    );
    assert_eq!(settled[1], (1, Outcome::Accepted));
}

#[tokio::test]
async fn a_stop_is_no_failure_and_a_lost_connection_is_one() {
    let server = Server::start().await;
    let stop = CancellationToken::new();
    let args: ConsumeArgs = parse(&server, "-t acme");
    let (ended, ()) = tokio::join!(
        consume::consume(&args, Style::Plain, Vec::new(), &stop),
        async { stop.cancel() },
    );
    ended.unwrap();
    server.put("event/closing", 0, "sensor-1");
    let (_, ended) = consumed(&server, "-t closing --events").await;
    let error = format!("{:#}", ended.unwrap_err());
    assert!(
        error.contains("connection lost") && error.contains("bye"),
        "{error}"
    );
}

/// Output that nobody reads any more.
struct Gone;

impl AsyncWrite for Gone {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_nobody_has_read_is_not_accepted() {
    let server = Server::start().await;
    server.put("event/acme", 0, "sensor-1");
    let args: ConsumeArgs = parse(&server, "-t acme");
    let stop = CancellationToken::new();
    let ended = consume::consume(&args, Style::Plain, Gone, &stop).await;
    let error = ended.unwrap_err();
    let cause = error.downcast_ref::<io::Error>().map(io::Error::kind);
    assert_eq!(cause, Some(io::ErrorKind::BrokenPipe));
    assert_eq!(server.settled(), [(0, Outcome::LinkLost)]);
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let server = Server::start().await;
    let (_, ended) = consumed(&server, "-t other").await;
    let error = ended.unwrap_err().to_string();
    assert_eq!(
        error,
        "user app is not allowed to receive from telemetry/other"
    );
    let (_, ended) = commanded(&server, "other sensor-1 restart").await;
    let error = ended.unwrap_err().to_string();
    assert_eq!(error, "user app is not allowed to send to command/other");
    let args: CommandArgs = parse_as("app:wrong", &server, "acme sensor-1 restart");
    let ended = command::issue(&args, &mut io::sink()).await;
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("does not accept user app"), "{error}");
}

#[tokio::test]
async fn a_command_says_for_whom_and_what_and_is_told_as_delivered() {
    let server = Server::start().await;
    let line = "acme sensor-1 set --payload 30 --content-type text/plain";
    let (shown, ended) = commanded(&server, line).await;
    assert_eq!(ended.unwrap(), ExitCode::SUCCESS);
    assert_eq!(shown, "delivered\n");
    let command = server.command();
    let properties = &command.properties;
    assert_eq!(properties.to.as_deref(), Some("command/acme/sensor-1"));
    assert_eq!(properties.subject.as_deref(), Some("set"));
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(properties.reply_to, None);
    assert!(matches!(&properties.message_id, Some(Value::String(_))));
    assert_eq!(properties.correlation_id, properties.message_id);
    assert_eq!(command.body, Body::Data("30".into()));
}

#[tokio::test]
async fn an_answer_is_waited_for_and_told_from_others() {
    let server = Server::start().await;
    let (shown, ended) = commanded(&server, "acme sensor-1 status --wait").await;
    assert_eq!(ended.unwrap(), ExitCode::SUCCESS);
    assert_eq!(shown, "delivered\nsensor-1  status 200  text/plain  done\n");
    let reply_to = server.command().properties.reply_to.unwrap();
    assert!(reply_to.starts_with("command_response/acme/"), "{reply_to}");
    assert_eq!(server.command().body, Body::Empty);
    let settled = server.settled();
    assert!(
        matches!(settled[0], (901, Outcome::Rejected { .. })),
        "{settled:?}"
    );
    assert_eq!(settled[1], (902, Outcome::Released));
    // That of another device, which knew the request's id.
    assert!(
        matches!(settled[2], (903, Outcome::Rejected { .. })),
        "{settled:?}"
    );
    assert_eq!(settled[3..], [(904, Outcome::Accepted)]);
}

#[test]
fn a_wait_that_takes_the_next_word_says_where_it_belongs() {
    for line in [
        "--wait acme sensor-1 restart",
        "acme sensor-1 restart --wait 0",
    ] {
        let words = ["weir"].into_iter().chain(line.split_whitespace());
        let parsed = Line::<CommandArgs>::try_parse_from(words);
        let error = parsed.err().unwrap().to_string();
        assert!(error.contains("end of the line"), "{error}");
    }
}

#[tokio::test]
async fn a_command_succeeds_only_if_all_went_well() {
    let server = Server::start().await;
    let rows = [
        ("acme gone restart", "released", false, None),
        ("acme unknown restart", "rejected", false, None),
        ("quiet sensor-1 restart", "no-credit", false, None),
        ("acme mute restart --wait 1", "accepted", true, None),
        ("acme angry restart --wait 10", "accepted", true, Some(500)),
    ];
    for (line, outcome, delivered, status) in rows {
        let json = format!("{line} -o json");
        let ((shown, ended), (_, in_words)) =
            tokio::join!(commanded(&server, &json), commanded(&server, line));
        assert_eq!(ended.unwrap(), ExitCode::FAILURE, "{line}");
        let object: Json = serde_json::from_str(&shown).unwrap();
        assert_eq!(object["outcome"], outcome, "{line}");
        assert_eq!(object["delivered"], delivered, "{line}");
        assert_eq!(object["reason"].is_string(), status.is_none(), "{line}");
        let answered = object["response"]["status"].as_i64();
        assert_eq!(answered, status, "{line}");
        match (in_words, status) {
            (Ok(code), Some(_)) => assert_eq!(code, ExitCode::FAILURE),
            (Err(error), None) => {
                let is_delivered = !error.to_string().starts_with("not delivered: ");
                assert_eq!(is_delivered, delivered, "{line}: {error}");
            }
            (ended, _) => panic!("{line}: {ended:?}"),
        }
    }
}

#[tokio::test]
async fn a_payload_comes_from_a_file_too() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("payload");
    std::fs::write(&path, [0, 0xff]).unwrap();
    let line = format!("acme sensor-1 set --payload-file {}", path.display());
    let (_, ended) = commanded(&server, &line).await;
    assert_eq!(ended.unwrap(), ExitCode::SUCCESS);
    assert_eq!(server.command().body, Body::Data(vec![0, 0xff].into()));
}
