//! Every metric family, in one table.

/// What a family's series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Count and sum of sizes, with a gauge `_max` beside them.
    Bytes,
    /// Count and sum of durations, with a gauge `_max` beside them.
    Seconds,
}

/// A metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Name {
    /// Uploads whose peer was gone before their outcome was known.
    UplinksAbandoned,
    /// Accounting size of the payloads of commands and of responses to them.
    CommandPayload,
    /// Time from receiving a command, or a response to one, to its outcome.
    CommandProcessingDuration,
    /// Connection attempts by outcome.
    ConnectionsAttempts,
    /// Open connections of authenticated devices.
    ConnectionsAuthenticated,
    /// Device-seconds connected.
    ConnectionsAuthenticatedDuration,
    /// Open connections of devices that did not authenticate.
    ConnectionsUnauthenticated,
    /// Accounting size of uploaded payloads.
    TelemetryPayload,
    /// Time from receiving an upload to its outcome.
    TelemetryProcessingDuration,
}

/// Labels every upload series carries besides the common ones.
const UPLOAD: &[&str] = &["tenant", "type", "status", "qos", "ttd"];

impl Name {
    /// All families, in the order they are rendered.
    pub const ALL: [Self; 9] = [
        Self::UplinksAbandoned,
        Self::CommandPayload,
        Self::CommandProcessingDuration,
        Self::ConnectionsAttempts,
        Self::ConnectionsAuthenticated,
        Self::ConnectionsAuthenticatedDuration,
        Self::ConnectionsUnauthenticated,
        Self::TelemetryPayload,
        Self::TelemetryProcessingDuration,
    ];

    /// The name as exposed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UplinksAbandoned => "weir_uplinks_abandoned_total",
            Self::CommandPayload => "hono_command_payload_bytes",
            Self::CommandProcessingDuration => "hono_command_processing_duration_seconds",
            Self::ConnectionsAttempts => "hono_connections_attempts_total",
            Self::ConnectionsAuthenticated => "hono_connections_authenticated",
            Self::ConnectionsAuthenticatedDuration => {
                "hono_connections_authenticated_duration_seconds"
            }
            Self::ConnectionsUnauthenticated => "hono_connections_unauthenticated",
            Self::TelemetryPayload => "hono_telemetry_payload_bytes",
            Self::TelemetryProcessingDuration => "hono_telemetry_processing_duration_seconds",
        }
    }

    /// The text of the `# HELP` line.
    pub const fn help(self) -> &'static str {
        match self {
            Self::UplinksAbandoned => {
                "Uploads whose peer was gone before their outcome was known, by what had become of them"
            }
            Self::CommandPayload => {
                "Payload of commands and responses, in steps of the tenant's minimum message size"
            }
            Self::CommandProcessingDuration => {
                "Time from receiving a command, or a response to one, to its outcome"
            }
            Self::ConnectionsAttempts => "Attempts of devices to connect, by outcome",
            Self::ConnectionsAuthenticated => "Open connections of authenticated devices",
            Self::ConnectionsAuthenticatedDuration => {
                "Time that authenticated devices have been connected, in device-seconds"
            }
            Self::ConnectionsUnauthenticated => "Open connections of unauthenticated devices",
            Self::TelemetryPayload => {
                "Payload of telemetry messages and events, in steps of the tenant's minimum message size"
            }
            Self::TelemetryProcessingDuration => {
                "Time from receiving a telemetry message or event to its outcome"
            }
        }
    }

    /// What the family's series are.
    pub const fn kind(self) -> Kind {
        match self {
            Self::ConnectionsAttempts | Self::UplinksAbandoned => Kind::Counter,
            Self::ConnectionsAuthenticated | Self::ConnectionsUnauthenticated => Kind::Gauge,
            Self::CommandPayload | Self::TelemetryPayload => Kind::Bytes,
            Self::CommandProcessingDuration
            | Self::ConnectionsAuthenticatedDuration
            | Self::TelemetryProcessingDuration => Kind::Seconds,
        }
    }

    /// Label names besides `host`, `component_type` and `component_name`, which every series has.
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::CommandPayload | Self::CommandProcessingDuration => {
                &["tenant", "status", "direction"]
            }
            Self::ConnectionsAttempts => &["tenant", "outcome", "cipher_suite"],
            Self::ConnectionsAuthenticated | Self::ConnectionsAuthenticatedDuration => &["tenant"],
            Self::UplinksAbandoned => &["tenant", "status"],
            Self::ConnectionsUnauthenticated => &[],
            Self::TelemetryPayload | Self::TelemetryProcessingDuration => UPLOAD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_all_names_is_in_order_and_complete() {
        for (index, name) in Name::ALL.iter().enumerate() {
            assert_eq!(*name as usize, index, "{name:?}");
        }
        assert_eq!(
            Name::ALL.last().map(|name| *name as usize),
            Some(Name::ALL.len() - 1)
        );
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for name in Name::ALL {
            let text = name.as_str();
            assert_eq!(
                text.ends_with("_total"),
                name.kind() == Kind::Counter,
                "{text}"
            );
            assert_eq!(
                text.ends_with("_seconds"),
                name.kind() == Kind::Seconds,
                "{text}"
            );
            assert_eq!(
                text.ends_with("_bytes"),
                name.kind() == Kind::Bytes,
                "{text}"
            );
            assert!(
                !name.help().is_empty() && !name.help().ends_with('.'),
                "{text}"
            );
        }
    }
}
