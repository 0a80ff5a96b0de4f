//! The adapter's section of the configuration.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::LONGEST;

/// What a packet may hold beyond the payload, for topic and packet id (device contract §1.11).
const TOPIC_ALLOWANCE: usize = 128;
/// A CONNECT comes from somebody unknown and is held in memory until it is complete.
const LONGEST_CONNECT: usize = 16 * 1024;

/// The MQTT adapter: MQTT 3.1.1 and 5 on one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MqttConfig {
    /// Whether the adapter runs. Default: true.
    pub enabled: bool,
    /// The address to listen on. Default: 127.0.0.1, this host only.
    pub bind: IpAddr,
    /// The TCP port to listen on, 0 to 65535; 0 takes a free one. Default: 1883.
    pub port: u16,
    /// Whether to listen without TLS on an address that other hosts can reach. Default: false.
    pub allow_insecure: bool,
    /// Whether the port without TLS is open; if not, a certificate is needed. Default: true.
    pub plain: bool,
    /// TCP port with TLS, 0 to 65535; 0 takes a free one. It is open if there is a certificate.
    /// Default: 8883.
    pub tls_port: u16,
    /// Certificate chain of this listener alone, PEM; instead of `tls.certificate`.
    pub tls_certificate: Option<PathBuf>,
    /// The private key that belongs to `tls_certificate`, PEM.
    pub tls_key: Option<PathBuf>,
    /// Whether clients may also speak MQTT over WebSockets, at the path `/mqtt` of the HTTP adapter's ports;
    /// browsers only from pages of `http.cors_allowed_origin`. Where devices have to say who they are over
    /// HTTP and not over MQTT, they may not. Default: true.
    pub websockets: bool,
    /// Whether devices have to say who they are. If not, each may send for any device there is: every
    /// topic then names tenant and device, and their registration is all that is checked.
    /// Default: true.
    pub authentication_required: bool,
    /// The largest payload, in bytes, 0 to 268435327. What is held against it is the packet: one whose
    /// remaining length exceeds it by more than 128, for the topic, ends its connection (as Hono has it,
    /// so a payload may have a few bytes more). Default: 2048.
    pub max_payload_size: usize,
    /// Seconds in which a connection has to send its CONNECT, and then the gateway to check it;
    /// 1 to 600, anything else counts as the nearest of the two. Hono allows 90, which lets a
    /// silent peer hold a place for long; half a minute is enough for slow radio links.
    /// Default: 30.
    pub connect_timeout: u64,
    /// PUBLISHes of one connection that may wait for their outcome at the same time, 1 to 65535.
    /// When there are as many, nothing more is read from the connection. MQTT 5 clients are told
    /// it as Receive Maximum. Default: 64.
    pub max_in_flight: NonZeroU16,
    /// The longest keep-alive of MQTT 5 clients, in seconds, 0 to 65535; 0 is none. A client that asks
    /// for a longer one, or for none, is told this one as Server Keep Alive, and is closed when it has
    /// been silent for one and a half times as long. Clients of MQTT 3.1.1 cannot be told, and keep
    /// theirs. Default: 0.
    pub max_keep_alive: u16,
    /// Milliseconds in which a command has to be with its device, waiting included, and with QoS 1
    /// acknowledged; 1 to 7000, anything else counts as the nearest of the two. After that the
    /// application is told to send it again. Default: 1000.
    pub command_timeout: u64,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 1883,
            allow_insecure: false,
            plain: true,
            tls_port: 8883,
            tls_certificate: None,
            tls_key: None,
            websockets: true,
            authentication_required: true,
            max_payload_size: 2048,
            connect_timeout: 30,
            max_in_flight: NonZeroU16::MIN.saturating_add(63),
            max_keep_alive: 0,
            command_timeout: 1000,
        }
    }
}

impl MqttConfig {
    /// The largest remaining length of a packet.
    pub(crate) fn packet_limit(&self) -> usize {
        self.max_payload_size
            .saturating_add(TOPIC_ALLOWANCE)
            .min(LONGEST)
    }

    /// The largest remaining length of a CONNECT.
    pub(crate) fn connect_limit(&self) -> usize {
        self.packet_limit().min(LONGEST_CONNECT)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout.clamp(1, 600))
    }

    /// Seconds that a client which can be told has to take in place of the keep-alive it asked for.
    pub(crate) fn keep_alive_instead_of(&self, asked: u16) -> Option<u16> {
        let most = self.max_keep_alive;
        // Asking for 0 is asking for none.
        (most > 0 && (asked == 0 || asked > most)).then_some(most)
    }

    /// Milliseconds. Shorter than what core grants a command on its whole way.
    pub(crate) fn command_timeout(&self) -> u16 {
        u16::try_from(self.command_timeout.clamp(1, 7000)).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_stand_in_for_what_is_left_out() {
        let config: MqttConfig = toml::from_str("max_payload_size = 100").unwrap();
        let expected = MqttConfig {
            max_payload_size: 100,
            ..MqttConfig::default()
        };
        assert_eq!(config, expected);
        assert_eq!(config.max_in_flight.get(), 64);
        assert_eq!(config.packet_limit(), 228);
    }

    #[test]
    fn unknown_keys_and_no_place_at_all_are_refused() {
        assert!(toml::from_str::<MqttConfig>("max_payload = 1").is_err());
        assert!(toml::from_str::<MqttConfig>("max_in_flight = 0").is_err());
    }

    #[test]
    fn only_a_keep_alive_that_is_longer_or_none_is_replaced() {
        let instead = |most, asked| {
            let config = MqttConfig {
                max_keep_alive: most,
                ..MqttConfig::default()
            };
            config.keep_alive_instead_of(asked)
        };
        let rows = [
            (0, 0, None),
            (0, u16::MAX, None),
            (60, 0, Some(60)),
            (60, 1, None),
            (60, 60, None),
            (60, 61, Some(60)),
            (u16::MAX, 0, Some(u16::MAX)),
        ];
        for (most, asked, expected) in rows {
            assert_eq!(instead(most, asked), expected, "{most} {asked}");
        }
    }

    #[test]
    fn limits_stay_within_what_the_protocol_and_prudence_allow() {
        let config = MqttConfig {
            max_payload_size: usize::MAX,
            connect_timeout: 0,
            command_timeout: 60_000,
            ..MqttConfig::default()
        };
        assert_eq!(config.packet_limit(), LONGEST);
        assert_eq!(config.connect_limit(), LONGEST_CONNECT);
        assert_eq!(config.connect_timeout(), Duration::from_secs(1));
        assert_eq!(config.command_timeout(), 7000);
    }
}
