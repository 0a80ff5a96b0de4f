//! The log of changes, by which the processes on one PostgreSQL hear of each other's.
//!
//! A change is logged in its own transaction, and everybody looks for what is new a few times a
//! second. Transactions do not end in the order of their numbers; so what is new is what PostgreSQL
//! says a snapshot now sees and the one of the last look did not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use weir_core::{ChangeKind, ChangeSubject, DeviceId, RegistryChange, TenantId};

use crate::Unavailable;
use crate::cache::Tag;
use crate::change::{Change, Effect};
use crate::dialect::Dialect;
use crate::store::Store;
use crate::version::new_id;

/// How often others' changes are looked for: a change is seen everywhere within a second.
const PERIOD: Duration = Duration::from_millis(250);
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a change stays in the log.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// How often what is older is removed.
const SWEEP: Duration = Duration::from_secs(5 * 60);

/// A line of the log.
#[derive(Serialize, Deserialize)]
struct Line {
    tags: Vec<Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Subject>,
}

/// [`ChangeSubject`] as it is written.
#[derive(Serialize, Deserialize)]
enum Subject {
    Tenant(Kind, bool, bool),
    Device(DeviceId, Kind, bool),
    Credentials(DeviceId),
    AllDevices,
}

/// [`ChangeKind`] as it is written.
#[derive(Serialize, Deserialize)]
enum Kind {
    Created,
    Updated,
    Deleted,
}

/// Logs what a transaction did, if others might want to know; the ids of the lines. `process` is this
/// one.
pub(crate) async fn write(
    change: &mut Change,
    process: &str,
    effects: &[Effect],
) -> Result<Vec<String>, Unavailable> {
    let mut lines = Vec::new();
    if change.dialect != Dialect::Postgres {
        return Ok(lines);
    }
    for (number, effect) in (0_i64..).zip(effects) {
        let line = serde_json::to_string(&Line::of(effect))?;
        let id = new_id();
        let sql = "INSERT INTO changes (id, number, source, body) VALUES ($1, $2, $3, $4)";
        let insert = sqlx::query(sql).bind(id.clone()).bind(number);
        let insert = insert.bind(process.to_owned()).bind(line);
        change.execute(insert).await?;
        lines.push(id);
    }
    Ok(lines)
}

/// The lines that this process has written and does not know the fate of. It tells of its own changes
/// itself, unless the answer to their commit was lost.
#[derive(Clone, Default)]
pub(crate) struct Own(Arc<Mutex<HashMap<String, Fate>>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The commit is under way.
    Open,
    /// Nobody knows whether it was made.
    Lost,
}

impl Own {
    pub(crate) fn begin(&self, lines: &[String]) {
        let mut own = self.lock();
        own.extend(lines.iter().map(|line| (line.clone(), Fate::Open)));
    }

    pub(crate) fn end(&self, lines: &[String], is_committed: bool) {
        let mut own = self.lock();
        for line in lines {
            if is_committed {
                own.remove(line);
            } else {
                own.insert(line.clone(), Fate::Lost);
            }
        }
    }

    fn fate(&self, line: &str) -> Option<Fate> {
        self.lock().get(line).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Fate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for others' changes until it is stopped.
pub(crate) struct Tail {
    store: Store,
    /// What was seen at the last look.
    seen: String,
    /// Own lines that were seen before it was known whether their commit succeeded.
    deferred: Vec<(String, Effect)>,
    swept: Instant,
    is_failing: bool,
}

/// A row of the log: id, time, process and line.
type Row = (String, i64, String, String);

impl Tail {
    /// Begins with what is changed from now on. Nothing may have been remembered yet.
    pub(crate) async fn begin(store: Store) -> Result<Self, Unavailable> {
        Ok(Self {
            seen: snapshot(&store).await?,
            store,
            deferred: Vec::new(),
            swept: Instant::now(),
            is_failing: false,
        })
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            // A server that is gone without a word answers nothing for ever.
            let looked = timeout(PATIENCE, self.look()).await;
            match looked.unwrap_or_else(|_| Err(Unavailable::silent())) {
                Ok(()) if self.is_failing => {
                    self.is_failing = false;
                    // Perhaps another server has taken over, which knows less than the one before.
                    self.store.caches.forget_everything().await;
                    tracing::info!("hearing of other processes' changes to the registry again");
                }
                Ok(()) => {}
                Err(error) => {
                    if !self.is_failing {
                        let cause = error.cause();
                        tracing::warn!(cause, "cannot hear of other processes' changes");
                    }
                    self.is_failing = true;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), Unavailable> {
        let now = snapshot(&self.store).await?;
        let sql = "SELECT id, at, source, body FROM changes \
                   WHERE tx >= txid_snapshot_xmin(CAST($1 AS txid_snapshot)) \
                   AND NOT txid_visible_in_snapshot(tx, CAST($1 AS txid_snapshot)) \
                   AND txid_visible_in_snapshot(tx, CAST($2 AS txid_snapshot)) \
                   ORDER BY tx, number";
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(self.seen.clone())
            .bind(now.clone())
            .fetch_all(&self.store.readers)
            .await?;
        let (effects, is_readable) = self.new_effects(rows);
        if !is_readable {
            // A newer release has written what this one does not know.
            tracing::warn!("a change to the registry cannot be read: everything is forgotten");
            self.store.caches.forget_everything().await;
        }
        self.store.caches.forget(&effects).await;
        self.store.listeners.tell(&effects);
        self.seen = now;
        if self.swept.elapsed() > SWEEP {
            self.swept = Instant::now();
            self.sweep().await?;
        }
        Ok(())
    }

    /// What was done, in order, and whether all of it could be read.
    fn new_effects(&mut self, rows: Vec<Row>) -> (Vec<Effect>, bool) {
        let own = self.store.own.clone();
        let mut effects = Vec::new();
        let mut is_readable = true;
        let deferred = std::mem::take(&mut self.deferred);
        let mut decide = |id: String, effect: Effect, later: &mut Vec<_>| match own.fate(&id) {
            // It has told of it.
            None => {}
            Some(Fate::Open) => later.push((id, effect)),
            Some(Fate::Lost) => {
                own.end(&[id], true);
                effects.push(effect);
            }
        };
        for (id, effect) in deferred {
            decide(id, effect, &mut self.deferred);
        }
        let mut others = Vec::new();
        for (id, at, source, body) in rows {
            match serde_json::from_str::<Line>(&body) {
                Ok(line) if source == self.store.process => {
                    decide(id, line.into_effect(at), &mut self.deferred);
                }
                Ok(line) => others.push(line.into_effect(at)),
                Err(_) => is_readable = false,
            }
        }
        effects.append(&mut others);
        (effects, is_readable)
    }

    async fn sweep(&self) -> Result<(), Unavailable> {
        let sql = "DELETE FROM changes \
                   WHERE at < (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT - $1";
        let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        sqlx::query(sql)
            .bind(kept)
            .execute(&self.store.writers)
            .await?;
        Ok(())
    }
}

/// Which transactions have ended by now.
async fn snapshot(store: &Store) -> Result<String, Unavailable> {
    let sql = "SELECT CAST(txid_current_snapshot() AS TEXT)";
    let (snapshot,): (String,) = sqlx::query_as(sql).fetch_one(&store.readers).await?;
    Ok(snapshot)
}

impl Line {
    fn of(effect: &Effect) -> Self {
        let change = effect.change.as_ref();
        Self {
            tags: effect.tags.clone(),
            tenant: change.map(|change| change.tenant.clone()),
            subject: change.map(|change| (&change.subject).into()),
        }
    }

    fn into_effect(self, at: i64) -> Effect {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000);
        let at = at.unwrap_or_else(|_| OffsetDateTime::now_utc());
        let told = self.tenant.zip(self.subject);
        let change = told.map(|(tenant, subject)| RegistryChange {
            at,
            tenant,
            subject: subject.into(),
        });
        Effect {
            tags: self.tags,
            change,
        }
    }
}

impl From<&ChangeSubject> for Subject {
    fn from(subject: &ChangeSubject) -> Self {
        match subject.clone() {
            ChangeSubject::Tenant {
                change,
                enabled,
                invalidate_cache,
            } => Self::Tenant(change.into(), enabled, invalidate_cache),
            ChangeSubject::Device {
                device,
                change,
                enabled,
            } => Self::Device(device, change.into(), enabled),
            ChangeSubject::Credentials { device } => Self::Credentials(device),
            ChangeSubject::AllDevices => Self::AllDevices,
        }
    }
}

impl From<Subject> for ChangeSubject {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Tenant(change, enabled, invalidate_cache) => Self::Tenant {
                change: change.into(),
                enabled,
                invalidate_cache,
            },
            Subject::Device(device, change, enabled) => Self::Device {
                device,
                change: change.into(),
                enabled,
            },
            Subject::Credentials(device) => Self::Credentials { device },
            Subject::AllDevices => Self::AllDevices,
        }
    }
}

impl From<ChangeKind> for Kind {
    fn from(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::Created => Self::Created,
            ChangeKind::Updated => Self::Updated,
            ChangeKind::Deleted => Self::Deleted,
        }
    }
}

impl From<Kind> for ChangeKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Created => Self::Created,
            Kind::Updated => Self::Updated,
            Kind::Deleted => Self::Deleted,
        }
    }
}
