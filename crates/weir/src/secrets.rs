//! The accounts of applications and operators: made at the first start, kept in the data folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt as _;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use weir_core::{Accounts, HashFunction, PasswordSecret, Role, Validity};

use crate::config::{AccountConfig, Config};

/// The file's name in the data folder.
const FILE: &str = "credentials";

/// What the first start wrote down: one application and one operator.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// For back-end applications.
    pub application: Login,
    /// For the management API.
    pub operator: Login,
}

/// A user name and a password.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl Login {
    fn random(username: &str) -> Self {
        let password = URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; 24]>());
        Self {
            username: username.to_owned(),
            password,
        }
    }
}

/// Where the accounts of a data folder are written down.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Makes the data folder, for its owner alone, if it is not there.
///
/// # Errors
/// If that is not possible; the text names the folder.
pub fn create_folder(data_dir: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir);
    made.with_context(|| format!("cannot make the data folder {}", data_dir.display()))
}

/// Takes the data folder for this process alone, until the file is closed. Two gateways on one registry
/// would not hear of each other's changes.
///
/// # Errors
/// If another gateway has it.
pub(crate) fn lock_folder(data_dir: &Path) -> anyhow::Result<File> {
    let lock = lock(&data_dir.join("lock"))?;
    lock.with_context(|| format!("{} is in use by another gateway", data_dir.display()))
}

/// Takes a registry's database file for this process alone, if it is one and not in the data folder.
///
/// # Errors
/// If another gateway has it.
pub(crate) fn lock_registry(config: &Config) -> anyhow::Result<Option<File>> {
    let Some(database) = config.registry_file() else {
        return Ok(None);
    };
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let lock = lock(Path::new(&name))?;
    lock.map(Some)
        .with_context(|| format!("{} is in use by another gateway", database.display()))
}

/// The file, locked; the inner error says that another process has locked it.
fn lock(path: &Path) -> anyhow::Result<rustix::io::Result<File>> {
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let lock = lock.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(flock(&lock, FlockOperation::NonBlockingLockExclusive).map(|()| lock))
}

/// Reads what the first start wrote down.
///
/// # Errors
/// If the file cannot be read or understood; the text names it.
pub fn read(data_dir: &Path) -> anyhow::Result<Secrets> {
    let path = path(data_dir);
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}; run this in the folder of `weir serve`, with the same configuration",
            std::path::absolute(&path)
                .unwrap_or_else(|_| path.clone())
                .display()
        )
    })?;
    // The parser's message would quote the line, secret included.
    toml::from_str(&text).map_err(|_| anyhow::anyhow!("{} is damaged", path.display()))
}

/// Reads the accounts, or makes them and writes them down, readable for the owner alone.
fn read_or_create(data_dir: &Path) -> anyhow::Result<Secrets> {
    let path = path(data_dir);
    let secrets = Secrets {
        application: Login::random("application"),
        operator: Login::random("operator"),
    };
    let text = toml::to_string(&secrets)?;
    // Written whole under another name first: a crash must not leave half a file behind.
    let draft = data_dir.join(format!("{FILE}.{}", std::process::id()));
    if path.exists() {
        return read(data_dir);
    }
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        });
    let placed = written.and_then(|()| match fs::hard_link(&draft, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    // The draft is of no more use whether it became the file or not.
    let _ = fs::remove_file(&draft);
    placed.with_context(|| format!("cannot write {}", path.display()))?;
    tracing::info!(path = %path.display(), "accounts for an application and an operator are in");
    read(data_dir)
}

/// Loads the accounts: those of the data folder, and over them those of the configuration.
///
/// # Errors
/// If the file cannot be read or written.
pub(crate) fn load_accounts(config: &Config, accounts: &mut Accounts) -> anyhow::Result<()> {
    let configured = &config.accounts;
    if configured.application.is_none() || configured.operator.is_none() {
        let made = read_or_create(&config.data_dir)?;
        let logins = [
            (Role::Application, made.application, &configured.application),
            (Role::Operator, made.operator, &configured.operator),
        ];
        for (role, login, replaced) in logins {
            if replaced.is_none() {
                accounts.add(
                    role,
                    login.username,
                    PasswordSecret::of_random(&login.password),
                );
            }
        }
    }
    let given = [
        (Role::Application, &configured.application),
        (Role::Operator, &configured.operator),
    ];
    for (role, account) in given {
        if let Some(account) = account {
            accounts.add(role, account.username.clone(), secret(account));
        }
    }
    Ok(())
}

fn secret(account: &AccountConfig) -> PasswordSecret {
    match (&account.password_hash, &account.password) {
        (Some(hash), _) => PasswordSecret {
            function: HashFunction::Bcrypt,
            hash: hash.clone(),
            salt: Vec::new(),
            validity: Validity::default(),
        },
        (None, password) => {
            PasswordSecret::of_random(password.as_ref().map_or("", |password| password.reveal()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_start_writes_accounts_that_only_the_owner_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("weir-data");
        create_folder(&data_dir).unwrap();
        let first = read_or_create(&data_dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path(&data_dir)), 0o600);
        assert_eq!(mode(&data_dir), 0o700);
        assert!(first.operator.password.len() >= 32);
        assert_ne!(first.operator.password, first.application.password);
        let again = read_or_create(&data_dir).unwrap();
        assert_eq!(again.operator.password, first.operator.password);
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path()), "[application]\npassword = \"s3cret").unwrap();
        let error = format!("{:#}", read_or_create(folder.path()).err().unwrap());
        assert!(
            error.contains("credentials is damaged") && !error.contains("s3cret"),
            "{error}"
        );
    }
}
