//! A registry and a northbound that do as they are told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use serde_json::json;
use weir_metrics::{Metrics, Qos};

use crate::uplink::{Endpoint, Outcome, Received, Target};
use crate::{
    Assertion, AssertionError, AuthId, Cached, ClientContext, Completion, CredentialType,
    Credentials, Delivery, DeviceId, Downstream, LookupError, NewDevice, Northbound, Outlet,
    PasswordSecret, PasswordVerifier, Pipeline, PipelineOptions, Presented, Protocol,
    ProvisionError, Reason, RegisteredTenant, Registry, Secrets, Session, TenantId,
};

/// One tenant `acme` with devices `4711` (user `sensor`), gateways `gw` and `gw2` (users of these
/// names), and `edge` behind the first. All passwords are `secret`.
#[derive(Default)]
pub(crate) struct World {
    tenant: Mutex<Option<Cached<RegisteredTenant>>>,
    assertions: Mutex<HashMap<String, Cached<Assertion>>>,
    pub(crate) published: Mutex<Vec<(Downstream, Completion)>>,
    /// What the tenant becomes while a device is asked for.
    pub(crate) meanwhile: Mutex<Option<serde_json::Value>>,
}

impl World {
    pub(crate) fn configure(&self, tenant: serde_json::Value) {
        let fresh = Cached::new(RegisteredTenant {
            id: "acme".into(),
            settings: serde_json::from_value(tenant).unwrap(),
        });
        if let Some(old) = self.tenant.lock().unwrap().replace(fresh) {
            old.invalidate();
        }
    }

    pub(crate) fn register(&self, device: &str, via: &[&str]) {
        let via = via.iter().map(|gateway| (*gateway).to_owned()).collect();
        let assertion = Cached::new(Assertion {
            via,
            ..Assertion::default()
        });
        self.assertions
            .lock()
            .unwrap()
            .insert(device.to_owned(), assertion);
    }

    /// Registers a device as the registry does it by itself for a message from its gateway.
    pub(crate) fn provision(&self, device: &str, via: &str) {
        let assertion = Cached::new(Assertion {
            via: vec![via.to_owned()],
            is_unannounced: true,
            ..Assertion::default()
        });
        let mut assertions = self.assertions.lock().unwrap();
        assertions.insert(device.to_owned(), assertion);
    }

    fn announced(&self, device: &DeviceId) {
        let mut assertions = self.assertions.lock().unwrap();
        let old = assertions.get(device.as_str()).unwrap().clone();
        old.invalidate();
        let new = Assertion {
            is_unannounced: false,
            ..(*old).clone()
        };
        assertions.insert(device.to_string(), Cached::new(new));
    }

    pub(crate) fn unregister(&self, device: &str) {
        if let Some(assertion) = self.assertions.lock().unwrap().remove(device) {
            assertion.invalidate();
        }
    }

    fn asserted(
        &self,
        device: &DeviceId,
        gateway: Option<&DeviceId>,
    ) -> Result<Cached<Assertion>, AssertionError> {
        let assertions = self.assertions.lock().unwrap();
        let found = assertions
            .get(device.as_str())
            .ok_or(AssertionError::DeviceUnknown)?;
        if let Some(gateway) = gateway {
            assertions
                .get(gateway.as_str())
                .ok_or(AssertionError::GatewayUnknown)?;
            if !found.via.iter().any(|via| via == gateway.as_str()) {
                return Err(AssertionError::GatewayNotAuthorised);
            }
        }
        Ok(found.clone())
    }

    /// Settles the oldest message that is out.
    pub(crate) fn settle(&self, disposition: Result<(), Reason>) -> Downstream {
        let (message, completion) = self.published.lock().unwrap().remove(0);
        completion.settle(disposition, Instant::now());
        message
    }
}

pub(crate) struct Shared(Arc<World>);

impl Registry for Shared {
    fn tenant<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        let found = self
            .0
            .tenant
            .lock()
            .unwrap()
            .clone()
            .filter(|_| tenant.as_str() == "acme");
        ready(found.ok_or(LookupError::NotFound)).boxed()
    }

    fn credentials<'a>(
        &'a self,
        _: &'a TenantId,
        _: CredentialType,
        auth_id: &'a AuthId,
    ) -> BoxFuture<'a, Result<Cached<Credentials>, LookupError>> {
        let device = match auth_id.as_str() {
            "sensor" => "4711",
            "gw" => "gw",
            "gw2" => "gw2",
            _ => return ready(Err(LookupError::NotFound)).boxed(),
        };
        let secrets = vec![PasswordSecret::of_random("secret")];
        let credentials = Credentials {
            device: device.into(),
            enabled: true,
            ext: json!({"client-id": "meter-1"}).as_object().unwrap().clone(),
            secrets: Secrets::Passwords(secrets),
            is_unannounced: false,
        };
        ready(Ok(Cached::new(credentials))).boxed()
    }

    fn tenant_by_anchor<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        ready(Err(LookupError::NotFound)).boxed()
    }

    fn provision<'a>(
        &'a self,
        _: &'a TenantId,
        _: NewDevice,
    ) -> BoxFuture<'a, Result<(), ProvisionError>> {
        ready(Err(ProvisionError::LimitReached)).boxed()
    }

    fn announced<'a>(
        &'a self,
        _: &'a TenantId,
        device: &'a DeviceId,
    ) -> BoxFuture<'a, Result<(), LookupError>> {
        self.0.announced(device);
        ready(Ok(())).boxed()
    }

    fn assert<'a>(
        &'a self,
        _: &'a TenantId,
        device: &'a DeviceId,
        gateway: Option<&'a DeviceId>,
    ) -> BoxFuture<'a, Result<Cached<Assertion>, AssertionError>> {
        if let Some(tenant) = self.0.meanwhile.lock().unwrap().take() {
            self.0.configure(tenant);
        }
        ready(self.0.asserted(device, gateway)).boxed()
    }
}

impl Northbound for Shared {
    fn outlet(&self, _: &TenantId, _: Endpoint) -> Arc<dyn Outlet> {
        Arc::new(Self(self.0.clone()))
    }
}

impl Outlet for Shared {
    fn publish(&self, message: Downstream) -> Delivery {
        let (delivery, completion) = Delivery::open();
        self.0.published.lock().unwrap().push((message, completion));
        delivery
    }
}

pub(crate) struct Fixture {
    pub(crate) world: Arc<World>,
    pub(crate) pipeline: Pipeline,
    pub(crate) metrics: Metrics,
}

pub(crate) fn fixture() -> Fixture {
    fixture_with(PipelineOptions::default())
}

pub(crate) fn fixture_with(options: PipelineOptions) -> Fixture {
    let world = Arc::new(World::default());
    world.configure(json!({}));
    world.register("4711", &[]);
    world.register("gw", &[]);
    world.register("gw2", &[]);
    world.register("edge", &["gw"]);
    world.register("stranger", &[]);
    let metrics = Metrics::new("test", Instant::now());
    let (registry, northbound) = (
        Arc::new(Shared(world.clone())),
        Arc::new(Shared(world.clone())),
    );
    let verifier = PasswordVerifier::new(1);
    let pipeline = Pipeline::new(registry, northbound, verifier, metrics.clone(), options);
    Fixture {
        world,
        pipeline,
        metrics,
    }
}

impl Fixture {
    pub(crate) async fn session(&self, protocol: Protocol, user: &str) -> Arc<Session> {
        let username = format!("{user}@acme");
        let presented = Presented::Password {
            username: &username,
            password: b"secret",
        };
        let principal = self
            .pipeline
            .authenticate(protocol, presented, ClientContext::default())
            .await
            .unwrap();
        match protocol {
            Protocol::Http => self.pipeline.exchange(protocol, principal),
            Protocol::Mqtt => self
                .pipeline
                .connect(protocol, principal, "meter-1")
                .await
                .unwrap(),
        }
    }

    pub(crate) fn count(&self, labels: &str) -> u64 {
        self.counted("hono_telemetry_processing_duration_seconds_count", labels)
    }

    /// The value of the first series of this name with these labels.
    pub(crate) fn counted(&self, name: &str, labels: &str) -> u64 {
        let text = weir_metrics::render(&self.metrics, Instant::now());
        let is_it = |line: &&str| line.starts_with(name) && line.contains(labels);
        let value = text.lines().find(is_it);
        value.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

pub(crate) fn received(target: (&str, &str)) -> Received {
    let part = |text: &str| (!text.is_empty()).then(|| ByteString::from(text));
    Received {
        response: None,
        endpoint: Endpoint::Telemetry,
        qos: Qos::AtLeastOnce,
        target: Target {
            tenant: part(target.0),
            device: part(target.1),
        },
        content_type: None,
        payload: Bytes::from_static(b"payload"),
        ttl: None,
        ttd: None,
        origin_address: ByteString::from_static("telemetry"),
        retain: false,
        properties: Vec::new(),
        trace: None,
        arrived: Instant::now(),
    }
}

pub(crate) async fn refused(received: Received, session: &Arc<Session>) -> (Reason, bool) {
    let outcome = match received.authenticate(session) {
        Ok(authenticated) => authenticated
            .admit()
            .await
            .map(|admitted| admitted.message().clone()),
        Err(outcome) => Err(outcome),
    };
    match outcome {
        Err(Outcome::Refused(refusal)) => (refusal.reason, refusal.terminal),
        other => panic!("{other:?}"),
    }
}
