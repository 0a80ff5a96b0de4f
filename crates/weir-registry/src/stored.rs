//! Credentials as they are stored: what operators see, and what they must not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_core::{
    AuthId, CredentialType, Credentials, DeviceId, HashFunction, PasswordSecret, PublicKey,
    Secrets, SharedKey, Validity,
};

use crate::credentials::SecretHead;
use crate::version::new_id;
use crate::{
    CredentialView, NewCredential, NewSecret, SecretData, SecretView, SetCredentialsError,
    Unavailable,
};

/// A credential as it is stored, its type and name apart.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredCredential {
    enabled: bool,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    ext: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    secrets: Vec<StoredSecret>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredSecret {
    #[serde(flatten)]
    head: SecretHead,
    /// What it is made of, with the management API's names.
    #[serde(flatten)]
    data: Map<String, Value>,
}

impl StoredCredential {
    pub(crate) fn parse(object: &str) -> Result<Self, Unavailable> {
        Ok(serde_json::from_str(object)?)
    }

    /// What is to be stored of `new`, where `known` is stored under its type and name.
    pub(crate) fn merge(
        new: NewCredential,
        known: Option<&Self>,
    ) -> Result<Self, SetCredentialsError> {
        let auth_id = new.auth_id;
        let needs_data = new.kind == CredentialType::HashedPassword.as_str();
        let known = known.map_or(&[][..], |known| &known.secrets);
        let secrets = new.secrets.into_iter();
        let merged = secrets.map(|secret| StoredSecret::merge(secret, &auth_id, known, needs_data));
        Ok(Self {
            enabled: new.enabled,
            ext: new.ext,
            comment: new.comment,
            secrets: merged.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn into_view(self, kind: String, auth_id: String) -> CredentialView {
        let is_open = match CredentialType::from_name(&kind) {
            None | Some(CredentialType::RawPublicKey) => true,
            Some(
                CredentialType::HashedPassword
                | CredentialType::PreSharedKey
                | CredentialType::X509Certificate,
            ) => false,
        };
        let view = |secret: StoredSecret| SecretView {
            head: secret.head,
            open: if is_open { secret.data } else { Map::new() },
        };
        CredentialView {
            kind,
            auth_id,
            enabled: self.enabled,
            ext: self.ext,
            comment: self.comment,
            secrets: self.secrets.into_iter().map(view).collect(),
        }
    }

    /// As the pipeline needs it.
    pub(crate) fn into_credentials(
        self,
        device: DeviceId,
        kind: CredentialType,
        is_unannounced: bool,
    ) -> Credentials {
        let secrets = self.secrets.iter();
        let secrets = match kind {
            CredentialType::HashedPassword => {
                Secrets::Passwords(secrets.filter_map(StoredSecret::password).collect())
            }
            CredentialType::PreSharedKey => {
                Secrets::SharedKeys(secrets.filter_map(StoredSecret::shared_key).collect())
            }
            CredentialType::RawPublicKey => {
                Secrets::PublicKeys(secrets.filter_map(StoredSecret::public_key).collect())
            }
            CredentialType::X509Certificate => {
                Secrets::Certificates(secrets.map(StoredSecret::validity).collect())
            }
        };
        Credentials {
            device,
            enabled: self.enabled,
            ext: self.ext,
            secrets,
            is_unannounced,
        }
    }
}

impl StoredSecret {
    fn merge(
        new: NewSecret,
        auth_id: &AuthId,
        known: &[Self],
        needs_data: bool,
    ) -> Result<Self, SetCredentialsError> {
        let replaced = match &new.id {
            None => None,
            Some(id) => Some(
                known
                    .iter()
                    .find(|secret| secret.head.id == *id)
                    .ok_or_else(|| SetCredentialsError::SecretUnknown {
                        auth_id: auth_id.clone(),
                        id: id.clone(),
                    })?,
            ),
        };
        let data = match (members(new.data), replaced) {
            (Some(data), _) => data,
            (None, Some(replaced)) => replaced.data.clone(),
            (None, None) if needs_data => {
                let auth_id = auth_id.clone();
                return Err(SetCredentialsError::SecretWithoutHash { auth_id });
            }
            (None, None) => Map::new(),
        };
        let head = SecretHead {
            id: new.id.unwrap_or_else(new_id),
            enabled: new.enabled,
            not_before: new.not_before,
            not_after: new.not_after,
            comment: new.comment,
        };
        Ok(Self { head, data })
    }

    fn text(&self, member: &str) -> Option<&str> {
        self.data.get(member)?.as_str()
    }

    fn validity(&self) -> Validity {
        Validity {
            enabled: self.head.enabled,
            not_before: self.head.not_before.map(Into::into),
            not_after: self.head.not_after.map(Into::into),
        }
    }

    /// None if a newer release wrote it with a function that this one does not know: no password
    /// matches it then.
    fn password(&self) -> Option<PasswordSecret> {
        Some(PasswordSecret {
            function: HashFunction::from_name(self.text("hash-function")?)?,
            hash: self.text("pwd-hash")?.to_owned(),
            salt: BASE64.decode(self.text("salt").unwrap_or_default()).ok()?,
            validity: self.validity(),
        })
    }

    fn shared_key(&self) -> Option<SharedKey> {
        Some(SharedKey {
            key: BASE64.decode(self.text("key")?).ok()?,
            validity: self.validity(),
        })
    }

    fn public_key(&self) -> Option<PublicKey> {
        Some(PublicKey {
            key: BASE64.decode(self.text("key")?).ok()?,
            algorithm: self.text("algorithm")?.to_owned(),
            validity: self.validity(),
        })
    }
}

/// What a secret is made of, with the management API's names; nothing if there is nothing.
fn members(data: SecretData) -> Option<Map<String, Value>> {
    let member = |name: &str, value: String| (name.to_owned(), Value::from(value));
    let members = match data {
        SecretData::None => return None,
        SecretData::Other(members) => return (!members.is_empty()).then_some(members),
        SecretData::Password(password) => {
            let mut members = vec![
                member("hash-function", password.function.as_str().to_owned()),
                member("pwd-hash", password.hash),
            ];
            if !password.salt.is_empty() {
                members.push(member("salt", BASE64.encode(password.salt)));
            }
            members
        }
        SecretData::SharedKey(key) => vec![member("key", BASE64.encode(key))],
        SecretData::PublicKey { key, algorithm } => vec![
            member("key", BASE64.encode(key)),
            member("algorithm", algorithm),
        ],
    };
    Some(Map::from_iter(members))
}
