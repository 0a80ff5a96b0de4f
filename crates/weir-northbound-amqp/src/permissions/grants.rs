//! Which addresses a user may use, and for what (northbound contract §1.11).

use std::collections::HashMap;

use serde::Deserialize;

/// What is done at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Activity {
    /// Receiving from it.
    Read,
    /// Sending to it.
    Write,
    /// Calling an operation; nothing that applications can attach to needs it.
    Execute,
}

impl Activity {
    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Write => 2,
            Self::Execute => 4,
        }
    }
}

/// What one user may do. There is nothing that forbids: roles only add to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grants {
    /// By resource, as the role names it: the activities' bits.
    by_resource: HashMap<String, u8>,
}

impl Grants {
    /// What an application may do that no file speaks of: everything Hono's standard role allows, and
    /// hear what changes in the registry.
    pub(super) fn standard() -> Self {
        let mut grants = Self::default();
        for resource in [
            "telemetry/*",
            "event/*",
            "command_response/*",
            "notification/*",
        ] {
            grants.add(resource, &[Activity::Read]);
        }
        grants.add("command/*", &[Activity::Write]);
        grants
    }

    pub(super) fn add(&mut self, resource: &str, activities: &[Activity]) {
        let bits = activities
            .iter()
            .fold(0, |bits, activity| bits | activity.bit());
        *self.by_resource.entry(resource.to_owned()).or_default() |= bits;
    }

    pub(super) fn add_all(&mut self, others: &Self) {
        for (resource, bits) in &others.by_resource {
            *self.by_resource.entry(resource.clone()).or_default() |= bits;
        }
    }

    /// Whether any resource that covers the address allows the activity.
    pub(super) fn allow(&self, activity: Activity, address: &str) -> bool {
        let address = stored_with(address);
        let mut segments = address.split('/');
        let endpoint = segments.next().unwrap_or_default();
        let up_to_tenant = segments
            .next()
            .map(|tenant| &address[..endpoint.len() + 1 + tenant.len()]);
        let every_tenant = up_to_tenant.map(|_| format!("{endpoint}/*"));
        let resources = [
            Some(&*address),
            up_to_tenant,
            every_tenant.as_deref(),
            Some(endpoint),
            Some("*"),
        ];
        resources.into_iter().flatten().any(|resource| {
            let bits = self.by_resource.get(resource);
            bits.is_some_and(|bits| bits & activity.bit() != 0)
        })
    }
}

/// Dead letters are events still: who may read a tenant's events may read those, too.
fn stored_with(address: &str) -> std::borrow::Cow<'_, str> {
    match address.strip_prefix("event-dlq/") {
        Some(rest) => format!("event/{rest}").into(),
        None => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_covers_what_is_below_it_and_no_more() {
        let rows = [
            // resource, address, whether it is covered
            ("telemetry/acme", "telemetry/acme", true),
            ("telemetry/acme", "telemetry/acme/dev", true),
            ("telemetry/acme/dev", "telemetry/acme", false),
            ("telemetry/acme/dev", "telemetry/acme/dev", true),
            ("telemetry/acme/dev", "telemetry/acme/other", false),
            ("telemetry/acme", "telemetry/acme2", false),
            ("telemetry/acme", "event/acme", false),
            ("telemetry/*", "telemetry/acme", true),
            ("telemetry/*", "telemetry/acme/dev", true),
            ("telemetry/*", "event/acme", false),
            ("telemetry/*", "telemetry", false),
            ("telemetry", "telemetry/acme", true),
            ("telemetry", "telemetry", true),
            ("telemetry/a*", "telemetry/acme", false),
            ("tele*", "telemetry/acme", false),
            ("*", "telemetry/acme", true),
            ("*", "command_response/acme/a/b", true),
            ("command_response/acme", "command_response/acme/r", true),
            ("command_response/acme", "command_response/acme/r/1/2", true),
            ("command_response/acme", "command_response/other/r", false),
            ("command_response/acme/r", "command_response/acme/r", true),
            (
                "command_response/acme/r",
                "command_response/acme/r/1",
                false,
            ),
            ("command_response/*", "command_response/acme/r/1", true),
            ("notification/*", "notification/registry-tenant", true),
            (
                "notification/registry-device",
                "notification/registry-tenant",
                false,
            ),
            ("event/acme", "event-dlq/acme", true),
            ("event/*", "event-dlq/acme", true),
            ("event/other", "event-dlq/acme", false),
            ("event-dlq/acme", "event-dlq/acme", false),
            ("", "", true),
            ("telemetry/acme", "", false),
            ("telemetry/", "telemetry/", true),
            ("telemetry/acme", "telemetry/", false),
            ("telemetry/acme", "/telemetry/acme", false),
        ];
        for (resource, address, expected) in rows {
            let mut grants = Grants::default();
            grants.add(resource, &[Activity::Read]);
            let is_allowed = grants.allow(Activity::Read, address);
            assert_eq!(is_allowed, expected, "{resource} for {address}");
            assert!(!grants.allow(Activity::Write, address));
        }
    }

    #[test]
    fn a_wider_resource_may_allow_what_a_finer_one_leaves_out() {
        let mut grants = Grants::default();
        grants.add("command/acme", &[Activity::Read]);
        assert!(!grants.allow(Activity::Write, "command/acme"));
        grants.add("command/*", &[Activity::Write]);
        assert!(grants.allow(Activity::Write, "command/acme"));
        assert!(grants.allow(Activity::Read, "command/acme"));
        assert!(!grants.allow(Activity::Read, "command/other"));
        grants.add("command/acme", &[Activity::Execute]);
        assert!(grants.allow(Activity::Read, "command/acme"));
    }

    #[test]
    fn the_standard_role_is_what_applications_need() {
        let standard = Grants::standard();
        let rows = [
            ("telemetry/acme", true, false),
            ("event/acme", true, false),
            ("event-dlq/acme", true, false),
            ("command_response/acme/r/1", true, false),
            ("notification/registry-tenant", true, false),
            ("command/acme", false, true),
            ("registration/acme", false, false),
            ("command_internal/adapter", false, false),
        ];
        for (address, read, write) in rows {
            assert_eq!(standard.allow(Activity::Read, address), read, "{address}");
            assert_eq!(standard.allow(Activity::Write, address), write, "{address}");
        }
    }
}
