//! Whole sessions, recorded and then broken: whatever comes, nothing panics, nothing hangs, memory stays bounded and
//! every token comes back exactly once.

use std::{collections::HashSet, time::Duration};

use super::*;
use crate::codec::frame::{self, Front};

const CASES: usize = 12_000;

fn limits() -> Config {
    Config {
        sasl_mechanisms: vec!["PLAIN"],
        max_frame_size: 1024,
        incoming_window: 16,
        max_unsettled: 64,
        max_message_size: 20_000,
        max_partial_bytes: 50_000,
        output_high_water: 10_000,
        idle_timeout: Some(Duration::from_secs(10)),
        ..Config::default()
    }
}

fn sasl() -> ClientSasl {
    ClientSasl::Plain {
        username: "user".to_owned(),
        password: "secret".to_owned(),
    }
}

/// A session with something of everything. Returns what client and server heard.
fn record() -> (Vec<u8>, Vec<u8>) {
    let mut pair = Pair::new(limits(), sasl(), limits());
    pair.drive();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 20);
    let (commander, commanded) = pair.commands(session, "c");
    let outcomes = [
        Outcome::Accepted,
        Outcome::Rejected {
            condition: Some("amqp:not-found".to_owned()),
            description: Some("no".to_owned()),
        },
        Outcome::Modified {
            delivery_failed: true,
            undeliverable_here: true,
        },
        Outcome::Released,
    ];
    for token in 0..8 {
        let len = if token == 5 { 3000 } else { 30 };
        send(&mut pair.server, pair.now, sender, token, &vec![7; len]).unwrap();
        send(&mut pair.client, pair.now, commander, token, &vec![8; len]).unwrap();
        pair.drive();
    }
    for (index, (link, delivery, _)) in pair.client.messages().into_iter().enumerate() {
        pair.client
            .conn
            .settle(link, delivery, &outcomes[index % 4]);
    }
    for (index, (link, delivery, _)) in pair.server.messages().into_iter().enumerate() {
        pair.server
            .conn
            .settle(link, delivery, &outcomes[index % 4]);
    }
    pair.drive();
    pair.client.conn.drain(receiver);
    pair.server.conn.grant_credit(commanded, 20);
    pair.drive();
    pair.server.conn.drained(sender);
    pair.drive();
    pair.client.conn.grant_credit(receiver, 10);
    pair.pass(Duration::from_secs(6));
    pair.client.conn.detach(receiver, None);
    pair.drive();
    pair.client.conn.end(session, None);
    pair.drive();
    pair.client.conn.close(pair.now, None);
    pair.drive();
    assert!(pair.client.conn.is_closed() && pair.server.conn.is_closed());
    (pair.client.heard, pair.server.heard)
}

/// Where headers and frames start.
fn starts(heard: &[u8]) -> Vec<usize> {
    let mut starts = vec![];
    let mut at = 0;
    while at < heard.len() {
        starts.push(at);
        at += match frame::peek(&heard[at..], u32::MAX) {
            _ if heard[at..].starts_with(b"AMQP") => 8,
            Front::Whole(header) => header.size,
            front => panic!("recorded {front:?}"),
        };
    }
    starts
}

fn mutate(heard: &[u8], starts: &[usize], rng: &mut Rng) -> Vec<u8> {
    let mut frames: Vec<Vec<u8>> = (0..starts.len())
        .map(|i| heard[starts[i]..starts.get(i + 1).copied().unwrap_or(heard.len())].to_vec())
        .collect();
    // Half of the cases leave a beginning as it was, or few would get past SASL.
    let floor = if rng.below(2) == 0 {
        0
    } else {
        rng.below(frames.len())
    };
    for _ in 0..1 + rng.below(4) {
        let at = floor.min(frames.len() - 1);
        let at = at + rng.below(frames.len() - at);
        let other = rng.below(frames.len());
        match rng.below(10) {
            0 => frames.swap(at, other),
            1 => frames.insert(at, frames[other].clone()),
            2 if frames.len() > 1 => drop(frames.remove(at)),
            3 => {
                let cut = rng.below(frames[at].len());
                frames[at].truncate(cut.max(1));
            }
            // Cut inside, with a size that is right again.
            4 if frames[at].len() > 12 => {
                let cut = 8 + rng.below(frames[at].len() - 8);
                frames[at].truncate(cut);
                let size = u32::try_from(cut).unwrap().to_be_bytes();
                frames[at][..4].copy_from_slice(&size);
            }
            5 => {
                let byte = rng.below(frames[at].len());
                let values = [
                    0, 0x40, 0x41, 0x43, 0x45, 0x7f, 0x80, 0xc0, 0xd0, 0xf0, 0xff,
                ];
                frames[at][byte] = values[rng.below(values.len())];
            }
            _ => {
                let byte = rng.below(frames[at].len());
                frames[at][byte] ^= 1 << rng.below(8);
            }
        }
    }
    frames.concat()
}

/// One side and an owner that does something about every event.
struct Victim {
    side: Side,
    now: Instant,
    next_token: u32,
    open: HashSet<u32>,
    senders: Vec<LinkId>,
    closed: bool,
}

impl Victim {
    fn new(client: bool) -> Self {
        let now = Instant::now();
        let conn = if client {
            Connection::client(limits(), sasl(), now)
        } else {
            Connection::server(limits(), now)
        };
        Self {
            side: Side::new(conn),
            now,
            next_token: 0,
            open: HashSet::new(),
            senders: Vec::new(),
            closed: false,
        }
    }

    fn feed(&mut self, chunk: &[u8], rng: &mut Rng) {
        self.side.input.extend_from_slice(chunk);
        for round in 0.. {
            assert!(round < 10_000, "does not come to rest");
            let before = self.side.input.len();
            self.side.conn.handle_input(self.now, &mut self.side.input);
            let moved = self.side.input.len() != before;
            let mut events = 0;
            while let Some(event) = self.side.conn.poll_event() {
                events += 1;
                self.on_event(event, rng);
            }
            assert!(events < 20_000, "{events} events at once");
            let output = self.side.conn.output();
            assert!(output.len() < 300_000, "{} octets of output", output.len());
            output.clear();
            if !moved && events == 0 {
                break;
            }
        }
    }

    fn on_event(&mut self, event: Event<u32>, rng: &mut Rng) {
        assert!(!self.closed, "{event:?} after the end");
        let conn = &mut self.side.conn;
        match &event {
            Event::Opened(_) if self.next_token == 0 && self.side.obliging => {
                self.side.oblige(self.now, &event);
                let session = self.side.conn.begin(self.now);
                self.senders.push(
                    self.side
                        .conn
                        .attach(session, AttachRequest::sender("c", "command/acme")),
                );
                self.side
                    .conn
                    .attach(session, AttachRequest::receiver("t", "telemetry/acme", 20));
            }
            Event::Attach { link, .. } => {
                self.senders.push(*link);
                if rng.below(8) == 0 {
                    conn.refuse_link(*link, crate::condition::NOT_FOUND.into());
                } else {
                    self.side.oblige(self.now, &event);
                }
            }
            Event::Message { link, delivery, .. } => {
                conn.settle(*link, *delivery, &Outcome::Accepted);
            }
            Event::Drain { link } => {
                if rng.below(2) == 0 {
                    conn.drained(*link);
                }
            }
            Event::Settled { token, .. } => {
                assert!(self.open.remove(token), "a token came back twice");
            }
            Event::Closed { .. } => self.closed = true,
            _ => self.side.oblige(self.now, &event),
        }
        for link in self.senders.clone() {
            for _ in 0..3 {
                let give_up_at = (rng.below(3) == 0).then_some(self.now + Duration::from_secs(1));
                let options = SendOptions {
                    settled: rng.below(9) == 0,
                    give_up_at,
                };
                let len = if rng.below(9) == 0 { 3000 } else { 20 };
                let token = self.next_token;
                let sent = self.side.conn.send(self.now, link, token, options, |out| {
                    out.resize(out.len() + len, 7);
                });
                if sent.is_ok() {
                    self.next_token += 1;
                    assert!(self.open.insert(token));
                }
            }
        }
    }

    fn finish(&mut self, rng: &mut Rng) {
        for _ in 0..40 {
            let Some(next) = self.side.conn.poll_timeout() else {
                break;
            };
            self.now = self.now.max(next);
            self.side.conn.handle_timeout(self.now);
            self.feed(&[], rng);
        }
        self.side.conn.handle_eof(self.now);
        self.feed(&[], rng);
        assert!(self.side.conn.is_closed() && self.closed);
        assert!(self.open.is_empty(), "{} tokens are lost", self.open.len());
    }
}

fn attack(client: bool, seed: u64) -> usize {
    let (client_heard, server_heard) = record();
    let heard = if client { client_heard } else { server_heard };
    let starts = starts(&heard);
    let mut sent = 0;
    for case in 0..CASES {
        let mut rng = Rng::new(seed + case as u64);
        let broken = mutate(&heard, &starts, &mut rng);
        let mut victim = Victim::new(client);
        let mut rest = &broken[..];
        // A client's owner must have begun its session before the recorded answer comes.
        let size = [2, 20, 200, if client { 200 } else { 100_000 }][rng.below(4)];
        while !rest.is_empty() {
            let len = (1 + rng.below(size)).min(rest.len());
            victim.feed(&rest[..len], &mut rng);
            rest = &rest[len..];
        }
        victim.finish(&mut rng);
        sent += victim.next_token as usize;
    }
    sent
}

#[test]
fn a_server_survives_broken_sessions() {
    assert!(attack(false, 1) > CASES);
}

#[test]
fn a_client_survives_broken_sessions() {
    attack(true, 1_000_000);
}
