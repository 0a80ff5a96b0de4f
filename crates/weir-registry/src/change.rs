//! How anything is changed: in a transaction, then what depends on it is forgotten, then who listens
//! is told, then it is answered.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Transaction};
use tokio::sync::{mpsc, oneshot};
use weir_core::{ChangeSubject, RegistryChange, TenantId};

use crate::cache::Tag;
use crate::dialect::Dialect;
use crate::log;
use crate::store::Store;
use crate::{SqlRegistry, Unavailable};

/// A statement and what is bound to it.
type Statement<'q> = Query<'q, Any, AnyArguments>;

/// Changes that one transaction carries at most (SQLite).
const BATCH: usize = 256;
/// Changes that may wait for the writer.
const WAITING: usize = 4096;

/// A change under way.
pub(crate) struct Change {
    /// Its transaction. With SQLite, nobody else writes meanwhile.
    pub(crate) tx: Transaction<'static, Any>,
    pub(crate) dialect: Dialect,
    /// What it did, complete when the work is done.
    effects: Vec<Effect>,
}

/// A change that was made: what depends on it, and what is to be told of it.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) tags: Vec<Tag>,
    pub(crate) change: Option<RegistryChange>,
}

/// Something to be done in a transaction, and to be answered when that is committed.
trait Job: Send {
    /// Does it; whether its writes are to stay.
    fn run<'c>(&'c mut self, change: &'c mut Change) -> BoxFuture<'c, bool>;
    /// Answers it. `committed` is of its transaction.
    fn answer(self: Box<Self>, committed: Result<(), Unavailable>);
}

struct Work<T, E, W> {
    work: Option<W>,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<T, E, W> Job for Work<T, E, W>
where
    T: Send,
    E: From<Unavailable> + Send,
    W: for<'c> FnOnce(&'c mut Change) -> BoxFuture<'c, Result<T, E>> + Send,
{
    fn run<'c>(&'c mut self, change: &'c mut Change) -> BoxFuture<'c, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else {
                return false;
            };
            let done = AssertUnwindSafe(work(change)).catch_unwind().await;
            let result = done.unwrap_or_else(|_| Err(Unavailable::panicked().into()));
            let is_good = result.is_ok();
            self.result = Some(result);
            is_good
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), Unavailable>) {
        let result = match (self.result, committed) {
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
            (Some(done), Ok(())) => done,
            (None, Ok(())) => Err(Unavailable::stopped().into()),
        };
        // Whoever asked may be gone.
        let _ = self.answer.send(result);
    }
}

/// Where changes wait for the one that writes them (SQLite).
#[derive(Clone)]
pub(crate) struct Writer(mpsc::Sender<Box<dyn Job>>);

impl Writer {
    /// Starts the task that writes. It ends when the last `Writer` is gone.
    pub(crate) fn start(store: Store) -> Self {
        let (sender, mut jobs) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            while let Some(first) = jobs.recv().await {
                store.transact(first, || jobs.try_recv().ok()).await;
            }
        });
        Self(sender)
    }
}

impl SqlRegistry {
    /// Runs `work` in a transaction and commits unless it fails.
    ///
    /// It does not run in the caller's task: a caller that goes away after the commit must not keep
    /// the caches from being told.
    pub(crate) async fn change<T, E, W>(&self, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
        W: for<'c> FnOnce(&'c mut Change) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Work {
            work: Some(work),
            result: None,
            answer,
        });
        match self.writer() {
            // One writer at a time: whatever waits shares the next transaction and its sync.
            Some(writer) => {
                // If it cannot be sent, it is dropped, and the answer fails below.
                let _ = writer.0.send(job).await;
            }
            None => {
                let store = self.store().clone();
                tokio::spawn(async move { store.transact(job, || None).await });
            }
        }
        result
            .await
            .unwrap_or_else(|_| Err(Unavailable::stopped().into()))
    }
}

impl Store {
    /// Does `first` and what `next` has to give, in one transaction.
    async fn transact(&self, first: Box<dyn Job>, mut next: impl FnMut() -> Option<Box<dyn Job>>) {
        let tx = match self.writers.begin_with(self.dialect.begin()).await {
            Ok(tx) => tx,
            Err(error) => return first.answer(Err(error.into())),
        };
        let mut change = Change {
            tx,
            dialect: self.dialect,
            effects: Vec::new(),
        };
        let (mut done, mut effects) = (Vec::new(), Vec::new());
        let mut outcome = Ok(());
        let mut job = Some(first);
        while let Some(mut current) = job {
            outcome = change.run(&mut *current).await;
            effects.append(&mut change.effects);
            done.push(current);
            let goes_on = outcome.is_ok() && done.len() < BATCH;
            job = if goes_on { next() } else { None };
        }
        if outcome.is_ok() {
            outcome = log::write(&mut change, &self.process, &effects).await;
        }
        let outcome = match outcome {
            Ok(()) => change.tx.commit().await.map_err(Unavailable::from),
            Err(error) => {
                // It is rolled back at the latest when the connection is used again.
                let _ = change.tx.rollback().await;
                Err(error)
            }
        };
        // Also after an error: a commit may have happened although its answer was lost.
        self.caches.forget(&effects).await;
        if outcome.is_ok() {
            self.listeners.tell(&effects);
        }
        for job in done {
            job.answer(outcome.clone());
        }
    }
}

impl Change {
    /// Does one job, and takes its writes back if it fails.
    async fn run(&mut self, job: &mut dyn Job) -> Result<(), Unavailable> {
        if self.dialect == Dialect::Sqlite {
            self.execute(sqlx::query("SAVEPOINT job")).await?;
        }
        if job.run(self).await {
            return Ok(());
        }
        self.effects.clear();
        if self.dialect == Dialect::Sqlite {
            self.execute(sqlx::query("ROLLBACK TO job")).await?;
            return Ok(());
        }
        // It has the transaction for itself.
        Err(Unavailable::rolled_back())
    }

    /// Notes what was changed: what is remembered of it is forgotten after the commit, and whoever
    /// listens is told.
    pub(crate) fn made(&mut self, tenant: &TenantId, subject: ChangeSubject, tags: Vec<Tag>) {
        let change = RegistryChange {
            at: time::OffsetDateTime::now_utc(),
            tenant: tenant.clone(),
            subject,
        };
        self.effects.push(Effect {
            tags,
            change: Some(change),
        });
    }

    /// Notes what is to be forgotten after the commit, of which nobody is to be told.
    pub(crate) fn touched(&mut self, tags: Vec<Tag>) {
        self.effects.push(Effect { tags, change: None });
    }

    /// Runs a statement; how many rows it concerned.
    pub(crate) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, Unavailable> {
        let done = statement.execute(&mut *self.tx).await?;
        Ok(done.rows_affected())
    }

    /// Waits for whoever changes the same thing, until the end of the transaction. SQLite has one
    /// writer anyway.
    pub(crate) async fn lock(&mut self, what: &str) -> Result<(), Unavailable> {
        if self.dialect == Dialect::Postgres {
            let sql = "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended($1, 0))) AS l";
            self.execute(sqlx::query(sql).bind(what.to_owned())).await?;
        }
        Ok(())
    }
}
