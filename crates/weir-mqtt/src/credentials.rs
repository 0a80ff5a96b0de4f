//! What a CONNECT says about who the device is.

use weir_core::{CredentialFault, Presented, Reason};

use weir_listener::TlsPeer;

use crate::codec::Connect;

/// For a CONNECT that lacks user name or password.
const MISSING: Reason = Reason::Unauthorized(CredentialFault::Missing);

/// The credentials in `connect`. User name and password must both be there, in MQTT 5 too, which
/// would allow either alone (device contract §3.2). Both may be empty: what that means is core's
/// to say.
pub(crate) fn presented(connect: &Connect) -> Result<Presented<'_>, Reason> {
    match (&connect.username, &connect.password) {
        (Some(username), Some(password)) => Ok(Presented::Password { username, password }),
        _ => Err(MISSING),
    }
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
            assert_eq!(presented(&connect(username, password)).err(), Some(MISSING));
        }
        assert!(presented(&connect(user(), password())).is_ok());
        assert!(presented(&connect(user(), Some(Bytes::new()))).is_ok());
    }
}
