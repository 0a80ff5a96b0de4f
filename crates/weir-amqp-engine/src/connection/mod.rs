//! The state machine of one connection.

mod attach;
mod handshake;
mod input;
#[cfg(test)]
mod inspect;
mod link;
mod receiving;
mod sending;
mod session;
mod timers;

use std::{collections::VecDeque, fmt, time::Instant};

use bytes::BytesMut;

use crate::{
    codec::{
        Malformed, cold, frame,
        hot::{self, DispositionOut},
    },
    config::{ClientSasl, Config},
    error::{Error, condition},
    event::{CloseReason, Event, LinkId, Outcome, SessionId},
    serial::Serial,
    slab::Slab,
};
use link::Link;
use session::{Session, Slot};
use timers::Timers;

/// Events waiting for their owner before input is left alone.
const MAX_EVENTS: usize = 1024;
/// Output is limited by `output_high_water` where we send; this many times as much is the limit for what the peer
/// makes us answer.
const REPLY_FACTOR: usize = 8;

/// One AMQP 1.0 connection, either role. `T` is the owner's token of an outgoing delivery.
///
/// Its methods are of four kinds:
/// - `handle_*`: something came in: bytes, the end of the transport, time;
/// - `poll_event`, `output`, `poll_timeout`, `is_closed`, `wants_input`: what to do next;
/// - commands (`open`, `attach`, `send`, ..) with no result but what the events say. A command that comes too late,
///   for a link that is gone, does nothing;
/// - getters (`credit`, `can_send`, ..).
///
/// After anything came in or was commanded: `handle_input` as long as it takes something from its buffer,
/// `poll_event` until `None`, write `output`, then wait until `poll_timeout`. See the [crate's page](crate).
pub struct Connection<T> {
    config: Config,
    /// Client only.
    sasl: Option<ClientSasl>,
    state: State,
    open_sent: bool,
    /// [`Event::Closed`] has been queued.
    announced: bool,
    peer: Peer,
    sessions: Slab<Session<T>>,
    links: Slab<Link>,
    /// Sessions by the peer's channel.
    channels: Vec<Option<u32>>,
    events: VecDeque<Event<T>>,
    output: BytesMut,
    /// Some session has dispositions that are not written yet.
    dispositions_due: bool,
    /// Some session has messages that are not written to the end yet.
    partials_due: bool,
    /// Some session has used up half of its incoming window.
    windows_due: bool,
    /// Octets of messages received in part.
    partial_bytes: usize,
    /// Attaches of ours so far.
    attaches: u64,
    timers: Timers,
    firsts: Firsts,
}

/// Where the connection stands. Headers, SASL and open follow one another; nothing is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come yet.
    FirstHeader,
    /// Server: waits for sasl-init.
    SaslInit,
    /// Server: waits for its owner's verdict. Input is left alone.
    SaslDecision,
    /// Client: waits for sasl-mechanisms.
    SaslMechanisms,
    /// Client: waits for sasl-outcome.
    SaslOutcome,
    /// After SASL.
    AmqpHeader,
    /// Waits for the peer's open.
    PeerOpen,
    /// Server: waits for its owner's open. Input is left alone, so that whatever the peer pipelined comes after.
    OpenDecision,
    /// Both opens are exchanged.
    Running,
    /// Only the peer's close matters.
    CloseSent,
    /// Over.
    Closed,
}

/// What the peer's open said.
#[derive(Clone, Copy, Debug)]
struct Peer {
    max_frame_size: u32,
    channel_max: u16,
}

/// Where our sequences start: 0, but tests start them near the wrap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Firsts {
    pub(crate) delivery_id: Serial,
    pub(crate) transfer_id: Serial,
    /// Stays 0 outside tests: proton and rhea send their first flow with count 0 whatever the attach said.
    pub(crate) delivery_count: Serial,
}

/// A rule the peer broke, and how much of the connection it costs [2.8.15 - 2.8.18].
#[derive(Debug)]
enum Fault {
    Connection(Error),
    /// By index.
    Session(u32, Error),
    /// By index.
    Link(u32, Error),
}

impl From<Malformed> for Fault {
    fn from(Malformed(expected): Malformed) -> Self {
        Self::Connection(Error::new(condition::DECODE_ERROR, expected))
    }
}

impl Fault {
    fn connection(condition: &'static str, text: &'static str) -> Self {
        Self::Connection(Error::new(condition, text))
    }

    fn session(session: u32, condition: &'static str, text: &'static str) -> Self {
        Self::Session(session, Error::new(condition, text))
    }

    fn link(link: u32, condition: &'static str, text: &'static str) -> Self {
        Self::Link(link, Error::new(condition, text))
    }
}

impl<T> Connection<T> {
    /// The listening side: says nothing before the peer's protocol header.
    pub fn server(config: Config, now: Instant) -> Self {
        Self::new(config, None, now)
    }

    /// The connecting side: sends its header, authenticates and opens by itself.
    pub fn client(config: Config, sasl: ClientSasl, now: Instant) -> Self {
        let mut connection = Self::new(config, Some(sasl), now);
        connection.start_client();
        connection
    }

    fn new(mut config: Config, sasl: Option<ClientSasl>, now: Instant) -> Self {
        config.max_frame_size = config.max_frame_size.max(frame::MIN_MAX_FRAME_SIZE);
        config.handle_max = config.handle_max.min(u32::from(u16::MAX));
        config.incoming_window = config.incoming_window.max(1);
        config.max_unsettled = config.max_unsettled.clamp(1, session::MAX_UNSETTLED);
        config.output_high_water = config.output_high_water.max(1);
        // Said to a peer, 0 would mean no limit [2.7.3].
        config.max_message_size = config.max_message_size.max(1);
        let timers = Timers::new(&config, now);
        Self {
            config,
            sasl,
            state: State::FirstHeader,
            open_sent: false,
            announced: false,
            peer: Peer {
                max_frame_size: frame::MIN_MAX_FRAME_SIZE,
                channel_max: u16::MAX,
            },
            sessions: Slab::new(),
            links: Slab::new(),
            channels: Vec::new(),
            events: VecDeque::new(),
            output: BytesMut::new(),
            dispositions_due: false,
            partials_due: false,
            windows_due: false,
            partial_bytes: 0,
            attaches: 0,
            timers,
            firsts: Firsts::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn set_firsts(&mut self, firsts: Firsts) {
        self.firsts = firsts;
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event<T>> {
        self.events.pop_front()
    }

    /// Octets to be written. What has been written is taken off the front; the rest stays.
    pub fn output(&mut self) -> &mut BytesMut {
        if self.dispositions_due {
            self.flush_dispositions();
        }
        if self.windows_due {
            self.renew_windows();
        }
        if self.partials_due {
            self.pump_all();
        }
        &mut self.output
    }

    /// Nothing more will happen: write what output is left and drop the transport.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether to read from the transport. Not while an answer of the owner is due
    /// ([`sasl_outcome`](Self::sasl_outcome), [`open`](Self::open)) nor while too much waits to be polled or
    /// written: a peer that makes us answer without reading the answers is not read either.
    pub fn wants_input(&self) -> bool {
        !matches!(
            self.state,
            State::SaslDecision | State::OpenDecision | State::Closed
        ) && self.events.len() < MAX_EVENTS
            && self.output.len() < REPLY_FACTOR * self.config.output_high_water.max(1 << 16)
    }

    /// The transport is gone: every open delivery's token comes back, then [`Event::Closed`]. Hand in what was read
    /// before. After [`is_closed`](Self::is_closed) it changes nothing: a peer that only stopped writing may still
    /// read our last frame.
    pub fn handle_eof(&mut self, now: Instant) {
        self.timers.clock(now);
        let reason = if self.state == State::CloseSent {
            CloseReason::Local
        } else {
            CloseReason::TransportLost
        };
        if self.state != State::Closed {
            self.finish(None, reason);
            self.output.clear();
        }
    }

    /// Ends the connection [2.4.3]. Open deliveries come back as lost at once; [`Event::Closed`] follows when the
    /// peer has answered or its time is up. Before [`open`](Self::open) this refuses the peer: open, then close.
    pub fn close(&mut self, now: Instant, error: Option<Error>) {
        self.timers.clock(now);
        match self.state {
            State::Closed | State::CloseSent => {}
            State::Running | State::OpenDecision | State::PeerOpen => {
                self.lose_everything();
                self.send_close(error.as_ref());
            }
            _ => self.finish(error, CloseReason::Local),
        }
    }

    /// Writes close, and open before it if that is still due, and waits for the peer's.
    fn send_close(&mut self, error: Option<&Error>) {
        if !self.open_sent {
            self.write_open();
        }
        let close = fe2o3_amqp_types::performatives::Close {
            error: error.map(cold::error_out),
        };
        // Cannot fail: the texts are cut to what every peer takes.
        let _ = self.put_cold(0, &close);
        self.state = State::CloseSent;
        self.timers.start_close(&self.config);
    }

    /// The peer broke the protocol: it is told, the owner too, and nothing but its close is heard any more.
    fn violate(&mut self, error: Error) {
        match self.state {
            State::Closed => return,
            State::Running | State::OpenDecision | State::PeerOpen => {
                self.lose_everything();
                self.send_close(Some(&error));
            }
            // Before AMQP there is no frame to say it with; after close nothing is left to say.
            _ => self.state = State::Closed,
        }
        self.announce(Some(error), CloseReason::Violation);
    }

    /// The end: nothing is waited for.
    fn finish(&mut self, error: Option<Error>, reason: CloseReason) {
        self.lose_everything();
        self.state = State::Closed;
        self.announce(error, reason);
    }

    fn announce(&mut self, error: Option<Error>, reason: CloseReason) {
        if !self.announced {
            self.announced = true;
            self.events.push_back(Event::Closed { error, reason });
        }
    }

    /// Queues an event, unless the last one has been.
    fn tell(&mut self, event: Event<T>) {
        if !self.announced {
            self.events.push_back(event);
        }
    }

    /// Brings every token back.
    fn lose_everything(&mut self) {
        self.flush_dispositions();
        let events = &mut self.events;
        for (_, session) in self.sessions.iter_mut() {
            session.ring.settle_where(
                |_| true,
                |_, slot| events.push_back(slot.ended(Outcome::LinkLost, false)),
            );
        }
        self.sessions.clear();
        self.links.clear();
        self.channels.clear();
        self.partial_bytes = 0;
        self.dispositions_due = false;
        self.partials_due = false;
        self.windows_due = false;
    }

    /// Writes a rare frame.
    fn put_cold<V: serde::Serialize>(
        &mut self,
        channel: u16,
        performative: &V,
    ) -> Result<(), Malformed> {
        let max = self.peer.max_frame_size;
        cold::put_frame(&mut self.output, frame::AMQP, channel, max, performative)
    }

    /// Writes a rare frame that says what the peer said to us: larger than it takes itself is its fault.
    fn put_answer<V: serde::Serialize>(&mut self, channel: u16, performative: &V) {
        if let Err(Malformed(text)) = self.put_cold(channel, performative) {
            self.violate(Error::new(condition::FRAME_SIZE_TOO_SMALL, text));
        }
    }

    fn session_index(&self, id: SessionId) -> Option<u32> {
        self.sessions.find(id.index, id.generation)
    }

    #[inline]
    fn link_index(&self, id: LinkId) -> Option<u32> {
        self.links.find(id.index, id.generation)
    }

    /// Writes dispositions that were held back to be merged.
    fn flush_dispositions(&mut self) {
        if !self.dispositions_due {
            return;
        }
        self.dispositions_due = false;
        for (_, session) in self.sessions.iter_mut() {
            if let Some(due) = session.disposition.take() {
                let disposition = DispositionOut {
                    as_receiver: true,
                    settled: due.settled,
                    range: (due.first, due.last),
                };
                hot::put_disposition(&mut self.output, session.channel, disposition, &due.outcome);
            }
        }
    }
}

impl<T> fmt::Debug for Connection<T> {
    /// Short, and without what may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<T> Slot<T> {
    fn ended(self, outcome: Outcome, left_to_us: bool) -> Event<T> {
        Event::Settled {
            link: self.link,
            token: self.token,
            outcome,
            left_to_us,
        }
    }
}
