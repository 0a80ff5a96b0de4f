//! Opening the database.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, AnyPool, Executor as _};

use crate::cache::Caches;

/// Connections that look-ups share. SQLite runs each on a thread of its own.
const READERS: u32 = 4;
/// How long an operation waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(10);

/// What a connection to SQLite is told first. A commit is synced (`FULL`), because its answer says
/// that the change is safe.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000; \
                       PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;";

/// The registry: its database and what is remembered of it. Clones share both.
#[derive(Clone)]
pub struct SqlRegistry(Arc<Parts>);

struct Parts {
    readers: AnyPool,
    /// SQLite has one writer at a time; waiting for it here is fair and does not poll.
    writer: AnyPool,
    caches: Caches,
}

/// Why the registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names a database that lives in memory, where each connection would see its own.
    #[error("the registry needs a database file, not one in memory")]
    InMemory,
    /// The URL names no SQLite database.
    #[error("not the URL of an SQLite database (sqlite://path?mode=rwc): {0}")]
    Url(sqlx::Error),
    /// The database file could not be created.
    #[error("cannot create the registry's database {path}")]
    Create {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The database could not be opened.
    #[error("cannot open the registry's database: {0}")]
    Connect(sqlx::Error),
    /// The schema could not be brought up to date, perhaps because a newer release made it.
    #[error("cannot bring the registry's schema up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

impl SqlRegistry {
    /// Opens the database at `url` (`sqlite://path?mode=rwc` creates the file if it is not there)
    /// and brings its schema up to date.
    ///
    /// # Errors
    /// If the database cannot be used; the variants say why.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_with_capacity(url, Caches::CAPACITY).await
    }

    /// Like [`SqlRegistry::open`], with at most `capacity` answers of each kind remembered.
    ///
    /// # Errors
    /// If the database cannot be used; the variants say why.
    pub async fn open_with_capacity(url: &str, capacity: u64) -> Result<Self, OpenError> {
        create_private(url)?;
        sqlx::any::install_default_drivers();
        let writer = pool(url, 1).await.map_err(OpenError::Connect)?;
        sqlx::migrate!().run(&writer).await?;
        let readers = pool(url, READERS).await.map_err(OpenError::Connect)?;
        let caches = Caches::new(capacity);
        Ok(Self(Arc::new(Parts {
            readers,
            writer,
            caches,
        })))
    }

    /// Waits for running operations and closes the database. Later operations fail.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
    }

    pub(crate) fn readers(&self) -> &AnyPool {
        &self.0.readers
    }

    pub(crate) fn writer(&self) -> &AnyPool {
        &self.0.writer
    }

    pub(crate) fn caches(&self) -> &Caches {
        &self.0.caches
    }
}

impl std::fmt::Debug for SqlRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlRegistry").finish_non_exhaustive()
    }
}

async fn pool(url: &str, connections: u32) -> Result<AnyPool, sqlx::Error> {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .after_connect(|connection: &mut AnyConnection, _| {
            Box::pin(async move { connection.execute(PRAGMAS).await.map(|_| ()) })
        })
        .connect(url)
        .await
}

/// Creates the database file, if the URL allows it, so that only its owner can read it: it holds
/// password hashes. SQLite gives the files beside it the same mode.
fn create_private(url: &str) -> Result<(), OpenError> {
    if !url.starts_with("sqlite:") {
        // Anything else would be taken for a file's name.
        let error = sqlx::Error::Configuration("the scheme is not sqlite".into());
        return Err(OpenError::Url(error));
    }
    let options = SqliteConnectOptions::from_str(url).map_err(OpenError::Url)?;
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(OpenError::InMemory);
    }
    if !url.contains("mode=rwc") {
        return Ok(());
    }
    let path = options.get_filename();
    let mut file = std::fs::OpenOptions::new();
    file.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    let created = file.open(path).map(|_| ());
    created.map_err(|source| OpenError::Create {
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn given() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        (folder, url)
    }

    #[tokio::test]
    async fn every_connection_syncs_its_commits_and_keeps_references() {
        let (_folder, url) = given().await;
        let registry = SqlRegistry::open(&url).await.unwrap();
        for pool in [registry.readers(), registry.writer()] {
            for (pragma, expected) in [
                ("PRAGMA synchronous", 2),
                ("PRAGMA foreign_keys", 1),
                ("PRAGMA busy_timeout", 5000),
            ] {
                let (value,): (i64,) = sqlx::query_as(pragma).fetch_one(pool).await.unwrap();
                assert_eq!(value, expected, "{pragma}");
            }
            let mode = sqlx::query_as("PRAGMA journal_mode").fetch_one(pool);
            let (mode,): (String,) = mode.await.unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[tokio::test]
    async fn a_database_of_a_newer_release_is_left_alone() {
        let (_folder, url) = given().await;
        let registry = SqlRegistry::open(&url).await.unwrap();
        let newer = "INSERT INTO _sqlx_migrations \
                     (version, description, success, checksum, execution_time) \
                     VALUES (9999, 'newer', TRUE, x'00', 0)";
        registry.writer().execute(newer).await.unwrap();
        registry.close().await;
        let opened = SqlRegistry::open(&url).await;
        assert!(matches!(opened, Err(OpenError::Migrate(_))), "{opened:?}");
    }
}
