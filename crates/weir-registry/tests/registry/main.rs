//! The registry on a database file of its own.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod assertion;
mod changes;
mod credentials;
mod freshness;

use tempfile::TempDir;
use weir_core::{Device, DeviceId, Tenant, TenantId};
use weir_registry::SqlRegistry;

/// A registry with one tenant, and the folder that it lives in.
struct Given {
    registry: SqlRegistry,
    tenant: TenantId,
    folder: TempDir,
}

impl Given {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(&folder).await;
        let tenant = TenantId::from("acme");
        registry
            .create_tenant(Some(tenant.clone()), Tenant::default())
            .await
            .unwrap();
        Self {
            registry,
            tenant,
            folder,
        }
    }

    async fn device(&self, id: &str, device: Device) -> DeviceId {
        let created = self
            .registry
            .create_device(&self.tenant, Some(id.into()), device);
        created.await.unwrap().0
    }
}

async fn open(folder: &TempDir) -> SqlRegistry {
    let file = folder.path().join("registry.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    SqlRegistry::open(&url).await.unwrap()
}

/// A device with these members.
fn device(json: serde_json::Value) -> Device {
    serde_json::from_value(json).unwrap()
}
