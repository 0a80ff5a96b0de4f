//! Credentials.

use reqwest::StatusCode;
use reqwest::header::ETAG;
use serde_json::{Value, json};
use weir_core::{CredentialType, PasswordVerifier, Registry as _};

use crate::{Given, header, is_uuid};

const SET: &str = "/v1/credentials/{t}/4711";

impl Given {
    /// Whether the device's credential takes that password.
    async fn takes(&self, auth_id: &str, password: &str) -> bool {
        let kind = CredentialType::HashedPassword;
        let tenant = self.tenant.as_str().into();
        let auth_id = auth_id.into();
        let found = self.registry.credentials(&tenant, kind, &auth_id).await;
        let now = time::OffsetDateTime::now_utc();
        PasswordVerifier::new(1)
            .verify(found.unwrap().passwords(), password.as_bytes(), now)
            .await
    }
}

#[tokio::test]
async fn passwords_are_hashed_kept_by_id_and_never_shown() {
    let given = Given::with_device().await;
    let first = given.ok("GET", SET, None).await;
    assert!(is_uuid(&header(&first, ETAG)));
    assert_eq!(first.json::<Value>().await.unwrap(), json!([]));

    let set = json!([{
        "type": "hashed-password", "auth-id": "sensor1", "comment": "c", "ext": {"x": 1},
        "secrets": [
            {"pwd-plain": "plain", "comment": "s", "not-before": "2020-01-01T02:00:00+02:00"},
            // sha-256 of "secret", without salt
            {"hash-function": "sha-256", "pwd-hash": "K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols="}
        ]
    }]);
    let put = given.ok("PUT", SET, Some(set)).await;
    assert_eq!(put.status(), StatusCode::NO_CONTENT);
    let got = given.ok("GET", SET, None).await;
    assert_eq!(header(&got, ETAG), header(&put, ETAG));
    let got: Value = got.json().await.unwrap();
    let ids: Vec<_> = (0..2)
        .map(|n| got[0]["secrets"][n]["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids.iter().all(|id| is_uuid(id)));
    assert_eq!(
        got,
        json!([{
            "type": "hashed-password", "auth-id": "sensor1", "enabled": true, "comment": "c",
            "ext": {"x": 1},
            "secrets": [
                {"id": ids[0], "enabled": true, "comment": "s",
                 "not-before": "2020-01-01T00:00:00Z"},
                {"id": ids[1], "enabled": true}
            ]
        }])
    );
    for (password, expected) in [("plain", true), ("secret", true), ("other", false)] {
        assert_eq!(
            given.takes("sensor1", password).await,
            expected,
            "{password}"
        );
    }

    // What is got may be put: secrets are kept by their ids. One that is left out is gone.
    let mut kept = got.clone();
    kept[0]["secrets"].as_array_mut().unwrap().remove(1);
    given.ok("PUT", SET, Some(kept)).await;
    assert!(given.takes("sensor1", "plain").await);
    assert!(!given.takes("sensor1", "secret").await);
    let changed = json!([{"type": "hashed-password", "auth-id": "sensor1",
                          "secrets": [{"id": ids[0], "pwd-plain": "changed"}]}]);
    given.ok("PUT", SET, Some(changed)).await;
    assert!(given.takes("sensor1", "changed").await);
    assert!(!given.takes("sensor1", "plain").await);
    assert_eq!(
        given.get(SET).await[0]["secrets"],
        json!([{"id": ids[0], "enabled": true}])
    );
    // What is empty or null is left out, and a salt alone says nothing.
    for kept in [
        json!({"id": ids[0], "pwd-plain": "", "hash-function": "", "pwd-hash": "", "salt": ""}),
        json!({"id": ids[0], "pwd-plain": null, "hash-function": null, "pwd-hash": null,
               "salt": "AQID", "comment": null}),
    ] {
        let set = json!([{"type": "hashed-password", "auth-id": "sensor1", "enabled": null,
                          "ext": null, "comment": null, "cert": null, "secrets": [kept]}]);
        given.ok("PUT", SET, Some(set)).await;
        assert!(given.takes("sensor1", "changed").await, "{kept}");
    }
}

#[tokio::test]
async fn sets_have_a_size() {
    let given = Given::with_device().await;
    let psk = |auth_id: &str, secrets: usize| {
        let secrets = vec![json!({"key": "AQID"}); secrets];
        json!({"type": "psk", "auth-id": auth_id, "secrets": secrets})
    };
    let sets = |credentials: usize| {
        let all = (0..credentials).map(|number| psk(&number.to_string(), 1));
        Value::Array(all.collect()).to_string()
    };
    let one = |auth_id: &str, secrets: usize| json!([psk(auth_id, secrets)]).to_string();
    let (longest, too_long) = ("x".repeat(1024), "x".repeat(1025));
    given
        .rows(&[
            ("PUT", SET, &sets(100), 204, ""),
            ("PUT", SET, &sets(101), 400, "at most 100 credentials"),
            ("PUT", SET, &one("a", 32), 204, ""),
            (
                "PUT",
                SET,
                &one("a", 33),
                400,
                "credentials[0]: secrets: at most 32",
            ),
            ("PUT", SET, &one(&longest, 1), 204, ""),
            (
                "PUT",
                SET,
                &one(&too_long, 1),
                400,
                "credentials[0]: auth-id: has more than 1024 bytes",
            ),
        ])
        .await;
}

#[tokio::test]
async fn sets_of_credentials_that_break_a_rule() {
    let given = Given::with_device().await;
    let row = |head: &str, secrets: &str| {
        format!(r#"[{{"type": "hashed-password", {head} "secrets": {secrets}}}]"#)
    };
    let (name, good) = (r#""auth-id": "a","#, r#"[{"pwd-plain": "x"}]"#);
    let one = row(name, good);
    let twice = format!("[{},{}]", &one[1..one.len() - 1], &one[1..one.len() - 1]);
    let ids = r#"[{"id": "1", "pwd-plain": "x"}, {"id": "1"}]"#;
    let costly = "$2a$06$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let costly = format!(r#"[{{"hash-function": "bcrypt", "pwd-hash": "{costly}"}}]"#);
    let rows = [
        (
            r#"[{"auth-id": "a", "secrets": []}]"#.into(),
            "type: is required",
        ),
        (r#"[{"type": 1}]"#.into(), "type: a string"),
        ("{}".into(), "a JSON array"),
        ("5".into(), "a JSON array"),
        ("[1]".into(), "credentials[0]: "),
        (row("", good), "auth-id"),
        (row(r#""auth-id": "a b","#, good), "auth-id: "),
        (row(r#""auth-id": 5,"#, good), "auth-id: "),
        (row(r#""auth-id": "a:b","#, good), "auth-id: "),
        (row(r#""auth-id": "","#, good), "auth-id: is empty"),
        (
            row(r#""auth-id": "a", "enabeld": true,"#, good),
            "enabeld: ",
        ),
        (
            row(r#""auth-id": "a", "enabled": 1,"#, good),
            "enabled: a boolean",
        ),
        (row(r#""auth-id": "a", "ext": [],"#, good), "ext: an object"),
        (
            row(r#""auth-id": "a", "comment": 1,"#, good),
            "comment: a string",
        ),
        (row(name, "[]"), "secrets: at least one"),
        (row(name, "[5]"), "secrets[0]: an object"),
        (
            r#"[{"type": "hashed-password", "auth-id": "a"}]"#.into(),
            "secrets",
        ),
        (row(name, r#"[{"pwd-plian": "x"}]"#), "pwd-plian"),
        (
            row(name, r#"[{"pwd-plain": ""}]"#),
            "pwd-plain: is required",
        ),
        (row(name, r#"[{"salt": "AQID"}]"#), "pwd-plain: is required"),
        (row(name, "[null]"), "secrets[0]: an object"),
        (row(r#""auth-id": null,"#, good), "auth-id: is required"),
        (
            row(r#""auth-id": "a", "enabeld": null,"#, good),
            "enabeld: there is no",
        ),
        (
            row(name, r#"[{"pwd-plain": "x", "not-after": "soon"}]"#),
            "not-after: ",
        ),
        (row(name, "[{}]"), "pwd-plain"),
        (row(name, r#"[{"hash-function": "sha-256"}]"#), "pwd-hash"),
        (row(name, &costly), "cost of at most 5"),
        (row(name, ids), "secrets[1].id: "),
        (row(name, r#"[{"id": "1"}]"#), "no secret with id 1"),
        (
            row(name, r#"[{"id": "1", "pwd-plain": "x"}]"#),
            "no secret with id 1",
        ),
        (twice, "credentials[1]: "),
    ];
    for (body, text) in &rows {
        given.rows(&[("PUT", SET, body, 400, text)]).await;
    }
    assert_eq!(given.get(SET).await, json!([]));
    given.ok("POST", "/v1/devices/{t}/4712", None).await;
    given.rows(&[("PUT", SET, &one, 204, "")]).await;
    given
        .rows(&[("PUT", "/v1/credentials/{t}/4712", &one, 409, "auth-id a")])
        .await;
    // The device takes its credentials along.
    given.ok("DELETE", "/v1/devices/{t}/4711", None).await;
    given.rows(&[("GET", SET, "", 404, "")]).await;
    given
        .rows(&[("PUT", "/v1/credentials/{t}/4712", &one, 204, "")])
        .await;
}
