//! What no well-behaved client sends: broken packets in every state of every protocol, in one piece
//! and byte by byte, while a device and an application that behave go on undisturbed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use weir_amqp_engine::{AttachRequest, ClientSasl, Config, Connection, Event};

use crate::kit::{Answer, Application, Gateway, MqttDevice, story};

/// Broken packets per protocol and state.
const CASES: u64 = 1000;
/// Connections at a time.
const PARALLEL: usize = 16;

/// A good conversation of a client: what leads into the state, and what is broken in it.
#[derive(Clone)]
struct Script {
    address: SocketAddr,
    before: Vec<u8>,
    attacked: Vec<u8>,
}

/// Sends broken variants of a script while others are served.
async fn attack(gateway: &Arc<Gateway>, script: Script) {
    let device = gateway.tenant_and_device().await;
    let address = format!("telemetry/{}", device.tenant);
    let application = Application::consume(gateway, &address).await;
    let mqtt = MqttDevice::v3(gateway, &device).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let witness = tokio::spawn(witness(application, mqtt, over.clone()));

    let script = Arc::new(script);
    let mut running = JoinSet::new();
    for seed in 0..CASES {
        while running.len() >= PARALLEL {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(attempt(script.clone(), seed));
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    over.store(true, Ordering::SeqCst);
    let exchanged = witness.await.unwrap();
    assert!(exchanged > 0);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.uploads(&device.tenant, "forwarded"), exchanged);
}

/// A device and an application that behave: every message is acknowledged and arrives once.
async fn witness(
    mut application: Application,
    mut mqtt: MqttDevice,
    over: Arc<AtomicBool>,
) -> usize {
    let mut exchanged = 0;
    while !over.load(Ordering::SeqCst) || exchanged == 0 {
        mqtt.send("t", "still here", true).await;
        let (answer, _) = tokio::join!(mqtt.answer(), application.accept_next());
        assert_eq!(answer, Answer::Acknowledged { success: true });
        exchanged += 1;
    }
    exchanged
}

/// One broken variant, once in one piece and once byte by byte. The gateway has to end both.
async fn attempt(script: Arc<Script>, seed: u64) {
    let mut bytes = script.before.clone();
    bytes.extend(broken(&script.attacked, seed));
    for in_one_piece in [true, false] {
        let stream = TcpStream::connect(script.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut read, mut write) = stream.into_split();
        // The gateway may close at any byte; then the rest cannot be written.
        let writing = async {
            if in_one_piece {
                let _ = write.write_all(&bytes).await;
            } else {
                for byte in &bytes {
                    if write.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
            }
            let _ = write.shutdown().await;
        };
        let mut answer = Vec::new();
        let reading = read.read_to_end(&mut answer);
        let ((), _) = tokio::join!(writing, reading);
        assert!(
            answer.len() < 1 << 20,
            "seed {seed}: {} bytes of answer",
            answer.len()
        );
    }
}

/// Breaks a conversation in one to four places.
fn broken(good: &[u8], seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = good.to_vec();
    for _ in 0..random.random_range(1..=4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes[at] = [0, 0x7f, 0x80, 0xff][random.random_range(0..4)],
            3 => bytes.truncate(at),
            4 => {
                bytes.insert(at, random.random());
            }
            _ => {
                let end = random.random_range(at..=bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.extend(copy);
            }
        }
    }
    bytes
}

#[test]
fn over_http() {
    story(async {
        let gateway = Arc::new(Gateway::start().await);
        let attacked = b"PUT /telemetry//sensor?hono-ttl=3 HTTP/1.1\r\nHost: weir\r\n\
            Authorization: Basic c2Vuc29yQHQ6cHc=\r\nContent-Type: text/plain\r\nQoS-Level: 1\r\n\
            Content-Length: 5\r\n\r\nhelloPOST /event HTTP/1.1\r\nHost: weir\r\n\
            Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let address = gateway.address("http");
        attack(
            &gateway,
            Script {
                address,
                before: Vec::new(),
                attacked: attacked.to_vec(),
            },
        )
        .await;
    });
}

/// CONNECT with a login, then PUBLISH with QoS 1 and 0, SUBSCRIBE, PINGREQ and DISCONNECT.
fn mqtt(level: u8, username: &str, password: &str) -> (Vec<u8>, Vec<u8>) {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let packet = |head: u8, body: Vec<u8>| {
        assert!(body.len() < 128);
        [vec![head, body.len() as u8], body].concat()
    };
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    let connect = [
        &text("MQTT")[..],
        &[level, 0xc2, 0, 60],
        properties,
        &text("c"),
        &text(username),
        &text(password),
    ]
    .concat();
    let publish = [
        &text("t/?on-error=ignore")[..],
        &[0, 1],
        properties,
        b"hello",
    ]
    .concat();
    let once = [&text("telemetry")[..], properties, b"hello"].concat();
    let subscribe = [&[0, 2][..], properties, &text("command///req/#"), &[1]].concat();
    let session = [
        packet(0x32, publish),
        packet(0x30, once),
        packet(0x82, subscribe),
        vec![0xc0, 0, 0xe0, 0],
    ]
    .concat();
    (packet(0x10, connect), session)
}

#[test]
fn over_mqtt_before_and_after_connect() {
    story(async {
        let gateway = Arc::new(Gateway::start().await);
        let address = gateway.address("mqtt");
        for level in [4, 5] {
            // Nobody; broken anywhere.
            let (connect, session) = mqtt(level, "sensor@t", "pw");
            let attacked = [connect, session].concat();
            attack(
                &gateway,
                Script {
                    address,
                    before: Vec::new(),
                    attacked,
                },
            )
            .await;
        }
        for level in [4, 5] {
            // A device that may log in, in a tenant without a consumer.
            let id = uuid::Uuid::new_v4().simple().to_string();
            let tenant = &id[..8];
            let body = serde_json::json!({});
            gateway
                .manage(reqwest::Method::POST, &format!("tenants/{tenant}"), &body)
                .await;
            let device = gateway.device(tenant, "s", body).await;
            let (before, attacked) = mqtt(level, &device.username, &device.password);
            attack(
                &gateway,
                Script {
                    address,
                    before,
                    attacked,
                },
            )
            .await;
        }
    });
}

/// What a good AMQP client sends: up to its session, its link, and what comes after.
async fn amqp(gateway: &Gateway) -> [Vec<u8>; 3] {
    let (username, password) = gateway.application();
    let sasl = ClientSasl::Plain {
        username: username.into(),
        password: password.into(),
    };
    let mut engine: Connection<()> = Connection::client(Config::default(), sasl, Instant::now());
    let mut stream = TcpStream::connect(gateway.address("northbound.amqp"))
        .await
        .unwrap();
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    let (mut part, mut session, mut input) = (0, None, BytesMut::new());
    while !engine.is_closed() {
        let now = Instant::now();
        while let Some(event) = engine.poll_event() {
            match event {
                Event::Opened(_) => session = Some(engine.begin(now)),
                Event::SessionBegun { .. } => {
                    // Everything until here is sent before the link is asked for.
                    flush(&mut engine, &mut stream, &mut parts[part]).await;
                    part = 1;
                    let attach = AttachRequest::receiver("link", "telemetry/nobody", 10);
                    engine.attach(session.unwrap(), attach);
                }
                Event::Attached { link, .. } => {
                    flush(&mut engine, &mut stream, &mut parts[part]).await;
                    part = 2;
                    engine.grant_credit(link, 20);
                    engine.drain(link);
                    engine.detach(link, None);
                    engine.end(session.unwrap(), None);
                    engine.close(now, None);
                }
                _ => {}
            }
        }
        flush(&mut engine, &mut stream, &mut parts[part]).await;
        if !engine.is_closed() {
            stream.read_buf(&mut input).await.unwrap();
            engine.handle_input(Instant::now(), &mut input);
        }
    }
    parts
}

async fn flush(engine: &mut Connection<()>, stream: &mut TcpStream, kept: &mut Vec<u8>) {
    loop {
        let output = engine.output();
        if output.is_empty() {
            return;
        }
        kept.extend_from_slice(output);
        stream.write_all(output).await.unwrap();
        let length = output.len();
        output.advance(length);
    }
}

#[test]
fn over_amqp_before_login_before_attach_and_after() {
    story(async {
        let gateway = Arc::new(Gateway::start().await);
        let address = gateway.address("northbound.amqp");
        let [login, attach, rest] = amqp(&gateway).await;
        assert!(!login.is_empty() && !attach.is_empty() && !rest.is_empty());
        let scripts = [
            (Vec::new(), [&login[..], &attach, &rest].concat()),
            (login.clone(), [&attach[..], &rest].concat()),
            ([login, attach].concat(), rest),
        ];
        for (before, attacked) in scripts {
            attack(
                &gateway,
                Script {
                    address,
                    before,
                    attacked,
                },
            )
            .await;
        }
    });
}
