//! What an endpoint needs beside its configuration: a store for events, and a core for commands.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tempfile::TempDir;
use weir_core::command::{Commands, LocalRouter};
use weir_core::{
    Assertion, AssertionError, AuthId, Cached, CredentialType, Credentials, DeviceId, LookupError,
    NewDevice, PasswordVerifier, Pipeline, PipelineOptions, ProvisionError, RegisteredTenant,
    Registry, Tenant, TenantId,
};
use weir_event_store::{EventStore, Options};
use weir_metrics::Metrics;
use weir_northbound_amqp::Embedded;

/// A store for events, in a folder that is there until it is dropped.
pub(crate) fn store(options: Options) -> (EventStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = EventStore::open(folder.path(), options).unwrap();
    (store, folder)
}

pub(crate) fn metrics() -> Metrics {
    Metrics::new("test", Instant::now())
}

/// The way of commands to whoever has registered with `router`. There is one tenant, `acme`, and its
/// device `4711`.
pub(crate) fn commands(embedded: &Embedded, router: Arc<LocalRouter>) -> Commands {
    let registry = Arc::new(Registered);
    let verifier = PasswordVerifier::new(1);
    let northbound = Arc::new(embedded.clone());
    let options = PipelineOptions {
        router,
        ..PipelineOptions::default()
    };
    let pipeline = Pipeline::new(registry, northbound, verifier, metrics(), options);
    pipeline.commands().clone()
}

struct Registered;

impl Registry for Registered {
    fn tenant<'a>(
        &'a self,
        name: &'a TenantId,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        let tenant = || {
            Cached::new(RegisteredTenant {
                id: name.clone(),
                settings: Tenant::default(),
            })
        };
        let is_known = name.as_str() == "acme";
        ready(is_known.then(tenant).ok_or(LookupError::NotFound)).boxed()
    }

    fn tenant_by_anchor<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        ready(Err(LookupError::NotFound)).boxed()
    }

    fn credentials<'a>(
        &'a self,
        _: &'a TenantId,
        _: CredentialType,
        _: &'a AuthId,
    ) -> BoxFuture<'a, Result<Cached<Credentials>, LookupError>> {
        ready(Err(LookupError::NotFound)).boxed()
    }

    fn provision<'a>(
        &'a self,
        _: &'a TenantId,
        _: NewDevice,
    ) -> BoxFuture<'a, Result<(), ProvisionError>> {
        ready(Err(ProvisionError::TenantUnknown)).boxed()
    }

    fn assert<'a>(
        &'a self,
        _: &'a TenantId,
        device: &'a DeviceId,
        _: Option<&'a DeviceId>,
    ) -> BoxFuture<'a, Result<Cached<Assertion>, AssertionError>> {
        let assertion = || Cached::new(Assertion::default());
        let is_known = device.as_str() == "4711";
        ready(
            is_known
                .then(assertion)
                .ok_or(AssertionError::DeviceUnknown),
        )
        .boxed()
    }

    fn announced<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a DeviceId,
    ) -> BoxFuture<'a, Result<(), LookupError>> {
        ready(Ok(())).boxed()
    }
}
