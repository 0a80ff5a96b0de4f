//! What the file may say, and what becomes of it.

use std::path::PathBuf;

use tempfile::TempDir;
use weir_core::{Accounts, PasswordSecret, PasswordVerifier, Role};

use super::{Activity, Permissions, PermissionsError};

/// `verysecret`, with bcrypt at cost 4.
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuuQAAGgg2KfWYmqzYLTQ9rxOm/01eDuEm";

struct Written {
    folder: TempDir,
    permissions: Permissions,
}

impl Written {
    async fn new(json: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("permissions.json");
        std::fs::write(&path, json).unwrap();
        let permissions = Permissions::load(path, PasswordVerifier::new(1)).await;
        Self {
            folder,
            permissions: permissions.unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("permissions.json")
    }

    fn write(&self, json: &str) {
        std::fs::write(self.path(), json).unwrap();
    }

    async fn is_password(&self, user: &str, password: &str) -> bool {
        let users = self.permissions.current();
        let user = users.user(user).unwrap();
        self.permissions.verify(user, password.as_bytes()).await
    }

    fn may(&self, user: &str, activity: Activity, address: &str) -> bool {
        let users = self.permissions.current();
        users.user(user).unwrap().may(activity, address)
    }
}

fn user(members: &str) -> String {
    format!(r#"{{"users": {{"app": {{{members}}}}}}}"#)
}

fn role(permission: &str) -> String {
    format!(r#"{{"roles": {{"r": [{permission}]}}}}"#)
}

#[test]
fn a_mistake_is_told_with_its_place_and_never_with_a_password() {
    let hash = |hash: &str| {
        user(&format!(
            r#""mechanism": "PLAIN", "password-hash": "{hash}""#
        ))
    };
    let rows = [
        ("".into(), "line 1, column 0: EOF while parsing a value"),
        ("{} x".into(), "line 1, column 4: trailing characters"),
        (
            "{\n  \"users\": {,\n}".into(),
            "line 2, column 13: key must be a string",
        ),
        (
            "[]".into(),
            "line 1, column 0: invalid type: sequence, expected an object",
        ),
        (
            role("[]"),
            "roles.r[0]: invalid type: sequence, expected an object",
        ),
        (
            r#"{"users": {"app": ["PLAIN", "s3cret"]}}"#.into(),
            "users.app: invalid type: sequence, expected an object",
        ),
        (r#"{"rolls": {}}"#.into(), "rolls: unknown field `rolls`"),
        (
            r#"{"roles": []}"#.into(),
            "roles: invalid type: sequence, expected an object",
        ),
        (
            r#"{"roles": {"r": {}}}"#.into(),
            "roles.r: invalid type: map, expected a sequence",
        ),
        (role("{}"), "roles.r[0]: missing field `activities`"),
        (
            role(r#"{"activities": []}"#),
            "roles.r[0]: either resource or operation is expected",
        ),
        (
            role(r#"{"resource": "a", "operation": "a:b", "activities": []}"#),
            "roles.r[0]: either resource or operation is expected",
        ),
        (
            role(
                r#"{"resource": "*", "activities": ["READ"]}, {"resource": "", "activities": []}"#,
            ),
            "roles.r[1].resource: is empty",
        ),
        (
            role(r#"{"operation": "tenant/*", "activities": ["EXECUTE"]}"#),
            "roles.r[0].operation: an address, ':' and a name are expected",
        ),
        (
            role(r#"{"resource": "a", "activities": ["read"]}"#),
            "roles.r[0].activities[0]: unknown variant `read`",
        ),
        (
            role(r#"{"resource": "a", "activities": ["READ"], "tenant": "t"}"#),
            "roles.r[0].tenant: unknown field `tenant`",
        ),
        (
            r#"{"roles": {"r": [], "r": []}}"#.into(),
            r#"roles: "r" is there twice"#,
        ),
        (user(""), "users.app: missing field `mechanism`"),
        (
            user(r#""mechanism": "ANONYMOUS""#),
            "users.app.mechanism: unknown variant `ANONYMOUS`",
        ),
        (
            user(r#""mechanism": "PLAIN""#),
            "users.app: either password-hash or password is expected",
        ),
        (
            user(&format!(
                r#""mechanism": "PLAIN", "password": "s3cret", "password-hash": "{HASH}""#
            )),
            "users.app: either password-hash or password is expected",
        ),
        (
            user(r#""mechanism": "PLAIN", "password": """#),
            "users.app.password: is empty",
        ),
        (
            user(r#""mechanism": "PLAIN", "password": 77777"#),
            "users.app.password: a text is expected",
        ),
        (
            user(r#""mechanism": "PLAIN", "password": ["s3cret"]"#),
            "users.app.password: invalid type: sequence, expected a text",
        ),
        (
            user(r#""mechanism": "EXTERNAL", "password": "s3cret""#),
            "users.app.password: has no use with mechanism EXTERNAL",
        ),
        (
            user(&format!(
                r#""mechanism": "EXTERNAL", "password-hash": "{HASH}""#
            )),
            "users.app.password-hash: has no use with mechanism EXTERNAL",
        ),
        (
            user(r#""mechanism": "PLAIN", "pasword": "s3cret""#),
            "users.app.pasword: unknown field `pasword`",
        ),
        (
            user(r#""mechanism": "EXTERNAL", "authorities": ["hono-component", "nobody"]"#),
            r#"users.app.authorities[1]: there is no role "nobody""#,
        ),
        (
            r#"{"users": {"": {"mechanism": "EXTERNAL"}}}"#.into(),
            "users.: a user needs a name",
        ),
        (
            hash("s3cret"),
            "users.app.password-hash: is not a bcrypt hash",
        ),
        (
            hash(&HASH.replace("$2y$", "$2x$")),
            "users.app.password-hash: is not a bcrypt hash",
        ),
        (
            hash(&HASH[1..]),
            "users.app.password-hash: is not a bcrypt hash",
        ),
        (
            hash(&HASH[..59]),
            "users.app.password-hash: is not a bcrypt hash",
        ),
        (
            hash(&HASH.replace('/', "-")),
            "users.app.password-hash: is not a bcrypt hash",
        ),
        (
            hash(&HASH.replace("$04$", "$+4$")),
            "users.app.password-hash: is not a bcrypt hash",
        ),
        (
            hash(&HASH.replace("$04$", "$31$")),
            "users.app.password-hash: a bcrypt cost from 4 to 15 is expected",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("permissions.json");
    for (json, expected) in rows {
        std::fs::write(&path, &json).unwrap();
        let error = Permissions::check(&path).unwrap_err().to_string();
        let told = error.strip_prefix(&format!("{}: ", path.display()));
        let told = told.unwrap_or(&error);
        assert!(told.starts_with(expected), "{json}\n{told}");
        assert!(!told.contains(" at line "), "{told}");
        assert!(
            !told.contains("s3cret") && !told.contains("77777"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_or_too_large_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nowhere.json");
    let error = Permissions::load(path.clone(), PasswordVerifier::new(1)).await;
    let error = error.unwrap_err();
    assert!(matches!(error, PermissionsError::Read { .. }));
    assert!(error.to_string().contains("nowhere.json"), "{error}");
    let huge = std::fs::File::create(&path).unwrap();
    huge.set_len(17 * 1024 * 1024).unwrap();
    let error = Permissions::check(&path).unwrap_err();
    assert!(matches!(error, PermissionsError::Read { .. }), "{error}");
}

/// The form that Hono's authentication server reads, with the names of its example and of its
/// integration tests.
#[tokio::test]
async fn the_file_of_a_hono_installation_is_read_as_it_is() {
    let written = Written::new(include_str!("hono.json")).await;
    for (user, password) in [("consumer@HONO", "verysecret"), ("user1@HONO", "pw")] {
        assert!(written.is_password(user, password).await, "{user}");
        assert!(!written.is_password(user, "other").await, "{user}");
    }
    let rows = [
        ("consumer@HONO", Activity::Read, "telemetry/acme", true),
        (
            "consumer@HONO",
            Activity::Read,
            "command_response/acme/r",
            true,
        ),
        ("consumer@HONO", Activity::Write, "command/acme", true),
        ("consumer@HONO", Activity::Write, "telemetry/acme", false),
        (
            "consumer@HONO",
            Activity::Read,
            "notification/registry-tenant",
            false,
        ),
        ("user1@HONO", Activity::Read, "event/DEFAULT_TENANT", true),
        ("user1@HONO", Activity::Read, "event/acme", false),
        (
            "user1@HONO",
            Activity::Write,
            "command/DEFAULT_TENANT",
            true,
        ),
        (
            "notification-test",
            Activity::Read,
            "notification/registry-tenant",
            true,
        ),
        ("notification-test", Activity::Read, "event/acme", false),
        ("http-adapter", Activity::Write, "event/acme", true),
        ("http-adapter", Activity::Read, "event/acme", false),
    ];
    for (user, activity, address, expected) in rows {
        let may = written.may(user, activity, address);
        assert_eq!(may, expected, "{user} {activity:?} {address}");
    }
    let users = written.permissions.current();
    let adapter = users.user("http-adapter").unwrap();
    assert!(adapter.is_external() && adapter.may_impersonate());
    assert!(!users.user("consumer@HONO").unwrap().may_impersonate());
    assert!(users.user("http-adapter@HONO").is_none());
}

#[tokio::test]
async fn a_hashed_password_is_checked_and_one_of_a_certificate_is_not() {
    let written = Written::new(&format!(
        r#"{{"users": {{"app": {{"mechanism": "PLAIN", "password-hash": "{HASH}"}},
                        "card": {{"mechanism": "EXTERNAL"}}}}}}"#
    ))
    .await;
    assert!(written.is_password("app", "verysecret").await);
    assert!(!written.is_password("app", HASH).await);
    assert!(!written.is_password("card", "").await);
    assert!(
        !written.may("app", Activity::Read, "telemetry/acme"),
        "no role"
    );
}

#[tokio::test]
async fn the_gateways_own_accounts_have_the_standard_role() {
    let mut accounts = Accounts::new(PasswordVerifier::new(1));
    let secret = |password| PasswordSecret::of_random(password);
    accounts.add(Role::Application, "application", secret("a"));
    accounts.add(Role::Operator, "operator", secret("o"));
    let permissions = Permissions::of_accounts(&accounts);
    let users = permissions.current();
    let user = users.user("application").unwrap();
    assert!(permissions.verify(user, b"a").await);
    assert!(!permissions.verify(user, b"o").await);
    assert!(user.may(Activity::Read, "telemetry/acme"));
    assert!(!user.may_impersonate());
    assert!(users.user("operator").is_none());
    assert!(!permissions.look().await.unwrap());
}

#[tokio::test]
async fn a_changed_file_is_taken_up_and_a_broken_one_changes_nothing() {
    let plain = |password| {
        user(&format!(
            r#""mechanism": "PLAIN", "password": "{password}""#
        ))
    };
    let written = Written::new(&plain("first")).await;
    let before = written.permissions.current();
    assert!(!written.permissions.look().await.unwrap());

    for broken in [
        "{",
        r#"{"user": {}}"#,
        r#"{"users": {"app": {"mechanism": "PLAIN"}}}"#,
    ] {
        written.write(broken);
        let error = written.permissions.look().await.unwrap_err();
        assert!(matches!(error, PermissionsError::Content { .. }), "{error}");
    }
    std::fs::remove_file(written.path()).unwrap();
    assert!(written.permissions.look().await.is_err());
    assert!(!before.replaced().is_cancelled());
    assert!(written.is_password("app", "first").await);

    written.write(&plain("second"));
    assert!(written.permissions.look().await.unwrap());
    assert!(before.replaced().is_cancelled());
    assert!(!written.permissions.current().replaced().is_cancelled());
    assert!(written.is_password("app", "second").await);
    assert!(!written.is_password("app", "first").await);
    assert!(!written.permissions.look().await.unwrap());
}

#[tokio::test]
async fn a_login_stays_the_same_as_long_as_its_password_does() {
    let hashed = format!(r#""mechanism": "PLAIN", "password-hash": "{HASH}""#);
    let plain = r#""mechanism": "PLAIN", "password": "one""#.to_owned();
    let with_role = format!(r#"{plain}, "authorities": ["hono-component"]"#);
    let other = r#""mechanism": "PLAIN", "password": "two""#.to_owned();
    let external = r#""mechanism": "EXTERNAL""#.to_owned();
    let rows = [
        (&plain, &with_role, true),
        (&with_role, &other, false),
        (&other, &hashed, false),
        (&hashed, &external, false),
        (&external, &hashed, false),
        (&hashed, &plain, false),
    ];
    let written = Written::new(&user(&plain)).await;
    for (before, after, same) in rows {
        written.write(&user(before));
        let _ = written.permissions.look().await.unwrap();
        let old = written.permissions.current();
        written.write(&user(after));
        assert!(written.permissions.look().await.unwrap());
        let new = written.permissions.current();
        let is_same = new
            .user("app")
            .unwrap()
            .logs_in_like(old.user("app").unwrap());
        assert_eq!(is_same, same, "{before} then {after}");
    }
}
