//! The closed list of reasons for which a message or a connection is refused.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use weir_metrics::{AttemptOutcome, Status};

/// Why a message or a connection was refused.
///
/// Each variant knows its status code (Hono's, which are HTTP's), its metric status, whether it ends
/// an authenticated connection, whether trying again may help, and its text for the device. What a
/// protocol makes of it stands in that adapter's `outcome.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The tenant may not use this protocol.
    AdapterDisabled,
    /// The request itself breaks a rule; the text names it.
    BadRequest(Rule, Cow<'static, str>),
    /// The tenant's devices have been connected for as long as they may be in this period.
    ConnectionDurationExceeded,
    /// The credentials have expired since the device connected.
    CredentialExpired,
    /// The tenant's devices have sent and received as much as they may in this period.
    DataVolumeExceeded,
    /// The device would be registered by itself, but the tenant has as many as it may have.
    DeviceLimitReached,
    /// The device is unknown or disabled.
    DeviceUnknown,
    /// The northbound cannot be reached.
    DownstreamUnavailable,
    /// The events that wait for a consumer have used up what they may.
    EventStoreFull,
    /// The address names a tenant that is not the device's own.
    ForeignTenant,
    /// The gateway may not act for the device.
    GatewayNotAuthorised,
    /// The gateway is unknown or disabled.
    GatewayUnknown,
    /// This process holds as many connections as it may.
    InstanceConnectionsExceeded,
    /// A fault of our own.
    Internal,
    /// Messages come faster than they may. One passes after so long, if no other takes its place.
    MessageRateExceeded(RateOf, Duration),
    /// The consumer did not process the message and may be offered it again.
    Modified,
    /// A consumer is there, but takes nothing more at the moment.
    NoCredit,
    /// Nobody consumes the tenant's messages.
    NoConsumer,
    /// There is no such endpoint.
    NoSuchEndpoint,
    /// No application could be told of the device: that it was registered by itself, or has connected.
    NotAnnounced,
    /// The consumer did not say in time what became of the message.
    OutcomeTimeout,
    /// The payload is larger than allowed.
    PayloadTooLarge,
    /// The registry cannot be reached.
    RegistryUnavailable,
    /// The consumer rejected the message, under a condition and perhaps with a description.
    Rejected(RejectCondition, Option<Arc<str>>),
    /// The consumer gave the message back.
    Released,
    /// The gateway is shutting down.
    ShuttingDown,
    /// As many of the tenant's devices are connected as may be at a time.
    TenantConnectionsExceeded,
    /// The tenant is disabled.
    TenantDisabled,
    /// There is no such tenant.
    TenantUnknown,
    /// The credentials are missing or not good.
    Unauthorized(CredentialFault),
    /// The consumer can never process the message.
    UndeliverableHere,
    /// The consumer has said what became of the message and left it open (northbound contract §1.3).
    Unsettled,
}

/// Which kind of rule a bad request broke; decides whether it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The topic, path or address.
    Address,
    /// The content type against the payload.
    ContentType,
    /// The encoding of the request, or a header.
    Encoding,
    /// The quality of service.
    Qos,
}

/// Whose messages come too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateOf {
    /// Those of the device they are from.
    Device,
    /// Those of all of the tenant's devices together.
    Tenant,
}

/// What is wrong with presented credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialFault {
    /// They cannot be read.
    Malformed,
    /// There are none that apply.
    Missing,
    /// Nobody vouches for the certificate.
    Untrusted,
    /// They were checked and are not good. Which part is not, nobody is told.
    Wrong,
}

/// The condition under which a consumer rejected a message, as far as devices are told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectCondition {
    /// `amqp:internal-error`
    InternalError,
    /// `amqp:resource-limit-exceeded`
    ResourceLimitExceeded,
    /// `amqp:unauthorized-access`
    UnauthorizedAccess,
    /// Any other, or none.
    Other,
}

impl Reason {
    /// The status code, Hono's.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest(..) | Self::Rejected(RejectCondition::Other, _) => 400,
            Self::CredentialExpired | Self::Unauthorized(_) => 401,
            Self::AdapterDisabled
            | Self::ConnectionDurationExceeded
            | Self::DeviceLimitReached
            | Self::ForeignTenant
            | Self::GatewayNotAuthorised
            | Self::GatewayUnknown
            | Self::Rejected(RejectCondition::UnauthorizedAccess, _)
            | Self::TenantConnectionsExceeded
            | Self::TenantDisabled => 403,
            Self::DeviceUnknown
            | Self::NoSuchEndpoint
            | Self::TenantUnknown
            | Self::UndeliverableHere => 404,
            Self::PayloadTooLarge => 413,
            Self::DataVolumeExceeded | Self::MessageRateExceeded(..) => 429,
            Self::Internal
            | Self::Rejected(RejectCondition::InternalError, _)
            | Self::Unsettled => 500,
            Self::DownstreamUnavailable
            | Self::EventStoreFull
            | Self::InstanceConnectionsExceeded
            | Self::Modified
            | Self::NoConsumer
            | Self::NoCredit
            | Self::NotAnnounced
            | Self::OutcomeTimeout
            | Self::RegistryUnavailable
            | Self::Rejected(RejectCondition::ResourceLimitExceeded, _)
            | Self::Released
            | Self::ShuttingDown => 503,
        }
    }

    /// The metric status: a client's error is unprocessable, anything else undeliverable.
    pub fn metric_status(&self) -> Status {
        if self.is_client_error() {
            Status::Unprocessable
        } else {
            Status::Undeliverable
        }
    }

    /// Whether the fault lies with the sender (a 4xx status).
    pub fn is_client_error(&self) -> bool {
        self.status() < 500
    }

    /// Whether the sender may succeed with the same message later.
    pub fn may_retry(&self) -> bool {
        !self.is_client_error() || matches!(self, Self::MessageRateExceeded(..))
    }

    /// Whether it ends an authenticated connection that can send nothing good any more.
    ///
    /// `own` says that the message was for the connected device itself: an edge device that is gone
    /// does not concern its gateway.
    pub fn is_terminal(&self, own: bool) -> bool {
        match self {
            Self::AdapterDisabled
            | Self::CredentialExpired
            | Self::GatewayNotAuthorised
            | Self::GatewayUnknown
            | Self::TenantDisabled
            | Self::TenantUnknown
            | Self::Unauthorized(_) => true,
            Self::DeviceUnknown => own,
            Self::BadRequest(..)
            | Self::ConnectionDurationExceeded
            | Self::DataVolumeExceeded
            | Self::DeviceLimitReached
            | Self::DownstreamUnavailable
            | Self::EventStoreFull
            | Self::ForeignTenant
            | Self::InstanceConnectionsExceeded
            | Self::Internal
            | Self::MessageRateExceeded(..)
            | Self::Modified
            | Self::NoConsumer
            | Self::NoCredit
            | Self::NoSuchEndpoint
            | Self::NotAnnounced
            | Self::OutcomeTimeout
            | Self::PayloadTooLarge
            | Self::RegistryUnavailable
            | Self::Rejected(..)
            | Self::Released
            | Self::ShuttingDown
            | Self::TenantConnectionsExceeded
            | Self::UndeliverableHere
            | Self::Unsettled => false,
        }
    }

    /// What the device is told. Faults on our side say no more than that they are temporary.
    pub fn text(&self) -> &str {
        match self {
            Self::AdapterDisabled => "adapter is disabled",
            Self::BadRequest(_, text) => text,
            Self::ConnectionDurationExceeded => {
                "tenant's accumulated connection duration exceeds configured maximum value"
            }
            Self::CredentialExpired => "credentials have expired",
            Self::DataVolumeExceeded => {
                "tenant's accumulated message data volume exceeds configured maximum value"
            }
            Self::DeviceLimitReached => "maximum number of devices reached for tenant",
            Self::DeviceUnknown => "device is disabled or not registered",
            Self::ForeignTenant => "can only publish for device of same tenant",
            Self::GatewayNotAuthorised | Self::GatewayUnknown => {
                "gateway is disabled or not registered"
            }
            Self::Internal
            | Self::Rejected(RejectCondition::InternalError, _)
            | Self::Unsettled => "Internal server error",
            Self::MessageRateExceeded(RateOf::Device, _) => {
                "device's message rate exceeds configured maximum value"
            }
            Self::MessageRateExceeded(RateOf::Tenant, _) => {
                "tenant's message rate exceeds configured maximum value"
            }
            Self::Modified | Self::Released => "consumer didn't process the message",
            Self::NoConsumer | Self::NoCredit => "no consumer available",
            Self::NoSuchEndpoint => "no such endpoint",
            Self::OutcomeTimeout => {
                "consumer failed to indicate in time whether it has processed the message"
            }
            Self::PayloadTooLarge => "payload too large",
            Self::Rejected(RejectCondition::ResourceLimitExceeded, _) => {
                "consumer rejected the message because a resource limit was exceeded, possibly a \
                 (tenant-specific) queue size limit"
            }
            Self::Rejected(_, Some(description)) => description,
            Self::Rejected(_, None) => "consumer rejected the message",
            Self::TenantConnectionsExceeded => {
                "tenant has reached its maximum number of connections"
            }
            Self::TenantDisabled | Self::TenantUnknown => "tenant is disabled or not registered",
            Self::Unauthorized(CredentialFault::Malformed) => "malformed credentials",
            Self::Unauthorized(CredentialFault::Missing) => "no credentials presented",
            Self::Unauthorized(CredentialFault::Untrusted | CredentialFault::Wrong) => {
                "bad credentials"
            }
            Self::UndeliverableHere => {
                "consumer declared message as undeliverable, it should not be redelivered"
            }
            Self::DownstreamUnavailable
            | Self::EventStoreFull
            | Self::InstanceConnectionsExceeded
            | Self::NotAnnounced
            | Self::RegistryUnavailable
            | Self::ShuttingDown => "Temporarily unavailable",
        }
    }

    /// A short stable name for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AdapterDisabled => "adapter-disabled",
            Self::BadRequest(..) => "bad-request",
            Self::ConnectionDurationExceeded => "connection-duration-exceeded",
            Self::CredentialExpired => "credential-expired",
            Self::DataVolumeExceeded => "data-volume-exceeded",
            Self::DeviceLimitReached => "device-limit-reached",
            Self::DeviceUnknown => "device-unknown",
            Self::DownstreamUnavailable => "downstream-unavailable",
            Self::EventStoreFull => "event-store-full",
            Self::ForeignTenant => "foreign-tenant",
            Self::GatewayNotAuthorised => "gateway-not-authorised",
            Self::GatewayUnknown => "gateway-unknown",
            Self::InstanceConnectionsExceeded => "instance-connections-exceeded",
            Self::Internal => "internal",
            Self::MessageRateExceeded(..) => "message-rate-exceeded",
            Self::Modified => "modified",
            Self::NoConsumer => "no-consumer",
            Self::NoCredit => "no-credit",
            Self::NoSuchEndpoint => "no-such-endpoint",
            Self::NotAnnounced => "not-announced",
            Self::OutcomeTimeout => "outcome-timeout",
            Self::PayloadTooLarge => "payload-too-large",
            Self::RegistryUnavailable => "registry-unavailable",
            Self::Rejected(..) => "rejected",
            Self::Released => "released",
            Self::ShuttingDown => "shutting-down",
            Self::TenantConnectionsExceeded => "tenant-connections-exceeded",
            Self::TenantDisabled => "tenant-disabled",
            Self::TenantUnknown => "tenant-unknown",
            Self::Unauthorized(_) => "unauthorized",
            Self::UndeliverableHere => "undeliverable-here",
            Self::Unsettled => "unsettled",
        }
    }

    /// One example of every reason, also of each rule, fault, condition and rate, in the order of their
    /// names.
    pub fn examples() -> impl Iterator<Item = Self> {
        std::iter::successors(Some(Self::AdapterDisabled), Self::next_example)
    }

    /// The example behind this one. A new reason has to be given its place here.
    fn next_example(&self) -> Option<Self> {
        use CredentialFault as Fault;
        use RejectCondition as Condition;
        let bad = |rule, text| Self::BadRequest(rule, Cow::Borrowed(text));
        let too_fast = |rate_of| Self::MessageRateExceeded(rate_of, Duration::from_secs(1));
        let rejected = |condition| Self::Rejected(condition, Some("temperature is missing".into()));
        Some(match self {
            Self::AdapterDisabled => bad(Rule::Address, "malformed topic name"),
            Self::BadRequest(Rule::Address, _) => bad(
                Rule::ContentType,
                "content type [text/plain] does not match payload",
            ),
            Self::BadRequest(Rule::ContentType, _) => {
                bad(Rule::Encoding, "request URI cannot be decoded")
            }
            Self::BadRequest(Rule::Encoding, _) => {
                bad(Rule::Qos, "Only QoS 1 supported for event messages")
            }
            Self::BadRequest(Rule::Qos, _) => Self::ConnectionDurationExceeded,
            Self::ConnectionDurationExceeded => Self::CredentialExpired,
            Self::CredentialExpired => Self::DataVolumeExceeded,
            Self::DataVolumeExceeded => Self::DeviceLimitReached,
            Self::DeviceLimitReached => Self::DeviceUnknown,
            Self::DeviceUnknown => Self::DownstreamUnavailable,
            Self::DownstreamUnavailable => Self::EventStoreFull,
            Self::EventStoreFull => Self::ForeignTenant,
            Self::ForeignTenant => Self::GatewayNotAuthorised,
            Self::GatewayNotAuthorised => Self::GatewayUnknown,
            Self::GatewayUnknown => Self::InstanceConnectionsExceeded,
            Self::InstanceConnectionsExceeded => Self::Internal,
            Self::Internal => too_fast(RateOf::Device),
            Self::MessageRateExceeded(RateOf::Device, _) => too_fast(RateOf::Tenant),
            Self::MessageRateExceeded(RateOf::Tenant, _) => Self::Modified,
            Self::Modified => Self::NoConsumer,
            Self::NoConsumer => Self::NoCredit,
            Self::NoCredit => Self::NoSuchEndpoint,
            Self::NoSuchEndpoint => Self::NotAnnounced,
            Self::NotAnnounced => Self::OutcomeTimeout,
            Self::OutcomeTimeout => Self::PayloadTooLarge,
            Self::PayloadTooLarge => Self::RegistryUnavailable,
            Self::RegistryUnavailable => rejected(Condition::InternalError),
            Self::Rejected(Condition::InternalError, _) => {
                rejected(Condition::ResourceLimitExceeded)
            }
            Self::Rejected(Condition::ResourceLimitExceeded, _) => {
                rejected(Condition::UnauthorizedAccess)
            }
            Self::Rejected(Condition::UnauthorizedAccess, _) => rejected(Condition::Other),
            Self::Rejected(Condition::Other, _) => Self::Released,
            Self::Released => Self::ShuttingDown,
            Self::ShuttingDown => Self::TenantConnectionsExceeded,
            Self::TenantConnectionsExceeded => Self::TenantDisabled,
            Self::TenantDisabled => Self::TenantUnknown,
            Self::TenantUnknown => Self::Unauthorized(Fault::Malformed),
            Self::Unauthorized(Fault::Malformed) => Self::Unauthorized(Fault::Missing),
            Self::Unauthorized(Fault::Missing) => Self::Unauthorized(Fault::Untrusted),
            Self::Unauthorized(Fault::Untrusted) => Self::Unauthorized(Fault::Wrong),
            Self::Unauthorized(Fault::Wrong) => Self::UndeliverableHere,
            Self::UndeliverableHere => Self::Unsettled,
            Self::Unsettled => return None,
        })
    }

    /// How a connection attempt that failed for this reason is counted.
    pub fn attempt_outcome(&self) -> AttemptOutcome {
        match self {
            Self::AdapterDisabled | Self::TenantDisabled => AttemptOutcome::AdapterDisabled,
            Self::ConnectionDurationExceeded => AttemptOutcome::ConnectionDurationExceeded,
            Self::DataVolumeExceeded => AttemptOutcome::DataVolumeExceeded,
            Self::DeviceLimitReached
            | Self::DeviceUnknown
            | Self::GatewayNotAuthorised
            | Self::GatewayUnknown => AttemptOutcome::RegistrationAssertionFailure,
            Self::InstanceConnectionsExceeded => AttemptOutcome::AdapterConnectionsExceeded,
            Self::CredentialExpired | Self::TenantUnknown | Self::Unauthorized(_) => {
                AttemptOutcome::Unauthorized
            }
            Self::TenantConnectionsExceeded => AttemptOutcome::TenantConnectionsExceeded,
            Self::DownstreamUnavailable
            | Self::NotAnnounced
            | Self::RegistryUnavailable
            | Self::ShuttingDown => AttemptOutcome::Unavailable,
            _ => AttemptOutcome::Unknown,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.text(), self.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_is_without_an_example() {
        let examples: Vec<_> = Reason::examples().take(100).collect();
        // Each is behind all before it, so none is left out by going round in a circle.
        assert!(examples.is_sorted_by_key(Reason::name));
        for (place, example) in examples.iter().enumerate() {
            assert!(!examples[..place].contains(example), "{example:?} twice");
        }
        assert!(
            examples
                .last()
                .is_some_and(|last| last.next_example().is_none())
        );
    }
}
