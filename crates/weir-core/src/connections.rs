//! Who is connected, so that those can be sent away whose registration ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::{ChangeListener, ChangeSubject, DeviceId, RegistryChange, TenantId};

/// The connections of authenticated devices, by tenant and device.
///
/// A device that is deleted or disabled loses its connections at once, as do all devices of a tenant
/// that is (device contract §1.17).
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<Open>,
    next: AtomicU64,
}

type Open = HashMap<TenantId, HashMap<DeviceId, HashMap<u64, CancellationToken>>>;

/// One connection's place among them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    tenant: TenantId,
    device: DeviceId,
    number: u64,
    closed: CancellationToken,
}

impl Connections {
    pub(crate) fn enter(self: &Arc<Self>, tenant: &TenantId, device: &DeviceId) -> Place {
        let closed = CancellationToken::new();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.lock();
        let devices = open.entry(tenant.clone()).or_default();
        let tokens = devices.entry(device.clone()).or_default();
        tokens.insert(number, closed.clone());
        Place {
            connections: self.clone(),
            tenant: tenant.clone(),
            device: device.clone(),
            number,
            closed,
        }
    }

    /// Sends away one device, or all of a tenant.
    fn close(&self, tenant: &TenantId, device: Option<&DeviceId>) {
        let open = self.lock();
        let Some(devices) = open.get(tenant) else {
            return;
        };
        let one = device.map(|device| devices.get(device));
        let tokens: Vec<_> = match one {
            Some(tokens) => tokens
                .into_iter()
                .flat_map(HashMap::values)
                .cloned()
                .collect(),
            None => devices
                .values()
                .flat_map(HashMap::values)
                .cloned()
                .collect(),
        };
        // Those who are woken may want to leave at once.
        drop(open);
        if !tokens.is_empty() {
            let (tenant, device) = (tenant.as_str(), device.map(DeviceId::as_str));
            let connections = tokens.len();
            tracing::info!(tenant, device, connections, "registration ended: closing");
        }
        for token in tokens {
            token.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangeListener for Connections {
    fn changed(&self, change: &RegistryChange) {
        match &change.subject {
            ChangeSubject::Tenant { enabled: false, .. } | ChangeSubject::AllDevices => {
                self.close(&change.tenant, None);
            }
            ChangeSubject::Device {
                device,
                enabled: false,
                ..
            } => self.close(&change.tenant, Some(device)),
            // Changed credentials count at the next log-in.
            ChangeSubject::Tenant { .. }
            | ChangeSubject::Device { .. }
            | ChangeSubject::Credentials { .. } => {}
        }
    }
}

impl Place {
    /// Cancelled when the connection is to be closed.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        let Some(devices) = open.get_mut(&self.tenant) else {
            return;
        };
        if let Some(tokens) = devices.get_mut(&self.device) {
            tokens.remove(&self.number);
            if tokens.is_empty() {
                devices.remove(&self.device);
            }
        }
        if devices.is_empty() {
            open.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::ChangeKind;

    fn change(tenant: &str, subject: ChangeSubject) -> RegistryChange {
        RegistryChange {
            at: OffsetDateTime::UNIX_EPOCH,
            tenant: tenant.into(),
            subject,
        }
    }

    fn device(device: &str, change: ChangeKind, enabled: bool) -> ChangeSubject {
        let device = device.into();
        ChangeSubject::Device {
            device,
            change,
            enabled,
        }
    }

    #[test]
    fn who_is_deleted_or_disabled_is_sent_away_and_nobody_else() {
        use ChangeKind::{Deleted, Updated};
        let tenant = |change, enabled| ChangeSubject::Tenant {
            change,
            enabled,
            invalidate_cache: true,
        };
        let credentials = ChangeSubject::Credentials {
            device: "d1".into(),
        };
        // Who is left of (acme, d1), (acme, d2), (other, d1).
        let rows = [
            (device("d1", Deleted, false), [false, true, true]),
            (device("d1", Updated, false), [false, true, true]),
            (device("d1", Updated, true), [true, true, true]),
            (device("d3", Deleted, false), [true, true, true]),
            (credentials, [true, true, true]),
            (ChangeSubject::AllDevices, [false, false, true]),
            (tenant(Deleted, false), [false, false, true]),
            (tenant(Updated, false), [false, false, true]),
            (tenant(Updated, true), [true, true, true]),
        ];
        for (subject, expected) in rows {
            let connections = Arc::new(Connections::default());
            let places = [("acme", "d1"), ("acme", "d2"), ("other", "d1")]
                .map(|(tenant, device)| connections.enter(&tenant.into(), &device.into()));
            connections.changed(&change("acme", subject.clone()));
            let left = places
                .each_ref()
                .map(|place| !place.closed().is_cancelled());
            assert_eq!(left, expected, "{subject:?}");
        }
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let connections = Arc::new(Connections::default());
        let (tenant, device) = ("acme".into(), "d1".into());
        let first = connections.enter(&tenant, &device);
        let second = connections.enter(&tenant, &device);
        drop(first);
        assert!(!second.closed().is_cancelled());
        assert_eq!(connections.lock()[&tenant][&device].len(), 1);
        drop(second);
        assert!(connections.lock().is_empty());
    }
}
