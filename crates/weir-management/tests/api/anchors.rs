//! The certificate authorities that a tenant trusts.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::certificates::{Certified, NOT_AFTER, NOT_BEFORE, ec, rsa};
use crate::{Given, is_uuid, unique};

const TENANT: &str = "/v1/tenants/{t}";

/// An authority without its certificate.
fn written_out(ca: &Certified, algorithm: &str) -> Value {
    json!({"subject-dn": ca.subject, "public-key": ca.key, "algorithm": algorithm,
           "not-before": NOT_BEFORE, "not-after": NOT_AFTER})
}

fn with(mut anchor: Value, members: Value) -> Value {
    let members = members.as_object().unwrap().clone();
    anchor.as_object_mut().unwrap().extend(members);
    anchor
}

impl Given {
    /// Checks that a tenant can have none of these authorities.
    async fn refuse_anchors<const N: usize>(&self, rows: [(Value, &str); N]) {
        for (anchor, text) in rows {
            let body = json!({ "trusted-ca": [anchor] }).to_string();
            self.rows(&[("PUT", TENANT, &body, 400, text)]).await;
        }
    }
}

/// What is shown of an authority for which nothing is registered by itself.
fn unattended() -> Value {
    json!({"auto-provisioning-enabled": false, "auto-provision-as-gateway": false})
}

fn without(mut anchor: Value, member: &str) -> Value {
    anchor.as_object_mut().unwrap().remove(member).unwrap();
    anchor
}

#[tokio::test]
async fn a_certificate_is_taken_apart_and_not_shown() {
    let given = Given::new().await;
    given.ok("POST", TENANT, None).await;
    for (ca, algorithm) in [(rsa(&unique("ca")), "RSA"), (ec(&unique("ca")), "EC")] {
        let unpadded = ca.cert.trim_end_matches('=');
        let padded = with(json!({"cert": ca.cert}), json!({"id": "my-ca"}));
        for sent in [
            padded,
            json!({ "cert": unpadded }),
            json!({ "cert": ca.pem }),
            json!({ "cert": ca.url_safe }),
            // The certificate outweighs the rest, and what is null is left out.
            json!({"cert": ca.cert, "id": null, "subject-dn": "CN=x", "subject-dn-bytes": "?",
                   "algorithm": null, "auto-provisioning-enabled": null}),
        ] {
            let tenant = json!({ "trusted-ca": [sent] });
            given.ok("PUT", TENANT, Some(tenant)).await;
            let got = given.get(TENANT).await["trusted-ca"][0].clone();
            let id = got["id"].as_str().unwrap();
            assert!(
                sent.get("id")
                    .filter(|id| !id.is_null())
                    .map_or_else(|| is_uuid(id), |sent| sent == id),
                "{id}"
            );
            let expected = with(written_out(&ca, algorithm), json!({ "id": id }));
            assert_eq!(got, with(expected, unattended()));
            // What is got may be put, and is the same again.
            let again = json!({ "trusted-ca": [got.clone()] });
            given.ok("PUT", TENANT, Some(again)).await;
            assert_eq!(given.get(TENANT).await["trusted-ca"][0], got);
        }
    }
}

#[tokio::test]
async fn what_is_written_out_is_normalised() {
    let given = Given::new().await;
    given.ok("POST", TENANT, None).await;
    let name = unique("ca");
    let ca = ec(&name);
    let sent = with(
        written_out(&ca, "ec"),
        json!({
            "subject-dn": format!("cn={name}, o = Eclipse IoT , c=CA"),
            "public-key": ca.key.trim_end_matches('='),
            "not-before": "2020-01-01T02:00:00.123+02:00",
            "auth-id-template": "{{subject-cn}}",
            "auto-provisioning-enabled": true,
            "auto-provision-as-gateway": true,
            "auto-provisioning-device-id-template": "dev-{{subject-cn}}-{{subject-ou}}",
            "ocsp-revocation-enabled": true,
            "ocsp-responder-uri": "http://ocsp.example.com:8080/",
            "ocsp-responder-cert": ca.cert,
            "ocsp-nonce-enabled": true,
        }),
    );
    let expired = with(
        written_out(&ca, "EC"),
        json!({"id": "expired", "not-after": "2021-01-01T00:00:00Z",
               "ocsp-revocation-enabled": false, "ocsp-nonce-enabled": null}),
    );
    let tenant = json!({"trusted-ca": [sent, expired]});
    given.ok("PUT", TENANT, Some(tenant)).await;
    let got = given.get(TENANT).await["trusted-ca"].clone();
    let id = got[0]["id"].clone();
    let expected = with(
        sent,
        json!({"id": id, "subject-dn": ca.subject, "public-key": ca.key, "algorithm": "EC",
               "not-before": NOT_BEFORE}),
    );
    // One subject twice is a change of keys.
    let expired = without(expired, "ocsp-revocation-enabled");
    let expired = without(expired, "ocsp-nonce-enabled");
    assert_eq!(got, json!([expected, with(expired, unattended())]));
}

#[tokio::test]
async fn a_subject_may_be_given_in_its_der_form() {
    let given = Given::new().await;
    given.ok("POST", TENANT, None).await;
    let ca = ec(&unique("ca"));
    let full = written_out(&ca, "EC");
    let bytes = |text: &str| with(full.clone(), json!({ "subject-dn-bytes": text }));
    for sent in [
        without(bytes(&ca.subject_der), "subject-dn"),
        with(bytes(&ca.subject_der), json!({"subject-dn": "CN=x"})),
        with(bytes(&ca.subject_der), json!({"subject-dn": "no name"})),
    ] {
        let tenant = json!({ "trusted-ca": [sent] });
        given.ok("PUT", TENANT, Some(tenant)).await;
        let got = given.get(TENANT).await["trusted-ca"][0].clone();
        assert_eq!(without(got, "id"), with(full.clone(), unattended()));
    }
    let rows = [
        (bytes("s3cret?"), "subject-dn-bytes: is not Base64"),
        (bytes("AQIDBA=="), "subject-dn-bytes: not the DER form"),
        (bytes(""), "subject-dn-bytes: not the DER form"),
        // An empty sequence.
        (bytes("MAA="), "subject-dn-bytes: an authority needs"),
    ];
    given.refuse_anchors(rows).await;
}

#[tokio::test]
async fn what_is_refused_of_an_authority_is_not_quoted() {
    let given = Given::new().await;
    given.ok("POST", TENANT, None).await;
    let ca = ec(&unique("ca"));
    let cert = json!({ "cert": ca.cert });
    let rows = [
        ("subject-dn", "s3cret"),
        ("subject-dn", "S3CRET=x"),
        ("subject-dn", "9.s3cret=x"),
        ("subject-dn", "CN=s3cret,O=s3cret;;"),
        ("subject-dn", "CN=\"s3cret"),
        ("subject-dn", "CN=\\s3cret"),
        ("subject-dn", "CN=s3<cret"),
        ("subject-dn", "CN=#s3cret"),
        ("algorithm", "s3cret"),
        ("public-key", "s3cret?"),
        ("not-before", "s3cret"),
        ("s3cret-template", "x"),
        ("auth-id-template", "{{s3cret}}"),
        ("auth-id-template", "{{s3cret"),
        ("auto-provisioning-device-id-template", "s3cret{{}}"),
        ("ocsp-responder-uri", "s3cret"),
        ("ocsp-responder-cert", "czNjcmV0"),
    ];
    for (member, value) in rows {
        let full = written_out(&ca, "EC");
        let outer = if member.contains("template") {
            &cert
        } else {
            &full
        };
        let anchor = with(outer.clone(), json!({ member: value }));
        let body = json!({ "trusted-ca": [anchor] });
        let response = given.send("PUT", TENANT, Some(body)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{value}");
        let text = crate::error(response).await;
        let expected = format!("trusted-ca[0].{member}: ");
        let rule = text
            .strip_prefix(&expected)
            .unwrap_or_else(|| panic!("{text}"));
        assert!(!rule.to_lowercase().contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn authorities_that_break_a_rule() {
    let given = Given::new().await;
    given.ok("POST", TENANT, None).await;
    let ca = ec(&unique("ca"));
    let full = written_out(&ca, "EC");
    let changed = |member: &str, value: Value| with(full.clone(), json!({ member: value }));
    let garbage = "AQIDBA==";
    let long = ec(&"x".repeat(1024));
    let long_name = format!("CN={}", "x".repeat(1022));
    let rows = [
        (
            json!({"cert": long.cert}),
            "trusted-ca[0].cert: has more than 1024 bytes",
        ),
        (
            changed("subject-dn", json!(long_name)),
            "trusted-ca[0].subject-dn: has more than 1024 bytes",
        ),
        (
            changed("subject-dn-bytes", json!(long.subject_der)),
            "trusted-ca[0].subject-dn-bytes: has more than 1024 bytes",
        ),
        (
            changed("subject", json!(null)),
            "trusted-ca[0].subject: there is no",
        ),
        (
            changed("not-after", json!(null)),
            "trusted-ca[0].not-after: is required",
        ),
        (
            changed("not-after", json!("+010000-01-01T00:00:00Z")),
            "trusted-ca[0].not-after: not an ISO 8601",
        ),
        (json!(null), "trusted-ca[0]: an object is"),
        (json!(5), "trusted-ca[0]: an object is"),
        (json!([ca.cert]), "trusted-ca[0]: an object is"),
        (json!({}), "trusted-ca[0].subject-dn: "),
        (
            without(full.clone(), "subject-dn"),
            "subject-dn: is required",
        ),
        (
            without(full.clone(), "public-key"),
            "public-key: is required",
        ),
        (
            without(full.clone(), "not-before"),
            "not-before: is required",
        ),
        (without(full.clone(), "not-after"), "not-after: is required"),
        // The default is RSA.
        (
            without(full.clone(), "algorithm"),
            "trusted-ca[0].public-key: ",
        ),
        (changed("algorithm", json!("RSA")), "public-key: "),
        (changed("algorithm", json!("DSA")), "algorithm: "),
        (
            changed("public-key", json!("?")),
            "public-key: is not Base64",
        ),
        (changed("public-key", json!(garbage)), "public-key: "),
        (changed("public-key", json!(ca.cert)), "public-key: "),
        (changed("subject-dn", json!("")), "subject-dn: "),
        (changed("subject-dn", json!("somebody")), "subject-dn: "),
        (changed("not-before", json!("2020-01-01")), "not-before: "),
        (changed("not-after", json!(5)), "not-after: "),
        (
            changed("subject", json!("x")),
            "trusted-ca[0].subject: there is no",
        ),
        (changed("id", json!("")), "id: is empty"),
        (json!({"cert": "?"}), "cert: is not Base64"),
        (json!({ "cert": garbage }), "cert: "),
        (json!({ "cert": ca.key }), "cert: "),
        (
            json!({"cert": format!("-----BEGIN CERTIFICATE-----\n{}", ca.cert)}),
            "cert: ",
        ),
    ];
    given.refuse_anchors(rows).await;
}

#[tokio::test]
async fn templates_and_questions_for_revocation_that_break_a_rule() {
    let given = Given::new().await;
    given.ok("POST", TENANT, None).await;
    let ca = ec(&unique("ca"));
    let cert = json!({ "cert": ca.cert });
    let garbage = "AQIDBA==";
    let rows = [
        (
            with(cert.clone(), json!({"auth-id-template": "x"})),
            "auth-id-template: ",
        ),
        (
            with(cert.clone(), json!({"auth-id-template": "{{subject-x}}"})),
            "auth-id-template: ",
        ),
        (
            with(
                cert.clone(),
                json!({"auto-provisioning-device-id-template": "{{}}"}),
            ),
            "auto-provisioning-device-id-template: ",
        ),
        (
            with(cert.clone(), json!({"auto-provisioning-enabled": "yes"})),
            "auto-provisioning-enabled: a boolean",
        ),
        (
            with(
                written_out(&ca, "EC"),
                json!({"ocsp-revocation-enabled": true}),
            ),
            "ocsp-revocation-enabled: needs cert",
        ),
        (
            with(cert.clone(), json!({"ocsp-responder-uri": "somewhere"})),
            "ocsp-responder-uri: ",
        ),
        (
            with(cert.clone(), json!({ "ocsp-responder-cert": garbage })),
            "ocsp-responder-cert: ",
        ),
    ];
    given.refuse_anchors(rows).await;
    let ocsp = with(cert, json!({"ocsp-revocation-enabled": true}));
    let ocsp = json!({ "trusted-ca": [ocsp] });
    let put = given.send("PUT", TENANT, Some(ocsp)).await;
    assert_eq!(put.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn lists_of_authorities_that_break_a_rule() {
    let given = Given::new().await;
    given.ok("POST", TENANT, None).await;
    let cert = json!({"cert": ec(&unique("ca")).cert});
    let id = with(cert.clone(), json!({"id": "1"}));
    let twice = json!({"trusted-ca": [id, cert, id]}).to_string();
    given
        .rows(&[
            ("PUT", TENANT, &twice, 400, "trusted-ca[2].id: "),
            (
                "PUT",
                TENANT,
                r#"{"trusted-ca": {}}"#,
                400,
                "trusted-ca: an array",
            ),
            (
                "POST",
                "/v1/tenants/{t}-new",
                &twice,
                400,
                "trusted-ca[2].id: ",
            ),
        ])
        .await;
}

#[tokio::test]
async fn an_authority_belongs_to_one_tenant_or_to_one_group() {
    let given = Given::new().await;
    let ca = ec(&unique("ca"));
    let tenant = |group: Option<&str>| {
        let mut tenant = json!({"trusted-ca": [{"cert": ca.cert}]});
        if let Some(group) = group {
            tenant["trust-anchor-group"] = json!(group);
        }
        tenant.to_string()
    };
    let (alone, group, other) = (tenant(None), tenant(Some("g")), tenant(Some("h")));
    given
        .rows(&[
            ("POST", "/v1/tenants/{t}", &alone, 201, ""),
            ("POST", "/v1/tenants", &alone, 409, &ca.subject),
            ("POST", "/v1/tenants/{t}-2", &group, 409, "trusted-ca: "),
            ("POST", "/v1/tenants/{t}-2", "", 201, ""),
            ("PUT", "/v1/tenants/{t}-2", &alone, 409, "trusted-ca: "),
            ("PUT", "/v1/tenants/{t}", &group, 204, ""),
            ("PUT", "/v1/tenants/{t}-2", &other, 409, "trusted-ca: "),
            ("PUT", "/v1/tenants/{t}-2", &group, 204, ""),
            ("PUT", "/v1/tenants/{t}", &alone, 409, "trusted-ca: "),
            ("DELETE", "/v1/tenants/{t}-2", "", 204, ""),
            ("PUT", "/v1/tenants/{t}", &alone, 204, ""),
        ])
        .await;
}
