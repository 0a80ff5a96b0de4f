//! From the first byte to CONNACK.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use weir_core::{
    AuthenticationError, Channel, ClientContext, CredentialFault, Pipeline, Principal, Protocol,
    Reason,
};
use weir_metrics::MqttCount;

use crate::client::Client;
use crate::codec::{self, BadConnect, Codec, Connect, Limits};
use crate::count;
use crate::credentials::{self, Login};
use crate::outcome::connect_code;
use crate::session::{Arrival, Shared};
use crate::wire::Wire;

/// How long a client that there is no place for may take to say what version it speaks.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that may stay.
pub(crate) struct Accepted {
    pub(crate) codec: Codec,
    pub(crate) client: Client,
    /// Seconds; 0 is off.
    pub(crate) keep_alive: u16,
    /// What the client calls itself, or is called; may be empty.
    pub(crate) client_id: Box<str>,
}

/// Reads CONNECT, decides, and puts CONNACK into the output. `None` if the connection has to end;
/// the output says why, if the peer is to know.
///
/// The order of checks is Hono's (device contract §3.3): a place in this process, credentials, then
/// what core asks of a session. What a client sends behind its CONNECT without waiting for CONNACK
/// [MQTT-3.1.4-5] stays unread until then.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    arrival: Arrival,
    stop: &CancellationToken,
    shared: &Shared,
) -> Option<Accepted> {
    let allowed = shared.config.connect_timeout();
    let patience = if arrival.has_place {
        allowed
    } else {
        allowed.min(REFUSAL_TIMEOUT)
    };
    let (mut codec, request) = tokio::select! {
        biased;
        read = read_connect(wire, shared) => read?,
        () = stop.cancelled() => return None,
        () = tokio::time::sleep(patience) => {
            tracing::debug!("no CONNECT in time");
            return None;
        }
    };
    let (pipeline, channel) = (&shared.pipeline, arrival.channel());
    // Version 3.1.1 has no way to tell it.
    let is_nameless = request.client_id.is_empty() && codec.is_v5();
    let assigned_client_id = is_nameless.then(assigned_client_id);
    let client_id = assigned_client_id.as_ref().unwrap_or(&request.client_id);
    // A copy: the rest of CONNECT has a password.
    let client_id: Box<str> = Box::from(&**client_id);
    let decision = tokio::select! {
        biased;
        decision = decide(shared, &arrival, &request, &client_id) => decision,
        () = stop.cancelled() => Err(refused(pipeline, channel, Reason::ShuttingDown)),
        () = tokio::time::sleep(allowed) => Err(refused(pipeline, channel, Reason::RegistryUnavailable)),
    };
    match decision {
        Ok(client) => {
            let asked = request.keep_alive;
            let instead = shared.config.keep_alive_instead_of(asked);
            let instead = instead.filter(|_| codec.is_v5());
            let limits = Limits {
                keep_alive: instead,
                receive_maximum: shared.config.max_in_flight,
                assigned_client_id,
            };
            let is_told = codec.accept(limits, &mut wire.outbox);
            if !is_told {
                // A client that CONNACK is too large for can do nothing here.
                client.disconnected(&client_id).await;
                return None;
            }
            count::welcomed(pipeline.metrics().mqtt());
            Some(Accepted {
                codec,
                client,
                keep_alive: instead.unwrap_or(asked),
                client_id,
            })
        }
        Err(reason) => {
            let code = connect_code(&reason);
            if codec.refuse(code, reason.text(), &mut wire.outbox) {
                count::connack_refused(pipeline.metrics().mqtt(), code);
            }
            None
        }
    }
}

impl Arrival {
    fn channel(&self) -> Channel {
        let tls = self.tls.as_ref();
        Channel {
            protocol: Protocol::Mqtt,
            cipher_suite: tls.and_then(|tls| tls.cipher_suite),
        }
    }
}

/// Reads until CONNECT is there. `None` if there is none to come.
async fn read_connect<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    shared: &Shared,
) -> Option<(Codec, Connect)> {
    let limit = shared.config.connect_limit();
    let packet_limit = shared.config.packet_limit();
    let traffic = shared.pipeline.metrics().mqtt();
    loop {
        match codec::connect(&mut wire.inbox, limit, packet_limit) {
            Ok(Some(request)) => {
                traffic.count(MqttCount::Connect);
                return Some(request);
            }
            Ok(None) => {}
            Err(BadConnect::Silent(text)) => {
                tracing::debug!(text, "connection closed without an answer");
                return None;
            }
            Err(BadConnect::Told(mut codec, code, text)) => {
                tracing::debug!(text, "CONNECT refused");
                traffic.count(MqttCount::Connect);
                if codec.refuse(code, text, &mut wire.outbox) {
                    count::connack_refused(traffic, code);
                }
                return None;
            }
        }
        let Ok(bytes @ 1..) = wire.read().await else {
            return None;
        };
        traffic.add(MqttCount::BytesReceived, bytes as u64);
    }
}

async fn decide(
    shared: &Shared,
    arrival: &Arrival,
    request: &Connect,
    client_id: &str,
) -> Result<Client, Reason> {
    let Shared { config, pipeline } = shared;
    let channel = arrival.channel();
    if !arrival.has_place {
        return Err(refused(
            pipeline,
            channel,
            Reason::InstanceConnectionsExceeded,
        ));
    }
    if !config.authentication_required {
        // Whatever it says of itself is not looked at (device contract §3.2).
        pipeline.metrics().mqtt().count(MqttCount::Anonymous);
        let anonymous = pipeline.connect_anonymous(channel);
        return Ok(Client::Anybody(Arc::new(anonymous)));
    }
    let principal = authenticate(pipeline, arrival, request).await;
    count::authentication(pipeline.metrics().mqtt(), &principal);
    let principal = principal.map_err(|error| {
        pipeline.connection_refused(channel, &error);
        error.reason
    })?;
    let connected = pipeline.connect(channel, principal, client_id);
    Ok(Client::Device(connected.await?))
}

/// A client certificate goes first. If it leads nowhere, a token or a password may (device contract
/// §3.2).
async fn authenticate(
    pipeline: &Pipeline,
    arrival: &Arrival,
    request: &Connect,
) -> Result<Principal, AuthenticationError> {
    let context = ClientContext {
        client_id: Some(&*request.client_id).filter(|id| !id.is_empty()),
    };
    let login = Login::of(request);
    if let Some(presented) = credentials::certificate(arrival.tls.as_deref()) {
        let known = pipeline.authenticate(Protocol::Mqtt, presented, context);
        match known.await {
            Err(error) if credentials::leads_nowhere(&error.reason) => {
                if login.is_err() {
                    let reason = Reason::Unauthorized(CredentialFault::Wrong);
                    return Err(AuthenticationError { reason, ..error });
                }
            }
            decided => return decided,
        }
    }
    let login = login.map_err(|reason| AuthenticationError {
        tenant: None,
        reason,
    })?;
    let known = pipeline.authenticate(Protocol::Mqtt, login.presented(), context);
    known.await
}

/// Counts an attempt that failed before anything was known of the device.
fn refused(pipeline: &Pipeline, channel: Channel, reason: Reason) -> Reason {
    let error = AuthenticationError {
        tenant: None,
        reason,
    };
    pipeline.connection_refused(channel, &error);
    error.reason
}

/// A name for a client that gave none [MQTT-3.2.2-16 in version 5]. Nothing depends on it, so it
/// only has to be another one each time.
fn assigned_client_id() -> ByteString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().hash_one(count);
    ByteString::from(format!("weir-{random:016x}-{count}"))
}
