//! One entry applied.

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::StatusCode;

use super::same::{Kind, is_same};
use super::secrets::{self, MissingSecret, Plan, Policy, shows_the_same};
use super::{DeviceEntry, Members, Outcome, TenantEntry};
use crate::operator::api::{Api, ApiError, Found};
use crate::operator::resource::Resource;

/// How often an entry is compared anew because somebody else changed it meanwhile.
const ATTEMPTS: u32 = 4;

/// Applies entries, many at a time.
pub(super) struct Applier {
    pub(super) api: Api,
    pub(super) policy: Policy,
    /// Whether nothing is written.
    pub(super) dry_run: bool,
    /// Whether the last device was not there yet; the next one probably is not either.
    expects_new: AtomicBool,
}

/// What was done for a device.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) outcome: Outcome,
    /// Secrets of the file that were taken for the stored ones.
    pub(super) taken: u64,
    /// Credentials left out for want of a secret.
    pub(super) skipped: u64,
}

/// Why an entry could not be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Object(#[from] ApiError),
    #[error("credentials: {0}")]
    Credentials(ApiError),
    #[error("credentials: {0}")]
    Missing(#[from] MissingSecret),
}

impl ApplyError {
    /// Whether every other entry would fail too.
    pub(super) fn is_hopeless(&self) -> bool {
        match self {
            Self::Object(error) | Self::Credentials(error) => error.is_hopeless(),
            Self::Missing(_) => false,
        }
    }
}

impl Applier {
    pub(super) fn new(api: Api, policy: Policy, dry_run: bool) -> Self {
        Self {
            api,
            policy,
            dry_run,
            expects_new: AtomicBool::new(false),
        }
    }

    pub(super) async fn tenant(&self, entry: &TenantEntry) -> Result<Outcome, ApiError> {
        let resource = Resource::Tenant(&entry.id);
        self.object(Kind::Tenant, resource, &entry.members, false)
            .await
    }

    pub(super) async fn device(&self, entry: &DeviceEntry) -> Result<Applied, ApplyError> {
        let resource = Resource::Device(&entry.tenant, &entry.id);
        let expects_new = self.expects_new.load(Ordering::Relaxed);
        let outcome = self.object(Kind::Device, resource, &entry.members, expects_new);
        let outcome = outcome.await?;
        let is_new = outcome == Outcome::Created;
        self.expects_new.store(is_new, Ordering::Relaxed);
        let mut applied = Applied {
            outcome,
            taken: 0,
            skipped: 0,
        };
        if let Some(wanted) = &entry.credentials {
            let (plan, set) = self.credentials(entry, wanted, is_new).await?;
            applied.outcome = outcome.max(set);
            applied.taken = plan.taken;
            applied.skipped = plan.skipped;
        }
        Ok(applied)
    }

    async fn object(
        &self,
        kind: Kind,
        resource: Resource<'_>,
        members: &Members,
        expects_new: bool,
    ) -> Result<Outcome, ApiError> {
        if expects_new && !self.dry_run {
            match self.api.create(resource, members).await {
                Ok(_) => return Ok(Outcome::Created),
                Err(error) if error.is(StatusCode::CONFLICT) => {}
                Err(error) => return Err(error),
            }
        }
        let mut attempt = 1;
        loop {
            let done = match self.api.get::<Members>(resource).await {
                Ok(found) => self.make_same(kind, resource, members, found).await,
                Err(error) if error.is(StatusCode::NOT_FOUND) && self.dry_run => {
                    Ok(Outcome::Created)
                }
                Err(error) if error.is(StatusCode::NOT_FOUND) => {
                    let created = self.api.create(resource, members).await;
                    created.map(|_| Outcome::Created)
                }
                Err(error) => return Err(error),
            };
            match done {
                Err(error) if is_race(&error) && attempt < ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    async fn make_same(
        &self,
        kind: Kind,
        resource: Resource<'_>,
        members: &Members,
        found: Found<Members>,
    ) -> Result<Outcome, ApiError> {
        if members.is_empty() || is_same(kind, members, &found.object) {
            return Ok(Outcome::Unchanged);
        }
        if self.dry_run {
            return Ok(Outcome::Updated);
        }
        let version = Some(found.version.as_str());
        self.api.replace(resource, members, version).await?;
        // The gateway may store something in another form than the file's.
        let after = self.api.get::<Members>(resource).await?.object;
        Ok(match is_same(kind, &found.object, &after) {
            true => Outcome::Unchanged,
            false => Outcome::Updated,
        })
    }

    async fn credentials(
        &self,
        entry: &DeviceEntry,
        wanted: &[Members],
        is_new: bool,
    ) -> Result<(Plan, Outcome), ApplyError> {
        let resource = Resource::Credentials(&entry.tenant, &entry.id);
        let mut attempt = 1;
        loop {
            // A new device has none.
            let found = match is_new && attempt == 1 {
                true => None,
                false => Some(self.api.get::<Vec<Members>>(resource).await),
            };
            let found = found.transpose().map_err(ApplyError::Credentials)?;
            let stored = found.as_ref().map_or(&[][..], |found| &found.object);
            let plan = secrets::plan(wanted, stored, self.policy)?;
            let Some(set) = &plan.set else {
                return Ok((plan, Outcome::Unchanged));
            };
            if self.dry_run {
                return Ok((plan, Outcome::Updated));
            }
            let version = found.as_ref().map(|found| found.version.as_str());
            match self.api.replace(resource, set, version).await {
                Ok(()) => {}
                Err(error) if is_race(&error) && attempt < ATTEMPTS => {
                    attempt += 1;
                    continue;
                }
                Err(error) => return Err(ApplyError::Credentials(error)),
            }
            if is_new || plan.rotates {
                return Ok((plan, Outcome::Updated));
            }
            let after = self.api.get::<Vec<Members>>(resource).await;
            let after = after.map_err(ApplyError::Credentials)?.object;
            return Ok(match shows_the_same(stored, &after) {
                true => (plan, Outcome::Unchanged),
                false => (plan, Outcome::Updated),
            });
        }
    }
}

/// Whether somebody else has changed it since it was looked at; also what a name that another one has
/// looks like, which stays so.
fn is_race(error: &ApiError) -> bool {
    error.is(StatusCode::PRECONDITION_FAILED) || error.is(StatusCode::CONFLICT)
}
