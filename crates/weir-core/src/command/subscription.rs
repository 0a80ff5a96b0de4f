//! How a device's connection, or its wait, takes commands.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytestring::ByteString;
use serde_json::Map;
use tokio::sync::mpsc;

use super::CommandDelivery;
use super::router::{CommandConsumer, Registration};
use crate::{AuthId, Defaults, DeviceId, Downstream, Endpoint, Protocol, Qos, Reason, Session};

/// Says that there is no payload on purpose.
const EMPTY_NOTIFICATION: ByteString =
    ByteString::from_static("application/vnd.eclipse-hono-empty-notification");

/// `ttd` of a device that can be reached from now on, and of one that cannot any more.
const REACHABLE: i32 = -1;
const UNREACHABLE: i32 = 0;

/// Whose commands are taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommandTarget {
    /// The authenticated device's own.
    Own,
    /// A gateway's own, and those of all devices that it may act for.
    All,
    /// Those of one device that the gateway may act for.
    Device(DeviceId),
}

/// A session's claim to a device's commands. Dropped, it is given up and, if applications were told of
/// it, they are told so.
#[derive(Debug)]
pub struct Subscription {
    claim: Option<Claim>,
    inbox: mpsc::Receiver<Arrival>,
}

/// What comes to a subscription.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A command.
    Command(CommandDelivery),
    /// The word that a command was refused for this reason.
    Refused(Reason),
}

#[derive(Debug)]
struct Claim {
    session: Arc<Session>,
    /// Under whom it is registered.
    device: DeviceId,
    registration: Registration,
    /// Whether applications are told when it begins and when it ends.
    is_told: bool,
}

/// The other end of a subscription.
#[derive(Debug)]
struct Inbox {
    protocol: Protocol,
    gateway: Option<DeviceId>,
    auth_id: Option<AuthId>,
    takes_all: bool,
    /// Whether it is to hear of commands that were refused.
    hears_refusals: bool,
    arrivals: mpsc::Sender<Arrival>,
}

impl Inbox {
    /// Whether it takes what goes to its device by this gateway.
    fn takes(&self, gateway: Option<&DeviceId>) -> bool {
        let is_for_another = self.gateway.is_none() && gateway.is_some();
        self.takes_all || !is_for_another
    }
}

impl CommandConsumer for Inbox {
    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn gateway(&self) -> Option<&DeviceId> {
        self.gateway.as_ref()
    }

    fn auth_id(&self) -> Option<&AuthId> {
        self.auth_id.as_ref()
    }

    fn deliver(&self, delivery: CommandDelivery) {
        if !self.takes(delivery.gateway()) {
            return delivery.release();
        }
        // One that finds no room is dropped, which releases it.
        let _ = self.arrivals.try_send(Arrival::Command(delivery));
    }

    fn refused(&self, gateway: Option<&DeviceId>, reason: &Reason) {
        if self.hears_refusals && self.takes(gateway) {
            // Where there is no room, a command came first.
            let _ = self.arrivals.try_send(Arrival::Refused(reason.clone()));
        }
    }
}

impl Session {
    /// Takes commands for as long as the subscription lasts, and tells applications that the device
    /// can be reached. `room` is how many commands may wait to be taken.
    ///
    /// # Errors
    /// If the device is not registered, the gateway may not act for it, or the router does not answer.
    pub async fn subscribe(
        self: &Arc<Self>,
        target: CommandTarget,
        room: usize,
    ) -> Result<Subscription, Reason> {
        let mut subscription = self.claim(target, room, None).await?;
        if let Some(claim) = &mut subscription.claim {
            claim.is_told = true;
            claim.tell(REACHABLE).await;
        }
        Ok(subscription)
    }

    /// Takes commands without telling anybody; for `lifespan` at most, if there is one: then somebody
    /// waits, and hears of those that were refused too.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        target: CommandTarget,
        room: usize,
        lifespan: Option<Duration>,
    ) -> Result<Subscription, Reason> {
        let own = &self.principal().device;
        let takes_all = target == CommandTarget::All;
        let device = match target {
            CommandTarget::Device(device) => device,
            CommandTarget::Own | CommandTarget::All => own.clone(),
        };
        self.may_speak_for(&device).await?;
        let (arrivals, inbox) = mpsc::channel(room.max(1));
        let consumer = Arc::new(Inbox {
            protocol: self.protocol(),
            gateway: (device != *own).then(|| own.clone()),
            auth_id: self.principal().auth_id.clone(),
            takes_all,
            // A request that waits is answered with them; nobody else can be.
            hears_refusals: lifespan.is_some(),
            arrivals,
        });
        let tenant = &self.principal().tenant;
        let router = self.pipeline().commands().router();
        let registered = router.register(tenant, &device, consumer, lifespan).await;
        let registration = registered.map_err(|error| {
            tracing::warn!(tenant = tenant.as_str(), %error, "a device cannot take commands");
            Reason::DownstreamUnavailable
        })?;
        let claim = Claim {
            session: self.clone(),
            device,
            registration,
            is_told: false,
        };
        Ok(Subscription {
            claim: Some(claim),
            inbox,
        })
    }
}

impl Subscription {
    /// The next command. `None` when a later subscription has taken this one's place. One that has
    /// waited for too long is left out.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<CommandDelivery>> {
        loop {
            match ready!(self.poll_arrival(cx)) {
                Some(Arrival::Command(delivery)) => return Poll::Ready(Some(delivery)),
                // Only its application is told.
                Some(Arrival::Refused(_)) => {}
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arrival>> {
        loop {
            match ready!(self.inbox.poll_recv(cx)) {
                Some(Arrival::Command(delivery)) if delivery.is_overdue() => drop(delivery),
                next => return Poll::Ready(next),
            }
        }
    }

    /// As [`Subscription::poll_next`].
    pub async fn next(&mut self) -> Option<CommandDelivery> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Subscription::next`], with the commands that were refused.
    pub(crate) async fn arrival(&mut self) -> Option<Arrival> {
        poll_fn(|cx| self.poll_arrival(cx)).await
    }

    /// Gives the claim up. What has come in meanwhile is still to be had.
    pub(crate) async fn end(&mut self) -> Option<Arrival> {
        if let Some(claim) = self.claim.take() {
            claim.end().await;
        }
        self.inbox.close();
        self.inbox.try_recv().ok()
    }

    /// Gives the claim up and tells nobody: the process stops, or the registration has ended (device
    /// contract §1.17).
    pub fn leave(mut self) {
        if let Some(claim) = &mut self.claim {
            claim.is_told = false;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else {
            return;
        };
        // Outside a runtime (it is being torn down) there is no router to be told either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(claim.end());
        }
    }
}

impl Claim {
    async fn end(self) {
        let tenant = &self.session.principal().tenant;
        let router = self.session.pipeline().commands().router();
        let ended = router.unregister(tenant, &self.device, self.registration);
        if ended.await.is_ok() && self.is_told {
            self.tell(UNREACHABLE).await;
        }
    }

    /// Tells applications whether the device can be reached (northbound contract §1.7).
    async fn tell(&self, ttd: i32) {
        let principal = self.session.principal();
        // One that is gone or disabled by now is told of as it was.
        let tenant = self.session.tenant().await;
        let settings = match &tenant {
            Ok(tenant) => &tenant.settings,
            Err(_) => &principal.snapshot.settings,
        };
        let defaults = Defaults::merge(&settings.defaults, &Map::new());
        let device_ttl = None;
        let ttl = crate::uplink::time_to_live(
            (Endpoint::Event, Qos::AtLeastOnce),
            device_ttl,
            &defaults,
            settings,
        );
        let event = Downstream {
            ttl,
            ttd: Some(ttd),
            defaults: Arc::new(defaults),
            ..Downstream::notification(
                &principal.tenant,
                &self.device,
                self.session.protocol().type_name(),
                EMPTY_NOTIFICATION,
            )
        };
        let delivery = self.session.publish(event).await;
        if let Err(reason) = delivery.disposition {
            tracing::info!(
                tenant = principal.tenant.as_str(),
                device = self.device.as_str(),
                ttd,
                reason = reason.name(),
                "no application was told whether a device can be reached"
            );
        }
    }
}
