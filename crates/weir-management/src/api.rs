//! The routes, and what is done for each request whatever its route.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use weir_core::{Accounts, LogLimit, Role, shorten};
use weir_metrics::{AuthenticationOutcome, ClientType, Metrics};
use weir_registry::SqlRegistry;

use crate::answer::{Failure, no_such_route};
use crate::hasher::Hasher;
use crate::request::Operator;
use crate::rules::password::HashRules;
use crate::{LogControl, ManagementConfig, credentials, devices, log, openapi, search, tenants};

/// Refused operators are told a few times a second; a guesser must not fill the disk.
static REFUSED: LogLimit = LogLimit::new();

/// Who changes what is logged logs that himself.
const LOG: &str = "/v1/log";

/// What the handlers share.
pub(crate) struct Api {
    pub(crate) registry: SqlRegistry,
    pub(crate) hasher: Hasher,
    pub(crate) hashes: HashRules,
    pub(crate) max_payload_size: usize,
    pub(crate) log: Arc<dyn LogControl>,
    accounts: Arc<Accounts>,
    metrics: Metrics,
    allowed_origin: Option<HeaderValue>,
}

/// The whole API.
pub(crate) fn router(
    config: &ManagementConfig,
    registry: SqlRegistry,
    accounts: Arc<Accounts>,
    metrics: Metrics,
    log: Arc<dyn LogControl>,
) -> Router {
    let api = Arc::new(Api {
        registry,
        hasher: Hasher::new(config.bcrypt_cost),
        hashes: config.hash_rules(),
        max_payload_size: config.max_payload_size,
        log,
        accounts,
        metrics,
        allowed_origin: HeaderValue::from_str(&config.cors_allowed_origin).ok(),
    });
    let tenant = get(tenants::read)
        .post(tenants::create)
        .put(tenants::update)
        .delete(tenants::delete);
    let devices = get(search::devices)
        .post(devices::create_any)
        .delete(devices::delete_all);
    let device = get(devices::read)
        .post(devices::create)
        .put(devices::update)
        .delete(devices::delete);
    let set = get(credentials::read).put(credentials::replace);
    let logged = get(log::read).put(log::update);
    let with_options = |methods: MethodRouter<Arc<Api>>, names: &'static str| {
        methods.options(move || async move { preflight(names) })
    };
    Router::new()
        .route(
            "/v1/tenants",
            with_options(get(search::tenants).post(tenants::create_any), "POST"),
        )
        .route(
            "/v1/tenants/{tenant}",
            with_options(tenant, "POST, GET, PUT, DELETE"),
        )
        .route("/v1/devices/{tenant}", with_options(devices, "POST"))
        .route(
            "/v1/devices/{tenant}/{device}",
            with_options(device, "POST, GET, PUT, DELETE"),
        )
        .route(
            "/v1/credentials/{tenant}/{device}",
            with_options(set, "GET, PUT"),
        )
        .route(LOG, with_options(logged, "GET, PUT"))
        .route("/v1/openapi.json", with_options(get(openapi::read), "GET"))
        .method_not_allowed_fallback(|| async { Failure::no_such_verb() })
        .route_layer(middleware::from_fn_with_state(api.clone(), guard))
        .fallback(|| async { no_such_route() })
        .with_state(api)
}

/// Lets operators through, and browsers' questions whether they may ask, which carry no password.
async fn guard(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let is_cross_origin = request.headers().contains_key(ORIGIN);
    let mut response = if request.method() == Method::OPTIONS {
        next.run(request).await
    } else if let Some(operator) = authenticate(&api, request.headers()).await {
        let (verb, path) = (request.method().clone(), request.uri().path().to_owned());
        let extensions = request.extensions_mut();
        extensions.insert(Operator(operator.as_str().into()));
        let response = next.run(request).await;
        if !verb.is_safe() && path != LOG {
            let status = response.status();
            let what = if status.is_success() {
                "registry changed"
            } else {
                "change to the registry refused"
            };
            tracing::info!(operator, %verb, path, status = status.as_u16(), "{what}");
        }
        response
    } else {
        if let Some(unlogged) = REFUSED.admit(Instant::now()) {
            let path = shorten(request.uri().path());
            tracing::warn!(path, unlogged, "operator refused");
        }
        Failure::unauthorized().into_response()
    };
    if is_cross_origin && let Some(origin) = &api.allowed_origin {
        allow_origin(response.headers_mut(), origin);
    }
    response
}

/// The operator who asks, if it is one. Who does not say who it is has not tried to be one.
async fn authenticate(api: &Api, headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?;
    let operator = verify(&api.accounts, value).await;
    let outcome = match operator {
        Some(_) => AuthenticationOutcome::Succeeded,
        None => AuthenticationOutcome::Unauthorized,
    };
    let client = ClientType::AuthService;
    api.metrics.authentication_attempt(outcome, client);
    operator
}

async fn verify(accounts: &Accounts, authorization: &HeaderValue) -> Option<String> {
    let value = authorization.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (name, password) = (&decoded[..colon], &decoded[colon + 1..]);
    let name = std::str::from_utf8(name).ok()?;
    let good = accounts.verify(Role::Operator, name, password).await;
    good.then(|| name.to_owned())
}

fn allow_origin(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    let exposed = HeaderValue::from_static("ETag, Location");
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

/// The answer to a browser's question which verbs a page of another origin may use here.
fn preflight(verbs: &'static str) -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, verbs),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, If-Match",
        ),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
