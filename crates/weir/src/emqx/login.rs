//! Who may read.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::EmqxConfig;
use crate::config::Secret;

/// What answers that demand a login say (RFC 7235 §4.1).
pub(super) const CHALLENGE: &str = "Basic realm=\"weir\", charset=\"UTF-8\", Bearer realm=\"weir\"";

/// What scrapers may log in with.
pub(super) struct Logins {
    pub(super) is_asked: bool,
    /// Digests, so that comparing them tells neither what is in them nor how long it is.
    basic: Option<[u8; 32]>,
    bearer: Option<[u8; 32]>,
}

impl Logins {
    pub(super) fn of(config: &EmqxConfig) -> Self {
        let pair = config.key.as_ref().zip(config.secret.as_ref());
        let basic = pair.map(|(key, secret)| format!("{key}:{}", secret.reveal()));
        Self {
            is_asked: config.authentication,
            basic: basic.map(|pair| digest(pair.as_bytes())),
            bearer: config
                .token
                .as_ref()
                .map(|it| digest(Secret::reveal(it).as_bytes())),
        }
    }

    /// Whether whoever sends these headers may read.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        !self.is_asked || self.knows(headers) == Some(true)
    }

    fn knows(&self, headers: &HeaderMap) -> Option<bool> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, given) = value.split_once(' ')?;
        let given = given.trim();
        let (expected, given) = match scheme {
            _ if scheme.eq_ignore_ascii_case("basic") => {
                (self.basic?, digest(&STANDARD.decode(given).ok()?))
            }
            _ if scheme.eq_ignore_ascii_case("bearer") => (self.bearer?, digest(given.as_bytes())),
            _ => return None,
        };
        Some(verify_slices_are_equal(&expected, &given).is_ok())
    }
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins")
            .field("is_asked", &self.is_asked)
            .finish_non_exhaustive()
    }
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_login_may_read() {
        let text = "key = \"k\"\nsecret = \"s:s\"\ntoken = \"t\"";
        let both: EmqxConfig = toml::from_str(text).unwrap();
        let basic: EmqxConfig = toml::from_str("key = \"k\"\nsecret = \"s\"").unwrap();
        let open: EmqxConfig = toml::from_str("authentication = false").unwrap();
        let rows = [
            (&both, None, false),
            (&both, Some("Basic azpzOnM="), true),
            (&both, Some("basic  azpzOnM= "), true),
            (&both, Some("Basic azpz"), false),
            (&both, Some("Basic ???"), false),
            (&both, Some("Bearer t"), true),
            (&both, Some("bearer t"), true),
            (&both, Some("Bearer tt"), false),
            (&both, Some("Bearer"), false),
            (&both, Some("Digest t"), false),
            (&basic, Some("Basic azpz"), true),
            (&basic, Some("Bearer "), false),
            (&basic, Some("Bearer t"), false),
            (&open, None, true),
            (&open, Some("Basic azpz"), true),
        ];
        for (config, authorization, expected) in rows {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            let admitted = Logins::of(config).admit(&headers);
            assert_eq!(admitted, expected, "{authorization:?}");
        }
    }
}
