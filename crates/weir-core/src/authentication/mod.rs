//! Who a device is: from presented credentials to a principal.

mod certificate;
mod jwt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::provisioning::announce;
use crate::{
    AuthId, Cached, CredentialFault, CredentialType, Credentials, DeviceId, LookupError, Pipeline,
    Protocol, Reason, RegisteredTenant, TenantId,
};

pub use jwt::Token;

/// Credentials as a device presented them.
pub enum Presented<'a> {
    /// A user name and a password (HTTP Basic, MQTT CONNECT, SASL PLAIN).
    Password {
        /// `auth-id@tenant`.
        username: &'a str,
        /// The password; if empty, the user name is Base64 of `auth-id@tenant:password`.
        password: &'a [u8],
    },
    /// A certificate whose key the client has proved to hold (TLS). Nobody has vouched for it yet.
    Certificate {
        /// The client's own certificate, DER.
        certificate: &'a [u8],
        /// The host name the client asked for (SNI), whose first label may name the tenant.
        server_name: Option<&'a str>,
    },
    /// A token that the device has signed (HTTP Bearer, MQTT CONNECT).
    Token(&'a Token),
}

/// What a client says of itself besides. It must not contradict what the credentials' `ext` says.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientContext<'a> {
    /// The MQTT client identifier.
    pub client_id: Option<&'a str>,
}

impl<'a> ClientContext<'a> {
    fn entries(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.client_id.into_iter().map(|id| ("client-id", id))
    }
}

/// A device that has proved who it is.
///
/// Two are equal if nothing has changed for the device's tenant between its proofs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its tenant.
    pub tenant: TenantId,
    /// Itself.
    pub device: DeviceId,
    /// The name it authenticated with; none if nobody asked it who it is.
    pub auth_id: Option<AuthId>,
    /// When what it authenticated with expires, if a connection has to heed that.
    pub(crate) expires: Option<Instant>,
    /// Its tenant's configuration as of then.
    pub(crate) snapshot: Cached<RegisteredTenant>,
}

impl Principal {
    /// Whether the device has proved who it is.
    pub fn is_authenticated(&self) -> bool {
        self.auth_id.is_some()
    }
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
/// For everything a guesser is not to be told apart.
const BAD: Reason = Reason::Unauthorized(CredentialFault::Wrong);

/// Checks presented credentials in Hono's order: form, tenant, adapter, credential, secret.
pub(crate) async fn authenticate(
    pipeline: &Pipeline,
    protocol: Protocol,
    presented: Presented<'_>,
    context: ClientContext<'_>,
) -> Result<Principal, AuthenticationError> {
    let attempt = Attempt {
        pipeline,
        protocol,
        context,
    };
    match presented {
        Presented::Password { username, password } => attempt.by_password(username, password).await,
        Presented::Certificate {
            certificate,
            server_name,
        } => attempt.by_certificate(certificate, server_name).await,
        Presented::Token(token) => attempt.by_token(token).await,
    }
}

/// One device's attempt to say who it is.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    pipeline: &'a Pipeline,
    protocol: Protocol,
    context: ClientContext<'a>,
}

impl Attempt<'_> {
    async fn by_password(
        self,
        username: &str,
        password: &[u8],
    ) -> Result<Principal, AuthenticationError> {
        let login = Login::parse(username, password)
            .ok_or_else(|| AuthenticationError::anonymous(MALFORMED))?;
        let tenant = self.tenant(&login.tenant).await?;
        let kind = CredentialType::HashedPassword;
        let credentials = self.known(&tenant, kind, &login.auth_id).await?;
        let (secrets, now) = (credentials.passwords(), OffsetDateTime::now_utc());
        let verifier = self.pipeline.verifier();
        let good =
            self.may_use(&credentials) && verifier.verify(secrets, &login.password, now).await;
        if !good {
            return Err(refused(&tenant, BAD));
        }
        self.principal(tenant, &credentials, login.auth_id).await
    }

    /// A tenant that the credentials name, and that may use the protocol.
    async fn tenant(self, id: &TenantId) -> Result<Cached<RegisteredTenant>, AuthenticationError> {
        let found = self.pipeline.registry().tenant(id).await;
        // An unknown tenant looks like a wrong password, so that tenants cannot be found by guessing.
        let tenant = found.map_err(|error| {
            AuthenticationError::anonymous(unauthorized_or_unavailable(id, &error))
        })?;
        self.check_tenant(&tenant)?;
        Ok(tenant)
    }

    /// Whether the tenant may use the protocol at all.
    fn check_tenant(self, tenant: &RegisteredTenant) -> Result<(), AuthenticationError> {
        if !tenant.settings.enabled {
            return Err(refused(tenant, Reason::TenantDisabled));
        }
        if !tenant.settings.is_adapter_enabled(self.protocol) {
            return Err(refused(tenant, Reason::AdapterDisabled));
        }
        Ok(())
    }

    async fn credentials(
        self,
        tenant: &RegisteredTenant,
        kind: CredentialType,
        auth_id: &AuthId,
    ) -> Result<Cached<Credentials>, LookupError> {
        let registry = self.pipeline.registry();
        registry.credentials(&tenant.id, kind, auth_id).await
    }

    /// Credentials that have to be there.
    async fn known(
        self,
        tenant: &RegisteredTenant,
        kind: CredentialType,
        auth_id: &AuthId,
    ) -> Result<Cached<Credentials>, AuthenticationError> {
        let credentials = self.credentials(tenant, kind, auth_id).await;
        credentials
            .map_err(|error| refused(tenant, unauthorized_or_unavailable(&tenant.id, &error)))
    }

    fn may_use(self, credentials: &Credentials) -> bool {
        credentials.enabled && credentials.fit(self.context.entries())
    }

    /// The device that `credentials` are of, now that it has proved to have the secret.
    async fn principal(
        self,
        tenant: Cached<RegisteredTenant>,
        credentials: &Credentials,
        auth_id: AuthId,
    ) -> Result<Principal, AuthenticationError> {
        let device = credentials.device.clone();
        if credentials.is_unannounced {
            let announced = announce(self.pipeline, &tenant.id, &device, None).await;
            announced.map_err(|reason| refused(&tenant, reason))?;
        }
        Ok(Principal {
            device,
            tenant: tenant.id.clone(),
            auth_id: Some(auth_id),
            expires: None,
            snapshot: tenant,
        })
    }
}

fn refused(tenant: &RegisteredTenant, reason: Reason) -> AuthenticationError {
    AuthenticationError {
        tenant: Some(tenant.id.clone()),
        reason,
    }
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
