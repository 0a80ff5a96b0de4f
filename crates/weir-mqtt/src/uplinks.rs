//! The PUBLISHes of one connection that have no outcome yet.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::Future as _;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytestring::ByteString;
use futures_util::future::BoxFuture;
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v5::PublishProperties;
use weir_core::uplink::{Admission, Admitted, Published};
use weir_core::{
    Endpoint, Outcome, Qos, Reason, Received, Refusal, ResponseHead, Rule, TraceContext,
};

use crate::address::{self, Address, Malformed, NoEndpoint};
use crate::bag::{self, OnError, PropertyBag, TRACEPARENT, TRACESTATE};
use crate::client::Client;

/// A row that grew beyond this is given back when it is empty.
const KEPT_ROW: usize = 16;

/// A row of messages in the order in which they came. Outcomes leave it in that order, because
/// PUBACKs have to [MQTT-4.6.0-2].
///
/// Only the front of the row is polled: whatever is settled behind it waits anyway, and a batch
/// that is settled at once costs one wake-up.
pub(crate) struct Uplinks {
    client: Client,
    limit: usize,
    row: VecDeque<Open>,
    /// The message that came last, if the registry has to be asked before it may go out. Until then
    /// nothing else is started: messages go out in the order in which they came.
    admission: Option<Admitting>,
}

struct Open {
    reply: Reply,
    state: State,
}

enum State {
    Published(Published),
    /// It never went out. It waits for its turn all the same, so that what came before it is
    /// answered before the connection ends.
    Refused(Refusal),
}

struct Admitting {
    reply: Reply,
    admitted: BoxFuture<'static, Result<Admitted, Outcome>>,
}

/// How a message is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Whom PUBACK names; only QoS 1 has one.
    pub(crate) packet_id: Option<NonZeroU16>,
    pub(crate) on_error: OnError,
    /// What its error says of it, if the device is told one.
    pub(crate) topic: ByteString,
}

impl Uplinks {
    pub(crate) fn new(client: Client, limit: NonZeroU16) -> Self {
        Self {
            client,
            limit: limit.get().into(),
            row: VecDeque::new(),
            admission: None,
        }
    }

    /// Whose messages they are.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether one more message may be started.
    pub(crate) fn has_room(&self) -> bool {
        self.admission.is_none() && self.row.len() < self.limit
    }

    /// Whether every message that was started has had its outcome.
    pub(crate) fn is_empty(&self) -> bool {
        self.admission.is_none() && self.row.is_empty()
    }

    /// Sends a message on its way.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>, publish: Publish, arrived: Instant) {
        let (reply, received) = receive(publish, arrived);
        let received = match received {
            Ok(received) => received,
            Err(reason) => {
                // Only a topic that cannot be read is worse (device contract §3.5).
                let has_expired = reason != MALFORMED_TOPIC && self.client.has_expired();
                let reason = match has_expired {
                    true => Reason::CredentialExpired,
                    false => reason,
                };
                let outcome = self.client.refuse(reason);
                return self.settle(reply, outcome);
            }
        };
        let Some(session) = self.client.known(&received.target) else {
            let admitted = Box::pin(admit(self.client.clone(), received));
            self.admission = Some(Admitting { reply, admitted });
            return;
        };
        let authenticated = match received.authenticate(&session) {
            Ok(authenticated) => authenticated,
            Err(outcome) => return self.settle(reply, outcome),
        };
        match authenticated.try_admit() {
            Admission::Admitted(admitted) => self.admitted(cx, reply, Ok(admitted)),
            Admission::Refused(outcome) => self.settle(reply, outcome),
            Admission::Undecided(undecided) => {
                let admitted = Box::pin(undecided.admit());
                self.admission = Some(Admitting { reply, admitted });
            }
        }
    }

    /// The next outcome in the row. Pending also if there is none to come.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Reply, Result<(), Refusal>)> {
        self.poll_admission(cx);
        let Some(front) = self.row.front_mut() else {
            return Poll::Pending;
        };
        let result = match &mut front.state {
            State::Published(published) => match ready!(Pin::new(published).poll(cx)) {
                Outcome::Accepted => Ok(()),
                Outcome::Refused(refusal) => Err(refusal),
            },
            State::Refused(refusal) => Err(refusal.clone()),
        };
        let Some(Open { reply, .. }) = self.row.pop_front() else {
            return Poll::Pending;
        };
        if self.row.is_empty() {
            self.row.shrink_to(KEPT_ROW);
        }
        Poll::Ready((reply, result))
    }

    fn poll_admission(&mut self, cx: &mut Context<'_>) {
        if let Some(admission) = &mut self.admission
            && let Poll::Ready(admitted) = admission.admitted.as_mut().poll(cx)
            && let Some(Admitting { reply, .. }) = self.admission.take()
        {
            self.admitted(cx, reply, admitted);
        }
    }

    fn admitted(
        &mut self,
        cx: &mut Context<'_>,
        reply: Reply,
        admitted: Result<Admitted, Outcome>,
    ) {
        let mut published = match admitted {
            Ok(admitted) => admitted.publish(),
            Err(outcome) => return self.settle(reply, outcome),
        };
        // Nobody waits for the outcome of QoS 0, and it is mostly there at once.
        if reply.packet_id.is_none()
            && let Poll::Ready(outcome) = Pin::new(&mut published).poll(cx)
        {
            return self.settle(reply, outcome);
        }
        let state = State::Published(published);
        self.row.push_back(Open { reply, state });
    }

    /// Keeps the outcome of a message that is not on its way any more, if somebody is to be told.
    fn settle(&mut self, reply: Reply, outcome: Outcome) {
        if let Outcome::Refused(refusal) = outcome {
            let state = State::Refused(refusal);
            self.row.push_back(Open { reply, state });
        }
    }
}

/// Admits a message of a device that nothing is known of yet.
async fn admit(client: Client, received: Received) -> Result<Admitted, Outcome> {
    let session = client.session(&received.target).await;
    let session = session.map_err(|reason| client.refuse(reason))?;
    received.authenticate(&session)?.admit().await
}

const MALFORMED_TOPIC: Reason =
    Reason::BadRequest(Rule::Address, Cow::Borrowed("malformed topic name"));

/// Makes a message of a PUBLISH, and says how to answer it.
fn receive(publish: Publish, arrived: Instant) -> (Reply, Result<Received, Reason>) {
    let mut reply = Reply {
        packet_id: publish
            .packet_id
            .filter(|_| publish.qos == QoS::AtLeastOnce),
        on_error: OnError::default(),
        topic: address::kept(&publish.topic),
    };
    let address = match Address::parse(&publish.topic) {
        Ok(address) => address,
        Err(Malformed) => return (reply, Err(MALFORMED_TOPIC)),
    };
    reply.on_error = address.bag.on_error;
    (reply, message(publish, address, arrived))
}

fn message(publish: Publish, address: Address, arrived: Instant) -> Result<Received, Reason> {
    let Address {
        endpoint,
        target,
        bag,
    } = address;
    let endpoint = endpoint.map_err(|missing| match missing {
        NoEndpoint::Missing => MALFORMED_TOPIC,
        NoEndpoint::Unknown => Reason::NoSuchEndpoint,
    })?;
    let qos = quality(endpoint, publish.qos)?;
    let mut described = describe(bag, publish.properties);
    let response = match endpoint {
        Endpoint::CommandResponse => {
            let status = described.take_status();
            Some(response(&publish.topic, status.as_deref())?)
        }
        Endpoint::Event | Endpoint::Telemetry => None,
    };
    Ok(Received {
        endpoint,
        response,
        qos,
        target,
        content_type: described.content_type.filter(|text| !text.is_empty()),
        payload: publish.payload,
        ttl: described.ttl.filter(|_| endpoint == Endpoint::Event),
        // There is no waiting for commands on MQTT: they come by subscription.
        ttd: None,
        origin_address: publish.topic,
        retain: publish.retain,
        properties: described.properties,
        trace: described.trace,
        arrived,
    })
}

fn response(topic: &str, status: Option<&str>) -> Result<ResponseHead, Reason> {
    address::response(topic, status).map_err(|text| Reason::BadRequest(Rule::Address, text.into()))
}

/// Which quality of service goes with which endpoint (device contract §3.4).
fn quality(endpoint: Endpoint, qos: QoS) -> Result<Qos, Reason> {
    let text = match (endpoint, qos) {
        (_, QoS::AtLeastOnce) => return Ok(Qos::AtLeastOnce),
        (Endpoint::Event, _) => "Only QoS 1 supported for event messages",
        (_, QoS::AtMostOnce) => return Ok(Qos::AtMostOnce),
        (Endpoint::Telemetry, QoS::ExactlyOnce) => "QoS 2 not supported for telemetry messages",
        (Endpoint::CommandResponse, QoS::ExactlyOnce) => {
            "QoS 2 not supported for command response messages"
        }
    };
    Err(Reason::BadRequest(Rule::Qos, text.into()))
}

/// The user property by which a response says its status, where it is not the one in its topic. It is
/// called what it is called over HTTP.
const STATUS: &str = "hono-cmd-status";

/// What a device says about a message apart from its topic and payload.
struct Description {
    content_type: Option<ByteString>,
    ttl: Option<u64>,
    trace: Option<TraceContext>,
    /// The user properties that have no meaning of their own, in their order.
    properties: Vec<(ByteString, ByteString)>,
}

impl Description {
    /// Takes the status of a response out of the properties.
    fn take_status(&mut self) -> Option<ByteString> {
        let status = user(&self.properties, STATUS).cloned();
        self.properties.retain(|(name, _)| **name != *STATUS);
        status
    }
}

/// The first user property of a name.
fn user<'a>(all: &'a [(ByteString, ByteString)], wanted: &str) -> Option<&'a ByteString> {
    let mut named = all.iter();
    named
        .find(|(name, _)| **name == *wanted)
        .map(|(_, value)| value)
}

/// Puts the property bag over the properties of MQTT 5.
fn describe(bag: PropertyBag, properties: Option<PublishProperties>) -> Description {
    let properties = properties.unwrap_or_default();
    let expiry = properties.message_expiry_interval;
    let mut all = properties.user_properties;
    let trace = bag.trace.or_else(|| {
        let traceparent = user(&all, TRACEPARENT).map(|value| &**value);
        bag::trace(traceparent, user(&all, TRACESTATE).cloned())
    });
    all.retain(|(name, _)| !matches!(&**name, TRACEPARENT | TRACESTATE));
    Description {
        trace,
        ttl: bag
            .ttl
            .or_else(|| expiry.map(|seconds| seconds.get().into())),
        content_type: bag.content_type.or(properties.content_type),
        properties: all,
    }
}

#[cfg(test)]
mod tests;
