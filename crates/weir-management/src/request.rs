//! Taking a request apart.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::{CONTENT_TYPE, EXPECT, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use weir_core::{DeviceId, MAX_ID, TenantId};
use weir_registry::Version;

use crate::answer::Failure;
use crate::api::Api;
use crate::object::check_length;

/// For a request's body to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// What is read of a body that was refused, and for how long.
const REFUSED_SIZE: usize = 1024 * 1024;
const REFUSED_TIME: Duration = Duration::from_secs(1);

/// A tenant's id, from the path.
pub(crate) struct TenantPath(pub(crate) TenantId);

/// A device's id and its tenant's, from the path.
pub(crate) struct DevicePath(pub(crate) TenantId, pub(crate) DeviceId);

/// The version that the object to be changed is expected to have.
pub(crate) struct Expected(pub(crate) Option<Version>);

/// The name of the operator who asks; the guard hands it on.
#[derive(Clone)]
pub(crate) struct Operator(pub(crate) Arc<str>);

/// The JSON text in a request's body, if it has a body.
pub(crate) struct JsonBody(pub(crate) Option<Bytes>);

impl<S: Send + Sync> FromRequestParts<S> for TenantPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(tenant) = path.map_err(bad_path)?;
        Ok(Self(tenant_id(tenant)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DevicePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((tenant, device)) = path.map_err(bad_path)?;
        Ok(Self(tenant_id(tenant)?, device_id(device)?))
    }
}

fn bad_path(rejection: PathRejection) -> Failure {
    Failure::bad_request(rejection.body_text())
}

fn tenant_id(text: String) -> Result<TenantId, Failure> {
    if !is_of(&text, "-_.") {
        let text = "tenant id: only letters, digits, and - _ . are allowed";
        return Err(Failure::bad_request(text));
    }
    check_length("tenant id", &text, MAX_ID)?;
    Ok(text.into())
}

fn device_id(text: String) -> Result<DeviceId, Failure> {
    if !is_of(&text, "-_.:=") {
        let text = "device id: only letters, digits, and - _ . : = are allowed";
        return Err(Failure::bad_request(text));
    }
    check_length("device id", &text, MAX_ID)?;
    Ok(text.into())
}

/// Whether `text` is not empty and of ASCII letters, digits and `others` only.
pub(crate) fn is_of(text: &str, others: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    !text.is_empty() && text.chars().all(allowed)
}

impl<S: Send + Sync> FromRequestParts<S> for Expected {
    type Rejection = Failure;

    /// `If-Match` is compared as it is: no quotes, no `*`, no list. An empty one asks for nothing.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let value = parts.headers.get(IF_MATCH).map(HeaderValue::as_bytes);
        let value = value.filter(|value| !value.is_empty());
        let version = value.map(|value| Version::from(String::from_utf8_lossy(value).as_ref()));
        Ok(Self(version))
    }
}

impl FromRequest<Arc<Api>> for JsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Failure> {
        let is_json = is_json(request.headers());
        // It sends its body only when it is asked to.
        let asks_first = request.headers().contains_key(EXPECT);
        let mut body = request.into_body();
        let read = read(&mut body, api.max_payload_size).await;
        if read.is_err() && !asks_first {
            drain(body).await;
        }
        let body = read?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        if !is_json {
            let text = "Content-Type: application/json is required";
            return Err(Failure::bad_request(text));
        }
        Ok(Self(Some(body)))
    }
}

impl JsonBody {
    /// The body, where there has to be one.
    pub(crate) fn required(self) -> Result<Bytes, Failure> {
        self.0
            .ok_or_else(|| Failure::bad_request("a JSON body is required"))
    }
}

async fn read(body: &mut Body, limit: usize) -> Result<Bytes, Failure> {
    // What is declared too large need not be read.
    if body.size_hint().lower() > limit as u64 {
        return Err(Failure::too_large(limit));
    }
    let collect = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let broken = |_| Failure::bad_request("the request's body broke off");
            let data = frame.map_err(broken)?.into_data().unwrap_or_default();
            if bytes.len() + data.len() > limit {
                return Err(Failure::too_large(limit));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.into())
    };
    let collected = timeout(BODY_TIME, collect).await;
    collected.map_err(|_| Failure::too_slow())?
}

/// Lets a body run dry that was refused: closing a socket with unread bytes would take the answer back.
async fn drain(mut body: Body) {
    let mut rest = REFUSED_SIZE;
    let drain = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            match rest.checked_sub(size) {
                Some(less) => rest = less,
                None => break,
            }
        }
    };
    // A client that does not send it in time may miss the answer.
    let _ = timeout(REFUSED_TIME, drain).await;
}

/// Whether the content is declared as JSON, with whatever parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}
