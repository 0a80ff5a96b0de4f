//! Who a device is by a token that it has signed (device contract §1.6.3).
//!
//! A token has to be read before it can be verified, because it says whose key that takes. What is read
//! is a [`Token`], which proves nothing; [`Attempt::by_token`] asks the registry for the keys. A
//! signature is verified by aws-lc, with the algorithm that the token names, if a key of the device is of
//! that kind: neither `none` nor anything with a shared secret is among them (RFC 8725 §2.1).
//! No library for tokens stands in between: `jsonwebtoken` 11 has no ES512, and reads the clock itself.

use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Number, Value};
use time::OffsetDateTime;
use tokio::time::Instant;
use weir_x509::KeyAlgorithm;

use super::{Attempt, BAD, refused};
use crate::{
    AuthId, AuthenticationError, CredentialType, Credentials, Principal, PublicKey, TenantId,
};

/// How long a token may be, in bytes. One that an RSA key of 8,192 bits has signed has some 1,700.
const MAX_TOKEN: usize = 8 * 1024;

/// The audience of tokens that name tenant and auth-id themselves.
const ADAPTER: &str = "hono-adapter";

/// Seconds by which a device's clock may be wrong.
const SKEW: i64 = 600;
/// Seconds for which a token may be good.
const LONGEST_LIFE: i64 = 24 * 60 * 60;

/// A JSON Web Token that was taken apart. Nothing of what it says is believed yet.
///
/// No `Debug`: whoever has it can be the device until it expires.
pub struct Token {
    tenant: TenantId,
    auth_id: AuthId,
    times: Times,
    algorithm: &'static Algorithm,
    /// What the signature is made of.
    signed: Box<str>,
    signature: Vec<u8>,
}

/// A signature algorithm (RFC 7518 §3.1) and the keys that it goes with.
struct Algorithm {
    name: &'static str,
    key: KeyAlgorithm,
    verification: &'static dyn VerificationAlgorithm,
}

impl Algorithm {
    const fn rsa(name: &'static str, verification: &'static dyn VerificationAlgorithm) -> Self {
        let key = KeyAlgorithm::Rsa;
        Self {
            name,
            key,
            verification,
        }
    }

    /// Of exactly the curve that the name stands for.
    const fn ec(name: &'static str, verification: &'static dyn VerificationAlgorithm) -> Self {
        let key = KeyAlgorithm::Ec;
        Self {
            name,
            key,
            verification,
        }
    }
}

static ALGORITHMS: [Algorithm; 9] = [
    Algorithm::ec("ES256", &ECDSA_P256_SHA256_FIXED),
    Algorithm::ec("ES384", &ECDSA_P384_SHA384_FIXED),
    Algorithm::ec("ES512", &ECDSA_P521_SHA512_FIXED),
    Algorithm::rsa("PS256", &RSA_PSS_2048_8192_SHA256),
    Algorithm::rsa("PS384", &RSA_PSS_2048_8192_SHA384),
    Algorithm::rsa("PS512", &RSA_PSS_2048_8192_SHA512),
    Algorithm::rsa("RS256", &RSA_PKCS1_2048_8192_SHA256),
    Algorithm::rsa("RS384", &RSA_PKCS1_2048_8192_SHA384),
    Algorithm::rsa("RS512", &RSA_PKCS1_2048_8192_SHA512),
];

/// The members of the header that count (RFC 7515 §4.1). A key that it brings or points to does not.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    /// What has to be understood besides, which nothing is (§4.1.11).
    crit: Option<IgnoredAny>,
}

/// The claims that count (RFC 7519 §4.1, and Hono's `tid`).
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    tid: Value,
    #[serde(default)]
    sub: Value,
    iat: Option<Date>,
    nbf: Option<Date>,
    exp: Option<Date>,
}

/// Seconds since 1970. Fractions are cut off, and what no clock will ever show is the end of time.
#[derive(Clone, Copy, Deserialize)]
#[serde(from = "Number")]
struct Date(i64);

impl From<Number> for Date {
    fn from(number: Number) -> Self {
        let seconds = number.as_i64();
        let rounded = || number.as_f64().unwrap_or_default() as i64;
        Self(seconds.unwrap_or_else(rounded))
    }
}

/// When a token may be used.
struct Times {
    issued: Option<Date>,
    starts: Option<Date>,
    expires: Option<Date>,
}

/// Why a token is not good. The device is not told which of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Flaw {
    #[error("it does not say when it was issued")]
    NoIssue,
    #[error("it does not say when it expires")]
    NoExpiry,
    #[error("it is issued in the future")]
    FromTheFuture,
    #[error("it is not to be used yet")]
    Early,
    #[error("it expires before it is issued")]
    Backwards,
    #[error("it is good for longer than a day")]
    LongLived,
    #[error("it has expired")]
    Expired,
    #[error("no key of the device that is valid now has signed it")]
    Signature,
}

impl Token {
    /// Takes a token apart that is in its compact form (RFC 7515 §3.1).
    ///
    /// A token whose audience is `hono-adapter` names tenant and auth-id. For any other `elsewhere` does,
    /// which is what the device says outside of the token.
    ///
    /// Nothing if `text` is no such token, if it is longer than 8 KiB, signed with an algorithm that is not
    /// supported, or names nobody: it may then be meant for another mechanism.
    pub fn parse(
        text: &[u8],
        elsewhere: impl FnOnce() -> Option<(TenantId, AuthId)>,
    ) -> Option<Self> {
        if text.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = std::str::from_utf8(text).ok()?.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = json(header)?;
        if header.typ != "JWT" || header.crit.is_some() {
            return None;
        }
        let mut algorithms = ALGORITHMS.iter();
        let algorithm = algorithms.find(|known| known.name == header.alg)?;
        let claims: Claims = json(claims)?;
        let (tenant, auth_id) = if claims.is_for_adapter() {
            (filled(&claims.tid)?.into(), filled(&claims.sub)?.into())
        } else {
            elsewhere()?
        };
        Some(Self {
            tenant,
            auth_id,
            times: Times {
                issued: claims.iat,
                starts: claims.nbf,
                expires: claims.exp,
            },
            algorithm,
            signed: signed.into(),
            signature: BASE64_URL.decode(signature).ok()?,
        })
    }

    /// For how long the device may go on after it has logged in at `now`.
    fn check(&self, credentials: &Credentials, now: OffsetDateTime) -> Result<Duration, Flaw> {
        let left = self.times.left(now.unix_timestamp())?;
        let mut keys = credentials.public_keys(now);
        if keys.any(|key| self.is_signed_with(key)) {
            Ok(left)
        } else {
            Err(Flaw::Signature)
        }
    }

    /// Takes 20 µs with an RSA key of 2,048 bits, 350 µs on P-521: too little to be handed to another
    /// thread.
    fn is_signed_with(&self, key: &PublicKey) -> bool {
        let Algorithm {
            key: kind,
            verification,
            ..
        } = *self.algorithm;
        if key.algorithm.parse() != Ok(kind) {
            return false;
        }
        let key = UnparsedPublicKey::new(verification, &key.key);
        key.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

impl Claims {
    fn is_for_adapter(&self) -> bool {
        match &self.aud {
            Value::String(one) => one == ADAPTER,
            Value::Array(several) => several.iter().any(|one| one == ADAPTER),
            _ => false,
        }
    }
}

impl Times {
    /// How long the token can still be used at `now`.
    fn left(&self, now: i64) -> Result<Duration, Flaw> {
        let Date(issued) = self.issued.ok_or(Flaw::NoIssue)?;
        let Date(expires) = self.expires.ok_or(Flaw::NoExpiry)?;
        if issued > now + SKEW {
            return Err(Flaw::FromTheFuture);
        }
        if self.starts.is_some_and(|Date(start)| start > now + SKEW) {
            return Err(Flaw::Early);
        }
        if expires <= issued {
            return Err(Flaw::Backwards);
        }
        if expires > issued.saturating_add(LONGEST_LIFE + SKEW) {
            return Err(Flaw::LongLived);
        }
        let left = expires.saturating_add(SKEW).saturating_sub(now);
        let left = u64::try_from(left).map_err(|_| Flaw::Expired)?;
        Ok(Duration::from_secs(left))
    }
}

fn filled(name: &Value) -> Option<&str> {
    name.as_str().filter(|name| !name.is_empty())
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64_URL.decode(part).ok()?).ok()
}

impl Attempt<'_> {
    pub(super) async fn by_token(self, token: &Token) -> Result<Principal, AuthenticationError> {
        let tenant = self.tenant(&token.tenant).await?;
        let kind = CredentialType::RawPublicKey;
        let credentials = self.known(&tenant, kind, &token.auth_id).await?;
        if !self.may_use(&credentials) {
            return Err(refused(&tenant, BAD));
        }
        let left = token.check(&credentials, OffsetDateTime::now_utc());
        let left = left.map_err(|flaw| {
            let device = credentials.device.as_str();
            tracing::debug!(tenant = tenant.id.as_str(), device, %flaw, "a token is not good");
            refused(&tenant, BAD)
        })?;
        let expires = Some(Instant::now() + left);
        let auth_id = token.auth_id.clone();
        let principal = self.principal(tenant, &credentials, auth_id).await?;
        Ok(Principal {
            expires,
            ..principal
        })
    }
}

#[cfg(test)]
mod tests;
