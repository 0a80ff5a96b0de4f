//! W3C trace context (<https://www.w3.org/TR/trace-context/>).

use std::fmt;
use std::ops::Deref;

use bytestring::ByteString;
use rand::RngExt as _;

/// The trace a message belongs to, as it travels with the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    /// The vendors' part, passed on as it came (§3.3).
    pub tracestate: Option<ByteString>,
}

/// Length of a version 00 `traceparent` (§3.2.2).
const TRACEPARENT_LENGTH: usize = 55;

impl TraceContext {
    /// A new trace that nobody records.
    pub fn unsampled() -> Self {
        let mut random = rand::rng();
        Self {
            // All-zero ids are invalid (§3.2.2.3); the lowest bit keeps clear of them.
            trace_id: random.random::<u128>() | 1,
            span_id: random.random::<u64>() | 1,
            flags: 0,
            tracestate: None,
        }
    }

    /// Reads a `traceparent` header; `None` if it is not a valid one.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        let lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let shape = bytes.len() >= TRACEPARENT_LENGTH
            && bytes[..TRACEPARENT_LENGTH]
                .iter()
                .enumerate()
                .all(|(at, byte)| match at {
                    2 | 35 | 52 => *byte == b'-',
                    _ => lower_hex(byte),
                });
        // Version ff is forbidden; version 00 has exactly this length, later ones may go on (§4.3).
        let fits = match (bytes.get(..2), bytes.get(TRACEPARENT_LENGTH)) {
            (Some(b"ff"), _) => false,
            (Some(b"00"), more) => more.is_none(),
            (_, more) => matches!(more, None | Some(b'-')),
        };
        if !(shape && fits) {
            return None;
        }
        let trace_id = u128::from_str_radix(traceparent.get(3..35)?, 16).ok()?;
        let span_id = u64::from_str_radix(traceparent.get(36..52)?, 16).ok()?;
        let flags = u8::from_str_radix(traceparent.get(53..55)?, 16).ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            flags: flags & 1,
            tracestate: None,
        })
    }

    /// Whether the sender records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// A `traceparent` header's value.
#[derive(Clone, Copy)]
pub struct Traceparent([u8; TRACEPARENT_LENGTH]);

impl TraceContext {
    /// The context as a `traceparent`, version 00, without allocating.
    pub fn traceparent(&self) -> Traceparent {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let mut put = |at: usize, bytes: &[u8]| {
            for (index, byte) in bytes.iter().enumerate() {
                text[at + 2 * index] = HEX[usize::from(byte >> 4)];
                text[at + 2 * index + 1] = HEX[usize::from(byte & 15)];
            }
        };
        put(3, &self.trace_id.to_be_bytes());
        put(36, &self.span_id.to_be_bytes());
        put(53, &[self.flags]);
        Traceparent(text)
    }
}

impl Deref for Traceparent {
    type Target = str;

    fn deref(&self) -> &str {
        // It is made of ASCII only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Formats as `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn reads_and_writes_the_standards_example() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), EXAMPLE);
    }

    #[test]
    fn refuses_what_the_standard_forbids() {
        let bad = [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\u{e9}",
        ];
        for text in bad {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }

    #[test]
    fn accepts_a_later_version_that_says_more() {
        let text = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert!(TraceContext::parse(text).is_some());
    }

    #[test]
    fn a_new_trace_is_valid_and_not_sampled() {
        let context = TraceContext::unsampled();
        assert!(!context.is_sampled());
        assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
    }
}
