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
