//! The events of one queue: who may have which, and what has to wait for another.
//!
//! Each event is in one of four states:
//!
//! * *fresh*: nobody has looked at it. All fresh events have greater ids than all others.
//! * *in line*: it waits behind the first of its device ([`Line`]).
//! * *first* of those of its device that wait: whoever comes may have it (*ready*) or, while other
//!   events of the device are out, only the taker they are out with (*bound*).
//! * *out* with a taker. All of a device that are out are so with the same taker.
//!
//! Each operation moves an event or two from one state to another, so none takes longer for a device
//! with many events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::backlog::{Backlog, NEVER};
use crate::event::{Entry, TakerNo};
use crate::line::Line;

/// How many events one call of [`Waiting::pick`] looks at, so that the index is not locked for long
/// when many of them are somebody else's.
const LOOK_AT: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    fresh: Backlog,
    /// Every event that is first or out.
    places: BTreeMap<i64, (Entry, Place)>,
    ready: BTreeSet<i64>,
    /// Takers that have something out.
    hands: HashMap<TakerNo, Hand>,
    /// Devices that have something in line, first or out.
    lines: HashMap<u32, Line>,
    /// When what is first, or in line after it was out, expires, with its device. The others may be
    /// millions, and are found by their backlog.
    timers: BTreeMap<(u32, i64), u32>,
    /// When which device's line is to be looked at for such others.
    look_at: BTreeSet<(u32, u32)>,
}

/// What was found for a taker.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) picked: Vec<Entry>,
    /// Events that it would have got, had they not expired.
    pub(crate) expired: Vec<Entry>,
    /// Whether there is more to look at.
    pub(crate) more: bool,
}

/// Events that were taken out because they have expired.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    pub(crate) entries: Vec<Entry>,
    /// Whether others of their devices may be taken now.
    pub(crate) has_next: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Ready,
    Bound(TakerNo),
    Out(TakerNo),
}

/// What one taker has, and what only it may have.
#[derive(Debug, Default)]
struct Hand {
    out: BTreeSet<i64>,
    bound: BTreeSet<i64>,
}

impl Waiting {
    /// Adds an event whose id is greater than all before it.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.fresh.push_back(entry);
    }

    /// Hands out to `taker` up to `max` events with `max_bytes` in all, but one at least. Those that
    /// have expired by `now` and would be handed out are taken out instead.
    pub(crate) fn pick(
        &mut self,
        taker: TakerNo,
        (max, max_bytes): (usize, usize),
        now: u32,
    ) -> Choice {
        let mut choice = Choice::default();
        let mut bytes = 0;
        for _ in 0..LOOK_AT {
            let Some(next) = self.front(taker).copied() else {
                return choice;
            };
            if next.has_expired(now) {
                self.drop_front(&next);
                choice.expired.push(next);
                continue;
            }
            let fits = choice.picked.is_empty() || bytes + next.len as usize <= max_bytes;
            if choice.picked.len() >= max || !fits {
                break;
            }
            if self.hand_out(next, taker) {
                bytes += next.len as usize;
                choice.picked.push(next);
            }
        }
        choice.more = true;
        choice
    }

    /// Takes out what [`front`](Self::front) has found.
    fn drop_front(&mut self, entry: &Entry) {
        match self.places.contains_key(&entry.id) {
            true => {
                self.remove(entry.id, entry.key);
            }
            false => {
                self.fresh.pop_front();
            }
        }
    }

    /// The oldest that the taker may have, or may turn out to.
    fn front(&self, taker: TakerNo) -> Option<&Entry> {
        let bound = self.hands.get(&taker).and_then(|hand| hand.bound.first());
        let first = self.ready.first().into_iter().chain(bound).min();
        match first {
            Some(id) => self.places.get(id).map(|(entry, _)| entry),
            None => self.fresh.front(),
        }
    }

    /// Hands out what [`front`](Self::front) has found, or has it wait in line. Whether it is out.
    fn hand_out(&mut self, entry: Entry, taker: TakerNo) -> bool {
        let was_first = self.unplace(entry.id).is_some();
        let line = self.lines.entry(entry.key).or_default();
        if was_first {
            line.first = None;
        } else {
            self.fresh.pop_front();
        }
        let is_others = line.holder.is_some_and(|holder| holder != taker);
        if is_others || line.first.is_some() {
            line.waiting.push_back(entry);
            self.watch_line(entry.key);
        } else {
            line.holder = Some(taker);
            line.out += 1;
            self.place(entry, Place::Out(taker));
        }
        self.move_up(entry.key);
        !is_others
    }

    /// Makes the next of a device its first, if it has none. Whether it has one now.
    fn move_up(&mut self, key: u32) -> bool {
        let Some(line) = self.lines.get_mut(&key) else {
            return false;
        };
        if line.first.is_some() {
            return true;
        }
        let Some(next) = line.pop() else {
            if line.holder.is_none() {
                self.look_at.remove(&(line.look_at, key));
                self.lines.remove(&key);
            }
            return false;
        };
        line.first = Some(next.id);
        let place = line.holder.map_or(Place::Ready, Place::Bound);
        self.place(next, place);
        true
    }

    /// Has the first of a device wait in line.
    fn move_back(&mut self, key: u32) {
        let first = self.lines.get_mut(&key).and_then(|line| line.first.take());
        let entry = first.and_then(|first| self.unplace(first));
        if let Some(entry) = entry {
            self.add_again(entry);
        }
    }

    /// Has an event that was out or first wait in line.
    fn add_again(&mut self, entry: Entry) {
        if let Some(line) = self.lines.get_mut(&entry.key) {
            line.add_again(entry);
            self.start_timer(&entry);
        }
    }

    fn start_timer(&mut self, entry: &Entry) {
        if entry.expires > 0 {
            self.timers.insert((entry.expires, entry.id), entry.key);
        }
    }

    fn stop_timer(&mut self, entry: &Entry) {
        self.timers.remove(&(entry.expires, entry.id));
    }

    /// Has a line be looked at when something in it may have expired.
    fn watch_line(&mut self, key: u32) {
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        let due = line.waiting.due();
        let before = std::mem::replace(&mut line.look_at, due);
        if before != due {
            self.look_at.remove(&(before, key));
            if due != NEVER {
                self.look_at.insert((due, key));
            }
        }
    }

    fn place(&mut self, entry: Entry, place: Place) {
        if !matches!(place, Place::Out(_)) {
            self.start_timer(&entry);
        }
        match place {
            Place::Ready => self.ready.insert(entry.id),
            Place::Bound(taker) => self.hand(taker).bound.insert(entry.id),
            Place::Out(taker) => self.hand(taker).out.insert(entry.id),
        };
        self.places.insert(entry.id, (entry, place));
    }

    fn unplace(&mut self, id: i64) -> Option<Entry> {
        let (entry, place) = self.places.remove(&id)?;
        self.stop_timer(&entry);
        match place {
            Place::Ready => {
                self.ready.remove(&id);
            }
            Place::Bound(taker) => {
                self.hand(taker).bound.remove(&id);
            }
            Place::Out(taker) => {
                self.hand(taker).out.remove(&id);
            }
        }
        Some(entry)
    }

    fn hand(&mut self, taker: TakerNo) -> &mut Hand {
        self.hands.entry(taker).or_default()
    }

    /// An event that is out with a taker.
    pub(crate) fn out(&self, id: i64, taker: TakerNo) -> Option<Entry> {
        let (entry, place) = self.places.get(&id)?;
        (*place == Place::Out(taker)).then_some(*entry)
    }

    /// What is out with a taker.
    pub(crate) fn out_with(&self, taker: TakerNo) -> Vec<i64> {
        let hand = self.hands.get(&taker);
        hand.map_or_else(Vec::new, |hand| hand.out.iter().copied().collect())
    }

    /// An event is not out any more and will not come back. Also whether others may have what waits
    /// of its device now.
    pub(crate) fn settle(&mut self, id: i64, taker: TakerNo) -> Option<(Entry, bool)> {
        let (entry, is_free) = self.take_back(id, taker)?;
        let has_first = self.move_up(entry.key);
        Some((entry, is_free && has_first))
    }

    /// An event is not out any more, and goes before all of its device that wait.
    /// Whether it was out.
    pub(crate) fn release(&mut self, id: i64, taker: TakerNo) -> bool {
        let Some((entry, _)) = self.take_back(id, taker) else {
            return false;
        };
        self.move_back(entry.key);
        self.add_again(entry);
        self.move_up(entry.key)
    }

    /// Takes an event from who has it. Also whether its device is anybody's now; then it has no first.
    fn take_back(&mut self, id: i64, taker: TakerNo) -> Option<(Entry, bool)> {
        self.out(id, taker)?;
        let entry = self.unplace(id)?;
        let line = self.lines.get_mut(&entry.key)?;
        line.out -= 1;
        let is_free = line.out == 0;
        if is_free {
            line.holder = None;
            self.move_back(entry.key);
        }
        // Nothing is bound to who has nothing out.
        if self.hand(taker).out.is_empty() {
            self.hands.remove(&taker);
        }
        Some((entry, is_free))
    }

    /// Takes out events that wait and have expired by `now`, `max` or some more. If there are fewer,
    /// none is left.
    pub(crate) fn expire(&mut self, now: u32, max: usize) -> Expiry {
        let mut expiry = Expiry::default();
        let expired = &mut expiry.entries;
        while expired.len() < max
            && let Some(timer) = self.timers.first_entry().filter(|t| t.key().0 <= now)
        {
            let ((_, id), key) = timer.remove_entry();
            if let Some((entry, has_next)) = self.remove(id, key) {
                expired.push(entry);
                expiry.has_next |= has_next;
            }
        }
        while expired.len() < max
            && let Some(&(_, key)) = self.look_at.first().filter(|(at, _)| *at <= now)
        {
            if let Some(line) = self.lines.get_mut(&key) {
                line.waiting.expire(now, max, expired);
            }
            self.watch_line(key);
        }
        self.fresh.expire(now, max, expired);
        expiry
    }

    /// Takes out an event that is first, or in line after it was out. Also whether its device's next
    /// may be taken now.
    fn remove(&mut self, id: i64, key: u32) -> Option<(Entry, bool)> {
        match self.unplace(id) {
            Some(entry) => {
                self.lines.get_mut(&key)?.first = None;
                Some((entry, self.move_up(key)))
            }
            None => Some((self.lines.get_mut(&key)?.take_again(id)?, false)),
        }
    }

    /// The oldest event, waiting or out. What is in line is younger than the first of its device.
    pub(crate) fn oldest(&self) -> Option<&Entry> {
        let placed = self.places.first_key_value().map(|(_, (entry, _))| entry);
        placed.or_else(|| self.fresh.front())
    }
}

#[cfg(test)]
mod tests;
