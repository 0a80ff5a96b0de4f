//! What the store keeps of an event.
//!
//! Version (1 byte, 1), whether there is a time to live (1), the time to live in milliseconds (4), the
//! creation time in milliseconds (8), all big-endian; then the message without its header. The header
//! says how much of the time to live is left and how often the event was tried, so each delivery has its
//! own.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use weir_core::Downstream;
use weir_event_store::{Cause, Taken};

use crate::message::encode_sections;

const VERSION: u8 = 1;
/// Bytes in front of the message.
const PREFIX: usize = 14;

/// Says in a dead letter's annotations why it is one.
const CAUSE: &str = "x-opt-dead-letter-cause";

/// A message as it is stored. `number` makes its id unique among all events.
pub(crate) fn write(message: &Downstream, number: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(512 + message.payload.len());
    out.put_u8(VERSION);
    out.put_u8(message.ttl.is_some().into());
    out.put_u32(message.ttl.unwrap_or_default());
    out.put_i64(message.creation_time);
    encode_sections(&mut out, message, number);
    out.freeze()
}

/// A stored message, taken apart.
pub(crate) struct Stored {
    ttl: Option<u32>,
    /// Milliseconds since the epoch.
    created: i64,
    sections: Bytes,
}

impl Stored {
    /// Nothing if another release has written it in another way.
    pub(crate) fn read(mut stored: Bytes) -> Option<Self> {
        if stored.len() < PREFIX || stored.get_u8() != VERSION {
            return None;
        }
        let has_ttl = stored.get_u8() != 0;
        let ttl = stored.get_u32();
        Some(Self {
            ttl: has_ttl.then_some(ttl),
            created: stored.get_i64(),
            sections: stored,
        })
    }

    /// Appends the message to `buffer` as it is delivered `now`, in milliseconds since the epoch.
    pub(crate) fn encode(&self, buffer: &mut BytesMut, event: &Taken, now: i64) {
        match event.cause {
            None => {
                put_header(buffer, self.ttl_left(now), event.attempts);
                buffer.put_slice(&self.sections);
            }
            // Dead letters do not expire.
            Some(cause) => {
                put_header(buffer, None, event.attempts);
                put_with_annotation(buffer, &self.sections, CAUSE, name(cause));
            }
        }
    }

    /// At least a millisecond: an event that has not been dropped yet is of use, and 0 would be none.
    fn ttl_left(&self, now: i64) -> Option<u32> {
        let ttl = self.ttl?;
        let end = self.created.saturating_add(ttl.into());
        let left = end.saturating_sub(now).clamp(1, i64::from(ttl.max(1)));
        u32::try_from(left).ok()
    }
}

fn name(cause: Cause) -> &'static str {
    match cause {
        Cause::Attempts => "attempts",
        Cause::Rejected => "rejected",
        Cause::Undeliverable => "undeliverable",
    }
}

/// A header [AMQP 3.2.1] with all that an event's says: durable, the time to live in milliseconds,
/// whether this is the first attempt, and how many there were before.
fn put_header(out: &mut BytesMut, ttl: Option<u32>, attempts: u32) {
    out.put_slice(&[0, 0x53, 0x70, 0xc0, 0, 5, TRUE, NULL]);
    let size = out.len() - 4;
    match ttl {
        Some(ttl) => put_uint(out, ttl),
        None => out.put_u8(NULL),
    }
    out.put_u8(if attempts == 0 { TRUE } else { FALSE });
    put_uint(out, attempts);
    // At most 14: everything from the count on.
    out[size] = (out.len() - size - 1) as u8;
}

const NULL: u8 = 0x40;
const TRUE: u8 = 0x41;
const FALSE: u8 = 0x42;

fn put_uint(out: &mut BytesMut, value: u32) {
    out.put_u8(0x70);
    out.put_u32(value);
}

/// How the annotations that we write begin: the descriptor and the constructor of a map with four bytes
/// for its size and four for its count.
const ANNOTATIONS: [u8; 4] = [0, 0x53, 0x72, 0xd1];

/// Appends `sections` with one annotation more. Without annotations to add it to, they are left as they
/// are.
fn put_with_annotation(out: &mut BytesMut, sections: &[u8], key: &str, value: &str) {
    let parts = sections
        .strip_prefix(&ANNOTATIONS)
        .and_then(|rest| rest.split_at_checked(8))
        .and_then(|(mut lengths, rest)| {
            let (size, count) = (lengths.get_u32(), lengths.get_u32());
            // The size has the count in it.
            let entries = usize::try_from(size).ok()?.checked_sub(4)?;
            let (entries, rest) = rest.split_at_checked(entries)?;
            Some((size, count, entries, rest))
        });
    let Some((size, count, entries, rest)) = parts else {
        return out.put_slice(sections);
    };
    // Ours are short: a constructor and one byte of length each.
    let added = 4 + key.len() + value.len();
    out.put_slice(&ANNOTATIONS);
    out.put_u32(size + added as u32);
    out.put_u32(count + 2);
    out.put_slice(entries);
    for (code, text) in [(0xa3, key), (0xa1, value)] {
        out.put_slice(&[code, text.len() as u8]);
        out.put_slice(text.as_bytes());
    }
    out.put_slice(rest);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use time::OffsetDateTime;
    use weir_amqp_engine::{Message, Value};
    use weir_core::{Endpoint, Qos};
    use weir_event_store::{EventStore, Options, Queue};

    use super::*;
    use crate::message::tests::message;

    const CREATED: i64 = 1_700_000_000_123;

    fn event(ttl: Option<u32>) -> Downstream {
        Downstream {
            endpoint: Endpoint::Event,
            creation_time: CREATED,
            ttl,
            ..message(Qos::AtLeastOnce)
        }
    }

    /// As the store hands it out.
    async fn taken(payload: Bytes) -> Taken {
        let folder = tempfile::tempdir().unwrap();
        let store = EventStore::open(folder.path(), Options::default()).unwrap();
        let event = weir_event_store::Event {
            tenant: Arc::from("acme"),
            device: Arc::from("4711"),
            queue: Queue::Event,
            arrived: OffsetDateTime::UNIX_EPOCH,
            expires: None,
            payload,
        };
        store.append(event).await.unwrap();
        let mut taker = store.taker("acme", Queue::Event);
        let mut taken = taker.take(1, OffsetDateTime::now_utc()).await.unwrap();
        taken.remove(0)
    }

    async fn delivered(ttl: Option<u32>, now: i64, attempts: u32, cause: Option<Cause>) -> Message {
        let payload = write(&event(ttl), 42);
        let taken = Taken {
            attempts,
            cause,
            ..taken(payload.clone()).await
        };
        let mut buffer = BytesMut::new();
        Stored::read(payload)
            .unwrap()
            .encode(&mut buffer, &taken, now);
        Message::decode(buffer.freeze()).unwrap()
    }

    #[tokio::test]
    async fn each_delivery_says_how_much_time_is_left_and_how_often_it_was_tried() {
        let rows = [
            (None, CREATED + 10, 0, None),
            (Some(30_000), CREATED, 0, Some(30_000)),
            (Some(30_000), CREATED + 1_000, 1, Some(29_000)),
            (Some(30_000), CREATED + 29_999, 300, Some(1)),
            (Some(30_000), CREATED + 99_999, 7, Some(1)),
            (Some(30_000), CREATED - 5_000, 0, Some(30_000)),
            (Some(0), CREATED, 0, Some(1)),
            (Some(u32::MAX), CREATED, u32::MAX, Some(u32::MAX)),
        ];
        for (ttl, now, attempts, left) in rows {
            let message = delivered(ttl, now, attempts, None).await;
            assert!(message.header.durable);
            assert_eq!(message.header.ttl, left, "{ttl:?} at {now}");
            assert_eq!(message.header.delivery_count, attempts);
            assert_eq!(message.properties.to.as_deref(), Some("event/acme"));
            assert_eq!(message.properties.creation_time, Some(CREATED));
        }
    }

    #[test]
    fn only_the_first_attempt_is_the_first() {
        for (attempts, expected) in [(0, TRUE), (1, FALSE)] {
            let mut header = BytesMut::new();
            put_header(&mut header, None, attempts);
            assert_eq!(header[9], expected);
        }
    }

    #[tokio::test]
    async fn a_dead_letter_is_the_event_and_why_it_is_dead() {
        let event = delivered(Some(1000), CREATED, 0, None).await;
        for (cause, name) in [
            (Cause::Attempts, "attempts"),
            (Cause::Rejected, "rejected"),
            (Cause::Undeliverable, "undeliverable"),
        ] {
            let mut dead = delivered(Some(1000), CREATED, 0, Some(cause)).await;
            assert_eq!((dead.header.durable, dead.header.ttl), (true, None));
            let annotation = dead.message_annotations.0.pop().unwrap();
            assert_eq!(annotation, (CAUSE.to_owned(), Value::String(name.into())));
            assert_eq!(dead.message_annotations, event.message_annotations);
            assert_eq!(dead.application_properties, event.application_properties);
            assert_eq!(dead.properties, event.properties);
            assert_eq!(dead.body, event.body);
        }
    }

    #[test]
    fn what_cannot_be_annotated_stays_as_it_is() {
        for sections in [
            &b""[..],
            &[0, 0x53, 0x75, 0xa0, 1, 7],
            &[0, 0x53, 0x72, 0xd1, 0, 0],
            &[0, 0x53, 0x72, 0xd1, 0, 0, 0, 3, 0, 0, 0, 0],
            &[0, 0x53, 0x72, 0xd1, 0, 0, 0, 9, 0, 0, 0, 0],
        ] {
            let mut out = BytesMut::new();
            put_with_annotation(&mut out, sections, "key", "value");
            assert_eq!(out, sections);
        }
    }

    #[test]
    fn what_another_release_has_written_is_not_read() {
        let stored = write(&event(None), 1);
        let mut newer = BytesMut::from(&*stored);
        newer[0] += 1;
        for other in [newer.freeze(), stored.slice(..PREFIX - 1), Bytes::new()] {
            assert!(Stored::read(other).is_none());
        }
        assert!(Stored::read(stored).is_some());
    }
}
