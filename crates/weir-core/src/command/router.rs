//! Who takes whose commands: the part that gateways which share devices have to share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::CommandDelivery;
use crate::{AuthId, DeviceId, Protocol, Reason, TenantId};

/// Where commands for a device are handed over. In another process it passes them on.
pub trait CommandConsumer: fmt::Debug + Send + Sync + 'static {
    /// The protocol by which it speaks to the device.
    fn protocol(&self) -> Protocol;

    /// The gateway it belongs to, if it was registered by a gateway for one of its devices.
    fn gateway(&self) -> Option<&DeviceId>;

    /// The name under which whoever takes it has authenticated, if that is known here.
    fn auth_id(&self) -> Option<&AuthId> {
        None
    }

    /// Hands a command over, without waiting. If it is not taken, it is dropped, which releases it.
    fn deliver(&self, delivery: CommandDelivery);

    /// Tells that a command was refused that would have been handed over, and by which gateway. Its
    /// application has been told; the device may wait for it.
    fn refused(&self, gateway: Option<&DeviceId>, reason: &Reason) {
        let _ = (gateway, reason);
    }
}

/// Names a registration, to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration(pub u64);

/// The registration had been replaced by a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced;

/// The shared store does not answer; the text is for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the command router is not available: {0}")]
pub struct RouterUnavailable(pub String);

/// The consumers of some devices, in their order.
pub type Consumers = Vec<Option<Arc<dyn CommandConsumer>>>;

/// Keeps who takes whose commands, and which gateway a device was seen at last (northbound contract
/// §5.1).
pub trait CommandRouter: Send + Sync + 'static {
    /// From now on `consumer` takes the commands of `device`, which may be a gateway; whoever did
    /// before does so no more. It ends after `lifespan`, if there is one.
    ///
    /// # Errors
    /// If the store does not answer.
    fn register<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
        consumer: Arc<dyn CommandConsumer>,
        lifespan: Option<Duration>,
    ) -> BoxFuture<'a, Result<Registration, RouterUnavailable>>;

    /// Ends a registration.
    ///
    /// # Errors
    /// [`Replaced`] if it had ended already, because a later one has taken its place.
    fn unregister<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
        registration: Registration,
    ) -> BoxFuture<'a, Result<(), Replaced>>;

    /// Who takes the commands of `devices`.
    ///
    /// # Errors
    /// If the store does not answer.
    fn find<'a>(
        &'a self,
        tenant: &'a TenantId,
        devices: &'a [DeviceId],
    ) -> BoxFuture<'a, Result<Consumers, RouterUnavailable>>;

    /// Notes that `gateway` (or the device itself) has sent for `device`. May be lost.
    fn seen_at(&self, tenant: &TenantId, device: &DeviceId, gateway: &DeviceId);

    /// Who has sent for `device` last, if it is known.
    fn last_seen_at<'a>(
        &'a self,
        tenant: &'a TenantId,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Option<DeviceId>>;

    /// Whether commands for `tenant` are of use: true from the first registration on, until
    /// [`CommandRouter::forget`].
    fn is_wanted(&self, tenant: &TenantId) -> watch::Receiver<bool>;

    /// The tenant is gone or disabled, or has no devices any more.
    fn forget(&self, tenant: &TenantId);

    /// The tenant is there again, or has devices: commands are of use if anybody takes them.
    fn resume(&self, tenant: &TenantId);
}
