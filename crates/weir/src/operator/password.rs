//! Passwords hashed before they leave.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use rand::RngExt as _;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

use super::api::Members;

/// How a password is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hash {
    /// The gateway hashes it, at a cost that makes guessing slow. For passwords that people choose.
    #[default]
    Bcrypt,
    /// Hashed here, with a random salt. Fast to check, so for long random passwords only.
    #[value(name = "sha-256")]
    Sha256,
    /// The same with a longer hash.
    #[value(name = "sha-512")]
    Sha512,
}

impl Hash {
    /// Replaces the plain password in a secret, if there is one, unless the gateway is to hash it.
    pub(super) fn conceal(self, secret: &mut Members) {
        let salt: [u8; 16] = rand::rng().random();
        let (name, digest): (_, fn(&[u8], &str) -> String) = match self {
            Self::Bcrypt => return,
            Self::Sha256 => ("sha-256", digest::<Sha256>),
            Self::Sha512 => ("sha-512", digest::<Sha512>),
        };
        // Anything else than a string is for the API to refuse.
        let Some(Value::String(plain)) = secret.get("pwd-plain") else {
            return;
        };
        let hash = digest(&salt, plain);
        secret.remove("pwd-plain");
        secret.insert("hash-function".to_owned(), name.into());
        secret.insert("pwd-hash".to_owned(), hash.into());
        secret.insert("salt".to_owned(), BASE64.encode(salt).into());
    }
}

fn digest<D: Digest>(salt: &[u8], plain: &str) -> String {
    let salted = D::new().chain_update(salt);
    BASE64.encode(salted.chain_update(plain).finalize())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_hash_is_over_salt_and_password() {
        // printf saltsecret | openssl dgst -sha256 -binary | base64
        let expected = "vt6QOG1FDOqLd7gi+IhwZeTlq/Eywvncz8x/vUy6XjU=";
        assert_eq!(digest::<Sha256>(b"salt", "secret"), expected);
    }

    #[test]
    fn a_concealed_secret_has_no_password_and_keeps_the_rest() {
        let plain = json!({"pwd-plain": "secret", "comment": "c"});
        let mut one = plain.as_object().unwrap().clone();
        let mut other = one.clone();
        Hash::Sha512.conceal(&mut one);
        Hash::Sha512.conceal(&mut other);
        assert!(!one.contains_key("pwd-plain"));
        assert_eq!(one["hash-function"], "sha-512");
        assert_eq!(one["comment"], "c");
        assert_ne!(one["salt"], other["salt"]);
        let mut kept = plain.as_object().unwrap().clone();
        Hash::Bcrypt.conceal(&mut kept);
        assert_eq!(Value::Object(kept), plain);
    }
}
