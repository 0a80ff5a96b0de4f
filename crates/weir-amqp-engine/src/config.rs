//! What the owner of a connection decides before it starts.

use std::time::Duration;

use serde_amqp::Value;

/// Limits and announcements of one connection. `Default` is meant for production.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name in the open frame.
    pub container_id: String,
    /// Client: the virtual host asked for, in SASL and in the open frame. Ignored by a server.
    pub hostname: Option<String>,
    /// The largest frame accepted. A whole frame must fit in memory before it is read, so this is also what one
    /// peer can make us buffer. At least 512 [2.4.1].
    pub max_frame_size: u32,
    /// The highest channel number, hence one less than the number of sessions.
    pub channel_max: u16,
    /// The highest link handle, hence one less than the number of links a session can have. Handle tables grow to
    /// the highest handle in use, so keep it moderate; values above 65,535 are cut to that.
    pub handle_max: u32,
    /// A peer silent for longer is closed. Half of it is what the peer is told [2.4.5], so that a peer which sends
    /// something just in time has slack. A peer that takes none of the output for as long is to be left as well, by
    /// [whoever writes it](crate::Connection::idle_timeout).
    pub idle_timeout: Option<Duration>,
    /// Transfer frames a peer may send per session before it must wait for us.
    pub incoming_window: u32,
    /// Outgoing deliveries of a session that may wait for an outcome at once. One that waits while 2^31 others are
    /// sent is given up, as its id would become ambiguous.
    pub max_unsettled: usize,
    /// The largest incoming message. A link may ask for less.
    pub max_message_size: u64,
    /// Bytes of messages received in part, summed over the links of the connection.
    pub max_partial_bytes: usize,
    /// Nothing more is sent while this many bytes wait to be written.
    pub output_high_water: usize,
    /// From the first instant to both open frames.
    pub handshake_timeout: Duration,
    /// How long a peer may take to answer our close.
    pub close_timeout: Duration,
    /// Server: the SASL mechanisms offered. Empty means that there is no SASL layer at all.
    pub sasl_mechanisms: Vec<&'static str>,
    /// Announced in the open frame.
    pub offered_capabilities: Vec<String>,
    /// Announced in the open frame.
    pub desired_capabilities: Vec<String>,
    /// Announced in the open frame.
    pub properties: Vec<(String, Value)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            container_id: "weir".to_owned(),
            hostname: None,
            max_frame_size: 65_536,
            channel_max: 31,
            handle_max: 1023,
            idle_timeout: Some(Duration::from_secs(60)),
            incoming_window: 2048,
            max_unsettled: 4096,
            max_message_size: 1 << 20,
            max_partial_bytes: 8 << 20,
            output_high_water: 256 << 10,
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            sasl_mechanisms: Vec::new(),
            offered_capabilities: Vec::new(),
            desired_capabilities: Vec::new(),
            properties: Vec::new(),
        }
    }
}

/// How a client proves who it is.
#[derive(Clone)]
pub enum ClientSasl {
    /// No SASL layer: straight to AMQP.
    None,
    /// Nobody in particular.
    Anonymous,
    /// Name and password, [RFC 4616].
    Plain {
        /// Authentication identity.
        username: String,
        /// Its secret.
        password: String,
    },
    /// What the TLS layer has already proven.
    External,
}

impl ClientSasl {
    /// The mechanism's registered name; `None` without a SASL layer.
    pub(crate) fn mechanism(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Anonymous => Some("ANONYMOUS"),
            Self::Plain { .. } => Some("PLAIN"),
            Self::External => Some("EXTERNAL"),
        }
    }

    /// The initial response that goes with it.
    pub(crate) fn response(&self) -> Vec<u8> {
        match self {
            Self::Plain { username, password } => {
                let mut response = Vec::with_capacity(2 + username.len() + password.len());
                response.push(0);
                response.extend_from_slice(username.as_bytes());
                response.push(0);
                response.extend_from_slice(password.as_bytes());
                response
            }
            _ => Vec::new(),
        }
    }
}

impl std::fmt::Debug for ClientSasl {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.mechanism().unwrap_or("None"))
    }
}
