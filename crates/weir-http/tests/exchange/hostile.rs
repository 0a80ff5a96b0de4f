//! Requests damaged at random, from a fixed seed: the adapter survives, and others are served.

use std::net::SocketAddr;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use weir_http::HttpConfig;

use crate::kit::{DEADLINE, Gateway, until};

const REQUESTS: usize = 1500;
/// Connections that are tried at the same time.
const AT_ONCE: usize = 64;

/// A small generator of numbers that look random (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % limit
    }
}

const SEEDS: [&str; 7] = [
    "POST /telemetry HTTP/1.1\r\nHost: w\r\nAuthorization: Basic c2Vuc29yMUBhY21lOnB3\r\n\
     Content-Type: text/plain; charset=utf-8\r\nQoS-Level: 1\r\nContent-Length: 5\r\n\r\n12345",
    "PUT /event//4711?hono-ttl=30&hono-ttd=5 HTTP/1.1\r\nHost: w\r\nExpect: 100-continue\r\n\
     Authorization: Basic c2Vuc29yMUBhY21lOnB3\r\nTransfer-Encoding: chunked\r\n\r\n\
     3\r\nabc\r\n0\r\n\r\n",
    "OPTIONS /telemetry/acme/4711 HTTP/1.1\r\nHost: w\r\nOrigin: https://a.example\r\n\
     Access-Control-Request-Method: PUT\r\n\r\n",
    "PUT /telemetry/acme/a%2Bb+c HTTP/1.1\r\nHost: w\r\nhono-ttl: 5\r\n\
     Authorization: Basic Z2F0ZXdheTFAYWNtZTpwdw==\r\nContent-Length: 1\r\n\r\n1",
    "POST /event HTTP/1.1\r\nHost: w\r\nAuthorization: Bearer e30.e30.e30\r\n\
     traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
     tracestate: a=1\r\nContent-Length: 0\r\n\r\n",
    "PUT /command/res//4711/103c~2f1r-1?hono-cmd-status=200 HTTP/1.1\r\nHost: w\r\n\
     Authorization: Basic c2Vuc29yMUBhY21lOnB3\r\nContent-Length: 2\r\n\r\nok",
    "GET /nowhere HTTP/1.0\r\n\r\nPOST /event HTTP/1.1\r\nHost: w\r\n\r\n",
];

fn mutated(random: &mut Random) -> Vec<u8> {
    let mut bytes = SEEDS[random.below(SEEDS.len())].as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let until = at + random.below(bytes.len() - at);
        match random.below(7) {
            0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => drop(bytes.drain(at..until)),
            3 => bytes.insert(at, b"\r\n \0%/+:;,\xff"[random.below(11)]),
            4 => bytes.truncate(at + 1),
            5 => {
                let copy = bytes[at..until].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let other = SEEDS[random.below(SEEDS.len())].as_bytes();
                let from = random.below(other.len());
                bytes.truncate(at + 1);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

/// Sends `bytes` in pieces and takes in whatever is answered, until the adapter closes.
async fn send(address: SocketAddr, bytes: Vec<u8>, piece: usize, is_last_word: bool) {
    let mut device = TcpStream::connect(address).await.unwrap();
    for piece in bytes.chunks(piece) {
        if device.write_all(piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    if is_last_word {
        let _ = device.shutdown().await;
    }
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(DEADLINE, device.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "left hanging: {}", bytes.escape_ascii());
    let known = answer.is_empty() || answer.starts_with(b"HTTP/1.");
    assert!(known, "{}", answer.escape_ascii());
}

#[tokio::test]
async fn damaged_requests_hurt_nobody_else() {
    let config = HttpConfig {
        idle_timeout: 1,
        ..HttpConfig::default()
    };
    let gateway = Gateway::start_with(config, 1000).await;
    let mut random = Random(0x5eed_0f4e_1700_0001);
    let mut sent = JoinSet::new();
    for round in 0..REQUESTS {
        let bytes = mutated(&mut random);
        let is_last_word = random.below(4) > 0;
        for piece in [1, bytes.len()] {
            sent.spawn(send(gateway.address, bytes.clone(), piece, is_last_word));
        }
        while sent.len() > AT_ONCE {
            sent.join_next().await.unwrap().unwrap();
        }
        if round % 50 == 0 {
            let request = gateway.request(Method::POST, "/event").body("1");
            assert_eq!(request.send().await.unwrap().status(), 202);
        }
    }
    while let Some(ended) = sent.join_next().await {
        ended.unwrap();
    }
    until(|| gateway.budget.open() == 0).await;
    gateway.stopped().await;
}
