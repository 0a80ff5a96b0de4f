//! Links by the slot that their deliveries name, so that an outcome finds its link without a search.

use weir_amqp_engine::{LinkId, SessionId};

/// A link as the engine knows it.
pub(crate) trait Linked {
    /// Which link it is.
    fn id(&self) -> LinkId;

    /// The session it ends with.
    fn session(&self) -> SessionId;
}

/// Links, each in a slot of its own; one that is gone leaves its slot to the next.
#[derive(Debug)]
pub(crate) struct Slots<L>(Vec<Option<L>>);

impl<L> Default for Slots<L> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<L: Linked> Slots<L> {
    /// Puts the link in a slot, which `make` is told.
    pub(crate) fn insert(&mut self, make: impl FnOnce(usize) -> L) {
        let free = self.0.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.0.len());
        if slot == self.0.len() {
            self.0.push(None);
        }
        self.0[slot] = Some(make(slot));
    }

    pub(crate) fn get(&mut self, slot: usize) -> Option<&mut L> {
        self.0.get_mut(slot)?.as_mut()
    }

    pub(crate) fn find(&mut self, id: LinkId) -> Option<&mut L> {
        self.iter_mut().find(|link| link.id() == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &L> {
        self.0.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut L> {
        self.0.iter_mut().flatten()
    }

    /// All links, beginning with one that differs with `turn`, so that each is first now and then.
    pub(crate) fn for_each(&mut self, turn: usize, mut visit: impl FnMut(&mut L)) {
        let start = turn.checked_rem(self.0.len()).unwrap_or(0);
        let (last, first) = self.0.split_at_mut(start);
        first.iter_mut().chain(last).flatten().for_each(&mut visit);
    }

    /// Takes out those that are gone.
    pub(crate) fn take_where(&mut self, is_gone: impl Fn(LinkId, SessionId) -> bool) -> Vec<L> {
        let is_gone = |link: &L| is_gone(link.id(), link.session());
        let slots = self.0.iter_mut();
        let gone = slots.filter(|slot| slot.as_ref().is_some_and(is_gone));
        gone.filter_map(Option::take).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use weir_amqp_engine::{AttachRequest, ClientSasl, Config, Connection};

    use super::*;

    struct Link(LinkId, SessionId, usize);

    impl Linked for Link {
        fn id(&self) -> LinkId {
            self.0
        }

        fn session(&self) -> SessionId {
            self.1
        }
    }

    #[test]
    fn each_link_is_first_now_and_then_and_a_free_slot_is_used_again() {
        let now = Instant::now();
        let mut engine = Connection::<()>::client(Config::default(), ClientSasl::None, now);
        let session = engine.begin(now);
        let mut ids = (0..4).map(|name| {
            let request = AttachRequest::sender(name.to_string(), "anywhere");
            engine.attach(session, request)
        });
        let mut ids: [LinkId; 4] = std::array::from_fn(|_| ids.next().unwrap());
        let mut slots = Slots::default();
        for id in &ids[..3] {
            slots.insert(|slot| Link(*id, session, slot));
        }
        let order = |slots: &mut Slots<Link>, turn| {
            let mut order = Vec::new();
            slots.for_each(turn, |link| order.push(link.0));
            order
        };
        for turn in 0..6 {
            assert_eq!(order(&mut slots, turn), &ids[..3], "{turn}");
            ids[..3].rotate_left(1);
        }
        let second = slots.get(1).unwrap().0;
        let gone = slots.take_where(|id, _| id == second);
        assert_eq!(gone.len(), 1);
        assert!(slots.get(1).is_none());
        slots.insert(|slot| Link(ids[3], session, slot));
        assert_eq!(slots.find(ids[3]).unwrap().2, 1);
        assert_eq!(slots.take_where(|_, other| other == session).len(), 3);
        assert_eq!(order(&mut slots, 7), []);
    }
}
