//! A registry and a back end under the test's control.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use weir_core::{
    AdapterSettings, Assertion, AssertionError, AuthId, Cached, Completion, CredentialType,
    Credentials, Delivery, DeviceId, Disposition, Downstream, Endpoint, LookupError, NewDevice,
    Northbound, Outlet, PasswordSecret, ProvisionError, RegisteredTenant, Registry, Secrets,
    Tenant, TenantId,
};

use super::{SOON, token};

/// Tenants: `acme`; `off`, which is disabled; `http-only`, which may not use MQTT.
///
/// Auth-ids, all with the password `secret`: `sensor1` is device 4711; `gw` is gateway gw-1, which
/// may act for edge-1 and slow-1, not for edge-2; `gone` is a device without a registration;
/// `revoked` has credentials that are disabled. All of them sign tokens with [`token::key`].
///
/// Asking for slow-1 waits for a permit of `gate`.
pub(super) struct FakeRegistry {
    pub(super) is_down: AtomicBool,
    pub(super) asked: AtomicUsize,
    pub(super) gate: Semaphore,
    unregistered: Mutex<HashSet<String>>,
    tenants: Mutex<HashMap<String, Cached<RegisteredTenant>>>,
    assertions: Mutex<Vec<(String, Cached<Assertion>)>>,
}

impl Default for FakeRegistry {
    fn default() -> Self {
        let disabled = Tenant {
            enabled: false,
            ..Tenant::default()
        };
        let http_only = Tenant {
            adapters: Some(vec![AdapterSettings {
                kind: "hono-http".to_owned(),
                enabled: true,
                device_authentication_required: true,
                ext: Default::default(),
            }]),
            ..Tenant::default()
        };
        let tenants = [
            ("acme", Tenant::default()),
            ("off", disabled),
            ("http-only", http_only),
        ];
        let cached = |(name, tenant): (&str, Tenant)| {
            (
                name.to_owned(),
                Cached::new(RegisteredTenant {
                    id: name.into(),
                    settings: tenant,
                }),
            )
        };
        Self {
            is_down: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            unregistered: Mutex::default(),
            tenants: Mutex::new(tenants.map(cached).into()),
            assertions: Mutex::default(),
        }
    }
}

impl FakeRegistry {
    /// Removes a device's registration and tells whoever remembers it.
    pub(super) fn unregister(&self, device: &str) {
        self.unregistered.lock().unwrap().insert(device.to_owned());
        for (_, assertion) in self
            .assertions
            .lock()
            .unwrap()
            .iter()
            .filter(|(id, _)| id == device)
        {
            assertion.invalidate();
        }
    }

    pub(super) fn fail(&self) {
        self.is_down.store(true, Ordering::Release);
    }

    fn may_act(device: &str, gateway: &str) -> bool {
        gateway == "gw-1" && matches!(device, "edge-1" | "slow-1")
    }

    fn decide(&self, device: &str, gateway: Option<&str>) -> Result<(), AssertionError> {
        let is_gone = |device| self.unregistered.lock().unwrap().contains(device);
        if self.is_down.load(Ordering::Acquire) {
            return Err(AssertionError::Unavailable("told to be".to_owned()));
        }
        let known = matches!(device, "4711" | "gw-1" | "edge-1" | "edge-2" | "slow-1");
        if !known || is_gone(device) {
            return Err(AssertionError::DeviceUnknown);
        }
        match gateway {
            Some(gateway) if is_gone(gateway) => Err(AssertionError::GatewayUnknown),
            Some(gateway) if !Self::may_act(device, gateway) => {
                Err(AssertionError::GatewayNotAuthorised)
            }
            _ => Ok(()),
        }
    }
}

impl Registry for FakeRegistry {
    fn tenant<'a>(
        &'a self,
        tenant: &'a TenantId,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        Box::pin(async move {
            if self.is_down.load(Ordering::Acquire) {
                return Err(LookupError::Unavailable("told to be".to_owned()));
            }
            let tenants = self.tenants.lock().unwrap();
            tenants
                .get(tenant.as_str())
                .cloned()
                .ok_or(LookupError::NotFound)
        })
    }

    fn credentials<'a>(
        &'a self,
        _: &'a TenantId,
        kind: CredentialType,
        auth_id: &'a AuthId,
    ) -> BoxFuture<'a, Result<Cached<Credentials>, LookupError>> {
        Box::pin(async move {
            let (device, enabled) = match auth_id.as_str() {
                "sensor1" => ("4711", true),
                "gw" => ("gw-1", true),
                "gone" => ("gone", true),
                "revoked" => ("4711", false),
                _ => return Err(LookupError::NotFound),
            };
            let secrets = match kind {
                CredentialType::RawPublicKey => Secrets::PublicKeys(vec![token::key()]),
                _ => Secrets::Passwords(vec![PasswordSecret::of_random("secret")]),
            };
            Ok(Cached::new(Credentials {
                device: device.into(),
                enabled,
                ext: Default::default(),
                secrets,
                is_unannounced: false,
            }))
        })
    }

    fn tenant_by_anchor<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Cached<RegisteredTenant>, LookupError>> {
        Box::pin(async { Err(LookupError::NotFound) })
    }

    fn provision<'a>(
        &'a self,
        _: &'a TenantId,
        _: NewDevice,
    ) -> BoxFuture<'a, Result<(), ProvisionError>> {
        Box::pin(async { Err(ProvisionError::TenantUnknown) })
    }

    fn announced<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a DeviceId,
    ) -> BoxFuture<'a, Result<(), LookupError>> {
        Box::pin(async { Ok(()) })
    }

    fn assert<'a>(
        &'a self,
        _: &'a TenantId,
        device: &'a DeviceId,
        gateway: Option<&'a DeviceId>,
    ) -> BoxFuture<'a, Result<Cached<Assertion>, AssertionError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::AcqRel);
            if device.as_str() == "slow-1" {
                self.gate.acquire().await.unwrap().forget();
            }
            self.decide(device.as_str(), gateway.map(DeviceId::as_str))?;
            let gateways = ["gw-1"].into_iter();
            let via = gateways.filter(|gateway| Self::may_act(device.as_str(), gateway));
            let assertion = Cached::new(Assertion {
                via: via.map(str::to_owned).collect(),
                ..Assertion::default()
            });
            let mut assertions = self.assertions.lock().unwrap();
            assertions.push((device.to_string(), assertion.clone()));
            Ok(assertion)
        })
    }
}

/// A message that went out.
pub(super) struct Sent {
    pub(super) message: Downstream,
    completion: Completion,
}

impl Sent {
    /// Settles it as taken.
    pub(super) fn accept(self) -> Downstream {
        self.completion.settle(Ok(()), Instant::now());
        self.message
    }

    pub(super) fn settle(self, disposition: Disposition) {
        self.completion.settle(disposition, Instant::now());
    }
}

/// The back end as a test sees it. Unless told otherwise it settles nothing by itself.
pub(super) struct Back {
    sent: mpsc::UnboundedReceiver<Sent>,
    shared: Arc<FakeNorthbound>,
}

pub(super) struct FakeNorthbound {
    sent: mpsc::UnboundedSender<Sent>,
    /// What all messages get at once, instead of waiting for the test.
    always: Arc<Mutex<Option<Disposition>>>,
}

impl Back {
    pub(super) fn new() -> (Self, Arc<FakeNorthbound>) {
        let (sender, sent) = mpsc::unbounded_channel();
        let shared = Arc::new(FakeNorthbound {
            sent: sender,
            always: Arc::default(),
        });
        let back = Self {
            sent,
            shared: shared.clone(),
        };
        (back, shared)
    }

    /// From now on every message is settled like this at once.
    pub(super) fn always(&self, disposition: Disposition) {
        *self.shared.always.lock().unwrap() = Some(disposition);
    }

    /// The next message that went out.
    pub(super) async fn next(&mut self) -> Sent {
        let next = tokio::time::timeout(SOON, self.sent.recv()).await;
        next.expect("no message in time").unwrap()
    }

    /// Whether nothing has gone out that was not looked at.
    pub(super) fn is_idle(&mut self) -> bool {
        self.sent.try_recv().is_err()
    }
}

impl Northbound for FakeNorthbound {
    fn outlet(&self, _: &TenantId, _: Endpoint) -> Arc<dyn Outlet> {
        Arc::new(FakeOutlet {
            sent: self.sent.clone(),
            always: self.always.clone(),
        })
    }
}

struct FakeOutlet {
    sent: mpsc::UnboundedSender<Sent>,
    always: Arc<Mutex<Option<Disposition>>>,
}

impl Outlet for FakeOutlet {
    fn publish(&self, message: Downstream) -> Delivery {
        let (delivery, completion) = match &*self.always.lock().unwrap() {
            Some(disposition) => {
                let delivery = Delivery::settled(disposition.clone(), Instant::now());
                (delivery, Completion::unobserved())
            }
            None => Delivery::open(),
        };
        let _ = self.sent.send(Sent {
            message,
            completion,
        });
        delivery
    }
}
