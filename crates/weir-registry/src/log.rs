//! The log of changes, by which the processes on one PostgreSQL hear of each other's.
//!
//! A change is logged in its own transaction, and everybody looks for what is new a few times a
//! second. Transactions do not end in the order of their numbers; so what is read again each time is
//! everything since the oldest one that was still running the last time.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior, interval};
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

/// Logs what a transaction did, if others might want to know. `process` is this one.
pub(crate) async fn write(
    change: &mut Change,
    process: &str,
    effects: &[Effect],
) -> Result<(), Unavailable> {
    if change.dialect != Dialect::Postgres {
        return Ok(());
    }
    for effect in effects {
        let line = serde_json::to_string(&Line::of(effect))?;
        let at = millis(OffsetDateTime::now_utc());
        let sql = "INSERT INTO changes (id, at, source, body) VALUES ($1, $2, $3, $4)";
        let insert = sqlx::query(sql).bind(new_id()).bind(at);
        let insert = insert.bind(process.to_owned()).bind(line);
        change.execute(insert).await?;
    }
    Ok(())
}

/// Looks for others' changes until `stop`.
pub(crate) struct Tail {
    store: Store,
    /// The oldest transaction whose changes may not have been seen.
    from: i64,
    /// What was seen of those since, by id, with its transaction.
    seen: HashMap<String, i64>,
    asked: Instant,
    swept: Instant,
    is_failing: bool,
}

impl Tail {
    /// Begins with what is changed from now on. Nothing may have been remembered yet.
    pub(crate) async fn begin(store: Store) -> Result<Self, Unavailable> {
        let from = oldest_running(&store).await?;
        let now = Instant::now();
        Ok(Self {
            store,
            from,
            seen: HashMap::new(),
            asked: now,
            swept: now,
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
            match self.look().await {
                Ok(()) if self.is_failing => {
                    self.is_failing = false;
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
        let now = Instant::now();
        let oldest = oldest_running(&self.store).await?;
        let sql = "SELECT id, tx, at, source, body FROM changes WHERE tx >= $1 ORDER BY at, tx";
        let rows: Vec<(String, i64, i64, String, String)> = sqlx::query_as(sql)
            .bind(self.from)
            .fetch_all(&self.store.readers)
            .await?;
        let mut effects = Vec::new();
        for (id, tx, at, source, body) in rows {
            let is_new = self.seen.insert(id, tx).is_none();
            if is_new && source != self.store.process {
                let line: Line = serde_json::from_str(&body)?;
                effects.push(line.into_effect(at));
            }
        }
        if now.duration_since(self.asked) > KEPT / 2 {
            // Some may have been removed unseen.
            self.store.caches.forget_everything().await;
        }
        self.store.caches.forget(&effects).await;
        self.store.listeners.tell(&effects);
        self.from = oldest;
        self.seen.retain(|_, tx| *tx >= oldest);
        self.asked = now;
        if now.duration_since(self.swept) > SWEEP {
            self.swept = now;
            self.sweep().await?;
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<(), Unavailable> {
        let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        let before = millis(OffsetDateTime::now_utc()) - kept;
        let delete = sqlx::query("DELETE FROM changes WHERE at < $1").bind(before);
        delete.execute(&self.store.writers).await?;
        Ok(())
    }
}

async fn oldest_running(store: &Store) -> Result<i64, Unavailable> {
    let sql = "SELECT txid_snapshot_xmin(txid_current_snapshot())";
    let (oldest,): (i64,) = sqlx::query_as(sql).fetch_one(&store.readers).await?;
    Ok(oldest)
}

fn millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
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
