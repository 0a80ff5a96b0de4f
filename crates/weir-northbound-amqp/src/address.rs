//! The addresses applications use (northbound contract §1.2 and §8.1).

use weir_core::{Endpoint, TenantId};

use crate::notification::Topic;

/// Where an application receives from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `telemetry/{tenant}` or `event/{tenant}`: competing consumers.
    Uplink(Endpoint, TenantId),
    /// `notification/registry-tenant` or `notification/registry-device`: each receiver gets all.
    Notification(Topic),
}

/// Takes an address apart; nothing if there is no such node.
pub(crate) fn parse(address: &str) -> Option<Address> {
    let topic = |topic: &Topic| topic.address() == address;
    if let Some(topic) = Topic::ALL.into_iter().find(topic) {
        return Some(Address::Notification(topic));
    }
    let (endpoint, tenant) = address.split_once('/')?;
    let endpoint = Endpoint::ALL
        .into_iter()
        .find(|known| known.as_str() == endpoint)?;
    let is_one_segment = !tenant.is_empty() && !tenant.contains('/');
    is_one_segment.then(|| Address::Uplink(endpoint, tenant.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_endpoint_and_a_tenant_or_a_topic() {
        let uplink = |endpoint| Address::Uplink(endpoint, TenantId::from("acme"));
        let rows = [
            ("telemetry/acme", uplink(Endpoint::Telemetry)),
            ("event/acme", uplink(Endpoint::Event)),
            (
                "notification/registry-tenant",
                Address::Notification(Topic::Tenants),
            ),
            (
                "notification/registry-device",
                Address::Notification(Topic::Devices),
            ),
        ];
        for (text, address) in rows {
            assert_eq!(parse(text), Some(address), "{text}");
        }
        for other in [
            "",
            "telemetry",
            "telemetry/",
            "telemetry/acme/4711",
            "/acme",
            "t/acme",
            "notification",
            "notification/",
            "notification/acme",
            "notification/registry-device/acme",
            "/notification/registry-device",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
