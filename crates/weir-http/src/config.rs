//! The adapter's configuration, plain data.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The HTTP adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Whether the adapter runs. Default: true.
    pub enabled: bool,
    /// Address to listen on. Default: 127.0.0.1.
    pub bind: IpAddr,
    /// TCP port, 0 to 65535; 0 takes a free one. Default: 8080.
    pub port: u16,
    /// Whether plain HTTP is allowed on an address that other hosts can reach. Default: false.
    pub allow_insecure: bool,
    /// Whether the port without TLS is open; if not, a certificate is needed. Default: true.
    pub plain: bool,
    /// TCP port with TLS, 0 to 65535; 0 takes a free one. It is open if there is a certificate.
    /// Default: 8443.
    pub tls_port: u16,
    /// Certificate chain of this listener alone, PEM; instead of `tls.certificate`.
    pub tls_certificate: Option<PathBuf>,
    /// The private key that belongs to `tls_certificate`, PEM.
    pub tls_key: Option<PathBuf>,
    /// Whether devices have to say who they are. If not, each may send for any device there is: every
    /// address then names tenant and device, and their registration is all that is checked.
    /// Default: true.
    pub authentication_required: bool,
    /// Largest payload of an upload, in bytes; one of exactly this size is accepted. Default: 2048.
    pub max_payload_size: usize,
    /// Seconds after which a connection is closed that sends no request, does not finish the head
    /// or the body of one, or does not read its answers; at least 1 (0 counts as 1). A client with HTTP/2
    /// that is silent for a third of this, at most 25 seconds, is asked whether it is there, and has half
    /// of this to say so, even while it waits for a command. Default: 75.
    #[schemars(range(min = 1))]
    pub idle_timeout: u64,
    /// Realm that devices without credentials are asked to authenticate for, printable ASCII
    /// (anything else is left out). Default: Hono.
    pub realm: String,
    /// Origin whose pages may use the adapter from a browser, or * for all; printable ASCII
    /// (anything else is left out). Default: *.
    pub cors_allowed_origin: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            allow_insecure: false,
            plain: true,
            tls_port: 8443,
            tls_certificate: None,
            tls_key: None,
            authentication_required: true,
            max_payload_size: 2048,
            idle_timeout: 75,
            realm: "Hono".to_owned(),
            cors_allowed_origin: "*".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_unknown_keys_are_refused() {
        let config: HttpConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, HttpConfig::default());
        let error = serde_json::from_str::<HttpConfig>(r#"{"prot": 80}"#).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `prot`"),
            "{error}"
        );
    }
}
