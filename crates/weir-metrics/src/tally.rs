//! What has been counted, as plain numbers: what a dialect makes other systems' metrics of.

use std::collections::BTreeMap;

use crate::meters::{COMMANDS, UPLOADS, command_index, upload_index};
use crate::traffic::MqttCounts;
use crate::{Component, Direction, MessageType, Qos, Status, TenantMeters, Ttd};

/// Everything that was counted until one moment.
#[derive(Clone, Debug)]
pub struct Tally {
    /// What MQTT connections have counted.
    pub mqtt: MqttCounts,
    /// Messages by component and tenant.
    pub rows: Vec<Row>,
    /// Messages of tenants whose series have been removed since: sums over all tenants never shrink.
    pub removed: Vec<Messages>,
    /// Open connections of devices that did not authenticate.
    pub unauthenticated: u64,
    /// The most there have been at a time.
    pub most: Most,
}

/// The most that there have been at a time since the start, whether or not anybody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Open connections of devices, authenticated or not.
    pub connections: u64,
    /// Subscriptions of MQTT connections.
    pub subscriptions: u64,
    /// MQTT connections with a subscription.
    pub subscribers: u64,
}

/// Messages and connections of one tenant at one component.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its tenant, `UNKNOWN` or `OVERFLOW`.
    pub tenant: Box<str>,
    /// Its messages.
    pub messages: Messages,
    /// Open connections of authenticated devices.
    pub connections: u64,
}

/// How many messages one component has had.
#[derive(Clone, Debug)]
pub struct Messages {
    /// The component.
    pub component: Component,
    uploads: [u64; UPLOADS],
    commands: [u64; COMMANDS],
}

impl Tally {
    /// Messages of all components and tenants, also of those that were removed.
    pub fn messages(&self) -> impl Iterator<Item = &Messages> {
        let rows = self.rows.iter().map(|row| &row.messages);
        rows.chain(&self.removed)
    }
}

impl Messages {
    pub(crate) fn of(meters: &TenantMeters) -> Self {
        let mut all = Self::none(meters.component());
        all.add(meters);
        all
    }

    fn none(component: Component) -> Self {
        Self {
            component,
            uploads: [0; UPLOADS],
            commands: [0; COMMANDS],
        }
    }

    fn add(&mut self, meters: &TenantMeters) {
        for (index, meter) in meters.uploads() {
            self.uploads[index] += meter.duration.count();
        }
        for (index, meter) in meters.commands() {
            self.commands[index] += meter.duration.count();
        }
    }

    /// Uploads of this kind that ended so.
    pub fn uploads(&self, kind: MessageType, qos: Qos, status: Status) -> u64 {
        let of = |ttd| self.uploads[upload_index(kind, qos, status, ttd)];
        Ttd::ALL.into_iter().map(of).sum()
    }

    /// Commands, or responses to them, that ended so.
    pub fn commands(&self, direction: Direction, status: Status) -> u64 {
        self.commands[command_index(direction, status)]
    }
}

/// Messages of tenants whose series have been removed.
#[derive(Debug, Default)]
pub(crate) struct Removed(BTreeMap<Component, Messages>);

impl Removed {
    pub(crate) fn add(&mut self, meters: &TenantMeters) {
        let component = meters.component();
        let place = self.0.entry(component);
        let messages = place.or_insert_with(|| Messages::none(component));
        messages.add(meters);
    }

    pub(crate) fn all(&self) -> Vec<Messages> {
        self.0.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{Metrics, MqttCount, Options};

    #[test]
    fn what_was_highest_is_known_although_nobody_looked() {
        let start = Instant::now();
        let metrics = Metrics::new("h", start);
        let of = |tenant| metrics.tenant(Component::REGISTRY, tenant);
        let anonymous = metrics.unauthenticated_connections(Component::REGISTRY);
        of("a").connected().opened(start);
        of("b").connected().opened(start);
        anonymous.add(1);
        of("a").connected().closed(start);
        anonymous.add(-1);
        of("b").connected().opened(start);
        for (what, number) in [
            (MqttCount::SubscriptionBegun, 3),
            (MqttCount::SubscriberBegun, 1),
            (MqttCount::SubscriptionEnded, 3),
            (MqttCount::SubscriptionBegun, 2),
            (MqttCount::SubscriberEnded, 1),
            (MqttCount::SubscriberBegun, 1),
        ] {
            metrics.mqtt().add(what, number);
        }
        let expected = Most {
            connections: 3,
            subscriptions: 3,
            subscribers: 1,
        };
        assert_eq!(metrics.tally().most, expected);
    }

    #[test]
    fn sums_do_not_shrink_when_tenants_are_removed() {
        let start = Instant::now();
        let options = Options {
            tenant_idle_timeout: Duration::from_secs(60),
            ..Options::default()
        };
        let metrics = Metrics::with_options("h", start, options);
        for tenant in ["a", "b"] {
            let meters = metrics.tenant(Component::REGISTRY, tenant);
            let (kind, qos) = (MessageType::Event, Qos::AtLeastOnce);
            let meter = meters.upload(kind, qos, Status::Forwarded, Ttd::Expired);
            meter.record(Duration::ZERO, 1, start);
            let meter = meters.command(Direction::Response, Status::Undeliverable);
            meter.record(Duration::ZERO, 1, start);
        }
        let sums = || {
            let tally = metrics.tally();
            let mut all = tally.messages();
            let of = |it: &Messages| {
                let uploads = it.uploads(MessageType::Event, Qos::AtLeastOnce, Status::Forwarded);
                let other = it.uploads(MessageType::Telemetry, Qos::AtLeastOnce, Status::Forwarded);
                let responses = it.commands(Direction::Response, Status::Undeliverable);
                (uploads, other, responses)
            };
            let sum = all.by_ref().map(of);
            sum.fold((0, 0, 0), |sum, it| {
                (sum.0 + it.0, sum.1 + it.1, sum.2 + it.2)
            })
        };
        assert_eq!(sums(), (2, 0, 2));
        metrics.upkeep(start);
        metrics.upkeep(start + Duration::from_secs(60));
        assert!(metrics.tally().rows.is_empty());
        assert_eq!(sums(), (2, 0, 2));
    }
}
