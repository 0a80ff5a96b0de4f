//! MQTT over WebSockets, with a client of `tungstenite` and frames by hand.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use weir_core::command::CommandOutcome::{Accepted, Released};

use super::ARRIVED;
use super::client::{Connect, PINGREQ, PINGRESP, connect, puback, publish, suback, subscribe};
use super::command::{ask, one_way, published};
use super::*;
use crate::session::Shared;
use crate::websocket::serve;

/// A connection behind its handshake.
struct Device {
    socket: WebSocketStream<DuplexStream>,
    /// What came in messages and is no whole packet yet.
    inbox: Vec<u8>,
    served: JoinHandle<()>,
    stop: CancellationToken,
}

impl Device {
    /// With room for as many bytes on the way, in either direction.
    async fn open(pipeline: &Pipeline, config: MqttConfig, room: usize) -> Self {
        Self::opened(pipeline, config, room, Bytes::new()).await
    }

    async fn opened(
        pipeline: &Pipeline,
        config: MqttConfig,
        room: usize,
        read_ahead: Bytes,
    ) -> Self {
        let (ours, theirs) = duplex(room);
        // As with TLS, what was written has to be flushed.
        let theirs = BufWriter::with_capacity(64 * 1024, theirs);
        let pipeline = pipeline.clone();
        let shared = Arc::new(Shared { config, pipeline });
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served = async move { serve(theirs, read_ahead, ARRIVED, stopped, &shared).await };
        Self {
            socket: WebSocketStream::from_raw_socket(ours, Role::Client, None).await,
            inbox: Vec::new(),
            served: tokio::spawn(served),
            stop,
        }
    }

    async fn connected(pipeline: &Pipeline, version: u8) -> Self {
        let mut device = Self::open(pipeline, MqttConfig::default(), 64 * 1024).await;
        device.connect(version).await;
        device
    }

    async fn connect(&mut self, version: u8) {
        self.send(connect(version, "sensor1@acme", "secret")).await;
        let connack = self.packet().await;
        assert_eq!((connack[0], connack[3]), (0x20, 0));
    }

    async fn send(&mut self, bytes: impl Into<Bytes>) {
        let message = Message::Binary(bytes.into());
        self.socket.send(message).await.unwrap();
    }

    async fn message(&mut self) -> Message {
        let message = tokio::time::timeout(SOON, self.socket.next()).await;
        let message = message.expect("nothing came in time");
        message.expect("connection closed").unwrap()
    }

    /// The next packet, wherever messages begin and end. Its length takes two bytes at most.
    async fn packet(&mut self) -> Vec<u8> {
        loop {
            let length = match *self.inbox {
                [_, low, ..] if low < 0x80 => Some(2 + usize::from(low)),
                [_, low, high, ..] => Some(3 + usize::from(low & 0x7f) + 128 * usize::from(high)),
                _ => None,
            };
            if let Some(length) = length.filter(|length| *length <= self.inbox.len()) {
                return self.inbox.drain(..length).collect();
            }
            match self.message().await {
                Message::Binary(bytes) => self.inbox.extend_from_slice(&bytes),
                other => panic!("{other:?} is not binary"),
            }
        }
    }

    async fn expect(&mut self, bytes: &[u8]) {
        assert_eq!(self.packet().await, bytes);
    }

    /// The last word with this code, then the end of the connection.
    async fn expect_end(mut self, code: CloseCode) {
        assert!(self.inbox.is_empty());
        match self.message().await {
            Message::Close(Some(close)) => assert_eq!(close.code, code),
            other => panic!("{other:?} is no last word"),
        }
        // The client's answer goes out while it looks for more.
        let end = tokio::time::timeout(SOON, self.socket.next()).await;
        assert!(end.expect("not closed in time").is_none());
        self.leave().await;
    }

    /// Closes its side, and waits for the other to be done.
    async fn leave(self) {
        drop(self.socket);
        let served = tokio::time::timeout(SOON, self.served).await;
        served.expect("still served").unwrap();
    }
}

#[tokio::test]
async fn telemetry_goes_up_and_its_acknowledgement_comes_back() {
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    for version in [4, 5] {
        let mut device = Device::connected(&pipeline, version).await;
        device.send(publish(version, "telemetry", 7, "hello")).await;
        let message = back.next().await.accept();
        assert_eq!(message.payload, "hello");
        device.expect(&puback(7)).await;
    }
}

#[tokio::test]
async fn a_packet_may_be_in_as_many_messages_as_it_has_bytes() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let mut device = Device::open(&pipeline, MqttConfig::default(), 64 * 1024).await;
    let bytes = [
        connect(4, "sensor1@acme", "secret"),
        publish(4, "event", 1, "one"),
    ];
    for byte in bytes.concat() {
        // One without anything in it means nothing.
        device.send(vec![]).await;
        device.send(vec![byte]).await;
    }
    device.expect(&[0x20, 2, 0, 0]).await;
    device.expect(&puback(1)).await;
}

#[tokio::test]
async fn a_message_may_have_several_packets_and_a_part_of_one() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let mut device = Device::open(&pipeline, MqttConfig::default(), 64 * 1024).await;
    let last = publish(4, "event", 3, "three");
    let (begin, rest) = last.split_at(5);
    let first = [
        &connect(4, "sensor1@acme", "secret"),
        &publish(4, "event", 1, "one"),
        &PINGREQ[..],
        &publish(4, "event", 2, "two"),
        begin,
    ];
    device.send(first.concat()).await;
    device.expect(&[0x20, 2, 0, 0]).await;
    device.expect(&PINGRESP).await;
    device.expect(&puback(1)).await;
    device.expect(&puback(2)).await;
    device.send(rest.to_vec()).await;
    device.expect(&puback(3)).await;
}

#[tokio::test]
async fn a_message_may_come_in_fragments_with_a_ping_between_them() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let mut device = Device::connected(&pipeline, 5).await;
    let bytes = publish(5, "telemetry", 1, "in fragments");
    let (first, rest) = bytes.split_at(3);
    let (second, third) = rest.split_at(4);
    let fragment = |bytes: &[u8], kind, is_last| {
        Message::Frame(Frame::message(bytes.to_vec(), OpCode::Data(kind), is_last))
    };
    for message in [
        fragment(first, Data::Binary, false),
        Message::Ping("still here?".into()),
        fragment(second, Data::Continue, false),
        fragment(third, Data::Continue, true),
    ] {
        device.socket.send(message).await.unwrap();
    }
    let pong = Message::Pong("still here?".into());
    assert_eq!(device.message().await, pong);
    device.expect(&puback(1)).await;
}

#[tokio::test]
async fn what_was_read_with_the_handshake_is_the_beginning() {
    let (pipeline, _registry, _back, _metrics) = pipeline();
    let bytes = connect(4, "sensor1@acme", "secret");
    // Under a mask of zeros.
    let head = [0x82, 0x80 | u8::try_from(bytes.len()).unwrap(), 0, 0, 0, 0];
    let frame = [&head[..], &bytes].concat();
    let config = MqttConfig::default();
    let mut device = Device::opened(&pipeline, config, 1024, frame.into()).await;
    device.expect(&[0x20, 2, 0, 0]).await;
}

#[tokio::test]
async fn a_text_ends_the_connection() {
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    for text in ["", "telemetry"] {
        let mut device = Device::connected(&pipeline, 4).await;
        device.socket.send(Message::text(text)).await.unwrap();
        device.expect_end(CloseCode::Unsupported).await;
    }
    // Also before anything else was said.
    let mut device = Device::open(&pipeline, MqttConfig::default(), 1024).await;
    device.socket.send(Message::text("hello")).await.unwrap();
    device.expect_end(CloseCode::Unsupported).await;
    assert!(back.is_idle());
}

#[tokio::test]
async fn what_is_no_frame_of_a_client_ends_the_connection() {
    let (pipeline, _registry, _back, _metrics) = pipeline();
    for (bytes, code) in [
        // Not masked; an unknown kind; a reserved bit; a continuation of nothing; a long ping.
        (&b"\x82\x01x"[..], CloseCode::Protocol),
        (b"\x83\x80\0\0\0\0", CloseCode::Protocol),
        (b"\xc2\x80\0\0\0\0", CloseCode::Protocol),
        (b"\x80\x80\0\0\0\0", CloseCode::Protocol),
        (b"\x09\x80\0\0\0\0", CloseCode::Protocol),
        (b"\x81\x81\0\0\0\0\xff", CloseCode::Unsupported),
        // Four gigabytes, which nobody waits for.
        (b"\x82\xff\0\0\0\x01\0\0\0\0\0\0\0\0", CloseCode::Size),
    ] {
        let mut device = Device::connected(&pipeline, 4).await;
        device.socket.get_mut().write_all(bytes).await.unwrap();
        device.expect_end(code).await;
    }
}

#[tokio::test]
async fn a_message_is_as_large_as_a_packet_may_be_and_never_less_than_256_kib() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    for (max_payload_size, largest) in [(2048, 256 * 1024), (300_000, 300_000 + 128 + 5)] {
        let config = MqttConfig {
            max_payload_size,
            ..MqttConfig::default()
        };
        let mut device = Device::open(&pipeline, config, 1024 * 1024).await;
        device.connect(4).await;
        let pings = PINGREQ.repeat(largest / 2);
        device.send(pings).await;
        for _ in 0..largest / 2 {
            device.expect(&PINGRESP).await;
        }
        device.send(vec![0; largest + 1]).await;
        device.expect_end(CloseCode::Size).await;
    }
}

/// TCP refuses it by its length, which is not known here before all of it is.
#[tokio::test]
async fn who_has_not_said_who_he_is_cannot_send_much() {
    let (pipeline, _registry, _back, _metrics) = pipeline();
    let config = MqttConfig {
        max_payload_size: 10_000_000,
        ..MqttConfig::default()
    };
    let mut device = Device::open(&pipeline, config, 64 * 1024 * 1024).await;
    let connect = Connect::default().bytes();
    let (begin, _) = connect.split_at(connect.len() - 1);
    device.send(begin.to_vec()).await;
    // All of this would be kept until its end has come.
    device.send(vec![0; 1_000_000]).await;
    let served = tokio::time::timeout(SOON, &mut device.served).await;
    served.expect("still served").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_and_is_no_sign_of_life_for_mqtt() {
    let (pipeline, _registry, _back, _metrics) = pipeline();
    let mut device = Device::open(&pipeline, MqttConfig::default(), 1024).await;
    let request = Connect {
        keep_alive: 1,
        ..Connect::default()
    };
    device.send(request.bytes()).await;
    device.expect(&[0x20, 2, 0, 0]).await;
    let ping = Message::Ping("x".into());
    loop {
        device.socket.send(ping.clone()).await.unwrap();
        match device.message().await {
            Message::Pong(text) => assert_eq!(text, "x"),
            Message::Close(close) => {
                assert_eq!(close.unwrap().code, CloseCode::Normal);
                break;
            }
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_client_that_says_its_last_word_is_answered_and_gone() {
    let (pipeline, _registry, _back, _metrics) = pipeline();
    let mut device = Device::connected(&pipeline, 4).await;
    device.send(vec![0xe0, 0]).await;
    device.expect_end(CloseCode::Normal).await;
    let mut device = Device::connected(&pipeline, 4).await;
    device.socket.send(Message::Close(None)).await.unwrap();
    assert_eq!(device.message().await, Message::Close(None));
    let end = tokio::time::timeout(SOON, device.socket.next()).await;
    assert!(end.expect("not closed in time").is_none());
    device.leave().await;
}

#[tokio::test]
async fn a_client_that_is_gone_without_a_word_is_noticed() {
    let (pipeline, _registry, _back, _metrics) = pipeline();
    let device = Device::connected(&pipeline, 4).await;
    device.leave().await;
}

#[tokio::test]
async fn on_stop_what_is_in_flight_is_answered_and_the_client_is_told_twice() {
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    let mut device = Device::connected(&pipeline, 5).await;
    device.send(publish(5, "telemetry", 1, "x")).await;
    let sent = back.next().await;
    device.stop.cancel();
    sent.settle(Ok(()));
    device.expect(&puback(1)).await;
    let disconnect = device.packet().await;
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x8b));
    device.expect_end(CloseCode::Away).await;
}

/// Time is paused in these: it jumps to the next deadline when nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn nothing_is_read_that_there_is_no_room_for() {
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    let config = MqttConfig {
        max_in_flight: std::num::NonZeroU16::MIN,
        ..MqttConfig::default()
    };
    let mut device = Device::open(&pipeline, config, 1024).await;
    device.connect(4).await;
    let payload = "x".repeat(1000);
    let mut sent = 0;
    let patience = Duration::from_secs(60);
    loop {
        let message = Message::binary(publish(4, "telemetry", sent + 1, &payload));
        device.socket.feed(message).await.unwrap();
        sent += 1;
        let flushed = tokio::time::timeout(patience, device.socket.flush()).await;
        if flushed.is_err() {
            break;
        }
        assert!(sent < 100, "all is read");
    }
    for packet_id in 1..=sent {
        back.next().await.accept();
        device.expect(&puback(packet_id)).await;
        device.socket.flush().await.unwrap();
    }
    assert!(back.is_idle());
}

/// A device that takes commands with QoS 0, and reads nothing of what comes after that.
async fn deaf(pipeline: &Pipeline) -> Device {
    let mut device = Device::open(pipeline, MqttConfig::default(), 256).await;
    let request = Connect {
        keep_alive: 0,
        ..Connect::default()
    };
    device.send(request.bytes()).await;
    device.expect(&[0x20, 2, 0, 0]).await;
    device.send(subscribe(4, 1, &[("c///q/#", 0)])).await;
    device.expect(&suback(4, 1, &[0])).await;
    device
}

#[tokio::test(start_paused = true)]
async fn a_command_without_acknowledgement_is_accepted_when_all_of_it_has_left_and_not_before() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let long = "x".repeat(1000);
    for (reads_on, outcome) in [(true, Accepted), (false, Released)] {
        let mut device = deaf(&pipeline).await;
        let mut asked = ask(pipeline.commands(), "4711", &long, one_way()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((&mut asked).now_or_never(), None);
        if reads_on {
            device
                .expect(&published(4, 0, &format!("c///q//{long}")))
                .await;
        } else {
            drop(device);
        }
        assert_eq!(asked.await, outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up_however_much_it_asks() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let mut device = deaf(&pipeline).await;
    let (mut reader, mut writer) = tokio::io::split(device.socket.get_mut());
    // Pings of both protocols, whose answers find no room.
    let ping = b"\x89\x81\0\0\0\0x\x82\x82\0\0\0\0\xc0\0";
    while writer.write_all(ping).await.is_ok() {}
    // What was sent before that is there, and the end.
    let mut sent = Vec::new();
    let read = tokio::time::timeout(SOON, reader.read_to_end(&mut sent)).await;
    read.expect("still open").unwrap();
    assert!(sent.len() <= 256, "{}", sent.len());
    let served = tokio::time::timeout(SOON, device.served).await;
    served.expect("still served").unwrap();
}

/// Xorshift64*: the same cases in each run.
fn random(state: &mut u64, below: usize) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    let high = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
    usize::try_from(high).unwrap() % below
}

/// A frame of a client under a mask of zeros.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[head, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

#[tokio::test(start_paused = true)]
async fn broken_frames_end_the_connection_and_nothing_else() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let whole = [
        frame(0x82, &connect(4, "sensor1@acme", "secret")),
        frame(0x89, b"ping"),
        frame(0x02, &publish(4, "telemetry", 1, "x")[..4]),
        frame(0x80, &publish(4, "telemetry", 1, "x")[4..]),
        frame(0x82, &PINGREQ),
        frame(0x88, &[3, 232]),
    ];
    let whole = whole.concat();
    let mut state = 0x5eed;
    let mut answered = 0;
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(&mut state, 3) {
            let at = random(&mut state, bytes.len());
            let until = at + random(&mut state, (bytes.len() - at).min(8));
            match random(&mut state, 4) {
                0 => bytes[at] ^= 1 << random(&mut state, 8),
                1 => bytes[at] = random(&mut state, 256) as u8,
                2 => drop(bytes.drain(at..until)),
                _ => bytes.truncate(at + 1),
            }
        }
        let mut device = Device::open(&pipeline, MqttConfig::default(), 64 * 1024).await;
        let stream = device.socket.get_mut();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await;
        read.expect("left hanging").unwrap();
        answered += usize::from(answer.starts_with(&[0x82, 4, 0x20, 2, 0, 0]));
        device.leave().await;
    }
    assert!((500..1999).contains(&answered), "{answered}");
}
