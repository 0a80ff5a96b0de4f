//! Passwords: checked when they come in, hashed before they go anywhere.

use std::sync::Arc;
use std::thread::available_parallelism;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use tokio::sync::Semaphore;
use weir_core::HashFunction;
use weir_registry::{NewSecret, PasswordHash, Timestamp};

use crate::answer::Failure;

/// What bcrypt looks at of a password, in bytes. It would take two longer ones for the same if they
/// begin alike.
const BCRYPT_BYTES: usize = 72;

/// Base64 with or without its padding.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A secret as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct SecretBody {
    id: Option<String>,
    enabled: bool,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    comment: Option<String>,
    pwd_plain: Option<String>,
    hash_function: Option<String>,
    pwd_hash: Option<String>,
    salt: Option<String>,
}

impl Default for SecretBody {
    fn default() -> Self {
        Self {
            id: None,
            enabled: true,
            not_before: None,
            not_after: None,
            comment: None,
            pwd_plain: None,
            hash_function: None,
            pwd_hash: None,
            salt: None,
        }
    }
}

/// A secret that keeps the rules, its password not yet hashed.
pub(crate) struct CheckedSecret {
    head: NewSecret,
    plain: Option<String>,
}

impl SecretBody {
    /// Checks the rules; bcrypt hashes may cost at most `max_cost`. The error says which is broken.
    pub(crate) fn check(self, max_cost: u32) -> Result<CheckedSecret, String> {
        if let (Some(start), Some(end)) = (self.not_before, self.not_after)
            && start > end
        {
            return Err("not-before: is after not-after".to_owned());
        }
        let hash = match (&self.pwd_plain, &self.hash_function, &self.pwd_hash) {
            (Some(plain), _, _) => {
                check_plain(plain)?;
                None
            }
            (None, Some(function), Some(hash)) => {
                Some(parse_hash(function, hash, self.salt.as_deref(), max_cost)?)
            }
            (None, None, None) if self.salt.is_none() && self.id.is_some() => None,
            (None, None, None) if self.salt.is_none() => {
                return Err("pwd-plain, or hash-function and pwd-hash, are required".to_owned());
            }
            (None, None, _) => return Err("hash-function: is required".to_owned()),
            (None, Some(_), None) => return Err("pwd-hash: is required".to_owned()),
        };
        let head = NewSecret {
            id: self.id,
            enabled: self.enabled,
            not_before: self.not_before,
            not_after: self.not_after,
            comment: self.comment,
            hash,
        };
        let plain = self.pwd_plain;
        Ok(CheckedSecret { head, plain })
    }
}

impl CheckedSecret {
    pub(crate) fn id(&self) -> Option<&str> {
        self.head.id.as_deref()
    }

    pub(crate) async fn hashed(self, hasher: &Hasher) -> Result<NewSecret, Failure> {
        let mut secret = self.head;
        if let Some(plain) = self.plain {
            secret.hash = Some(hasher.hash(plain).await?);
        }
        Ok(secret)
    }
}

fn check_plain(plain: &str) -> Result<(), String> {
    if plain.is_empty() {
        return Err("pwd-plain: is empty".to_owned());
    }
    if plain.len() > BCRYPT_BYTES {
        let text = format!("pwd-plain: is longer than {BCRYPT_BYTES} bytes");
        return Err(text);
    }
    Ok(())
}

fn parse_hash(
    function: &str,
    hash: &str,
    salt: Option<&str>,
    max_cost: u32,
) -> Result<PasswordHash, String> {
    let function = HashFunction::from_name(function)
        .ok_or_else(|| "hash-function: sha-256, sha-512 or bcrypt are known".to_owned())?;
    let decode = |member: &str, text: &str| {
        let decoded = LENIENT_BASE64.decode(text);
        decoded.map_err(|_| format!("{member}: is not Base64"))
    };
    if function == HashFunction::Bcrypt {
        check_bcrypt(hash, max_cost)?;
        // Its salt is in the hash.
        let (hash, salt) = (hash.to_owned(), Vec::new());
        return Ok(PasswordHash {
            function,
            hash,
            salt,
        });
    }
    // In the form in which a password's hash will be compared with it.
    let digest = decode("pwd-hash", hash)?;
    if digest.is_empty() {
        return Err("pwd-hash: is empty".to_owned());
    }
    Ok(PasswordHash {
        function,
        hash: BASE64.encode(digest),
        salt: decode("salt", salt.unwrap_or_default())?,
    })
}

/// `$2a$`, two digits of cost, `$`, 53 letters of salt and hash.
fn check_bcrypt(hash: &str, max_cost: u32) -> Result<(), String> {
    let rest = hash
        .strip_prefix("$2a$")
        .ok_or_else(|| "pwd-hash: only bcrypt hashes of version 2a are accepted".to_owned())?;
    let malformed = || "pwd-hash: is not a bcrypt hash".to_owned();
    let (cost, rest) = rest.split_once('$').ok_or_else(malformed)?;
    let is_number = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'/';
    if !is_number || rest.len() != 53 || !rest.bytes().all(is_letter) {
        return Err(malformed());
    }
    let cost: u32 = cost.parse().map_err(|_| malformed())?;
    if cost < 4 {
        return Err(malformed());
    }
    if cost > max_cost {
        return Err(format!(
            "pwd-hash: a cost of at most {max_cost} is accepted"
        ));
    }
    Ok(())
}

/// Hashes passwords off the async threads, as many at a time as there are processors less one.
pub(crate) struct Hasher {
    cost: u32,
    slots: Arc<Semaphore>,
}

impl Hasher {
    pub(crate) fn new(cost: u32) -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        let slots = Arc::new(Semaphore::new(processors.saturating_sub(1).max(1)));
        Self { cost, slots }
    }

    pub(crate) fn cost(&self) -> u32 {
        self.cost
    }

    async fn hash(&self, plain: String) -> Result<PasswordHash, Failure> {
        let slot = self.slots.clone().acquire_owned().await;
        let cost = self.cost;
        let hash = tokio::task::spawn_blocking(move || {
            let hash = bcrypt::hash_with_result(plain, cost);
            drop(slot);
            hash
        });
        match hash.await {
            Ok(Ok(parts)) => Ok(PasswordHash {
                function: HashFunction::Bcrypt,
                // Version 2a, which all readers of such hashes know.
                hash: parts.format_for_version(bcrypt::Version::TwoA),
                salt: Vec::new(),
            }),
            _ => {
                tracing::error!("a password could not be hashed");
                Err(Failure::internal())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

    fn check(json: &str) -> Result<CheckedSecret, String> {
        serde_json::from_str::<SecretBody>(json).unwrap().check(10)
    }

    #[test]
    fn secrets_that_break_a_rule_are_refused_with_the_members_name() {
        let long = format!(r#"{{"pwd-plain": "{}"}}"#, "x".repeat(73));
        let costly = BCRYPT.replace("$10$", "$11$");
        let costly = format!(r#"{{"hash-function": "bcrypt", "pwd-hash": "{costly}"}}"#);
        let other = BCRYPT.replace("$2a$", "$2y$");
        let other = format!(r#"{{"hash-function": "bcrypt", "pwd-hash": "{other}"}}"#);
        let rows = [
            ("{}", "pwd-plain, or hash-function and pwd-hash"),
            (r#"{"pwd-plain": ""}"#, "pwd-plain: "),
            (&long, "pwd-plain: "),
            (r#"{"pwd-hash": "AQID"}"#, "hash-function: "),
            (r#"{"salt": "AQID"}"#, "hash-function: "),
            (r#"{"id": "1", "salt": "AQID"}"#, "hash-function: "),
            (r#"{"hash-function": "sha-256"}"#, "pwd-hash: "),
            (
                r#"{"hash-function": "md5", "pwd-hash": "AQID"}"#,
                "hash-function: ",
            ),
            (
                r#"{"hash-function": "sha-256", "pwd-hash": "?"}"#,
                "pwd-hash: ",
            ),
            (
                r#"{"hash-function": "sha-256", "pwd-hash": ""}"#,
                "pwd-hash: ",
            ),
            (
                r#"{"hash-function": "sha-256", "pwd-hash": "AQID", "salt": "?"}"#,
                "salt: ",
            ),
            (
                r#"{"hash-function": "bcrypt", "pwd-hash": "$2a$10$x"}"#,
                "pwd-hash: ",
            ),
            (&costly, "pwd-hash: a cost"),
            (&other, "pwd-hash: only"),
            (
                r#"{"pwd-plain": "x", "not-before": "2026-01-02T00:00:00Z",
                    "not-after": "2026-01-01T00:00:00Z"}"#,
                "not-before: ",
            ),
        ];
        for (json, expected) in rows {
            let text = check(json).err().unwrap_or_default();
            assert!(text.starts_with(expected), "{json}: {text}");
        }
    }

    #[test]
    fn what_keeps_the_rules_is_accepted() {
        let bcrypt = format!(r#"{{"hash-function": "bcrypt", "pwd-hash": "{BCRYPT}"}}"#);
        let rows = [
            r#"{"id": "1"}"#,
            r#"{"pwd-plain": "x", "hash-function": "md5", "pwd-hash": "the plain text wins"}"#,
            r#"{"hash-function": "sha-512", "pwd-hash": "AQIDBAUGBwg=", "salt": "Mq7wFw=="}"#,
            &bcrypt,
        ];
        for json in rows {
            assert!(check(json).is_ok(), "{json}");
        }
    }

    #[test]
    fn unpadded_base64_is_completed() {
        let json = r#"{"hash-function": "sha-512", "pwd-hash": "AQIDBAUGBwg"}"#;
        let hash = check(json).ok().and_then(|secret| secret.head.hash);
        assert_eq!(hash.map(|hash| hash.hash).as_deref(), Some("AQIDBAUGBwg="));
    }

    #[tokio::test]
    async fn a_plain_password_becomes_a_bcrypt_hash_of_version_2a() {
        let hash = Hasher::new(4).hash("s3cret".to_owned()).await.unwrap();
        assert!(hash.hash.starts_with("$2a$04$"), "{}", hash.hash);
        assert!(bcrypt::verify("s3cret", &hash.hash).unwrap());
    }
}
