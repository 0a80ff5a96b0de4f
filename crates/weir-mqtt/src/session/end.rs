//! How a connection ends, and why.

use std::time::Instant;

use rmqtt_codec::v5::DisconnectReasonCode;
use weir_core::{DeviceId, LogLimit, Protocol, Reason, Refusal, TenantId};
use weir_metrics::MqttCount;

use crate::client::Own;
use crate::codec::Violation;

/// How a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The peer is gone, or takes nothing any more: nobody is left to be told anything.
    Gone,
    /// The peer has said that it goes.
    Left,
    /// We end it.
    Close(DisconnectReasonCode, Ending),
}

/// Why we end a connection.
#[derive(Debug)]
pub(super) enum Ending {
    Violation(&'static str),
    Refused(Reason),
    /// The connected device's, or its tenant's.
    RegistrationEnded(Reason),
    Silence,
    Shutdown,
}

impl End {
    /// Whether it is because the device's registration has ended.
    pub(super) fn is_unregistered(&self) -> bool {
        matches!(self, Self::Close(_, Ending::RegistrationEnded(_)))
    }

    pub(super) fn counted(&self) -> MqttCount {
        match self {
            Self::Left => MqttCount::EndedNormal,
            Self::Gone => MqttCount::EndedClosed,
            Self::Close(_, ending) => match ending {
                Ending::Violation(_) => MqttCount::EndedViolation,
                Ending::Refused(_) => MqttCount::EndedRefused,
                Ending::RegistrationEnded(_) => MqttCount::EndedUnregistered,
                Ending::Silence => MqttCount::EndedSilent,
                Ending::Shutdown => MqttCount::EndedShutdown,
            },
        }
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Close(violation.code, Ending::Violation(violation.text))
    }
}

impl From<Refusal> for Ending {
    fn from(Refusal { reason, terminal }: Refusal) -> Self {
        match reason {
            // It is not terminal for a gateway that another device is gone.
            Reason::DeviceUnknown
            | Reason::GatewayUnknown
            | Reason::TenantDisabled
            | Reason::TenantUnknown
                if terminal =>
            {
                Self::RegistrationEnded(reason)
            }
            other => Self::Refused(other),
        }
    }
}

/// What a device does over and over is told a few times a second.
static ENDED: LogLimit = LogLimit::new();

impl Ending {
    /// Tells operators of what nobody else tells them: a message or a registration that is refused is
    /// logged already.
    pub(super) fn log(&self, code: DisconnectReasonCode, own: Own<'_>) {
        let text = match self {
            Self::Violation(text) => text,
            Self::Silence => "silent for longer than its keep-alive",
            Self::Refused(_) | Self::RegistrationEnded(_) | Self::Shutdown => return,
        };
        if let Some(unlogged) = ENDED.admit(Instant::now()) {
            let (tenant, device) = own.unzip();
            tracing::info!(
                protocol = Protocol::Mqtt.type_name(),
                tenant = tenant.map(TenantId::as_str),
                device = device.map(DeviceId::as_str),
                ?code,
                text,
                unlogged,
                "connection ended"
            );
        }
    }

    /// What an MQTT 5 client is told in words.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Violation(text) => Some(text),
            Self::Refused(reason) | Self::RegistrationEnded(reason) => Some(reason.text()),
            Self::Silence | Self::Shutdown => None,
        }
    }
}
