//! The `Authorization` header: which credentials a request presents.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use weir_core::{CredentialFault, Presented, Reason, Rule, Target, Token};

/// Devices pad or do not pad; both are taken.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the header presents. No `Debug`: it is a secret.
pub(crate) enum Authorization {
    /// A user name and a password (RFC 7617).
    Basic { username: String, password: Vec<u8> },
    /// A token that the device has signed (RFC 6750).
    Bearer(Token),
}

impl Authorization {
    /// Reads the header. The device that the address names is the one that presents a token, unless
    /// the token itself says who does.
    ///
    /// # Errors
    /// Unauthorized if nothing applicable or well-formed is presented, a bad request if the header
    /// itself cannot be read.
    pub(crate) fn from_headers(headers: &HeaderMap, target: &Target) -> Result<Self, Reason> {
        let header = headers
            .get(AUTHORIZATION)
            .ok_or(Reason::Unauthorized(CredentialFault::Missing))?
            .as_bytes();
        let blank = header.iter().position(|byte| *byte == b' ');
        let (scheme, credentials) = match blank {
            Some(at) => header.split_at(at),
            None => return Err(unreadable()),
        };
        let credentials = credentials.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"Basic") {
            basic(credentials)
        } else if scheme.eq_ignore_ascii_case(b"Bearer") {
            let named = || {
                let (tenant, device) = (target.tenant.as_deref()?, target.device.as_deref()?);
                Some((tenant.into(), device.into()))
            };
            let token = Token::parse(credentials, named).ok_or(MALFORMED)?;
            Ok(Self::Bearer(token))
        } else {
            // A mechanism that does not apply leaves the request without any.
            Err(Reason::Unauthorized(CredentialFault::Missing))
        }
    }

    /// The credentials as the pipeline takes them.
    pub(crate) fn presented(&self) -> Presented<'_> {
        match self {
            Self::Basic { username, password } => Presented::Password { username, password },
            Self::Bearer(token) => Presented::Token(token),
        }
    }
}

const MALFORMED: Reason = Reason::Unauthorized(CredentialFault::Malformed);

fn basic(credentials: &[u8]) -> Result<Authorization, Reason> {
    let mut decoded = BASE64.decode(credentials).map_err(|_| unreadable())?;
    let colon = decoded.iter().position(|byte| *byte == b':');
    let password = decoded.split_off(colon.ok_or(MALFORMED)? + 1);
    decoded.pop();
    let username = String::from_utf8(decoded).map_err(|_| MALFORMED)?;
    Ok(Authorization::Basic { username, password })
}

fn unreadable() -> Reason {
    Reason::BadRequest(Rule::Encoding, "malformed Authorization header".into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(header: &[u8]) -> Result<(String, Vec<u8>), Reason> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(header).unwrap());
        match Authorization::from_headers(&headers, &Target::default())? {
            Authorization::Basic { username, password } => Ok((username, password)),
            Authorization::Bearer(_) => panic!("a token"),
        }
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
    fn what_cannot_be_verified_is_missing_or_malformed() {
        let missing = Authorization::from_headers(&HeaderMap::new(), &Target::default());
        assert_eq!(
            missing.err(),
            Some(Reason::Unauthorized(CredentialFault::Missing))
        );
        let cases: [(&[u8], CredentialFault); 7] = [
            (b"Bearer e30.e30.e30", CredentialFault::Malformed),
            (b"Bearer ", CredentialFault::Malformed),
            (b"Bearer \xe4.\xe4.\xe4", CredentialFault::Malformed),
            (b"Digest username=x", CredentialFault::Missing),
            (b"B\xe4sic abc", CredentialFault::Missing),
            // No colon; a user name that is not UTF-8.
            (b"Basic YWJj", CredentialFault::Malformed),
            (b"Basic /zph", CredentialFault::Malformed),
        ];
        for (header, fault) in cases {
            assert_eq!(parse(header), Err(Reason::Unauthorized(fault)));
        }
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
