//! Attach [2.6.3]: ours, the peer's, and the answers to both.

use fe2o3_amqp_types::{messaging::TargetArchetype, performatives::Attach};

use super::{
    Connection, Fault,
    link::{Link, LinkState},
};
use crate::{
    codec::{Malformed, cold},
    error::{Error, condition},
    event::{
        AcceptLink, AttachRequest, Event, LinkId, PeerAttach, ReceiverSettleMode, Role,
        SenderSettleMode, SessionId,
    },
    serial::Serial,
};

/// Names are kept as long as the link; nobody needs longer ones.
const MAX_NAME: usize = 1024;

impl<T> Connection<T> {
    /// Attaches a link of our own: [`Event::Attached`] or [`Event::Detached`] follows.
    pub fn attach(&mut self, session: SessionId, request: AttachRequest) -> LinkId {
        let place = self.place(session, &request);
        let owner = place.as_ref().map_or(0, |(session, _)| *session);
        let index = self.insert_link(owner, request.role, &request.name);
        let id = LinkId {
            index,
            generation: self.links.get(index).map_or(0, |link| link.id.generation),
        };
        if let Err(error) = place.and_then(|place| self.send_attach(index, place, request)) {
            // The peer never hears of this one.
            self.links.remove(index);
            self.tell(Event::Detached {
                link: id,
                error: Some(error),
                closed: true,
            });
        }
        id
    }

    /// The session and handle that a link of ours is to have.
    fn place(&self, session: SessionId, request: &AttachRequest) -> Result<(u32, u32), Error> {
        if self.named(request.role, &request.name).is_some() {
            // The peer could not tell whether it is answered or asked.
            let text = "a link has this name";
            return Err(Error::new(condition::NOT_ALLOWED, text));
        }
        let found = self.session_index(session);
        found
            .and_then(|index| Some((index, self.free_handle(index)?)))
            .ok_or_else(|| {
                let text = "no session or handle for another link";
                Error::new(condition::RESOURCE_LIMIT_EXCEEDED, text)
            })
    }

    fn send_attach(
        &mut self,
        index: u32,
        (session, handle): (u32, u32),
        request: AttachRequest,
    ) -> Result<(), Error> {
        let Some(link) = self.links.get_mut(index) else {
            return Ok(());
        };
        link.handle = handle;
        link.attach_order = self.attaches;
        self.attaches += 1;
        link.credit = request.credit;
        link.snd_settle_mode = request.snd_settle_mode;
        link.rcv_settle_mode = request.rcv_settle_mode;
        let (at_source, at_target) = match request.role {
            Role::Receiver => (&request.capabilities[..], &[][..]),
            Role::Sender => (&[][..], &request.capabilities[..]),
        };
        if request.role == Role::Receiver {
            link.limit_message_size(request.max_message_size);
        }
        let attach = Attach {
            source: cold::source(request.source, request.dynamic, at_source),
            target: cold::target(request.target, at_target),
            properties: cold::fields(&request.properties),
            ..attach_of(link)
        };
        let channel = self.sessions.get(session).map_or(0, |owner| owner.channel);
        self.put_cold(channel, &attach)
            .map_err(|Malformed(text)| Error::new(condition::FRAME_SIZE_TOO_SMALL, text))?;
        self.register(index, session, handle);
        Ok(())
    }

    /// Accepts the peer's attach: echoes it with our settings.
    pub fn accept_link(&mut self, link: LinkId, accept: AcceptLink) {
        let Some((index, session, asked)) = self.take_asked(link) else {
            return;
        };
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        link.snd_settle_mode = accept
            .snd_settle_mode
            .unwrap_or_else(|| SenderSettleMode::from_wire(&asked.snd_settle_mode));
        if link.role == Role::Receiver {
            link.limit_message_size(accept.max_message_size);
            link.rcv_settle_mode = accept.rcv_settle_mode;
        }
        link.state = LinkState::Attached;
        let (id, role) = (link.id, link.role);
        let (doomed, echo) = (link.doomed.take(), link.echo);
        // A null terminus of ours would mean refusal [2.6.3].
        let mut source = asked.source.unwrap_or_default();
        source.filter = None;
        source.address = accept.source.or(source.address);
        let mut target = asked.target.or_else(|| cold::target(None, &[]));
        if let (Some(TargetArchetype::Target(target)), Some(address)) =
            (target.as_deref_mut(), accept.target)
        {
            target.address = Some(address);
        }
        let attach = Attach {
            // As a sender either way is fine.
            rcv_settle_mode: match role {
                Role::Receiver => link.rcv_settle_mode.wire(),
                Role::Sender => asked.rcv_settle_mode,
            },
            source: Some(source),
            target,
            offered_capabilities: cold::symbols(&accept.offered_capabilities),
            properties: cold::fields(&accept.properties),
            ..attach_of(link)
        };
        self.put_link_frame(session, &attach);
        if let Some(error) = doomed {
            return self.fail_link(index, error);
        }
        match role {
            Role::Receiver if accept.credit > 0 => self.grant_credit(id, accept.credit),
            Role::Receiver if echo => self.write_link_flow(index),
            Role::Receiver => {}
            Role::Sender => {
                self.announce_credit(index);
                if echo {
                    self.write_link_flow(index);
                }
            }
        }
    }

    /// Refuses the peer's attach: attach without source and target, then detach with the reason [2.6.3]. Nothing
    /// more is heard of the link, also when the peer has sent more on it already.
    pub fn refuse_link(&mut self, link: LinkId, error: Error) {
        if let Some(index) = self.link_index(link) {
            self.refuse(index, Some(&error));
        }
    }

    pub(super) fn on_attach(&mut self, session: u32, attach: Box<Attach>) -> Result<(), Fault> {
        let handle = attach.handle.0;
        if handle > self.config.handle_max {
            return Err(Fault::connection(
                condition::FRAMING_ERROR,
                "handle above handle-max",
            ));
        }
        if attach.name.len() > MAX_NAME {
            return Err(Fault::connection(
                condition::RESOURCE_LIMIT_EXCEEDED,
                "link name too long",
            ));
        }
        let Some(owner) = self.sessions.get_mut(session) else {
            return Ok(());
        };
        let slot = handle as usize;
        if owner.remote_handles.get(slot).is_some_and(Option::is_some) {
            return Err(Fault::session(
                session,
                condition::HANDLE_IN_USE,
                "attach for a handle that has a link",
            ));
        }
        if owner.remote_handles.len() <= slot {
            owner.remote_handles.resize(slot + 1, None);
        }
        let role = Role::facing(&attach.role);
        let answers = |link: &Link| {
            link.session == session
                && link.remote_handle.is_none()
                && link.role == role
                && link.name == attach.name
        };
        // A link that was given up before its answer may have a successor of the same name.
        let answered = self
            .links
            .iter()
            .filter(|(_, link)| answers(link))
            .min_by_key(|(_, link)| link.attach_order)
            .map(|(index, _)| index);
        if let Some(index) = answered {
            self.set_remote_handle(index, session, handle);
            self.on_attach_answer(index, &attach);
            return Ok(());
        }
        self.steal(role, &attach.name);
        self.on_attach_asked(session, handle, role, attach)
    }

    /// The link that has a name, unless it is on its way out.
    fn named(&self, role: Role, name: &str) -> Option<u32> {
        let same = |link: &Link| {
            link.role == role
                && link.name == name
                && !matches!(link.state, LinkState::DetachSent { .. })
        };
        let mut links = self.links.iter();
        links.find(|(_, link)| same(link)).map(|(index, _)| index)
    }

    /// An attach for a name in use takes it over [2.6.1].
    fn steal(&mut self, role: Role, name: &str) {
        if let Some(index) = self.named(role, name) {
            self.fail_link(
                index,
                Error::new(condition::STOLEN, "another link has the same name"),
            );
        }
    }

    fn on_attach_asked(
        &mut self,
        session: u32,
        handle: u32,
        role: Role,
        attach: Box<Attach>,
    ) -> Result<(), Fault> {
        let Some(ours) = self.free_handle(session) else {
            return Err(Fault::session(
                session,
                condition::NOT_ALLOWED,
                "no handle is left for another link",
            ));
        };
        let index = self.insert_link(session, role, &attach.name);
        self.register(index, session, ours);
        self.set_remote_handle(index, session, handle);
        let Some(link) = self.links.get_mut(index) else {
            return Ok(());
        };
        let coordinator = cold::is_coordinator(&attach);
        let peer = peer_attach(
            link,
            self.sessions.get(session).map(|session| session.id),
            &attach,
        );
        link.take_peer_limits(&attach);
        link.state = LinkState::Asked(attach);
        if coordinator {
            let error = Error::new(condition::NOT_IMPLEMENTED, "transactions are not offered");
            self.refuse(index, Some(&error));
        } else if let Some(peer) = peer {
            let link = peer.0;
            self.tell(Event::Attach {
                link,
                attach: peer.1,
            });
        }
        Ok(())
    }

    fn on_attach_answer(&mut self, index: u32, attach: &Attach) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        link.take_peer_limits(attach);
        // The node the peer is responsible for is missing: it refuses, the reason comes with its detach [2.6.3].
        let refused = match link.role {
            Role::Sender => attach.target.is_none(),
            Role::Receiver => attach.source.is_none(),
        };
        if refused || !matches!(link.state, LinkState::AttachSent) {
            return;
        }
        link.state = LinkState::Attached;
        link.snd_settle_mode = match (link.role, link.snd_settle_mode) {
            (Role::Sender, SenderSettleMode::Mixed) => {
                SenderSettleMode::from_wire(&attach.snd_settle_mode)
            }
            (_, mode) => mode,
        };
        let (role, credit, drain) = (link.role, link.credit, link.drain);
        if role == Role::Receiver {
            link.credit = 0;
            link.drain = false;
        }
        let session = self.sessions.get(link.session).map(|session| session.id);
        let Some((id, attach)) = peer_attach(link, session, attach) else {
            return;
        };
        self.tell(Event::Attached { link: id, attach });
        if role == Role::Receiver && (credit > 0 || drain) {
            self.flow_credit(id, Some(credit), drain);
        }
    }

    pub(super) fn refuse(&mut self, index: u32, error: Option<&Error>) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let LinkState::Asked(asked) = &link.state else {
            return;
        };
        let attach = Attach {
            snd_settle_mode: asked.snd_settle_mode.clone(),
            rcv_settle_mode: asked.rcv_settle_mode.clone(),
            ..attach_of(link)
        };
        link.state = LinkState::AttachSent;
        let session = link.session;
        self.put_link_frame(session, &attach);
        self.send_detach(index, error, true);
    }

    fn take_asked(&mut self, id: LinkId) -> Option<(u32, u32, Box<Attach>)> {
        let index = self.link_index(id)?;
        let link = self.links.get_mut(index)?;
        match std::mem::replace(&mut link.state, LinkState::Attached) {
            LinkState::Asked(asked) => Some((index, link.session, asked)),
            other => {
                link.state = other;
                None
            }
        }
    }
}

impl Link {
    /// Receivers: a link may ask for less than the connection allows. 0 would mean no limit to the peer.
    fn limit_message_size(&mut self, limit: Option<u64>) {
        self.max_message_size = limit.unwrap_or(u64::MAX).clamp(1, self.max_message_size);
    }

    fn take_peer_limits(&mut self, attach: &Attach) {
        match self.role {
            Role::Sender => self.max_message_size = attach.max_message_size.unwrap_or(0),
            Role::Receiver => {
                let count = Serial(attach.initial_delivery_count.unwrap_or(0));
                self.delivery_count = count;
                self.limit = count;
                self.ceiling = count;
            }
        }
    }
}

/// What every attach of a link says; source and target are missing.
fn attach_of(link: &Link) -> Attach {
    Attach {
        name: link.name.clone(),
        handle: link.handle.into(),
        role: link.role.wire(),
        snd_settle_mode: link.snd_settle_mode.wire(),
        rcv_settle_mode: link.rcv_settle_mode.wire(),
        source: None,
        target: None,
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: (link.role == Role::Sender).then_some(link.delivery_count.0),
        max_message_size: (link.role == Role::Receiver).then_some(link.max_message_size),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

fn peer_attach(
    link: &Link,
    session: Option<SessionId>,
    attach: &Attach,
) -> Option<(LinkId, Box<PeerAttach>)> {
    let (source, target) = cold::termini(attach);
    let peer = PeerAttach {
        session: session?,
        name: attach.name.clone(),
        role: link.role,
        source,
        target,
        snd_settle_mode: SenderSettleMode::from_wire(&attach.snd_settle_mode),
        rcv_settle_mode: ReceiverSettleMode::from_wire(&attach.rcv_settle_mode),
        initial_delivery_count: attach.initial_delivery_count.unwrap_or(0),
        max_message_size: attach.max_message_size.unwrap_or(0),
        offered_capabilities: cold::texts(attach.offered_capabilities.clone()),
        desired_capabilities: cold::texts(attach.desired_capabilities.clone()),
        properties: cold::pairs(attach.properties.clone()),
    };
    Some((link.id, Box::new(peer)))
}
