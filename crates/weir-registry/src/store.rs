//! Opening the database.

use std::hash::{BuildHasher as _, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Connection as _};
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_core::ChangeListener;

use crate::Unavailable;
use crate::cache::{CacheFigures, Caches};
use crate::change::{Effect, Writer};
use crate::dialect::Dialect;
use crate::log::{Own, Tail};
use crate::probe::Probe;
use crate::version::new_id;

/// How long an operation waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Changes under way at a time (PostgreSQL), at most.
const TURNS: usize = 64;

/// The registry: its database and what is remembered of it. Clones share both.
#[derive(Clone)]
pub struct SqlRegistry(Arc<Parts>);

struct Parts {
    store: Store,
    /// SQLite: who writes. PostgreSQL: everybody does, there is one connection for each.
    writer: Option<Writer>,
    max_devices: Option<u64>,
    /// PostgreSQL: changes of the same place wait for each other here rather than each on a
    /// connection. Places are spread over these.
    turns: [Arc<Mutex<()>>; TURNS],
    hasher: RandomState,
    probe: Probe,
    /// Ends the look-out for others' changes.
    _tail: DropGuard,
}

/// The database and what has to be done when it changes. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) dialect: Dialect,
    pub(crate) readers: AnyPool,
    pub(crate) writers: AnyPool,
    pub(crate) caches: Caches,
    pub(crate) listeners: Listeners,
    /// Tells this process's changes from others'.
    pub(crate) process: String,
    /// Those of its changes of which it is not known yet whether they were made.
    pub(crate) own: Own,
}

/// Who is told of changes.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<RwLock<Vec<Arc<dyn ChangeListener>>>>);

/// How the registry is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Answers of each kind that are remembered at most.
    pub capacity: u64,
    /// Devices a tenant may have if it has no limit of its own (`registration-limits`).
    pub max_devices: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            capacity: Caches::CAPACITY,
            max_devices: None,
        }
    }
}

/// Why the registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names a database that lives in memory, where each connection would see its own.
    #[error("the registry needs a database file, not one in memory")]
    InMemory,
    /// The URL names no database that is known.
    #[error("the registry's URL begins with neither sqlite: nor postgres:")]
    Scheme,
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
    /// The log of changes could not be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl SqlRegistry {
    /// Opens the database at `url` and brings its schema up to date. `sqlite://path?mode=rwc` creates
    /// the file if it is not there; `postgres://user:password@host/database` is a server's.
    ///
    /// # Errors
    /// If the database cannot be used; the variants say why.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_with(url, Options::default()).await
    }

    /// Like [`SqlRegistry::open`], with options.
    ///
    /// # Errors
    /// If the database cannot be used; the variants say why.
    pub async fn open_with(url: &str, options: Options) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(url)?;
        let connect = async |connections| {
            let opened = pool(dialect, url, connections).await;
            opened.map_err(OpenError::Connect)
        };
        migrate(dialect, url).await?;
        let writers = connect(dialect.writers()).await?;
        let store = Store {
            dialect,
            readers: connect(dialect.readers()).await?,
            writers,
            caches: Caches::new(options.capacity),
            listeners: Listeners::default(),
            process: new_id(),
            own: Own::default(),
        };
        let stop = CancellationToken::new();
        let writer = match dialect {
            Dialect::Sqlite => Some(Writer::start(store.clone())),
            Dialect::Postgres => {
                tokio::spawn(Tail::begin(store.clone()).await?.run(stop.clone()));
                None
            }
        };
        Ok(Self(Arc::new(Parts {
            store,
            writer,
            max_devices: options.max_devices,
            turns: std::array::from_fn(|_| Arc::default()),
            hasher: RandomState::new(),
            probe: Probe::new(dialect, url),
            _tail: stop.drop_guard(),
        })))
    }

    /// Has `listener` told of every change from now on.
    pub fn listen(&self, listener: Arc<dyn ChangeListener>) {
        let listeners = &self.0.store.listeners.0;
        let mut listeners = listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.push(listener);
    }

    /// What each of its caches has been good for. It does not wait.
    pub fn cache_figures(&self) -> [CacheFigures; 4] {
        self.0.store.caches.figures()
    }

    /// Has what is no longer remembered counted out of [`SqlRegistry::cache_figures`], which else is done
    /// by and by when the caches are asked.
    pub async fn tidy_caches(&self) {
        self.0.store.caches.tidy().await;
    }

    /// Waits for running operations and closes the database. Later operations fail.
    pub async fn close(&self) {
        self.0.probe.close().await;
        self.0.store.readers.close().await;
        self.0.store.writers.close().await;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn readers(&self) -> &AnyPool {
        &self.0.store.readers
    }

    pub(crate) fn writer(&self) -> Option<&Writer> {
        self.0.writer.as_ref()
    }

    /// The turn that changes of `place` wait for.
    pub(crate) fn turn(&self, place: &str) -> Arc<Mutex<()>> {
        // The remainder is below the number of turns.
        let number = (self.0.hasher.hash_one(place) % TURNS as u64) as usize;
        self.0.turns[number].clone()
    }

    pub(crate) fn probe(&self) -> &Probe {
        &self.0.probe
    }

    pub(crate) fn caches(&self) -> &Caches {
        &self.0.store.caches
    }

    pub(crate) fn max_devices(&self) -> Option<u64> {
        self.0.max_devices
    }
}

impl std::fmt::Debug for SqlRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlRegistry").finish_non_exhaustive()
    }
}

impl Listeners {
    pub(crate) fn tell(&self, effects: &[Effect]) {
        let listeners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let changes = effects.iter().filter_map(|effect| effect.change.as_ref());
        for change in changes {
            for listener in &*listeners {
                let told = AssertUnwindSafe(|| listener.changed(change));
                if std::panic::catch_unwind(told).is_err() {
                    // The change is made; whoever else there is to hear of it shall.
                    tracing::error!("a listener to registry changes panicked");
                }
            }
        }
    }
}

async fn pool(dialect: Dialect, url: &str, connections: u32) -> Result<AnyPool, sqlx::Error> {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .after_connect(move |connection, _| Box::pin(dialect.prepare(connection)))
        // SQLite ends a transaction by itself when the disk is full; sqlx then believes for ever that
        // it is in one. Such a connection is closed instead.
        .after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .connect(url)
        .await
}

/// Brings the schema up to date, over a connection without the limits that operations have: it may
/// take long, and another process may be at it.
async fn migrate(dialect: Dialect, url: &str) -> Result<(), OpenError> {
    let options = AnyPoolOptions::new().max_connections(1);
    let options = match dialect {
        Dialect::Sqlite => {
            options.after_connect(move |connection, _| Box::pin(dialect.prepare(connection)))
        }
        Dialect::Postgres => options,
    };
    let pool = options.connect(url).await.map_err(OpenError::Connect)?;
    dialect.migrate(&pool).await?;
    pool.close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::Executor as _;

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
        for pool in [registry.readers(), &registry.store().writers] {
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
        registry.store().writers.execute(newer).await.unwrap();
        registry.close().await;
        let opened = SqlRegistry::open(&url).await;
        assert!(matches!(opened, Err(OpenError::Migrate(_))), "{opened:?}");
    }

    #[tokio::test]
    async fn only_known_databases_are_opened() {
        for url in ["mysql://localhost/weir", "registry.db", ""] {
            let opened = SqlRegistry::open(url).await;
            assert!(matches!(opened, Err(OpenError::Scheme)), "{url}");
        }
    }

    /// SQLite ends a transaction by itself when the disk is full.
    #[tokio::test]
    async fn a_disk_that_was_full_and_has_room_again_is_written_to() {
        let (_folder, url) = given().await;
        let registry = SqlRegistry::open(&url).await.unwrap();
        let wide = || weir_core::Tenant {
            alias: Some("x".repeat(100_000)),
            ..weir_core::Tenant::default()
        };
        // The limit is this connection's own.
        let limit = registry
            .store()
            .writers
            .execute("PRAGMA max_page_count = 1");
        limit.await.unwrap();
        let full = registry.create_tenant(None, wide()).await.unwrap_err();
        assert!(full.to_string().contains("unavailable"), "{full}");
        registry.create_tenant(None, wide()).await.unwrap();
    }
}
