//! WebSockets: the handshake (RFC 6455 §4.2), and the hand-over to whoever speaks MQTT.
//!
//! A client asks for `/mqtt` with the subprotocol `mqtt` ([MQTT-6.0.0-3] in version 5), on a connection
//! with HTTP/1.1. When it has been told to go on, the connection leaves HTTP, in the same task, with its
//! place in the budget and its stop. What frames and packets are, this crate does not know.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use weir_listener::{Connection, Stream};

use crate::body::Payload;
use crate::handover::AnswerBody;
use crate::link::Link;
use crate::outcome::Answer;
use crate::peer::PeerStream;
use crate::request::{Front, log};

/// Where clients ask for it.
pub(crate) const PATH: &str = "/mqtt";
const SUBPROTOCOL: &str = "mqtt";
/// The one version there is (RFC 6455 §4.1).
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const ON: HeaderValue = HeaderValue::from_static("upgrade");
/// Bytes of a key, before it was written in Base64.
const KEY: usize = 16;

/// A connection on which a client has been told to go on with a WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    /// The connection. It has a permit: without one it would not have come that far.
    pub connection: Connection,
    /// What was read from it already, at most 16 KiB: the first bytes behind the handshake.
    pub read_ahead: Bytes,
}

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who goes on with WebSockets, until their connection ends.
#[derive(Clone)]
pub struct WebSockets(Arc<dyn Fn(WebSocket) -> Serving + Send + Sync>);

impl WebSockets {
    /// Hands them to `serve`. It runs in the connection's task.
    pub fn new<F, S>(serve: F) -> Self
    where
        F: Fn(WebSocket) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |socket| Box::pin(serve(socket))))
    }
}

impl fmt::Debug for WebSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSockets").finish_non_exhaustive()
    }
}

/// What of a connection leaves HTTP when hyper is done with it.
#[derive(Debug, Default)]
pub(crate) struct Upgrade(Mutex<Option<OnUpgrade>>);

impl Upgrade {
    fn announce(&self, upgrade: OnUpgrade) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
    }

    /// The bare connection and what was read ahead, if it goes on. To be called when hyper is done.
    pub(crate) async fn taken(&self) -> Option<(Stream, Bytes)> {
        let announced = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It fails if the connection has ended before.
        let upgraded = announced?.await.ok()?;
        let parts = upgraded.downcast::<TokioIo<PeerStream>>().ok()?;
        Some((parts.io.into_inner().into_inner(), parts.read_buf))
    }
}

/// Why a client is not told to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Bad(&'static str),
    Method,
    Origin,
    Version,
}

impl Front {
    /// Whether a request to this path is a handshake, or should be.
    pub(crate) fn takes_websocket(&self, path: &str) -> bool {
        path == PATH && self.websockets.is_some()
    }

    /// Answers a handshake. If it is a good one, the connection leaves HTTP after that.
    pub(crate) async fn shake_hands(
        &self,
        mut request: Request<Incoming>,
        link: &Link,
    ) -> Response<AnswerBody> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, incoming) = request.into_parts();
        let mut payload = Payload::new(incoming);
        match accept(&head, payload.is_complete(), &self.allowed_origin) {
            Ok(proof) => {
                link.upgrade.announce(upgrade);
                switch(proof)
            }
            Err(refused) => {
                let answer = log(refused.answer(), refused.text());
                let mut response = self.write(answer, &head, &mut payload).await;
                if refused == Refused::Version {
                    let headers = response.headers_mut();
                    headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
                    // As any answer of this status (RFC 9110 §15.5.22).
                    headers.insert(UPGRADE, WEBSOCKET);
                    headers.append(CONNECTION, ON);
                }
                response
            }
        }
    }

    /// Hands over a connection that has left HTTP.
    pub(crate) async fn go_on(&self, connection: Connection, read_ahead: Bytes) {
        if let Some(WebSockets(serve)) = &self.websockets {
            let socket = WebSocket {
                connection,
                read_ahead,
            };
            serve(socket).await;
        }
    }
}

impl Refused {
    fn text(self) -> &'static str {
        match self {
            Self::Bad(text) => text,
            Self::Method => "a WebSocket handshake is a GET",
            Self::Origin => "origin is not allowed",
            Self::Version => "unsupported version of the WebSocket protocol",
        }
    }

    fn answer(self) -> Answer {
        let status = match self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Method => return Answer::method_not_allowed("GET"),
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Version => StatusCode::UPGRADE_REQUIRED,
        };
        Answer::error(status, self.text())
    }
}

/// Checks a handshake (RFC 6455 §4.2.1) and makes what proves that it was understood.
fn accept(
    head: &Parts,
    is_without_body: bool,
    allowed_origin: &HeaderValue,
) -> Result<HeaderValue, Refused> {
    if head.method != Method::GET {
        return Err(Refused::Method);
    }
    let headers = &head.headers;
    let is_allowed = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        origin.eq_ignore_ascii_case(allowed_origin.as_bytes())
    };
    // Only browsers tell it, of pages that could be anybody's (§10.2).
    if allowed_origin != "*" && !headers.get_all(ORIGIN).iter().all(is_allowed) {
        return Err(Refused::Origin);
    }
    let is_handshake = head.version == Version::HTTP_11
        && names(headers, &UPGRADE).any(|name| name.eq_ignore_ascii_case("websocket"))
        && names(headers, &CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"));
    if !is_handshake {
        return Err(Refused::Bad("a WebSocket handshake was expected"));
    }
    // What is behind the head would be taken for frames.
    if !is_without_body {
        return Err(Refused::Bad("a WebSocket handshake has no body"));
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(Refused::Version);
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == KEY));
    let key = key.ok_or(Refused::Bad("malformed Sec-WebSocket-Key header"))?;
    if !names(headers, &SEC_WEBSOCKET_PROTOCOL).any(|name| name == SUBPROTOCOL) {
        return Err(Refused::Bad("the WebSocket subprotocol mqtt is required"));
    }
    let proof = HeaderValue::try_from(derive_accept_key(key));
    proof.map_err(|_| Refused::Bad("malformed Sec-WebSocket-Key header"))
}

/// The answer after which the connection is a WebSocket (RFC 6455 §4.2.2).
fn switch(proof: HeaderValue) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::new(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, ON);
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(SEC_WEBSOCKET_ACCEPT, proof);
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    response
}

/// The members of a header that is a list (RFC 9110 §5.6.1).
fn names<'a>(headers: &'a HeaderMap, header: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(header).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, header: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(header).into_iter();
    values.next().filter(|_| values.next().is_none())
}
