//! Sets of credentials, as operators change them.
//!
//! A secret has an id, by which an operator keeps it without knowing it: a secret that is set with
//! an id and without a hash takes the stored hash over.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_core::{AuthId, ChangeSubject, DeviceId, HashFunction, TenantId, Timestamp};

use crate::cache::Tag;
use crate::change::Change;
use crate::device::place;
use crate::stored::StoredCredential;
use crate::{ChangeError, ReadError, SqlRegistry, Unavailable, Version};

/// A credential to be set.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// How the device proves who it is: the name of a [`weir_core::CredentialType`], or any other,
    /// which is kept and never used.
    pub kind: String,
    /// The name it does so with.
    pub auth_id: AuthId,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Free for the operator; a client must not contradict it.
    pub ext: Map<String, Value>,
    /// Free for the operator.
    pub comment: Option<String>,
    /// Any of which will do.
    pub secrets: Vec<NewSecret>,
}

/// A secret to be set.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// The stored secret that this one replaces; a new one has none.
    pub id: Option<String>,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// It counts only after this instant.
    pub not_before: Option<Timestamp>,
    /// It counts only before this instant.
    pub not_after: Option<Timestamp>,
    /// Free for the operator.
    pub comment: Option<String>,
    /// What is to be known or shown.
    pub data: SecretData,
}

/// What a secret is made of, by type of credential.
#[derive(Clone, PartialEq)]
pub enum SecretData {
    /// Nothing (`x509-cert`), or what the stored secret of that id has.
    None,
    /// Of `hashed-password`.
    Password(PasswordHash),
    /// Of `psk`: the key.
    SharedKey(Vec<u8>),
    /// Of `rpk`.
    PublicKey {
        /// The DER form of a `SubjectPublicKeyInfo`.
        key: Vec<u8>,
        /// `RSA`, `EC`, ….
        algorithm: String,
    },
    /// Of any other type: whatever the operator gave.
    Other(Map<String, Value>),
}

/// It is secret; only its kind is shown.
impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password(_) => "Password(…)",
            Self::SharedKey(_) => "SharedKey(…)",
            Self::PublicKey { .. } => "PublicKey(…)",
            Self::Other(_) => "Other(…)",
        })
    }
}

/// A password's hash.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    /// How it was made.
    pub function: HashFunction,
    /// In the function's textual form.
    pub hash: String,
    /// For the SHA functions.
    pub salt: Vec<u8>,
}

/// The hash is a secret too.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash")
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

/// A credential as it is shown: without what is secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CredentialView {
    /// How the device proves who it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name it does so with.
    pub auth_id: String,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Free for the operator.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub ext: Map<String, Value>,
    /// Free for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Any of which will do.
    pub secrets: Vec<SecretView>,
}

/// A secret as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecretView {
    /// What every secret has.
    #[serde(flatten)]
    pub head: SecretHead,
    /// What is no secret of it: a public key, or whatever a type unknown here has.
    #[serde(flatten)]
    pub open: Map<String, Value>,
}

/// What every secret has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SecretHead {
    /// By which it can be kept when the set is replaced.
    pub id: String,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// It counts only after this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// It counts only before this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Free for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Why a set of credentials was not replaced.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SetCredentialsError {
    /// There is no such device, or its tenant is gone.
    #[error("not found")]
    NotFound,
    /// The set has another version than the one expected.
    #[error("resource version does not match")]
    VersionMismatch,
    /// The set has more credentials than a device of the tenant may have.
    #[error("a device of this tenant may have no more than {0} credentials")]
    LimitReached(u64),
    /// Another device of the tenant has a credential of that type and name, or the set has two.
    #[error("there is another credential of type {kind} with auth-id {auth_id}")]
    AuthIdTaken {
        /// The credential's type.
        kind: String,
        /// The credential's name.
        auth_id: AuthId,
    },
    /// A secret's id is none of those that the stored credential of that type and name has.
    #[error("auth-id {auth_id}: there is no secret with id {id}")]
    SecretUnknown {
        /// The credential's name.
        auth_id: AuthId,
        /// The secret's id.
        id: String,
    },
    /// A secret has neither a hash nor the id of a stored secret.
    #[error("auth-id {auth_id}: a new secret needs a password or a hash")]
    SecretWithoutHash {
        /// The credential's name.
        auth_id: AuthId,
    },
    /// The storage did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ChangeError> for SetCredentialsError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => Self::NotFound,
            ChangeError::VersionMismatch => Self::VersionMismatch,
            ChangeError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl SqlRegistry {
    /// The credentials of a device, in the order they were set.
    ///
    /// # Errors
    /// If there is no such tenant or device, or the storage does not answer.
    pub async fn read_credentials(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
    ) -> Result<(Vec<CredentialView>, Version), ReadError> {
        // One statement, so that set and version belong together.
        let sql = "SELECT devices.credentials_version, credentials.type, credentials.auth_id, \
                   credentials.object FROM devices LEFT JOIN credentials \
                   ON credentials.tenant = devices.tenant AND credentials.device = devices.id \
                   WHERE devices.tenant = $1 AND devices.id = $2 \
                   AND EXISTS (SELECT id FROM tenants WHERE id = $1) \
                   ORDER BY credentials.place";
        type Row = (String, Option<String>, Option<String>, Option<String>);
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(device.to_string())
            .fetch_all(self.readers())
            .await
            .map_err(Unavailable::from)?;
        let version = rows.first().ok_or(ReadError::NotFound)?.0.clone();
        let mut views = Vec::new();
        for row in rows {
            if let (_, Some(kind), Some(auth_id), Some(object)) = row {
                let stored = StoredCredential::parse(&object)?;
                views.push(stored.into_view(kind, auth_id));
            }
        }
        Ok((views, version.into()))
    }

    /// Replaces the credentials of a device, if the set has the version `expected` (or whichever).
    ///
    /// # Errors
    /// If the device is not there, the set has another version or breaks a rule (see the variants),
    /// or the storage does not answer.
    pub async fn set_credentials(
        &self,
        tenant: &TenantId,
        device: &DeviceId,
        set: Vec<NewCredential>,
        expected: Option<&Version>,
    ) -> Result<Version, SetCredentialsError> {
        let place = place(tenant, device);
        let (tenant, device) = (tenant.clone(), device.clone());
        let expected = Version::expected(expected);
        self.change(&place, move |change| {
            Box::pin(async move {
                let settings = change.tenant(&tenant).await?;
                let settings = settings.ok_or(SetCredentialsError::NotFound)?;
                let version = Version::new();
                let sql = "UPDATE devices SET credentials_version = $1 WHERE tenant = $2 \
                           AND id = $3 AND ($4 = '' OR credentials_version = $4)";
                let update = sqlx::query(sql)
                    .bind(version.to_string())
                    .bind(tenant.to_string())
                    .bind(device.to_string())
                    .bind(expected);
                if change.execute(update).await? == 0 {
                    return Err(change.why_not_device(&tenant, &device).await?.into());
                }
                let limits = settings.registration_limits;
                let limit = limits.map(|limits| limits.max_credentials_per_device);
                if let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok())
                    && set.len() as u64 > limit
                {
                    return Err(SetCredentialsError::LimitReached(limit));
                }
                let tags = change.replace(&tenant, &device, set).await?;
                change.made(&tenant, ChangeSubject::Credentials { device }, tags);
                Ok(version)
            })
        })
        .await
    }
}

impl Change {
    /// Replaces a device's credentials; what depends on them.
    pub(crate) async fn replace(
        &mut self,
        tenant: &TenantId,
        device: &DeviceId,
        set: Vec<NewCredential>,
    ) -> Result<Vec<Tag>, SetCredentialsError> {
        let before = self.stored_credentials(tenant, device).await?;
        if !before.is_empty() {
            let delete = sqlx::query("DELETE FROM credentials WHERE tenant = $1 AND device = $2")
                .bind(tenant.to_string())
                .bind(device.to_string());
            self.execute(delete).await?;
        }
        let mut tags = vec![Tag::Credentials(tenant.clone(), device.clone())];
        let mut set: Vec<_> = (0_i64..).zip(set).collect();
        // Always in the same order, so that two do not wait for each other.
        set.sort_by(|(_, a), (_, b)| (&a.kind, &a.auth_id).cmp(&(&b.kind, &b.auth_id)));
        for (place, new) in set {
            let (kind, auth_id) = (new.kind.clone(), new.auth_id.clone());
            let known = before
                .iter()
                .find(|(k, a, _)| *k == kind && a == auth_id.as_str());
            let known = known.map(|(_, _, object)| StoredCredential::parse(object));
            let stored = StoredCredential::merge(new, known.transpose()?.as_ref())?;
            let sql = "INSERT INTO credentials (tenant, type, auth_id, device, place, object) \
                       VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
            let insert = sqlx::query(sql)
                .bind(tenant.to_string())
                .bind(kind.clone())
                .bind(auth_id.to_string())
                .bind(device.to_string())
                .bind(place)
                .bind(serde_json::to_string(&stored).map_err(Unavailable::from)?);
            if self.execute(insert).await? == 0 {
                return Err(SetCredentialsError::AuthIdTaken { kind, auth_id });
            }
            // That the name leads nowhere may be remembered.
            tags.push(Tag::Login(tenant.clone(), kind, auth_id));
        }
        Ok(tags)
    }

    /// Type, name and object of each.
    async fn stored_credentials(
        &mut self,
        tenant: &TenantId,
        device: &DeviceId,
    ) -> Result<Vec<(String, String, String)>, Unavailable> {
        let sql = "SELECT type, auth_id, object FROM credentials \
                   WHERE tenant = $1 AND device = $2";
        let rows = sqlx::query_as(sql)
            .bind(tenant.to_string())
            .bind(device.to_string())
            .fetch_all(&mut *self.tx)
            .await?;
        Ok(rows)
    }
}
