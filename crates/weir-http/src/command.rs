//! Commands: one that goes out with the answer to an upload, and a device's response to one
//! (contract §2.7, §2.8).

use http::header::{CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use weir_core::command::{CommandDelivery, RequestId, is_valid_status};
use weir_core::{Reason, ResponseHead, Rule, shorten};

use crate::address::Address;
use crate::handover::AnswerBody;
use crate::head::{TRACEPARENT, TRACESTATE, number};
use crate::link::Link;

const COMMAND: HeaderName = HeaderName::from_static("hono-command");
const REQUEST_ID: HeaderName = HeaderName::from_static("hono-cmd-req-id");
const TARGET_DEVICE: HeaderName = HeaderName::from_static("hono-cmd-target-device");
const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
const STATUS: &str = "hono-cmd-status";

/// Puts a command into the answer to an upload that was taken.
///
/// What HTTP has no way to write is rejected, so that the application does not try again; the answer then
/// stays without a command.
pub(crate) fn carry(delivery: CommandDelivery, link: &Link, response: &mut Response<AnswerBody>) {
    let Some(headers) = headers(&delivery) else {
        let text = "command cannot be written as HTTP headers";
        return delivery.reject(Reason::BadRequest(Rule::Encoding, text.into()));
    };
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().extend(headers);
    *response.body_mut() = AnswerBody::of_command(delivery, link.framing, &link.unconfirmed);
}

/// A command's headers; `None` if one of them cannot be written.
fn headers(delivery: &CommandDelivery) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let command = delivery.command();
    let mut headers = vec![(COMMAND, value(&command.name)?)];
    if let Some(request_id) = delivery.request_id() {
        headers.push((REQUEST_ID, value(&request_id)?));
    }
    if delivery.gateway().is_some() {
        headers.push((TARGET_DEVICE, value(command.device.as_str())?));
    }
    let content_type = command.content_type.as_deref().unwrap_or_default();
    if !content_type.is_empty() {
        headers.push((CONTENT_TYPE, value(content_type)?));
    } else if !command.payload.is_empty() {
        headers.push((CONTENT_TYPE, OCTET_STREAM));
    }
    if let Some(trace) = command.recorded_trace() {
        headers.push((TRACEPARENT, value(&trace.traceparent())?));
        let state = trace.tracestate().and_then(value);
        headers.extend(state.map(|state| (TRACESTATE, state)));
    }
    Some(headers)
}

/// A text as a header's value, if that is printable ASCII and a recipient would not strip any of it
/// (RFC 9110 §5.5).
fn value(text: &str) -> Option<HeaderValue> {
    let is_whole = text.is_ascii() && text.trim_ascii() == text;
    is_whole.then(|| HeaderValue::from_str(text).ok()).flatten()
}

/// Which command a response answers, and how.
///
/// # Errors
/// A bad request, if the request id is not one or the status is missing or not a valid one.
pub(crate) fn response_head(head: &Parts, address: &Address) -> Result<ResponseHead, Reason> {
    let id: &str = address.request_id.as_deref().unwrap_or_default();
    let told: Option<i32> = number(head, STATUS);
    let status = told.and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| is_valid_status(*status));
    match (RequestId::parse(id), status) {
        (Ok(request_id), Some(status)) => Ok(ResponseHead { request_id, status }),
        _ => {
            let id = shorten(id);
            let status = told.map_or_else(|| "null".to_owned(), |status| status.to_string());
            let text =
                format!("command-request-id [{id}] or status code [{status}] is missing/invalid");
            Err(Reason::BadRequest(Rule::Encoding, text.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_holds_what_arrives_as_it_was() {
        for text in ["setBrightness", "a b", "!\"#%~", "a\tb"] {
            assert_eq!(
                value(text).as_ref().map(HeaderValue::as_bytes),
                Some(text.as_bytes())
            );
        }
        for text in [
            " a",
            "a ",
            "\ta",
            "a\r\nX: y",
            "a\u{0}",
            "\u{7f}",
            "\u{e4}",
            "\u{20ac}",
        ] {
            assert_eq!(value(text), None, "{text:?}");
        }
    }
}
