//! One exchange: from a request, through the checks in the contract's order, to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{EXPECT, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use weir_core::command::CommandDelivery;
use weir_core::uplink::Waited;
use weir_core::{
    ClientContext, Endpoint, LogLimit, Pipeline, Presented, Protocol, Reason, Received, Rule,
    Session, Target, TenantId,
};

use crate::address::Address;
use crate::body::{Payload, PayloadError};
use crate::config::HttpConfig;
use crate::credentials::Authorization;
use crate::handover::AnswerBody;
use crate::head::{
    check_coding, check_expectation, content_type, number, origin_address, qos, trace,
};
use crate::link::Link;
use crate::outcome::{Answer, Phase};
use crate::websocket::WebSockets;
use crate::{command, cors};

const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const TTD: &str = "hono-ttd";
const TTL: &str = "hono-ttl";

/// What those can cause who have not logged in is told a few times a second.
static REFUSED: LogLimit = LogLimit::new();

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
            let answer = Answer::method_not_allowed(address.methods());
            Err(log(answer, "method not allowed"))
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

    /// Takes a message through its checks and on; the first that fails is the answer.
    async fn take(
        &self,
        head: &Parts,
        address: &Address,
        payload: &mut Payload,
        (arrived, link): (Instant, &Link),
    ) -> Result<Taken, Answer> {
        let checked = self.check(head, address, payload, (arrived, link));
        let (session, received) = checked.await?;
        let Waited { outcome, command } = pass_on(received, &session, &link.stop).await;
        let answer = Answer::new(&outcome, Phase::of(address.endpoint));
        // hyper may learn of the stop only after this.
        let answer = match link.stop.is_cancelled() {
            true => answer.closing(),
            false => answer,
        };
        Ok((answer, command))
    }

    /// Who sends and what, in the order of the contract (§1.4, §2.6). Where nobody has to say who it is, the
    /// tenant is a matter of the message: it is asked for when all the rest is in order.
    async fn check(
        &self,
        head: &Parts,
        address: &Address,
        payload: &mut Payload,
        (arrived, link): (Instant, &Link),
    ) -> Result<(Arc<Session>, Received), Answer> {
        let _turn = link.turns.acquire().await;
        let phase = Phase::of(address.endpoint);
        let known = match self.is_authenticating {
            true => Some(self.sender(head, address, link).await?),
            false => None,
        };
        let refuse = |reason| self.refuse_message(known.as_deref(), reason, phase);
        if known.is_none() {
            check_complete(address).map_err(refuse)?;
        }
        check_expectation(&head.headers)?;
        check_coding(&head.headers)?;
        let payload = payload.read(self.max_payload_size, self.patience).await;
        let payload = payload.map_err(|error| match error {
            PayloadError::Broken => {
                let text = "request body cannot be read";
                refuse(Reason::BadRequest(Rule::Encoding, text.into()))
            }
            PayloadError::Late => log(Answer::request_timeout(), "request body is incomplete"),
            PayloadError::TooLarge => refuse(Reason::PayloadTooLarge),
        })?;
        let received = self.receive(head, address, payload, arrived);
        let received = received.map_err(refuse)?;
        let session = match &known {
            Some(session) => session.clone(),
            None => {
                let session = self.pipeline.anonymous(Protocol::Http, &address.target);
                let session = tokio::time::timeout(self.patience, session).await;
                let session = session.unwrap_or(Err(Reason::RegistryUnavailable));
                session.map_err(refuse)?
            }
        };
        Ok((session, received))
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
        let session = self
            .authenticate(&head.headers, &address.target, link)
            .await?;
        let refuse = |reason| {
            let phase = Phase::of(address.endpoint);
            self.refuse_message(Some(&session), reason, phase)
        };
        check_target(&session, head, address).map_err(refuse)?;
        Ok(session)
    }

    /// A client certificate goes before what the header presents, and there is no way back (contract
    /// §2.4).
    async fn authenticate(
        &self,
        headers: &HeaderMap,
        target: &Target,
        link: &Link,
    ) -> Result<Arc<Session>, Answer> {
        let tls = link.tls.as_ref();
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
        Ok(link.session(&self.pipeline, principal))
    }

    /// Ends a request whose sender is not known.
    fn refuse(&self, tenant: Option<&TenantId>, reason: Reason) -> Answer {
        let outcome = self.pipeline.refuse(Protocol::Http, tenant, reason);
        Answer::new(&outcome, Phase::Authentication)
    }

    /// Ends a request that did not become a message; its sender is known unless nobody asked.
    fn refuse_message(&self, sender: Option<&Session>, reason: Reason, phase: Phase) -> Answer {
        let outcome = match sender {
            Some(session) => session.refuse(reason),
            None => self.pipeline.refuse(Protocol::Http, None, reason),
        };
        Answer::new(&outcome, phase)
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

/// Logs a refusal that only HTTP knows.
pub(crate) fn log(answer: Answer, text: &'static str) -> Answer {
    if let Some(unlogged) = REFUSED.admit(Instant::now()) {
        let protocol = Protocol::Http.type_name();
        let status = answer.status.as_u16();
        tracing::info!(protocol, status, text, unlogged, "request refused");
    }
    answer
}

/// A `PUT` names a device, and no other tenant than the sender's own (contract §2.3).
fn check_target(session: &Session, head: &Parts, address: &Address) -> Result<(), Reason> {
    if head.method == Method::POST {
        return Ok(());
    }
    check_named(address)?;
    let own = session.principal().tenant.as_str();
    match &address.target.tenant {
        Some(tenant) if **tenant != *own => Err(Reason::ForeignTenant),
        _ => Ok(()),
    }
}

/// That the address names both device and tenant.
fn check_complete(address: &Address) -> Result<(), Reason> {
    check_named(address)?;
    match address.target.tenant {
        Some(_) => Ok(()),
        None => Err(missing("request URI must contain tenant ID")),
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

/// A header value of what is printable in `text`.
fn printable(text: &str) -> HeaderValue {
    let visible = |letter: &char| matches!(letter, ' '..='~');
    let text: String = text.chars().filter(visible).collect();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata};

    use super::*;

    /// Counts lines.
    struct Lines(Arc<AtomicUsize>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let fields: Vec<_> = event.fields().map(|field| field.name()).collect();
            assert!(fields.contains(&"text"), "{fields:?}");
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn who_has_not_logged_in_does_not_fill_the_log() {
        let lines = Arc::<AtomicUsize>::default();
        tracing::subscriber::with_default(Lines(lines.clone()), || {
            for _ in 0..100_000 {
                log(Answer::expectation_failed(), "unknown expectation");
            }
        });
        let lines = lines.load(Ordering::Relaxed);
        assert!((1..10_000).contains(&lines), "{lines}");
    }
}
