//! Messages out, in one frame or in several, and what comes back for them: credit, outcomes.

use std::time::Instant;

use bytes::{BufMut, BytesMut};

use super::{
    Connection, Fault, State,
    link::{Link, LinkState, PartialOut},
    session::{Slot, remaining},
};
use crate::{
    codec::{
        frame,
        hot::{self, Disposition, DispositionOut, Flow, LinkFlow, TransferOut},
    },
    error::condition,
    event::{Event, LinkId, Outcome, Role, SendOptions, SenderSettleMode},
    serial::Serial,
};

impl<T> Connection<T> {
    /// Messages the peer takes on a sender link. 0 for links that are gone or not attached yet.
    pub fn credit(&self, link: LinkId) -> u32 {
        let link = self
            .link_index(link)
            .and_then(|index| self.links.get(index));
        link.filter(|link| link.role == Role::Sender)
            .map_or(0, |link| link.credit)
    }

    /// Whether [`send`](Self::send) would take a message now: there is credit, the session's window is open, fewer
    /// deliveries than `max_unsettled` wait, and output is below its high-water mark. [`Event::Credit`] tells when
    /// one of the first three comes true again; the last does when output is written.
    #[inline]
    pub fn can_send(&self, link: LinkId) -> bool {
        self.sendable(link).is_some()
    }

    #[inline]
    fn sendable(&self, link: LinkId) -> Option<u32> {
        let index = self.link_index(link)?;
        let link = self.links.get(index).filter(|link| link.is_sendable())?;
        let session = self.sessions.get(link.session)?;
        let ready = self.state == State::Running
            && session.remote_window > 0
            && !session.is_full(self.config.max_unsettled)
            && self.output.len() < self.config.output_high_water;
        ready.then_some(index)
    }

    /// Sends one message: `encode` appends its sections to the output. The token comes back exactly once, in
    /// [`Event::Settled`], or from here when the link [cannot send](Self::can_send) now.
    ///
    /// A message larger than the peer's max-message-size is not sent but comes back as rejected.
    pub fn send(
        &mut self,
        now: Instant,
        link: LinkId,
        token: T,
        options: SendOptions,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<(), T> {
        self.timers.clock(now);
        let Some((index, transfer, max)) = self.next_transfer(link, options.settled) else {
            return Err(token);
        };
        let start = hot::begin_transfer(&mut self.output, transfer);
        let payload = self.output.len();
        encode(&mut self.output);
        if max > 0 && (self.output.len() - payload) as u64 > max {
            self.output.truncate(start);
            self.events.push_back(Event::Settled {
                link,
                token,
                outcome: message_too_large(),
                left_to_us: false,
            });
            return Ok(());
        }
        let session = self.count_delivery(index, transfer, start, payload);
        if let Some(session) = session.and_then(|session| self.sessions.get_mut(session)) {
            if transfer.settled {
                session.ring.skip();
                self.events.push_back(Event::Settled {
                    link,
                    token,
                    outcome: Outcome::Unknown,
                    left_to_us: false,
                });
            } else {
                session.push(Slot {
                    link,
                    token,
                    give_up_at: options.give_up_at,
                });
            }
            if session.ring.is_exhausted() {
                session.give_up_oldest(self.timers.now());
            }
        }
        self.timers.sent();
        if self.partials_due {
            self.pump_all();
        }
        Ok(())
    }

    /// The first frame of the next message, with the peer's limit, if the link can send now.
    #[inline]
    fn next_transfer(&self, link: LinkId, settled: bool) -> Option<(u32, TransferOut, u64)> {
        let index = self.sendable(link)?;
        let link = self.links.get(index)?;
        let session = self.sessions.get(link.session)?;
        let transfer = TransferOut {
            channel: session.channel,
            handle: link.handle,
            delivery_id: session.ring.next_id(),
            first: true,
            settled: match link.snd_settle_mode {
                SenderSettleMode::Unsettled => false,
                SenderSettleMode::Settled => true,
                SenderSettleMode::Mixed => settled,
            },
            more: false,
            aborted: false,
        };
        Some((index, transfer, link.max_message_size))
    }

    /// Uses up credit and window for the message that stands in the output from `start` on. What does not fit into
    /// one frame is taken out again to follow in pieces; the first frame leaves at once, because peers count on
    /// delivery-ids that follow one another. Returns the link's session.
    #[inline]
    fn count_delivery(
        &mut self,
        index: u32,
        transfer: TransferOut,
        start: usize,
        payload: usize,
    ) -> Option<u32> {
        let link = self.links.get_mut(index)?;
        let session = self.sessions.get_mut(link.session)?;
        link.delivery_count.advance();
        link.credit -= 1;
        let max_frame_size = self.peer.max_frame_size as usize;
        if self.output.len() - start > max_frame_size {
            let mut payload = self.output.split_off(payload).freeze();
            self.output.truncate(start);
            let more = TransferOut {
                more: true,
                ..transfer
            };
            hot::begin_transfer(&mut self.output, more);
            let chunk = payload.split_to(max_frame_size - hot::TRANSFER_OVERHEAD);
            self.output.put_slice(&chunk);
            link.outgoing = Some(PartialOut {
                payload,
                delivery_id: transfer.delivery_id,
                settled: transfer.settled,
                aborted: false,
            });
            session.partials.push_back(index);
            self.partials_due = true;
        }
        frame::end(&mut self.output, start);
        session.count_transfer();
        Some(link.session)
    }

    /// Says in the flows of a sender link from now on how many messages wait for credit [2.6.7].
    pub fn set_available(&mut self, link: LinkId, messages: u32) {
        let index = self.link_index(link);
        let link = index.and_then(|index| self.links.get_mut(index));
        if let Some(link) = link.filter(|link| link.role == Role::Sender) {
            link.available = Some(messages);
        }
    }

    /// Gives the rest of a sender link's credit back: the answer to [`Event::Drain`] once there is nothing more to
    /// send [2.6.7].
    pub fn drained(&mut self, link: LinkId) {
        let Some(index) = self.link_index(link) else {
            return;
        };
        // After detach the peer would not know the handle any more.
        let waits = |link: &&mut Link| {
            link.role == Role::Sender && link.drain && matches!(link.state, LinkState::Attached)
        };
        let Some(link) = self.links.get_mut(index).filter(waits) else {
            return;
        };
        link.delivery_count = link.delivery_count.plus(link.credit);
        link.credit = 0;
        self.write_link_flow(index);
        if let Some(link) = self.links.get_mut(index) {
            link.drain = false;
        }
    }

    /// Sends of started messages what window and output have room for, in all sessions.
    pub(super) fn pump_all(&mut self) {
        self.partials_due = false;
        let waiting = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.partials.is_empty());
        for index in waiting.map(|(index, _)| index).collect::<Vec<_>>() {
            self.pump(index);
        }
    }

    /// The same in one session.
    pub(super) fn pump(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let room = self.peer.max_frame_size as usize - hot::TRANSFER_OVERHEAD;
        while let Some(&front) = session.partials.front() {
            if session.remote_window == 0 {
                return;
            }
            if self.output.len() >= self.config.output_high_water {
                // Goes on when the output has been taken.
                self.partials_due = true;
                return;
            }
            let Some((link, partial)) = self.links.get_mut(front).and_then(|link| {
                let handle = link.handle;
                Some((handle, link.outgoing.as_mut()?))
            }) else {
                session.partials.pop_front();
                continue;
            };
            let chunk = partial.payload.split_to(partial.payload.len().min(room));
            let more = !partial.payload.is_empty();
            let transfer = TransferOut {
                channel: session.channel,
                handle: link,
                delivery_id: partial.delivery_id,
                settled: partial.settled,
                more,
                first: false,
                aborted: partial.aborted,
            };
            let start = hot::begin_transfer(&mut self.output, transfer);
            self.output.put_slice(&chunk);
            frame::end(&mut self.output, start);
            session.count_transfer();
            if !more {
                session.partials.pop_front();
                if let Some(link) = self.links.get_mut(front) {
                    link.outgoing = None;
                    self.events.push_back(Event::Credit { link: link.id });
                }
            }
        }
    }

    /// Stops messages whose delivery ended before they were sent to the end: the rest is one aborted frame [2.7.5].
    pub(super) fn abort_partials(&mut self, index: u32, first: Serial, last: Serial) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        if session.partials.is_empty() {
            return;
        }
        for &link in &session.partials {
            let Some(partial) = self
                .links
                .get_mut(link)
                .and_then(|link| link.outgoing.as_mut())
            else {
                continue;
            };
            let id = partial.delivery_id;
            if id.ahead_of(first) >= 0 && last.ahead_of(id) >= 0 && !partial.settled {
                partial.payload.clear();
                partial.aborted = true;
            }
        }
        self.pump(index);
    }

    pub(super) fn on_flow(&mut self, index: u32, flow: &Flow) -> Result<(), Fault> {
        let Some(session) = self.sessions.get_mut(index) else {
            return Ok(());
        };
        let was_shut = session.remote_window == 0;
        session.next_incoming_id = Serial(flow.next_outgoing_id);
        session.update_window(flow.next_incoming_id, flow.incoming_window);
        if was_shut && session.remote_window > 0 {
            self.pump(index);
            self.wake_senders(index);
        }
        match flow.link {
            Some(link_flow) => self.on_link_flow(index, link_flow, flow.echo),
            None => {
                if flow.echo {
                    self.write_session_flow(index);
                }
                Ok(())
            }
        }
    }

    fn on_link_flow(&mut self, session: u32, flow: LinkFlow, echo: bool) -> Result<(), Fault> {
        let index = self.remote_link(session, flow.handle)?;
        let first_count = self.firsts.delivery_count;
        let Some(link) = self.links.get_mut(index) else {
            return Ok(());
        };
        match link.state {
            LinkState::DetachSent { .. } | LinkState::AttachSent => {
                return Ok(());
            }
            LinkState::Asked(_) | LinkState::Attached => {}
        }
        if link.role == Role::Receiver {
            self.on_sender_flow(index, flow)?;
        } else {
            if let Some(credit) = flow.link_credit {
                // link-credit(snd) := delivery-count(rcv) + link-credit(rcv) - delivery-count(snd) [2.6.7]. A
                // receiver that has not seen our attach cannot name a count.
                let base = flow.delivery_count.map_or(first_count, Serial);
                link.credit = remaining(base, credit, link.delivery_count);
            }
            link.drain = flow.drain;
            if matches!(link.state, LinkState::Attached) {
                self.announce_credit(index);
            }
        }
        if echo && let Some(link) = self.links.get_mut(index) {
            if matches!(link.state, LinkState::Attached) {
                self.write_link_flow(index);
            } else {
                link.echo = true;
            }
        }
        Ok(())
    }

    /// Tells the owner of a sender link what the peer's last flow means for it.
    pub(super) fn announce_credit(&mut self, index: u32) {
        let Some(link) = self.links.get(index) else {
            return;
        };
        let id = link.id;
        match (link.drain, link.credit) {
            (false, 0) => {}
            (false, _) => self.events.push_back(Event::Credit { link: id }),
            // Nothing to give back, but the peer waits for an answer.
            (true, 0) => self.drained(id),
            (true, _) => self.events.push_back(Event::Drain { link: id }),
        }
    }

    /// Tells the peer how a link stands.
    pub(super) fn write_link_flow(&mut self, index: u32) {
        let Some(link) = self.links.get(index) else {
            return;
        };
        let Some(session) = self.sessions.get(link.session) else {
            return;
        };
        let credit = match link.role {
            Role::Sender => link.credit,
            Role::Receiver => link.limit.steps_from(link.delivery_count),
        };
        let flow = LinkFlow {
            handle: link.handle,
            delivery_count: Some(link.delivery_count.0),
            link_credit: Some(credit),
            available: link.available.filter(|_| link.role == Role::Sender),
            drain: link.drain,
        };
        hot::put_flow(
            &mut self.output,
            session.channel,
            &Flow {
                link: Some(flow),
                ..session.flow()
            },
        );
    }

    pub(super) fn on_disposition(
        &mut self,
        index: u32,
        disposition: Disposition<'_>,
    ) -> Result<(), Fault> {
        // A sender that settles what it sent us: our own outcome will be too late, which harms nobody.
        if !disposition.from_receiver {
            return Ok(());
        }
        let outcome = match (
            disposition
                .state
                .map(hot::decode_outcome)
                .transpose()?
                .flatten(),
            disposition.settled,
        ) {
            (Some(outcome), _) => outcome,
            (None, true) => Outcome::Unknown,
            // Not final [3.4.1].
            (None, false) => return Ok(()),
        };
        let Some(session) = self.sessions.get_mut(index) else {
            return Ok(());
        };
        let was_full = session.is_full(self.config.max_unsettled);
        let left_to_us = !disposition.settled;
        let events = &mut self.events;
        let mut range: Option<(Serial, Serial)> = None;
        session
            .ring
            .settle(disposition.first, disposition.last, |id, slot| {
                events.push_back(slot.ended(outcome.clone(), left_to_us));
                range = Some((range.map_or(id, |(first, _)| first), id));
            });
        let Some((first, last)) = range else {
            return Ok(());
        };
        if left_to_us {
            // The receiver settles second [2.6.12]: it waits for us to do so first.
            let disposition = DispositionOut {
                as_receiver: false,
                settled: true,
                range: (first, last),
            };
            hot::put_disposition(&mut self.output, session.channel, disposition, &outcome);
        }
        if !session.partials.is_empty() {
            self.abort_partials(index, first, last);
        }
        if was_full {
            self.wake_senders(index);
        }
        Ok(())
    }
}

fn message_too_large() -> Outcome {
    Outcome::Rejected {
        condition: Some(condition::MESSAGE_SIZE_EXCEEDED.to_owned()),
        description: Some("larger than the peer's max-message-size".to_owned()),
    }
}
