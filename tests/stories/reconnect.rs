//! All devices come back at once: nobody is refused, and those who are connected go on.
//!
//! `WEIR_STORM` says how many devices there are. Each is a connection, and so a file, on both sides: where the
//! system allows fewer files, there are fewer devices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{Answer, Application, Device, Gateway, MqttDevice, connect_packet, long_story};

/// Devices that come at once, unless `WEIR_STORM` asks for another number.
const DEVICES: usize = 10_000;
/// Those among them whose password has a hash of its own, so that its check costs what it costs.
const OWN_HASHES: usize = 16;
/// Attempts to connect at a time.
const AT_ONCE: usize = 64;
/// Devices that are connected before.
const PUBLISHERS: usize = 4;
/// Files besides one for each device.
const MORE_FILES: u64 = 1500;
/// What hangs with ten thousand devices.
const DEADLINE: Duration = Duration::from_secs(600);

/// A hash of cost 10 that many devices share: it is the password that they share.
const PASSWORD: &str = "a";
const HASH: &str = "$2a$10$k87L/MF28Q673VKh8/cPi.SUl7MU/rWuSiIDDFayrKk/1tBsSQu4u";

/// How many devices there are. The file limit is raised as far as it may be; the gateway inherits it.
fn devices() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    if let Ok(asked_for) = std::env::var("WEIR_STORM") {
        return asked_for.parse().unwrap();
    }
    let most = maximum.map_or(u64::MAX, |files| files.saturating_sub(MORE_FILES));
    DEVICES.min(usize::try_from(most).unwrap())
}

/// Registers the devices of the storm.
async fn register(gateway: &Gateway, tenant: &str, number: usize) -> Vec<Device> {
    let shared = json!({"hash-function": "bcrypt", "pwd-hash": HASH});
    let register = async |number: usize| {
        let id = format!("device-{number}");
        if number < OWN_HASHES {
            return gateway.device(tenant, &id, json!({})).await;
        }
        let body = json!({});
        let path = format!("devices/{tenant}/{id}");
        gateway.manage(Method::POST, &path, &body).await;
        let credential =
            json!([{"type": "hashed-password", "auth-id": id, "secrets": [shared.clone()]}]);
        let path = format!("credentials/{tenant}/{id}");
        gateway.manage(Method::PUT, &path, &credential).await;
        Device {
            tenant: tenant.to_owned(),
            username: format!("{id}@{tenant}"),
            id,
            password: PASSWORD.to_owned(),
        }
    };
    let all = stream::iter(0..number).map(register);
    all.buffer_unordered(AT_ONCE).collect().await
}

/// Connects without a client library: a thousand of them would be a test of that library.
async fn connect(gateway: &Gateway, device: &Device, level: u8) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address("mqtt")).await.unwrap();
    let packet = connect_packet(level, Some(&device.username), Some(&device.password));
    stream.write_all(&packet).await.unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[0], 0x20, "{head:?} is not CONNACK");
    let mut rest = vec![0; head[1].into()];
    stream.read_exact(&mut rest).await.unwrap();
    assert_eq!(rest[..2], [0, 0], "{} was refused", device.id);
    stream
}

/// Connects all, some at a time, in both versions.
async fn storm(gateway: &Gateway, devices: &[Device], connected: &AtomicUsize) -> Vec<TcpStream> {
    let arrive = async |(number, device)| {
        let stream = connect(gateway, device, [4, 5][number % 2]).await;
        connected.fetch_add(1, Ordering::SeqCst);
        stream
    };
    let all = stream::iter(devices.iter().enumerate()).map(arrive);
    all.buffer_unordered(AT_ONCE).collect().await
}

/// Publishes one message after the other until all devices are connected. Each is acknowledged;
/// returns how many devices were connected each time.
async fn publish(
    mut mqtt: MqttDevice,
    connected: Arc<AtomicUsize>,
    all: usize,
) -> (MqttDevice, Vec<usize>) {
    let mut marks = vec![connected.load(Ordering::SeqCst)];
    while marks.last() != Some(&all) {
        let answer = mqtt.publish("t", "still here").await;
        assert_eq!(answer, Answer::Acknowledged { success: true });
        marks.push(connected.load(Ordering::SeqCst));
    }
    (mqtt, marks)
}

#[test]
fn a_storm_of_reconnects_refuses_nobody_and_stops_nobody() {
    let number = devices();
    assert!(number > OWN_HASHES, "the file limit is too low");
    long_story(DEADLINE, async {
        // Who waits for his turn in a storm is not to be refused on a slow machine.
        let gateway = Gateway::start_with(&[("WEIR__MQTT__CONNECT_TIMEOUT", "600")]).await;
        let tenant = gateway.tenant(json!({})).await;
        let devices = register(&gateway, &tenant, number).await;
        let address = format!("telemetry/{tenant}");
        let mut application = Application::consume(&gateway, &address).await;
        let consumer = tokio::spawn(async move {
            while let Some(received) = application.try_receive().await {
                application.accept(&received).await;
            }
        });
        let mut publishers = Vec::new();
        for number in 0..PUBLISHERS {
            let id = format!("publisher-{number}");
            let device = gateway.device(&tenant, &id, json!({})).await;
            publishers.push(match number % 2 {
                0 => MqttDevice::v3(&gateway, &device).await.unwrap(),
                _ => MqttDevice::v5(&gateway, &device).await.unwrap(),
            });
        }
        let mut acknowledged = 0;
        // They come, are cut off all at once, and come back.
        for _ in 0..2 {
            let connected = Arc::new(AtomicUsize::new(0));
            let publishing = publishers
                .drain(..)
                .map(|mqtt| tokio::spawn(publish(mqtt, connected.clone(), number)));
            let publishing: Vec<_> = publishing.collect();
            let mut streams = storm(&gateway, &devices, &connected).await;
            for publishing in publishing {
                let (mqtt, marks) = publishing.await.unwrap();
                publishers.push(mqtt);
                acknowledged += marks.len() - 1;
                // Nobody waited for the storm to be over: a message was acknowledged again and again.
                let pauses = marks.windows(2).map(|two| two[1] - two[0]);
                let longest = pauses.max().unwrap();
                assert!(
                    longest <= number / 4,
                    "{longest} devices connected in between"
                );
            }
            let metrics = gateway.metrics().await;
            assert_eq!(metrics.connected(&tenant), number + PUBLISHERS);
            // All are still there.
            for stream in &mut streams {
                stream.write_all(&[0xc0, 0]).await.unwrap();
            }
            for stream in &mut streams {
                let mut answer = [0; 2];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, [0xd0, 0]);
            }
            for stream in streams {
                // Cut, not closed: a port that is closed in good order is taken for a minute more.
                stream.set_zero_linger().unwrap();
            }
            gateway
                .until(|now| now.connected(&tenant) == PUBLISHERS)
                .await;
        }
        consumer.abort();
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(&tenant, "forwarded"), acknowledged);
        let succeeded = metrics.attempts("succeeded");
        assert_eq!(succeeded, 2 * number + PUBLISHERS);
        let all = metrics.sum("hono_connections_attempts_total", &[]) as usize;
        assert_eq!(all, succeeded, "nobody was refused");
    });
}
