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
    tracestate: Option<ByteString>,
}

/// The sender records the trace (§3.2.2.5.1).
const SAMPLED: u8 = 1;
/// The trace's id was made at random (level 2, §3.2.2.5.2).
const RANDOM: u8 = 2;
/// The longest `tracestate` that is passed on, bytes: all that has to be (§3.3.1.5).
const MAX_STATE: usize = 512;

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
            flags: flags & (SAMPLED | RANDOM),
            tracestate: None,
        })
    }

    /// With the vendors' part (§3.3), which is passed on as it came; not if it is empty or longer than 512
    /// bytes.
    #[must_use]
    pub fn with_state(self, tracestate: Option<ByteString>) -> Self {
        let is_good = |state: &ByteString| !state.is_empty() && state.len() <= MAX_STATE;
        Self {
            tracestate: tracestate.filter(is_good),
            ..self
        }
    }

    /// The vendors' part.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// Whether the sender records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace's id.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The id of the span that what comes next is part of (W3C's parent-id).
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// The same trace, as somebody tells of it who records the span `span_id`.
    pub(crate) fn recorded_by(&self, span_id: u64) -> Self {
        Self {
            span_id,
            flags: self.flags | SAMPLED,
            ..self.clone()
        }
    }

    /// The same trace, as somebody tells of it who does not record it. Whoever says something else than was
    /// said before says it in his own name (§3.4).
    pub(crate) fn unrecorded(self) -> Self {
        if !self.is_sampled() {
            return self;
        }
        Self {
            span_id: new_span_id(),
            flags: self.flags & !SAMPLED,
            ..self
        }
    }
}

/// An id for a new span.
pub(crate) fn new_span_id() -> u64 {
    // All-zero ids are invalid (§3.2.2.4).
    rand::rng().random::<u64>() | 1
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
    fn passes_on_what_level_2_says_of_an_id() {
        for (flags, told) in [("03", "03"), ("02", "02"), ("ff", "03"), ("fc", "00")] {
            let with = |flags| format!("{}{flags}", EXAMPLE.strip_suffix("01").unwrap());
            let context = TraceContext::parse(&with(flags)).unwrap();
            assert_eq!(context.to_string(), with(told));
        }
    }

    #[test]
    fn what_vendors_say_is_passed_on_up_to_the_length_that_has_to_be() {
        let long = format!("a={}", "x".repeat(510));
        let longer = format!("{long}x");
        for (state, kept) in [
            ("a=1,b=2", true),
            ("", false),
            (&long, true),
            (&longer, false),
        ] {
            let context = TraceContext::parse(EXAMPLE).unwrap();
            let context = context.with_state(Some(state.into()));
            assert_eq!(context.tracestate(), kept.then_some(state));
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
