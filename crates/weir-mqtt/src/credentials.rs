//! What a CONNECT says about who the device is.

use weir_core::{AuthId, CredentialFault, Presented, Reason, TenantId, Token};

use weir_listener::TlsPeer;

use crate::codec::Connect;

/// For a CONNECT that lacks user name or password.
const MISSING: Reason = Reason::Unauthorized(CredentialFault::Missing);

/// What a CONNECT presents, apart from a certificate. No `Debug`: it is a secret.
pub(crate) enum Login<'c> {
    Password {
        username: &'c str,
        password: &'c [u8],
    },
    Token(Token),
}

impl<'c> Login<'c> {
    /// Reads `connect`. User name and password must both be there, in MQTT 5 too, which would allow
    /// either alone (device contract §3.2). Both may be empty: what that means is core's to say. A
    /// token takes the place of the password, and what the user name says does not matter then.
    pub(crate) fn of(connect: &'c Connect) -> Result<Self, Reason> {
        let (Some(username), Some(password)) = (&connect.username, &connect.password) else {
            return Err(MISSING);
        };
        Ok(match Token::parse(password, || named(&connect.client_id)) {
            Some(token) => Self::Token(token),
            None => Self::Password { username, password },
        })
    }

    /// The credentials as the pipeline takes them.
    pub(crate) fn presented(&self) -> Presented<'_> {
        match self {
            Self::Password { username, password } => Presented::Password { username, password },
            Self::Token(token) => Presented::Token(token),
        }
    }
}

/// Whom a client identifier names: `tenants/{tenant}/devices/{auth-id}`, of which only the last
/// three segments count, and of those not the one in the middle (device contract §1.6.3).
fn named(client_id: &str) -> Option<(TenantId, AuthId)> {
    let mut segments = client_id.rsplit('/');
    let (auth_id, _, tenant) = (segments.next()?, segments.next()?, segments.next()?);
    let is_complete = !auth_id.is_empty() && !tenant.is_empty();
    is_complete.then(|| (tenant.into(), auth_id.into()))
}

/// The certificate that the client proved to hold the key of, if it presented one.
pub(crate) fn certificate(tls: Option<&TlsPeer>) -> Option<Presented<'_>> {
    let peer = tls?;
    Some(Presented::Certificate {
        certificate: peer.certificate.as_ref()?,
        server_name: peer.server_name.as_deref(),
    })
}

/// Whether a certificate was refused before any credentials were looked up: no tenant trusts its
/// issuer, or its signature does not hold.
pub(crate) fn leads_nowhere(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::BadRequest(..)
            | Reason::TenantUnknown
            | Reason::Unauthorized(CredentialFault::Malformed | CredentialFault::Untrusted)
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use bytestring::ByteString;

    use super::*;

    #[test]
    fn user_name_and_password_have_to_be_there_both() {
        let user = || Some(ByteString::from_static("sensor1@acme"));
        let password = || Some(Bytes::from_static(b"pw"));
        let connect = |username, password| Connect {
            username,
            password,
            ..Connect::default()
        };
        for (username, password) in [(None, None), (user(), None), (None, password())] {
            let connect = connect(username, password);
            assert_eq!(Login::of(&connect).err(), Some(MISSING));
        }
        assert!(Login::of(&connect(user(), password())).is_ok());
        assert!(Login::of(&connect(user(), Some(Bytes::new()))).is_ok());
    }

    #[test]
    fn a_client_identifier_may_name_a_device() {
        let rows = [
            ("tenants/acme/devices/sensor1", Some(("acme", "sensor1"))),
            ("a/b/tenants/acme/x/sensor1", Some(("acme", "sensor1"))),
            ("acme//sensor1", Some(("acme", "sensor1"))),
            ("acme/sensor1", None),
            ("sensor1", None),
            ("", None),
            ("//", None),
            ("tenants/acme/devices/", None),
            ("/devices/sensor1", None),
        ];
        for (client_id, expected) in rows {
            let found = named(client_id);
            let found = found.as_ref().map(|(t, a)| (t.as_str(), a.as_str()));
            assert_eq!(found, expected, "{client_id}");
        }
    }
}
