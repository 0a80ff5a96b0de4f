//! A deque that neither copies itself to grow nor keeps what it has needed once.

use std::collections::VecDeque;

use crate::event::Entry;

/// Entries in a chunk, 24 KiB. They are looked at together to find one that has expired.
const CHUNK: usize = 1024;

/// Later than all times.
pub(crate) const NEVER: u32 = u32::MAX;

/// Events in the order of their ids: 24 bytes each, however many there are and whether or not they
/// expire.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// None is empty.
    chunks: VecDeque<Chunk>,
    /// The least of theirs.
    due: u32,
}

#[derive(Debug)]
struct Chunk {
    entries: VecDeque<Entry>,
    /// None of them expires before. Perhaps none does then: what is taken out does not raise it.
    due: u32,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            chunks: VecDeque::new(),
            due: NEVER,
        }
    }
}

fn due(entry: &Entry) -> u32 {
    match entry.expires {
        0 => NEVER,
        expires => expires,
    }
}

impl Chunk {
    fn expire(&mut self, now: u32, expired: &mut Vec<Entry>) {
        self.due = NEVER;
        self.entries.retain(|entry| {
            let due = due(entry);
            match due <= now {
                true => expired.push(*entry),
                false => self.due = self.due.min(due),
            }
            due > now
        });
        if 4 * self.entries.len() < self.entries.capacity() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }
}

impl Backlog {
    /// Adds an event whose id is greater than all in here.
    pub(crate) fn push_back(&mut self, entry: Entry) {
        let due = due(&entry);
        self.due = self.due.min(due);
        match self.chunks.back_mut() {
            Some(last) if last.entries.len() < CHUNK => {
                last.entries.push_back(entry);
                last.due = last.due.min(due);
            }
            _ => self.chunks.push_back(Chunk {
                entries: VecDeque::from([entry]),
                due,
            }),
        }
    }

    pub(crate) fn front(&self) -> Option<&Entry> {
        self.chunks.front()?.entries.front()
    }

    pub(crate) fn pop_front(&mut self) -> Option<Entry> {
        let first = self.chunks.front_mut()?;
        let entry = first.entries.pop_front();
        if first.entries.is_empty() {
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            self.due = NEVER;
        }
        entry
    }

    /// A time before which nothing in here expires.
    pub(crate) fn due(&self) -> u32 {
        self.due
    }

    /// Takes out what has expired until there are `max` in `expired`, or some more. If there are fewer,
    /// nothing that has expired is left.
    pub(crate) fn expire(&mut self, now: u32, max: usize, expired: &mut Vec<Entry>) {
        if self.due > now {
            return;
        }
        self.due = NEVER;
        for chunk in &mut self.chunks {
            if chunk.due <= now && expired.len() < max {
                chunk.expire(now, expired);
            }
            self.due = self.due.min(chunk.due);
        }
        self.chunks.retain(|chunk| !chunk.entries.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: i64) -> Entry {
        Entry {
            id,
            key: 0,
            len: 0,
            stored: 0,
            expires: 0,
        }
    }

    #[test]
    fn few_that_are_left_of_many_take_little_and_keep_their_order() {
        let mut backlog = Backlog::default();
        let expires = |id: i64| u32::from(id % 100 > 0);
        for id in 0..10_000 {
            let expires = expires(id);
            backlog.push_back(Entry {
                expires,
                ..entry(id)
            });
        }
        backlog.expire(1, usize::MAX, &mut Vec::new());
        let room: usize = backlog.chunks.iter().map(|c| c.entries.capacity()).sum();
        assert!(room <= 400, "{room}");
        let rest: Vec<_> = std::iter::from_fn(|| backlog.pop_front())
            .map(|e| e.id)
            .collect();
        assert_eq!(rest, (0..100).map(|id| 100 * id).collect::<Vec<_>>());
        assert!(backlog.chunks.is_empty() && backlog.front().is_none());
    }

    #[test]
    fn what_has_expired_is_found_wherever_it_is() {
        let mut backlog = Backlog::default();
        let expiring = |id: i64| Entry {
            expires: u32::try_from(id % 7).unwrap() * 10,
            ..entry(id)
        };
        (0..5000).for_each(|id| backlog.push_back(expiring(id)));
        let mut expired = Vec::new();
        backlog.expire(9, 1, &mut expired);
        assert!(expired.is_empty() && backlog.due() == 10);
        backlog.expire(10, 1, &mut expired);
        assert!(
            expired.len() < 1000 && backlog.due() == 10,
            "there are more"
        );
        backlog.expire(29, 5000, &mut expired);
        let mut ids: Vec<_> = expired.iter().map(|e| e.id).collect();
        ids.sort_unstable();
        let due = |id: &i64| (1..=2).contains(&(id % 7));
        assert_eq!(ids, (0..5000).filter(due).collect::<Vec<_>>());
        assert_eq!(backlog.due(), 30);
        backlog.expire(60, 5000, &mut expired);
        assert_eq!(backlog.due(), NEVER);
        let rest: Vec<_> = std::iter::from_fn(|| backlog.pop_front()).collect();
        assert!(rest.iter().all(|e| e.expires == 0) && rest.len() + expired.len() == 5000);
    }
}
