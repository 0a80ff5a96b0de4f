//! The folder a store lives in: who may use it, and how much room there is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statvfs};

use crate::store::OpenError;

/// A folder that this process alone uses, as long as this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    lock: File,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A process that is being started may hold a copy of the file for a moment, and with it the lock.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

impl Folder {
    /// Makes the folder if it is not there, and claims it.
    pub(crate) fn claim(path: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(path).map_err(OpenError::Folder)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(OpenError::Folder)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            match io::Error::from(error) {
                error if error.kind() == io::ErrorKind::WouldBlock => OpenError::InUse,
                error => OpenError::Folder(error),
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// Has the names of the files, and the folder's own, survive a loss of power.
    pub(crate) fn sync(&self) -> Result<(), OpenError> {
        let parent = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        for folder in [Some(self.path.as_path()), parent].into_iter().flatten() {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(OpenError::Folder)?;
        }
        Ok(())
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("events.db")
    }

    /// The file system that it is on.
    pub(crate) fn room(&self, reserve: u64) -> Room {
        Room {
            path: self.path.clone(),
            reserve,
        }
    }
}

/// The room on a file system.
#[derive(Debug)]
pub(crate) struct Room {
    path: PathBuf,
    /// Bytes that are left free.
    reserve: u64,
}

impl Room {
    /// Whether there is more than the reserve. A file system that does not say is taken to have it.
    pub(crate) fn is_left(&self) -> bool {
        statvfs(&self.path).map_or(true, |fs| {
            fs.f_bavail.saturating_mul(fs.f_frsize) >= self.reserve
        })
    }
}
