//! The addresses applications use (northbound contract §1.2).

use weir_core::{Endpoint, TenantId};

/// Takes `telemetry/{tenant}` or `event/{tenant}` apart.
pub(crate) fn parse(address: &str) -> Option<(Endpoint, TenantId)> {
    let (endpoint, tenant) = address.split_once('/')?;
    let endpoint = Endpoint::ALL
        .into_iter()
        .find(|known| known.as_str() == endpoint)?;
    let is_one_segment = !tenant.is_empty() && !tenant.contains('/');
    is_one_segment.then(|| (endpoint, tenant.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_endpoint_and_a_tenant() {
        let acme = TenantId::from("acme");
        assert_eq!(
            parse("telemetry/acme"),
            Some((Endpoint::Telemetry, acme.clone()))
        );
        assert_eq!(parse("event/acme"), Some((Endpoint::Event, acme)));
        for other in [
            "",
            "telemetry",
            "telemetry/",
            "telemetry/acme/4711",
            "/acme",
            "t/acme",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
