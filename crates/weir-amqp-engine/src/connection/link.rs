//! Links [2.6]: their state, handles, and detach by either side.

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::performatives::{Attach, Detach};

use super::{Connection, Fault, session::SessionState};
use crate::{
    codec::cold,
    error::{Error, condition},
    event::{Event, LinkId, Outcome, ReceiverSettleMode, Role, SenderSettleMode},
    serial::Serial,
};

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// By index.
    pub(super) session: u32,
    pub(super) role: Role,
    pub(super) name: String,
    /// Ours.
    pub(super) handle: u32,
    /// The peer's, once it has attached.
    pub(super) remote_handle: Option<u32>,
    pub(super) state: LinkState,
    /// Our attach's place among all of ours; answers to attaches of one name come in that order.
    pub(super) attach_order: u64,
    pub(super) snd_settle_mode: SenderSettleMode,
    /// Receivers: whether our outcomes settle.
    pub(super) rcv_settle_mode: ReceiverSettleMode,
    /// Deliveries so far [2.6.7].
    pub(super) delivery_count: Serial,
    /// Senders: link credit. Receivers: the first credit, until attached.
    pub(super) credit: u32,
    /// Receivers: the delivery-count up to which there is credit.
    pub(super) limit: Serial,
    /// Receivers: the highest limit ever told. Credit taken back does not make wrong what was on its way.
    pub(super) ceiling: Serial,
    pub(super) drain: bool,
    /// Receivers: the sender has said that no credit is left; what it used it for may still be on its way.
    pub(super) drain_answered: bool,
    /// The peer asked how the link stands before it had its answer.
    pub(super) echo: bool,
    /// Messages that wait at the sender, as it says itself.
    pub(super) available: Option<u32>,
    /// Senders: the peer's limit, 0 for none. Receivers: ours.
    pub(super) max_message_size: u64,
    pub(super) outgoing: Option<PartialOut>,
    pub(super) incoming: Option<PartialIn>,
    /// Broke a rule before it was accepted.
    pub(super) doomed: Option<Error>,
}

#[derive(Debug)]
pub(super) enum LinkState {
    /// The peer's attach waits for its answer.
    Asked(Box<Attach>),
    /// Ours waits for the peer's. With a remote handle: the peer has refused, its detach is on the way.
    AttachSent,
    Attached,
    /// Only the peer's detach matters. `announced`: the owner knows already.
    DetachSent {
        announced: bool,
    },
}

/// A message sent in part.
#[derive(Debug)]
pub(super) struct PartialOut {
    pub(super) payload: Bytes,
    pub(super) delivery_id: Serial,
    pub(super) settled: bool,
    pub(super) aborted: bool,
}

/// A message not received to its end.
#[derive(Debug)]
pub(super) struct PartialIn {
    pub(super) delivery_id: u32,
    pub(super) settled: bool,
    pub(super) payload: BytesMut,
}

impl Link {
    /// Apart from what its session and connection say.
    #[inline]
    pub(super) fn is_sendable(&self) -> bool {
        self.role == Role::Sender
            && self.credit > 0
            && self.outgoing.is_none()
            && matches!(self.state, LinkState::Attached)
    }
}

impl<T> Connection<T> {
    /// Detaches a link for good. What is open may still get its outcome until the peer's answer, which is
    /// [`Event::Detached`].
    pub fn detach(&mut self, link: LinkId, error: Option<Error>) {
        let Some(index) = self.link_index(link) else {
            return;
        };
        match self.links.get(index).map(|link| &link.state) {
            Some(LinkState::Asked(_)) => self.refuse(index, error.as_ref()),
            Some(LinkState::AttachSent | LinkState::Attached) => {
                self.send_detach(index, error.as_ref(), false);
            }
            _ => {}
        }
    }

    pub(super) fn on_detach(&mut self, session: u32, detach: Detach) -> Result<(), Fault> {
        let index = self.remote_link(session, detach.handle.0)?;
        let Some(link) = self.links.get(index) else {
            return Ok(());
        };
        let id = link.id;
        let announced = matches!(link.state, LinkState::DetachSent { announced: true });
        match link.state {
            LinkState::Asked(_) => self.refuse(index, None),
            LinkState::DetachSent { .. } => {}
            // Links are not suspended: a detach that does not close is mirrored and forgotten all the same [2.6.5].
            _ => {
                let answer = Detach {
                    handle: link.handle.into(),
                    closed: detach.closed,
                    error: None,
                };
                self.put_link_frame(session, &answer);
            }
        }
        self.lose_link(index);
        self.free_link(index);
        if !announced {
            let error = detach.error.map(cold::error_in);
            self.tell(Event::Detached {
                link: id,
                error,
                closed: detach.closed,
            });
        }
        Ok(())
    }

    /// The peer broke the link's rules: it is detached, nothing but the peer's detach is heard on it any more.
    pub(super) fn fail_link(&mut self, index: u32, error: Error) {
        let Some(link) = self.links.get(index) else {
            return;
        };
        let id = link.id;
        match link.state {
            LinkState::DetachSent { .. } => return,
            LinkState::Asked(_) => self.refuse(index, Some(&error)),
            _ => self.send_detach(index, Some(&error), true),
        }
        self.lose_link(index);
        self.tell(Event::Detached {
            link: id,
            error: Some(error),
            closed: true,
        });
    }

    /// Remembers for the answer what the peer did before it had one.
    pub(super) fn doom(&mut self, index: u32, condition: &'static str, text: &'static str) {
        if let Some(link) = self.links.get_mut(index) {
            link.doomed
                .get_or_insert_with(|| Error::new(condition, text));
        }
    }

    pub(super) fn send_detach(&mut self, index: u32, error: Option<&Error>, announced: bool) {
        self.flush_dispositions();
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        link.state = LinkState::DetachSent { announced };
        link.outgoing = None;
        let (session, handle) = (link.session, link.handle);
        let detach = Detach {
            handle: handle.into(),
            closed: true,
            error: error.map(cold::error_out),
        };
        self.put_link_frame(session, &detach);
    }

    pub(super) fn put_link_frame<V: serde::Serialize>(&mut self, session: u32, performative: &V) {
        if let Some(channel) = self.sessions.get(session).map(|session| session.channel) {
            self.put_answer(channel, performative);
        }
    }

    /// The link the peer means by its handle.
    #[inline]
    pub(super) fn remote_link(&self, session: u32, handle: u32) -> Result<u32, Fault> {
        let owner = self.sessions.get(session);
        let link = owner.and_then(|owner| *owner.remote_handles.get(handle as usize)?);
        link.ok_or_else(|| {
            Fault::session(
                session,
                condition::UNATTACHED_HANDLE,
                "no link has this handle",
            )
        })
    }

    pub(super) fn free_handle(&self, session: u32) -> Option<u32> {
        let session = self.sessions.get(session)?;
        if session.is_ending() {
            return None;
        }
        let free = session
            .handles
            .iter()
            .position(Option::is_none)
            .unwrap_or(session.handles.len());
        let max = session.peer_handle_max.min(match session.state {
            // The peer's limit is not known yet, and beyond it the connection would be closed.
            SessionState::BeginSent => 7,
            _ => u32::from(u16::MAX),
        });
        u32::try_from(free).ok().filter(|free| *free <= max)
    }

    pub(super) fn insert_link(&mut self, session: u32, role: Role, name: &str) -> u32 {
        let (count, max_message_size) = (self.firsts.delivery_count, self.config.max_message_size);
        self.links.insert(|index, generation| Link {
            id: LinkId { index, generation },
            session,
            role,
            name: name.to_owned(),
            handle: 0,
            remote_handle: None,
            state: LinkState::AttachSent,
            attach_order: 0,
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            delivery_count: match role {
                Role::Sender => count,
                Role::Receiver => Serial(0),
            },
            credit: 0,
            limit: Serial(0),
            ceiling: Serial(0),
            drain: false,
            drain_answered: false,
            echo: false,
            available: None,
            max_message_size: match role {
                Role::Sender => 0,
                Role::Receiver => max_message_size,
            },
            outgoing: None,
            incoming: None,
            doomed: None,
        })
    }

    pub(super) fn register(&mut self, index: u32, session: u32, handle: u32) {
        if let Some(link) = self.links.get_mut(index) {
            link.handle = handle;
        }
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        let slot = handle as usize;
        if session.handles.len() <= slot {
            session.handles.resize(slot + 1, None);
        }
        session.handles[slot] = Some(index);
    }

    pub(super) fn set_remote_handle(&mut self, index: u32, session: u32, handle: u32) {
        if let Some(link) = self.links.get_mut(index) {
            link.remote_handle = Some(handle);
        }
        let owner = self.sessions.get_mut(session);
        if let Some(slot) = owner.and_then(|owner| owner.remote_handles.get_mut(handle as usize)) {
            *slot = Some(index);
        }
    }

    /// Brings back the tokens of one link.
    fn lose_link(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        link.outgoing = None;
        if let Some(partial) = link.incoming.take() {
            self.partial_bytes -= partial.payload.len();
        }
        let id = link.id;
        if link.role == Role::Receiver {
            return;
        }
        let Some(session) = self.sessions.get_mut(link.session) else {
            return;
        };
        let was_full = session.is_full(self.config.max_unsettled);
        let events = &mut self.events;
        session.ring.settle_where(
            |slot| slot.link == id,
            |_, slot| events.push_back(slot.ended(Outcome::LinkLost, false)),
        );
        if was_full {
            let session = link.session;
            self.wake_senders(session);
        }
    }

    /// Both sides have detached.
    fn free_link(&mut self, index: u32) {
        let Some(link) = self.links.remove(index) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(link.session) else {
            return;
        };
        if let Some(slot) = session.handles.get_mut(link.handle as usize) {
            *slot = None;
        }
        if let Some(slot) = link
            .remote_handle
            .and_then(|handle| session.remote_handles.get_mut(handle as usize))
        {
            *slot = None;
        }
        session.partials.retain(|partial| *partial != index);
    }

    /// The link's session has ended.
    pub(super) fn drop_link(&mut self, index: u32) {
        if let Some(partial) = self.links.remove(index).and_then(|link| link.incoming) {
            self.partial_bytes -= partial.payload.len();
        }
    }
}
