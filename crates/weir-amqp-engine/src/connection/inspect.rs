//! For tests: what a connection holds when it should hold nothing.

use super::{Connection, link::LinkState, session::SessionState};
use crate::event::{LinkId, Role, SessionId};

/// One attached link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) is_sender: bool,
    pub(crate) credit: u32,
    pub(crate) delivery_count: u32,
}

impl<T> Connection<T> {
    /// The attached links, in the order of their names.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let attached = self
            .links
            .iter()
            .filter(|(_, link)| matches!(link.state, LinkState::Attached));
        let mut standings: Vec<Standing> = attached
            .map(|(_, link)| Standing {
                name: link.name.clone(),
                is_sender: link.role == Role::Sender,
                credit: match link.role {
                    Role::Sender => link.credit,
                    Role::Receiver => link.limit.steps_from(link.delivery_count),
                },
                delivery_count: link.delivery_count.0,
            })
            .collect();
        standings.sort();
        standings
    }

    /// Everything that waits for somebody.
    pub(crate) fn pending(&self) -> Vec<String> {
        let mut pending = Vec::new();
        for (_, link) in self.links.iter() {
            let (outgoing, incoming) = (link.outgoing.is_some(), link.incoming.is_some());
            let attached = matches!(link.state, LinkState::Attached);
            if !attached || outgoing || incoming || link.drain {
                pending.push(format!("{link:?}"));
            }
        }
        for (_, session) in self.sessions.iter() {
            let mapped = session.state == SessionState::Mapped;
            let live = session.ring.live();
            if !mapped
                || live > 0
                || !session.ring.is_empty()
                || !session.partials.is_empty()
                || session.disposition.is_some()
            {
                pending.push(format!("session {:?}: {live} deliveries", session.id));
            }
        }
        if self.partial_bytes > 0 {
            pending.push(format!("{} octets received in part", self.partial_bytes));
        }
        pending
    }

    /// As if that many deliveries had been sent settled on a session that has nothing recent unsettled.
    pub(crate) fn skip_deliveries(&mut self, session: SessionId, deliveries: u64) {
        let index = self.session_index(session);
        if let Some(session) = index.and_then(|index| self.sessions.get_mut(index)) {
            session.ring.skip_many(deliveries);
        }
    }

    pub(crate) fn is_receiving_in_part(&self, link: LinkId) -> bool {
        let link = self
            .link_index(link)
            .and_then(|index| self.links.get(index));
        link.is_some_and(|link| link.incoming.is_some())
    }
}
