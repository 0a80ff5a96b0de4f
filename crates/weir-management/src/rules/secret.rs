//! Secrets, by type of credential.

use serde::Deserialize;
use serde_json::{Map, Value};
use weir_core::{CredentialType, Timestamp};
use weir_registry::{NewSecret, SecretData};
use weir_x509::{Certificate, PublicKey};

use super::password::{HashRules, Password};
use super::x509::{certificate, key_algorithm};
use crate::answer::Failure;
use crate::hasher::Hasher;
use crate::object::{Broken, decode, object, parse};

/// What a secret of any type may have.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Head {
    id: Option<String>,
    enabled: bool,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    comment: Option<String>,
}

/// The members of [`Head`].
const HEAD: [&str; 5] = ["id", "enabled", "not-before", "not-after", "comment"];

impl Default for Head {
    fn default() -> Self {
        Self {
            id: None,
            enabled: true,
            not_before: None,
            not_after: None,
            comment: None,
        }
    }
}

/// What else a secret of type `psk` has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedKeyBody {
    key: String,
}

/// What else a secret of type `rpk` has.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PublicKeyBody {
    key: Option<String>,
    algorithm: Option<String>,
    cert: Option<String>,
}

/// What else a secret of type `x509-cert` has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateBody {}

/// A secret that keeps the rules, its password not yet hashed.
pub(crate) struct CheckedSecret {
    secret: NewSecret,
    plain: Option<String>,
}

impl CheckedSecret {
    /// A secret of type `kind`, or of one that is not known.
    pub(crate) fn parse(
        kind: Option<CredentialType>,
        element: Value,
        rules: &HashRules,
    ) -> Result<Self, Broken> {
        let mut members = object(element)?;
        let head = HEAD.iter().filter_map(|name| members.remove_entry(*name));
        let mut head: Head = parse(head.collect::<Map<_, _>>())?;
        if head.id.as_deref() == Some("") {
            return Err(Broken::new("id", "is empty"));
        }
        let mut plain = None;
        let data = match kind {
            Some(CredentialType::HashedPassword) => {
                match Password::parse(members, head.id.is_some(), rules)? {
                    Password::Kept => SecretData::None,
                    Password::Hash(hash) => SecretData::Password(hash),
                    Password::Plain(text) => {
                        plain = Some(text);
                        SecretData::None
                    }
                }
            }
            Some(CredentialType::PreSharedKey) => shared_key(members)?,
            Some(CredentialType::RawPublicKey) => public_key(members, &mut head)?,
            Some(CredentialType::X509Certificate) => {
                parse::<CertificateBody>(members)?;
                SecretData::None
            }
            None => SecretData::Other(members),
        };
        if let (Some(start), Some(end)) = (head.not_before, head.not_after)
            && start > end
        {
            return Err(Broken::new("not-before", "is after not-after"));
        }
        Ok(Self {
            secret: head.with(data),
            plain,
        })
    }

    /// What a certificate says of when it may be used.
    pub(crate) fn of_certificate(certificate: &Certificate) -> Self {
        let mut head = Head::default();
        head.limit(certificate);
        Self {
            secret: head.with(SecretData::None),
            plain: None,
        }
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.secret.id.as_deref()
    }

    pub(crate) async fn hashed(self, hasher: &Hasher) -> Result<NewSecret, Failure> {
        let mut secret = self.secret;
        if let Some(plain) = self.plain {
            secret.data = SecretData::Password(hasher.hash(plain).await?);
        }
        Ok(secret)
    }
}

impl Head {
    fn limit(&mut self, certificate: &Certificate) {
        self.not_before = Some(certificate.not_before().into());
        self.not_after = Some(certificate.not_after().into());
    }

    fn with(self, data: SecretData) -> NewSecret {
        NewSecret {
            id: self.id,
            enabled: self.enabled,
            not_before: self.not_before,
            not_after: self.not_after,
            comment: self.comment,
            data,
        }
    }
}

/// It is never shown, so it cannot be told whether one without a key is meant to keep the old one: the
/// key is required each time.
fn shared_key(members: Map<String, Value>) -> Result<SecretData, Broken> {
    let body: SharedKeyBody = parse(members)?;
    let key = decode("key", &body.key)?;
    if key.is_empty() {
        return Err(Broken::new("key", "is empty"));
    }
    Ok(SecretData::SharedKey(key))
}

/// A certificate outweighs a key that is written out.
fn public_key(members: Map<String, Value>, head: &mut Head) -> Result<SecretData, Broken> {
    let body: PublicKeyBody = parse(members)?;
    let key = if let Some(cert) = body.cert {
        let certificate = certificate("cert", &cert)?;
        head.limit(&certificate);
        certificate.public_key().clone()
    } else if let Some(key) = body.key {
        let key = decode("key", &key)?;
        let key = match body.algorithm {
            Some(name) => PublicKey::parse(&key, key_algorithm("algorithm", &name)?),
            None => PublicKey::from_der(&key),
        };
        key.map_err(|error| Broken::new("key", error.to_string()))?
    } else {
        return Err(Broken::new("key", "is required, or cert"));
    };
    Ok(SecretData::PublicKey {
        key: key.der().to_vec(),
        algorithm: key.algorithm().to_string(),
    })
}
