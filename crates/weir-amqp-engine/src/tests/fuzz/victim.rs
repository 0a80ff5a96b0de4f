//! Who is attacked.

use std::collections::HashSet;

use super::{super::wire::Wire, *};

pub(super) fn limits() -> Config {
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

pub(super) fn sasl() -> ClientSasl {
    ClientSasl::Plain {
        username: "user".to_owned(),
        password: "secret".to_owned(),
    }
}

/// One side and an owner that does something about every event.
pub(super) struct Victim {
    pub(super) side: Side,
    pub(super) now: Instant,
    pub(super) next_token: u32,
    pub(super) open: HashSet<u32>,
    pub(super) senders: Vec<LinkId>,
    pub(super) opened: bool,
    pub(super) closed: bool,
}

impl Victim {
    pub(super) fn new(client: bool) -> Self {
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
            opened: false,
            closed: false,
        }
    }

    /// With a session and a link each way that the peer has asked for.
    pub(super) fn running(client: bool, rng: &mut Rng) -> Self {
        let mut victim = Self::new(client);
        let begin = performative(0x11, 4, b"\x40\x43\x52\x64\x52\x64");
        let links = Wire::default().sender(0).receiver(1).credit(1, 5);
        let handshake = handshake::good(client).concat();
        for octets in [&handshake, &frame(0, 0, &begin), &links.0[..]] {
            victim.feed(octets, rng);
        }
        assert!(victim.opened && !victim.closed);
        victim
    }

    pub(super) fn feed(&mut self, chunk: &[u8], rng: &mut Rng) {
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
        self.opened |= matches!(event, Event::Opened(_));
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

    pub(super) fn finish(&mut self, rng: &mut Rng) {
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
