//! The certificate authorities that a tenant trusts.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use weir_core::{MAX_NAME, Timestamp, TrustAnchor};
use weir_x509::{Certificate, DistinguishedName, KeyAlgorithm, PublicKey};

use super::device::is_absolute;
use super::x509::{certificate, check_template, distinguished_name, encoded_name, key_algorithm};
use crate::object::{Broken, check_length, decode, object, parse};

/// An authority as it is sent.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Body {
    id: Option<String>,
    cert: Option<String>,
    subject_dn: Option<String>,
    /// The DER form, which outweighs the text: that may not tell the types of the values.
    subject_dn_bytes: Option<String>,
    public_key: Option<String>,
    algorithm: Option<String>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    auth_id_template: Option<String>,
    auto_provisioning_enabled: bool,
    auto_provision_as_gateway: bool,
    auto_provisioning_device_id_template: Option<String>,
    ocsp_revocation_enabled: bool,
    ocsp_responder_uri: Option<String>,
    ocsp_responder_cert: Option<String>,
    ocsp_nonce_enabled: bool,
}

/// Who is trusted: what a certificate says, or else what was written out.
struct Authority {
    subject: DistinguishedName,
    key: PublicKey,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// The authorities of a tenant. Those that have expired are taken too: an operator may keep them.
pub(crate) fn parse_all(elements: Vec<Value>) -> Result<Vec<TrustAnchor>, Broken> {
    let mut ids = BTreeSet::new();
    let mut anchors = Vec::new();
    for (place, element) in elements.into_iter().enumerate() {
        let anchor = object(element).and_then(parse).and_then(Body::check);
        let anchor = anchor.map_err(|broken| broken.at("", place))?;
        if !ids.insert(anchor.id.clone()) {
            return Err(Broken::new("id", "another one has the same").at("", place));
        }
        anchors.push(anchor);
    }
    Ok(anchors)
}

impl Body {
    fn check(self) -> Result<TrustAnchor, Broken> {
        let authority = self.authority()?;
        let responder = self.responder()?;
        for (name, template) in [
            ("auth-id-template", &self.auth_id_template),
            (
                "auto-provisioning-device-id-template",
                &self.auto_provisioning_device_id_template,
            ),
        ] {
            if let Some(template) = template {
                check_template(name, template)?;
            }
        }
        if self.id.as_deref() == Some("") {
            return Err(Broken::new("id", "is empty"));
        }
        Ok(TrustAnchor {
            id: self.id.unwrap_or_else(|| Uuid::new_v4().to_string()),
            subject_dn: authority.subject.to_string(),
            public_key: BASE64.encode(authority.key.der()),
            algorithm: authority.key.algorithm().to_string(),
            not_before: authority.not_before,
            not_after: authority.not_after,
            auth_id_template: self.auth_id_template,
            auto_provisioning_enabled: self.auto_provisioning_enabled,
            auto_provision_as_gateway: self.auto_provision_as_gateway,
            auto_provisioning_device_id_template: self.auto_provisioning_device_id_template,
            ocsp_revocation_enabled: self.ocsp_revocation_enabled,
            ocsp_responder_uri: self.ocsp_responder_uri,
            ocsp_responder_cert: responder.map(|cert| BASE64.encode(cert.der())),
            ocsp_nonce_enabled: self.ocsp_nonce_enabled,
        })
    }

    /// A certificate outweighs what is written out, so that an authority that was read can be renewed
    /// by adding one.
    fn authority(&self) -> Result<Authority, Broken> {
        let (subject, authority) = match (&self.cert, &self.subject_dn_bytes) {
            (Some(cert), _) => ("cert", Authority::from(certificate("cert", cert)?)),
            (None, Some(_)) => ("subject-dn-bytes", self.written_out()?),
            (None, None) => ("subject-dn", self.written_out()?),
        };
        if authority.subject.is_empty() {
            // RFC 5280 §4.1.2.6: nobody can name it as their issuer.
            return Err(Broken::new(subject, "an authority needs a subject"));
        }
        check_length(subject, authority.subject.as_str(), MAX_NAME)?;
        Ok(authority)
    }

    fn written_out(&self) -> Result<Authority, Broken> {
        let missing =
            |name: &'static str| move || Broken::new(name, "is required where there is no cert");
        let subject = match (&self.subject_dn_bytes, &self.subject_dn) {
            (Some(bytes), _) => encoded_name("subject-dn-bytes", bytes)?,
            (None, Some(text)) => distinguished_name("subject-dn", text)?,
            (None, None) => return Err(missing("subject-dn")()),
        };
        let key = self.public_key.as_deref();
        let key = decode("public-key", key.ok_or_else(missing("public-key"))?)?;
        let algorithm = match &self.algorithm {
            Some(name) => key_algorithm("algorithm", name)?,
            None => KeyAlgorithm::Rsa,
        };
        Ok(Authority {
            subject,
            key: PublicKey::parse(&key, algorithm)
                .map_err(|error| Broken::new("public-key", error.to_string()))?,
            not_before: self.not_before.ok_or_else(missing("not-before"))?,
            not_after: self.not_after.ok_or_else(missing("not-after"))?,
        })
    }

    /// The certificate of whoever says whether another one was revoked. Answers have to be verified, so
    /// asking needs that one or the issuer's.
    fn responder(&self) -> Result<Option<Certificate>, Broken> {
        if let Some(uri) = &self.ocsp_responder_uri
            && !is_absolute(uri)
        {
            return Err(Broken::new("ocsp-responder-uri", "is not an absolute URI"));
        }
        match &self.ocsp_responder_cert {
            Some(cert) => certificate("ocsp-responder-cert", cert).map(Some),
            None if self.ocsp_revocation_enabled && self.cert.is_none() => {
                let rule = "needs cert or ocsp-responder-cert";
                Err(Broken::new("ocsp-revocation-enabled", rule))
            }
            None => Ok(None),
        }
    }
}

impl From<Certificate> for Authority {
    fn from(certificate: Certificate) -> Self {
        Self {
            subject: certificate.subject().clone(),
            key: certificate.public_key().clone(),
            not_before: certificate.not_before().into(),
            not_after: certificate.not_after().into(),
        }
    }
}
