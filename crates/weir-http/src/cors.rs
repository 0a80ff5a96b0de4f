//! Cross-origin requests from browsers (the Fetch standard's CORS protocol, §3.2; contract §2.10).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN,
};
use http::{HeaderMap, HeaderValue};
use weir_core::Endpoint;

use crate::address::Address;

/// What a page may read of an answer besides its status and body.
const EXPOSED: HeaderValue = HeaderValue::from_static("hono-command, hono-cmd-req-id");

/// Adds what a page of another origin needs to be shown an answer.
///
/// The allowed origin is sent as configured; the browser compares it with the page's.
pub(crate) fn share(
    request: &HeaderMap,
    address: &Address,
    answer: &mut HeaderMap,
    allowed: &HeaderValue,
) {
    if request.contains_key(ORIGIN) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        if address.endpoint != Endpoint::CommandResponse {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// Adds what a page of another origin may send to `address`.
pub(crate) fn preflight(address: &Address, answer: &mut HeaderMap, allowed: &HeaderValue) {
    let headers = match address.endpoint {
        Endpoint::CommandResponse => "hono-cmd-status, Authorization, Content-Type",
        Endpoint::Event => "hono-ttd, Authorization, Content-Type",
        Endpoint::Telemetry => "QoS-Level, hono-ttd, Authorization, Content-Type",
    };
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
    let method = HeaderValue::from_static(address.method());
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
    let headers = HeaderValue::from_static(headers);
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
}
