//! The section `[metrics.emqx]` of the configuration.

use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Secret;

/// The same metrics under EMQX's names, for dashboards that were made for EMQX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmqxConfig {
    /// Whether this listener is opened.
    pub enabled: bool,
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Allow listening without TLS on an address that other hosts can reach.
    pub allow_insecure: bool,
    /// Whether scrapers have to log in.
    pub authentication: bool,
    /// User name for HTTP Basic, what EMQX calls an API key or app id.
    pub key: Option<String>,
    /// The password that goes with it. Prefer to give it as an environment variable.
    pub secret: Option<Secret>,
    /// Token that scrapers may send as a Bearer token instead.
    pub token: Option<Secret>,
    /// Label `deployment_id` of the pages of EMQX's cloud.
    pub deployment_id: String,
    /// Label `deployment_type` of these.
    pub deployment_type: String,
    /// Label `platform` of these.
    pub platform: String,
}

impl Default for EmqxConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 18083,
            allow_insecure: false,
            authentication: true,
            key: None,
            secret: None,
            token: None,
            deployment_id: "weir".to_owned(),
            deployment_type: "dedicated".to_owned(),
            platform: "weir".to_owned(),
        }
    }
}

impl EmqxConfig {
    /// What is wrong although each value by itself can be read: key and message.
    pub(crate) fn mistakes(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        let mut check = |key: &str, is_right: bool, message: &str| {
            if !is_right {
                mistakes.push((format!("metrics.emqx.{key}"), message.to_owned()));
            }
        };
        let (has_key, has_secret) = (self.key.is_some(), self.secret.is_some());
        check(
            "key",
            !has_key || has_secret,
            "needs metrics.emqx.secret too",
        );
        check(
            "secret",
            !has_secret || has_key,
            "needs metrics.emqx.key too",
        );
        // A colon ends the user name (RFC 7617 §2).
        let is_name = |key: &String| !key.is_empty() && !key.contains(':');
        let is_key = self.key.as_ref().is_none_or(is_name);
        check("key", is_key, "must not be empty or contain a colon");
        let is_given = |secret: &Option<Secret>| {
            let secret = secret.as_ref();
            let is_text = |secret: &Secret| {
                let text = secret.reveal();
                !text.is_empty() && text.trim() == text
            };
            secret.is_none_or(is_text)
        };
        check("secret", is_given(&self.secret), BLANK);
        check("token", is_given(&self.token), BLANK);
        let has_login = has_key || has_secret || self.token.is_some();
        check(
            "enabled",
            !self.enabled || !self.authentication || has_login,
            "needs metrics.emqx.key and metrics.emqx.secret, or metrics.emqx.token, for scrapers to \
             log in; or metrics.emqx.authentication = false to let anybody read",
        );
        mistakes
    }
}

/// For a secret that nobody could send.
const BLANK: &str = "must not be empty, nor begin or end with white space";

#[cfg(test)]
mod tests {
    use super::*;

    fn first_mistake(text: &str) -> Option<(String, String)> {
        let config: EmqxConfig = toml::from_str(text).unwrap();
        config.mistakes().into_iter().next()
    }

    #[test]
    fn a_listener_that_nobody_could_log_in_to_is_a_mistake() {
        let rows = [
            ("enabled = true", "enabled", "needs metrics.emqx.key and"),
            ("key = \"k\"", "key", "needs metrics.emqx.secret too"),
            ("secret = \"s\"", "secret", "needs metrics.emqx.key too"),
            ("token = \"\"", "token", "must not be empty"),
            (
                "key = \"a:b\"\nsecret = \"s\"",
                "key",
                "must not be empty or contain",
            ),
            ("key = \"a\"\nsecret = \"\"", "secret", "must not be empty"),
        ];
        for (text, key, message) in rows {
            let mistake = first_mistake(text).unwrap();
            assert_eq!(mistake.0, format!("metrics.emqx.{key}"), "{text}");
            assert!(mistake.1.starts_with(message), "{text}: {}", mistake.1);
        }
        for text in [
            "",
            "enabled = true\nauthentication = false",
            "enabled = true\ntoken = \"t\"",
            "enabled = true\nkey = \"k\"\nsecret = \"s\"",
        ] {
            assert_eq!(first_mistake(text), None, "{text}");
        }
    }
}
