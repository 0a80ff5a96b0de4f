//! Errors: what a device is told of its messages that were refused, by subscription (device contract
//! §3.6, §3.8).
//!
//! * [`Subscriptions`] are those of one connection. They are made and ended with the ones for
//!   commands: see `command`.
//! * `filter` is the grammar of filters and topics.
//!
//! An error is told of a message whose device has a subscription, or else if the authenticated device
//! itself has one. What it says is read from the message's topic when it is needed, which is
//! all that is kept of a message that is on its way.

mod filter;

use std::num::NonZeroU16;

use bytestring::ByteString;
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;
use weir_core::Reason;

use crate::address;
use crate::client::{Key, Own};
use filter::{LONGEST, Subject, is_segment};

pub(crate) use filter::Filter;

/// What a message has in place of a correlation id if it has no packet id either.
const NO_ID: &str = "-1";

/// The subscriptions for errors of one connection.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Vec<Filter>);

/// A message that was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) topic: &'a ByteString,
    /// Only QoS 1 has one.
    pub(crate) packet_id: Option<NonZeroU16>,
    pub(crate) reason: &'a Reason,
}

/// What a device is told of a refused message: a PUBLISH with QoS 0. A topic that is too long is never
/// sent.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: u16,
    message: &'a str,
    timestamp: &'a str,
    #[serde(rename = "correlation-id")]
    correlation_id: &'a str,
}

impl Subscriptions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is one for the same.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.0.iter().any(|filter| filter.key == *key)
    }

    /// Puts a subscription in force, in place of an earlier one for the same.
    pub(crate) fn begin(&mut self, filter: Filter) {
        match self.0.iter_mut().find(|earlier| earlier.key == filter.key) {
            Some(earlier) => *earlier = filter,
            None => self.0.push(filter),
        }
    }

    /// Ends one; says whether there was any.
    pub(crate) fn end(&mut self, key: &Key) -> bool {
        let place = self.0.iter().position(|filter| filter.key == *key);
        place.map(|place| self.0.swap_remove(place)).is_some()
    }

    /// What the client is to be told at `now` of one of its messages. `None` if it has not subscribed to
    /// that.
    pub(crate) fn notice(
        &self,
        own: Own<'_>,
        refused: Refused<'_>,
        now: OffsetDateTime,
    ) -> Option<Notice> {
        if self.0.is_empty() {
            return None;
        }
        let path = address::path(refused.topic);
        let (tenant, device) = match path.endpoint {
            // Nothing is where it should be, so nobody is named either.
            "" => (None, None),
            _ => (path.target.tenant, path.target.device),
        };
        let own = own.map(|(tenant, device)| (tenant.as_str(), device.as_str()));
        let (own_tenant, own_device) = own.unzip();
        let tenant = tenant.as_deref().or(own_tenant)?;
        let device = device.as_deref().or(own_device)?;
        let of_own = || own.and_then(|(tenant, device)| self.find(tenant, device));
        let filter = self.find(tenant, device).or_else(of_own)?;
        let subject = Subject {
            device,
            kind: kind(path.endpoint),
            status: refused.reason.status(),
        };
        let number = || match refused.packet_id {
            Some(packet_id) => packet_id.to_string().into(),
            None => ByteString::from_static(NO_ID),
        };
        let correlation_id = address::correlation_id(refused.topic).unwrap_or_else(number);
        let mut topic = filter.topic(subject, &correlation_id);
        if !is_segment(&correlation_id) || topic.len() > LONGEST {
            // It is in the payload alone.
            topic = filter.topic(subject, &number());
        }
        let payload = payload(refused.reason, &correlation_id, now);
        Some(Notice { topic, payload })
    }

    fn find(&self, tenant: &str, device: &str) -> Option<&Filter> {
        let mut all = self.0.iter();
        all.find(|Filter { key, .. }| {
            key.device.as_str() == device && key.tenant.as_str() == tenant
        })
    }
}

/// The name in an error's topic of what was published to `endpoint`.
fn kind(endpoint: &str) -> &'static str {
    match endpoint {
        "telemetry" => "telemetry",
        "t" => "t",
        "event" => "event",
        "e" => "e",
        "command" => "command-response",
        "c" => "c-s",
        _ => "unknown",
    }
}

fn payload(reason: &Reason, correlation_id: &str, now: OffsetDateTime) -> Vec<u8> {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    // Nothing in it can fail: neither the present nor a few texts.
    let timestamp = now.format(format).unwrap_or_default();
    let body = Body {
        code: reason.status(),
        message: reason.text(),
        timestamp: &timestamp,
        correlation_id,
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests;
