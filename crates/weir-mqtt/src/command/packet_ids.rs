//! The packet ids of what the device has not acknowledged.

use std::num::NonZeroU16;

/// The ids in use, a bit for each. One is in use until it is acknowledged [MQTT-2.3.1-4], however long
/// ago the command behind it was given up: a late PUBACK must not be taken for another command's.
///
/// Ids are given out one after the other, so it grows with the number of commands up to 8 KiB.
#[derive(Debug, Default)]
pub(super) struct PacketIds {
    words: Vec<u64>,
    used: usize,
    last: u16,
}

/// Where the bit of an id is.
fn place(id: NonZeroU16) -> (usize, u64) {
    let id = id.get();
    (usize::from(id / 64), 1 << (id % 64))
}

impl PacketIds {
    /// How many are in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Takes the next one that is free; `None` if there is none.
    pub(super) fn take(&mut self) -> Option<NonZeroU16> {
        let next = |last: u16| NonZeroU16::new(last.wrapping_add(1)).unwrap_or(NonZeroU16::MIN);
        let mut id = next(self.last);
        for _ in 0..u16::MAX {
            if !self.is_used(id) {
                let (word, bit) = place(id);
                if self.words.len() <= word {
                    self.words.resize(word + 1, 0);
                }
                self.words[word] |= bit;
                self.used += 1;
                self.last = id.get();
                return Some(id);
            }
            id = next(id.get());
        }
        None
    }

    /// Gives one back; says whether it was in use.
    pub(super) fn free(&mut self, id: NonZeroU16) -> bool {
        let is_used = self.is_used(id);
        if is_used {
            let (word, bit) = place(id);
            self.words[word] &= !bit;
            self.used -= 1;
        }
        is_used
    }

    fn is_used(&self, id: NonZeroU16) -> bool {
        let (word, bit) = place(id);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_use_is_never_given_out_and_one_that_was_acknowledged_is_in_time() {
        let mut ids = PacketIds::default();
        let first = ids.take().unwrap();
        assert_eq!(first, NonZeroU16::MIN);
        for id in 2..=u16::MAX {
            assert_eq!(ids.take().map(NonZeroU16::get), Some(id));
        }
        assert_eq!((ids.take(), ids.used()), (None, 65_535));
        let fifth = NonZeroU16::new(5).unwrap();
        assert!(ids.free(fifth));
        assert!(!ids.free(fifth));
        assert_eq!(ids.take(), Some(fifth));
        assert!(ids.free(first));
        assert_eq!((ids.take(), ids.take()), (Some(first), None));
    }

    #[test]
    fn what_was_never_given_out_is_not_in_use() {
        let mut ids = PacketIds::default();
        assert!(!ids.free(NonZeroU16::MAX));
        assert_eq!(ids.used(), 0);
    }
}
