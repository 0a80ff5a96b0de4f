//! The closed sets of label values (names and values as Eclipse Hono's dashboards query them).

/// What reports a series: labels `component_type` and `component_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// Protocol adapter or service.
    pub kind: ComponentType,
    /// For adapters Hono's adapter type name, for example `hono-mqtt`.
    pub name: &'static str,
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
    pub(crate) const COUNT: usize = 2;

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
    pub(crate) const COUNT: usize = 3;

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
    pub(crate) const COUNT: usize = 2;

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
    pub(crate) const COUNT: usize = 3;

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
    pub(crate) const COUNT: usize = 3;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
