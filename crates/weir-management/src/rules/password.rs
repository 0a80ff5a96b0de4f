//! What is particular to secrets of type `hashed-password`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Value};
use weir_core::HashFunction;
use weir_registry::PasswordHash;

use crate::object::{Broken, decode, parse};

/// What bcrypt looks at of a password, in bytes. It would take two longer ones for the same if they
/// begin alike.
const BCRYPT_BYTES: usize = 72;

/// Which hashes are accepted.
#[derive(Clone, Debug)]
pub(crate) struct HashRules {
    /// The highest cost of bcrypt.
    pub(crate) max_cost: u32,
    pub(crate) functions: Vec<HashFunction>,
}

/// A password as it is sent.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Body {
    pwd_plain: Option<String>,
    hash_function: Option<String>,
    pwd_hash: Option<String>,
    salt: Option<String>,
}

/// A password that keeps the rules.
#[derive(PartialEq)]
pub(crate) enum Password {
    /// What is stored.
    Kept,
    Plain(String),
    Hash(PasswordHash),
}

/// It is secret; only its kind is shown.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "Kept",
            Self::Plain(_) => "Plain(…)",
            Self::Hash(_) => "Hash(…)",
        })
    }
}

impl Password {
    /// If the secret has the id of a stored one, it need not say more. What is empty is left out.
    pub(crate) fn parse(
        members: Map<String, Value>,
        has_id: bool,
        rules: &HashRules,
    ) -> Result<Self, Broken> {
        let body: Body = parse(members)?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        // The plain text outweighs a hash.
        if let Some(plain) = given(body.pwd_plain) {
            check_plain(&plain)?;
            return Ok(Self::Plain(plain));
        }
        match (given(body.hash_function), given(body.pwd_hash)) {
            (Some(function), Some(hash)) => {
                let salt = body.salt.unwrap_or_default();
                rules.parse(&function, hash, &salt).map(Self::Hash)
            }
            // A salt alone says nothing.
            (None, None) if has_id => Ok(Self::Kept),
            (None, None) => Err(Broken::new(
                "pwd-plain",
                "is required, or hash-function and pwd-hash",
            )),
            (None, Some(_)) => Err(Broken::missing("hash-function")),
            (Some(_), None) => Err(Broken::missing("pwd-hash")),
        }
    }
}

fn check_plain(plain: &str) -> Result<(), Broken> {
    if plain.len() > BCRYPT_BYTES {
        let rule = format!("is longer than {BCRYPT_BYTES} bytes");
        return Err(Broken::new("pwd-plain", rule));
    }
    Ok(())
}

impl HashRules {
    fn parse(&self, function: &str, hash: String, salt: &str) -> Result<PasswordHash, Broken> {
        let function = HashFunction::from_name(function);
        let function = function.filter(|function| self.functions.contains(function));
        let Some(function) = function else {
            let names: Vec<_> = self.functions.iter().map(|f| f.as_str()).collect();
            let rule = match names.as_slice() {
                [] => "hashes are not accepted here, only pwd-plain".to_owned(),
                names => format!("one of {} is expected", names.join(", ")),
            };
            return Err(Broken::new("hash-function", rule));
        };
        if function == HashFunction::Bcrypt {
            check_bcrypt(&hash, self.max_cost)?;
            // Its salt is in the hash.
            let salt = Vec::new();
            return Ok(PasswordHash {
                function,
                hash,
                salt,
            });
        }
        // In the form in which a password's hash will be compared with it.
        let digest = decode("pwd-hash", &hash)?;
        if digest.is_empty() {
            return Err(Broken::new("pwd-hash", "is empty"));
        }
        Ok(PasswordHash {
            function,
            hash: BASE64.encode(digest),
            salt: decode("salt", salt)?,
        })
    }
}

/// `$2a$`, two digits of cost, `$`, 53 letters of salt and hash.
fn check_bcrypt(hash: &str, max_cost: u32) -> Result<(), Broken> {
    let broken = |rule: &'static str| Broken::new("pwd-hash", rule);
    let rest = hash
        .strip_prefix("$2a$")
        .ok_or_else(|| broken("only bcrypt hashes of version 2a are accepted"))?;
    let malformed = || broken("is not a bcrypt hash");
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
        let rule = format!("a cost of at most {max_cost} is accepted");
        return Err(Broken::new("pwd-hash", rule));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

    fn check(json: &str, has_id: bool) -> Result<Password, String> {
        let rules = HashRules {
            max_cost: 10,
            functions: vec![
                HashFunction::Sha256,
                HashFunction::Sha512,
                HashFunction::Bcrypt,
            ],
        };
        let members = serde_json::from_str(json).unwrap();
        Password::parse(members, has_id, &rules).map_err(|broken| broken.to_string())
    }

    #[test]
    fn passwords_that_break_a_rule_are_refused_with_the_members_name() {
        let long = format!(r#"{{"pwd-plain": "{}"}}"#, "x".repeat(73));
        let bcrypt = |hash: &str| format!(r#"{{"hash-function": "bcrypt", "pwd-hash": "{hash}"}}"#);
        let sha = |more: &str| format!(r#"{{"hash-function": "sha-256", {more}}}"#);
        let rows = [
            ("{}".into(), "pwd-plain: is required"),
            (r#"{"pwd-plain": ""}"#.into(), "pwd-plain: is required"),
            (
                r#"{"hash-function": "", "pwd-hash": ""}"#.into(),
                "pwd-plain: is required",
            ),
            (
                r#"{"hash-function": "", "pwd-hash": "AQID"}"#.into(),
                "hash-function: is required",
            ),
            (r#"{"pwd-plain": 1}"#.into(), "pwd-plain: a string"),
            (long, "pwd-plain: is longer"),
            (r#"{"pwd-hash": "AQID"}"#.into(), "hash-function: "),
            (r#"{"salt": "AQID"}"#.into(), "pwd-plain: is required"),
            (r#"{"hash-function": "sha-256"}"#.into(), "pwd-hash: "),
            (
                r#"{"hash-function": "md5", "pwd-hash": "AQID"}"#.into(),
                "hash-function: one of sha-256, sha-512, bcrypt is",
            ),
            (sha(r#""pwd-hash": "?""#), "pwd-hash: is not Base64"),
            (sha(r#""pwd-hash": """#), "pwd-hash: is required"),
            (sha(r#""pwd-hash": "=""#), "pwd-hash: is "),
            (sha(r#""pwd-hash": "AQID", "salt": "?""#), "salt: "),
            (bcrypt("$2a$10$x"), "pwd-hash: is not"),
            (bcrypt(&BCRYPT.replace("$10$", "$03$")), "pwd-hash: is not"),
            (bcrypt(&BCRYPT.replace("$10$", "$11$")), "pwd-hash: a cost"),
            (bcrypt(&BCRYPT.replace("$2a$", "$2y$")), "pwd-hash: only"),
            (bcrypt(&BCRYPT.replace("$2a$", "$2b$")), "pwd-hash: only"),
        ];
        for (json, expected) in rows {
            let text = check(&json, false).err().unwrap_or_default();
            assert!(text.starts_with(expected), "{json}: {text}");
        }
    }

    #[test]
    fn what_keeps_the_rules_is_accepted() {
        for kept in [
            "{}",
            r#"{"salt": "AQID"}"#,
            r#"{"pwd-plain": "", "hash-function": "", "pwd-hash": "", "salt": ""}"#,
            r#"{"pwd-plain": null, "hash-function": null, "pwd-hash": null, "salt": null}"#,
        ] {
            assert_eq!(check(kept, true), Ok(Password::Kept), "{kept}");
        }
        let both = r#"{"pwd-plain": "x", "hash-function": "md5", "pwd-hash": "outweighed"}"#;
        assert_eq!(check(both, false), Ok(Password::Plain("x".to_owned())));
        let bcrypt = format!(r#"{{"hash-function": "bcrypt", "pwd-hash": "{BCRYPT}"}}"#);
        // Unpadded Base64 is completed.
        let sha = r#"{"hash-function": "sha-512", "pwd-hash": "AQIDBAUGBwg", "salt": "AQ"}"#;
        for (json, hash, salt) in [
            (bcrypt.as_str(), BCRYPT, &[][..]),
            (sha, "AQIDBAUGBwg=", &[1]),
        ] {
            let Ok(Password::Hash(found)) = check(json, false) else {
                panic!("{json}");
            };
            assert_eq!((found.hash.as_str(), &*found.salt), (hash, salt));
        }
    }

    #[test]
    fn functions_may_be_ruled_out() {
        let json = r#"{"hash-function": "sha-256", "pwd-hash": "AQID"}"#;
        for (functions, accepted) in [
            (vec![], false),
            (vec![HashFunction::Bcrypt], false),
            (vec![HashFunction::Bcrypt, HashFunction::Sha256], true),
        ] {
            let rules = HashRules {
                max_cost: 10,
                functions,
            };
            let members = serde_json::from_str(json).unwrap();
            let checked = Password::parse(members, false, &rules);
            assert_eq!(checked.is_ok(), accepted, "{rules:?}");
        }
    }
}
