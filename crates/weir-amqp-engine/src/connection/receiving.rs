//! Messages in: transfers put together, credit, our outcomes.

use bytes::{Bytes, BytesMut};

use super::{
    Connection, Fault,
    link::{Link, LinkState, PartialIn},
    session::DueDisposition,
};
use crate::{
    codec::{
        hot::{LinkFlow, Transfer},
        primitive::Reader,
    },
    error::condition,
    event::{DeliveryId, Event, LinkId, Outcome, ReceiverSettleMode, Role},
    serial::Serial,
};

impl<T> Connection<T> {
    /// Sets a receiver link's credit: from now on the peer may send that many messages. What was on its way before
    /// less credit was granted still arrives.
    pub fn grant_credit(&mut self, link: LinkId, credit: u32) {
        self.flow_credit(link, Some(credit), false);
    }

    /// Asks the peer to use its credit or give it back; [`Event::Drained`] follows, at once if there is none.
    pub fn drain(&mut self, link: LinkId) {
        self.flow_credit(link, None, true);
    }

    /// What is left of a receiver link's credit.
    pub fn incoming_credit(&self, link: LinkId) -> u32 {
        let link = self
            .link_index(link)
            .and_then(|index| self.links.get(index));
        let link = link.filter(|link| link.role == Role::Receiver);
        link.map_or(0, |link| link.limit.steps_from(link.delivery_count))
    }

    /// Messages that wait at the peer for credit on a receiver link, if it has said so [2.6.7].
    pub fn available(&self, link: LinkId) -> Option<u32> {
        let link = self.links.get(self.link_index(link)?)?;
        link.available.filter(|_| link.role == Role::Receiver)
    }

    pub(super) fn flow_credit(&mut self, link: LinkId, credit: Option<u32>, drain: bool) {
        let Some(index) = self.link_index(link) else {
            return;
        };
        let Some(link) = self
            .links
            .get_mut(index)
            .filter(|link| link.role == Role::Receiver)
        else {
            return;
        };
        match link.state {
            LinkState::Attached => {}
            // Granted when the peer has answered.
            LinkState::AttachSent => {
                link.credit = credit.unwrap_or(link.credit);
                link.drain = drain;
                return;
            }
            _ => return,
        }
        if let Some(credit) = credit {
            // Half the number space is as far as serial numbers compare.
            link.limit = link.delivery_count.plus(credit.min(i32::MAX as u32));
            link.raise_ceiling();
        }
        link.drain = drain;
        link.drain_answered = false;
        if link.is_drained() {
            // Not every sender answers when there is nothing to give back.
            self.tell_drained(index);
        } else {
            self.write_link_flow(index);
        }
    }

    fn tell_drained(&mut self, index: u32) {
        if let Some(link) = self.links.get_mut(index) {
            link.drain = false;
            let id = link.id;
            self.tell(Event::Drained { link: id });
        }
    }

    /// Nor does every sender answer after it has used all of its credit.
    #[inline]
    fn after_delivery(&mut self, index: u32) {
        if self.links.get(index).is_some_and(Link::is_drained) {
            self.tell_drained(index);
        }
    }

    pub(super) fn on_transfer(&mut self, channel: u16, body: &Bytes) -> Result<(), Fault> {
        let mut reader = Reader::new(body);
        reader.descriptor()?;
        let transfer = Transfer::decode(reader.fields()?)?;
        let payload = body.slice(body.len() - reader.rest().len()..);
        let session = self.session_of(channel)?;
        let Some(owner) = self
            .sessions
            .get_mut(session)
            .filter(|owner| !owner.is_ending())
        else {
            return Ok(());
        };
        if owner.incoming_window == 0 {
            return Err(Fault::session(
                session,
                condition::WINDOW_VIOLATION,
                "transfer beyond the window",
            ));
        }
        owner.next_incoming_id.advance();
        owner.incoming_window -= 1;
        // Given back when output is taken: before that the peer cannot know of it.
        self.windows_due |= owner.incoming_window <= self.config.incoming_window / 2;
        let index = self.remote_link(session, transfer.handle)?;
        let Some(link) = self.links.get_mut(index) else {
            return Ok(());
        };
        match link.state {
            LinkState::Attached if link.role == Role::Receiver => {
                self.on_delivery(index, transfer, payload)
            }
            LinkState::Attached => Err(Fault::link(
                index,
                condition::NOT_ALLOWED,
                "transfer to a sender",
            )),
            LinkState::Asked(_) => {
                self.doom(
                    index,
                    condition::TRANSFER_LIMIT_EXCEEDED,
                    "transfer before there was credit",
                );
                Ok(())
            }
            LinkState::AttachSent | LinkState::DetachSent { .. } => Ok(()),
        }
    }

    fn on_delivery(&mut self, index: u32, transfer: Transfer, payload: Bytes) -> Result<(), Fault> {
        let Some(link) = self.links.get_mut(index) else {
            return Ok(());
        };
        if link.incoming.is_some() {
            return self.on_continuation(index, transfer, &payload);
        }
        let Some(delivery_id) = transfer.delivery_id else {
            return Err(Fault::link(
                index,
                condition::INVALID_FIELD,
                "first transfer without delivery-id",
            ));
        };
        if transfer.resume {
            return Err(Fault::link(
                index,
                condition::NOT_IMPLEMENTED,
                "deliveries are not resumed",
            ));
        }
        if link.ceiling.ahead_of(link.delivery_count) <= 0 {
            return Err(Fault::link(
                index,
                condition::TRANSFER_LIMIT_EXCEEDED,
                "transfer beyond the credit",
            ));
        }
        link.delivery_count.advance();
        if transfer.aborted {
            self.give_credit_back(index);
            return Ok(());
        }
        if payload.len() as u64 > link.max_message_size {
            return Err(too_large(index));
        }
        if transfer.more {
            let settled = transfer.settled;
            link.incoming = Some(PartialIn {
                delivery_id,
                settled,
                payload: BytesMut::new(),
            });
            return self.append(index, &payload);
        }
        let link = link.id;
        let delivery = DeliveryId(delivery_id);
        self.events.push_back(Event::Message {
            link,
            delivery,
            message: payload,
            settled: transfer.settled,
        });
        self.after_delivery(index);
        Ok(())
    }

    /// One more frame of a message that has begun [2.6.14].
    fn on_continuation(
        &mut self,
        index: u32,
        transfer: Transfer,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let Some(partial) = self
            .links
            .get_mut(index)
            .and_then(|link| link.incoming.as_mut())
        else {
            return Ok(());
        };
        if transfer
            .delivery_id
            .is_some_and(|id| id != partial.delivery_id)
        {
            return Err(Fault::link(
                index,
                condition::NOT_ALLOWED,
                "transfer interrupts another delivery",
            ));
        }
        partial.settled |= transfer.settled;
        if transfer.aborted {
            self.take_partial(index);
            self.give_credit_back(index);
            return Ok(());
        }
        self.append(index, payload)?;
        if transfer.more {
            return Ok(());
        }
        if let Some((link, partial)) = self.take_partial(index) {
            self.events.push_back(Event::Message {
                link,
                delivery: DeliveryId(partial.delivery_id),
                message: partial.payload.freeze(),
                settled: partial.settled,
            });
            self.after_delivery(index);
        }
        Ok(())
    }

    fn append(&mut self, index: u32, payload: &[u8]) -> Result<(), Fault> {
        let Some(link) = self.links.get_mut(index) else {
            return Ok(());
        };
        let Some(partial) = link.incoming.as_mut() else {
            return Ok(());
        };
        if (partial.payload.len() + payload.len()) as u64 > link.max_message_size {
            return Err(too_large(index));
        }
        if self.partial_bytes + payload.len() > self.config.max_partial_bytes {
            let text = "too much is being received in part";
            return Err(Fault::link(index, condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
        self.partial_bytes += payload.len();
        partial.payload.extend_from_slice(payload);
        Ok(())
    }

    fn take_partial(&mut self, index: u32) -> Option<(LinkId, PartialIn)> {
        let link = self.links.get_mut(index)?;
        let partial = link.incoming.take()?;
        self.partial_bytes -= partial.payload.len();
        Some((link.id, partial))
    }

    /// An aborted delivery is not seen by the link's owner, who would never replace its credit.
    fn give_credit_back(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        if link.drain {
            return self.after_delivery(index);
        }
        link.limit = link.limit.plus(1);
        link.raise_ceiling();
        self.write_link_flow(index);
    }

    /// The sending peer's flow: its delivery-count runs ahead of ours when it gives credit back.
    pub(super) fn on_sender_flow(&mut self, index: u32, flow: LinkFlow) -> Result<(), Fault> {
        let Some(link) = self.links.get_mut(index) else {
            return Ok(());
        };
        if let Some(count) = flow.delivery_count.map(Serial) {
            if count.ahead_of(link.ceiling) > 0 {
                return Err(Fault::link(
                    index,
                    condition::NOT_ALLOWED,
                    "delivery-count beyond the credit",
                ));
            }
            if count.ahead_of(link.delivery_count) > 0 {
                link.delivery_count = count;
            }
        }
        link.available = flow.available.or(link.available);
        link.drain_answered |= link.limit.ahead_of(link.delivery_count) <= 0;
        self.after_delivery(index);
        Ok(())
    }

    /// Ends an incoming delivery: outcome and settlement in one, or the outcome alone on a link that settles second.
    /// Equal outcomes of deliveries that follow each other become one frame, written when
    /// [`output`](Self::output) is taken.
    pub fn settle(&mut self, link: LinkId, delivery: DeliveryId, outcome: &Outcome) {
        let Some(index) = self.link_index(link) else {
            return;
        };
        let Some(link) = self
            .links
            .get(index)
            .filter(|link| link.role == Role::Receiver)
        else {
            return;
        };
        let session = link.session;
        let settled = link.rcv_settle_mode == ReceiverSettleMode::First;
        let id = Serial(delivery.0);
        let Some(owner) = self.sessions.get_mut(session) else {
            return;
        };
        if let Some(due) = &mut owner.disposition {
            if due.last.plus(1) == id && due.settled == settled && due.outcome == *outcome {
                due.last = id;
                return;
            }
            self.flush_dispositions();
        }
        if let Some(owner) = self.sessions.get_mut(session) {
            owner.disposition = Some(DueDisposition {
                first: id,
                last: id,
                settled,
                outcome: outcome.clone(),
            });
            self.dispositions_due = true;
        }
    }
}

impl Link {
    /// A drain has come to its end: the sender has said so, or all credit that was ever told is used up.
    #[inline]
    fn is_drained(&self) -> bool {
        self.drain
            && self.incoming.is_none()
            && (self.drain_answered || self.ceiling.ahead_of(self.delivery_count) <= 0)
    }

    fn raise_ceiling(&mut self) {
        if self.limit.ahead_of(self.ceiling) > 0 {
            self.ceiling = self.limit;
        }
    }
}

fn too_large(index: u32) -> Fault {
    Fault::link(
        index,
        condition::MESSAGE_SIZE_EXCEEDED,
        "message larger than the link's max-message-size",
    )
}
