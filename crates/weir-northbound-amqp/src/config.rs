//! The configuration of the AMQP 1.0 endpoint for applications.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The AMQP 1.0 endpoint that back-end applications connect to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AmqpConfig {
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Allow listening without TLS on an address that other hosts can reach.
    pub allow_insecure: bool,
    /// Whether the port without TLS is open; if not, a certificate is needed.
    pub plain: bool,
    /// TCP port with TLS, 0 to 65535; 0 takes a free one. It is open if there is a certificate.
    pub tls_port: u16,
    /// Certificate chain of this listener alone, PEM; instead of `tls.certificate`.
    pub tls_certificate: Option<PathBuf>,
    /// The private key that belongs to `tls_certificate`, PEM.
    pub tls_key: Option<PathBuf>,
    /// Certificate authorities of applications, PEM. With it the TLS port asks for a client
    /// certificate; one that is sent has to be of X.509 version 3 and issued by these, and its common
    /// name is the user for SASL EXTERNAL. Applications without a certificate still log in with SASL PLAIN.
    pub tls_client_ca: Option<PathBuf>,
    /// File with users, passwords and permissions in the form of Hono's `permissions.json`. It is
    /// looked at every few seconds, and what has changed holds at once. It takes the place of the
    /// application's account: who is not in the file cannot log in.
    pub permissions: Option<PathBuf>,
    /// Milliseconds a consumer may take until the outcome of a message is known (Hono's
    /// sendMessageTimeout). After that the message is settled as released.
    pub outcome_timeout: u64,
    /// Messages that may wait for the credit of one consumer; more are refused.
    pub queue_messages: usize,
    /// Bytes of payload that may wait for the credit of one consumer; more are refused.
    pub queue_bytes: usize,
    /// Seconds after which an application that sends nothing, not even a heartbeat, is disconnected.
    pub idle_timeout: u64,
    /// Seconds from connecting to the end of the login.
    pub handshake_timeout: u64,
    /// Applications that may be connected at a time.
    pub max_connections: usize,
    /// Largest frame accepted, in bytes; at least 512.
    pub max_frame_size: u32,
}

impl Default for AmqpConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 15672,
            allow_insecure: false,
            plain: true,
            tls_port: 15671,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
            permissions: None,
            outcome_timeout: 1000,
            queue_messages: 1000,
            queue_bytes: 4 * 1024 * 1024,
            idle_timeout: 60,
            handshake_timeout: 10,
            max_connections: 500,
            max_frame_size: 65_536,
        }
    }
}

impl AmqpConfig {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            outcome_timeout: Duration::from_millis(self.outcome_timeout),
            queue_messages: self.queue_messages,
            queue_bytes: self.queue_bytes,
        }
    }
}

/// What one consumer link may hold up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) outcome_timeout: Duration,
    pub(crate) queue_messages: usize,
    pub(crate) queue_bytes: usize,
}
