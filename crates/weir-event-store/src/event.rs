//! What goes in, what comes out, and why something does not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

/// An event to be stored.
#[derive(Clone, Debug)]
pub struct Event {
    /// Whose it is.
    pub tenant: Arc<str>,
    /// The device that order is kept for.
    pub device: Arc<str>,
    /// Where it waits.
    pub queue: Queue,
    /// When it arrived, kept to the second.
    pub arrived: OffsetDateTime,
    /// When nobody wants it any more, kept to the second that follows. Dead letters do not expire.
    pub expires: Option<OffsetDateTime>,
    /// The message, which means nothing to the store.
    pub payload: Bytes,
}

/// One of a tenant's two queues.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Queue {
    /// Events that wait for a consumer.
    Event,
    /// Events that no consumer wanted.
    DeadLetter,
}

/// Names an event that was taken, until it is settled. Those of one [`Taker`](crate::Taker) are
/// ordered as the events were stored.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EventId {
    pub(crate) queue: QueueNo,
    pub(crate) taker: TakerNo,
    pub(crate) id: i64,
}

/// An event that was handed to a consumer, who owes a settlement.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What it is settled by.
    pub id: EventId,
    /// The device it is of.
    pub device: Arc<str>,
    /// How often it was handed out in vain and counted.
    pub attempts: u32,
    /// Why it is a dead letter, if it is one that was moved.
    pub cause: Option<Cause>,
    /// When it arrived, to the second.
    pub stored_at: OffsetDateTime,
    /// When it expires, to the second that follows.
    pub expires: Option<OffsetDateTime>,
    /// The message as it was stored.
    pub payload: Bytes,
}

/// Why an event became a dead letter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// It was handed out as often as is allowed.
    Attempts,
    /// A consumer rejected it.
    Rejected,
    /// A consumer declared it undeliverable here.
    Undeliverable,
}

impl Cause {
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::Attempts => 1,
            Self::Rejected => 2,
            Self::Undeliverable => 3,
        }
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        [Self::Attempts, Self::Rejected, Self::Undeliverable]
            .into_iter()
            .find(|cause| cause.code() == code)
    }
}

/// Why an event was not stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It would exceed what its tenant may keep waiting.
    #[error("the tenant's budget of {0} is used up")]
    Full(Budget),
    /// The file system has no room but the reserve.
    #[error("no space is left for events")]
    NoSpace,
    /// More events wait to be written than may.
    #[error("too many events wait to be written")]
    Busy,
    /// The store is closed.
    #[error("the event store is closed")]
    Closed,
    /// It could not be written. The log says why.
    #[error("the event could not be written")]
    Io,
}

/// A tenant's budget.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Budget {
    /// Bytes of payload.
    Bytes,
    /// Number of events.
    Count,
    /// Age of the oldest event.
    Age,
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Count => "events",
            Self::Age => "age",
        })
    }
}

/// Why nothing could be taken. What was chosen is waiting again, and no attempt was counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TakeError {
    /// More consumers wait for the disk than may.
    #[error("too many consumers wait for the disk")]
    Busy,
    /// The store is closed.
    #[error("the event store is closed")]
    Closed,
    /// The disk could not be read. The log says why.
    #[error("the events could not be read")]
    Io,
}

/// What a call of [`expire`](crate::EventStore::expire) did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Expired {
    /// How many events it dropped.
    pub count: usize,
    /// Whether there may be more, for the next call.
    pub more: bool,
}

/// What a tenant keeps waiting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TenantFigures {
    /// Whose figures they are.
    pub tenant: Arc<str>,
    /// Events that no consumer has accepted yet.
    pub events: QueueFigures,
    /// Dead letters.
    pub dead_letters: QueueFigures,
    /// Events refused for a budget since the store was opened.
    pub refused: u64,
    /// Events that expired since.
    pub expired: u64,
    /// Events that became dead letters since.
    pub dead_lettered: u64,
}

/// What one queue has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct QueueFigures {
    /// Number of events, those handed out included.
    pub count: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Age of the oldest, to the second.
    pub oldest_age: Option<Duration>,
}

/// A tenant's number and which of its queues: what the disk and the index know a queue by.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct QueueNo(pub(crate) u32);

impl QueueNo {
    pub(crate) fn new(tenant: u32, queue: Queue) -> Self {
        Self(2 * tenant + u32::from(queue == Queue::DeadLetter))
    }

    pub(crate) fn tenant(self) -> u32 {
        self.0 / 2
    }

    pub(crate) fn queue(self) -> Queue {
        match self.0 % 2 {
            0 => Queue::Event,
            _ => Queue::DeadLetter,
        }
    }
}

/// Names a taker. No two have the same while the store is open.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct TakerNo(pub(crate) u64);

/// What is remembered of an event that waits or is out. Small, because there may be millions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// Grows with every event that is stored.
    pub(crate) id: i64,
    /// Stands for the device; see [`device_key`].
    pub(crate) key: u32,
    /// Bytes of payload.
    pub(crate) len: u32,
    /// Seconds since 1970.
    pub(crate) stored: u32,
    /// Seconds since 1970, rounded up; 0 is never.
    pub(crate) expires: u32,
}

impl Entry {
    /// Whether nobody wants it at `now`, in seconds since 1970.
    pub(crate) fn has_expired(&self, now: u32) -> bool {
        self.expires > 0 && self.expires <= now
    }
}

/// Bytes of payload, as they are counted. No sane budget lets in what has to be cut here.
pub(crate) fn payload_len(event: &Event) -> u32 {
    u32::try_from(event.payload.len()).unwrap_or(u32::MAX)
}

/// What stands for a device in the index and on the disk: FNV-1a of its name. Two devices of a tenant
/// that share it only wait for each other now and then.
pub(crate) fn device_key(device: &str) -> u32 {
    device.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Whole seconds since 1970, rounded down.
pub(crate) fn seconds(at: OffsetDateTime) -> u32 {
    u32::try_from(at.unix_timestamp().max(0)).unwrap_or(u32::MAX)
}

/// Whole seconds since 1970, rounded up and never 0: nothing expires too early.
pub(crate) fn expiry(at: Option<OffsetDateTime>) -> u32 {
    at.map_or(0, |at| {
        seconds(at)
            .saturating_add(u32::from(at.nanosecond() > 0))
            .max(1)
    })
}

/// The time that is so many seconds after 1970.
pub(crate) fn time_of(seconds: u32) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds.into())
}
