//! Credentials.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};
use weir_core::{CredentialType, MAX_ID, MAX_NAME};
use weir_registry::NewCredential;
use weir_x509::DistinguishedName;

use super::password::HashRules;
use super::secret::CheckedSecret;
use super::x509::certificate;
use crate::answer::Failure;
use crate::hasher::Hasher;
use crate::object::{Broken, check_length, json, object, parse};
use crate::request::is_of;

/// Credentials of a device, and secrets of a credential: each may have to be hashed.
const MAX_CREDENTIALS: usize = 100;
const MAX_SECRETS: usize = 32;

/// A credential as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    auth_id: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    ext: Map<String, Value>,
    comment: Option<String>,
    secrets: Option<Vec<Value>>,
    /// Instead of `auth-id` and `secrets`.
    cert: Option<String>,
}

fn yes() -> bool {
    true
}

/// A credential that keeps the rules, its passwords not yet hashed.
pub(crate) struct CheckedCredential {
    head: NewCredential,
    secrets: Vec<CheckedSecret>,
}

/// A set of credentials that keeps the rules which need no look at what is stored.
pub(crate) fn parse_all(body: &[u8], rules: &HashRules) -> Result<Vec<CheckedCredential>, Failure> {
    let Value::Array(elements) = json(body)? else {
        let text = "a JSON array of credentials is required";
        return Err(Failure::bad_request(text));
    };
    if elements.len() > MAX_CREDENTIALS {
        let text = format!("at most {MAX_CREDENTIALS} credentials are allowed");
        return Err(Failure::bad_request(text));
    }
    let mut names = BTreeSet::new();
    let mut set = Vec::new();
    for (place, element) in elements.into_iter().enumerate() {
        let at = |broken| Failure::bad_request(format!("credentials[{place}]: {broken}"));
        let checked = CheckedCredential::parse(element, rules).map_err(at)?;
        let head = &checked.head;
        if !names.insert((head.kind.clone(), head.auth_id.clone())) {
            let rule = "another one has the same type and auth-id";
            return Err(at(Broken::new("", rule)));
        }
        set.push(checked);
    }
    Ok(set)
}

impl CheckedCredential {
    fn parse(element: Value, rules: &HashRules) -> Result<Self, Broken> {
        let body: Body = object(element).and_then(parse)?;
        let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if body.kind.is_empty() || !body.kind.bytes().all(is_allowed) {
            let rule = "only lower-case letters, digits and - are allowed";
            return Err(Broken::new("type", rule));
        }
        check_length("type", &body.kind, MAX_ID)?;
        let kind = CredentialType::from_name(&body.kind);
        let (auth_id, secrets) = match (kind, body.cert) {
            (Some(CredentialType::X509Certificate), Some(cert)) => of_certificate(&cert)?,
            (_, Some(_)) => return Err(Broken::new("cert", "is for type x509-cert")),
            (kind, None) => {
                let auth_id = body.auth_id.ok_or_else(|| Broken::missing("auth-id"))?;
                let secrets = body.secrets.ok_or_else(|| Broken::missing("secrets"))?;
                let auth_id = check_auth_id(kind, auth_id)?;
                (auth_id, check_secrets(kind, secrets, rules)?)
            }
        };
        let head = NewCredential {
            kind: body.kind,
            auth_id: auth_id.into(),
            enabled: body.enabled,
            ext: body.ext,
            comment: body.comment,
            secrets: Vec::new(),
        };
        Ok(Self { head, secrets })
    }

    pub(crate) async fn hashed(self, hasher: &Hasher) -> Result<NewCredential, Failure> {
        let mut credential = self.head;
        for secret in self.secrets {
            credential.secrets.push(secret.hashed(hasher).await?);
        }
        Ok(credential)
    }
}

/// Name and secret of whom a certificate is about.
fn of_certificate(cert: &str) -> Result<(String, Vec<CheckedSecret>), Broken> {
    let certificate = certificate("cert", cert)?;
    if certificate.subject().is_empty() {
        return Err(Broken::new("cert", "has no subject"));
    }
    check_length("cert", certificate.subject().as_str(), MAX_NAME)?;
    let secret = CheckedSecret::of_certificate(&certificate);
    Ok((certificate.subject().to_string(), vec![secret]))
}

fn check_auth_id(kind: Option<CredentialType>, auth_id: String) -> Result<String, Broken> {
    if auth_id.is_empty() {
        return Err(Broken::new("auth-id", "is empty"));
    }
    let auth_id = match kind {
        Some(CredentialType::HashedPassword) if !is_of(&auth_id, "-_=.") => {
            let rule = "only letters, digits, and - _ = . are allowed";
            return Err(Broken::new("auth-id", rule));
        }
        // A trust anchor's template may make an auth-id that is no distinguished name.
        Some(CredentialType::X509Certificate) => auth_id
            .parse::<DistinguishedName>()
            .map_or(auth_id, |name| name.to_string()),
        _ => auth_id,
    };
    check_length("auth-id", &auth_id, MAX_NAME)?;
    Ok(auth_id)
}

fn check_secrets(
    kind: Option<CredentialType>,
    elements: Vec<Value>,
    rules: &HashRules,
) -> Result<Vec<CheckedSecret>, Broken> {
    let is_certificate = kind == Some(CredentialType::X509Certificate);
    if elements.is_empty() {
        return Err(Broken::new("secrets", "at least one is required"));
    }
    if is_certificate && elements.len() > 1 {
        return Err(Broken::new("secrets", "exactly one is required"));
    }
    if elements.len() > MAX_SECRETS {
        let rule = format!("at most {MAX_SECRETS} are allowed");
        return Err(Broken::new("secrets", rule));
    }
    let mut ids = BTreeSet::new();
    let mut secrets = Vec::new();
    for (place, element) in elements.into_iter().enumerate() {
        let at = |broken: Broken| broken.at("secrets", place);
        let secret = CheckedSecret::parse(kind, element, rules).map_err(at)?;
        if let Some(id) = secret.id()
            && !ids.insert(id.to_owned())
        {
            return Err(at(Broken::new("id", "another secret has the same")));
        }
        secrets.push(secret);
    }
    Ok(secrets)
}
