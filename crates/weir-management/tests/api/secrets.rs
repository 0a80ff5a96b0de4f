//! Credentials of each type.

use reqwest::header::ETAG;
use serde_json::{Value, json};
use weir_core::{CredentialType, Registry as _, Secrets};
use weir_management::{HashAlgorithm, ManagementConfig};

use crate::certificates::{NOT_AFTER, NOT_BEFORE, ec, rsa};
use crate::{Given, header, is_uuid, unique};

const SET: &str = "/v1/credentials/{t}/4711";

impl Given {
    /// Sets one credential, and what is shown of it.
    async fn set(&self, credential: Value) -> Value {
        self.ok("PUT", SET, Some(json!([credential]))).await;
        self.get(SET).await[0].clone()
    }

    /// Checks that a set is refused with an error that names `text` and does not quote `s3cret`.
    async fn refused(&self, set: Value, text: &str) {
        let response = self.send("PUT", SET, Some(set.clone())).await;
        assert_eq!(response.status(), 400, "{set}");
        let error = crate::error(response).await;
        assert!(error.contains(text), "{set}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }

    /// What the pipeline finds.
    async fn found(&self, kind: CredentialType, auth_id: &str) -> Secrets {
        let tenant = self.tenant.as_str().into();
        let auth_id = auth_id.into();
        let found = self.registry.credentials(&tenant, kind, &auth_id).await;
        found.unwrap().secrets.clone()
    }
}

/// The same, without the secrets' ids, which are checked.
fn without_ids(mut credential: Value) -> Value {
    for secret in credential["secrets"].as_array_mut().unwrap() {
        let id = secret.as_object_mut().unwrap().remove("id").unwrap();
        assert!(is_uuid(id.as_str().unwrap()), "{id}");
    }
    credential
}

#[tokio::test]
async fn shared_keys_are_never_shown_and_have_to_be_sent_each_time() {
    let given = Given::with_device().await;
    let psk = |secrets: Value| json!({"type": "psk", "auth-id": "device 1", "secrets": secrets});
    let got = given
        .set(psk(
            json!([{"key": "AQID"}, {"key": "BAUGBw", "enabled": false, "comment": "c"}]),
        ))
        .await;
    assert_eq!(
        without_ids(got.clone()),
        json!({"type": "psk", "auth-id": "device 1", "enabled": true,
               "secrets": [{"enabled": true}, {"enabled": false, "comment": "c"}]})
    );
    let Secrets::SharedKeys(keys) = given.found(CredentialType::PreSharedKey, "device 1").await
    else {
        panic!("other secrets");
    };
    let keys: Vec<_> = keys.into_iter().map(|shared| shared.key).collect();
    assert_eq!(keys, [vec![1, 2, 3], vec![4, 5, 6, 7]]);

    let id = &got["secrets"][0]["id"];
    let replaced = given.set(psk(json!([{"id": id, "key": "CAk="}]))).await;
    assert_eq!(replaced["secrets"], json!([{"id": id, "enabled": true}]));
    given
        .set(psk(
            json!([{"key": "-_8", "id": null, "enabled": null, "not-before": null,
                         "not-after": null, "comment": null}]),
        ))
        .await;
    let Secrets::SharedKeys(keys) = given.found(CredentialType::PreSharedKey, "device 1").await
    else {
        panic!("other secrets");
    };
    assert_eq!(keys[0].key, [0xfb, 0xff]);
    let rows = [
        (json!([{"id": id}]), "secrets[0].key: is required"),
        (json!([{}]), "secrets[0].key: is required"),
        (json!([{"key": ""}]), "secrets[0].key: is empty"),
        (json!([{"key": null}]), "secrets[0].key: is required"),
        (json!([{"key": "s3cret!"}]), "secrets[0].key: is not Base64"),
        (json!([{"key": ["s3cret"]}]), "secrets[0].key: a string"),
        (
            json!([{"key": "AQID", "pwd-plain": "s3cret"}]),
            "secrets[0].pwd-plain: there",
        ),
    ];
    for (secrets, text) in rows {
        given.refused(json!([psk(secrets)]), text).await;
    }
}

#[tokio::test]
async fn certificates_are_known_by_their_normalised_subject() {
    let given = Given::with_device().await;
    let name = unique("device");
    let made = ec(&name);
    let subject = made.subject.as_str();
    let auth_id = format!("cn={name} , O=\"Eclipse IoT\", c=CA");
    let x509 = |auth_id: &str, secrets: Value| json!({"type": "x509-cert", "auth-id": auth_id, "secrets": secrets});
    let shown = |secret: Value| json!({"type": "x509-cert", "auth-id": subject, "enabled": true, "secrets": [secret]});

    let got = given.set(x509(&auth_id, json!([{}]))).await;
    assert_eq!(without_ids(got.clone()), shown(json!({"enabled": true})));
    // A secret is kept by its id, and takes what is sent of it.
    let id = &got["secrets"][0]["id"];
    let got = given
        .set(x509(
            subject,
            json!([{"id": id, "not-after": NOT_AFTER, "enabled": false}]),
        ))
        .await;
    assert_eq!(
        got["secrets"],
        json!([{"id": id, "enabled": false, "not-after": NOT_AFTER}])
    );

    let sent = json!({"type": "x509-cert", "cert": made.cert, "comment": "from a certificate"});
    let mut expected =
        shown(json!({"enabled": true, "not-before": NOT_BEFORE, "not-after": NOT_AFTER}));
    expected["comment"] = json!("from a certificate");
    let got = given.set(sent).await;
    assert_eq!(without_ids(got.clone()), expected);
    let found = given.found(CredentialType::X509Certificate, subject).await;
    assert!(matches!(found, Secrets::Certificates(all) if all.len() == 1));
    // What is got may be put.
    assert_eq!(given.set(got.clone()).await, got);

    let pem = json!({"type": "x509-cert", "cert": made.pem, "comment": "from a certificate",
                     "auth-id": null, "secrets": null});
    assert_eq!(without_ids(given.set(pem).await), expected);

    // A template may make other names.
    let got = given.set(x509("device-1", json!([{}]))).await;
    assert_eq!(got["auth-id"], "device-1");

    let long = ec(&"x".repeat(1024));
    let twice = json!([x509(subject, json!([{}])), x509(&auth_id, json!([{}]))]);
    given.refused(twice, "credentials[1]: another one").await;
    let rows = [
        (x509("", json!([{}])), "auth-id: is empty"),
        (
            x509(&format!("CN={}", "x".repeat(1022)), json!([{}])),
            "auth-id: has more than 1024 bytes",
        ),
        (
            json!({"type": "x509-cert", "cert": long.cert}),
            "cert: has more than 1024 bytes",
        ),
        (
            json!({"type": "x509-cert", "auth-id": subject, "secrets": null}),
            "secrets: is required",
        ),
        (x509(subject, json!([])), "secrets: at least one"),
        (x509(subject, json!([{}, {}])), "secrets: exactly one"),
        (
            x509(subject, json!([{"key": "AQID"}])),
            "secrets[0].key: there is no",
        ),
        (
            json!({"type": "x509-cert", "secrets": [{}]}),
            "auth-id: is required",
        ),
        (
            json!({"type": "x509-cert", "auth-id": subject}),
            "secrets: is required",
        ),
        (
            json!({"type": "x509-cert", "cert": "s3cret?"}),
            "cert: is not Base64",
        ),
        (json!({"type": "x509-cert", "cert": "AQID"}), "cert: "),
        (
            json!({"type": "psk", "cert": made.cert}),
            "cert: is for type x509-cert",
        ),
    ];
    for (credential, text) in rows {
        given.refused(json!([credential]), text).await;
    }
}

#[tokio::test]
async fn raw_public_keys_are_shown() {
    let given = Given::with_device().await;
    let (rsa, ec) = (rsa("device"), ec("device"));
    let rpk = |secrets: Value| json!({"type": "rpk", "auth-id": "device 1", "secrets": secrets});
    let sent = json!([
        {"key": rsa.key.trim_end_matches('='), "algorithm": "RSA"},
        {"key": ec.key},
        {"cert": ec.pem, "comment": "c", "key": null, "algorithm": null}
    ]);
    let got = given.set(rpk(sent)).await;
    assert_eq!(
        without_ids(got.clone())["secrets"],
        json!([
            {"enabled": true, "key": rsa.key, "algorithm": "RSA"},
            {"enabled": true, "key": ec.key, "algorithm": "EC"},
            {"enabled": true, "key": ec.key, "algorithm": "EC", "comment": "c",
             "not-before": NOT_BEFORE, "not-after": NOT_AFTER}
        ])
    );
    let found = given.found(CredentialType::RawPublicKey, "device 1").await;
    let Secrets::PublicKeys(keys) = found else {
        panic!("other secrets");
    };
    let algorithms: Vec<_> = keys.into_iter().map(|key| key.algorithm).collect();
    assert_eq!(algorithms, ["RSA", "EC", "EC"]);
    // What is got may be put.
    assert_eq!(given.set(got.clone()).await, got);

    let id = &got["secrets"][0]["id"];
    let rows = [
        (json!([{}]), "secrets[0].key: is required"),
        (json!([{"id": id}]), "secrets[0].key: is required"),
        (json!([{"key": "?"}]), "secrets[0].key: is not Base64"),
        (json!([{"key": "AQID"}]), "secrets[0].key: "),
        (json!([{"key": ec.cert}]), "secrets[0].key: "),
        (
            json!([{"key": ec.key, "algorithm": "RSA"}]),
            "secrets[0].key: ",
        ),
        (
            json!([{"key": ec.key, "algorithm": "DSA"}]),
            "secrets[0].algorithm: ",
        ),
        (json!([{"cert": ec.key}]), "secrets[0].cert: "),
        (
            json!([{"key": ec.key, "alg": "EC"}]),
            "secrets[0].alg: there is no",
        ),
    ];
    for (secrets, text) in rows {
        given.refused(json!([rpk(secrets)]), text).await;
    }
}

#[tokio::test]
async fn other_types_have_whatever_members_and_keep_them_by_id() {
    let given = Given::with_device().await;
    let other =
        |secrets: Value| json!({"type": "my-type-1", "auth-id": "a/b c", "secrets": secrets});
    let sent = json!({"token": "x", "z": null, "pwd-plain": [1, {"y": null}], "enabled": false});
    let got = given.set(other(json!([sent, {}]))).await;
    assert_eq!(
        without_ids(got.clone()),
        json!({"type": "my-type-1", "auth-id": "a/b c", "enabled": true,
               "secrets": [sent, {"enabled": true}]})
    );
    let id = &got["secrets"][0]["id"];
    // Without a member of its own it keeps those it has; validity and comment are what is sent.
    let got = given.set(other(json!([{"id": id, "comment": "c"}]))).await;
    assert_eq!(
        got["secrets"],
        json!([{"id": id, "enabled": true, "comment": "c", "token": "x", "z": null,
                "pwd-plain": [1, {"y": null}]}])
    );
    let got = given.set(other(json!([{"id": id, "token": "z"}]))).await;
    assert_eq!(
        got["secrets"],
        json!([{"id": id, "enabled": true, "token": "z"}])
    );
    let long = "t".repeat(257);
    for kind in ["", "My-type", "my_type", "hashed-password ", &long] {
        let set = json!([{"type": kind, "auth-id": "a", "secrets": [{}]}]);
        given.refused(set, "credentials[0]: type: ").await;
    }
}

#[tokio::test]
async fn secrets_of_any_type_that_break_a_rule_are_not_quoted() {
    let given = Given::with_device().await;
    let ec = ec("device");
    let kinds = [
        ("hashed-password", json!({"pwd-plain": "s3cret"})),
        ("psk", json!({"key": "AQID"})),
        ("x509-cert", json!({})),
        ("rpk", json!({"key": ec.key})),
        ("other", json!({"any": "thing"})),
    ];
    for (kind, good) in kinds {
        let set = |members: Value| {
            let mut secret = good.clone();
            let members = members.as_object().unwrap().clone();
            secret.as_object_mut().unwrap().extend(members);
            json!([{"type": kind, "auth-id": "a", "secrets": [secret]}])
        };
        let rows = [
            (
                json!({"enabled": "s3cret"}),
                "secrets[0].enabled: a boolean",
            ),
            (json!({"id": ["s3cret"]}), "secrets[0].id: a string"),
            (json!({"id": ""}), "secrets[0].id: is empty"),
            (
                json!({"not-after": "-000001-01-01T00:00:00Z"}),
                "secrets[0].not-after: not an ISO 8601",
            ),
            (json!({"id": "1"}), "no secret with id 1"),
            (
                json!({"comment": {"s3cret": 1}}),
                "secrets[0].comment: a string",
            ),
            (
                json!({"not-before": "s3cret"}),
                "secrets[0].not-before: not an ISO 8601",
            ),
            (json!({"not-after": 5}), "secrets[0].not-after: a string"),
            (
                json!({"not-before": NOT_AFTER, "not-after": NOT_BEFORE}),
                "secrets[0].not-before: is after not-after",
            ),
        ];
        for (members, text) in rows {
            given.refused(set(members), text).await;
        }
        let same = json!({"not-before": NOT_BEFORE, "not-after": NOT_BEFORE});
        given.ok("PUT", SET, Some(set(same))).await;
        given.ok("PUT", SET, Some(json!([]))).await;
    }
    let whole =
        |secrets: Value| json!([{"type": "hashed-password", "auth-id": "a", "secrets": secrets}]);
    let rows = [
        (whole(json!("s3cret")), "secrets: an array"),
        (whole(json!(["s3cret"])), "secrets[0]: an object"),
        (whole(json!([["s3cret"]])), "secrets[0]: an object"),
        (
            whole(json!([{"pwd-plain": ["s3cret"]}])),
            "secrets[0].pwd-plain: a string",
        ),
        (
            whole(json!([{"pwd-plain": {"s3cret": 1}}])),
            "secrets[0].pwd-plain: a string",
        ),
        (
            whole(json!([{"hash-function": "s3cret", "pwd-hash": "AQID"}])),
            "secrets[0].hash-function: one of",
        ),
        (
            whole(json!([{"hash-function": "sha-256", "pwd-hash": "s3cret!"}])),
            "secrets[0].pwd-hash: is not Base64",
        ),
        (json!(["s3cret"]), "credentials[0]: an object"),
        // Also beside one whose password would be hashed.
        (
            json!([
                {"type": "hashed-password", "auth-id": "a", "secrets": [{"pwd-plain": "s3cret"}]},
                {"type": "psk", "auth-id": "b", "secrets": [{}]}
            ]),
            "credentials[1]: secrets[0].key: is required",
        ),
    ];
    for (set, text) in rows {
        given.refused(set, text).await;
    }
    assert_eq!(given.get(SET).await, json!([]));
}

#[tokio::test]
async fn hash_functions_may_be_ruled_out() {
    let config = ManagementConfig {
        hash_algorithms: vec![HashAlgorithm::Sha512],
        ..ManagementConfig::default()
    };
    let given = Given::with(config, 100).await;
    given.ok("POST", "/v1/tenants/{t}", None).await;
    given.ok("POST", "/v1/devices/{t}/4711", None).await;
    let set =
        |secret: Value| json!([{"type": "hashed-password", "auth-id": "a", "secrets": [secret]}]);
    let bcrypt = "$2a$05$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    for (function, hash) in [("sha-256", "AQID"), ("bcrypt", bcrypt)] {
        let secret = json!({"hash-function": function, "pwd-hash": hash});
        given
            .refused(set(secret), "hash-function: one of sha-512 is expected")
            .await;
    }
    for secret in [
        json!({"hash-function": "sha-512", "pwd-hash": "AQID"}),
        json!({"pwd-plain": "x"}),
    ] {
        let put = given.ok("PUT", SET, Some(set(secret))).await;
        assert!(is_uuid(&header(&put, ETAG)));
    }
}
