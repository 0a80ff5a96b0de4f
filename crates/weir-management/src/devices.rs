//! `/v1/devices`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use weir_core::{DeviceId, TenantId};

use crate::answer::{Failure, created, found, removed, replaced};
use crate::api::Api;
use crate::object;
use crate::request::{DevicePath, Expected, JsonBody, TenantPath};

pub(crate) async fn create_any(
    State(api): State<Arc<Api>>,
    TenantPath(tenant): TenantPath,
    body: JsonBody,
) -> Result<Response, Failure> {
    insert(&api, &tenant, None, body).await
}

pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    DevicePath(tenant, id): DevicePath,
    body: JsonBody,
) -> Result<Response, Failure> {
    insert(&api, &tenant, Some(id), body).await
}

async fn insert(
    api: &Api,
    tenant: &TenantId,
    id: Option<DeviceId>,
    body: JsonBody,
) -> Result<Response, Failure> {
    let device = object::device(body.0.as_deref())?;
    let (id, version) = api.registry.create_device(tenant, id, device).await?;
    let collection = format!("devices/{tenant}");
    Ok(created(&collection, id.as_str(), &version))
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
    body: JsonBody,
) -> Result<Response, Failure> {
    let device = object::device(Some(&body.required()?))?;
    let expected = expected.as_ref();
    let changed = api.registry.update_device(&tenant, &id, device, expected);
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
