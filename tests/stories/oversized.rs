//! What is larger than it may be: each protocol says so in its way, nothing of it is kept, and others are
//! served.

use std::net::SocketAddr;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{Device, Gateway, Witness, basic, connect_packet, mqtt_socket, story};

/// Connections that send too much at the same time.
const AT_ONCE: usize = 32;
/// What each tries to send that does not listen, in bytes: far more together than the gateway may grow by.
const EACH: usize = 16 << 20;
/// How much the gateway may grow by while they do. It would be 512 MiB if it kept what it is sent, and
/// 16 GiB if it filled what MQTT clients announce.
const GROWTH: usize = 128 << 20;
/// The largest payload in the default configuration.
const PAYLOAD: usize = 2048;
/// The largest remaining length that MQTT has (MQTT 3.1.1 §2.2.3), 256 MiB.
const LONGEST: [u8; 4] = [0xff, 0xff, 0xff, 0x7f];

/// Sends `first` and a little of what would have to follow, and returns what is answered until the gateway
/// closes its side: it does not wait for the rest.
async fn ask(address: SocketAddr, first: &[u8], piece: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(first).await.unwrap();
    // It may have closed by then.
    let _ = stream.write_all(piece).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

/// Sends as much as the gateway takes. Whoever does may be reset before the answer has come.
async fn pour(address: SocketAddr, first: &[u8], piece: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(first).await.unwrap();
    for _ in 0..EACH / piece.len() {
        if stream.write_all(piece).await.is_err() {
            return;
        }
    }
}

/// Lets many send too much at once while a witness is served, and says what those were answered who
/// listen.
async fn flood(
    gateway: &Gateway,
    witness: &mut Witness,
    listener: &str,
    first: &[u8],
) -> Vec<Vec<u8>> {
    // As a chunk of HTTP it is one; to the others it makes no difference.
    let piece = [b"fff0\r\n", &[b'x'; 0xfff0][..], b"\r\n"].concat();
    let address = gateway.address(listener);
    let before = gateway.peak_memory();
    let asking = join_all((0..AT_ONCE).map(|_| ask(address, first, &piece)));
    let pouring = join_all((0..AT_ONCE).map(|_| pour(address, first, &piece)));
    let (answers, _, ()) = tokio::join!(asking, pouring, witness.exchange(20));
    if let (Some(before), Some(after)) = (before, gateway.peak_memory()) {
        let growth = after.saturating_sub(before);
        assert!(growth < GROWTH, "{growth} bytes more");
    }
    answers
}

fn head(device: &Device, framing: &str) -> String {
    use base64::Engine as _;
    let login = format!("{}:{}", device.username, device.password);
    let login = base64::engine::general_purpose::STANDARD.encode(login);
    format!(
        "POST /telemetry HTTP/1.1\r\nHost: w\r\nAuthorization: Basic {login}\r\n\
         Content-Type: text/plain\r\n{framing}\r\n\r\n"
    )
}

#[test]
fn an_http_body() {
    story(async {
        let gateway = Gateway::start().await;
        let mut witness = Witness::of(&gateway).await;
        let device = gateway.tenant_and_device().await;
        // One byte more than is allowed, by a client that expects an answer.
        let client = reqwest::Client::new();
        let upload = |size: usize| {
            let request = basic(client.post(gateway.http("/event")), &device);
            request.body("x".repeat(size)).send()
        };
        assert_eq!(upload(PAYLOAD).await.unwrap().status(), 202);
        assert_eq!(upload(PAYLOAD + 1).await.unwrap().status(), 413);
        let declared = format!("Content-Length: {}", usize::MAX / 2);
        for framing in [&*declared, "Transfer-Encoding: chunked"] {
            let head = head(&device, framing);
            for answer in flood(&gateway, &mut witness, "http", head.as_bytes()).await {
                let answer = String::from_utf8(answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 413"), "{framing}: {answer}");
                assert!(answer.contains("connection: close"), "{answer}");
            }
        }
        // A head without an end.
        let endless = b"GET / HTTP/1.1\r\nX: ";
        for answer in flood(&gateway, &mut witness, "http", endless).await {
            assert!(answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");
        }
        witness.was_served(&gateway).await;
        let metrics = gateway.metrics().await;
        // Of what was too large only one was a message: those who announce too much are told before.
        assert_eq!(metrics.uploads(&device.tenant, "forwarded"), 1);
    });
}

#[test]
fn an_mqtt_packet() {
    story(async {
        let gateway = Gateway::start().await;
        let mut witness = Witness::of(&gateway).await;
        let device = gateway.tenant_and_device().await;
        // A CONNECT of 256 MiB has no version yet to be answered in.
        let connect = [&[0x10][..], &LONGEST, &[0, 4], b"MQTT", &[5, 0xc2]].concat();
        for answer in flood(&gateway, &mut witness, "mqtt", &connect).await {
            assert_eq!(answer, b"");
        }
        // A PUBLISH ends the connection; version 5 says why: packet too large.
        let publish = [&[0x32][..], &LONGEST, &[0, 1, b't', 0, 1]].concat();
        for (level, told) in [(4, None), (5, Some(0x95))] {
            let login = (Some(&*device.username), Some(&*device.password));
            let connect = connect_packet(level, login.0, login.1);
            let start = [&connect[..], &publish].concat();
            for answer in flood(&gateway, &mut witness, "mqtt", &start).await {
                assert_eq!(answer[..2], [0x20, answer[1]], "CONNACK");
                let rest = &answer[2 + usize::from(answer[1])..];
                let code = rest.get(2).copied();
                assert_eq!((rest.first(), code), (told.map(|_| &0xe0), told));
            }
        }
        // The largest packet that is allowed, and the first that is not.
        for (more, answers) in [(0, true), (1, false)] {
            let mut stream = mqtt_socket(&gateway, &device).await;
            let topic = "e/?on-error=ignore";
            let size = PAYLOAD + 128 + more;
            let padding = "x".repeat(size - 4 - topic.len());
            let head = [0x32, (size % 128) as u8 | 0x80, (size / 128) as u8];
            let length = [0, topic.len() as u8];
            let packet = [
                &head[..],
                &length,
                topic.as_bytes(),
                &[0, 1],
                padding.as_bytes(),
            ];
            stream.write_all(&packet.concat()).await.unwrap();
            let mut puback = [0; 4];
            let read = stream.read_exact(&mut puback).await;
            assert_eq!(read.is_ok(), answers, "{more}");
        }
        witness.was_served(&gateway).await;
    });
}

/// A SASL or AMQP frame, whose size may be another than its body's.
fn frame(kind: u8, size: u32, body: &[u8]) -> Vec<u8> {
    [&size.to_be_bytes()[..], &[2, kind, 0, 0], body].concat()
}

#[test]
fn an_amqp_frame() {
    story(async {
        let gateway = Gateway::start().await;
        let mut witness = Witness::of(&gateway).await;
        let (user, password) = gateway.application();
        let plain = format!("\0{user}\0{password}");
        let fields = [
            &b"\xa3\x05PLAIN\xa0"[..],
            &[plain.len() as u8],
            plain.as_bytes(),
        ]
        .concat();
        let list = [
            &[0, 0x53, 0x41, 0xc0, fields.len() as u8 + 1, 2],
            &fields[..],
        ]
        .concat();
        let login = [
            b"AMQP\x03\x01\x00\x00".to_vec(),
            frame(1, list.len() as u32 + 8, &list),
            b"AMQP\x00\x01\x00\x00".to_vec(),
            frame(0, 17, b"\x00\x53\x10\xc0\x04\x01\xa1\x01a"),
        ];
        // Before the login no frame has more than 512 bytes (AMQP 1.0 part 5 §5.3.1).
        let start = [&login[0][..], &frame(1, 513, b"\0")].concat();
        for answer in flood(&gateway, &mut witness, "northbound.amqp", &start).await {
            assert!(answer.starts_with(b"AMQP\x03"), "{answer:?}");
        }
        // Afterwards it has what the gateway has said it takes: 65,536 bytes.
        for size in [65_537, u32::MAX] {
            let start = [login.concat(), frame(0, size, b"\x00\x53\x14")].concat();
            for answer in flood(&gateway, &mut witness, "northbound.amqp", &start).await {
                let text = String::from_utf8_lossy(&answer);
                assert!(text.contains("amqp:connection:framing-error"), "{text}");
            }
        }
        witness.was_served(&gateway).await;
    });
}
