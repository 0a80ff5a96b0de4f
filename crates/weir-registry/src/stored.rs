//! Credentials as they are stored: what operators see, and what they must not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_core::{AuthId, Credentials, DeviceId, HashFunction, PasswordSecret, Validity};

use crate::version::new_id;
use crate::{
    CredentialView, NewCredential, NewSecret, PasswordHash, SecretView, SetCredentialsError,
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
#[serde(rename_all = "kebab-case")]
struct StoredSecret {
    #[serde(flatten)]
    view: SecretView,
    #[serde(flatten)]
    hash: StoredHash,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct StoredHash {
    hash_function: String,
    pwd_hash: String,
    /// Base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    salt: String,
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
        let known = known.map_or(&[][..], |known| &known.secrets);
        let secrets = new.secrets.into_iter();
        let merged = secrets.map(|secret| StoredSecret::merge(secret, &auth_id, known));
        Ok(Self {
            enabled: new.enabled,
            ext: new.ext,
            comment: new.comment,
            secrets: merged.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn into_view(self, kind: String, auth_id: String) -> CredentialView {
        CredentialView {
            kind,
            auth_id,
            enabled: self.enabled,
            ext: self.ext,
            comment: self.comment,
            secrets: self.secrets.into_iter().map(|s| s.view).collect(),
        }
    }

    /// As the pipeline needs it.
    pub(crate) fn into_credentials(self, device: DeviceId) -> Credentials {
        let secrets = self.secrets.into_iter();
        Credentials {
            device,
            enabled: self.enabled,
            secrets: secrets.filter_map(StoredSecret::into_password).collect(),
        }
    }
}

impl StoredSecret {
    fn merge(
        new: NewSecret,
        auth_id: &AuthId,
        known: &[Self],
    ) -> Result<Self, SetCredentialsError> {
        let replaced = match &new.id {
            None => None,
            Some(id) => Some(
                known
                    .iter()
                    .find(|secret| secret.view.id == *id)
                    .ok_or_else(|| SetCredentialsError::SecretUnknown {
                        auth_id: auth_id.clone(),
                        id: id.clone(),
                    })?,
            ),
        };
        let hash = match (new.hash, replaced) {
            (Some(hash), _) => hash.into(),
            (None, Some(replaced)) => replaced.hash.clone(),
            (None, None) => {
                let auth_id = auth_id.clone();
                return Err(SetCredentialsError::SecretWithoutHash { auth_id });
            }
        };
        let view = SecretView {
            id: new.id.unwrap_or_else(new_id),
            enabled: new.enabled,
            not_before: new.not_before,
            not_after: new.not_after,
            comment: new.comment,
        };
        Ok(Self { view, hash })
    }

    /// None if a newer release wrote it with a function that this one does not know: no password
    /// matches it then.
    fn into_password(self) -> Option<PasswordSecret> {
        Some(PasswordSecret {
            function: HashFunction::from_name(&self.hash.hash_function)?,
            hash: self.hash.pwd_hash,
            salt: BASE64.decode(self.hash.salt).ok()?,
            validity: Validity {
                enabled: self.view.enabled,
                not_before: self.view.not_before.map(Into::into),
                not_after: self.view.not_after.map(Into::into),
            },
        })
    }
}

impl From<PasswordHash> for StoredHash {
    fn from(hash: PasswordHash) -> Self {
        Self {
            hash_function: hash.function.as_str().to_owned(),
            pwd_hash: hash.hash,
            salt: BASE64.encode(hash.salt),
        }
    }
}
