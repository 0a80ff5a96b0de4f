//! The newest events' messages, so that consumers which keep up cost no reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// What is read from the disk when an event is taken, unless it is still in memory.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) device: Arc<str>,
    pub(crate) payload: Bytes,
}

/// Bodies by id. Over its budget it forgets the oldest: consumers that are behind read the disk anyway
/// until they have caught up.
#[derive(Debug)]
pub(crate) struct Memory {
    bodies: BTreeMap<i64, Body>,
    bytes: usize,
    budget: usize,
}

impl Memory {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            bodies: BTreeMap::new(),
            bytes: 0,
            budget,
        }
    }

    pub(crate) fn insert(&mut self, id: i64, body: Body) {
        self.bytes += cost(&body);
        self.bodies.insert(id, body);
        while self.bytes > self.budget
            && let Some((_, oldest)) = self.bodies.pop_first()
        {
            self.bytes -= cost(&oldest);
        }
    }

    pub(crate) fn take(&mut self, id: i64) -> Option<Body> {
        let body = self.bodies.remove(&id)?;
        self.bytes -= cost(&body);
        Some(body)
    }
}

/// Bytes a body takes, with a guess at what holds it.
fn cost(body: &Body) -> usize {
    body.payload.len() + body.device.len() + 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_the_bytes_add_up() {
        let body = Body {
            device: "d".into(),
            payload: Bytes::from_static(&[0; 100]),
        };
        let mut memory = Memory::new(3 * cost(&body));
        for id in 1..=5 {
            memory.insert(id, body.clone());
        }
        let kept: Vec<_> = (1..=5).filter(|&id| memory.take(id).is_some()).collect();
        assert_eq!(kept, [3, 4, 5]);
        assert_eq!(memory.bytes, 0);
    }
}
