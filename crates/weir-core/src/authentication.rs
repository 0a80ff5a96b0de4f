//! Who a device is: from presented credentials to a principal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use time::OffsetDateTime;

use crate::{
    AuthId, Cached, CredentialFault, CredentialType, DeviceId, LookupError, PasswordVerifier,
    Protocol, Reason, Registry, Tenant, TenantId,
};

/// Credentials as a device presented them.
pub enum Presented<'a> {
    /// A user name and a password (HTTP Basic, MQTT CONNECT, SASL PLAIN).
    Password {
        /// `auth-id@tenant`.
        username: &'a str,
        /// The password; if empty, the user name is Base64 of `auth-id@tenant:password`.
        password: &'a [u8],
    },
}

/// A device that has proved who it is.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Its tenant.
    pub tenant: TenantId,
    /// Itself.
    pub device: DeviceId,
    /// The name it authenticated with.
    pub auth_id: AuthId,
    /// Its tenant's configuration as of then.
    pub(crate) snapshot: Cached<Tenant>,
}

/// Why a device could not be authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationError {
    /// The tenant, if it was named and exists.
    pub tenant: Option<TenantId>,
    /// The reason, one of those that authentication knows.
    pub reason: Reason,
}

impl AuthenticationError {
    fn anonymous(reason: Reason) -> Self {
        Self {
            tenant: None,
            reason,
        }
    }
}

/// For anything wrong with a user name's form.
const MALFORMED: Reason = Reason::Unauthorized(CredentialFault::Malformed);
/// For everything a guesser must not be able to tell apart.
const BAD: Reason = Reason::Unauthorized(CredentialFault::Wrong);

/// Checks presented credentials in Hono's order: form, tenant, adapter, credential, secret.
pub(crate) async fn authenticate(
    registry: &dyn Registry,
    verifier: &PasswordVerifier,
    protocol: Protocol,
    presented: Presented<'_>,
) -> Result<Principal, AuthenticationError> {
    let Presented::Password { username, password } = presented;
    let login = Login::parse(username, password)
        .ok_or_else(|| AuthenticationError::anonymous(MALFORMED))?;
    // An unknown tenant looks like a wrong password, so that tenants cannot be found by guessing.
    let tenant = registry.tenant(&login.tenant).await.map_err(|error| {
        AuthenticationError::anonymous(unauthorized_or_unavailable(&login.tenant, &error))
    })?;
    let refuse = |reason| AuthenticationError {
        tenant: Some(login.tenant.clone()),
        reason,
    };
    if !tenant.enabled {
        return Err(refuse(Reason::TenantDisabled));
    }
    if !tenant.is_adapter_enabled(protocol) {
        return Err(refuse(Reason::AdapterDisabled));
    }
    let credentials = registry
        .credentials(
            &login.tenant,
            CredentialType::HashedPassword,
            &login.auth_id,
        )
        .await
        .map_err(|error| refuse(unauthorized_or_unavailable(&login.tenant, &error)))?;
    let now = OffsetDateTime::now_utc();
    let good = credentials.enabled
        && verifier
            .verify(&credentials.secrets, &login.password, now)
            .await;
    if !good {
        return Err(refuse(BAD));
    }
    Ok(Principal {
        device: credentials.device.clone(),
        tenant: login.tenant,
        auth_id: login.auth_id,
        snapshot: tenant,
    })
}

fn unauthorized_or_unavailable(tenant: &TenantId, error: &LookupError) -> Reason {
    match error {
        LookupError::NotFound => BAD,
        LookupError::Unavailable(cause) => {
            tracing::warn!(%tenant, cause, "the registry did not answer an authentication");
            Reason::RegistryUnavailable
        }
    }
}

/// A user name and password taken apart.
struct Login {
    tenant: TenantId,
    auth_id: AuthId,
    password: Vec<u8>,
}

impl Login {
    /// `auth-id@tenant`, split at the first `@`; with an empty password the user name is Base64 of
    /// `auth-id@tenant:password`.
    fn parse(username: &str, password: &[u8]) -> Option<Self> {
        if !password.is_empty() {
            return Self::split(username, password);
        }
        let decoded = String::from_utf8(BASE64.decode(username).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        Self::split(username, password.as_bytes())
    }

    fn split(username: &str, password: &[u8]) -> Option<Self> {
        let (auth_id, tenant) = username.split_once('@')?;
        let complete = !auth_id.is_empty() && !tenant.is_empty();
        complete.then(|| Self {
            tenant: tenant.into(),
            auth_id: auth_id.into(),
            password: password.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(username: &str, password: &str) -> Option<(String, String, String)> {
        let login = Login::parse(username, password.as_bytes())?;
        let password = String::from_utf8(login.password).unwrap();
        Some((
            login.auth_id.to_string(),
            login.tenant.to_string(),
            password,
        ))
    }

    #[test]
    fn user_names_split_at_the_first_at_sign() {
        let parts = |a: &str, t: &str, p: &str| Some((a.to_owned(), t.to_owned(), p.to_owned()));
        assert_eq!(parse("sensor1@acme", "pw"), parts("sensor1", "acme", "pw"));
        assert_eq!(parse("a@b@c", "pw"), parts("a", "b@c", "pw"));
        for malformed in ["sensor1", "@acme", "sensor1@", ""] {
            assert_eq!(parse(malformed, "pw"), None, "{malformed}");
        }
    }

    #[test]
    fn with_an_empty_password_the_user_name_holds_both() {
        let packed = BASE64.encode("sensor1@acme:p:w");
        let expected = ("sensor1".to_owned(), "acme".to_owned(), "p:w".to_owned());
        assert_eq!(parse(&packed, ""), Some(expected));
        assert_eq!(parse("sensor1@acme", ""), None);
    }
}
