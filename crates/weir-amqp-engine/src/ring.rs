//! Outgoing deliveries that wait for an outcome, by delivery-id.
//!
//! Ids are handed out in order, so the ring is a deque whose front has a known id. Slots empty out of order; the
//! front moves on when the oldest delivery is gone. One delivery that nobody settles therefore keeps the slots
//! behind it: the ring's owner bounds live slots and span, and gives up on old deliveries.

use std::collections::VecDeque;

use crate::serial::Serial;

#[derive(Debug)]
pub(crate) struct Ring<S> {
    /// The id of the first slot, or of the next delivery when there is none.
    front: Serial,
    slots: VecDeque<Option<S>>,
    live: usize,
}

impl<S> Ring<S> {
    pub(crate) fn new(first: Serial) -> Self {
        Self {
            front: first,
            slots: VecDeque::new(),
            live: 0,
        }
    }

    /// Slots that wait.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Slots from the oldest that waits to the newest handed out.
    pub(crate) fn span(&self) -> usize {
        self.slots.len()
    }

    /// The id of the next delivery.
    #[inline]
    pub(crate) fn next_id(&self) -> Serial {
        // The owner bounds the span far below 2^31.
        self.front.plus(self.slots.len() as u32)
    }

    /// Gives the next id to a delivery that waits.
    #[inline]
    pub(crate) fn push(&mut self, slot: S) {
        self.slots.push_back(Some(slot));
        self.live += 1;
    }

    /// Gives the next id to a delivery that does not wait.
    pub(crate) fn skip(&mut self) {
        if self.slots.is_empty() {
            self.front.advance();
        } else {
            self.slots.push_back(None);
        }
    }

    /// Empties the slots `first..=last`, oldest first. Costs no more than the ring is long, whatever the range;
    /// a range that runs backwards is empty.
    pub(crate) fn settle(
        &mut self,
        first: Serial,
        last: Serial,
        mut settled: impl FnMut(Serial, S),
    ) {
        if last.ahead_of(first) < 0 || self.slots.is_empty() {
            return;
        }
        let from = first.steps_from(self.front) as usize;
        let Ok(to) = usize::try_from(last.ahead_of(self.front)) else {
            return;
        };
        let to = to.min(self.slots.len() - 1);
        if from > to {
            return;
        }
        let front = self.front;
        for (id, slot) in (from..).zip(self.slots.range_mut(from..=to)) {
            if let Some(slot) = slot.take() {
                self.live -= 1;
                settled(front.plus(id as u32), slot);
            }
        }
        self.trim();
    }

    /// Empties the slots for which `matches` holds, oldest first.
    pub(crate) fn settle_where(
        &mut self,
        matches: impl Fn(&S) -> bool,
        mut settled: impl FnMut(Serial, S),
    ) {
        let front = self.front;
        for (id, slot) in (0_u32..).zip(self.slots.iter_mut()) {
            if let Some(slot) = slot.take_if(|slot| matches(slot)) {
                self.live -= 1;
                settled(front.plus(id), slot);
            }
        }
        self.trim();
    }

    /// The slots that wait, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.slots.iter().flatten()
    }

    #[inline]
    fn trim(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.front.advance();
        }
    }
}
