//! From a reason to what the device gets to see (device contract §3.3, §3.6).

use std::num::NonZeroU16;

use rmqtt_codec::v3::ConnectAckReason as V3Code;
use rmqtt_codec::v5::ConnectAckReason as V5Code;
use rmqtt_codec::v5::DisconnectReasonCode as Code;
use weir_core::{Reason, Refusal, RejectCondition, Rule};

use crate::bag::OnError;

/// What CONNACK says, in each version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectCode {
    pub(crate) v3: V3Code,
    pub(crate) v5: V5Code,
}

/// What becomes of a connection after one of its messages was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// It ends, and the message stays without an answer.
    Close(Code),
    /// It goes on; the message is acknowledged all the same, as refused where the version can.
    Acknowledge(NonZeroU16),
    /// It goes on without an answer.
    Nothing,
}

/// How a refusal shows.
struct Answer {
    /// Of a connection.
    connack: ConnectCode,
    /// Of a message that ends its connection, to MQTT 5 clients.
    disconnect: Code,
}

/// The codes that an MQTT device is told when it or one of its messages is refused for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MqttAnswer {
    /// In CONNACK of version 3.1.1 (MQTT 3.1.1 §3.2.2.3).
    pub connack_v3: u8,
    /// In CONNACK of version 5 (MQTT 5 §3.2.2.2).
    pub connack_v5: u8,
    /// In DISCONNECT of version 5, if the connection ends because of a message (MQTT 5 §3.14.2.1).
    pub disconnect_v5: u8,
}

/// The codes that this adapter has for this reason, for those who document it. Not every reason comes up
/// in every place.
pub fn answer_to(reason: &Reason) -> MqttAnswer {
    let Answer {
        connack: ConnectCode { v3, v5 },
        disconnect,
    } = answer(reason);
    MqttAnswer {
        connack_v3: v3.into(),
        connack_v5: v5.into(),
        disconnect_v5: disconnect.into(),
    }
}

/// What CONNACK says to a client that may not connect.
pub(crate) fn connect_code(reason: &Reason) -> ConnectCode {
    answer(reason).connack
}

/// What follows from the refusal of a message that was published with `packet_id` (QoS 1) or
/// without.
///
/// A terminal error ends the connection whatever the device asked for. Otherwise it is asked; its
/// default is to go on if `is_told`, because it has subscribed to the errors of such messages, and to
/// disconnect if not.
pub(crate) fn consequence(
    refusal: &Refusal,
    on_error: OnError,
    packet_id: Option<NonZeroU16>,
    is_told: bool,
) -> Consequence {
    let on_error = match on_error {
        OnError::Default if is_told => OnError::Ignore,
        OnError::Default => OnError::Disconnect,
        asked => asked,
    };
    match on_error {
        _ if refusal.terminal => Consequence::Close(disconnect_code(&refusal.reason)),
        OnError::Default | OnError::Disconnect => {
            Consequence::Close(disconnect_code(&refusal.reason))
        }
        OnError::Ignore => packet_id.map_or(Consequence::Nothing, Consequence::Acknowledge),
        OnError::SkipAck => Consequence::Nothing,
    }
}

/// Whether somebody is told that he is not who he says.
pub(crate) fn is_wrong_login(reason: &Reason) -> bool {
    connect_code(reason).v3 == V3Code::BadUserNameOrPassword
}

/// Whether somebody is told that he may not do what he asked for.
pub(crate) fn is_about_rights(reason: &Reason) -> bool {
    disconnect_code(reason) == Code::NotAuthorized
}

/// What an MQTT 5 client is told when its connection ends because a message was refused.
fn disconnect_code(reason: &Reason) -> Code {
    answer(reason).disconnect
}

fn answer(reason: &Reason) -> Answer {
    let bad_credentials = (V3Code::BadUserNameOrPassword, V5Code::BadUserNameOrPassword);
    let not_authorized = (V3Code::NotAuthorized, V5Code::NotAuthorized);
    let unavailable = (V3Code::ServiceUnavailable, V5Code::ServerUnavailable);
    let ((v3, v5), disconnect) = match reason {
        Reason::CredentialExpired | Reason::TenantUnknown | Reason::Unauthorized(_) => {
            (bad_credentials, Code::NotAuthorized)
        }
        Reason::AdapterDisabled
        | Reason::DeviceUnknown
        | Reason::ForeignTenant
        | Reason::GatewayNotAuthorised
        | Reason::GatewayUnknown
        | Reason::Rejected(RejectCondition::UnauthorizedAccess, _)
        | Reason::TenantDisabled => (not_authorized, Code::NotAuthorized),
        Reason::BadRequest(Rule::Address, _) | Reason::NoSuchEndpoint => {
            (not_authorized, Code::TopicNameInvalid)
        }
        Reason::BadRequest(Rule::ContentType, _) => (not_authorized, Code::PayloadFormatInvalid),
        Reason::BadRequest(Rule::Encoding, _) => (not_authorized, Code::ProtocolError),
        Reason::BadRequest(Rule::Qos, _) => (not_authorized, Code::QosNotSupported),
        Reason::DeviceLimitReached => (not_authorized, Code::QuotaExceeded),
        Reason::ConnectionDurationExceeded
        | Reason::DataVolumeExceeded
        | Reason::TenantConnectionsExceeded => (
            (V3Code::NotAuthorized, V5Code::QuotaExceeded),
            Code::QuotaExceeded,
        ),
        Reason::MessageRateExceeded(..) => (
            (V3Code::NotAuthorized, V5Code::QuotaExceeded),
            Code::MessageRateTooHigh,
        ),
        Reason::PayloadTooLarge => (not_authorized, Code::PacketTooLarge),
        Reason::Rejected(RejectCondition::InternalError | RejectCondition::Other, _)
        | Reason::UndeliverableHere => (not_authorized, Code::ImplementationSpecificError),
        Reason::InstanceConnectionsExceeded => (
            (V3Code::ServiceUnavailable, V5Code::UseAnotherServer),
            Code::UseAnotherServer,
        ),
        Reason::DownstreamUnavailable
        | Reason::NoCredit
        | Reason::NotAnnounced
        | Reason::OutcomeTimeout
        | Reason::RegistryUnavailable => (unavailable, Code::ServerBusy),
        Reason::Modified | Reason::NoConsumer | Reason::Released => {
            (unavailable, Code::ImplementationSpecificError)
        }
        Reason::EventStoreFull | Reason::Rejected(RejectCondition::ResourceLimitExceeded, _) => {
            (unavailable, Code::QuotaExceeded)
        }
        Reason::ShuttingDown => (unavailable, Code::ServerShuttingDown),
        Reason::Internal | Reason::Unsettled => (
            (V3Code::NotAuthorized, V5Code::UnspecifiedError),
            Code::UnspecifiedError,
        ),
    };
    Answer {
        connack: ConnectCode { v3, v5 },
        disconnect,
    }
}

#[cfg(test)]
mod tests;
