//! What a store may use.

use std::time::Duration;

/// How a store behaves. The defaults suit a gateway on one small machine.
#[derive(Clone, Debug)]
pub struct Options {
    /// What each tenant may keep waiting.
    pub budgets: Budgets,
    /// After how many counted attempts an event becomes a dead letter. At least 1; 0 is taken as 1.
    pub max_attempts: u32,
    /// Events that may wait to be written, over all tenants.
    pub queued_events: usize,
    /// Bytes of payload that may wait to be written, over all tenants.
    pub queued_bytes: usize,
    /// Bytes of payload of the newest events that are kept in memory, so that consumers which keep up
    /// cost no reads.
    pub memory: usize,
    /// Bytes of payload that one [`take`](crate::Taker::take) hands out, unless a single event
    /// has more.
    pub take_bytes: usize,
    /// Bytes on the file system that new events leave free, so that removing always fits. Should be
    /// twice the write-ahead log, which is 64 MiB, and more if others write to the file system.
    pub reserve: u64,
}

/// What one tenant may keep waiting, events and dead letters together. An event that exceeds a budget
/// is refused; nothing that was acknowledged is dropped to make room.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    /// Bytes of payload.
    pub bytes: u64,
    /// Number of events.
    pub count: u64,
    /// How old the oldest event may be that has not been taken for good. Dead letters have no such
    /// limit. `None` is none.
    pub age: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            budgets: Budgets::default(),
            max_attempts: 10,
            queued_events: 8_192,
            queued_bytes: 32 << 20,
            memory: 16 << 20,
            take_bytes: 1 << 20,
            reserve: 256 << 20,
        }
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            count: 1_000_000,
            age: None,
        }
    }
}
