//! One exchange: from a request, through the checks in the contract's order, to its answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use http::header::{CONTENT_TYPE, EXPECT, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use weir_core::command::CommandDelivery;
use weir_core::uplink::Waited;
use weir_core::{
    ClientContext, Endpoint, Pipeline, Presented, Protocol, Qos, Reason, Received, Rule, Session,
    Target, TenantId, TraceContext,
};
use weir_listener::TlsPeer;

use crate::address::Address;
use crate::body::{Payload, PayloadError};
use crate::config::HttpConfig;
use crate::credentials::Authorization;
use crate::handover::{AnswerBody, Framing, Unconfirmed};
use crate::outcome::{Answer, Phase};
use crate::websocket::{Upgrade, WebSockets};
use crate::{command, cors};

const QOS_LEVEL: HeaderName = HeaderName::from_static("qos-level");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const TTD: &str = "hono-ttd";
const TTL: &str = "hono-ttl";

/// What all exchanges share.
#[derive(Debug)]
pub(crate) struct Front {
    pipeline: Pipeline,
    max_payload_size: usize,
    /// Whether devices have to say who they are.
    is_authenticating: bool,
    /// How long a peer may keep a connection waiting.
    pub(crate) patience: Duration,
    /// Seconds that a device may wait for a command: the answer comes before somebody with the same
    /// patience gives the connection up (contract §2.7).
    longest_wait: i32,
    /// The values of `WWW-Authenticate`, one for each mechanism.
    challenges: [HeaderValue; 2],
    pub(crate) allowed_origin: HeaderValue,
    /// Who goes on with WebSockets; without anybody there are none.
    pub(crate) websockets: Option<WebSockets>,
}

/// What an exchange has to know of its connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) tls: Option<TlsPeer>,
    pub(crate) framing: Framing,
    /// Cancelled when nothing is to be waited for any longer.
    pub(crate) stop: CancellationToken,
    pub(crate) unconfirmed: Unconfirmed,
    pub(crate) upgrade: Upgrade,
}

/// What became of a request that was taken through its checks.
type Taken = (Answer, Option<CommandDelivery>);

impl Front {
    pub(crate) fn new(config: &HttpConfig, pipeline: Pipeline) -> Self {
        // A quoted string (RFC 9110 §5.6.4).
        let realm = config.realm.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = |mechanism| printable(&format!("{mechanism} realm=\"{realm}\""));
        let patience = config.idle_timeout.max(1);
        Self {
            pipeline,
            max_payload_size: config.max_payload_size,
            is_authenticating: config.authentication_required,
            patience: Duration::from_secs(patience),
            longest_wait: i32::try_from(patience.saturating_mul(80) / 100).unwrap_or(i32::MAX),
            challenges: [challenge("Bearer"), challenge("Basic")],
            allowed_origin: printable(&config.cors_allowed_origin),
            websockets: None,
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        link: &Link,
    ) -> Response<AnswerBody> {
        if self.takes_websocket(request.uri().path()) {
            return self.shake_hands(request, link).await;
        }
        let arrived = Instant::now();
        let (head, incoming) = request.into_parts();
        let mut payload = Payload::new(incoming);
        let address = match Address::parse(head.uri.path(), self.is_authenticating) {
            Ok(address) => address,
            Err(reason) => {
                return self
                    .write(self.refuse(None, reason), &head, &mut payload)
                    .await;
            }
        };
        if head.method == Method::OPTIONS {
            let answer = Answer::no_content(address.methods());
            let mut response = self.write(answer, &head, &mut payload).await;
            cors::preflight(&address, response.headers_mut(), &self.allowed_origin);
            return response;
        }
        let answer = if address.accepts(&head.method) {
            self.take(&head, &address, &mut payload, (arrived, link))
                .await
        } else {
            Err(log(Answer::method_not_allowed(address.methods())))
        };
        let (answer, command) = answer.unwrap_or_else(|refused| (refused, None));
        let mut response = self.write(answer, &head, &mut payload).await;
        let headers = response.headers_mut();
        cors::share(&head.headers, &address, headers, &self.allowed_origin);
        if let Some(delivery) = command {
            command::carry(delivery, link, &mut response);
        }
        response
    }

    /// Answers a request on a connection that is over the process's budget.
    pub(crate) fn overloaded(&self) -> Response<AnswerBody> {
        let outcome =
            self.pipeline
                .refuse(Protocol::Http, None, Reason::InstanceConnectionsExceeded);
        let answer = Answer::new(&outcome, Phase::Upload).closing();
        answer.into_response(&self.challenges)
    }

    /// Takes a message through its checks; the first that fails is the answer (contract §1.4, §2.6).
    async fn take(
        &self,
        head: &Parts,
        address: &Address,
        payload: &mut Payload,
        (arrived, link): (Instant, &Link),
    ) -> Result<Taken, Answer> {
        let session = self.sender(head, address, link).await?;
        check_expectation(&head.headers)?;
        check_coding(&head.headers)?;
        let payload = self.payload(&session, payload).await?;
        let received = self.receive(head, address, payload, arrived);
        let received = received.map_err(|reason| refuse(&session, reason))?;
        let Waited { outcome, command } = pass_on(received, &session, &link.stop).await;
        let phase = match address.endpoint {
            Endpoint::CommandResponse => Phase::Response,
            Endpoint::Event | Endpoint::Telemetry => Phase::Upload,
        };
        let answer = Answer::new(&outcome, phase);
        // hyper may learn of the stop only after this.
        let answer = match link.stop.is_cancelled() {
            true => answer.closing(),
            false => answer,
        };
        Ok((answer, command))
    }

    /// Reads what the head says of the message.
    fn receive(
        &self,
        head: &Parts,
        address: &Address,
        payload: Bytes,
        arrived: Instant,
    ) -> Result<Received, Reason> {
        let endpoint = address.endpoint;
        let response = match endpoint {
            Endpoint::CommandResponse => Some(command::response_head(head, address)?),
            Endpoint::Event | Endpoint::Telemetry => None,
        };
        let is_event = endpoint == Endpoint::Event;
        let ttd: Option<i32> = number(head, TTD);
        Ok(Received {
            endpoint,
            response,
            qos: qos(&head.headers, endpoint)?,
            target: address.target.clone(),
            content_type: content_type(&head.headers)?,
            payload,
            ttl: is_event.then(|| number(head, TTL)).flatten(),
            ttd: ttd.map(|seconds| seconds.min(self.longest_wait)),
            origin_address: origin_address(head),
            retain: false,
            properties: Vec::new(),
            trace: trace(&head.headers),
            arrived,
        })
    }

    /// Who sends, and that the address is one that it may send to.
    async fn sender(
        &self,
        head: &Parts,
        address: &Address,
        link: &Link,
    ) -> Result<Arc<Session>, Answer> {
        let Address { target, .. } = address;
        if self.is_authenticating {
            let session = self.authenticate(&head.headers, target, link.tls.as_ref());
            let session = session.await?;
            check_target(&session, head, address)?;
            return Ok(session);
        }
        let named = match check_named(address) {
            Ok(()) if target.tenant.is_none() => Err(missing("request URI must contain tenant ID")),
            named => named,
        };
        let session = match named {
            Ok(()) => self.pipeline.anonymous(Protocol::Http, target).await,
            Err(reason) => Err(reason),
        };
        session.map_err(|reason| {
            let outcome = self.pipeline.refuse(Protocol::Http, None, reason);
            Answer::new(&outcome, Phase::Upload)
        })
    }

    /// A client certificate goes before what the header presents, and there is no way back (contract
    /// §2.4).
    async fn authenticate(
        &self,
        headers: &HeaderMap,
        target: &Target,
        tls: Option<&TlsPeer>,
    ) -> Result<Arc<Session>, Answer> {
        let certificate = tls.and_then(|peer| Some((peer.certificate.as_ref()?, peer)));
        let authorization;
        let presented = match certificate {
            Some((certificate, peer)) => Presented::Certificate {
                certificate,
                server_name: peer.server_name.as_deref(),
            },
            None => {
                authorization = Authorization::from_headers(headers, target)
                    .map_err(|reason| self.refuse(None, reason))?;
                authorization.presented()
            }
        };
        let context = ClientContext::default();
        let check = self
            .pipeline
            .authenticate(Protocol::Http, presented, context);
        let principal = tokio::time::timeout(self.patience, check)
            .await
            .map_err(|_| self.refuse(None, Reason::RegistryUnavailable))?
            .map_err(|error| self.refuse(error.tenant.as_ref(), error.reason))?;
        Ok(self.pipeline.exchange(Protocol::Http, principal))
    }

    async fn payload(&self, session: &Session, payload: &mut Payload) -> Result<Bytes, Answer> {
        let read = payload.read(self.max_payload_size, self.patience).await;
        read.map_err(|error| match error {
            PayloadError::Broken => {
                let text = "request body cannot be read";
                refuse(session, Reason::BadRequest(Rule::Encoding, text.into()))
            }
            PayloadError::Late => log(Answer::request_timeout()),
            PayloadError::TooLarge => refuse(session, Reason::PayloadTooLarge),
        })
    }

    /// Ends a request whose sender is not known.
    fn refuse(&self, tenant: Option<&TenantId>, reason: Reason) -> Answer {
        let outcome = self.pipeline.refuse(Protocol::Http, tenant, reason);
        Answer::new(&outcome, Phase::Authentication)
    }

    pub(crate) async fn write(
        &self,
        answer: Answer,
        head: &Parts,
        payload: &mut Payload,
    ) -> Response<AnswerBody> {
        // Reading would ask a device that waits for a 100 to send what nobody wants.
        if !head.headers.contains_key(EXPECT) {
            payload.discard(self.max_payload_size).await;
        }
        let answer = if head.version == Version::HTTP_2 {
            // What is left of the body stands in nobody's way, and no header speaks of connections
            // (RFC 9113 §8.2.2).
            answer.staying()
        } else if payload.is_complete() {
            answer
        } else {
            // What is left of the body stands before the next request.
            answer.closing()
        };
        // A script shows its own login form instead of the browser's.
        let is_script = head
            .headers
            .get(X_REQUESTED_WITH)
            .is_some_and(|by| by == "XMLHttpRequest");
        let challenges = if is_script { &[] } else { &self.challenges[..] };
        answer.into_response(challenges)
    }
}

async fn pass_on(received: Received, session: &Arc<Session>, stop: &CancellationToken) -> Waited {
    let without_command = |outcome| Waited {
        outcome,
        command: None,
    };
    let authenticated = match received.authenticate(session) {
        Ok(authenticated) => authenticated,
        Err(outcome) => return without_command(outcome),
    };
    let admitted = match authenticated.admit().await {
        Ok(admitted) => admitted,
        Err(outcome) => return without_command(outcome),
    };
    admitted.publish_and_wait(stop.cancelled()).await
}

/// Ends an upload that did not become a message.
fn refuse(session: &Session, reason: Reason) -> Answer {
    Answer::new(&session.refuse(reason), Phase::Upload)
}

/// Logs a refusal that only HTTP knows.
pub(crate) fn log(answer: Answer) -> Answer {
    let protocol = Protocol::Http.type_name();
    let status = answer.status.as_u16();
    tracing::info!(protocol, status, "request refused");
    answer
}

/// A `PUT` names a device, and no other tenant than the sender's own (contract §2.3).
fn check_target(session: &Session, head: &Parts, address: &Address) -> Result<(), Answer> {
    if head.method == Method::POST {
        return Ok(());
    }
    check_named(address).map_err(|reason| refuse(session, reason))?;
    let own = session.principal().tenant.as_str();
    match &address.target.tenant {
        Some(tenant) if **tenant != *own => Err(refuse(session, Reason::ForeignTenant)),
        _ => Ok(()),
    }
}

/// That the address names a device; of a response, that it is long enough to do so.
fn check_named(address: &Address) -> Result<(), Reason> {
    let is_response = address.endpoint == Endpoint::CommandResponse;
    if is_response && (address.is_own || address.request_id.is_none()) {
        return Err(missing(
            "request URI must contain tenant, device and request ID",
        ));
    }
    match address.target.device {
        Some(_) => Ok(()),
        None => Err(missing("request URI must contain device ID")),
    }
}

fn missing(text: &'static str) -> Reason {
    Reason::BadRequest(Rule::Address, text.into())
}

/// hyper meets the one expectation there is (RFC 9110 §10.1.1) when the body is first read.
fn check_expectation(headers: &HeaderMap) -> Result<(), Answer> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().all(known) {
        Ok(())
    } else {
        Err(log(Answer::expectation_failed()))
    }
}

/// hyper takes the framing off, and makes sure that it is the last coding. What else was done to the body
/// would be passed on as if it were the message (RFC 9112 §6.1).
fn check_coding(headers: &HeaderMap) -> Result<(), Answer> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if headers.get_all(TRANSFER_ENCODING).iter().all(known) {
        Ok(())
    } else {
        Err(log(Answer::unknown_coding()))
    }
}

/// Telemetry is sent at most once unless asked otherwise, an event always at least once, and with a
/// response there is nothing to ask for.
fn qos(headers: &HeaderMap, endpoint: Endpoint) -> Result<Qos, Reason> {
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
fn content_type(headers: &HeaderMap) -> Result<Option<ByteString>, Reason> {
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
fn origin_address(head: &Parts) -> ByteString {
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
fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    // More than one is as good as none (§3.2.1).
    let (Some(parent), None) = (parents.next(), parents.next()) else {
        return None;
    };
    let mut context = TraceContext::parse(parent.to_str().ok()?)?;
    let states: Vec<&str> = headers
        .get_all(TRACESTATE)
        .iter()
        .filter_map(|state| state.to_str().ok())
        .filter(|state| !state.is_empty())
        .collect();
    context.tracestate = (!states.is_empty()).then(|| states.join(",").into());
    Some(context)
}

/// A header value of what is printable in `text`.
fn printable(text: &str) -> HeaderValue {
    let visible = |letter: &char| matches!(letter, ' '..='~');
    let text: String = text.chars().filter(visible).collect();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
