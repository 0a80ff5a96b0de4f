//! Labels of what is not a device's message: AMQP deliveries, log-ins of services.

/// Label `type` of what an AMQP message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmqpType {
    /// Telemetry data.
    Telemetry,
    /// An event.
    Event,
    /// A device's answer to a command.
    CommandResponse,
    /// A question to the registry about a device.
    Registration,
    /// A question to the registry about credentials.
    Credentials,
    /// A question to the registry about a tenant.
    Tenant,
}

impl AmqpType {
    /// All values, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Telemetry,
        Self::Event,
        Self::CommandResponse,
        Self::Registration,
        Self::Credentials,
        Self::Tenant,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CommandResponse => "command_response",
            Self::Credentials => "credentials",
            Self::Event => "event",
            Self::Registration => "registration",
            Self::Telemetry => "telemetry",
            Self::Tenant => "tenant",
        }
    }
}

/// Label `outcome` of an AMQP delivery: the receiver's disposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The connection or link ended before there was one.
    Aborted,
    /// Taken.
    Accepted,
    /// The coordinator's answer to a declaration.
    Declared,
    /// Given back, changed.
    Modified,
    /// Received, and nothing said yet.
    Received,
    /// Refused for good.
    Rejected,
    /// Given back.
    Released,
    /// Part of a transaction.
    TransactionalState,
}

impl DeliveryOutcome {
    /// All values, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Aborted,
        Self::Accepted,
        Self::Declared,
        Self::Modified,
        Self::Received,
        Self::Rejected,
        Self::Released,
        Self::TransactionalState,
    ];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Accepted => "accepted",
            Self::Declared => "declared",
            Self::Modified => "modified",
            Self::Received => "received",
            Self::Rejected => "rejected",
            Self::Released => "released",
            Self::TransactionalState => "transactionalState",
        }
    }
}

/// Label `outcome` of a log-in of an application or service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationOutcome {
    /// It is who it says.
    Succeeded,
    /// Its credentials are not good.
    Unauthorized,
    /// A service the check needs cannot be reached.
    Unavailable,
}

impl AuthenticationOutcome {
    /// All values, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Succeeded, Self::Unauthorized, Self::Unavailable];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Label `client_type`: on whose behalf somebody's identity is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientType {
    /// A service's, such as the management API.
    AuthService,
    /// The messaging network's, which applications connect to.
    DispatchRouter,
    /// Anybody else's.
    Unknown,
}

impl ClientType {
    /// All values, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::AuthService, Self::DispatchRouter, Self::Unknown];

    /// The label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthService => "auth-service",
            Self::DispatchRouter => "dispatch-router",
            Self::Unknown => "unknown",
        }
    }
}

/// The name that the registry of TLS parameters has for a cipher suite, of the one that rustls has:
/// there is a difference for TLS 1.3 alone. It is the value of the label `cipher_suite`.
pub fn cipher_suite(rustls: &'static str) -> &'static str {
    match rustls {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_order_of_their_numbers() {
        for (index, value) in AmqpType::ALL.into_iter().enumerate() {
            assert_eq!(value as usize, index, "{value:?}");
        }
        for (index, value) in DeliveryOutcome::ALL.into_iter().enumerate() {
            assert_eq!(value as usize, index, "{value:?}");
        }
        for (index, value) in AuthenticationOutcome::ALL.into_iter().enumerate() {
            assert_eq!(value as usize, index, "{value:?}");
        }
        for (index, value) in ClientType::ALL.into_iter().enumerate() {
            assert_eq!(value as usize, index, "{value:?}");
        }
    }

    #[test]
    fn cipher_suites_of_tls_1_3_have_their_registered_names() {
        let suites = [
            ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            (
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            ),
        ];
        for (rustls, registered) in suites {
            assert_eq!(cipher_suite(rustls), registered);
        }
    }
}
