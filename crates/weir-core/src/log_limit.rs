//! Keeping peers that nobody knows from filling the log.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Lines of one kind that are written per second.
const PER_SECOND: u64 = 20;
/// Bytes of a text that a peer chose which are shown.
const SHOWN: usize = 100;

/// Lets a line through a few times a second and counts the others.
///
/// It is for lines that somebody who has not logged in can cause; they are counted in the metrics all
/// the same.
#[derive(Debug)]
pub struct LogLimit {
    start: OnceLock<Instant>,
    second: AtomicU64,
    lines: AtomicU64,
    held_back: AtomicU64,
}

impl LogLimit {
    /// A limit for one kind of line.
    pub const fn new() -> Self {
        Self {
            start: OnceLock::new(),
            second: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// Whether to write the line now. If so, how many were held back since the last one.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let start = self.start.get_or_init(|| now);
        let second = now.saturating_duration_since(*start).as_secs();
        if self.second.swap(second, Relaxed) != second {
            self.lines.store(0, Relaxed);
        }
        if self.lines.fetch_add(1, Relaxed) < PER_SECOND {
            return Some(self.held_back.swap(0, Relaxed));
        }
        self.held_back.fetch_add(1, Relaxed);
        None
    }
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// As much of a text that a peer chose as is to be logged.
pub fn shorten(text: &str) -> &str {
    let mut end = text.len().min(SHOWN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let limit = LogLimit::new();
        let now = Instant::now();
        let written = (0..1000).filter(|_| limit.admit(now).is_some()).count();
        assert_eq!(written as u64, PER_SECOND);
        assert_eq!(
            limit.admit(now + Duration::from_secs(1)),
            Some(1000 - PER_SECOND)
        );
        assert_eq!(limit.admit(now + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        let umlauts = "ä".repeat(80);
        assert_eq!(shorten(&umlauts).chars().count(), 50);
        let shifted = format!("a{umlauts}");
        assert_eq!(shorten(&shifted).chars().count(), 50);
    }
}
