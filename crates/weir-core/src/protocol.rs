//! The protocols devices speak.

use weir_metrics::{Component, ComponentType};

/// A protocol that devices speak. The list is closed: what differs between protocols in the shared
/// path is decided here and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// MQTT 3.1.1 and 5.
    Mqtt,
}

/// How a connection has come: in which protocol, and how it is kept secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What the device speaks.
    pub protocol: Protocol,
    /// What TLS encrypts with, as rustls calls it; none without TLS.
    pub cipher_suite: Option<&'static str>,
}

/// Without TLS.
impl From<Protocol> for Channel {
    fn from(protocol: Protocol) -> Self {
        Self {
            protocol,
            cipher_suite: None,
        }
    }
}

/// When a message's content type is held against its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentRule {
    /// Before the device's registration is asserted; a mismatch is not counted.
    BeforeAssertion,
    /// After it; a mismatch is counted.
    AfterAssertion,
}

impl Protocol {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Http, Self::Mqtt];

    /// Hono's adapter type name: what a tenant's `adapters` lists, the message property
    /// `orig_adapter`, and the metrics label `component_name`.
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Http => "hono-http",
            Self::Mqtt => "hono-mqtt",
        }
    }

    /// The component that reports this protocol's series.
    pub const fn component(self) -> Component {
        Component {
            kind: ComponentType::Adapter,
            name: self.type_name(),
        }
    }

    /// Where Hono's adapter for this protocol places the content-type rule.
    pub const fn content_rule(self) -> ContentRule {
        match self {
            Self::Http => ContentRule::BeforeAssertion,
            Self::Mqtt => ContentRule::AfterAssertion,
        }
    }
}
