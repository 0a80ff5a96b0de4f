//! What was settled and is not on the disk yet.

use std::collections::VecDeque;

use crate::event::{Cause, Entry, QueueNo};

/// What only few events have: it was handed out in vain, or it is a dead letter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Note {
    pub(crate) attempts: u32,
    pub(crate) cause: Option<Cause>,
    /// Whether it is in [`Todo::attempts`].
    pub(crate) is_due: bool,
}

/// Each event is in it once at most, so it is bounded by the number of events.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    /// Events with a new number of attempts. One whose note is gone meanwhile has nothing to write.
    pub(crate) attempts: VecDeque<i64>,
    pub(crate) removals: VecDeque<Removal>,
    pub(crate) moves: VecDeque<Move>,
}

impl Todo {
    pub(crate) fn is_empty(&self) -> bool {
        self.rounds(1) == 0
    }

    /// In how many transactions it is written if each takes `max` of each kind.
    pub(crate) fn rounds(&self, max: usize) -> usize {
        let kinds = [self.attempts.len(), self.removals.len(), self.moves.len()];
        kinds.into_iter().max().unwrap_or_default().div_ceil(max)
    }
}

/// An event that nobody will see again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removal {
    pub(crate) queue: QueueNo,
    pub(crate) id: i64,
    pub(crate) len: u32,
    /// Whether there is a [`Note`] on the disk.
    pub(crate) has_note: bool,
}

/// An event that becomes a dead letter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    pub(crate) tenant: u32,
    pub(crate) entry: Entry,
    pub(crate) cause: Cause,
    /// Its id as a dead letter.
    pub(crate) new_id: i64,
}

impl Move {
    /// What it is as a dead letter, which does not expire.
    pub(crate) fn letter(&self) -> Entry {
        Entry {
            id: self.new_id,
            expires: 0,
            ..self.entry
        }
    }
}

/// The oldest of what is to be written.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) attempts: Vec<(i64, Note)>,
    pub(crate) removals: Vec<Removal>,
    pub(crate) moves: Vec<Move>,
}

/// Takes the oldest out, `max` at most.
pub(crate) fn oldest<T>(list: &mut VecDeque<T>, max: usize) -> Vec<T> {
    list.drain(..list.len().min(max)).collect()
}
