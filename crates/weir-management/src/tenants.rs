//! `/v1/tenants`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use weir_core::TenantId;

use crate::answer::{Failure, created, found, removed, replaced};
use crate::api::Api;
use crate::request::{Expected, JsonBody, TenantPath};
use crate::rules::tenant::tenant;

pub(crate) async fn create_any(
    State(api): State<Arc<Api>>,
    body: JsonBody,
) -> Result<Response, Failure> {
    insert(&api, None, body).await
}

pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    TenantPath(id): TenantPath,
    body: JsonBody,
) -> Result<Response, Failure> {
    insert(&api, Some(id), body).await
}

async fn insert(api: &Api, id: Option<TenantId>, body: JsonBody) -> Result<Response, Failure> {
    let tenant = tenant(body.0.as_deref())?;
    let (id, version) = api.registry.create_tenant(id, tenant).await?;
    Ok(created("tenants", id.as_str(), &version))
}

pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    TenantPath(id): TenantPath,
) -> Result<Response, Failure> {
    let (tenant, version) = api.registry.read_tenant(&id).await?;
    Ok(found(&tenant, &version))
}

pub(crate) async fn update(
    State(api): State<Arc<Api>>,
    TenantPath(id): TenantPath,
    Expected(expected): Expected,
    body: JsonBody,
) -> Result<Response, Failure> {
    let tenant = tenant(Some(&body.required()?))?;
    let changed = api.registry.update_tenant(&id, tenant, expected.as_ref());
    Ok(replaced(&changed.await?))
}

pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    TenantPath(id): TenantPath,
    Expected(expected): Expected,
) -> Result<Response, Failure> {
    api.registry.delete_tenant(&id, expected.as_ref()).await?;
    Ok(removed())
}
