//! Who gets in, what they may attach to, and what becomes of that when the permission file changes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod kit;
#[path = "../kit/mod.rs"]
mod parts;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use fe2o3_amqp::Session;
use fe2o3_amqp::connection::Connection;
use fe2o3_amqp::link::Receiver as ForeignReceiver;
use fe2o3_amqp::sasl_profile::SaslProfile;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_amqp_engine::{ClientSasl, CloseReason, Error, SaslCode, condition};
use weir_amqp_transport::{Client, ConnectError, Ended, Receiver};
use weir_event_store::Options;
use weir_northbound_amqp::{AmqpConfig, Embedded, EndpointError};

use kit::{Authority, Served, external, plain};

/// Nothing here takes as long, unless it never comes.
const DEADLINE: Duration = Duration::from_secs(60);

fn reason(connected: Result<Client, ConnectError>) -> CloseReason {
    match connected.unwrap_err() {
        ConnectError::Closed { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

fn condition_of(attached: Result<Receiver, ConnectError>) -> String {
    match attached.unwrap_err() {
        ConnectError::Refused { error: Some(error) } => error.condition.into_owned(),
        other => panic!("{other}"),
    }
}

/// Waits until a link is over.
async fn end(receiver: &mut Receiver) -> Ended {
    let none = timeout(DEADLINE, receiver.receive()).await.unwrap();
    assert!(none.is_none());
    receiver.ended()
}

#[tokio::test]
async fn who_is_not_in_the_file_or_says_something_else_is_refused() {
    let users = [plain("app", "pw", "all"), external("card", "all")];
    let served = Served::start(&users).await;
    served.login("app", "pw").await.unwrap();
    for (user, password) in [
        ("app", "wrong"),
        ("app", ""),
        ("nobody", "pw"),
        ("card", ""),
        // The gateway's own account: the file takes its place.
        ("application", "secret"),
    ] {
        let refused = reason(served.login(user, password).await);
        assert_eq!(refused, CloseReason::Sasl(SaslCode::Auth), "{user}");
    }
    for (sasl, expected) in [
        (ClientSasl::Anonymous, CloseReason::SaslMechanism),
        (ClientSasl::External, CloseReason::SaslMechanism),
        (ClientSasl::None, CloseReason::ProtocolHeader),
    ] {
        let shown = format!("{sasl:?}");
        assert_eq!(
            reason(served.connect(sasl, None).await),
            expected,
            "{shown}"
        );
    }
}

#[tokio::test]
async fn an_address_needs_permission_and_to_be_there() {
    let users = [
        plain("limited", "pw", "acme"),
        plain("sender", "pw", "sender"),
        plain("notified", "pw", "notified"),
    ];
    let served = Served::start(&users).await;
    let (refused, unknown) = (condition::UNAUTHORIZED_ACCESS, condition::NOT_FOUND);
    let rows = [
        ("limited", "telemetry/acme", None),
        ("limited", "event/acme", None),
        ("limited", "telemetry/other", Some(refused)),
        ("limited", "event/other", Some(refused)),
        ("limited", "notification/registry-tenant", Some(refused)),
        ("sender", "telemetry/acme", Some(refused)),
        ("notified", "notification/registry-tenant", None),
        ("notified", "notification/registry-device", None),
        ("notified", "telemetry/acme", Some(refused)),
        // What is no address at all is told so, whatever the user may do.
        ("limited", "telemetry", Some(unknown)),
        ("limited", "telemetry/acme/dev", Some(unknown)),
        ("limited", "t/other", Some(unknown)),
        ("notified", "notification/other", Some(unknown)),
    ];
    for (user, address, expected) in rows {
        let client = served.login(user, "pw").await.unwrap();
        let attached = client.receiver(address, 1).await;
        match expected {
            None => drop(attached.unwrap()),
            Some(expected) => assert_eq!(condition_of(attached), expected, "{user} {address}"),
        }
    }
}

/// The same with a client that nobody here wrote.
#[tokio::test]
async fn other_clients_see_it_like_that_too() {
    let served = Served::start(&[plain("limited", "pw", "acme")]).await;
    let url = format!("amqp://{}", served.address);
    let login = |password: &str| {
        let plain = SaslProfile::Plain {
            username: "limited".into(),
            password: password.into(),
        };
        let builder = Connection::builder().container_id("test");
        builder.sasl_profile(plain).open(&*url)
    };
    let refused = login("wrong").await.unwrap_err().to_string();
    assert!(refused.contains("Auth"), "{refused}");
    let mut connection = login("pw").await.unwrap();
    let mut session = Session::begin(&mut connection).await.unwrap();
    let allowed = ForeignReceiver::attach(&mut session, "a", "telemetry/acme").await;
    allowed.unwrap().close().await.unwrap();
    let refused = ForeignReceiver::attach(&mut session, "b", "telemetry/other").await;
    let refused = format!("{:?}", refused.unwrap_err());
    assert!(refused.contains("UnauthorizedAccess"), "{refused}");
}

#[tokio::test]
async fn a_user_who_is_added_gets_in_and_one_who_is_removed_is_disconnected() {
    let (app, late) = (plain("app", "pw", "all"), plain("late", "pw", "all"));
    let served = Served::start(std::slice::from_ref(&app)).await;
    let refused = reason(served.login("late", "pw").await);
    assert_eq!(refused, CloseReason::Sasl(SaslCode::Auth));
    let old = served.login("app", "pw").await.unwrap();
    let mut receiver = old.receiver("telemetry/acme", 1).await.unwrap();

    served.replace(&[app, late.clone()]).await;
    let new = served.login("late", "pw").await.unwrap();
    let mut stays = new.receiver("telemetry/acme", 1).await.unwrap();

    served.replace(std::slice::from_ref(&late)).await;
    let unauthorized = Error::new(condition::UNAUTHORIZED_ACCESS, "the login was withdrawn");
    let expected = Ended::Closed {
        reason: CloseReason::Remote,
        error: Some(unauthorized),
    };
    assert_eq!(end(&mut receiver).await, expected);
    let refused = reason(served.login("app", "pw").await);
    assert_eq!(refused, CloseReason::Sasl(SaslCode::Auth));

    // A changed password ends what was begun with the old one, and the other user only now.
    served.replace(&[plain("late", "new", "all")]).await;
    assert_eq!(end(&mut stays).await, expected);
    served.login("late", "new").await.unwrap();
}

#[tokio::test]
async fn links_that_are_not_allowed_any_more_are_detached_and_the_others_stay() {
    let served = Served::start(&[plain("app", "pw", "all")]).await;
    let client = served.login("app", "pw").await.unwrap();
    let mut kept = client.receiver("telemetry/acme", 1).await.unwrap();
    let mut other = client.receiver("telemetry/other", 1).await.unwrap();
    let mut event = client.receiver("event/acme", 1).await.unwrap();
    let withdrawn = Error::new(
        condition::UNAUTHORIZED_ACCESS,
        "the permission was withdrawn",
    );
    let withdrawn = Ended::Detached {
        error: Some(withdrawn),
    };

    served.replace(&[plain("app", "pw", "acme")]).await;
    assert_eq!(end(&mut other).await, withdrawn);
    // The connection goes by the new permissions, and can lose more of them.
    let again = client.receiver("telemetry/other", 1).await;
    assert_eq!(condition_of(again), condition::UNAUTHORIZED_ACCESS);
    served
        .replace(&[plain("app", "pw", "acme-telemetry")])
        .await;
    assert_eq!(end(&mut event).await, withdrawn);
    served.replace(&[plain("app", "pw", "all")]).await;
    let _again = client.receiver("event/acme", 1).await.unwrap();

    // Whatever had ended it would have come before the answer to the last attach.
    let is_open = poll_fn(|cx| Poll::Ready(kept.poll_receive(cx).is_pending())).await;
    assert!(is_open);
    served.replace(&[plain("app", "pw", "notified")]).await;
    assert_eq!(end(&mut kept).await, withdrawn);
}

#[tokio::test]
async fn a_certificate_says_who_somebody_is_with_either_version_of_tls() {
    let users = [external("card", "acme"), plain("app", "pw", "all")];
    let served = Served::with_tls(&users).await;
    for version in [&TLS12, &TLS13] {
        let identity = served.authority().issue("card");
        let tls = served.tls(Some(identity), &[version]);
        let client = served.connect(ClientSasl::External, tls).await.unwrap();
        let _receiver = client.receiver("telemetry/acme", 1).await.unwrap();
        let refused = client.receiver("telemetry/other", 1).await;
        assert_eq!(condition_of(refused), condition::UNAUTHORIZED_ACCESS);
    }
    // A user is gone, whatever the certificate says.
    let tls = served.tls(Some(served.authority().issue("card")), &[&TLS13]);
    let client = served.connect(ClientSasl::External, tls.clone()).await;
    let client = client.unwrap();
    let mut receiver = client.receiver("telemetry/acme", 1).await.unwrap();
    served.replace(&[plain("app", "pw", "all")]).await;
    let ended = end(&mut receiver).await;
    assert!(matches!(ended, Ended::Closed { .. }), "{ended}");
    let refused = reason(served.connect(ClientSasl::External, tls).await);
    assert_eq!(refused, CloseReason::Sasl(SaslCode::Auth));
}

#[tokio::test]
async fn passwords_are_still_taken_where_certificates_are() {
    let users = [external("card", "acme"), plain("app", "pw", "all")];
    let served = Served::with_tls(&users).await;
    let auth = CloseReason::Sasl(SaslCode::Auth);
    let sasl = |user: &str| ClientSasl::Plain {
        username: user.to_owned(),
        password: "pw".to_owned(),
    };
    let without = || served.tls(None, &[&TLS13]);
    let with = |name| served.tls(Some(served.authority().issue(name)), &[&TLS13]);
    served.connect(sasl("app"), without()).await.unwrap();
    served.connect(sasl("app"), with("card")).await.unwrap();
    assert_eq!(
        reason(served.connect(sasl("card"), with("card")).await),
        auth
    );
    // Only who has shown a certificate is offered to go by it, and only users who have one may.
    let not_offered = reason(served.connect(ClientSasl::External, without()).await);
    assert_eq!(not_offered, CloseReason::SaslMechanism);
    for tls in [
        with("app"),
        with("nobody"),
        served.tls(Some(served.authority().nameless()), &[&TLS13]),
    ] {
        assert_eq!(
            reason(served.connect(ClientSasl::External, tls).await),
            auth
        );
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_ends_the_handshake() {
    let served = Served::with_tls(&[external("card", "acme"), plain("app", "pw", "all")]).await;
    // Of the same name as the right one.
    let stranger = Authority::new("applications");
    let identities = [
        ("unknown authority", stranger.issue("card")),
        ("expired", served.authority().expired("card")),
        ("for a server", served.authority().for_server("card")),
    ];
    for (what, (certificate, key)) in identities {
        for version in [&TLS12, &TLS13] {
            let identity = (certificate.clone(), key.clone_key());
            let tls = served.tls(Some(identity), &[version]);
            let plain = ClientSasl::Plain {
                username: "app".to_owned(),
                password: "pw".to_owned(),
            };
            for sasl in [ClientSasl::External, plain] {
                let error = served.connect(sasl, tls.clone()).await.unwrap_err();
                // With TLS 1.3 the client learns of it after its own part of the handshake.
                let lost = CloseReason::TransportLost;
                let is_cut = match &error {
                    ConnectError::Tls { .. } => true,
                    ConnectError::Closed { reason, .. } => *reason == lost,
                    _ => false,
                };
                assert!(is_cut, "{what}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn tls_1_1_is_refused_in_the_handshake() {
    let served = Served::with_tls(&[plain("app", "pw", "all")]).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    // A ClientHello of TLS 1.1 [RFC 4346 §7.4.1.2] with one cipher suite of its time.
    let mut hello = vec![0x03, 0x02];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 0x03, 0x02, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    stream.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    read.unwrap().unwrap();
    // A fatal alert [RFC 8446 §6]: protocol_version or handshake_failure.
    assert_eq!((answer[0], answer[5]), (0x15, 2), "{answer:?}");
    assert!([40, 70].contains(&answer[6]), "{answer:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("permissions.json");
    std::fs::write(&path, r#"{"users": {"app": {"mechanism": "PLAIN"}}}"#).unwrap();
    let config = AmqpConfig {
        port: 0,
        permissions: Some(path.clone()),
        ..AmqpConfig::default()
    };
    let (store, _store) = parts::store(Options::default());
    let embedded = Embedded::new(&config, store, parts::metrics());
    let error = kit::build(config, None, embedded).await.unwrap_err();
    assert!(matches!(error, EndpointError::Permissions(_)));
    let text = format!(
        "northbound.amqp.permissions: {}: users.app: either password-hash or password is expected",
        path.display()
    );
    assert_eq!(error.to_string(), text);
}
