//! What SQLite and PostgreSQL do differently.

use std::str::FromStr as _;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, AnyPool, Executor as _};

use crate::OpenError;

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// A file of this process alone.
    Sqlite,
    /// A server that other processes use too.
    Postgres,
}

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// What a connection to SQLite is told first. A commit is synced (`FULL`), because its answer says
/// that the change is safe.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000; \
                       PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;";
/// What a connection to PostgreSQL is told first: nothing waits for ever, and a commit is answered
/// when it is on the disk, whatever the server's default is.
const SETTINGS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s'; \
                        SET idle_in_transaction_session_timeout = '30s'; \
                        SET synchronous_commit = on;";

impl Dialect {
    /// The dialect of the database at `url`, which is made ready to be connected to.
    pub(crate) fn of(url: &str) -> Result<Self, OpenError> {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Ok(Self::Postgres);
        }
        if url.starts_with("sqlite:") {
            create_private(url)?;
            return Ok(Self::Sqlite);
        }
        Err(OpenError::Scheme)
    }

    pub(crate) async fn prepare(self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let sql = match self {
            Self::Sqlite => PRAGMAS,
            Self::Postgres => SETTINGS,
        };
        connection.execute(sql).await.map(|_| ())
    }

    pub(crate) async fn migrate(self, pool: &AnyPool) -> Result<(), MigrateError> {
        match self {
            Self::Sqlite => SQLITE.run(pool).await,
            Self::Postgres => POSTGRES.run(pool).await,
        }
    }

    /// The end of a SELECT of rows that will be changed: others wait for this transaction.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// How a transaction begins that will write. SQLite: take the write lock now rather than fail to
    /// get it at the first write.
    pub(crate) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            // Whatever the server's default is: what is read after a lock has to be fresh.
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// Connections that look-ups share. SQLite runs each on a thread of its own.
    pub(crate) fn readers(self) -> u32 {
        match self {
            Self::Sqlite => 4,
            Self::Postgres => 12,
        }
    }

    /// Connections that change something. SQLite has one writer at a time; waiting for it here is
    /// fair and does not poll.
    pub(crate) fn writers(self) -> u32 {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => 12,
        }
    }
}

/// Creates the database file, if the URL allows it, so that only its owner can read it: it holds
/// password hashes. SQLite gives the files beside it the same mode.
fn create_private(url: &str) -> Result<(), OpenError> {
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
