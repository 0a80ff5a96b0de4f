//! The client over real sockets, with the engine as a server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod server;

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use weir_amqp_engine::{ClientSasl, CloseReason, Error, Outcome, SaslCode, condition};
use weir_amqp_transport::{
    Client, ClientOptions, ClientTls, ConnectError, Credit, Ended, Receiver, SendError, Sender,
    TlsError,
};

use server::{Seen, Server};

/// Long enough for anything that comes; what does not come is not waited for as long.
const SHORT: Duration = Duration::from_millis(50);

fn options(server: &Server, password: &str) -> ClientOptions {
    let sasl = ClientSasl::Plain {
        username: "app".to_owned(),
        password: password.to_owned(),
    };
    ClientOptions::new("localhost", server.address.port(), sasl)
}

async fn connect(server: &Server) -> Client {
    Client::connect(options(server, "secret")).await.unwrap()
}

/// A server, and a client that gives up on it soon.
async fn impatient() -> (Server, Client) {
    let server = Server::start().await;
    let options = ClientOptions {
        credit_timeout: SHORT,
        outcome_timeout: SHORT,
        ..options(&server, "secret")
    };
    let client = Client::connect(options).await.unwrap();
    (server, client)
}

async fn send(sender: &Sender, message: &str) -> Result<Outcome, SendError> {
    sender
        .send(|out| out.extend_from_slice(message.as_bytes()))
        .await
}

async fn number(receiver: &mut Receiver, outcome: Outcome) -> u64 {
    let received = receiver.receive().await.unwrap();
    let number = std::str::from_utf8(&received.message).unwrap().parse();
    received.settle(outcome);
    number.unwrap()
}

fn stop() -> Error {
    Error::new(condition::DETACH_FORCED, "enough")
}

#[tokio::test]
async fn one_connection_has_links_both_ways() {
    let mut server = Server::start().await;
    let client = connect(&server).await;
    let mut one = client.receiver("one", 10).await.unwrap();
    let mut other = client.receiver("other", 10).await.unwrap();
    let sender = client.sender("target").await.unwrap();
    server.order(|server, connection| {
        server.send(connection, "one", 0..2);
        server.send(connection, "other", 5..6);
    });
    assert_eq!(number(&mut other, Outcome::Released).await, 5);
    assert_eq!(send(&sender, "hello").await, Ok(Outcome::Accepted));
    assert_eq!(number(&mut one, Outcome::Accepted).await, 0);
    assert_eq!(number(&mut one, Outcome::Accepted).await, 1);
    for address in ["one", "other", "target"] {
        assert_eq!(server.next().await, Seen::Attached(address.to_owned()));
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(server.next().await);
    }
    for expected in [
        Seen::Message(b"hello".to_vec()),
        Seen::Settled(0, Outcome::Accepted),
        Seen::Settled(1, Outcome::Accepted),
        Seen::Settled(5, Outcome::Released),
    ] {
        assert!(seen.contains(&expected), "{expected:?} in {seen:?}");
    }
}

#[tokio::test]
async fn each_outcome_of_a_message_comes_back() {
    let (_server, client) = impatient().await;
    let sender = client.sender("target").await.unwrap();
    let rows = [
        ("accepted", Outcome::Accepted),
        ("released", Outcome::Released),
        (
            "rejected",
            Outcome::Rejected {
                condition: Some("hono:bad-request".to_owned()),
                description: Some("no".to_owned()),
            },
        ),
        (
            "modified",
            Outcome::Modified {
                delivery_failed: true,
                undeliverable_here: true,
            },
        ),
        ("never", Outcome::TimedOut),
    ];
    for (message, outcome) in rows {
        assert_eq!(send(&sender, message).await, Ok(outcome), "{message}");
    }
}

#[tokio::test]
async fn without_credit_nothing_is_sent() {
    let (mut server, client) = impatient().await;
    let sender = client.sender("full").await.unwrap();
    assert_eq!(
        send(&sender, "1").await,
        Err(SendError::NoCredit(SHORT)),
        "at first"
    );
    // More at a time than the queue holds: those behind get their answer too.
    for answer in join_all((0..40).map(|_| send(&sender, "2"))).await {
        assert_eq!(answer, Err(SendError::NoCredit(SHORT)));
    }
    server.order(|server, connection| {
        let link = server.link("full");
        connection.grant_credit(link, 1);
    });
    // Credit may still be on its way.
    while send(&sender, "3").await != Ok(Outcome::Accepted) {}
    server.until(Seen::Attached("full".to_owned())).await;
    assert_eq!(server.next().await, Seen::Message(b"3".to_vec()));
}

#[tokio::test]
async fn a_message_that_waits_is_sent_when_credit_comes_unless_its_future_is_dropped() {
    let mut server = Server::start().await;
    let options = ClientOptions {
        credit_timeout: Duration::from_secs(60),
        ..options(&server, "secret")
    };
    let client = Client::connect(options).await.unwrap();
    let sender = client.sender("full").await.unwrap();
    let dropped = tokio::time::timeout(SHORT, send(&sender, "dropped")).await;
    assert!(dropped.is_err());
    let order = async {
        server.order(|server, connection| {
            let link = server.link("full");
            connection.grant_credit(link, 1);
        });
    };
    let (sent, ()) = tokio::join!(send(&sender, "kept"), order);
    assert_eq!(sent, Ok(Outcome::Accepted));
    server.until(Seen::Attached("full".to_owned())).await;
    assert_eq!(server.next().await, Seen::Message(b"kept".to_vec()));
}

#[tokio::test]
async fn credit_that_is_drained_goes_back() {
    let (server, client) = impatient().await;
    let sender = client.sender("target").await.unwrap();
    assert_eq!(send(&sender, "1").await, Ok(Outcome::Accepted));
    server.order(|server, connection| {
        let link = server.link("target");
        connection.drain(link);
    });
    while send(&sender, "2").await != Err(SendError::NoCredit(SHORT)) {}
}

#[tokio::test]
async fn a_link_that_is_refused_leaves_the_others_alone() {
    let server = Server::start().await;
    let client = connect(&server).await;
    let sender = client.sender("target").await.unwrap();
    let refused = [
        client.sender("forbidden").await.err(),
        client.receiver("forbidden", 10).await.err(),
    ];
    for error in refused {
        let Some(ConnectError::Refused { error: Some(error) }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.condition, condition::UNAUTHORIZED_ACCESS);
        assert_eq!(error.description.as_deref(), Some("not yours"));
    }
    assert_eq!(send(&sender, "1").await, Ok(Outcome::Accepted));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    let server = Server::start().await;
    let options = ClientOptions {
        answer_timeout: Duration::from_millis(500),
        ..options(&server, "secret")
    };
    let client = Client::connect(options).await.unwrap();
    let error = client.sender("silent").await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(_)), "{error}");
}

#[tokio::test]
async fn the_server_says_who_gets_in() {
    let server = Server::start().await;
    let error = Client::connect(options(&server, "wrong"))
        .await
        .unwrap_err();
    let is_auth = matches!(
        error,
        ConnectError::Closed {
            reason: CloseReason::Sasl(SaslCode::Auth),
            ..
        }
    );
    assert!(is_auth, "{error}");
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let server = Server::start().await;
    let options = options(&server, "secret");
    let _first = Client::connect(options.clone()).await.unwrap();
    // It listens for one connection.
    let error = Client::connect(options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_link_that_the_server_detaches_says_why() {
    let server = Server::start().await;
    let client = connect(&server).await;
    let mut receiver = client.receiver("one", 10).await.unwrap();
    let sender = client.sender("target").await.unwrap();
    let detach = async {
        server.order(|server, connection| {
            for address in ["one", "target"] {
                connection.detach(server.link(address), Some(stop()));
            }
        });
    };
    let (open, ()) = tokio::join!(send(&sender, "never"), detach);
    let error = Some(stop());
    let ended = Ended::Detached { error };
    assert_eq!(open, Err(SendError::Ended(ended.clone())));
    assert_eq!(
        send(&sender, "later").await,
        Err(SendError::Ended(ended.clone()))
    );
    assert!(receiver.receive().await.is_none());
    assert_eq!(receiver.ended(), ended);
    // The connection goes on.
    let again = client.sender("target").await.unwrap();
    assert_eq!(send(&again, "1").await, Ok(Outcome::Accepted));
}

#[tokio::test]
async fn a_connection_that_the_server_closes_ends_all_links_and_says_why() {
    let server = Server::start().await;
    let client = connect(&server).await;
    let mut receiver = client.receiver("one", 10).await.unwrap();
    let sender = client.sender("target").await.unwrap();
    let close = async {
        server.order(|_, connection| connection.close(std::time::Instant::now(), Some(stop())));
    };
    let (open, ()) = tokio::join!(send(&sender, "never"), close);
    let ended = Ended::Closed {
        reason: CloseReason::Remote,
        error: Some(stop()),
    };
    assert_eq!(open, Err(SendError::Ended(ended.clone())));
    assert!(receiver.receive().await.is_none());
    assert_eq!(receiver.ended(), ended);
    let error = client.sender("target").await.unwrap_err();
    let is_remote = matches!(
        error,
        ConnectError::Closed {
            reason: CloseReason::Remote,
            error: Some(_),
        }
    );
    assert!(is_remote, "{error}");
}

/// Has the server send all it can of these numbers; how many those are.
async fn sendable(server: &Server, numbers: std::ops::Range<u64>) -> u64 {
    let (tell, told) = oneshot::channel();
    server.order(|server, connection| {
        tell.send(server.send(connection, "one", numbers)).unwrap();
    });
    told.await.unwrap()
}

#[tokio::test]
async fn no_more_comes_than_the_application_has_room_for() {
    let mut server = Server::start().await;
    let client = connect(&server).await;
    let mut receiver = client.receiver("one", 4).await.unwrap();
    assert_eq!(sendable(&server, 0..10).await, 4);
    // In the application's hands is not done.
    let held = receiver.receive().await.unwrap();
    assert_eq!(sendable(&server, 4..10).await, 0);
    for _ in 0..3 {
        number(&mut receiver, Outcome::Accepted).await;
    }
    for settled in 1..4 {
        let settled = Seen::Settled(settled, Outcome::Accepted);
        server.until(settled).await;
    }
    // Of the first four, one is held, and credit comes back in halves.
    let mut sent = 0;
    while sent < 2 {
        sent += sendable(&server, 4 + sent..10).await;
    }
    held.settle(Outcome::Accepted);
    while sent < 6 {
        sent += sendable(&server, 4 + sent..10).await;
        if sent > 0 {
            number(&mut receiver, Outcome::Accepted).await;
        }
    }
}

#[tokio::test]
async fn a_total_is_not_exceeded_and_what_was_not_accepted_is_made_up_for() {
    let mut server = Server::start().await;
    let client = connect(&server).await;
    let credit = Credit {
        window: 4,
        total: Some(5),
    };
    let mut receiver = client.receiver("one", credit).await.unwrap();
    let mut sent = 0;
    // Every third is given back, so that five of seven are accepted.
    while sent < 7 {
        for _ in 0..sendable(&server, sent..100).await {
            let outcome = match sent % 3 {
                2 => Outcome::Released,
                _ => Outcome::Accepted,
            };
            assert_eq!(number(&mut receiver, outcome).await, sent);
            sent += 1;
        }
    }
    server.until(Seen::Settled(6, Outcome::Accepted)).await;
    assert_eq!(sent, 7);
    assert_eq!(sendable(&server, 7..100).await, 0);
}

#[tokio::test]
async fn a_link_that_is_dropped_is_detached_after_what_was_settled() {
    let mut server = Server::start().await;
    let client = connect(&server).await;
    let sender = client.sender("target").await.unwrap();
    let mut receiver = client.receiver("one", 10).await.unwrap();
    sendable(&server, 0..2).await;
    number(&mut receiver, Outcome::Accepted).await;
    drop(receiver);
    server.until(Seen::Settled(0, Outcome::Accepted)).await;
    let mut seen = [server.next().await, server.next().await];
    seen.sort_by_key(|seen| matches!(seen, Seen::Detached(_)));
    let lost = Seen::Settled(1, Outcome::LinkLost);
    assert_eq!(seen, [lost, Seen::Detached("one".to_owned())]);
    drop(sender);
    assert_eq!(server.next().await, Seen::Detached("target".to_owned()));
}

#[tokio::test]
async fn a_close_is_orderly_and_comes_after_what_was_settled() {
    let mut server = Server::start().await;
    let client = connect(&server).await;
    let mut receiver = client.receiver("one", 10).await.unwrap();
    sendable(&server, 0..1).await;
    number(&mut receiver, Outcome::Accepted).await;
    client.close().await;
    assert!(receiver.receive().await.is_none());
    let reason = CloseReason::Local;
    assert_eq!(
        receiver.ended(),
        Ended::Closed {
            reason,
            error: None
        }
    );
    server.until(Seen::Settled(0, Outcome::Accepted)).await;
    assert_eq!(server.next().await, Seen::Closed(CloseReason::Remote));
}

#[tokio::test]
async fn a_client_that_is_dropped_closes_its_connection() {
    let mut server = Server::start().await;
    drop(connect(&server).await);
    assert_eq!(server.next().await, Seen::Closed(CloseReason::Remote));
}

#[tokio::test]
async fn with_tls_the_servers_certificate_is_checked() {
    let certificate = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (right, wrong) = (certificate(), certificate());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    for (trusted, is_right) in [(&right, true), (&wrong, false)] {
        std::fs::write(&path, trusted.cert.pem()).unwrap();
        let server = Server::start_with(Some(&right)).await;
        let options = ClientOptions {
            tls: Some(ClientTls::trusting(&path).unwrap()),
            ..options(&server, "secret")
        };
        match (Client::connect(options).await, is_right) {
            (Ok(client), true) => {
                let sender = client.sender("target").await.unwrap();
                let large = "x".repeat(200_000);
                assert_eq!(send(&sender, &large).await, Ok(Outcome::Accepted));
            }
            (Err(ConnectError::Tls { .. }), false) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_says_nobody_to_trust_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let error = ClientTls::trusting(&path).unwrap_err();
    assert!(matches!(error, TlsError::Read { .. }), "{error}");
    std::fs::write(&path, "nothing").unwrap();
    let error = ClientTls::trusting(&path).unwrap_err();
    assert!(matches!(error, TlsError::Certificate { .. }), "{error}");
    assert!(error.to_string().contains("ca.pem"));
}
