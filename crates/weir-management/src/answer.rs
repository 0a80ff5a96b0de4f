//! Answers: what succeeded with its version, what failed with its reason.

use std::borrow::Cow;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use weir_registry::{
    ChangeError, CreateDeviceError, CreateTenantError, ReadError, SetCredentialsError, Unavailable,
    UpdateTenantError, Version,
};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// 201 for a new object.
pub(crate) fn created(collection: &str, id: &str, version: &Version) -> Response {
    let mut response = json(StatusCode::CREATED, &json!({ "id": id }));
    set(&mut response, LOCATION, &format!("/v1/{collection}/{id}"));
    set(&mut response, ETAG, version.as_str());
    response
}

/// 200 with an object.
pub(crate) fn found(object: &impl Serialize, version: &Version) -> Response {
    let mut response = json(StatusCode::OK, object);
    set(&mut response, ETAG, version.as_str());
    response
}

/// 200 with a page of objects, which has no version.
pub(crate) fn page(objects: &impl Serialize) -> Response {
    json(StatusCode::OK, objects)
}

/// 204 for a replaced object.
pub(crate) fn replaced(version: &Version) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    set(&mut response, ETAG, version.as_str());
    response
}

/// 204 for a removed object.
pub(crate) fn removed() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 404 for a path that leads nowhere, for whoever sees it in a browser.
pub(crate) fn no_such_route() -> Response {
    let page = "<html><body><h1>Resource not found</h1></body></html>";
    (StatusCode::NOT_FOUND, Html(page)).into_response()
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Versions and ids are of letters that headers may have; what is not is left out.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Why a request failed, as its sender is told.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    text: Cow<'static, str>,
}

impl Failure {
    fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        Self { status, text }
    }

    /// The request breaks a rule; the text names it.
    pub(crate) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized")
    }

    pub(crate) fn no_such_verb() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
    }

    pub(crate) fn too_slow() -> Self {
        let text = "the request's body did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, text)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let text = format!("the request's body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error")
    }

    fn not_found(what: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    fn forbidden(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    fn conflict(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    fn other_version() -> Self {
        let text = "the resource's version is not the one in If-Match";
        Self::new(StatusCode::PRECONDITION_FAILED, text)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &json!({ "error": self.text }));
        if self.status == StatusCode::UNAUTHORIZED {
            set(&mut response, WWW_AUTHENTICATE, "Basic realm=\"weir\"");
        }
        response
    }
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        tracing::error!(
            cause = error.cause(),
            "the registry did not answer an operator"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable")
    }
}

impl From<CreateTenantError> for Failure {
    fn from(error: CreateTenantError) -> Self {
        match error {
            CreateTenantError::Exists => Self::conflict("tenant exists already"),
            CreateTenantError::Clash(clash) => Self::conflict(clash.to_string()),
            CreateTenantError::Unavailable(error) => error.into(),
        }
    }
}

impl From<UpdateTenantError> for Failure {
    fn from(error: UpdateTenantError) -> Self {
        match error {
            UpdateTenantError::NotFound => Self::not_found("no such tenant"),
            UpdateTenantError::VersionMismatch => Self::other_version(),
            UpdateTenantError::Clash(clash) => Self::conflict(clash.to_string()),
            UpdateTenantError::Unavailable(error) => error.into(),
        }
    }
}

impl From<CreateDeviceError> for Failure {
    fn from(error: CreateDeviceError) -> Self {
        match error {
            CreateDeviceError::TenantUnknown => Self::not_found("no such tenant"),
            CreateDeviceError::LimitReached => Self::forbidden(error.to_string()),
            CreateDeviceError::Exists => Self::conflict("device exists already"),
            CreateDeviceError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound => Self::not_found("no such object"),
            ReadError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => Self::not_found("no such object"),
            ChangeError::VersionMismatch => Self::other_version(),
            ChangeError::Unavailable(error) => error.into(),
        }
    }
}

impl From<SetCredentialsError> for Failure {
    fn from(error: SetCredentialsError) -> Self {
        match error {
            SetCredentialsError::NotFound => Self::not_found("no such device"),
            SetCredentialsError::VersionMismatch => Self::other_version(),
            SetCredentialsError::LimitReached(_) => Self::forbidden(error.to_string()),
            SetCredentialsError::AuthIdTaken { .. } => Self::conflict(error.to_string()),
            SetCredentialsError::SecretUnknown { .. }
            | SetCredentialsError::SecretWithoutHash { .. } => Self::bad_request(error.to_string()),
            SetCredentialsError::Unavailable(error) => error.into(),
        }
    }
}
