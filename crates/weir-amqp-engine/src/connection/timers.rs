//! Deadlines. The engine never reads a clock: whatever knows the time hands it in, and the latest is kept.

use std::time::{Duration, Instant};

use super::{Connection, State};
use crate::{
    codec::{
        frame,
        hot::{self, DispositionOut},
    },
    config::Config,
    error::{Error, condition},
    event::{CloseReason, Outcome},
    serial::Serial,
};

/// Peers that want to hear from us more often than this are refused [2.4.5].
pub(super) const MIN_PEER_IDLE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Timers {
    now: Instant,
    handshake: Option<Instant>,
    close: Option<Instant>,
    /// Peer silent since.
    heard: Instant,
    /// Octets the last input left behind: the same number again is no news.
    leftover: usize,
    /// When the next heartbeat is due, and the time between two.
    heartbeat: Option<(Instant, Duration)>,
}

impl Timers {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            now,
            handshake: now.checked_add(config.handshake_timeout),
            close: None,
            heard: now,
            leftover: 0,
            heartbeat: None,
        }
    }

    #[inline]
    pub(super) fn clock(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The latest time known.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Input of this length was handed in.
    #[inline]
    pub(super) fn heard(&mut self, now: Instant, len: usize) {
        self.clock(now);
        if len != self.leftover {
            self.heard = self.now;
        }
    }

    #[inline]
    pub(super) fn left_over(&mut self, len: usize) {
        self.leftover = len;
    }

    /// Something was sent: the next heartbeat can wait.
    #[inline]
    pub(super) fn sent(&mut self) {
        if let Some((due, every)) = &mut self.heartbeat {
            *due = self.now + *every;
        }
    }

    pub(super) fn start_close(&mut self, config: &Config) {
        self.handshake = None;
        self.heartbeat = None;
        self.close = self.now.checked_add(config.close_timeout);
    }

    /// Both opens are exchanged.
    pub(super) fn start_running(&mut self) {
        self.handshake = None;
        self.heard = self.now;
        self.sent();
    }

    /// The peer wants to hear from us; it gets a heartbeat in half of its time-out.
    pub(super) fn peer_idle(&mut self, timeout: Duration) {
        let every = timeout / 2;
        self.heartbeat = Some((self.now + every, every));
    }
}

impl<T> Connection<T> {
    /// What [`Config::idle_timeout`] says. Whoever writes the output ends the connection with
    /// [`handle_eof`](Self::handle_eof) when the peer has taken none of it for as long: only the writer knows, and
    /// a peer that goes on sending heartbeats is not silent.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.config.idle_timeout
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = &self.timers;
        match self.state {
            State::Closed => None,
            State::CloseSent => timers.close,
            State::Running => {
                let give_up = self
                    .sessions
                    .iter()
                    .filter_map(|(_, session)| session.next_give_up)
                    .min();
                let heartbeat = timers.heartbeat.map(|(due, _)| due);
                [self.idle_deadline(), heartbeat, give_up]
                    .into_iter()
                    .flatten()
                    .min()
            }
            _ => timers.handshake,
        }
    }

    /// Does what is due. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.timers.clock(now);
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        match self.state {
            State::Closed => {}
            State::CloseSent if due(self.timers.close) => self.finish(None, CloseReason::Local),
            State::CloseSent => {}
            State::Running => {
                if due(self.idle_deadline()) {
                    return self.end_silence();
                }
                self.give_up(now);
                self.heartbeat(now);
            }
            _ if due(self.timers.handshake) => {
                let error = Error::new(
                    condition::RESOURCE_LIMIT_EXCEEDED,
                    "handshake took too long",
                );
                self.finish(Some(error), CloseReason::HandshakeTimeout);
            }
            _ => {}
        }
    }

    fn idle_deadline(&self) -> Option<Instant> {
        self.timers.heard.checked_add(self.config.idle_timeout?)
    }

    /// The peer is told if it can still hear it [2.4.5]; nobody waits for its answer.
    fn end_silence(&mut self) {
        let error = Error::new(condition::RESOURCE_LIMIT_EXCEEDED, "idle time-out");
        let takes_output = self.output.is_empty();
        self.lose_everything();
        if takes_output {
            self.send_close(Some(&error));
        } else {
            // It does not read either.
            self.output.clear();
        }
        self.finish(Some(error), CloseReason::IdleTimeout);
    }

    fn heartbeat(&mut self, now: Instant) {
        match self.timers.heartbeat {
            Some((due, _)) if due <= now => {}
            _ => return,
        }
        // Octets that wait to be written say as much.
        if self.output().is_empty() {
            let start = frame::begin(&mut self.output, frame::AMQP, 0);
            frame::end(&mut self.output, start);
        }
        self.timers.sent();
    }

    /// Settles deliveries that have waited long enough.
    fn give_up(&mut self, now: Instant) {
        let due: Vec<u32> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.next_give_up.is_some_and(|deadline| deadline <= now))
            .map(|(index, _)| index)
            .collect();
        for index in due {
            let Some(session) = self.sessions.get_mut(index) else {
                continue;
            };
            let was_full = session.is_full(self.config.max_unsettled);
            let mut ranges: Vec<(Serial, Serial)> = Vec::new();
            let events = &mut self.events;
            session.ring.settle_where(
                |slot| slot.give_up_at.is_some_and(|deadline| deadline <= now),
                |id, slot| {
                    events.push_back(slot.ended(Outcome::TimedOut, false));
                    match ranges.last_mut() {
                        Some((_, last)) if last.plus(1) == id => *last = id,
                        _ => ranges.push((id, id)),
                    }
                },
            );
            session.next_give_up = session.ring.iter().filter_map(|slot| slot.give_up_at).min();
            let channel = session.channel;
            for (first, last) in ranges {
                self.abort_partials(index, first, last);
                let disposition = DispositionOut {
                    as_receiver: false,
                    settled: true,
                    range: (first, last),
                };
                hot::put_disposition(&mut self.output, channel, disposition, &Outcome::Released);
            }
            if was_full {
                self.wake_senders(index);
            }
        }
    }
}
