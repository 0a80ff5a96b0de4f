//! Outgoing deliveries that wait for an outcome, by delivery-id.
//!
//! Ids are handed out in order, so recent deliveries are a deque whose front has a known id. Its slots empty out of
//! order; the front moves on when the oldest delivery is gone. One that nobody settles would keep all the slots behind
//! it, so what lags far behind moves to a map: the deque is never much longer than it has live slots, and the ring's
//! owner bounds live slots alone.
//!
//! A **position** is an id that does not wrap. Two ids compare only while they are less than 2^31 apart [RFC 1982], so
//! there is a [`WINDOW`] from the oldest that waits to the next; the owner gives up on the oldest when it
//! [is exhausted](Ring::is_exhausted).

use std::collections::{BTreeMap, VecDeque};

use crate::serial::Serial;

/// Positions from the oldest slot that waits to the next delivery.
const WINDOW: u64 = (1 << 31) - 1;
/// Positions behind the oldest slot that are given up along with it, to have room for more than one delivery.
const STEP: u64 = 1 << 16;
/// The deque may be this long however few slots wait; in tests short enough for random stories to get beyond it.
const MIN_LEN: usize = if cfg!(test) { 16 } else { 4096 };
/// Beyond that, this many times as long as it has slots that wait.
const SPARSE: usize = 4;
/// No slot is in the map.
const NONE: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Ring<S> {
    /// The position of the first slot of the deque, or of the next delivery when it is empty.
    front: u64,
    recent: VecDeque<Option<S>>,
    /// Slots of the deque that wait.
    waiting: usize,
    /// Slots that lag behind the deque, by position.
    old: BTreeMap<u64, S>,
    /// The first position of `old`, or [`NONE`].
    oldest: u64,
}

impl<S> Ring<S> {
    pub(crate) fn new(first: Serial) -> Self {
        Self {
            // Room for ids before the first: peers may name them.
            front: (1 << 32) + u64::from(first.0),
            recent: VecDeque::new(),
            waiting: 0,
            old: BTreeMap::new(),
            oldest: NONE,
        }
    }

    /// Slots that wait.
    #[inline]
    pub(crate) fn live(&self) -> usize {
        self.waiting + self.old.len()
    }

    #[inline]
    fn next(&self) -> u64 {
        self.front + self.recent.len() as u64
    }

    /// The id of the next delivery.
    #[inline]
    pub(crate) fn next_id(&self) -> Serial {
        id(self.next())
    }

    /// Whether another id could no longer be told from one before the oldest that waits.
    #[inline]
    pub(crate) fn is_exhausted(&self) -> bool {
        // The deque alone is far from it: the owner bounds live slots.
        self.next() >= self.oldest.saturating_add(WINDOW)
    }

    /// The slots to give up when the window is exhausted, so that there is room again.
    pub(crate) fn oldest_mut(&mut self) -> impl Iterator<Item = &mut S> {
        let end = self.oldest.saturating_add(STEP);
        self.old.range_mut(..end).map(|(_, slot)| slot)
    }

    /// Gives the next id to a delivery that waits.
    #[inline]
    pub(crate) fn push(&mut self, slot: S) {
        self.recent.push_back(Some(slot));
        self.waiting += 1;
        self.shorten();
    }

    /// Gives the next id to a delivery that does not wait.
    #[inline]
    pub(crate) fn skip(&mut self) {
        if self.recent.is_empty() {
            self.front += 1;
        } else {
            self.recent.push_back(None);
            self.shorten();
        }
    }

    /// Empties the slots `first..=last`, oldest first. Costs no more than the deque is long and what it settles,
    /// whatever the range; a range that runs backwards is empty.
    #[inline]
    pub(crate) fn settle(&mut self, first: Serial, last: Serial, settled: impl FnMut(Serial, S)) {
        let Ok(steps) = u32::try_from(last.ahead_of(first)) else {
            return;
        };
        // Ids compare with that of the oldest.
        let base = self.oldest.min(self.front);
        let first = base.saturating_add_signed(first.ahead_of(id(base)).into());
        let last = first + u64::from(steps);
        if self.oldest <= last {
            self.settle_both(first, last, settled);
        } else {
            self.settle_recent(first, last, settled);
        }
    }

    #[cold]
    #[inline(never)]
    fn settle_both(&mut self, first: u64, last: u64, mut settled: impl FnMut(Serial, S)) {
        for (position, slot) in self.old.extract_if(first..=last, |_, _| true) {
            settled(id(position), slot);
        }
        self.find_oldest();
        self.settle_recent(first, last, settled);
    }

    // Called from two places, and on the way of every outcome.
    #[inline(always)]
    fn settle_recent(&mut self, first: u64, last: u64, mut settled: impl FnMut(Serial, S)) {
        if last < self.front || self.recent.is_empty() {
            return;
        }
        let from = first.saturating_sub(self.front);
        let to = (last - self.front).min(self.recent.len() as u64 - 1);
        if from > to {
            return;
        }
        let start = self.front + from;
        let slots = self.recent.range_mut(from as usize..=to as usize);
        for (position, slot) in (start..).zip(slots) {
            if let Some(slot) = slot.take() {
                self.waiting -= 1;
                settled(id(position), slot);
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
        for (position, slot) in self.old.extract_if(.., |_, slot| matches(slot)) {
            settled(id(position), slot);
        }
        self.find_oldest();
        for (position, slot) in (self.front..).zip(self.recent.iter_mut()) {
            if let Some(slot) = slot.take_if(|slot| matches(slot)) {
                self.waiting -= 1;
                settled(id(position), slot);
            }
        }
        self.trim();
    }

    /// The slots that wait, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.old.values().chain(self.recent.iter().flatten())
    }

    #[inline]
    fn trim(&mut self) {
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.front += 1;
        }
    }

    #[inline]
    fn shorten(&mut self) {
        let len = self.recent.len();
        if len > MIN_LEN && len > self.waiting * SPARSE {
            self.move_old();
        }
    }

    /// Moves what waits in the older half of the deque. A slot moves once at most.
    #[cold]
    fn move_old(&mut self) {
        for _ in 0..self.recent.len() / 2 {
            if let Some(slot) = self.recent.pop_front().flatten() {
                self.waiting -= 1;
                self.old.insert(self.front, slot);
            }
            self.front += 1;
        }
        self.find_oldest();
        self.trim();
    }

    fn find_oldest(&mut self) {
        let first = self.old.keys().next();
        self.oldest = first.copied().unwrap_or(NONE);
    }

    /// Slots that wait in the map.
    #[cfg(test)]
    pub(crate) fn old(&self) -> usize {
        self.old.len()
    }

    /// Whether nothing is kept, not even empty slots.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.old.is_empty() && self.oldest == NONE
    }

    /// As if that many deliveries had come and gone. Nothing recent may wait.
    #[cfg(test)]
    pub(crate) fn skip_many(&mut self, deliveries: u64) {
        assert!(self.recent.is_empty());
        self.front += deliveries;
    }
}

#[inline]
fn id(position: u64) -> Serial {
    Serial(position as u32)
}
