//! Where messages go: what the pipeline asks of a back-end transport.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::BoxFuture;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::oneshot;

use crate::command::Response;
use crate::{DeviceId, Endpoint, Qos, Reason, TenantId, TraceContext};

/// A transport to the back-end applications: the embedded AMQP 1.0 endpoint, an AMQP network, Kafka.
pub trait Northbound: Send + Sync + 'static {
    /// The place that messages of `tenant` for `endpoint` leave through; of responses, each by its own
    /// address. Those of uploads are resolved once per connection and kept; they stay good while
    /// consumers come and go.
    fn outlet(&self, tenant: &TenantId, endpoint: Endpoint) -> Arc<dyn Outlet>;
}

/// Where one tenant's messages for one endpoint leave.
pub trait Outlet: Send + Sync + 'static {
    /// Hands `message` over and returns without waiting.
    ///
    /// With QoS 0 the delivery is done when the message was handed over; with QoS 1 when the
    /// consumer's disposition is known, which takes bounded time. That nobody consumes is known
    /// without sending and answered at once.
    fn publish(&self, message: Downstream) -> Delivery;
}

/// What became of a message: taken, or refused for a reason.
pub type Disposition = Result<(), Reason>;

/// A disposition and when it was known.
#[derive(Debug)]
pub struct Settled {
    /// What became of the message.
    pub disposition: Disposition,
    /// When that was known; the clock is read once for a batch.
    pub at: Instant,
}

/// A message on its way to a consumer. A future of its [`Settled`].
#[derive(Debug)]
pub struct Delivery(State);

enum State {
    Settled(Option<Settled>),
    Open(oneshot::Receiver<Settled>),
    Future(BoxFuture<'static, Settled>),
}

/// The other end of a [`Delivery`]: whoever hands the message over settles it once.
///
/// Dropped without that, the delivery ends as [`Reason::DownstreamUnavailable`].
#[derive(Debug)]
pub struct Completion(Option<oneshot::Sender<Settled>>);

impl Delivery {
    /// A delivery whose disposition is known already.
    pub fn settled(disposition: Disposition, at: Instant) -> Self {
        Self(State::Settled(Some(Settled { disposition, at })))
    }

    /// An open delivery and what settles it.
    pub fn open() -> (Self, Completion) {
        let (completion, outcome) = oneshot::channel();
        (Self(State::Open(outcome)), Completion(Some(completion)))
    }

    /// A delivery that ends when `future` does, which goes on only while somebody waits for it.
    pub fn from_future(future: impl Future<Output = Settled> + Send + 'static) -> Self {
        Self(State::Future(Box::pin(future)))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settled(settled) => f.debug_tuple("Settled").field(settled).finish(),
            Self::Open(_) | Self::Future(_) => f.write_str("Open"),
        }
    }
}

impl Future for Delivery {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Settled> {
        let lost = || Settled {
            disposition: Err(Reason::DownstreamUnavailable),
            at: Instant::now(),
        };
        match &mut self.0 {
            State::Settled(settled) => Poll::Ready(settled.take().unwrap_or_else(lost)),
            State::Open(outcome) => Pin::new(outcome)
                .poll(cx)
                .map(|settled| settled.unwrap_or_else(|_| lost())),
            State::Future(future) => future.as_mut().poll(cx),
        }
    }
}

impl Completion {
    /// The completion of a message whose disposition nobody waits for.
    pub fn unobserved() -> Self {
        Self(None)
    }

    /// Tells the waiting side what became of the message.
    pub fn settle(self, disposition: Disposition, at: Instant) {
        if let Some(sender) = self.0 {
            // The waiting side may be gone; its own guard has recorded that.
            let _ = sender.send(Settled { disposition, at });
        }
    }
}

/// A message for the back end, complete.
#[derive(Clone, Debug)]
pub struct Downstream {
    /// Whose message it is.
    pub tenant: TenantId,
    /// The device whose data it carries.
    pub device: DeviceId,
    /// What it is.
    pub endpoint: Endpoint,
    /// The guarantee the device asked for.
    pub qos: Qos,
    /// Hono's type name of the adapter that took it; empty for what none took.
    pub adapter: &'static str,
    /// The address the device used in its own protocol; empty for what the gateway itself tells.
    pub origin_address: ByteString,
    /// From the device or the defaults; absent only for an empty payload.
    pub content_type: Option<ByteString>,
    /// Milliseconds since the epoch at which the gateway took the message.
    pub creation_time: i64,
    /// Milliseconds for which the message is of use; `None` means for ever.
    pub ttl: Option<u32>,
    /// Seconds the device waits for a command; see Hono's `ttd`.
    pub ttd: Option<i32>,
    /// Whether the device asked for the message to be retained (MQTT).
    pub retain: bool,
    /// The trace the message belongs to.
    pub trace: TraceContext,
    /// The tenant's and the device's defaults, merged.
    pub defaults: Arc<Defaults>,
    /// What the device says of the message besides: application properties, before the defaults.
    pub properties: Vec<(ByteString, ByteString)>,
    /// Of a response: what it answers, and how.
    pub response: Option<Box<Response>>,
    /// The device's data as it came.
    pub payload: Bytes,
}

impl Downstream {
    /// An event by which the gateway itself tells applications of a device.
    pub(crate) fn notification(
        tenant: &TenantId,
        device: &DeviceId,
        adapter: &'static str,
        content_type: ByteString,
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            device: device.clone(),
            endpoint: Endpoint::Event,
            qos: Qos::AtLeastOnce,
            adapter,
            origin_address: ByteString::new(),
            content_type: Some(content_type),
            creation_time: milliseconds_since_epoch(),
            ttl: None,
            ttd: None,
            retain: false,
            trace: TraceContext::unsampled(),
            defaults: Arc::default(),
            properties: Vec::new(),
            response: None,
            payload: Bytes::new(),
        }
    }
}

/// Now, as messages say when they were made.
pub(crate) fn milliseconds_since_epoch() -> i64 {
    (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64
}

/// The tenant's defaults with the device's laid over them, taken apart once.
#[derive(Debug, Default)]
pub struct Defaults {
    /// `content-type`.
    pub content_type: Option<ByteString>,
    /// `content-encoding`.
    pub content_encoding: Option<String>,
    /// `ttl`, seconds.
    pub ttl: Option<u64>,
    /// `ttl-telemetry-qos0`, seconds.
    pub ttl_telemetry_qos0: Option<u64>,
    /// `ttl-telemetry-qos1`, seconds.
    pub ttl_telemetry_qos1: Option<u64>,
    /// `ttl-command-response`, seconds.
    pub ttl_command_response: Option<u64>,
    /// All others; they become application properties.
    pub properties: Vec<(String, Value)>,
}

/// Names that a default must not set: the gateway's own, and fields of AMQP 1.0's header and
/// properties (northbound contract §1.4).
const RESERVED: [&str; 24] = [
    // What the gateway itself says of a message must not be overridden.
    "device_id",
    "gateway_id",
    "hono_registration_status",
    "orig_adapter",
    "orig_address",
    "qos",
    "status",
    "tenant_id",
    "ttd",
    "absolute-expiry-time",
    "correlation-id",
    "creation-time",
    "delivery-count",
    "durable",
    "first-acquirer",
    "group-id",
    "group-sequence",
    "message-id",
    "priority",
    "reply-to",
    "reply-to-group-id",
    "subject",
    "to",
    "user-id",
];

/// Leaves what a device may say of its message: of several with one name the first, and nothing that
/// only the gateway says.
pub(crate) fn keep_allowed(properties: &mut Vec<(ByteString, ByteString)>) {
    let mut kept = 0;
    for next in 0..properties.len() {
        let name = &properties[next].0;
        let is_said = properties[..kept].iter().any(|(said, _)| said == name);
        if !is_said && !RESERVED.contains(&&**name) {
            properties.swap(kept, next);
            kept += 1;
        }
    }
    properties.truncate(kept);
}

impl Defaults {
    /// Lays `device` over `tenant` and takes the result apart.
    pub fn merge(
        tenant: &serde_json::Map<String, Value>,
        device: &serde_json::Map<String, Value>,
    ) -> Self {
        let mut merged = Self::default();
        let inherited = tenant
            .iter()
            .filter(|(name, _)| !device.contains_key(*name));
        for (name, value) in inherited.chain(device) {
            merged.set(name, value);
        }
        merged
    }

    fn set(&mut self, name: &str, value: &Value) {
        let text = || value.as_str().map(str::to_owned);
        match name {
            "content-type" => self.content_type = text().map(ByteString::from),
            "content-encoding" => self.content_encoding = text(),
            "ttl" => self.ttl = value.as_u64(),
            "ttl-telemetry-qos0" => self.ttl_telemetry_qos0 = value.as_u64(),
            "ttl-telemetry-qos1" => self.ttl_telemetry_qos1 = value.as_u64(),
            "ttl-command-response" => self.ttl_command_response = value.as_u64(),
            reserved if RESERVED.contains(&reserved) => {}
            other => self.properties.push((other.to_owned(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merge(tenant: &Value, device: &Value) -> Defaults {
        Defaults::merge(tenant.as_object().unwrap(), device.as_object().unwrap())
    }

    #[test]
    fn the_devices_defaults_win_and_reserved_names_are_dropped() {
        let merged = merge(
            &json!({"importance": "low", "unit": "kWh", "ttl": 60, "subject": "no", "qos": 7}),
            &json!({"importance": "high", "content-type": "text/plain", "to": "elsewhere"}),
        );
        assert_eq!(merged.ttl, Some(60));
        assert_eq!(merged.content_type.as_deref(), Some("text/plain"));
        let expected = [
            ("unit".to_owned(), json!("kWh")),
            ("importance".to_owned(), json!("high")),
        ];
        assert_eq!(merged.properties, expected);
    }

    #[test]
    fn devices_say_each_thing_once_and_nothing_in_the_gateways_name() {
        let pair = |&(name, value): &(&'static str, &'static str)| {
            (
                ByteString::from_static(name),
                ByteString::from_static(value),
            )
        };
        let said = [
            ("a", "1"),
            ("device_id", "other"),
            ("b", "2"),
            ("a", "3"),
            ("ttd", "-1"),
            ("c", "4"),
        ];
        let mut properties = said.iter().map(pair).collect();
        keep_allowed(&mut properties);
        let kept = [("a", "1"), ("b", "2"), ("c", "4")];
        assert_eq!(properties, kept.iter().map(pair).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_completion_that_is_dropped_ends_the_delivery() {
        let (delivery, completion) = Delivery::open();
        drop(completion);
        assert_eq!(
            delivery.await.disposition,
            Err(Reason::DownstreamUnavailable)
        );
    }
}
