//! `/v1/credentials`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use weir_registry::SetCredentialsError;

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
    // Everything is checked before anything is hashed, which takes time. What is stored may change
    // meanwhile, so it is looked at again when the set is replaced.
    let checked = parse_all(&body.required()?, &api.hashes)?;
    let expected = expected.as_ref();
    let (_, version) = api.registry.read_credentials(&tenant, &device).await?;
    if expected.is_some_and(|expected| *expected != version) {
        return Err(SetCredentialsError::VersionMismatch.into());
    }
    let mut set = Vec::new();
    for credential in checked {
        set.push(credential.hashed(&api.hasher).await?);
    }
    let changed = api
        .registry
        .set_credentials(&tenant, &device, set, expected);
    Ok(replaced(&changed.await?))
}
