//! Our client against our server on a virtual clock, over a wire that cuts as it likes. Nothing sleeps.
#![allow(clippy::unwrap_used)]

mod connection;
mod credit;
mod drain;
mod figures;
mod fuzz;
mod link;
mod message;
mod outcome;
mod pair;
mod ring;
mod session;
mod symbolic;
mod transfer;
mod wire;
mod wrap;

use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::connection::{Connection, Firsts};
use crate::{
    AcceptLink, AttachRequest, ClientSasl, CloseReason, Config, DeliveryId, Error, Event, LinkId,
    Outcome, SaslCode, SendOptions, SessionId,
};

/// xorshift64*: enough to cut wires and to flip bits.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Cases of a test that goes through many: `WEIR_FUZZ_CASES` asks for another number than the usual one.
pub(crate) fn cases(usual: u64) -> u64 {
    let cases = std::env::var("WEIR_FUZZ_CASES").ok();
    cases.map_or(usual, |cases| cases.parse().unwrap())
}

/// Says which case a test was in when it fails.
pub(crate) struct Case(pub(crate) u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in case {}", self.0);
        }
    }
}

/// How the wire cuts what it carries.
#[derive(Clone, Copy)]
pub(crate) enum Chunks {
    Whole,
    Bytes,
    Random,
}

pub(crate) struct Side {
    pub(crate) conn: Connection<u32>,
    pub(crate) input: BytesMut,
    /// On its way to the other side.
    wire: BytesMut,
    pub(crate) events: Vec<Event<u32>>,
    /// Everything this side was sent.
    pub(crate) heard: Vec<u8>,
    /// Answers SASL, open and attach by itself.
    pub(crate) obliging: bool,
    /// Reads nothing and writes nothing.
    pub(crate) frozen: bool,
}

impl Side {
    fn new(conn: Connection<u32>) -> Self {
        Self {
            conn,
            input: BytesMut::new(),
            wire: BytesMut::new(),
            events: Vec::new(),
            heard: Vec::new(),
            obliging: true,
            frozen: false,
        }
    }

    /// Input, events and output, as a shell does it; true if anything happened.
    fn turn(&mut self, now: Instant) -> bool {
        if self.frozen {
            return false;
        }
        let mut busy = false;
        loop {
            let before = self.input.len();
            self.conn.handle_input(now, &mut self.input);
            let mut moved = self.input.len() != before;
            while let Some(event) = self.conn.poll_event() {
                moved = true;
                if self.obliging {
                    self.oblige(now, &event);
                }
                self.events.push(event);
            }
            busy |= moved;
            if !moved {
                break;
            }
        }
        let output = self.conn.output();
        busy |= !output.is_empty();
        self.wire.unsplit(output.split());
        busy
    }

    fn oblige(&mut self, now: Instant, event: &Event<u32>) {
        match event {
            Event::SaslInit {
                mechanism,
                response,
                ..
            } => {
                let good = mechanism != "PLAIN" || &response[..] == b"\0user\0secret";
                self.conn
                    .sasl_outcome(now, if good { SaslCode::Ok } else { SaslCode::Auth });
            }
            Event::Opened(_) => self.conn.open(now),
            Event::Attach { link, .. } => self.conn.accept_link(
                *link,
                AcceptLink {
                    credit: 10,
                    ..AcceptLink::default()
                },
            ),
            _ => {}
        }
    }

    pub(crate) fn messages(&self) -> Vec<(LinkId, DeliveryId, Vec<u8>)> {
        let messages = self.events.iter().filter_map(|event| match event {
            Event::Message {
                link,
                delivery,
                message,
                ..
            } => Some((*link, *delivery, message.to_vec())),
            _ => None,
        });
        messages.collect()
    }

    pub(crate) fn outcomes(&self) -> Vec<(u32, Outcome)> {
        let outcomes = self.events.iter().filter_map(|event| match event {
            Event::Settled { token, outcome, .. } => Some((*token, outcome.clone())),
            _ => None,
        });
        outcomes.collect()
    }

    pub(crate) fn closed(&self) -> Option<(Option<Error>, CloseReason)> {
        self.events.iter().find_map(|event| match event {
            Event::Closed { error, reason } => Some((error.clone(), *reason)),
            _ => None,
        })
    }

    pub(crate) fn detached(&self) -> Vec<(LinkId, Option<Error>)> {
        let detached = self.events.iter().filter_map(|event| match event {
            Event::Detached { link, error, .. } => Some((*link, error.clone())),
            _ => None,
        });
        detached.collect()
    }

    pub(crate) fn ended(&self) -> Vec<(SessionId, Option<Error>)> {
        let ended = self.events.iter().filter_map(|event| match event {
            Event::SessionEnded { session, error } => Some((*session, error.clone())),
            _ => None,
        });
        ended.collect()
    }

    pub(crate) fn attached(&self) -> Option<LinkId> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Attach { link, .. } => Some(*link),
            _ => None,
        })
    }

    pub(crate) fn any(&self, matches: impl Fn(&Event<u32>) -> bool) -> bool {
        self.events.iter().any(matches)
    }
}

pub(crate) struct Pair {
    pub(crate) client: Side,
    pub(crate) server: Side,
    pub(crate) now: Instant,
    chunks: Chunks,
    rng: Rng,
}

pub(crate) fn config() -> Config {
    Config {
        idle_timeout: None,
        ..Config::default()
    }
}

impl Pair {
    pub(crate) fn new(client: Config, sasl: ClientSasl, server: Config) -> Self {
        let now = Instant::now();
        Self {
            client: Side::new(Connection::client(client, sasl, now)),
            server: Side::new(Connection::server(server, now)),
            now,
            chunks: Chunks::Random,
            rng: Rng::new(7),
        }
    }

    /// No SASL, default limits, both open.
    pub(crate) fn open() -> Self {
        Self::open_with(config(), config())
    }

    pub(crate) fn open_with(client: Config, server: Config) -> Self {
        let mut pair = Self::new(client, ClientSasl::None, server);
        pair.drive();
        assert!(pair.client.any(|event| matches!(event, Event::Opened(_))));
        pair
    }

    pub(crate) fn chunks(mut self, chunks: Chunks, seed: u64) -> Self {
        self.chunks = chunks;
        self.rng = Rng::new(seed);
        self
    }

    /// Moves octets and events until nothing happens any more.
    pub(crate) fn drive(&mut self) {
        for _ in 0..1_000_000 {
            let mut busy = self.client.turn(self.now) | self.server.turn(self.now);
            busy |= carry(
                &mut self.client,
                &mut self.server,
                self.chunks,
                &mut self.rng,
            );
            busy |= carry(
                &mut self.server,
                &mut self.client,
                self.chunks,
                &mut self.rng,
            );
            if !busy {
                return;
            }
        }
        panic!("the pair never comes to rest");
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drive();
            let next = [
                self.client.conn.poll_timeout(),
                self.server.conn.poll_timeout(),
            ];
            let Some(next) = next.into_iter().flatten().min().filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.client.conn.handle_timeout(self.now);
            self.server.conn.handle_timeout(self.now);
        }
        self.now = end;
        self.drive();
    }

    pub(crate) fn begin(&mut self) -> SessionId {
        let session = self.client.conn.begin(self.now);
        self.drive();
        session
    }

    /// Client receives, server sends: as telemetry does. Returns the client's and the server's link.
    pub(crate) fn telemetry(
        &mut self,
        session: SessionId,
        name: &str,
        credit: u32,
    ) -> (LinkId, LinkId) {
        let ours = self.client.conn.attach(
            session,
            AttachRequest::receiver(name, "telemetry/acme", credit),
        );
        self.drive();
        (ours, self.server.attached().unwrap())
    }

    /// Client sends, server receives with credit 10. Returns the client's and the server's link.
    pub(crate) fn commands(&mut self, session: SessionId, name: &str) -> (LinkId, LinkId) {
        let ours = self
            .client
            .conn
            .attach(session, AttachRequest::sender(name, "command/acme"));
        self.drive();
        (ours, self.server.attached().unwrap())
    }
}

fn carry(from: &mut Side, to: &mut Side, chunks: Chunks, rng: &mut Rng) -> bool {
    if from.wire.is_empty() || to.frozen {
        return false;
    }
    let len = match chunks {
        Chunks::Whole => from.wire.len(),
        Chunks::Bytes => 1,
        Chunks::Random => match rng.below(4) {
            0 => 1,
            1 => 1 + rng.below(40),
            _ => 1 + rng.below(9000),
        },
    };
    let chunk = from.wire.split_to(len.min(from.wire.len()));
    if to.conn.is_closed() {
        return true;
    }
    to.heard.extend_from_slice(&chunk);
    to.input.extend_from_slice(&chunk);
    true
}

/// Sends a message whose sections are opaque to the engine.
pub(crate) fn send(
    side: &mut Side,
    now: Instant,
    link: LinkId,
    token: u32,
    message: &[u8],
) -> Result<(), u32> {
    side.conn
        .send(now, link, token, SendOptions::default(), |out| {
            out.extend_from_slice(message);
        })
}

pub(crate) fn condition_of(error: &Option<Error>) -> &str {
    error.as_ref().map_or("", |error| &error.condition)
}
