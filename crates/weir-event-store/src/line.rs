//! What waits of one device.

use std::collections::BTreeMap;

use crate::backlog::{Backlog, NEVER};
use crate::event::{Entry, TakerNo};

/// A device of which an event is out or was. As long as events wait in here, the first of all that
/// wait is not among them but where it can be found: see [`Waiting`](crate::waiting::Waiting).
#[derive(Debug)]
pub(crate) struct Line {
    /// How many are out, all of them with the same taker.
    pub(crate) out: u32,
    /// With whom, as long as there are any.
    pub(crate) holder: Option<TakerNo>,
    /// The first of those that wait.
    pub(crate) first: Option<i64>,
    /// What has been out or first before. It goes before all that follow.
    returned: BTreeMap<i64, Entry>,
    /// What has never been either.
    pub(crate) waiting: Backlog,
    /// When those are to be looked at because they may have expired.
    pub(crate) look_at: u32,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            out: 0,
            holder: None,
            first: None,
            returned: BTreeMap::new(),
            waiting: Backlog::default(),
            look_at: NEVER,
        }
    }
}

impl Line {
    /// Adds an event that was out or first.
    pub(crate) fn add_again(&mut self, entry: Entry) {
        self.returned.insert(entry.id, entry);
    }

    pub(crate) fn pop(&mut self) -> Option<Entry> {
        match self.returned.pop_first() {
            Some((_, entry)) => Some(entry),
            None => self.waiting.pop_front(),
        }
    }

    /// Takes out an event that was out or first.
    pub(crate) fn take_again(&mut self, id: i64) -> Option<Entry> {
        self.returned.remove(&id)
    }
}
