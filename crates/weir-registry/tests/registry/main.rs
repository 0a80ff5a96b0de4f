//! The registry on a database: a file of each test's own, or a PostgreSQL server that all of them
//! share, if `WEIR_TEST_POSTGRES_URL` names one.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod assertion;
mod changes;
mod credentials;
mod freshness;
mod limits;
mod processes;
mod provisioning;
mod search;
mod tenants;

use tempfile::TempDir;
use weir_core::{Device, DeviceId, Tenant, TenantId};
use weir_registry::{Options, SqlRegistry};

/// A registry with one tenant, and the folder that it lives in.
struct Given {
    registry: SqlRegistry,
    tenant: TenantId,
    folder: TempDir,
}

impl Given {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = SqlRegistry::open_with(&url(&folder), options)
            .await
            .unwrap();
        let tenant = TenantId::from(unique("acme"));
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
            .create_device(&self.tenant, Some(id.into()), device, None);
        created.await.unwrap().0
    }
}

async fn open(folder: &TempDir) -> SqlRegistry {
    SqlRegistry::open(&url(folder)).await.unwrap()
}

/// The database's URL.
fn url(folder: &TempDir) -> String {
    let file = folder.path().join("registry.db");
    let sqlite = format!("sqlite://{}?mode=rwc", file.display());
    std::env::var("WEIR_TEST_POSTGRES_URL").unwrap_or(sqlite)
}

/// Whether the database is one that processes can share.
fn is_shared() -> bool {
    std::env::var("WEIR_TEST_POSTGRES_URL").is_ok()
}

/// A name that no other test has.
fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4())
}

/// A device with these members.
fn device(json: serde_json::Value) -> Device {
    serde_json::from_value(json).unwrap()
}
