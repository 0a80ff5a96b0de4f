//! Objects and passwords from arguments, files and standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use super::api::Members;

/// The longest password that is read, bytes.
const PASSWORD: u64 = 4096;

/// An object, given as a whole.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct ObjectArgs {
    /// The object as JSON.
    #[arg(long, value_name = "JSON")]
    json: Option<String>,
    /// A file with the object as JSON or YAML; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl ObjectArgs {
    /// What was given, if anything.
    pub(super) fn value(&self) -> anyhow::Result<Option<Value>> {
        if let Some(json) = &self.json {
            let value = serde_json::from_str(json).context("--json")?;
            return Ok(Some(value));
        }
        let Some(path) = &self.file else {
            return Ok(None);
        };
        let named = || path.display().to_string();
        let text = read(path).with_context(named)?;
        // Also what is JSON: YAML has the same meaning for it, but is particular about tabs.
        let value = match text.trim_start().starts_with(['{', '[']) {
            true => serde_json::from_str(&text).with_context(named)?,
            false => serde_norway::from_str(&text).with_context(named)?,
        };
        Ok(Some(value))
    }

    /// The same, which has to be one object.
    pub(super) fn members(&self) -> anyhow::Result<Option<Members>> {
        match self.value()? {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(members)),
            Some(_) => bail!("one object is required: names and values"),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    match path.to_str() {
        Some("-") => Ok(std::io::read_to_string(std::io::stdin())?),
        _ => Ok(std::fs::read_to_string(path)?),
    }
}

/// The password on standard input, without the end of its line.
pub(super) fn password() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::io::stdin()
        .take(PASSWORD + 1)
        .read_to_string(&mut text);
    read.context("cannot read the password")?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password {
        "" => bail!("there is no password on standard input"),
        long if long.len() as u64 > PASSWORD => bail!("the password is too long"),
        password => Ok(password.to_owned()),
    }
}
