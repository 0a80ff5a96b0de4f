//! What is resolved once for a connection (or an exchange) and used for each of its messages.

mod origin;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use weir_metrics::TenantMeters;

use crate::connection_events::{self, Cause};
use crate::connections::Place;
use crate::provisioning::announce;
use crate::refusals::Refused;
use crate::usage::{Seat, TenantUsage};
use crate::{
    Assertion, AssertionError, Cached, Defaults, Delivery, DeviceId, Downstream, Endpoint,
    LogLimit, LookupError, Outcome, Outlet, Pipeline, Principal, Protocol, Reason,
    RegisteredTenant, Rule, TenantId, shorten,
};

pub(crate) use origin::Origin;

/// Edge devices a gateway's session remembers. When there are more, it starts anew.
const EDGE_DEVICES: usize = 10_000;

static ANONYMOUS_REFUSALS: LogLimit = LogLimit::new();
static RATE_REFUSALS: LogLimit = LogLimit::new();

/// An authenticated device's connection or exchange.
///
/// It holds the principal, the meters, and what the registry said of each device it sends for, for
/// as long as the registry does not mark that as stale.
pub struct Session {
    pipeline: Pipeline,
    protocol: Protocol,
    principal: Principal,
    meters: Arc<TenantMeters>,
    usage: Arc<TenantUsage>,
    /// Of uploads.
    outlets: [Arc<dyn Outlet>; Endpoint::UPLOADS.len()],
    origins: Mutex<Origins>,
    /// If this session is a connection.
    connection: Option<Connection>,
}

struct Connection {
    /// Cancelled when it is to be closed.
    closed: CancellationToken,
    /// Taken when it ends.
    open: Mutex<Option<Open>>,
}

/// What a connection holds for as long as it is open.
struct Open {
    place: Place,
    seat: Seat,
}

/// What is known of the devices that this session sends for.
#[derive(Default)]
struct Origins {
    own: Option<Arc<Origin>>,
    edge: HashMap<DeviceId, Arc<Origin>>,
}

impl Session {
    /// Opens the session of a connection; the device's own registration is asserted, and its tenant's limits
    /// are kept.
    pub(crate) async fn connect(
        pipeline: &Pipeline,
        protocol: Protocol,
        principal: Principal,
        remote_id: &str,
    ) -> Result<Arc<Self>, Reason> {
        let mut session = Self::new(pipeline, protocol, principal);
        let Principal { tenant, device, .. } = session.principal.clone();
        // First the place, then the question: a device that is deleted in between is sent away.
        let place = pipeline.connections().enter(&tenant, &device);
        let origin = session.resolve(&device, || Ok(())).await?;
        let seat = session.usage.enter(origin.tenant())?;
        connection_events::tell(&session, Cause::Connected, remote_id).await?;
        session.meters.connected().opened(Instant::now());
        session.connection = Some(Connection {
            closed: place.closed().clone(),
            open: Mutex::new(Some(Open { place, seat })),
        });
        Ok(Arc::new(session))
    }

    pub(crate) fn exchange(
        pipeline: &Pipeline,
        protocol: Protocol,
        principal: Principal,
    ) -> Arc<Self> {
        Arc::new(Self::new(pipeline, protocol, principal))
    }

    fn new(pipeline: &Pipeline, protocol: Protocol, principal: Principal) -> Self {
        let tenant = &principal.tenant;
        Self {
            meters: pipeline
                .metrics()
                .tenant(protocol.component(), tenant.as_str()),
            usage: pipeline.usage().of(tenant),
            outlets: Endpoint::UPLOADS
                .map(|endpoint| pipeline.northbound().outlet(tenant, endpoint)),
            pipeline: pipeline.clone(),
            protocol,
            principal,
            origins: Mutex::default(),
            connection: None,
        }
    }

    /// Waits until the connection is to be closed, because its device or tenant was deleted or
    /// disabled (device contract §1.17). An exchange is never, nor is one that has [ended](Session::end).
    pub async fn closed(&self) {
        match &self.connection {
            Some(connection) => connection.closed.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the connection: it is one of the tenant's no more, although messages may still wait for their
    /// outcomes. Calling it again does nothing; dropping the session does it too.
    pub fn end(&self) {
        let Some(connection) = &self.connection else {
            return;
        };
        let mut open = connection
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(Open { place, seat }) = open.take() else {
            return;
        };
        drop(open);
        // Who sees that one connection less is open may open one.
        drop((place, seat));
        self.meters.connected().closed(Instant::now());
    }

    /// Ends the connection, and tells that it is over if anybody is to be told. `remote_id` is what the
    /// client called itself. Not to be called if the device's registration has ended (device contract
    /// §1.17).
    pub async fn disconnected(&self, remote_id: &str) {
        self.end();
        // Whether somebody could be told makes no difference any more; it is logged.
        let _ = connection_events::tell(self, Cause::Disconnected, remote_id).await;
    }

    /// Whether the connection is to be closed; see [`Session::closed`].
    pub fn is_closed(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| connection.closed.is_cancelled())
    }

    /// Whether the credentials with which the device logged in have expired since. It may then do
    /// nothing more; its messages are refused (device contract §3.7).
    pub fn has_expired(&self) -> bool {
        let expires = self.principal.expires;
        expires.is_some_and(|expires| tokio::time::Instant::now() > expires)
    }

    /// The device that authenticated.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The protocol it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Ends a message that could not be parsed. It is logged, and not counted as a message.
    pub fn refuse(&self, reason: Reason) -> Outcome {
        let principal = &self.principal;
        if let Some(unlogged) = self.admit_line(&reason) {
            tracing::info!(
                protocol = self.protocol.type_name(),
                tenant = principal.tenant.as_str(),
                device = shorten(principal.device.as_str()),
                reason = reason.name(),
                status = reason.status(),
                text = shorten(reason.text()),
                unlogged = (unlogged > 0).then_some(unlogged),
                "request refused"
            );
        }
        let refusals = self.pipeline.refusals();
        refusals.count(self.protocol, Refused::Request, &reason);
        let terminal = self.is_ended_by(&reason);
        Outcome::refused(reason, terminal)
    }

    /// Whether a line about a refusal is to be logged, and if so how many were not. What those can cause
    /// who have not said who they are is told a few times a second; so is what comes too fast, from
    /// whomever.
    pub(crate) fn admit_line(&self, reason: &Reason) -> Option<u64> {
        match reason {
            Reason::MessageRateExceeded(..) => RATE_REFUSALS.admit(Instant::now()),
            _ if self.principal.is_authenticated() => Some(0),
            _ => ANONYMOUS_REFUSALS.admit(Instant::now()),
        }
    }

    /// Whether a refusal of something that concerns the connected device itself ends the connection. One
    /// that nobody authenticated goes on always (device contract §1.18).
    pub(crate) fn is_ended_by(&self, reason: &Reason) -> bool {
        self.principal.is_authenticated() && reason.is_terminal(true)
    }

    pub(crate) fn meters(&self) -> &Arc<TenantMeters> {
        &self.meters
    }

    pub(crate) fn usage(&self) -> &TenantUsage {
        &self.usage
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Hands a message to the northbound.
    pub(crate) fn publish(&self, message: Downstream) -> Delivery {
        match self.outlets.get(message.endpoint as usize) {
            Some(outlet) => outlet.publish(message),
            None => {
                let northbound = self.pipeline.northbound();
                let outlet = northbound.outlet(&self.principal.tenant, message.endpoint);
                outlet.publish(message)
            }
        }
    }

    /// Whether the session's own device may speak for `device`: both are registered, and if they differ
    /// the one is a gateway of the other.
    ///
    /// # Errors
    /// The reason why not.
    pub async fn may_speak_for(&self, device: &DeviceId) -> Result<(), Reason> {
        if self.known(device).is_none() {
            self.resolve(device, || Ok(())).await?;
        }
        Ok(())
    }

    /// What is known of `device` without asking the registry.
    pub(crate) fn known(&self, device: &DeviceId) -> Option<Arc<Origin>> {
        let origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = if *device == self.principal.device {
            origins.own.as_ref()
        } else {
            origins.edge.get(device)
        };
        origin.filter(|origin| !origin.is_stale()).cloned()
    }

    /// Asks the registry for `device`, in Hono's order: the registration first, then what `between`
    /// checks, then the tenant.
    pub(crate) async fn resolve(
        &self,
        device: &DeviceId,
        between: impl FnOnce() -> Result<(), Reason>,
    ) -> Result<Arc<Origin>, Reason> {
        let assertion = self.assert(device).await?;
        between()?;
        let tenant = self.tenant().await?;
        let settings = &tenant.settings;
        let defaults = Arc::new(Defaults::merge(&settings.defaults, &assertion.defaults));
        let volume = self.usage.volume(settings);
        let pace = self.usage.pace(settings, device);
        let origin = Origin {
            device: device.clone(),
            tenant,
            assertion,
            defaults,
            volume,
            pace,
        };
        Ok(self.remember(Arc::new(origin)))
    }

    async fn assert(&self, device: &DeviceId) -> Result<Cached<Assertion>, Reason> {
        let Principal {
            tenant,
            device: own,
            ..
        } = &self.principal;
        let gateway = (device != own).then_some(own);
        let asserted = self.ask(tenant, device, gateway).await?;
        if !asserted.is_unannounced {
            return Ok(asserted);
        }
        announce(&self.pipeline, tenant, device, gateway).await?;
        let asserted = self.ask(tenant, device, gateway).await?;
        if asserted.is_unannounced {
            // It is another one by now: registered anew.
            return Err(Reason::NotAnnounced);
        }
        Ok(asserted)
    }

    async fn ask(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        gateway: Option<&DeviceId>,
    ) -> Result<Cached<Assertion>, Reason> {
        let registry = self.pipeline.registry();
        let asserted = registry.assert(tenant, device, gateway).await;
        asserted.map_err(|error| match error {
            AssertionError::TenantUnknown => Reason::TenantUnknown,
            AssertionError::DeviceUnknown => Reason::DeviceUnknown,
            AssertionError::InvalidId => {
                Reason::BadRequest(Rule::Address, "device id is not valid".into())
            }
            AssertionError::LimitReached => Reason::DeviceLimitReached,
            AssertionError::GatewayUnknown => Reason::GatewayUnknown,
            AssertionError::GatewayNotAuthorised => Reason::GatewayNotAuthorised,
            AssertionError::Unavailable(cause) => self.unavailable(&cause),
        })
    }

    /// The tenant as it is now, whether it may do anything or not.
    pub(crate) async fn present_tenant(&self) -> Result<Cached<RegisteredTenant>, Reason> {
        let Principal {
            tenant, snapshot, ..
        } = &self.principal;
        if !snapshot.is_stale() {
            return Ok(snapshot.clone());
        }
        let fresh = self.pipeline.registry().tenant(tenant).await;
        fresh.map_err(|error| match error {
            LookupError::NotFound => Reason::TenantUnknown,
            LookupError::Unavailable(cause) => self.unavailable(&cause),
        })
    }

    pub(crate) async fn tenant(&self) -> Result<Cached<RegisteredTenant>, Reason> {
        let tenant = self.present_tenant().await?;
        if !tenant.settings.enabled {
            return Err(Reason::TenantDisabled);
        }
        if !tenant.settings.is_adapter_enabled(self.protocol) {
            return Err(Reason::AdapterDisabled);
        }
        Ok(tenant)
    }

    /// Whether a refusal ends the connection. An edge device that is gone does so only if the
    /// gateway itself is gone too.
    pub(crate) async fn is_terminal(&self, reason: &Reason, device: &DeviceId) -> bool {
        let own = &self.principal.device;
        if device == own {
            return self.is_ended_by(reason);
        }
        if *reason == Reason::DeviceUnknown {
            return matches!(self.assert(own).await, Err(Reason::DeviceUnknown));
        }
        reason.is_terminal(false)
    }

    fn remember(&self, origin: Arc<Origin>) -> Arc<Origin> {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if origin.device == self.principal.device {
            origins.own = Some(origin.clone());
        } else {
            if origins.edge.len() >= EDGE_DEVICES {
                origins.edge.clear();
            }
            origins.edge.insert(origin.device.clone(), origin.clone());
        }
        origin
    }

    fn unavailable(&self, cause: &str) -> Reason {
        let tenant = self.principal.tenant.as_str();
        tracing::warn!(tenant, cause, "the registry did not answer an assertion");
        Reason::RegistryUnavailable
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}
