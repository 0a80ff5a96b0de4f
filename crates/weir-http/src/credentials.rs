//! The `Authorization` header: which credentials a request presents.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use weir_core::{Presented, Reason, Rule};

/// The text for a request that presents nothing this adapter can check.
const NOT_PRESENTED: &str = "no credentials presented";
/// The text, also core's, for a user name without a tenant.
const MALFORMED: &str = "malformed credentials";

/// Devices pad or do not pad; both are taken.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A user name and a password (RFC 7617). No `Debug`: it is a secret.
pub(crate) struct Basic {
    username: String,
    password: Vec<u8>,
}

impl Basic {
    /// Reads the header.
    ///
    /// # Errors
    /// Unauthorized if nothing applicable or well-formed is presented, a bad request if the header
    /// itself cannot be read.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, Reason> {
        let header = headers
            .get(AUTHORIZATION)
            .ok_or(Reason::Unauthorized(NOT_PRESENTED))?
            .as_bytes();
        let blank = header.iter().position(|byte| *byte == b' ');
        let (scheme, credentials) = match blank {
            Some(at) => header.split_at(at),
            None => return Err(unreadable()),
        };
        // Tokens are for later: a mechanism that does not apply leaves the request without any.
        if !scheme.eq_ignore_ascii_case(b"Basic") {
            return Err(Reason::Unauthorized(NOT_PRESENTED));
        }
        let mut decoded = BASE64
            .decode(credentials.trim_ascii())
            .map_err(|_| unreadable())?;
        let malformed = || Reason::Unauthorized(MALFORMED);
        let colon = decoded.iter().position(|byte| *byte == b':');
        let password = decoded.split_off(colon.ok_or_else(malformed)? + 1);
        decoded.pop();
        let username = String::from_utf8(decoded).map_err(|_| malformed())?;
        Ok(Self { username, password })
    }

    /// The credentials as the pipeline takes them.
    pub(crate) fn presented(&self) -> Presented<'_> {
        Presented::Password {
            username: &self.username,
            password: &self.password,
        }
    }
}

fn unreadable() -> Reason {
    Reason::BadRequest(Rule::Encoding, "malformed Authorization header".into())
}

/// Whether a request refused with this text is to be told how to authenticate: it presented nothing
/// that could be verified, as opposed to something that was verified and failed (contract §2.4).
pub(crate) fn invites_challenge(unauthorized: &str) -> bool {
    matches!(unauthorized, NOT_PRESENTED | MALFORMED)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(header: &[u8]) -> Result<(String, Vec<u8>), Reason> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(header).unwrap());
        Basic::from_headers(&headers).map(|basic| (basic.username, basic.password))
    }

    #[test]
    fn basic_credentials_are_taken_apart_at_the_first_colon() {
        let cases: [(&[u8], &str, &[u8]); 8] = [
            (b"Basic c2Vuc29yMUBhY21lOnB3", "sensor1@acme", b"pw"),
            (b"basic c2Vuc29yMUBhY21lOnB3", "sensor1@acme", b"pw"),
            (b"Basic  c2Vuc29yMUBhY21lOnB3", "sensor1@acme", b"pw"),
            (b"Basic YUBiOmM6ZA==", "a@b", b"c:d"),
            (b"Basic YUBiOmM6ZA", "a@b", b"c:d"),
            (b"Basic YUBiOg==", "a@b", b""),
            (b"Basic Og==", "", b""),
            (b"Basic YTr/", "a", b"\xff"),
        ];
        for (header, username, password) in cases {
            let text = String::from_utf8_lossy(header);
            assert_eq!(
                parse(header),
                Ok((username.into(), password.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_verified_is_answered_with_a_challenge() {
        let missing = Basic::from_headers(&HeaderMap::new()).err();
        assert_eq!(missing, Some(Reason::Unauthorized(NOT_PRESENTED)));
        let cases: [(&[u8], &str); 5] = [
            (b"Bearer e30.e30.e30", NOT_PRESENTED),
            (b"Digest username=x", NOT_PRESENTED),
            (b"B\xe4sic abc", NOT_PRESENTED),
            // No colon; a user name that is not UTF-8.
            (b"Basic YWJj", MALFORMED),
            (b"Basic /zph", MALFORMED),
        ];
        for (header, text) in cases {
            assert_eq!(parse(header), Err(Reason::Unauthorized(text)));
            assert!(invites_challenge(text));
        }
        assert!(!invites_challenge("bad credentials"));
    }

    #[test]
    fn what_cannot_be_read_is_a_bad_request() {
        let cases: [&[u8]; 7] = [
            b"",
            b"Basic",
            b"Bearer",
            b"Basic ***",
            b"Basic =",
            b"Basic a",
            b"Basic \xe4",
        ];
        for header in cases {
            assert_eq!(parse(header), Err(unreadable()), "{header:?}");
        }
    }
}
