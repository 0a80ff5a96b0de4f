//! Too many connections, guessers, and a tenant that sends without end: others do not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{
    Answer, Application, Device, Gateway, MqttDevice, Witness, basic, connect_packet, mqtt_connect,
    property, story, string, symbol_annotation, text,
};

/// Connections over the budget at a time that are all refused in the protocol's own way; the gateway does that
/// for 64, and a connection may count for a little longer than its client thinks.
const POLITELY: usize = 16;
/// What a device is told when there is no place: MQTT 3.1.1 §3.2.2.3, MQTT 5 §3.2.2.2.
const NO_PLACE: [(u8, u8); 2] = [(4, 0x03), (5, 0x9c)];
/// What it is told when it has the wrong password.
const WRONG: [(u8, u8); 2] = [(4, 0x04), (5, 0x86)];

#[test]
fn connections_over_the_budget_are_refused_and_counted() {
    story(async {
        let gateway = Gateway::start_with(&[("WEIR__MAX_CONNECTIONS", "3")]).await;
        let mut witness = Witness::of(&gateway).await;
        let device = gateway.tenant_and_device().await;
        let mut others = Vec::new();
        for _ in 0..2 {
            others.push(MqttDevice::v3(&gateway, &device).await.unwrap());
        }
        let mut refused = 0;
        for (level, code) in NO_PLACE {
            let login = (Some(&*device.username), Some(&*device.password));
            let attempts = stream::iter(0..200)
                .map(|_| mqtt_connect(&gateway, level, login.0, login.1))
                .buffer_unordered(POLITELY);
            let (answers, ()) = tokio::join!(attempts.collect::<Vec<_>>(), witness.exchange(20));
            assert_eq!(answers, [Some(code); 200]);
            refused += answers.len();
            let metrics = gateway.metrics().await;
            let exceeded = metrics.attempts("adapter-connections-exceeded");
            assert_eq!(exceeded, refused);
        }
        let client = reqwest::Client::new();
        let upload = || basic(client.post(gateway.http("/telemetry")), &device).body("x");
        let answer = upload().send().await.unwrap();
        assert_eq!(answer.status(), 503);
        // More at a time than are refused politely: some are closed instead, nobody comes in.
        let packet = connect_packet(4, Some(&device.username), Some(&device.password));
        let attempt = || async {
            let mut stream = TcpStream::connect(gateway.address("mqtt")).await.unwrap();
            // It may be closed by now.
            let _ = stream.write_all(&packet).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.is_empty() || answer == [0x20, 2, 0, 3], "{answer:?}");
        };
        let attempts = join_all((0..400).map(|_| attempt()));
        tokio::join!(attempts, witness.exchange(20));
        // Whose place is free again is taken by the next who comes.
        drop(others);
        while mqtt_connect(&gateway, 4, Some(&device.username), Some(&device.password)).await
            != Some(0)
        {}
        witness.was_served(&gateway).await;
    });
}

#[test]
fn guessers_keep_nobody_out() {
    const NAMES: usize = 300;
    const GUESSES: usize = 24;
    story(async {
        let gateway = Gateway::start().await;
        let victim = gateway.tenant_and_device().await;
        let known = gateway.device(&victim.tenant, "known", json!({})).await;
        let new = gateway.device(&victim.tenant, "new", json!({})).await;
        // Its password is remembered from now on.
        drop(MqttDevice::v3(&gateway, &known).await.unwrap());

        let guessed = AtomicUsize::new(0);
        let guess = |number: usize, username: String| {
            let (gateway, guessed) = (&gateway, &guessed);
            async move {
                let (level, code) = WRONG[number % 2];
                let password = format!("guess-{number}");
                let answer = mqtt_connect(gateway, level, Some(&username), Some(&password)).await;
                guessed.fetch_add(1, Ordering::SeqCst);
                assert_eq!(answer, Some(code), "{username}");
            }
        };
        // One name that exists, and many that do not, in this tenant and in none.
        let one = (0..GUESSES).map(|number| guess(number, victim.username.clone()));
        let many = (0..NAMES).map(|number| {
            let tenant = [&*victim.tenant, "nobody"][number % 3 / 2];
            guess(number, format!("name-{number}@{tenant}"))
        });
        let flood = async { tokio::join!(join_all(one), join_all(many)) };
        let devices = async {
            // From the first answer on guesses are being checked.
            while guessed.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            for device in [&known, &new, &known] {
                for attempt in [
                    MqttDevice::v3(&gateway, device).await,
                    MqttDevice::v5(&gateway, device).await,
                ] {
                    attempt.unwrap();
                }
            }
            guessed.load(Ordering::SeqCst)
        };
        let (_, meanwhile) = tokio::join!(flood, devices);
        assert!(meanwhile < GUESSES + NAMES, "they waited for all guesses");
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.attempts("unauthorized"), GUESSES + NAMES);
        assert_eq!(metrics.attempts("succeeded"), 7);
        assert_eq!(
            metrics.sum("hono_connections_attempts_total", &[]) as usize,
            GUESSES + NAMES + 7
        );
    });
}

/// Connections of the tenant that floods.
const FLOODERS: usize = 6;
/// Messages that the other tenant sends, by each of two ways.
const MESSAGES: usize = 100;

/// What the flooding tenant's application does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Downstream {
    Accepts,
    /// It has credit, takes what comes, and settles nothing.
    Stalls,
}

/// Keeps as many messages in flight as the client may until it is told to stop; returns how many were
/// acknowledged.
async fn pour(mut mqtt: MqttDevice, over: Arc<AtomicBool>) -> usize {
    const WINDOW: usize = 40;
    for _ in 0..WINDOW {
        mqtt.send("t/?on-error=ignore", "flood", true).await;
    }
    let mut acknowledged = 0;
    while !over.load(Ordering::SeqCst) {
        assert_ne!(mqtt.answer().await, Answer::Closed);
        acknowledged += 1;
        mqtt.send("t/?on-error=ignore", "flood", true).await;
    }
    acknowledged
}

/// The application of the flooding tenant. Whatever it gets is that tenant's.
async fn drink(mut application: Application, what: Downstream) {
    while let Some(received) = application.try_receive().await {
        if what == Downstream::Accepts {
            application.accept(&received).await;
        }
        assert_eq!(text(&received.into_message()), "flood");
    }
}

/// Sends a row of messages by MQTT and another by HTTP; each has to be acknowledged.
async fn send(gateway: &Gateway, device: &Device) {
    let mut mqtt = MqttDevice::v5(gateway, device).await.unwrap();
    let over_mqtt = async {
        for number in 0..MESSAGES {
            let answer = mqtt.publish("t", &format!("mqtt {number}")).await;
            assert_eq!(answer, Answer::Acknowledged { success: true }, "{number}");
        }
    };
    let client = reqwest::Client::new();
    let over_http = async {
        for number in 0..MESSAGES {
            let request = basic(client.post(gateway.http("/telemetry")), device);
            let request = request.header("QoS-Level", "1");
            let answer = request.body(format!("http {number}")).send().await.unwrap();
            assert_eq!(answer.status(), 202, "{number}");
        }
    };
    tokio::join!(over_mqtt, over_http);
}

/// Takes the messages of [`send`]: all of them, each way's in its order, and nothing else.
async fn take(application: &mut Application, device: &Device) {
    let mut next = [0, 0];
    while next != [MESSAGES; 2] {
        let message = application.accept_next().await;
        let way = usize::from(property(&message, "orig_adapter") == string("hono-mqtt"));
        let expected = format!("{} {}", ["http", "mqtt"][way], next[way]);
        assert_eq!(text(&message), expected);
        let tenant = symbol_annotation(&message, "tenant_id");
        assert_eq!(tenant, Some(device.tenant.clone().into()));
        next[way] += 1;
    }
}

#[test]
fn a_tenant_that_floods_takes_nothing_from_another() {
    story(async {
        for downstream in [Downstream::Accepts, Downstream::Stalls] {
            let gateway = Gateway::start_with(&[
                // So that a message that is not settled has an outcome within the story.
                ("WEIR__NORTHBOUND__AMQP__OUTCOME_TIMEOUT", "200"),
            ])
            .await;
            let flooding = gateway.tenant_and_device().await;
            let quiet = gateway.tenant_and_device().await;
            let consume = async |device: &Device| {
                Application::consume(&gateway, &format!("telemetry/{}", device.tenant)).await
            };
            let drinking = tokio::spawn(drink(consume(&flooding).await, downstream));
            let mut application = consume(&quiet).await;
            let over = Arc::new(AtomicBool::new(false));
            let mut pouring = Vec::new();
            for number in 0..FLOODERS {
                let mqtt = match number % 2 {
                    0 => MqttDevice::v3(&gateway, &flooding).await,
                    _ => MqttDevice::v5(&gateway, &flooding).await,
                };
                pouring.push(tokio::spawn(pour(mqtt.unwrap(), over.clone())));
            }
            // The flood has begun.
            gateway
                .until(|now| {
                    let statuses = ["forwarded", "undeliverable"];
                    statuses
                        .iter()
                        .any(|status| now.uploads(&flooding.tenant, status) > 0)
                })
                .await;
            tokio::join!(send(&gateway, &quiet), take(&mut application, &quiet));
            over.store(true, Ordering::SeqCst);
            let mut acknowledged = 0;
            for pouring in pouring {
                acknowledged += pouring.await.unwrap();
            }
            drinking.abort();
            let ended = drinking.await;
            assert!(ended.is_err_and(|error| error.is_cancelled()));
            let metrics = gateway.metrics().await;
            assert_eq!(metrics.uploads(&quiet.tenant, "forwarded"), 2 * MESSAGES);
            assert_eq!(metrics.uploads(&quiet.tenant, "undeliverable"), 0);
            let status = match downstream {
                Downstream::Accepts => "forwarded",
                Downstream::Stalls => "undeliverable",
            };
            let flooded = metrics.uploads(&flooding.tenant, status);
            assert!(
                flooded >= acknowledged && acknowledged > 0,
                "{downstream:?}: {flooded}"
            );
        }
    });
}
