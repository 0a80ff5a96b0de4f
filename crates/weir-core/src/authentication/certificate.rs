//! Who a device is by its certificate (device contract §1.6.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use time::OffsetDateTime;
use weir_x509::{Certificate, DistinguishedName, PublicKey, Template, verify_leaf};

use super::{Attempt, BAD, MALFORMED, refused, unauthorized_or_unavailable};
use crate::{
    AuthId, AuthenticationError, Cached, CredentialFault, CredentialType, Credentials, LookupError,
    NewDevice, Principal, ProvisionError, Reason, RegisteredTenant, Rule, TenantId, TrustAnchor,
    Validity,
};

const UNTRUSTED: Reason = Reason::Unauthorized(CredentialFault::Untrusted);

impl Attempt<'_> {
    pub(super) async fn by_certificate(
        self,
        certificate: &[u8],
        server_name: Option<&str>,
    ) -> Result<Principal, AuthenticationError> {
        let certificate = Certificate::from_der(certificate)
            .map_err(|_| AuthenticationError::anonymous(MALFORMED))?;
        let found = self.tenant_of(&certificate, server_name).await;
        let tenant = found.map_err(AuthenticationError::anonymous)?;
        self.check_tenant(&tenant)?;
        let now = OffsetDateTime::now_utc();
        let anchor =
            vouching(&tenant, &certificate, now).ok_or_else(|| refused(&tenant, UNTRUSTED))?;
        let subject = certificate.subject();
        let auth_id = named(anchor.auth_id_template.as_deref(), subject)
            .ok_or_else(|| refused(&tenant, BAD))?;
        let auth_id = AuthId::from(auth_id);
        let credentials = self.registered(&tenant, anchor, &certificate, &auth_id);
        let credentials = credentials
            .await
            .map_err(|reason| refused(&tenant, reason))?;
        if !self.may_use(&credentials) || !credentials.accept_certificate(now) {
            return Err(refused(&tenant, BAD));
        }
        self.principal(tenant.clone(), &credentials, auth_id).await
    }

    /// The tenant that trusts the issuer, or else the one that the client asked for by host name.
    async fn tenant_of(
        self,
        certificate: &Certificate,
        server_name: Option<&str>,
    ) -> Result<Cached<RegisteredTenant>, Reason> {
        let registry = self.pipeline.registry();
        let found = registry.tenant_by_anchor(certificate.issuer().as_str());
        let error = match (found.await, server_name) {
            (Ok(tenant), _) => return Ok(tenant),
            (Err(LookupError::NotFound), Some(host)) => {
                let Some((label, _)) = host.split_once('.') else {
                    let text = "could not determine tenant ID from SNI extension";
                    return Err(Reason::BadRequest(Rule::Encoding, text.into()));
                };
                match registry.tenant(&TenantId::from(label)).await {
                    Ok(tenant) => return Ok(tenant),
                    Err(error) => error,
                }
            }
            (Err(error), _) => error,
        };
        Err(match error {
            LookupError::NotFound => Reason::TenantUnknown,
            LookupError::Unavailable(cause) => {
                tracing::warn!(cause, "the registry did not find a trust anchor");
                Reason::RegistryUnavailable
            }
        })
    }

    /// The device's credentials; it is registered first if it is not yet and the anchor says so.
    async fn registered(
        self,
        tenant: &RegisteredTenant,
        anchor: &TrustAnchor,
        certificate: &Certificate,
        auth_id: &AuthId,
    ) -> Result<Cached<Credentials>, Reason> {
        let kind = CredentialType::X509Certificate;
        let not_found = |error| unauthorized_or_unavailable(&tenant.id, &error);
        match self.credentials(tenant, kind, auth_id).await {
            Ok(credentials) => return Ok(credentials),
            Err(LookupError::NotFound) if anchor.auto_provisioning_enabled => {}
            Err(error) => return Err(not_found(error)),
        }
        let template = anchor.auto_provisioning_device_id_template.as_deref();
        let id = match template {
            None => None,
            Some(template) => {
                let id = named(Some(template), certificate.subject()).ok_or(BAD)?;
                Some(id.into())
            }
        };
        let device = NewDevice {
            id,
            auth_id: auth_id.clone(),
            validity: Validity {
                enabled: true,
                not_before: Some(certificate.not_before()),
                not_after: Some(certificate.not_after()),
            },
            is_gateway: anchor.auto_provision_as_gateway,
        };
        let registry = self.pipeline.registry();
        let provisioned = registry.provision(&tenant.id, device).await;
        provisioned.map_err(|error| not_provisioned(tenant, error))?;
        let credentials = self.credentials(tenant, kind, auth_id).await;
        credentials.map_err(not_found)
    }
}

fn not_provisioned(tenant: &RegisteredTenant, error: ProvisionError) -> Reason {
    match error {
        ProvisionError::TenantUnknown => Reason::TenantUnknown,
        ProvisionError::LimitReached => Reason::DeviceLimitReached,
        ProvisionError::InvalidId(_) => BAD,
        ProvisionError::Unavailable(cause) => {
            let tenant = tenant.id.as_str();
            tracing::warn!(tenant, cause, "the registry did not register a device");
            Reason::RegistryUnavailable
        }
    }
}

/// The tenant's trust anchor that has issued the certificate, if one has that is valid now.
fn vouching<'t>(
    tenant: &'t RegisteredTenant,
    certificate: &Certificate,
    now: OffsetDateTime,
) -> Option<&'t TrustAnchor> {
    let issuer = certificate.issuer().as_str();
    let anchors = tenant.settings.trusted_ca.iter();
    let anchors = anchors.filter(|anchor| anchor.subject_dn == issuer && anchor.is_valid_at(now));
    let readable: Vec<_> = anchors.filter_map(|a| Some((a, read(a)?))).collect();
    let views = readable
        .iter()
        .map(|(_, (subject, public_key))| weir_x509::TrustAnchor {
            subject,
            public_key,
        });
    match verify_leaf(certificate, views, now) {
        Ok(index) => {
            let (anchor, _) = readable.get(index)?;
            if anchor.ocsp_revocation_enabled {
                // Whether it was revoked cannot be asked yet, and what is not known counts as revoked.
                let tenant = tenant.id.as_str();
                tracing::warn!(tenant, "ocsp-revocation-enabled: cannot be asked, refusing");
                return None;
            }
            Some(anchor)
        }
        Err(error) => {
            let tenant = tenant.id.as_str();
            tracing::debug!(tenant, %error, "a client certificate is not vouched for");
            None
        }
    }
}

fn read(anchor: &TrustAnchor) -> Option<(DistinguishedName, PublicKey)> {
    let key = BASE64.decode(&anchor.public_key).ok()?;
    let key = PublicKey::parse(&key, anchor.algorithm.parse().ok()?).ok()?;
    Some((anchor.subject_dn.parse().ok()?, key))
}

/// What `template` makes of a subject; the whole subject without one.
fn named(template: Option<&str>, subject: &DistinguishedName) -> Option<String> {
    match template {
        None => Some(subject.to_string()),
        Some(template) => Template::parse(template).ok()?.render(subject),
    }
}
