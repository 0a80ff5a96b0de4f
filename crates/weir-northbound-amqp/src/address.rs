//! The addresses applications use (northbound contract §1.2 and §8.1).

use bytestring::ByteString;
use weir_core::{Downstream, Endpoint, TenantId};
use weir_event_store::Queue;
use weir_metrics::AmqpType;

use crate::notification::Topic;

/// Where an application receives from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Competing consumers of what is passed on at once.
    Direct(Direct),
    /// `event/{tenant}` or `event-dlq/{tenant}`: competing consumers of what is stored.
    Stored(TenantId, Queue),
    /// `notification/registry-tenant` or `notification/registry-device`: each receiver gets all.
    Notification(Topic),
}

/// An address whose messages are passed on at once, or refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direct {
    /// `telemetry/{tenant}`
    Telemetry(TenantId),
    /// `command_response/{tenant}/{reply-id}`; the reply id is the application's and may have slashes.
    Response(TenantId, ByteString),
}

impl Direct {
    /// Whose messages of which kind there are.
    pub(crate) fn tenant_and_kind(&self) -> (&TenantId, AmqpType) {
        match self {
            Self::Telemetry(tenant) => (tenant, AmqpType::Telemetry),
            Self::Response(tenant, _) => (tenant, AmqpType::CommandResponse),
        }
    }

    /// Where a message goes; nothing if it is not passed on.
    pub(crate) fn of(message: &Downstream) -> Option<Self> {
        let tenant = || message.tenant.clone();
        match message.endpoint {
            Endpoint::Telemetry => Some(Self::Telemetry(tenant())),
            Endpoint::Event => None,
            Endpoint::CommandResponse => {
                let response = message.response.as_ref()?;
                Some(Self::Response(tenant(), response.reply_to.reply_id.clone()))
            }
        }
    }
}

/// Takes apart the address of a link by which an application receives; nothing if there is no such
/// node.
pub(crate) fn source(address: &str) -> Option<Source> {
    let topic = |topic: &Topic| topic.address() == address;
    if let Some(topic) = Topic::ALL.into_iter().find(topic) {
        return Some(Source::Notification(topic));
    }
    let (endpoint, rest) = address.split_once('/')?;
    Some(match endpoint {
        "telemetry" => Source::Direct(Direct::Telemetry(tenant(rest)?)),
        "event" => Source::Stored(tenant(rest)?, Queue::Event),
        "event-dlq" => Source::Stored(tenant(rest)?, Queue::DeadLetter),
        "command_response" => {
            let (tenant, reply_id) = reply_address(address)?;
            Source::Direct(Direct::Response(tenant, reply_id.into()))
        }
        _ => return None,
    })
}

/// The tenant whose devices a link sends commands to; nothing if there is no such node.
pub(crate) fn command_target(address: &str) -> Option<TenantId> {
    tenant(address.strip_prefix("command/")?)
}

/// Takes `command_response/{tenant}/{reply-id}` apart.
pub(crate) fn reply_address(address: &str) -> Option<(TenantId, &str)> {
    let rest = address.strip_prefix("command_response/")?;
    let (tenant, reply_id) = rest.split_once('/')?;
    let is_whole = !tenant.is_empty() && !reply_id.is_empty();
    is_whole.then(|| (tenant.into(), reply_id))
}

/// One segment.
fn tenant(text: &str) -> Option<TenantId> {
    let is_one_segment = !text.is_empty() && !text.contains('/');
    is_one_segment.then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_endpoint_and_a_tenant_a_reply_address_or_a_topic() {
        let acme = || TenantId::from("acme");
        let response = |id: &str| Source::Direct(Direct::Response(acme(), id.into()));
        let rows = [
            ("telemetry/acme", Source::Direct(Direct::Telemetry(acme()))),
            ("event/acme", Source::Stored(acme(), Queue::Event)),
            ("event-dlq/acme", Source::Stored(acme(), Queue::DeadLetter)),
            ("command_response/acme/app-1", response("app-1")),
            ("command_response/acme/4711/a/b/", response("4711/a/b/")),
            (
                "notification/registry-tenant",
                Source::Notification(Topic::Tenants),
            ),
            (
                "notification/registry-device",
                Source::Notification(Topic::Devices),
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(source(text), Some(expected), "{text}");
        }
        for other in [
            "",
            "telemetry",
            "telemetry/",
            "telemetry/acme/4711",
            "event-dlq",
            "event-dlq/acme/4711",
            "command/acme",
            "command_response",
            "command_response/acme",
            "command_response/acme/",
            "command_response//app-1",
            "/acme",
            "t/acme",
            "notification",
            "notification/",
            "notification/acme",
            "notification/registry-device/acme",
            "/notification/registry-device",
        ] {
            assert_eq!(source(other), None, "{other}");
        }
    }

    #[test]
    fn commands_are_sent_to_a_tenant() {
        assert_eq!(command_target("command/acme"), Some("acme".into()));
        for other in ["", "command", "command/", "command/acme/4711", "event/acme"] {
            assert_eq!(command_target(other), None, "{other}");
        }
    }
}
