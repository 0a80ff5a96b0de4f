//! Tenants and devices for a gateway, imported in one go.

use std::fmt::Write as _;
use std::thread;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::gateway::{Gateway, password_credential};

/// The lines that `weir apply` reads. Every device's password is [`PASSWORD`].
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    lines: String,
}

/// What all devices log in with.
pub(crate) const PASSWORD: &str = "password";

/// bcrypt's cost in what the registry makes of a password.
const COST: u32 = 10;

impl Fleet {
    pub(crate) fn tenant(&mut self, tenant: &str) {
        self.line(&json!({"tenant": tenant}));
    }

    /// Devices `{name}-0` and so on; without hashes their passwords are hashed with SHA-256, else
    /// they take these in turn. Gives the logins.
    pub(crate) fn devices(
        &mut self,
        tenant: &str,
        name: &str,
        count: usize,
        hashes: &[String],
    ) -> Vec<(String, String)> {
        let register = |number: usize| {
            let id = format!("{name}-{number}");
            let hash = number
                .checked_rem(hashes.len())
                .and_then(|turn| hashes.get(turn));
            let credential = match hash {
                Some(hash) => json!({
                    "type": "hashed-password",
                    "auth-id": id,
                    "secrets": [{"hash-function": "bcrypt", "pwd-hash": hash}],
                }),
                None => password_credential(&id),
            };
            self.line(&json!({"tenant": tenant, "device": id, "credentials": [credential]}));
            (format!("{id}@{tenant}"), PASSWORD.to_owned())
        };
        (0..count).map(register).collect()
    }

    fn line(&mut self, line: &Value) {
        // Writing to memory cannot fail.
        let _ = writeln!(self.lines, "{line}");
    }

    pub(crate) async fn import(&self, gateway: &Gateway) -> anyhow::Result<()> {
        let file = gateway.folder.path().join("fleet.ndjson");
        std::fs::write(&file, &self.lines)?;
        gateway.apply(&file).await
    }
}

/// So many bcrypt hashes of [`PASSWORD`], each with a salt of its own. Slow: two at a time.
pub(crate) fn bcrypt_hashes(count: usize) -> anyhow::Result<Vec<String>> {
    let make = |count: usize| {
        thread::spawn(move || {
            (0..count)
                .map(|_| {
                    let parts = bcrypt::hash_with_result(PASSWORD, COST)?;
                    // The one version that the management API takes.
                    Ok(parts.format_for_version(bcrypt::Version::TwoA))
                })
                .collect::<Result<Vec<_>, bcrypt::BcryptError>>()
        })
    };
    let mut hashes = Vec::new();
    for half in [make(count / 2), make(count.div_ceil(2))] {
        hashes.extend(half.join().map_err(|_| anyhow!("a thread panicked"))??);
    }
    Ok(hashes)
}
