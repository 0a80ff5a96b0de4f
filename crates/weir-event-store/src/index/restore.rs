//! Filling an empty index from what the disk has.

use std::sync::Arc;

use crate::event::{Cause, Entry, QueueNo};
use crate::index::Index;
use crate::tenant::Tenant;
use crate::todo::Note;

impl Index {
    /// A tenant that the disk knows.
    pub(crate) fn restore_tenant(&mut self, number: u32, name: Arc<str>) {
        self.add_tenant(number, name, true);
    }

    /// An event that the disk has, in the order of ids. Whether its tenant is known.
    pub(crate) fn restore(&mut self, no: QueueNo, entry: Entry) -> bool {
        let Some(queue) = self.queue(no) else {
            return false;
        };
        queue.count(entry.len);
        queue.waiting.push(entry);
        true
    }

    /// What the disk has noted about an event.
    pub(crate) fn restore_note(&mut self, id: i64, attempts: u32, cause: Option<Cause>) {
        let is_due = false;
        let note = Note {
            attempts,
            cause,
            is_due,
        };
        self.notes.insert(id, note);
    }

    /// Tenants that have nothing waiting.
    pub(crate) fn empty_tenants(&self) -> Vec<u32> {
        let empty = self.tenants.iter().filter(|(_, tenant)| tenant.is_empty());
        empty.map(|(&number, _)| number).collect()
    }

    /// The disk does not know them any more. Only for the start, before anybody watches.
    pub(crate) fn forget_empty_tenants(&mut self) {
        self.tenants
            .retain(|_, tenant: &mut Tenant| !tenant.is_empty());
        let tenants = &self.tenants;
        self.numbers
            .retain(|_, number| tenants.contains_key(number));
    }
}
