//! What a session knows of a device that messages come from.

use std::sync::Arc;

use crate::usage::{Pace, Volume};
use crate::{
    Assertion, Cached, Defaults, DeviceId, Principal, Reason, RegisteredTenant, Session, Tenant,
};

/// One device that messages come from, resolved.
pub(crate) struct Origin {
    pub(crate) device: DeviceId,
    pub(super) tenant: Cached<RegisteredTenant>,
    pub(super) assertion: Cached<Assertion>,
    pub(crate) defaults: Arc<Defaults>,
    /// How much its tenant's devices may exchange, if that is limited.
    pub(super) volume: Option<Volume>,
    /// How fast its messages may come, if that is limited.
    pub(super) pace: Option<Pace>,
}

impl Origin {
    /// Its tenant's configuration.
    pub(crate) fn tenant(&self) -> &Tenant {
        &self.tenant.settings
    }

    pub(super) fn is_stale(&self) -> bool {
        let is_over = || self.volume.as_ref().is_some_and(Volume::is_over);
        self.tenant.is_stale() || self.assertion.is_stale() || is_over()
    }

    /// Lets a message of this accounting size pass, if its tenant's limits do. Only then has it a part in
    /// how fast messages come.
    ///
    /// # Errors
    /// The reason why it is too much.
    pub(crate) fn keep_limits(&self, size: u64) -> Result<(), Reason> {
        if self
            .volume
            .as_ref()
            .is_some_and(|volume| volume.refuses(size))
        {
            return Err(Reason::DataVolumeExceeded);
        }
        self.pace.as_ref().map_or(Ok(()), Pace::take)
    }

    /// Lets commands find the way to a device that has more than one gateway (northbound contract
    /// §5.1).
    pub(crate) fn tell_where_seen(&self, session: &Session) {
        if self.assertion.via.len() > 1 {
            let Principal { tenant, device, .. } = &session.principal;
            let router = session.pipeline.commands().router();
            router.seen_at(tenant, &self.device, device);
        }
    }
}
