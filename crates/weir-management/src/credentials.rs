//! `/v1/credentials`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::answer::{Failure, found, replaced};
use crate::api::Api;
use crate::request::{DevicePath, Expected, JsonBody};
use crate::rules::credential::parse_all;

pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    DevicePath(tenant, device): DevicePath,
) -> Result<Response, Failure> {
    let (set, version) = api.registry.read_credentials(&tenant, &device).await?;
    Ok(found(&set, &version))
}

pub(crate) async fn replace(
    State(api): State<Arc<Api>>,
    DevicePath(tenant, device): DevicePath,
    Expected(expected): Expected,
    body: JsonBody,
) -> Result<Response, Failure> {
    // Everything is checked before anything is hashed, which takes time.
    let mut set = Vec::new();
    for checked in parse_all(&body.required()?, &api.hashes)? {
        set.push(checked.hashed(&api.hasher).await?);
    }
    let expected = expected.as_ref();
    let changed = api
        .registry
        .set_credentials(&tenant, &device, set, expected);
    Ok(replaced(&changed.await?))
}
