//! `/v1/devices`

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use weir_core::{DeviceId, TenantId};

use crate::answer::{self, Failure, found, removed, replaced};
use crate::api::Api;
use crate::request::{DevicePath, Expected, JsonBody, Operator, TenantPath};
use crate::rules::device::device;

pub(crate) async fn create_any(
    State(api): State<Arc<Api>>,
    TenantPath(tenant): TenantPath,
    Extension(operator): Extension<Operator>,
    body: JsonBody,
) -> Result<Response, Failure> {
    insert(&api, &operator, &tenant, None, body).await
}

pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    DevicePath(tenant, id): DevicePath,
    Extension(operator): Extension<Operator>,
    body: JsonBody,
) -> Result<Response, Failure> {
    insert(&api, &operator, &tenant, Some(id), body).await
}

async fn insert(
    api: &Api,
    Operator(operator): &Operator,
    tenant: &TenantId,
    id: Option<DeviceId>,
    body: JsonBody,
) -> Result<Response, Failure> {
    let device = device(body.0.as_deref())?;
    let created = api
        .registry
        .create_device(tenant, id, device, Some(operator));
    let (id, version) = created.await?;
    let collection = format!("devices/{tenant}");
    Ok(answer::created(&collection, id.as_str(), &version))
}

pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    DevicePath(tenant, id): DevicePath,
) -> Result<Response, Failure> {
    let (device, version) = api.registry.read_device(&tenant, &id).await?;
    Ok(found(&device, &version))
}

pub(crate) async fn update(
    State(api): State<Arc<Api>>,
    DevicePath(tenant, id): DevicePath,
    Expected(expected): Expected,
    Extension(Operator(operator)): Extension<Operator>,
    body: JsonBody,
) -> Result<Response, Failure> {
    let device = device(Some(&body.required()?))?;
    let expected = expected.as_ref();
    let changed = api
        .registry
        .update_device(&tenant, &id, device, expected, Some(&operator));
    Ok(replaced(&changed.await?))
}

pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    DevicePath(tenant, id): DevicePath,
    Expected(expected): Expected,
) -> Result<Response, Failure> {
    let expected = expected.as_ref();
    api.registry.delete_device(&tenant, &id, expected).await?;
    Ok(removed())
}

/// Removes whatever devices there are, also where their tenant is gone.
pub(crate) async fn delete_all(
    State(api): State<Arc<Api>>,
    TenantPath(tenant): TenantPath,
) -> Result<Response, Failure> {
    api.registry.delete_devices(&tenant).await?;
    Ok(removed())
}
