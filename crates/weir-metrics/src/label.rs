//! The closed sets of label values (names and values as Eclipse Hono's dashboards query them).

mod service;

pub use service::{AmqpType, AuthenticationOutcome, ClientType, DeliveryOutcome, cipher_suite};

/// What reports a series: labels `component_type` and `component_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// Protocol adapter or service.
    pub kind: ComponentType,
    /// For adapters Hono's adapter type name, for example `hono-mqtt`.
    pub name: &'static str,
}

impl Component {
    /// What checks who applications and services are.
    pub const AUTH: Self = Self::service("hono-auth");
    /// What finds the way of commands, and reports those that find none.
    pub const COMMAND_ROUTER: Self = Self::service("hono-command-router");
    /// What gives messages to applications over AMQP.
    pub const NORTHBOUND_AMQP: Self = Self::service("weir-northbound-amqp");
    /// The process as a whole.
    pub const PROCESS: Self = Self::service("weir");
    /// What keeps tenants and devices.
    pub const REGISTRY: Self = Self::service("hono-registry");

    const fn service(name: &'static str) -> Self {
        Self {
            kind: ComponentType::Service,
            name,
        }
    }
}

/// Label `component_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ComponentType {
    /// A protocol adapter.
    Adapter,
    /// Anything else.
    Service,
}

impl ComponentType {
    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adapter => "adapter",
            Self::Service => "service",
        }
    }
}

/// Label `type` of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// Telemetry data.
    Telemetry,
    /// An event.
    Event,
}

impl MessageType {
    /// All values, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Telemetry, Self::Event];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Telemetry => "telemetry",
        }
    }
}

/// Label `status`: what became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Handed to the other side, which took it.
    Forwarded,
    /// Not handed over for a reason that lies outside the sender.
    Undeliverable,
    /// Refused for a reason that lies with the sender.
    Unprocessable,
}

impl Status {
    /// All values, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Forwarded, Self::Undeliverable, Self::Unprocessable];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Undeliverable => "undeliverable",
            Self::Unprocessable => "unprocessable",
        }
    }
}

/// Label `qos`: the delivery guarantee the device asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// At most once.
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
}

impl Qos {
    /// All values, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::AtMostOnce, Self::AtLeastOnce];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "1",
            Self::AtMostOnce => "0",
        }
    }
}

/// Label `ttd`: how the wait for a command that the device asked for ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttd {
    /// A command was handed to the device.
    Command,
    /// No command came in time.
    Expired,
    /// The device did not ask to wait.
    None,
}

impl Ttd {
    /// All values, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Command, Self::Expired, Self::None];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Expired => "expired",
            Self::None => "none",
        }
    }
}

/// Label `direction` of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To a device, which does not answer it.
    OneWay,
    /// To a device, which answers it.
    Request,
    /// A device's answer.
    Response,
}

impl Direction {
    /// All values, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::OneWay, Self::Request, Self::Response];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneWay => "one-way",
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// Label `outcome` of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttemptOutcome {
    /// This process holds as many connections as it may.
    AdapterConnectionsExceeded,
    /// The tenant may not use the protocol.
    AdapterDisabled,
    /// The tenant's connection time is used up.
    ConnectionDurationExceeded,
    /// The tenant's data volume is used up.
    DataVolumeExceeded,
    /// The credentials are good, the device is unknown or disabled.
    RegistrationAssertionFailure,
    /// Connected.
    Succeeded,
    /// The tenant holds as many connections as it may.
    TenantConnectionsExceeded,
    /// The credentials are not good.
    Unauthorized,
    /// A service the check needs cannot be reached.
    Unavailable,
    /// Anything else.
    Unknown,
}

impl AttemptOutcome {
    /// All values.
    pub const ALL: [Self; 10] = [
        Self::AdapterConnectionsExceeded,
        Self::AdapterDisabled,
        Self::ConnectionDurationExceeded,
        Self::DataVolumeExceeded,
        Self::RegistrationAssertionFailure,
        Self::Succeeded,
        Self::TenantConnectionsExceeded,
        Self::Unauthorized,
        Self::Unavailable,
        Self::Unknown,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AdapterConnectionsExceeded => "adapter-connections-exceeded",
            Self::AdapterDisabled => "adapter-disabled",
            Self::ConnectionDurationExceeded => "connection-duration-exceeded",
            Self::DataVolumeExceeded => "data-volume-exceeded",
            Self::RegistrationAssertionFailure => "registration-assertion-failure",
            Self::Succeeded => "succeeded",
            Self::TenantConnectionsExceeded => "tenant-connections-exceeded",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_order_of_their_numbers() {
        fn check<T: Copy>(all: &[T], number: fn(T) -> usize) {
            for (index, value) in all.iter().enumerate() {
                assert_eq!(number(*value), index);
            }
        }
        check(&MessageType::ALL, |value| value as usize);
        check(&Status::ALL, |value| value as usize);
        check(&Qos::ALL, |value| value as usize);
        check(&Ttd::ALL, |value| value as usize);
        check(&Direction::ALL, |value| value as usize);
        check(&AttemptOutcome::ALL, |value| value as usize);
    }
}
