//! Sessions [2.5]: begin and end, windows.

use std::{collections::VecDeque, time::Instant};

use fe2o3_amqp_types::performatives::{Begin, End};

use super::{Connection, Fault, State};
use crate::{
    codec::{cold, hot},
    error::{Error, condition},
    event::{Event, LinkId, Outcome, SessionId},
    ring::Ring,
    serial::Serial,
};

/// Keeps the ring's deque far below 2^31, where serial numbers stop to compare.
pub(super) const MAX_UNSETTLED: usize = 1 << 20;
/// Our outgoing window: nothing is kept for resending, so there is no limit to announce.
const OUTGOING_WINDOW: u32 = i32::MAX as u32;

#[derive(Debug)]
pub(super) struct Session<T> {
    pub(super) id: SessionId,
    /// Ours.
    pub(super) channel: u16,
    /// The peer's, once it has begun.
    pub(super) remote_channel: Option<u16>,
    pub(super) state: SessionState,
    /// Links by our handle.
    pub(super) handles: Vec<Option<u32>>,
    /// Links by the peer's handle.
    pub(super) remote_handles: Vec<Option<u32>>,
    pub(super) peer_handle_max: u32,
    /// The number of our next transfer frame, and of our first.
    pub(super) next_outgoing_id: Serial,
    first_outgoing_id: Serial,
    /// Transfer frames the peer still takes.
    pub(super) remote_window: u32,
    /// The number of the peer's next transfer frame.
    pub(super) next_incoming_id: Serial,
    /// Transfer frames we still take.
    pub(super) incoming_window: u32,
    pub(super) ring: Ring<Slot<T>>,
    /// No delivery is given up before.
    pub(super) next_give_up: Option<Instant>,
    /// Links with a message not sent to its end, first come first served.
    pub(super) partials: VecDeque<u32>,
    /// Our outcomes held back for the next one to join.
    pub(super) disposition: Option<DueDisposition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionState {
    BeginSent,
    Mapped,
    /// Only the peer's end matters. `announced`: its owner knows.
    EndSent {
        announced: bool,
    },
}

/// An outgoing delivery that waits for its outcome.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) link: LinkId,
    pub(super) token: T,
    pub(super) give_up_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct DueDisposition {
    pub(super) first: Serial,
    pub(super) last: Serial,
    pub(super) settled: bool,
    pub(super) outcome: Outcome,
}

impl<T> Session<T> {
    #[inline]
    pub(super) fn is_full(&self, max_unsettled: usize) -> bool {
        self.ring.live() >= max_unsettled || self.ring.is_exhausted()
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, SessionState::EndSent { .. })
    }

    /// A delivery that waits for its outcome.
    #[inline]
    pub(super) fn push(&mut self, slot: Slot<T>) {
        self.next_give_up = match (self.next_give_up, slot.give_up_at) {
            (Some(known), Some(new)) => Some(known.min(new)),
            (known, new) => known.or(new),
        };
        self.ring.push(slot);
    }

    /// Has the oldest deliveries given up when no other id can be told from theirs any more.
    #[cold]
    pub(super) fn give_up_oldest(&mut self, now: Instant) {
        for slot in self.ring.oldest_mut() {
            slot.give_up_at = Some(now);
        }
        self.next_give_up = Some(now);
    }

    /// One transfer frame of ours.
    #[inline]
    pub(super) fn count_transfer(&mut self) {
        self.next_outgoing_id.advance();
        self.remote_window = self.remote_window.saturating_sub(1);
    }

    /// What the peer's flow says about its window [2.5.6]. Before it has seen our begin it cannot name a number.
    pub(super) fn update_window(&mut self, next_incoming_id: Option<u32>, window: u32) {
        let seen = next_incoming_id.map_or(self.first_outgoing_id, Serial);
        self.remote_window = remaining(seen, window, self.next_outgoing_id);
    }

    pub(super) fn flow(&self) -> hot::Flow {
        hot::Flow {
            next_incoming_id: self.remote_channel.map(|_| self.next_incoming_id.0),
            incoming_window: self.incoming_window,
            next_outgoing_id: self.next_outgoing_id.0,
            outgoing_window: OUTGOING_WINDOW,
            link: None,
            echo: false,
        }
    }
}

/// What is left of `count` from `base` on when the sequence stands at `now`. A `now` before `base` is the peer's
/// mistake and leaves no more than `count`.
pub(super) fn remaining(base: Serial, count: u32, now: Serial) -> u32 {
    count.saturating_sub(now.steps_from(base))
}

impl<T> Connection<T> {
    /// Begins a session of our own, once the connection is open; [`Event::SessionBegun`] says when it is usable,
    /// [`Event::SessionEnded`] when there is none to be had. Links may be attached at once.
    pub fn begin(&mut self, now: Instant) -> SessionId {
        self.timers.clock(now);
        let channel = (self.state == State::Running)
            .then(|| self.free_channel())
            .flatten();
        let index = self.insert_session(channel.unwrap_or(0));
        let id = SessionId {
            index,
            generation: self.session_generation(index),
        };
        if let Some(channel) = channel {
            self.write_begin(index, channel, None);
        } else {
            self.sessions.remove(index);
            let error = Error::new(
                condition::RESOURCE_LIMIT_EXCEEDED,
                "no channel for another session",
            );
            self.tell(Event::SessionEnded {
                session: id,
                error: Some(error),
            });
        }
        id
    }

    /// Ends a session. Its links go with it, open deliveries come back as lost; [`Event::SessionEnded`] follows when
    /// the peer has answered.
    pub fn end(&mut self, session: SessionId, error: Option<Error>) {
        if let Some(index) = self.session_index(session) {
            self.end_session(index, error.as_ref(), false);
        }
    }

    fn session_generation(&self, index: u32) -> u32 {
        self.sessions
            .get(index)
            .map_or(0, |session| session.id.generation)
    }

    fn free_channel(&self) -> Option<u16> {
        let max = self.peer.channel_max.min(self.config.channel_max);
        (0..=max).find(|channel| {
            !self
                .sessions
                .iter()
                .any(|(_, session)| session.channel == *channel)
        })
    }

    fn insert_session(&mut self, channel: u16) -> u32 {
        let (firsts, window) = (self.firsts, self.config.incoming_window);
        self.sessions.insert(|index, generation| Session {
            id: SessionId { index, generation },
            channel,
            remote_channel: None,
            state: SessionState::BeginSent,
            handles: Vec::new(),
            remote_handles: Vec::new(),
            peer_handle_max: u32::MAX,
            next_outgoing_id: firsts.transfer_id,
            first_outgoing_id: firsts.transfer_id,
            remote_window: 0,
            next_incoming_id: Serial(0),
            incoming_window: window,
            ring: Ring::new(firsts.delivery_id),
            next_give_up: None,
            partials: VecDeque::new(),
            disposition: None,
        })
    }

    fn write_begin(&mut self, index: u32, channel: u16, remote_channel: Option<u16>) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let begin = Begin {
            remote_channel,
            next_outgoing_id: session.next_outgoing_id.0,
            incoming_window: session.incoming_window,
            outgoing_window: OUTGOING_WINDOW,
            handle_max: self.config.handle_max.into(),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.put_answer(channel, &begin);
    }

    pub(super) fn on_begin(&mut self, remote_channel: u16, begin: &Begin) -> Result<(), Fault> {
        if remote_channel > self.config.channel_max {
            return Err(Fault::connection(
                condition::FRAMING_ERROR,
                "channel above channel-max",
            ));
        }
        let slot = usize::from(remote_channel);
        if self.channels.get(slot).is_some_and(Option::is_some) {
            return Err(Fault::connection(
                condition::NOT_ALLOWED,
                "begin on a channel that has a session",
            ));
        }
        let index = match begin.remote_channel {
            Some(ours) => {
                let answered = |session: &Session<T>| {
                    session.channel == ours && session.remote_channel.is_none()
                };
                let found = self.sessions.iter().find(|(_, session)| answered(session));
                found.map(|(index, _)| index).ok_or_else(|| {
                    Fault::connection(
                        condition::NOT_ALLOWED,
                        "begin answers a session that was not begun",
                    )
                })?
            }
            None => {
                let channel = self.free_channel().ok_or_else(|| {
                    Fault::connection(
                        condition::NOT_ALLOWED,
                        "no channel is left for another session",
                    )
                })?;
                self.insert_session(channel)
            }
        };
        if self.channels.len() <= slot {
            self.channels.resize(slot + 1, None);
        }
        self.channels[slot] = Some(index);
        let Some(session) = self.sessions.get_mut(index) else {
            return Ok(());
        };
        session.remote_channel = Some(remote_channel);
        session.next_incoming_id = Serial(begin.next_outgoing_id);
        session.peer_handle_max = begin.handle_max.0;
        session.update_window(None, begin.incoming_window);
        if session.state == SessionState::BeginSent {
            session.state = SessionState::Mapped;
            let (id, channel) = (session.id, session.channel);
            if begin.remote_channel.is_none() {
                self.write_begin(index, channel, Some(remote_channel));
            }
            self.tell(Event::SessionBegun { session: id });
        }
        Ok(())
    }

    pub(super) fn on_end(&mut self, index: u32, end: End) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        let (id, remote_channel) = (session.id, session.remote_channel);
        let announced = matches!(session.state, SessionState::EndSent { announced: true });
        if !session.is_ending() {
            self.end_session(index, None, true);
        }
        if !announced {
            let error = end.error.map(cold::error_in);
            self.tell(Event::SessionEnded { session: id, error });
        }
        if let Some(slot) =
            remote_channel.and_then(|channel| self.channels.get_mut(usize::from(channel)))
        {
            *slot = None;
        }
        self.sessions.remove(index);
    }

    /// The peer broke the session's rules: it ends, and nothing but the peer's end is heard on it any more.
    pub(super) fn fail_session(&mut self, index: u32, error: Error) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        if session.is_ending() {
            return;
        }
        let id = session.id;
        self.end_session(index, Some(&error), true);
        self.tell(Event::SessionEnded {
            session: id,
            error: Some(error),
        });
    }

    /// Brings back the tokens, drops the links and writes end.
    fn end_session(&mut self, index: u32, error: Option<&Error>, announced: bool) {
        self.flush_dispositions();
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if session.is_ending() {
            return;
        }
        session.state = SessionState::EndSent { announced };
        let events = &mut self.events;
        session.ring.settle_where(
            |_| true,
            |_, slot| events.push_back(slot.ended(Outcome::LinkLost, false)),
        );
        session.next_give_up = None;
        session.partials = VecDeque::new();
        session.remote_handles = Vec::new();
        let channel = session.channel;
        for link in std::mem::take(&mut session.handles).into_iter().flatten() {
            self.drop_link(link);
        }
        self.put_answer(
            channel,
            &End {
                error: error.map(cold::error_out),
            },
        );
    }

    /// Tells the peer our window, and whatever else a flow without a link says.
    pub(super) fn write_session_flow(&mut self, index: u32) {
        if let Some(session) = self.sessions.get(index) {
            hot::put_flow(&mut self.output, session.channel, &session.flow());
        }
    }

    /// Lets peers go on that have used half of a session's window.
    pub(super) fn renew_windows(&mut self) {
        self.windows_due = false;
        let window = self.config.incoming_window;
        for (_, session) in self.sessions.iter_mut() {
            if session.incoming_window <= window / 2 && !session.is_ending() {
                session.incoming_window = window;
                hot::put_flow(&mut self.output, session.channel, &session.flow());
            }
        }
    }

    /// A session's window or ring has room again.
    pub(super) fn wake_senders(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        for &link in session.handles.iter().flatten() {
            if let Some(link) = self.links.get(link).filter(|link| link.is_sendable()) {
                self.events.push_back(Event::Credit { link: link.id });
            }
        }
    }
}
