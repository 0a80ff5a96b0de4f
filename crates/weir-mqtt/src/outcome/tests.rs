//! Walks the failure matrix of the device contract (§8), columns MQTT CONN and MQTT MSG.

use std::borrow::Cow;
use std::time::Duration;

use weir_core::{CredentialFault, RateOf};

use super::*;

const PACKET: Option<NonZeroU16> = NonZeroU16::new(7);

/// §8.1, §8.2 and §3.3: reason, CONNACK in version 3.1.1, CONNACK in version 5.
#[test]
fn connections() {
    let rows = [
        // no credentials, malformed user name, wrong password, unknown tenant, ...
        (Reason::Unauthorized(CredentialFault::Wrong), 0x04, 0x86),
        (Reason::TenantUnknown, 0x04, 0x86),
        (Reason::CredentialExpired, 0x04, 0x86),
        (Reason::TenantDisabled, 0x05, 0x87),
        (Reason::AdapterDisabled, 0x05, 0x87),
        (Reason::DeviceUnknown, 0x05, 0x87),
        (Reason::GatewayUnknown, 0x05, 0x87),
        (Reason::GatewayNotAuthorised, 0x05, 0x87),
        (Reason::RegistryUnavailable, 0x03, 0x88),
        (Reason::DownstreamUnavailable, 0x03, 0x88),
        (Reason::ShuttingDown, 0x03, 0x88),
        (Reason::InstanceConnectionsExceeded, 0x03, 0x9c),
        // other service failures; any other exception
        (Reason::NoSuchEndpoint, 0x05, 0x87),
        (Reason::Internal, 0x05, 0x80),
    ];
    for (reason, v3, v5) in rows {
        let code = connect_code(&reason);
        assert_eq!(
            (u8::from(code.v3), u8::from(code.v5)),
            (v3, v5),
            "{reason:?}"
        );
    }
}

fn bad(rule: Rule) -> Reason {
    Reason::BadRequest(rule, Cow::Borrowed("text"))
}

fn too_fast(rate_of: RateOf) -> Reason {
    Reason::MessageRateExceeded(rate_of, Duration::from_secs(1))
}

/// §8.1 to §8.4: the reason with its status, whether it is terminal for a message of the
/// connected device's own, and what an MQTT 5 client is told when the connection ends.
#[test]
fn messages() {
    use RejectCondition::{InternalError, Other, ResourceLimitExceeded, UnauthorizedAccess};
    let rows = [
        (Reason::TenantUnknown, 404, true, 0x87),
        (Reason::TenantDisabled, 403, true, 0x87),
        (Reason::AdapterDisabled, 403, true, 0x87),
        (Reason::DeviceUnknown, 404, true, 0x87),
        (Reason::GatewayUnknown, 403, true, 0x87),
        (Reason::GatewayNotAuthorised, 403, true, 0x87),
        (Reason::ForeignTenant, 403, false, 0x87),
        (Reason::CredentialExpired, 401, true, 0x87),
        (Reason::RegistryUnavailable, 503, false, 0x89),
        (Reason::NoSuchEndpoint, 404, false, 0x90),
        (bad(Rule::Address), 400, false, 0x90),
        (bad(Rule::Qos), 400, false, 0x9b),
        (bad(Rule::ContentType), 400, false, 0x99),
        (bad(Rule::Encoding), 400, false, 0x82),
        (Reason::PayloadTooLarge, 413, false, 0x95),
        (Reason::DataVolumeExceeded, 429, false, 0x97),
        (too_fast(RateOf::Device), 429, false, 0x96),
        (too_fast(RateOf::Tenant), 429, false, 0x96),
        (Reason::NoConsumer, 503, false, 0x83),
        (Reason::NoCredit, 503, false, 0x89),
        (Reason::Released, 503, false, 0x83),
        (Reason::Modified, 503, false, 0x83),
        (Reason::UndeliverableHere, 404, false, 0x83),
        (Reason::Rejected(Other, None), 400, false, 0x83),
        (Reason::Rejected(InternalError, None), 500, false, 0x83),
        (Reason::Rejected(UnauthorizedAccess, None), 403, false, 0x87),
        (
            Reason::Rejected(ResourceLimitExceeded, None),
            503,
            false,
            0x97,
        ),
        (Reason::OutcomeTimeout, 503, false, 0x89),
        (Reason::DownstreamUnavailable, 503, false, 0x89),
        (Reason::ShuttingDown, 503, false, 0x8b),
        (Reason::Internal, 500, false, 0x80),
        (Reason::EventStoreFull, 503, false, 0x97),
        (Reason::Unsettled, 500, false, 0x80),
    ];
    for (reason, status, terminal, code) in rows {
        assert_eq!(reason.status(), status, "{reason:?}");
        assert_eq!(reason.is_terminal(true), terminal, "{reason:?}");
        let refusal = Refusal { reason, terminal };
        let Consequence::Close(told) = consequence(&refusal, OnError::Default, PACKET, false)
        else {
            panic!("{refusal:?} does not close the connection");
        };
        assert_eq!(u8::from(told), code, "{refusal:?}");
    }
}

/// §3.6: the mode; what follows with QoS 1 and QoS 0, as long as the device is told nothing of it; the
/// same if it has subscribed to such errors.
#[test]
fn what_the_device_asked_for() {
    let close = Consequence::Close(Code::ImplementationSpecificError);
    let acknowledge = Consequence::Acknowledge(NonZeroU16::MIN.saturating_add(6));
    let nothing = Consequence::Nothing;
    let rows = [
        (
            OnError::Default,
            [close.clone(), close.clone()],
            [acknowledge.clone(), nothing.clone()],
        ),
        (
            OnError::Disconnect,
            [close.clone(), close.clone()],
            [close.clone(), close],
        ),
        (
            OnError::Ignore,
            [acknowledge.clone(), nothing.clone()],
            [acknowledge, nothing.clone()],
        ),
        (
            OnError::SkipAck,
            [nothing.clone(), nothing.clone()],
            [nothing.clone(), nothing],
        ),
    ];
    let refusal = |reason, terminal| Refusal { reason, terminal };
    for (mode, untold, told) in rows {
        for (is_told, [with_qos1, with_qos0]) in [(false, untold), (true, told)] {
            let no_consumer = refusal(Reason::NoConsumer, false);
            let of = |packet_id| consequence(&no_consumer, mode, packet_id, is_told);
            assert_eq!(of(PACKET), with_qos1, "{mode:?} {is_told}");
            assert_eq!(of(None), with_qos0, "{mode:?} {is_told}");
            let terminal = refusal(Reason::TenantDisabled, true);
            let closed = Consequence::Close(Code::NotAuthorized);
            for packet_id in [PACKET, None] {
                let follows = consequence(&terminal, mode, packet_id, is_told);
                assert_eq!(follows, closed, "{mode:?} {is_told}");
            }
        }
    }
}
