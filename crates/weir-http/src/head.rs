//! What a request's head says of the message that it brings.

use std::borrow::Cow;

use bytestring::ByteString;
use http::header::{CONTENT_TYPE, EXPECT, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version};
use weir_core::{Endpoint, Qos, Reason, Rule, TraceContext};

use crate::outcome::Answer;
use crate::request::log;

const QOS_LEVEL: HeaderName = HeaderName::from_static("qos-level");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// hyper meets the one expectation there is (RFC 9110 §10.1.1) when the body is first read.
pub(crate) fn check_expectation(headers: &HeaderMap) -> Result<(), Answer> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().all(known) {
        Ok(())
    } else {
        Err(log(Answer::expectation_failed(), "unknown expectation"))
    }
}

/// hyper takes the framing off, and makes sure that it is the last coding. What else was done to the body
/// would be passed on as if it were the message (RFC 9112 §6.1).
pub(crate) fn check_coding(headers: &HeaderMap) -> Result<(), Answer> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if headers.get_all(TRANSFER_ENCODING).iter().all(known) {
        Ok(())
    } else {
        Err(log(Answer::unknown_coding(), "unknown transfer coding"))
    }
}

/// Telemetry is sent at most once unless asked otherwise, an event always at least once, and with a
/// response there is nothing to ask for.
pub(crate) fn qos(headers: &HeaderMap, endpoint: Endpoint) -> Result<Qos, Reason> {
    let level = headers.get(QOS_LEVEL).map(HeaderValue::as_bytes);
    match (endpoint, level.unwrap_or_default()) {
        (Endpoint::CommandResponse, _) => Ok(Qos::AtLeastOnce),
        (Endpoint::Telemetry, b"" | b"0") => Ok(Qos::AtMostOnce),
        (Endpoint::Telemetry, b"1") | (Endpoint::Event, b"" | b"1") => Ok(Qos::AtLeastOnce),
        _ => {
            let text = "unsupported QoS-Level header value";
            Err(Reason::BadRequest(Rule::Qos, text.into()))
        }
    }
}

/// The media type without its parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<Option<ByteString>, Reason> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| {
        let text = "malformed Content-Type header";
        Reason::BadRequest(Rule::Encoding, text.into())
    })?;
    let media_type = text.split(';').next().unwrap_or_default().trim();
    Ok((!media_type.is_empty()).then(|| media_type.into()))
}

/// A number from a header or, without that header, from the query; one that is none is ignored.
pub(crate) fn number<N: std::str::FromStr>(head: &Parts, name: &'static str) -> Option<N> {
    let text: Cow<'_, str> = match head.headers.get(name) {
        Some(header) => header.to_str().ok()?.into(),
        None => {
            let query = head.uri.query()?.as_bytes();
            let mut parameters = form_urlencoded::parse(query);
            parameters.find(|(key, _)| key == name)?.1
        }
    };
    text.parse().ok()
}

/// The request's URI as it was sent.
pub(crate) fn origin_address(head: &Parts) -> ByteString {
    match head.uri.path_and_query() {
        // HTTP/2 tells the authority apart from the path (RFC 9113 §8.3.1).
        Some(path) if head.uri.authority().is_none() || head.version == Version::HTTP_2 => {
            path.as_str().into()
        }
        // The absolute form (RFC 9112 §3.2.2).
        _ => head.uri.to_string().into(),
    }
}

/// The trace that the device continues (W3C Trace Context §3.2, §3.3).
pub(crate) fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    // More than one is as good as none (§3.2.1).
    let (Some(parent), None) = (parents.next(), parents.next()) else {
        return None;
    };
    let context = TraceContext::parse(parent.to_str().ok()?)?;
    let states: Vec<&str> = headers
        .get_all(TRACESTATE)
        .iter()
        .filter_map(|state| state.to_str().ok())
        .filter(|state| !state.is_empty())
        .collect();
    Some(context.with_state(Some(states.join(",").into())))
}
