//! Whether the database answers.

use std::time::Duration;

use sqlx::{AnyConnection, AnyPool, Connection as _};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::Unavailable;
use crate::dialect::Dialect;
use crate::store::{SqlRegistry, Store};

const QUESTION: &str = "SELECT 1 FROM tenants LIMIT 1";

/// Who asks.
///
/// A server is asked over a connection of its own: it may answer well while all others are in use. After a
/// question without an answer the connection is closed and not given back to anybody.
pub(crate) enum Probe {
    /// A file is read by whoever is free.
    Sqlite,
    Postgres {
        url: String,
        kept: Mutex<Option<AnyConnection>>,
    },
}

impl SqlRegistry {
    /// Asks the database something that costs it nothing.
    ///
    /// # Errors
    /// If it does not answer within `patience`.
    pub async fn ping(&self, patience: Duration) -> Result<(), Unavailable> {
        let asked = timeout(patience, self.probe().ask(self.store())).await;
        asked.unwrap_or_else(|_| Err(Unavailable::silent()))
    }
}

impl Probe {
    pub(crate) fn new(dialect: Dialect, url: &str) -> Self {
        match dialect {
            Dialect::Sqlite => Self::Sqlite,
            Dialect::Postgres => Self::Postgres {
                url: url.to_owned(),
                kept: Mutex::default(),
            },
        }
    }

    async fn ask(&self, store: &Store) -> Result<(), Unavailable> {
        if store.readers.is_closed() {
            return Err(Unavailable::stopped());
        }
        match self {
            Self::Sqlite => Ok(ask_any(&store.readers).await?),
            Self::Postgres { url, kept } => {
                let mut slot = kept.lock().await;
                if let Some(mut connection) = slot.take()
                    && ask_one(&mut connection).await.is_ok()
                {
                    *slot = Some(connection);
                    return Ok(());
                }
                // The server may have been started again since. Where it is there and takes no more
                // connections, those there are decide.
                let mut connection = match AnyConnection::connect(url).await {
                    Ok(connection) => connection,
                    Err(sqlx::Error::Database(_)) => return Ok(ask_any(&store.readers).await?),
                    Err(error) => return Err(error.into()),
                };
                store.dialect.prepare(&mut connection).await?;
                ask_one(&mut connection).await?;
                *slot = Some(connection);
                Ok(())
            }
        }
    }

    pub(crate) async fn close(&self) {
        if let Self::Postgres { kept, .. } = self
            && let Some(connection) = kept.lock().await.take()
        {
            // The process ends: whether the server has heard of it is of no interest.
            let _ = connection.close().await;
        }
    }
}

async fn ask_any(pool: &AnyPool) -> Result<(), sqlx::Error> {
    sqlx::query(QUESTION).fetch_optional(pool).await.map(drop)
}

async fn ask_one(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let asked = sqlx::query(QUESTION).fetch_optional(connection);
    asked.await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_file_answers_until_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let registry = SqlRegistry::open(&url).await.unwrap();
        let patience = Duration::from_secs(60);
        registry.ping(patience).await.unwrap();
        registry.close().await;
        registry.ping(patience).await.unwrap_err();
    }

    /// A store whose readers are those of a file, so that only the probe itself is looked at.
    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.db");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let registry = SqlRegistry::open(&url).await.unwrap();
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let probe = Probe::new(
            Dialect::Postgres,
            &format!("postgres://u@127.0.0.1:{port}/d"),
        );
        let mut asked = Box::pin(probe.ask(registry.store()));
        // It is connected to and asks in vain.
        let (_socket, _) = tokio::select! {
            accepted = silent.accept() => accepted.unwrap(),
            answer = &mut asked => panic!("{answer:?}"),
        };
        let waited = timeout(Duration::from_millis(20), &mut asked).await;
        assert!(waited.is_err(), "{waited:?}");
        drop((asked, silent));
        // Nothing is held any more, so the next one can ask.
        probe.ask(registry.store()).await.unwrap_err();
    }
}
