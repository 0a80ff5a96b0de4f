//! The permission file on the disk.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Permissions;
use super::file::{self, FileLogin, FileUser, Mistake};

/// The largest file that is read, in bytes; it has room for tens of thousands of users.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Why a permission file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PermissionsError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It says something it must not say.
    #[error("{}: {mistake}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What, and where.
        mistake: Mistake,
    },
}

type FileUsers = HashMap<String, FileUser>;

/// Where the users come from.
pub(super) struct Watched {
    path: PathBuf,
    key: RandomState,
    /// A keyed hash of the content that is in use: the content itself may have passwords in it. Held
    /// while the file is looked at, so that an older look never follows a newer one.
    print: Mutex<u64>,
}

impl Watched {
    pub(super) async fn load(path: PathBuf) -> Result<(Self, FileUsers), PermissionsError> {
        let key = RandomState::new();
        let text = read(path.clone()).await?;
        let users = parse(&path, &text)?;
        let watched = Self {
            path,
            print: key.hash_one(&text).into(),
            key,
        };
        watched.warn_of_plain_passwords(&users);
        Ok((watched, users))
    }

    /// Once for the whole file, however many there are.
    fn warn_of_plain_passwords(&self, users: &FileUsers) {
        let is_plain = |user: &&FileUser| matches!(user.login, FileLogin::Plain(_));
        let count = users.values().filter(is_plain).count();
        if count > 0 {
            tracing::warn!(
                file = %self.path.display(),
                users = count,
                "passwords are in plain text; password-hash takes a bcrypt hash instead"
            );
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}

impl Permissions {
    /// Finds mistakes in a file that is not in use.
    ///
    /// # Errors
    /// The first one, with its place.
    pub fn check(path: &Path) -> Result<(), PermissionsError> {
        let text = read_bounded(path).map_err(|source| unreadable(path, source))?;
        parse(path, &text).map(|_| ())
    }

    /// Looks at the file, if there is one, and uses what it says if that has changed; whether it has.
    ///
    /// Applications whose user is gone or logs in differently now are disconnected, and links that
    /// are not allowed any more are detached.
    ///
    /// # Errors
    /// If it cannot be used; the users stay who they were.
    pub async fn look(&self) -> Result<bool, PermissionsError> {
        let Some(file) = &self.0.file else {
            return Ok(false);
        };
        let mut print = file.print.lock().await;
        let text = read(file.path.clone()).await?;
        let seen = file.key.hash_one(&text);
        if seen == *print {
            return Ok(false);
        }
        let users = parse(&file.path, &text)?;
        drop(text);
        file.warn_of_plain_passwords(&users);
        self.replace(users).await;
        *print = seen;
        Ok(true)
    }

    /// Looks at the file in this interval until `stop` is cancelled. A file that cannot be used is
    /// told once, when it has been seen twice: it may be half written the first time.
    pub(crate) async fn watch(self, interval: Duration, stop: CancellationToken) {
        let Some(file) = &self.0.file else {
            return stop.cancelled().await;
        };
        let path = file.path.display();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fault = Fault::default();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            // The file system may hang.
            let Some(seen) = stop.run_until_cancelled(self.look()).await else {
                return;
            };
            match seen {
                Ok(is_new) => {
                    fault = Fault::default();
                    if is_new {
                        tracing::info!(file = %path, "permissions replaced");
                    }
                }
                Err(error) => {
                    if let Some(error) = fault.seen(error.to_string()) {
                        tracing::error!(%error, "the new permissions cannot be used; the old ones stay");
                    }
                }
            }
        }
    }
}

/// What is wrong with the file, and how often that was seen.
#[derive(Default)]
struct Fault {
    text: String,
    times: u8,
}

impl Fault {
    /// The text, if it is to be told now.
    fn seen(&mut self, text: String) -> Option<&str> {
        if text != self.text {
            *self = Self { text, times: 0 };
        }
        self.times = self.times.saturating_add(1);
        (self.times == 2).then_some(&*self.text)
    }
}

/// Files may be on a slow disk.
async fn read(path: PathBuf) -> Result<Vec<u8>, PermissionsError> {
    let shown = path.clone();
    let read = tokio::task::spawn_blocking(move || read_bounded(&path)).await;
    let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
    read.map_err(|source| unreadable(&shown, source))
}

fn unreadable(path: &Path, source: io::Error) -> PermissionsError {
    PermissionsError::Read {
        path: path.to_owned(),
        source,
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path)?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

fn parse(path: &Path, text: &[u8]) -> Result<FileUsers, PermissionsError> {
    file::parse(text).map_err(|mistake| PermissionsError::Content {
        path: path.to_owned(),
        mistake,
    })
}

#[cfg(test)]
mod tests {
    use weir_core::PasswordVerifier;

    use super::*;

    #[tokio::test]
    async fn a_file_system_that_hangs_does_not_keep_the_gateway_from_stopping() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("permissions.json");
        std::fs::write(&path, "{}").unwrap();
        let permissions = Permissions::load(path.clone(), PasswordVerifier::new(1));
        let permissions = permissions.await.unwrap();
        // Whoever opens it to read waits for somebody who writes.
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let stop = CancellationToken::new();
        let watch = permissions
            .clone()
            .watch(Duration::from_millis(1), stop.clone());
        let watch = tokio::spawn(watch);
        while permissions
            .0
            .file
            .as_ref()
            .unwrap()
            .print
            .try_lock()
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), watch).await;
        // The thread that looks is not waited for by anybody, but by this test.
        drop(File::options().write(true).open(&path).unwrap());
        ended.unwrap().unwrap();
    }
}
