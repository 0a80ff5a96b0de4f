//! `/v1/credentials`

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use weir_core::CredentialType;
use weir_registry::NewCredential;

use crate::answer::{Failure, found, replaced};
use crate::api::Api;
use crate::object::{json, parse};
use crate::request::{DevicePath, Expected, JsonBody, is_of};
use crate::secret::{CheckedSecret, SecretBody};

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
    for checked in check(&body.required()?, api.hasher.cost())? {
        set.push(checked.hashed(&api).await?);
    }
    let expected = expected.as_ref();
    let changed = api
        .registry
        .set_credentials(&tenant, &device, set, expected);
    Ok(replaced(&changed.await?))
}

/// A credential as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CredentialBody {
    #[serde(rename = "type")]
    _kind: Option<String>,
    auth_id: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    ext: Map<String, Value>,
    comment: Option<String>,
    #[serde(default)]
    secrets: Vec<Map<String, Value>>,
}

fn yes() -> bool {
    true
}

/// A credential that keeps the rules, its passwords not yet hashed.
struct CheckedCredential {
    head: NewCredential,
    secrets: Vec<CheckedSecret>,
}

/// A set of credentials that keeps the rules which need no look at what is stored.
fn check(body: &[u8], max_cost: u32) -> Result<Vec<CheckedCredential>, Failure> {
    let Value::Array(elements) = json(body)? else {
        return Err(Failure::bad_request(
            "a JSON array of credentials is required",
        ));
    };
    let mut names = BTreeSet::new();
    let mut set = Vec::new();
    for (place, element) in elements.into_iter().enumerate() {
        let at = |text: String| Failure::bad_request(format!("credentials[{place}]: {text}"));
        let checked = CheckedCredential::parse(element, max_cost).map_err(at)?;
        let head = &checked.head;
        if !names.insert((head.kind.as_str(), head.auth_id.clone())) {
            return Err(at("another one has the same type and auth-id".to_owned()));
        }
        set.push(checked);
    }
    Ok(set)
}

impl CheckedCredential {
    fn parse(element: Value, max_cost: u32) -> Result<Self, String> {
        let Value::Object(members) = element else {
            return Err("not a JSON object".to_owned());
        };
        let kind = parse_type(members.get("type"))?;
        let body: CredentialBody = parse(members)?;
        let auth_id = body.auth_id.ok_or("auth-id: is required")?;
        if !is_of(&auth_id, "-_=.") {
            return Err("auth-id: only letters, digits, and - _ = . are allowed".to_owned());
        }
        if body.secrets.is_empty() {
            return Err("secrets: at least one is required".to_owned());
        }
        let mut ids = BTreeSet::new();
        let mut secrets = Vec::new();
        for (place, members) in body.secrets.into_iter().enumerate() {
            let at = |text: String| format!("secrets[{place}]: {text}");
            let secret = parse::<SecretBody>(members).map_err(at)?;
            let secret = secret.check(max_cost).map_err(at)?;
            if let Some(id) = secret.id()
                && !ids.insert(id.to_owned())
            {
                return Err(at("id: another secret has the same".to_owned()));
            }
            secrets.push(secret);
        }
        let head = NewCredential {
            kind,
            auth_id: auth_id.into(),
            enabled: body.enabled,
            ext: body.ext,
            comment: body.comment,
            secrets: Vec::new(),
        };
        Ok(Self { head, secrets })
    }

    async fn hashed(self, api: &Api) -> Result<NewCredential, Failure> {
        let mut credential = self.head;
        for secret in self.secrets {
            credential.secrets.push(secret.hashed(&api.hasher).await?);
        }
        Ok(credential)
    }
}

fn parse_type(kind: Option<&Value>) -> Result<CredentialType, String> {
    let known = CredentialType::HashedPassword;
    match kind {
        Some(Value::String(kind)) if kind == known.as_str() => Ok(known),
        Some(Value::String(kind)) => Err(format!(
            "type: credentials of type {kind} are not supported, only {}",
            known.as_str()
        )),
        Some(_) => Err("type: a string is required".to_owned()),
        None => Err("type: is required".to_owned()),
    }
}
