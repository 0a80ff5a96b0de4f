//! The property bag: what a device says about a message at the end of its topic.

use bytestring::ByteString;
use weir_core::TraceContext;

use crate::address::Malformed;

/// What a trace is called, in bags and among user properties (W3C Trace Context for MQTT).
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";

/// What is to happen to the connection if the message is refused (device contract §3.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnError {
    /// The same as `Ignore` if the device has subscribed to the message's errors, else as
    /// `Disconnect`.
    #[default]
    Default,
    /// Close it.
    Disconnect,
    /// Go on, and acknowledge the message.
    Ignore,
    /// Go on, and do not acknowledge the message.
    SkipAck,
}

/// The parameters behind the last `/?` of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PropertyBag {
    pub(crate) content_type: Option<ByteString>,
    /// What the message is called in errors; not empty.
    pub(crate) correlation_id: Option<ByteString>,
    /// Seconds.
    pub(crate) ttl: Option<u64>,
    pub(crate) on_error: OnError,
    pub(crate) trace: Option<TraceContext>,
}

impl PropertyBag {
    /// Reads `query`, a part of `topic`: `name=value` pairs with `&` between them, percent-encoded.
    /// Names are told apart without regard to case; of several with the same name the first counts.
    /// Unknown ones are ignored, as are values that make no sense.
    pub(crate) fn parse(topic: &ByteString, query: &str) -> Result<Self, Malformed> {
        let mut bag = Self::default();
        let mut on_error = None;
        let mut traceparent = None;
        let mut tracestate = None;
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(topic, name)?;
            let value = decode(topic, value)?;
            let slot = match () {
                () if name.eq_ignore_ascii_case("content-type") => &mut bag.content_type,
                () if name.eq_ignore_ascii_case("correlation-id") => &mut bag.correlation_id,
                () if name.eq_ignore_ascii_case("on-error") => &mut on_error,
                () if name.eq_ignore_ascii_case(TRACEPARENT) => &mut traceparent,
                () if name.eq_ignore_ascii_case(TRACESTATE) => &mut tracestate,
                () if name.eq_ignore_ascii_case("hono-ttl") => {
                    bag.ttl = bag.ttl.or_else(|| value.parse().ok());
                    continue;
                }
                () => continue,
            };
            slot.get_or_insert(value);
        }
        bag.correlation_id = bag.correlation_id.filter(|id| !id.is_empty());
        bag.on_error = on_error.as_deref().map(mode).unwrap_or_default();
        bag.trace = trace(traceparent.as_deref(), tracestate);
        Ok(bag)
    }
}

fn mode(value: &str) -> OnError {
    match value {
        "disconnect" => OnError::Disconnect,
        "ignore" => OnError::Ignore,
        "skip-ack" => OnError::SkipAck,
        _ => OnError::Default,
    }
}

/// The trace that a message continues. What is not a valid one is none (W3C trace context §4.3).
pub(crate) fn trace(
    traceparent: Option<&str>,
    tracestate: Option<ByteString>,
) -> Option<TraceContext> {
    Some(TraceContext::parse(traceparent?)?.with_state(tracestate))
}

/// Decodes a name or value of a query. What needs no decoding stays a part of `topic`.
fn decode(topic: &ByteString, text: &str) -> Result<ByteString, Malformed> {
    if !text.contains('%') {
        return Ok(topic.slice_ref(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = bytes.next().and_then(hex).ok_or(Malformed)?;
            let low = bytes.next().and_then(hex).ok_or(Malformed)?;
            decoded.push(high << 4 | low);
        } else {
            decoded.push(byte);
        }
    }
    // No string on this way holds U+0000, however it was written [MQTT-1.5.3-2].
    if decoded.contains(&0) {
        return Err(Malformed);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| Malformed)?;
    Ok(ByteString::from(decoded))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
