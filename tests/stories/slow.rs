//! Peers that read nothing: what waits for them is bounded, they are given up, and others are served.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use weir_amqp_engine::{AttachRequest, ClientSasl, Config, Connection, Event};

use crate::kit::{
    Application, Command, Commander, Device, Fate, Gateway, Witness, connect_packet, mqtt_socket,
    story,
};

/// What a command carries, in bytes; a few of them are more than a socket takes for a peer that does not
/// read.
const PAYLOAD: usize = 100_000;
/// How much may have been written to such a peer: what sockets of this system hold, and then some.
const WRITTEN: usize = 32 << 20;
/// HTTP clients that do not read.
const CLIENTS: usize = 8;

/// A socket with as little room for what it is sent as the system allows.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

/// Connects, subscribes to commands with QoS 0 and reads nothing from then on.
async fn subscribed(gateway: &Gateway, device: &Device, level: u8) -> TcpStream {
    let mut stream = narrow(gateway.address("mqtt")).await;
    let mut packets = connect_packet(level, Some(&device.username), Some(&device.password));
    let filter = b"command///req/#";
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    let body = [
        &[0, 1][..],
        properties,
        &[0, filter.len() as u8],
        filter,
        &[0],
    ]
    .concat();
    packets.extend([0x82, body.len() as u8]);
    packets.extend(body);
    stream.write_all(&packets).await.unwrap();
    for kind in [0x20, 0x90] {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[0], kind);
        stream
            .read_exact(&mut vec![0; head[1].into()])
            .await
            .unwrap();
    }
    stream
}

#[test]
fn a_device_that_reads_no_commands_is_given_up() {
    story(async {
        let gateway = Gateway::start_with(&[("WEIR__MQTT__COMMAND_TIMEOUT", "100")]).await;
        let mut witness = Witness::of(&gateway).await;
        let slow = async |level: u8| {
            let device = gateway.tenant_and_device().await;
            let _unread = subscribed(&gateway, &device, level).await;
            let mut commander = Commander::of(&gateway, &device.tenant).await;
            let command = Command::one_way(&device, "set", &"x".repeat(PAYLOAD));
            // With QoS 0 a command is accepted when it is written. At some point nothing can be.
            let mut written = 0;
            while commander.send(&command).await == Fate::Accepted {
                written += PAYLOAD;
                assert!(written < WRITTEN, "{written} bytes");
            }
            // What waited is not sent later: the connection ends, and nobody is there for the next one.
            gateway
                .until(|now| now.connected(&device.tenant) == 0)
                .await;
            assert_eq!(commander.send(&command).await, Fate::Released);
            device
        };
        let devices = async { tokio::join!(slow(4), slow(5)) };
        let ((v3, v5), ()) = tokio::join!(devices, witness.exchange(200));
        witness.was_served(&gateway).await;
        let metrics = gateway.metrics().await;
        for device in [v3, v5] {
            let released = metrics.commands(&device.tenant, "one-way", "undeliverable");
            assert_eq!(released, 2);
        }
    });
}

#[test]
fn clients_that_read_no_answers_are_given_up() {
    story(async {
        let gateway = Gateway::start_with(&[("WEIR__HTTP__IDLE_TIMEOUT", "1")]).await;
        let mut witness = Witness::of(&gateway).await;
        let deaf = async || {
            let mut stream = narrow(gateway.address("http")).await;
            let requests = "GET /nowhere HTTP/1.1\r\nHost: w\r\n\r\n".repeat(1000);
            // Ends when the gateway, which stopped reading because it cannot write, closes.
            while stream.write_all(requests.as_bytes()).await.is_ok() {}
        };
        let clients = join_all((0..CLIENTS).map(|_| deaf()));
        tokio::join!(clients, witness.exchange(200));
        witness.was_served(&gateway).await;
    });
}

/// An application that attaches, gives much credit and reads nothing from then on.
async fn deaf_application(gateway: &Gateway, address: &str) -> TcpStream {
    let (username, password) = gateway.application();
    let sasl = ClientSasl::Plain {
        username: username.into(),
        password: password.into(),
    };
    let mut engine: Connection<()> = Connection::client(Config::default(), sasl, Instant::now());
    let mut stream = narrow(gateway.address("northbound.amqp")).await;
    let mut input = BytesMut::new();
    let mut has_credit = false;
    loop {
        while let Some(event) = engine.poll_event() {
            match event {
                Event::Opened(_) => {
                    let session = engine.begin(Instant::now());
                    engine.attach(session, AttachRequest::receiver("link", address, 10));
                }
                Event::Attached { link, .. } => {
                    engine.grant_credit(link, 100_000);
                    has_credit = true;
                }
                _ => {}
            }
        }
        while !engine.output().is_empty() {
            let written = stream.write(engine.output()).await.unwrap();
            engine.output().advance(written);
        }
        if has_credit {
            return stream;
        }
        stream.read_buf(&mut input).await.unwrap();
        engine.handle_input(Instant::now(), &mut input);
    }
}

/// A PUBLISH with QoS 0 that is as large as a command above, and does not end the connection if nobody
/// takes it.
fn large_message() -> Vec<u8> {
    let topic = b"t/?on-error=ignore";
    let length = 2 + topic.len() + PAYLOAD;
    let digits = [length, length >> 7, length >> 14].map(|digit| digit as u8 & 0x7f);
    let head = [0x30, digits[0] | 0x80, digits[1] | 0x80, digits[2]];
    [&head[..], &[0, topic.len() as u8], topic, &[b'x'; PAYLOAD]].concat()
}

#[test]
fn an_application_that_reads_no_messages_is_given_up() {
    /// A frame without a body says that somebody is there (AMQP 1.0 part 2 §2.4.5).
    const HEARTBEAT: [u8; 8] = [0, 0, 0, 8, 2, 0, 0, 0];
    story(async {
        let gateway = Gateway::start_with(&[
            ("WEIR__NORTHBOUND__AMQP__IDLE_TIMEOUT", "5"),
            ("WEIR__MQTT__MAX_PAYLOAD_SIZE", "200000"),
        ])
        .await;
        let mut witness = Witness::of(&gateway).await;
        let device = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = deaf_application(&gateway, &address).await;
        let over = Cell::new(false);
        // It says that it is there, but it hears nothing.
        let speaking = async {
            let mut clock = tokio::time::interval(Duration::from_millis(200));
            while application.write_all(&HEARTBEAT).await.is_ok() {
                clock.tick().await;
            }
            over.set(true);
        };
        let mut mqtt = mqtt_socket(&gateway, &device).await;
        let message = large_message();
        let before = gateway.peak_memory();
        let sending = async {
            while !over.get() {
                mqtt.write_all(&message).await.unwrap();
            }
        };
        tokio::join!(speaking, sending, witness.exchange(200));
        if let (Some(before), Some(after)) = (before, gateway.peak_memory()) {
            let growth = after.saturating_sub(before);
            assert!(growth < WRITTEN, "{growth} bytes more");
        }
        witness.was_served(&gateway).await;
        // Whoever takes its place gets what comes from then on.
        let mut application = Application::consume(&gateway, &address).await;
        let (sent, _) = tokio::join!(mqtt.write_all(&message), application.accept_next());
        sent.unwrap();
    });
}
