//! From a command to whoever takes it to its device.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use weir_metrics::{Component, ComponentType, Metrics};

use super::delivery::{CommandRecord, Handed};
use super::router::{CommandConsumer, CommandRouter};
use super::{Command, CommandDelivery, CommandOutcome, PATIENCE, RESOLVE_PATIENCE};
use crate::usage::Volume;
use crate::{
    AssertionError, Cached, ChangeListener, ChangeSubject, DeviceId, LookupError, Reason,
    RegisteredTenant, Registry, RegistryChange, SamplingMode, Tenant, TenantId, Tracer, Usage,
};

/// Reports commands that find no adapter to take them (northbound contract §5.7).
const ROUTER: Component = Component {
    kind: ComponentType::Service,
    name: "hono-command-router",
};

/// Finds out who takes a command to its device. Clones share everything.
#[derive(Clone)]
pub struct Commands(Arc<Parts>);

struct Parts {
    registry: Arc<dyn Registry>,
    router: Arc<dyn CommandRouter>,
    metrics: Metrics,
    usage: Usage,
    tracer: Tracer,
}

/// A command of which is known where it goes.
#[derive(Debug)]
#[must_use = "a command has to be forwarded"]
pub struct Resolved {
    command: Command,
    record: CommandRecord,
    way: Result<Way, CommandOutcome>,
}

/// Where a command goes.
#[derive(Debug)]
struct Way {
    consumer: Arc<dyn CommandConsumer>,
    gateway: Option<DeviceId>,
    /// How much the tenant's devices may exchange, if that is limited.
    volume: Option<Volume>,
}

impl Commands {
    pub(crate) fn new(
        registry: Arc<dyn Registry>,
        router: Arc<dyn CommandRouter>,
        metrics: Metrics,
        usage: Usage,
        tracer: Tracer,
    ) -> Self {
        Self(Arc::new(Parts {
            registry,
            router,
            metrics,
            usage,
            tracer,
        }))
    }

    pub(crate) fn router(&self) -> &dyn CommandRouter {
        &*self.0.router
    }

    /// Whether commands for `tenant` are of use, and when that changes: until the first of its
    /// devices takes commands, applications get no credit.
    pub fn is_wanted(&self, tenant: &TenantId) -> watch::Receiver<bool> {
        self.0.router.is_wanted(tenant)
    }

    /// Finds out who takes a command. Several may be asked for at a time; they are to be
    /// [forwarded](Resolved::forward) in the order in which they came.
    pub async fn resolve(&self, mut command: Command) -> Resolved {
        let received = Instant::now();
        let mut record = CommandRecord {
            meters: self.0.metrics.tenant(ROUTER, "UNKNOWN"),
            usage: None,
            protocol: None,
            received,
            size: command.payload.len() as u64,
            trace: None,
        };
        let mut tracing = SamplingMode::Default;
        let search = self.find_way(&command, &mut record, &mut tracing);
        let found = tokio::time::timeout(RESOLVE_PATIENCE, search);
        let way = found.await.unwrap_or(Err(CommandOutcome::Released));
        let (context, trace) = self.0.tracer.begin(|| tracing, command.trace);
        (command.trace, record.trace) = (Some(context), trace);
        Resolved {
            command,
            record,
            way,
        }
    }

    async fn find_way(
        &self,
        command: &Command,
        record: &mut CommandRecord,
        tracing: &mut SamplingMode,
    ) -> Result<Way, CommandOutcome> {
        let tenant_id = &command.tenant;
        let registry = &self.0.registry;
        let mut tenant = self.tenant(tenant_id).await?;
        let settings = &tenant.settings;
        record.meters = self.0.metrics.tenant(ROUTER, tenant_id.as_str());
        record.size = settings.accounting_size(command.payload.len());
        let usage = record.usage.insert(self.0.usage.of(&tenant.id)).clone();
        *tracing = settings.sampling_mode(None);
        let via = self.assert(command, None).await?;
        let (consumer, gateway) = self.choose(command, via).await?;
        *tracing = settings.sampling_mode(consumer.auth_id());
        check_tenant(settings, &*consumer)?;
        // Whoever takes it is asked for once more: it may have lost its right since.
        match (&gateway, consumer.gateway()) {
            (Some(gateway), Some(_)) => {
                self.assert(command, Some(gateway)).await?;
            }
            (Some(gateway), None) => {
                let asserted = registry.assert(tenant_id, gateway, None).await;
                asserted.map_err(|_| CommandOutcome::Released)?;
            }
            (None, _) => {}
        }
        if tenant.is_stale() {
            tenant = self.tenant(tenant_id).await?;
            record.size = tenant.settings.accounting_size(command.payload.len());
            *tracing = tenant.settings.sampling_mode(consumer.auth_id());
            check_tenant(&tenant.settings, &*consumer)?;
        }
        let component = consumer.protocol().component();
        record.protocol = Some(component.name);
        record.meters = self.0.metrics.tenant(component, tenant_id.as_str());
        Ok(Way {
            consumer,
            gateway,
            volume: usage.volume(&tenant.settings),
        })
    }

    async fn tenant(&self, tenant: &TenantId) -> Result<Cached<RegisteredTenant>, CommandOutcome> {
        let found = self.0.registry.tenant(tenant).await;
        found.map_err(|error| match error {
            LookupError::NotFound => CommandOutcome::Rejected(Reason::TenantUnknown),
            LookupError::Unavailable(cause) => unavailable(tenant, &cause),
        })
    }

    /// The gateways that may act for the command's device.
    async fn assert(
        &self,
        command: &Command,
        gateway: Option<&DeviceId>,
    ) -> Result<Vec<String>, CommandOutcome> {
        let Command { tenant, device, .. } = command;
        let asserted = self.0.registry.assert(tenant, device, gateway).await;
        let assertion = asserted.map_err(|error| match error {
            AssertionError::TenantUnknown => CommandOutcome::Rejected(Reason::TenantUnknown),
            AssertionError::GatewayUnknown => CommandOutcome::Rejected(Reason::GatewayUnknown),
            AssertionError::GatewayNotAuthorised => {
                CommandOutcome::Rejected(Reason::GatewayNotAuthorised)
            }
            AssertionError::DeviceUnknown
            | AssertionError::InvalidId
            | AssertionError::LimitReached => CommandOutcome::Rejected(Reason::DeviceUnknown),
            AssertionError::Unavailable(cause) => unavailable(tenant, &cause),
        })?;
        Ok(assertion.via.clone())
    }

    /// The device's own consumer before any gateway's; of several gateways the one that it was seen at
    /// last (northbound contract §5.2).
    async fn choose(
        &self,
        command: &Command,
        via: Vec<String>,
    ) -> Result<(Arc<dyn CommandConsumer>, Option<DeviceId>), CommandOutcome> {
        let Command { tenant, device, .. } = command;
        let router = &self.0.router;
        let mut candidates = vec![device.clone()];
        candidates.extend(via.iter().map(|id| DeviceId::from(id.as_str())));
        let found = router.find(tenant, &candidates).await;
        let found = found.map_err(|error| unavailable(tenant, &error.0))?;
        let mut found: Vec<_> = candidates.into_iter().zip(found).collect();
        if let Some((_, Some(own))) = found.first() {
            let gateway = own.gateway().cloned();
            return Ok((own.clone(), gateway));
        }
        found.retain(|(_, consumer)| consumer.is_some());
        let last = match found.len() {
            0 | 1 => None,
            _ => router.last_seen_at(tenant, device).await,
        };
        let place = last.and_then(|last| found.iter().position(|(gateway, _)| *gateway == last));
        let chosen = found.into_iter().nth(place.unwrap_or(0));
        match chosen {
            Some((gateway, Some(consumer))) => Ok((consumer, Some(gateway))),
            _ => Err(CommandOutcome::Released),
        }
    }
}

/// The tenant may have been switched off since its device subscribed.
fn check_tenant(tenant: &Tenant, consumer: &dyn CommandConsumer) -> Result<(), CommandOutcome> {
    if !tenant.enabled {
        return Err(CommandOutcome::Rejected(Reason::TenantDisabled));
    }
    if !tenant.is_adapter_enabled(consumer.protocol()) {
        return Err(CommandOutcome::Rejected(Reason::AdapterDisabled));
    }
    Ok(())
}

fn unavailable(tenant: &TenantId, cause: &str) -> CommandOutcome {
    let tenant = tenant.as_str();
    tracing::warn!(tenant, cause, "a command could not be looked up");
    CommandOutcome::Released
}

impl Resolved {
    /// Hands the command over, at once; the future tells what became of it, in bounded time.
    pub fn forward(self) -> impl Future<Output = CommandOutcome> + Send + 'static {
        let Self {
            command,
            record,
            way,
        } = self;
        // One that was looked up long before it can hold up those behind it.
        let is_late = record.received.elapsed() > RESOLVE_PATIENCE;
        let way = way.and_then(|way| match is_late {
            true => Err(CommandOutcome::Released),
            false => way.check(record.size),
        });
        let handed = match way {
            Ok(way) => Ok(hand_over(command, record, way)),
            Err(outcome) => {
                record.write(&command, &outcome);
                Err(outcome)
            }
        };
        async move {
            match handed {
                Ok((handed, until)) => tokio::time::timeout_at(until.into(), handed)
                    .await
                    .unwrap_or(CommandOutcome::Released),
                Err(outcome) => outcome,
            }
        }
    }
}

impl Way {
    /// Whoever takes the commands is told of one that is too much: its device may wait for it.
    fn check(self, size: u64) -> Result<Self, CommandOutcome> {
        let volume = self.volume.as_ref();
        if volume.is_some_and(|volume| volume.refuses(size)) {
            let reason = Reason::DataVolumeExceeded;
            self.consumer.refused(self.gateway.as_ref(), &reason);
            return Err(CommandOutcome::Rejected(reason));
        }
        Ok(self)
    }
}

fn hand_over(command: Command, record: CommandRecord, way: Way) -> (Handed, Instant) {
    let until = record.received + PATIENCE;
    let (delivery, handed) = CommandDelivery::new(command, way.gateway, record);
    way.consumer.deliver(delivery);
    (handed, until)
}

impl ChangeListener for Commands {
    fn changed(&self, change: &RegistryChange) {
        match change.subject {
            ChangeSubject::Tenant { enabled: false, .. } | ChangeSubject::AllDevices => {
                self.0.router.forget(&change.tenant);
            }
            ChangeSubject::Tenant { enabled: true, .. }
            | ChangeSubject::Device { enabled: true, .. } => {
                self.0.router.resume(&change.tenant);
            }
            ChangeSubject::Device { .. } | ChangeSubject::Credentials { .. } => {}
        }
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands").finish_non_exhaustive()
    }
}
