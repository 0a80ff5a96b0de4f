//! Broken packet streams, by the thousand: the handler ends or goes on, and nobody else notices. The codec
//! alone takes as many as it is given, in [`codec`].

mod codec;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;
use weir_core::Reason;
use weir_core::command::Commands;

use super::ARRIVED;
use super::client::{
    Connect, PINGREQ, PINGRESP, connect, field, packet, puback, publish_with, subscribe,
    unsubscribe,
};
use super::command::{ask, one_way, request};
use super::*;
use crate::session::{self, Shared};

const STREAMS: usize = 3000;
const SEED: u64 = 0x5eed_0001;

/// Splitmix64: the same streams in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Everything a client may send after CONNECT, and some that it may not.
fn packets(version: u8) -> Vec<Vec<u8>> {
    let is_v5 = version == 5;
    let properties: &[u8] = if is_v5 {
        &[3, 0, 1, b'x', 2, 0, 0, 0, 9, 0x26, 0, 1, b'a', 0, 1, b'b']
    } else {
        b""
    };
    // A topic alias, a message that expires at once, text, where to answer.
    let more: &[u8] = if is_v5 {
        &[0x23, 0, 2, 2, 0, 0, 0, 0, 1, 1, 8, 0, 1, b't', 9, 0, 1, 7]
    } else {
        b""
    };
    let none: &[u8] = if is_v5 { &[0] } else { &[] };
    let publish = |first, topic, packet_id, payload| {
        publish_with(first, version, topic, packet_id, properties, payload)
    };
    vec![
        publish(0x30, "telemetry", 0, "21.5"),
        publish(0x32, "t//4711", 1, "21.5"),
        publish_with(0x32, version, "t//4711", 12, more, "21.5"),
        publish(
            0x3b,
            "event/acme/4711/?hono-ttl=10&content-type=text%2Fplain",
            2,
            "x",
        ),
        publish(0x32, "t/?on-error=ignore&content-type=%41", 3, ""),
        publish(0x34, "telemetry/?on-error=skip-ack", 4, "x"),
        publish(0x32, "t//edge-1", 5, "x"),
        PINGREQ.to_vec(),
        packet(
            0x82,
            &[&[0, 6], none, &field("command///req/#"), &[1]].concat(),
        ),
        packet(0xa2, &[&[0, 7], none, &field("error///#")].concat()),
        subscribe(
            version,
            8,
            &[("c///q/#", 1), ("c//+/q/#", 0), ("c//edge-1/q/#", 2)],
        ),
        subscribe(version, 9, &[("c/acme//q/#", 0)]),
        unsubscribe(version, 10, &["c///q/#", "command//+/req/#"]),
        publish(0x32, "command///res/0014r/200/?content-type=a", 11, "done"),
        publish(0x30, "c//edge-1/s/0014r/503", 0, ""),
        packet(0x40, &[0, 1]),
        packet(0x40, if is_v5 { &[0, 1, 0x99, 0] } else { &[0, 2] }),
        packet(0x62, &[0, 4]),
        packet(0x40, &[0, 4]),
        packet(0xf0, &[0x18, 5, 0x15, 0, 2, b'a', b'b']),
        packet(0xe0, b""),
    ]
}

fn stream(random: &mut Random) -> Vec<u8> {
    let version = if random.below(2) == 0 { 4 } else { 5 };
    let properties: &[u8] = if version == 5 {
        &[0x11, 0, 0, 0, 1, 0x21, 0, 9, 0x26, 0, 1, b'a', 0, 1, b'b']
    } else {
        b""
    };
    let request = Connect {
        version,
        properties,
        ..Connect::default()
    };
    let packets = packets(version);
    let mut stream = Vec::new();
    for _ in 0..random.below(8) {
        stream.extend(&packets[random.below(packets.len())]);
    }
    // Half of them break CONNECT itself, or what comes in its place.
    if random.below(2) == 0 {
        stream.splice(..0, request.bytes());
        mutate(&mut stream, random);
    } else {
        mutate(&mut stream, random);
        stream.splice(..0, request.bytes());
    }
    stream
}

fn mutate(stream: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(stream.len());
        let until = (at + random.below(12)).min(stream.len());
        match random.below(7) {
            0 if at < stream.len() => stream[at] ^= 1 << random.below(8),
            1 if at < stream.len() => stream[at] = random.next() as u8,
            2 => stream.insert(at, random.next() as u8),
            3 => drop(stream.drain(at..until)),
            4 => {
                let copy = stream[at..until].to_vec();
                stream.splice(at..at, copy);
            }
            5 => stream.truncate(at),
            _ if at < stream.len() => stream[at] = [0, 0x7f, 0x80, 0xff][random.below(4)],
            _ => {}
        }
    }
}

/// Sends `stream` in pieces and closes; returns what came back.
async fn exchange(
    mut client: DuplexStream,
    stream: &[u8],
    piece: usize,
    commands: &Commands,
) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(&mut client);
    let write = async {
        for (number, piece) in stream.chunks(piece).enumerate() {
            if number % 16 == 0 {
                let name = ["on", "a/b", "#"][number / 16 % 3];
                let reply_to = if number % 32 == 0 {
                    one_way()
                } else {
                    request()
                };
                drop(ask(commands, "4711", name, reply_to).await);
            }
            // The other side may have closed already.
            if writer.write_all(piece).await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(write, reader.read_to_end(&mut answer));
    read.unwrap();
    answer
}

async fn serve(stream: DuplexStream, shared: std::sync::Arc<Shared>) {
    session::serve(stream, ARRIVED, CancellationToken::new(), &shared).await;
}

/// Whether `answers` is a row of whole packets that a server may send.
fn is_well_formed(mut answers: &[u8]) -> bool {
    while let [kind, length, rest @ ..] = answers {
        let known = matches!(
            kind,
            0x20 | 0x30 | 0x32 | 0x40 | 0x70 | 0x90 | 0xb0 | 0xd0 | 0xe0
        );
        let Some(rest) = rest.get(usize::from(*length)..) else {
            return false;
        };
        if !known || *length > 127 {
            return false;
        }
        answers = rest;
    }
    answers.is_empty()
}

#[tokio::test]
async fn broken_streams_break_nothing() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Err(Reason::NoConsumer));
    let commands = pipeline.commands().clone();
    let config = MqttConfig::default();
    let shared = std::sync::Arc::new(Shared { config, pipeline });
    let (mut witness, theirs) = duplex(1024);
    let witnessed = tokio::spawn(serve(theirs, shared.clone()));
    witness
        .write_all(&connect(4, "sensor1@acme", "secret"))
        .await
        .unwrap();
    let mut connack = [0; 4];
    witness.read_exact(&mut connack).await.unwrap();

    let mut random = Random(SEED);
    for number in 0..STREAMS {
        let stream = stream(&mut random);
        for piece in [stream.len().max(1), 1] {
            let (ours, theirs) = duplex(piece.max(16));
            let handler = tokio::spawn(serve(theirs, shared.clone()));
            let answer =
                tokio::time::timeout(SOON, exchange(ours, &stream, piece, &commands)).await;
            let answer = answer.unwrap_or_else(|_| panic!("stream {number} hangs: {stream:02x?}"));
            let ended = tokio::time::timeout(SOON, handler).await;
            ended
                .expect("handler goes on without a peer")
                .expect("handler panicked");
            assert!(is_well_formed(&answer), "{stream:02x?} -> {answer:02x?}");
        }
        if number % 100 == 0 {
            let alive = [
                publish_with(0x32, 4, "t/?on-error=ignore", 9, b"", "x"),
                PINGREQ.to_vec(),
            ];
            witness.write_all(&alive.concat()).await.unwrap();
            let mut answers = [0; 6];
            witness.read_exact(&mut answers).await.unwrap();
            let expected = [&PINGRESP[..], &puback(9)].concat();
            let swapped = [&puback(9)[..], &PINGRESP].concat();
            assert!(answers[..] == expected || answers[..] == swapped);
        }
    }
    drop(witness);
    witnessed.await.unwrap();
}
