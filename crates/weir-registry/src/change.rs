//! How anything is changed: one transaction, then what depends on it is forgotten, then the answer.

use futures_util::future::BoxFuture;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Transaction};
use weir_core::TenantId;

use crate::cache::Tag;
use crate::{SqlRegistry, Unavailable};

/// A statement and what is bound to it.
type Statement<'q> = Query<'q, Any, AnyArguments>;

/// A change under way.
pub(crate) struct Change {
    /// Its transaction. Nobody else writes meanwhile.
    pub(crate) tx: Transaction<'static, Any>,
    /// What depends on what was changed. To be complete when the work is done.
    pub(crate) touched: Vec<Tag>,
}

impl SqlRegistry {
    /// Runs `work` in a transaction, commits unless it fails, and makes the caches forget what it
    /// touched.
    ///
    /// It runs in a task of its own: a caller that goes away after the commit must not keep the
    /// caches from being told.
    pub(crate) async fn change<T, E, W>(&self, tenant: &TenantId, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
        W: for<'c> FnOnce(&'c mut Change) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let (registry, tenant) = (self.clone(), tenant.clone());
        let whole = async move {
            // SQLite: take the write lock now rather than fail to get it at the first write.
            let tx = registry.writer().begin_with("BEGIN IMMEDIATE");
            let mut change = Change {
                tx: tx.await.map_err(Unavailable::from)?,
                touched: Vec::new(),
            };
            let done = work(&mut change).await;
            let Change { tx, touched } = change;
            let result = match done {
                Ok(value) => tx.commit().await.map(|()| value).map_err(failed),
                Err(error) => tx.rollback().await.map_err(failed).and(Err(error)),
            };
            // Also after an error: a commit may have happened although its answer was lost.
            registry.caches().forget(&tenant, &touched).await;
            result
        };
        let done = tokio::spawn(whole).await;
        done.unwrap_or_else(|error| Err(Unavailable::from(error).into()))
    }
}

fn failed<E: From<Unavailable>>(error: sqlx::Error) -> E {
    Unavailable::from(error).into()
}

impl Change {
    /// Runs a statement; how many rows it concerned.
    pub(crate) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, Unavailable> {
        let done = statement.execute(&mut *self.tx).await?;
        Ok(done.rows_affected())
    }

    /// Whether there is such a tenant.
    pub(crate) async fn has_tenant(&mut self, id: &TenantId) -> Result<bool, Unavailable> {
        let found: Option<(String,)> = sqlx::query_as("SELECT id FROM tenants WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *self.tx)
            .await?;
        Ok(found.is_some())
    }
}
