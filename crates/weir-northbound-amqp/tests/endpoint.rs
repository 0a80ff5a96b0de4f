//! The endpoint over real sockets: logins, links, and what each outcome means for the device.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "kit/consumer.rs"]
mod consumer;
mod kit;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{CloseReason, Message, Outcome, SaslCode};
use weir_amqp_transport::ConnectError;
use weir_core::{
    Accounts, Defaults, Disposition, Downstream, Northbound as _, Outlet, PasswordSecret,
    PasswordVerifier, Qos, Reason, RejectCondition, Role, TenantId, TraceContext,
};
use weir_event_store::Options;
use weir_northbound_amqp::{AmqpConfig, Embedded, Endpoint};

use consumer::{Consumer, ConsumerOptions};

struct Fixture {
    address: SocketAddr,
    telemetry: Arc<dyn Outlet>,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

async fn start(config: AmqpConfig) -> Fixture {
    let config = AmqpConfig { port: 0, ..config };
    let (store, folder) = kit::store(Options::default());
    let embedded = Embedded::new(&config, store, kit::metrics());
    let mut accounts = Accounts::new(PasswordVerifier::new(1));
    accounts.add(
        Role::Application,
        "app",
        PasswordSecret::of_random("secret"),
    );
    accounts.add(Role::Operator, "op", PasswordSecret::of_random("secret"));
    let commands = kit::commands(&embedded, Arc::default());
    let telemetry = embedded.outlet(&TenantId::from("acme"), weir_core::Endpoint::Telemetry);
    let endpoint = Endpoint::build(config, None, embedded, Arc::new(accounts))
        .await
        .unwrap();
    let address = endpoint.local_addr();
    let stop = CancellationToken::new();
    let server = tokio::spawn(endpoint.run(commands, stop.clone(), Duration::from_secs(10)));
    Fixture {
        address,
        telemetry,
        stop,
        server,
        _folder: folder,
    }
}

impl Fixture {
    async fn consumer(&self, address: &str) -> Result<Consumer, ConnectError> {
        self.login("app", "secret", address).await
    }

    async fn consumer_with(&self, address: &str, credit: u32) -> Result<Consumer, ConnectError> {
        let options = ConsumerOptions {
            username: "app".to_owned(),
            password: "secret".to_owned(),
            address: address.to_owned(),
            credit,
        };
        Consumer::connect(self.address, options).await
    }

    async fn login(&self, user: &str, pw: &str, address: &str) -> Result<Consumer, ConnectError> {
        let options = ConsumerOptions {
            username: user.to_owned(),
            password: pw.to_owned(),
            address: address.to_owned(),
            credit: 10,
        };
        Consumer::connect(self.address, options).await
    }

    async fn publish(&self, qos: Qos, payload: &'static str) -> Disposition {
        self.telemetry
            .publish(message(qos, payload.as_bytes()))
            .await
            .disposition
    }
}

fn message(qos: Qos, payload: &'static [u8]) -> Downstream {
    Downstream {
        tenant: "acme".into(),
        device: "4711".into(),
        endpoint: weir_core::Endpoint::Telemetry,
        qos,
        adapter: "hono-mqtt",
        origin_address: ByteString::from_static("telemetry"),
        content_type: Some(ByteString::from_static("text/plain")),
        creation_time: 1,
        ttl: None,
        ttd: None,
        retain: false,
        properties: Vec::new(),
        response: None,
        trace: TraceContext::unsampled(),
        defaults: Arc::new(Defaults::default()),
        payload: Bytes::from_static(payload),
    }
}

#[tokio::test]
async fn each_outcome_reaches_the_device() {
    let fixture = start(AmqpConfig::default()).await;
    let mut consumer = fixture.consumer("telemetry/acme").await.unwrap();
    let rejected = |condition: Option<&str>, text: Option<&str>| Outcome::Rejected {
        condition: condition.map(str::to_owned),
        description: text.map(str::to_owned),
    };
    let modified = |undeliverable_here| Outcome::Modified {
        delivery_failed: true,
        undeliverable_here,
    };
    let refused =
        |condition, text: Option<&str>| Err(Reason::Rejected(condition, text.map(Arc::from)));
    let rows = [
        (Outcome::Accepted, Ok(())),
        (Outcome::Released, Err(Reason::Released)),
        (modified(false), Err(Reason::Modified)),
        (modified(true), Err(Reason::UndeliverableHere)),
        (rejected(None, None), refused(RejectCondition::Other, None)),
        (
            rejected(Some("hono:bad-request"), Some("no")),
            refused(RejectCondition::Other, Some("no")),
        ),
        (
            rejected(Some("amqp:unauthorized-access"), None),
            refused(RejectCondition::UnauthorizedAccess, None),
        ),
        (
            rejected(Some("amqp:internal-error"), None),
            refused(RejectCondition::InternalError, None),
        ),
        (
            rejected(Some("amqp:resource-limit-exceeded"), None),
            refused(RejectCondition::ResourceLimitExceeded, None),
        ),
    ];
    for (outcome, expected) in rows {
        let shown = format!("{outcome:?}");
        let settle = async { consumer.receive().await.unwrap().settle(outcome) };
        let (disposition, ()) = tokio::join!(fixture.publish(Qos::AtLeastOnce, "x"), settle);
        assert_eq!(disposition, expected, "{shown}");
    }
}

#[tokio::test]
async fn messages_keep_their_order_and_many_are_in_flight() {
    let fixture = start(AmqpConfig::default()).await;
    let mut consumer = fixture.consumer("telemetry/acme").await.unwrap();
    let payloads: Vec<&'static str> = (0..500)
        .map(|n| &*Box::leak(n.to_string().into_boxed_str()))
        .collect();
    let all: Vec<_> = payloads
        .iter()
        .map(|payload| {
            fixture
                .telemetry
                .publish(message(Qos::AtLeastOnce, payload.as_bytes()))
        })
        .collect();
    for payload in payloads {
        let received = consumer.receive().await.unwrap();
        let decoded = Message::decode(received.message.clone()).unwrap();
        let expected = weir_amqp_engine::Body::Data(Bytes::from_static(payload.as_bytes()));
        assert_eq!(decoded.body, expected);
        received.settle(Outcome::Accepted);
    }
    for delivery in all {
        assert_eq!(delivery.await.disposition, Ok(()));
    }
}

#[tokio::test]
async fn a_consumer_that_never_settles_is_given_up_on() {
    let config = AmqpConfig {
        outcome_timeout: 50,
        ..AmqpConfig::default()
    };
    let fixture = start(config).await;
    let consumer = fixture.consumer("telemetry/acme").await.unwrap();
    assert_eq!(
        fixture.publish(Qos::AtLeastOnce, "x").await,
        Err(Reason::OutcomeTimeout)
    );
    drop(consumer);
}

#[tokio::test]
async fn a_consumer_without_credit_lets_messages_wait_and_then_refuses_them() {
    let config = AmqpConfig {
        outcome_timeout: 50,
        queue_messages: 3,
        ..AmqpConfig::default()
    };
    let fixture = start(config).await;
    // Credit 10, none of it used up for good: ten deliveries stay open until they are given up on.
    let _consumer = fixture.consumer("telemetry/acme").await.unwrap();
    let all: Vec<_> = (0..20)
        .map(|_| fixture.telemetry.publish(message(Qos::AtLeastOnce, b"x")))
        .collect();
    let mut reasons = Vec::new();
    for delivery in all {
        reasons.push(delivery.await.disposition.unwrap_err());
    }
    assert!(reasons.contains(&Reason::NoCredit), "{reasons:?}");
    assert!(
        reasons
            .iter()
            .all(|reason| { matches!(reason, Reason::NoCredit | Reason::OutcomeTimeout) })
    );
}

#[tokio::test]
async fn a_consumer_that_is_gone_ends_all_open_deliveries() {
    // The time-out is so long that only the loss of the connection can end them.
    let config = AmqpConfig {
        outcome_timeout: 3_600_000,
        ..AmqpConfig::default()
    };
    let fixture = start(config).await;
    let mut consumer = fixture.consumer("telemetry/acme").await.unwrap();
    let all: Vec<_> = (0..50)
        .map(|_| fixture.telemetry.publish(message(Qos::AtLeastOnce, b"x")))
        .collect();
    consumer.receive().await.unwrap().settle(Outcome::Accepted);
    consumer.receive().await.unwrap();
    drop(consumer);
    let mut accepted = 0;
    for delivery in all {
        match delivery.await.disposition {
            Ok(()) => accepted += 1,
            Err(Reason::Released | Reason::NoConsumer) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accepted, 1);
    assert_eq!(
        fixture.publish(Qos::AtMostOnce, "x").await,
        Err(Reason::NoConsumer)
    );
}

#[tokio::test]
async fn what_one_consumer_did_not_get_goes_to_another() {
    let config = AmqpConfig {
        outcome_timeout: 3_600_000,
        ..AmqpConfig::default()
    };
    let fixture = start(config).await;
    let first = fixture.consumer("telemetry/acme").await.unwrap();
    // More than the credit: ten are sent to the first consumer, the others wait.
    let all: Vec<_> = (0..30)
        .map(|_| fixture.telemetry.publish(message(Qos::AtLeastOnce, b"x")))
        .collect();
    let mut second = fixture.consumer("telemetry/acme").await.unwrap();
    drop(first);
    let serve = tokio::spawn(async move {
        while let Some(received) = second.receive().await {
            received.settle(Outcome::Accepted);
        }
    });
    let mut accepted = 0;
    for delivery in all {
        accepted += usize::from(delivery.await.disposition.is_ok());
    }
    assert!(accepted >= 20, "{accepted}");
    serve.abort();
}

#[tokio::test]
async fn a_consumer_that_never_gives_credit_takes_nothing_from_one_that_does() {
    let fixture = start(AmqpConfig::default()).await;
    let mut good = fixture.consumer("telemetry/acme").await.unwrap();
    let _idle = fixture.consumer_with("telemetry/acme", 0).await.unwrap();
    tokio::spawn(async move {
        while let Some(received) = good.receive().await {
            received.settle(Outcome::Accepted);
        }
    });
    for number in 0..20 {
        let disposition = fixture.publish(Qos::AtLeastOnce, "x").await;
        assert_eq!(disposition, Ok(()), "message {number}");
    }
}

#[tokio::test]
async fn a_consumer_that_gives_no_credit_is_soon_as_good_as_none() {
    let config = AmqpConfig {
        outcome_timeout: 50,
        ..AmqpConfig::default()
    };
    let fixture = start(config).await;
    let _idle = fixture.consumer_with("telemetry/acme", 0).await.unwrap();
    // At first it may be about to give some; then nothing is taken for it any more, QoS 0 included.
    while fixture.publish(Qos::AtMostOnce, "x").await != Err(Reason::NoCredit) {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        fixture.publish(Qos::AtLeastOnce, "x").await,
        Err(Reason::NoCredit)
    );
}

#[tokio::test]
async fn only_applications_with_their_password_get_in() {
    let fixture = start(AmqpConfig::default()).await;
    for (user, password) in [
        ("app", "wrong"),
        ("nobody", "secret"),
        ("op", "secret"),
        ("", ""),
    ] {
        let error = fixture
            .login(user, password, "telemetry/acme")
            .await
            .unwrap_err();
        let is_auth = matches!(
            error,
            ConnectError::Closed {
                reason: CloseReason::Sasl(SaslCode::Auth),
                ..
            }
        );
        assert!(is_auth, "{user}: {error}");
    }
}

#[tokio::test]
async fn other_addresses_are_refused() {
    let fixture = start(AmqpConfig::default()).await;
    for address in [
        "telemetry",
        "telemetry/acme/4711",
        "event-dlq/acme/4711",
        "command/acme",
        "command_response/acme",
        "nowhere/acme",
    ] {
        match fixture.consumer(address).await {
            Err(ConnectError::Refused { error: Some(error) }) => {
                assert_eq!(error.condition, "amqp:not-found", "{address}");
            }
            other => panic!("{address}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stop_tells_the_applications_and_ends() {
    let fixture = start(AmqpConfig::default()).await;
    let mut consumer = fixture.consumer("telemetry/acme").await.unwrap();
    fixture.stop.cancel();
    assert!(consumer.receive().await.is_none());
    fixture.server.await.unwrap();
}

#[tokio::test]
async fn a_consumer_that_settles_nothing_costs_the_others_one_message() {
    let config = AmqpConfig {
        outcome_timeout: 100,
        ..AmqpConfig::default()
    };
    let fixture = start(config).await;
    let _frozen = fixture.consumer("telemetry/acme").await.unwrap();
    let mut alive = fixture.consumer("telemetry/acme").await.unwrap();
    tokio::spawn(async move {
        while let Some(received) = alive.receive().await {
            received.settle(Outcome::Accepted);
        }
    });
    let mut lost = 0;
    for _ in 0..40 {
        match fixture.publish(Qos::AtLeastOnce, "it").await {
            Ok(()) => {}
            Err(Reason::OutcomeTimeout) => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lost, 1);
}
