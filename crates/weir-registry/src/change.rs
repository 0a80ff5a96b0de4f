//! How anything is changed: in a transaction, then what depends on it is forgotten, then who listens
//! is told, then it is answered.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
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
/// How long a server may be silent. It bounds each statement itself, unless it is gone.
const PATIENCE: Duration = Duration::from_secs(60);
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
            // Also if it failed by itself: perhaps because of what another has done before it in the
            // same transaction, and that is not so any more.
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
    ///
    /// `place` is what is changed: changes of the same place are told in the order they are made.
    pub(crate) async fn change<T, E, W>(&self, place: &str, work: W) -> Result<T, E>
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
                let (store, turn) = (self.store().clone(), self.turn(place));
                tokio::spawn(async move {
                    let _turn = turn.lock().await;
                    store.transact(job, || None).await;
                });
            }
        }
        result
            .await
            .unwrap_or_else(|_| Err(Unavailable::stopped().into()))
    }
}

impl Store {
    /// Does `first` and what `next` has to give, in one transaction.
    async fn transact(&self, first: Box<dyn Job>, next: impl FnMut() -> Option<Box<dyn Job>>) {
        let tx = match self.writers.begin_with(self.dialect.begin()).await {
            Ok(tx) => tx,
            Err(error) => return first.answer(Err(error.into())),
        };
        let mut change = Change {
            tx,
            dialect: self.dialect,
            effects: Vec::new(),
        };
        let mut done = Vec::new();
        let ran = match self.dialect {
            Dialect::Sqlite => change.run_all(first, next, &mut done).await,
            Dialect::Postgres => change.run_alone(first, &mut done).await,
        };
        let (outcome, effects) = self.commit(change, ran).await;
        // Also after an error: a commit may have happened although its answer was lost.
        self.caches.forget(&effects).await;
        if outcome.is_ok() {
            self.listeners.tell(&effects);
        }
        for job in done {
            job.answer(outcome.clone());
        }
    }

    async fn commit(
        &self,
        mut change: Change,
        ran: Result<Ran, Unavailable>,
    ) -> (Result<(), Unavailable>, Vec<Effect>) {
        let effects = std::mem::take(&mut change.effects);
        let logged = match ran {
            Ok(Ran::Keep) => log::write(&mut change, &self.process, &effects).await,
            Ok(Ran::TakeBack) | Err(_) => Ok(Vec::new()),
        };
        match (ran, logged) {
            (Ok(Ran::Keep), Ok(lines)) => {
                self.own.begin(&lines);
                let committed = bounded(change.tx.commit()).await;
                self.own.end(&lines, committed.is_ok());
                (committed, effects)
            }
            (Ok(Ran::TakeBack), _) => {
                // Its own error says why; that the rollback was not heard of changes nothing.
                let _ = bounded(change.tx.rollback()).await;
                (Ok(()), Vec::new())
            }
            (Err(error), _) | (_, Err(error)) => {
                // A connection on which this fails is closed when it goes back to its pool.
                let _ = bounded(change.tx.rollback()).await;
                (Err(error), effects)
            }
        }
    }
}

async fn bounded(end: impl Future<Output = Result<(), sqlx::Error>>) -> Result<(), Unavailable> {
    let ended = timeout(PATIENCE, end).await;
    ended
        .map_err(|_| Unavailable::silent())?
        .map_err(Unavailable::from)
}

/// What is to become of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ran {
    Keep,
    TakeBack,
}

impl Change {
    /// Does `first` and what `next` has to give. What fails is taken back by itself.
    async fn run_all(
        &mut self,
        first: Box<dyn Job>,
        mut next: impl FnMut() -> Option<Box<dyn Job>>,
        done: &mut Vec<Box<dyn Job>>,
    ) -> Result<Ran, Unavailable> {
        let mut job = Some(first);
        while let Some(mut current) = job {
            let effects = std::mem::take(&mut self.effects);
            let ran = self.run_saved(&mut *current).await;
            self.effects.splice(0..0, effects);
            done.push(current);
            ran?;
            job = if done.len() < BATCH { next() } else { None };
        }
        Ok(Ran::Keep)
    }

    async fn run_saved(&mut self, job: &mut dyn Job) -> Result<(), Unavailable> {
        self.execute(sqlx::query("SAVEPOINT job")).await?;
        if !job.run(self).await {
            self.effects.clear();
            self.execute(sqlx::query("ROLLBACK TO job")).await?;
        }
        self.execute(sqlx::query("RELEASE job")).await?;
        Ok(())
    }

    /// Does one job that has the transaction for itself.
    async fn run_alone(
        &mut self,
        mut job: Box<dyn Job>,
        done: &mut Vec<Box<dyn Job>>,
    ) -> Result<Ran, Unavailable> {
        let ran = timeout(PATIENCE, job.run(self)).await;
        done.push(job);
        match ran {
            Ok(true) => Ok(Ran::Keep),
            Ok(false) => Ok(Ran::TakeBack),
            Err(_) => Err(Unavailable::silent()),
        }
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
