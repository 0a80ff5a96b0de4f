//! What an adapter holds of the core.

use std::sync::Arc;
use std::time::Instant;

use weir_metrics::{AttemptOutcome, Metrics, TraceId, cipher_suite};

use crate::authentication::authenticate;
use crate::command::{CommandRouter, Commands, LocalRouter};
use crate::connections::Connections;
use crate::refusals::{Refusals, Refused};
use crate::spans::{Ending, OpenTrace};
use crate::{
    Anonymous, AuthenticationError, ChangeListener, Channel, ClientContext, ConnectionEvents,
    DeviceId, LogLimit, Northbound, Outcome, PasswordVerifier, Presented, Principal, Protocol,
    Reason, Registry, RegistryChange, Session, SpanKind, SpanValue, Target, TenantId, Tracer,
    Usage, anonymous, shorten,
};

/// What those can cause who have not logged in is told a few times a second.
static REFUSED_CONNECTIONS: LogLimit = LogLimit::new();
static REFUSED_REQUESTS: LogLimit = LogLimit::new();

/// The shared path of all protocols: who a device is, and the way of its messages.
///
/// Clones share everything.
#[derive(Clone)]
pub struct Pipeline(Arc<Parts>);

struct Parts {
    registry: Arc<dyn Registry>,
    northbound: Arc<dyn Northbound>,
    verifier: PasswordVerifier,
    metrics: Metrics,
    connections: Arc<Connections>,
    commands: Commands,
    connection_events: ConnectionEvents,
    refusals: Arc<Refusals>,
    tracer: Tracer,
    usage: Usage,
}

/// What a pipeline can do in one way or another.
pub struct PipelineOptions {
    /// The way of commands to devices; only those of this process unless set otherwise.
    pub router: Arc<dyn CommandRouter>,
    /// Who is told of devices that connect and disconnect.
    pub connection_events: ConnectionEvents,
    /// What is told of to whoever collects traces; nothing unless set otherwise.
    pub tracer: Tracer,
    /// What tenants have used so far.
    pub usage: Usage,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self {
            router: Arc::new(LocalRouter::default()),
            connection_events: ConnectionEvents::default(),
            tracer: Tracer::default(),
            usage: Usage::default(),
        }
    }
}

impl Pipeline {
    /// Puts the pipeline together.
    pub fn new(
        registry: Arc<dyn Registry>,
        northbound: Arc<dyn Northbound>,
        verifier: PasswordVerifier,
        metrics: Metrics,
        options: PipelineOptions,
    ) -> Self {
        let PipelineOptions {
            router,
            connection_events,
            tracer,
            usage,
        } = options;
        let refusals = Arc::new(Refusals::new());
        metrics.register(refusals.clone());
        let commands = Commands::new(
            registry.clone(),
            router,
            metrics.clone(),
            usage.clone(),
            tracer.clone(),
        );
        Self(Arc::new(Parts {
            registry,
            northbound,
            verifier,
            metrics,
            connections: Arc::default(),
            commands,
            connection_events,
            refusals,
            tracer,
            usage,
        }))
    }

    /// The way of commands to the devices.
    pub fn commands(&self) -> &Commands {
        &self.0.commands
    }

    /// Who is to be told of changes in the registry, so that connections are closed whose device or
    /// tenant was deleted or disabled, and what a deleted tenant has used is forgotten.
    pub fn change_listener(&self) -> Arc<dyn ChangeListener> {
        let Parts {
            connections, usage, ..
        } = &*self.0;
        Arc::new(Listener {
            connections: connections.clone(),
            usage: usage.clone(),
        })
    }

    /// Checks the credentials a device presented.
    ///
    /// # Errors
    /// The reason, and the tenant if it was named and exists.
    pub async fn authenticate(
        &self,
        protocol: Protocol,
        presented: Presented<'_>,
        context: ClientContext<'_>,
    ) -> Result<Principal, AuthenticationError> {
        authenticate(self, protocol, presented, context).await
    }

    /// Opens the session of a device that connected: asserts its registration, counts the attempt
    /// and, until the session [ends](Session::end), the connection. `remote_id` is what the client calls
    /// itself, in its protocol.
    ///
    /// # Errors
    /// The reason why the device may not connect.
    pub async fn connect(
        &self,
        channel: impl Into<Channel>,
        principal: Principal,
        remote_id: &str,
    ) -> Result<Arc<Session>, Reason> {
        let channel = channel.into();
        let tenant = Some(principal.tenant.clone());
        let device = principal.device.clone();
        let trace = ConnectTrace::begin(self, channel, &principal);
        let trace_id = trace.as_ref().map(|begun| begun.trace.id());
        let connected = Session::connect(self, channel.protocol, principal, remote_id).await;
        if let Some(trace) = trace {
            trace.end(connected.as_ref().err());
        }
        match connected {
            Ok(session) => {
                self.count_attempt(channel, tenant.as_ref(), AttemptOutcome::Succeeded);
                Ok(session)
            }
            Err(reason) => {
                let error = AuthenticationError { tenant, reason };
                self.refused(channel, &error, Some(&device), trace_id);
                Err(error.reason)
            }
        }
    }

    /// Counts and logs an attempt to connect that failed. [`Pipeline::connect`] does so by itself.
    pub fn connection_refused(&self, channel: impl Into<Channel>, error: &AuthenticationError) {
        self.refused(channel.into(), error, None, None);
    }

    fn refused(
        &self,
        channel: Channel,
        error: &AuthenticationError,
        device: Option<&DeviceId>,
        trace: Option<TraceId>,
    ) {
        let reason = &error.reason;
        if let Some(unlogged) = REFUSED_CONNECTIONS.admit(Instant::now()) {
            tracing::info!(
                protocol = channel.protocol.type_name(),
                tenant = error.tenant.as_ref().map(TenantId::as_str),
                device = device.map(DeviceId::as_str),
                reason = reason.name(),
                status = reason.status(),
                text = shorten(reason.text()),
                trace_id = trace.map(|trace| trace.to_string()),
                unlogged,
                "connection refused"
            );
        }
        let refusals = self.refusals();
        refusals.count(channel.protocol, Refused::Connection, reason);
        self.count_attempt(channel, error.tenant.as_ref(), reason.attempt_outcome());
    }

    /// Counts a connection that was closed before it had said a word, because there is no place for it. It
    /// has not attempted anything (device contract §7.3).
    pub fn no_place(&self, protocol: Protocol) {
        let reason = Reason::InstanceConnectionsExceeded;
        self.refusals()
            .count(protocol, Refused::Connection, &reason);
    }

    /// Opens a session for one exchange of a protocol without connections.
    pub fn exchange(&self, protocol: Protocol, principal: Principal) -> Arc<Session> {
        Session::exchange(self, protocol, principal)
    }

    /// Opens a session for one exchange of a device that was not asked who it is.
    ///
    /// # Errors
    /// If `target` does not name tenant and device, or there is no such tenant.
    pub async fn anonymous(
        &self,
        protocol: Protocol,
        target: &Target,
    ) -> Result<Arc<Session>, Reason> {
        let principal = anonymous::principal(self, target).await?;
        Ok(Session::exchange(self, protocol, principal))
    }

    /// Takes in a connection whose client is not asked who it is.
    pub fn connect_anonymous(&self, channel: impl Into<Channel>) -> Anonymous {
        Anonymous::connect(self, channel.into())
    }

    /// Ends a request that never became a message, because it could not be parsed or its sender is
    /// not known. It is logged; such refusals are not counted as messages (device contract §7.3).
    pub fn refuse(&self, protocol: Protocol, tenant: Option<&TenantId>, reason: Reason) -> Outcome {
        if let Some(unlogged) = REFUSED_REQUESTS.admit(Instant::now()) {
            tracing::info!(
                protocol = protocol.type_name(),
                tenant = tenant.map(TenantId::as_str),
                reason = reason.name(),
                status = reason.status(),
                text = shorten(reason.text()),
                unlogged,
                "request refused"
            );
        }
        let refusals = self.refusals();
        refusals.count(protocol, Refused::Request, &reason);
        Outcome::refused(reason, false)
    }

    pub(crate) fn connection_events(&self) -> ConnectionEvents {
        self.0.connection_events
    }

    pub(crate) fn count_attempt(
        &self,
        channel: Channel,
        tenant: Option<&TenantId>,
        as_: AttemptOutcome,
    ) {
        let component = channel.protocol.component();
        let tenant = tenant.map(TenantId::as_str);
        let suite = channel.cipher_suite.map(cipher_suite);
        let metrics = &self.0.metrics;
        metrics.connection_attempt(component, tenant, as_, suite);
    }

    pub(crate) fn registry(&self) -> &dyn Registry {
        &*self.0.registry
    }

    pub(crate) fn verifier(&self) -> &PasswordVerifier {
        &self.0.verifier
    }

    pub(crate) fn connections(&self) -> &Arc<Connections> {
        &self.0.connections
    }

    pub(crate) fn northbound(&self) -> &dyn Northbound {
        &*self.0.northbound
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    pub(crate) fn tracer(&self) -> &Tracer {
        &self.0.tracer
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.0.usage
    }

    /// Where everything is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

/// An attempt to connect that is told of.
struct ConnectTrace {
    trace: Box<OpenTrace>,
    started: Instant,
    attributes: Vec<(&'static str, SpanValue)>,
}

impl ConnectTrace {
    fn begin(pipeline: &Pipeline, channel: Channel, principal: &Principal) -> Option<Self> {
        let Principal {
            tenant,
            device,
            auth_id,
            snapshot,
            ..
        } = principal;
        let mode = || snapshot.settings.sampling_mode(auth_id.as_ref());
        let trace = pipeline.tracer().begin(mode, None).1?;
        let mut attributes = vec![
            ("component", channel.protocol.type_name().into()),
            ("tenant_id", tenant.as_str().into()),
            ("device_id", device.as_str().into()),
        ];
        let auth_id = auth_id.as_ref();
        attributes.extend(auth_id.map(|auth_id| ("auth_id", auth_id.as_str().into())));
        Some(Self {
            trace,
            started: Instant::now(),
            attributes,
        })
    }

    fn end(mut self, refused: Option<&Reason>) {
        if let Some(reason) = refused {
            self.attributes.push(("reason", reason.name().into()));
        }
        let ending = Ending {
            name: "connect",
            kind: SpanKind::Server,
            started: self.started,
            ended: Instant::now(),
            attributes: self.attributes,
            error: refused.map(|reason| shorten(reason.text()).to_owned()),
        };
        self.trace.end(ending, "");
    }
}

/// Those whom changes in the registry concern. The registry keeps it, so it must not keep the registry.
struct Listener {
    connections: Arc<Connections>,
    usage: Usage,
}

impl ChangeListener for Listener {
    fn changed(&self, change: &RegistryChange) {
        self.connections.changed(change);
        self.usage.changed(change);
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::fixture;
    use crate::{CredentialFault, Presented};

    #[tokio::test]
    async fn attempts_to_connect_are_counted_by_what_they_are_encrypted_with() {
        let fixture = fixture();
        let pipeline = &fixture.pipeline;
        let count = |tenant: &str, outcome: &str, suite: &str| {
            let labels =
                format!("tenant=\"{tenant}\",outcome=\"{outcome}\",cipher_suite=\"{suite}\"");
            fixture.counted("hono_connections_attempts_total", &labels)
        };
        let rows = [
            (None, "UNKNOWN"),
            (Some("TLS13_AES_256_GCM_SHA384"), "TLS_AES_256_GCM_SHA384"),
            (
                Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            ),
        ];
        for (cipher_suite, label) in rows {
            let channel = Channel {
                protocol: Protocol::Mqtt,
                cipher_suite,
            };
            let presented = Presented::Password {
                username: "sensor@acme",
                password: b"secret",
            };
            let known = pipeline.authenticate(Protocol::Mqtt, presented, ClientContext::default());
            let connected = pipeline.connect(channel, known.await.unwrap(), "meter-1");
            let _session = connected.await.unwrap();
            let _anonymous = pipeline.connect_anonymous(channel);
            let error = AuthenticationError {
                tenant: Some("acme".into()),
                reason: Reason::Unauthorized(CredentialFault::Wrong),
            };
            pipeline.connection_refused(channel, &error);
            for (tenant, outcome) in [
                ("acme", "succeeded"),
                ("UNKNOWN", "succeeded"),
                ("acme", "unauthorized"),
            ] {
                assert_eq!(
                    count(tenant, outcome, label),
                    1,
                    "{tenant} {outcome} {label}"
                );
            }
        }
    }
}
