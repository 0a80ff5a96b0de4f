//! Notifications of changes in the registry, received with a client that nobody here wrote.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../kit/mod.rs"]
mod kit;
mod probe;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fe2o3_amqp::connection::{Connection, ConnectionHandle};
use fe2o3_amqp::link::Receiver;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::{Session, SessionHandle};
use fe2o3_amqp::types::definitions::SenderSettleMode;
use fe2o3_amqp::types::messaging::{Data, Message};
use tempfile::TempDir;
use time::macros::datetime;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_amqp_engine::{ClientSasl, SenderSettleMode as SettleMode};
use weir_amqp_transport::{Client, ClientOptions, ConnectError};
use weir_core::{
    Accounts, ChangeKind, ChangeListener, ChangeSubject, PasswordSecret, PasswordVerifier,
    RegistryChange, Role,
};
use weir_event_store::Options;
use weir_northbound_amqp::{AmqpConfig, Embedded, Endpoint};

use probe::{Probe, Seen};

const TENANTS: &str = "notification/registry-tenant";
const DEVICES: &str = "notification/registry-device";

/// Nothing here takes as long, unless it never comes.
const DEADLINE: Duration = Duration::from_secs(60);

/// Notifications that are kept for a receiver without credit.
const KEPT: usize = 1024;

struct Fixture {
    address: SocketAddr,
    notifications: Arc<dyn ChangeListener>,
    _stop: DropGuard,
    _folder: TempDir,
}

async fn start(config: AmqpConfig) -> Fixture {
    let config = AmqpConfig { port: 0, ..config };
    let (store, folder) = kit::store(Options::default());
    let embedded = Embedded::new(&config, store, kit::metrics());
    let commands = kit::commands(&embedded, Arc::default());
    let notifications = embedded.notifications();
    let mut accounts = Accounts::new(PasswordVerifier::new(1));
    let secret = PasswordSecret::of_random("secret");
    accounts.add(Role::Application, "app", secret);
    let endpoint = Endpoint::build(config, None, embedded, Arc::new(accounts))
        .await
        .unwrap();
    let address = endpoint.local_addr();
    let stop = CancellationToken::new();
    tokio::spawn(endpoint.run(commands, stop.clone(), Duration::from_secs(10)));
    Fixture {
        address,
        notifications,
        _stop: stop.drop_guard(),
        _folder: folder,
    }
}

impl Fixture {
    async fn application(&self) -> Application {
        let plain = SaslProfile::Plain {
            username: "app".into(),
            password: "secret".into(),
        };
        let url = format!("amqp://{}", self.address);
        let mut connection = Connection::builder()
            .container_id("test")
            .sasl_profile(plain)
            .open(&*url)
            .await
            .unwrap();
        let session = Session::begin(&mut connection).await.unwrap();
        Application {
            session,
            _connection: connection,
        }
    }

    fn change(&self, subject: ChangeSubject) {
        self.notifications.changed(&RegistryChange {
            at: datetime!(2026-03-01 00:59:58.987 UTC),
            tenant: "acme".into(),
            subject,
        });
    }

    /// Replaces the credentials of devices that are named with numbers.
    fn number(&self, numbers: Range<usize>) {
        for number in numbers {
            self.change(ChangeSubject::Credentials {
                device: number.to_string().into(),
            });
        }
    }
}

struct Application {
    session: SessionHandle<()>,
    _connection: ConnectionHandle<()>,
}

impl Application {
    /// A link whose notifications are unsettled, as Hono's client asks for them.
    async fn receiver(&mut self, name: &str, address: &str, credit: CreditMode) -> Receiver {
        self.attach(name, address, credit, SenderSettleMode::Unsettled)
            .await
    }

    async fn attach(
        &mut self,
        name: &str,
        address: &str,
        credit: CreditMode,
        settle_mode: SenderSettleMode,
    ) -> Receiver {
        Receiver::builder()
            .name(name)
            .source(address)
            .credit_mode(credit)
            .sender_settle_mode(settle_mode)
            .attach(&mut self.session)
            .await
            .unwrap()
    }
}

/// Receives the next notification and accepts it.
async fn accept(receiver: &mut Receiver) -> Message<Data> {
    let received = timeout(DEADLINE, receiver.recv::<Data>())
        .await
        .unwrap()
        .unwrap();
    receiver.accept(&received).await.unwrap();
    received.into_message()
}

fn json(message: &Message<Data>) -> &str {
    std::str::from_utf8(message.body.0.as_ref()).unwrap()
}

/// The number that a notification carries as its device's name.
fn number(message: &Message<Data>) -> usize {
    let json: serde_json::Value = serde_json::from_str(json(message)).unwrap();
    json["device-id"].as_str().unwrap().parse().unwrap()
}

/// Receives and accepts what is expected to come next.
async fn expect(receiver: &mut Receiver, numbers: Range<usize>) {
    for expected in numbers {
        assert_eq!(number(&accept(receiver).await), expected);
    }
}

const AUTO: CreditMode = CreditMode::Auto(200);

#[tokio::test]
async fn each_type_arrives_at_its_address_with_exactly_its_json() {
    let fixture = start(AmqpConfig::default()).await;
    let mut application = fixture.application().await;
    let mut tenants = application.receiver("tenants", TENANTS, AUTO).await;
    let mut devices = application.receiver("devices", DEVICES, AUTO).await;
    let head =
        r#""source":"device-registry","creation-time":"2026-03-01T00:59:58Z","tenant-id":"acme""#;
    let rows = [
        (
            ChangeSubject::Tenant {
                change: ChangeKind::Updated,
                enabled: true,
                invalidate_cache: true,
            },
            TENANTS,
            format!(
                r#"{{"type":"tenant-change-v1",{head},"change":"UPDATE","enabled":true,"invalidate-cache-on-update":true}}"#
            ),
        ),
        (
            ChangeSubject::Device {
                device: "4711".into(),
                change: ChangeKind::Created,
                enabled: true,
            },
            DEVICES,
            format!(
                r#"{{"type":"device-change-v1",{head},"device-id":"4711","change":"CREATE","enabled":true}}"#
            ),
        ),
        (
            ChangeSubject::Credentials {
                device: "4711".into(),
            },
            DEVICES,
            format!(r#"{{"type":"credentials-change-v1",{head},"device-id":"4711"}}"#),
        ),
        (
            ChangeSubject::AllDevices,
            DEVICES,
            format!(r#"{{"type":"all-devices-of-tenant-deleted-v1",{head}}}"#),
        ),
    ];
    for (subject, address, expected) in rows {
        fixture.change(subject);
        let receiver = match address {
            TENANTS => &mut tenants,
            _ => &mut devices,
        };
        let message = accept(receiver).await;
        assert_eq!(json(&message), expected);
        let properties = message.properties.as_ref().unwrap();
        assert_eq!(properties.to.as_deref(), Some(address));
        let content_type = properties.content_type.as_ref().unwrap();
        assert_eq!(content_type.as_str(), "application/json");
        let is_durable = message.header.is_some_and(|header| header.durable);
        assert!(!is_durable);
        assert_eq!(message.application_properties, None);
    }
}

#[tokio::test]
async fn every_receiver_gets_every_notification_in_order() {
    let fixture = start(AmqpConfig::default()).await;
    let mut one = fixture.application().await;
    let mut other = fixture.application().await;
    let mut receivers = [
        one.receiver("first", DEVICES, AUTO).await,
        one.receiver("second", DEVICES, AUTO).await,
        other.receiver("first", DEVICES, AUTO).await,
        other
            .attach("settled", DEVICES, AUTO, SenderSettleMode::Settled)
            .await,
        other
            .attach("mixed", DEVICES, AUTO, SenderSettleMode::Mixed)
            .await,
    ];
    fixture.number(0..500);
    for receiver in &mut receivers {
        expect(receiver, 0..500).await;
    }
}

#[tokio::test]
async fn a_receiver_without_credit_misses_the_oldest_and_holds_up_nobody() {
    let fixture = start(AmqpConfig::default()).await;
    let mut application = fixture.application().await;
    let mut slow = application
        .receiver("slow", DEVICES, CreditMode::Manual)
        .await;
    let mut fast = application.receiver("fast", DEVICES, AUTO).await;
    for start in (0..3000).step_by(500) {
        fixture.number(start..start + 500);
        expect(&mut fast, start..start + 500).await;
    }
    slow.set_credit(10).await.unwrap();
    expect(&mut slow, 3000 - KEPT..3010 - KEPT).await;
    slow.set_credit(2000).await.unwrap();
    expect(&mut slow, 3010 - KEPT..3000).await;
    fixture.number(3000..3001);
    expect(&mut slow, 3000..3001).await;
    expect(&mut fast, 3000..3001).await;
}

#[tokio::test]
async fn a_receiver_that_never_settles_is_given_up_on_and_goes_on_receiving() {
    let config = AmqpConfig {
        outcome_timeout: 50,
        ..AmqpConfig::default()
    };
    let fixture = start(config).await;
    let mut application = fixture.application().await;
    let mut lazy = application
        .receiver("lazy", DEVICES, CreditMode::Manual)
        .await;
    // More than a session may have unsettled at a time.
    for start in (0..6000).step_by(500) {
        lazy.set_credit(500).await.unwrap();
        fixture.number(start..start + 500);
        for expected in start..start + 500 {
            let received = timeout(DEADLINE, lazy.recv::<Data>())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(number(received.message()), expected);
        }
    }
}

#[tokio::test]
async fn a_receiver_gets_what_happens_while_it_is_attached() {
    let fixture = start(AmqpConfig::default()).await;
    fixture.number(0..10);
    let mut application = fixture.application().await;
    let mut other = fixture.application().await;
    let mut stays = other.receiver("stays", DEVICES, AUTO).await;
    let mut leaves = application.receiver("leaves", DEVICES, AUTO).await;
    fixture.number(10..20);
    expect(&mut leaves, 10..20).await;
    leaves.close().await.unwrap();
    fixture.number(20..30);
    let mut back = application.receiver("leaves", DEVICES, AUTO).await;
    fixture.number(30..40);
    expect(&mut back, 30..40).await;
    // Gone without a word.
    drop((application, back));
    fixture.number(40..50);
    expect(&mut stays, 10..50).await;
}

#[tokio::test]
async fn a_drain_sends_what_waits_and_gives_the_rest_of_the_credit_back() {
    let fixture = start(AmqpConfig::default()).await;
    let rows = [
        (SettleMode::Unsettled, false),
        (SettleMode::Settled, true),
        (SettleMode::Mixed, true),
    ];
    for (settle_mode, settled) in rows {
        let mut probe = Probe::attach(fixture.address, DEVICES, settle_mode).await;
        for (waiting, credit) in [(3, 10), (0, 10), (500, 1000)] {
            fixture.number(0..waiting);
            probe.drain(credit);
            for _ in 0..waiting {
                assert_eq!(
                    probe.next().await,
                    Seen::Message { settled },
                    "{settle_mode:?}"
                );
            }
            assert_eq!(probe.next().await, Seen::Drained, "{settle_mode:?}");
        }
    }
}

#[tokio::test]
async fn there_are_no_other_notifications() {
    let fixture = start(AmqpConfig::default()).await;
    let sasl = ClientSasl::Plain {
        username: "app".to_owned(),
        password: "secret".to_owned(),
    };
    let host = fixture.address.ip().to_string();
    let options = ClientOptions::new(host, fixture.address.port(), sasl);
    let client = Client::connect(options).await.unwrap();
    for address in [
        "notification",
        "notification/unknown",
        "notification/registry-device/acme",
        "notification/*",
    ] {
        match client.receiver(address, 10).await {
            Err(ConnectError::Refused { error: Some(error) }) => {
                assert_eq!(error.condition, "amqp:not-found", "{address}");
            }
            other => panic!("{address}: {other:?}"),
        }
    }
}
