//! Who is let in, as whom, and for how long.

use std::path::PathBuf;

use futures_util::future::poll_fn;
use tempfile::TempDir;
use weir_core::PasswordVerifier;

use super::*;

const USERS: &str = r#"{"users": {
    "app": {"mechanism": "PLAIN", "password": "pw"},
    "other": {"mechanism": "PLAIN", "password": "pw2"},
    "card": {"mechanism": "EXTERNAL"},
    "router": {"mechanism": "PLAIN", "password": "pw", "authorities": ["hono-component"]},
    "agent": {"mechanism": "EXTERNAL", "authorities": ["hono-component"]}
}}"#;

struct World {
    folder: TempDir,
    permissions: Permissions,
    metrics: Metrics,
}

impl World {
    async fn new(json: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("permissions.json");
        std::fs::write(&path, json).unwrap();
        let permissions = Permissions::load(path, PasswordVerifier::new(1)).await;
        Self {
            folder,
            permissions: permissions.unwrap(),
            metrics: Metrics::new("test", Instant::now()),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("permissions.json")
    }

    fn access(&self, certified: Option<&str>) -> Access {
        let certified = certified.map(str::to_owned);
        Access::new(self.permissions.clone(), self.metrics.clone(), certified)
    }

    /// Logins that have ended so.
    fn logins(&self, outcome: &str) -> u64 {
        let page = weir_metrics::render(&self.metrics, Instant::now());
        let labels = format!("outcome=\"{outcome}\",client_type=\"dispatch-router\"");
        let mut lines = page.lines();
        let line = lines.find(|line| {
            line.starts_with("hono_authentication_attempts_total") && line.contains(&labels)
        });
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    async fn replace(&self, json: &str) {
        std::fs::write(self.path(), json).unwrap();
        assert!(self.permissions.look().await.unwrap());
    }
}

async fn login(access: &mut Access, mechanism: &str, response: &str) -> SaslCode {
    let now = Instant::now();
    match access.login(now, mechanism, response.as_bytes()) {
        Some(code) => code,
        None => poll_fn(|cx| access.poll_login(cx, now)).await,
    }
}

#[tokio::test]
async fn who_is_let_in_and_as_whom() {
    let world = World::new(USERS).await;
    let long = "x".repeat(LONGEST_USER + 1);
    let long = [format!("\0{long}\0pw"), format!("{long}\0router\0pw")];
    let rows = [
        // mechanism, name in the certificate, response, user
        (PLAIN, None, "\0app\0pw", Some("app")),
        (PLAIN, None, "app\0app\0pw", Some("app")),
        (PLAIN, None, "\0app\0wrong", None),
        (PLAIN, None, "\0app\0", None),
        (PLAIN, None, "\0app\0pw\0", None),
        (PLAIN, None, "\0nobody\0pw", None),
        (PLAIN, None, "\0\0pw", None),
        (PLAIN, None, "other\0app\0pw", None),
        (PLAIN, None, "other\0router\0pw", Some("other")),
        (PLAIN, None, "card\0router\0pw", Some("card")),
        (PLAIN, None, "other\0router\0pw2", None),
        (PLAIN, None, "nobody\0router\0pw", None),
        (PLAIN, None, "\0router\0pw", Some("router")),
        (PLAIN, None, "\0card\0", None),
        (PLAIN, Some("card"), "\0card\0", None),
        (PLAIN, Some("card"), "\0app\0pw", Some("app")),
        (PLAIN, None, "", None),
        (PLAIN, None, "app\0pw", None),
        (PLAIN, None, &long[0], None),
        (PLAIN, None, &long[1], None),
        (EXTERNAL, Some("card"), "", Some("card")),
        (EXTERNAL, Some("card"), "card", Some("card")),
        (EXTERNAL, Some("card"), "other", None),
        (EXTERNAL, Some("agent"), "other", Some("other")),
        (EXTERNAL, Some("agent"), "nobody", None),
        (EXTERNAL, Some("app"), "", None),
        (EXTERNAL, Some("nobody"), "", None),
        (EXTERNAL, None, "", None),
        (EXTERNAL, None, "card", None),
    ];
    for (mechanism, certified, response, user) in rows {
        let mut access = world.access(certified);
        let code = login(&mut access, mechanism, response).await;
        let expected = if user.is_some() {
            SaslCode::Ok
        } else {
            SaslCode::Auth
        };
        assert_eq!(code, expected, "{mechanism} {certified:?} {response:?}");
        assert_eq!(
            access.user(),
            user,
            "{mechanism} {certified:?} {response:?}"
        );
    }
    let mut access = world.access(None);
    let not_utf8 = access.login(Instant::now(), PLAIN, b"\0\xff\0pw");
    assert_eq!(not_utf8, Some(SaslCode::Auth));
}

#[tokio::test]
async fn each_login_is_counted_by_how_it_has_ended() {
    let world = World::new(USERS).await;
    for (mechanism, certified, response) in [
        (PLAIN, None, "\0app\0pw"),
        (PLAIN, None, "\0app\0wrong"),
        (PLAIN, None, "malformed"),
        (EXTERNAL, Some("card"), ""),
        (EXTERNAL, Some("nobody"), ""),
    ] {
        login(&mut world.access(certified), mechanism, response).await;
    }
    assert_eq!(world.logins("succeeded"), 2);
    assert_eq!(world.logins("unauthorized"), 3);
    assert_eq!(world.logins("unavailable"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_cannot_be_checked_in_time_is_not_called_wrong() {
    // Cost 13 takes half a second of a clock that is not the paused one.
    let hash = "$2b$13$abcdefghijklmnopqrstuuQAAGgg2KfWYmqzYLTQ9rxOm/01eDuEm";
    let world = World::new(&format!(
        r#"{{"users": {{"app": {{"mechanism": "PLAIN", "password-hash": "{hash}"}}}}}}"#
    ))
    .await;
    let mut access = world.access(None);
    let now = Instant::now();
    assert_eq!(access.login(now, PLAIN, b"\0app\0pw"), None);
    let first = poll_fn(|cx| Poll::Ready(access.poll_login(cx, now))).await;
    assert_eq!(first, Poll::Pending);
    tokio::time::advance(CHECK_TIME).await;
    let code = poll_fn(|cx| access.poll_login(cx, now)).await;
    assert_eq!(code, SaslCode::SysTemp);
    assert_eq!(access.user(), None);
    assert_eq!(world.logins("unavailable"), 1);
}

#[tokio::test]
async fn a_login_ends_when_it_would_not_be_one_any_more() {
    let app = r#""app": {"mechanism": "PLAIN", "password": "pw"}"#;
    let other = r#""other": {"mechanism": "PLAIN", "password": "pw2"}"#;
    let router = |roles| {
        format!(r#""router": {{"mechanism": "PLAIN", "password": "pw", "authorities": [{roles}]}}"#)
    };
    let full = router(r#""hono-component""#);
    let rows = [
        // who logs in, what the file says then, whether that login is still one
        ("\0app\0pw", format!("{app}, {full}"), true),
        ("\0app\0pw", other.to_owned(), false),
        ("\0app\0pw", app.replace("pw", "new"), false),
        (
            "\0app\0pw",
            r#""app": {"mechanism": "EXTERNAL"}"#.to_owned(),
            false,
        ),
        ("other\0router\0pw", format!("{other}, {full}"), true),
        (
            "other\0router\0pw",
            format!("{}, {full}", other.replace("pw2", "new")),
            true,
        ),
        ("other\0router\0pw", full.clone(), false),
        ("other\0router\0pw", other.to_owned(), false),
        (
            "other\0router\0pw",
            format!("{other}, {}", router("")),
            false,
        ),
    ];
    for (response, after, stays) in rows {
        let world = World::new(USERS).await;
        let mut access = world.access(None);
        assert_eq!(login(&mut access, PLAIN, response).await, SaslCode::Ok);
        let idle = poll_fn(|cx| Poll::Ready(access.poll_loss(cx))).await;
        assert_eq!(idle, Poll::Pending);
        world.replace(&format!(r#"{{"users": {{{after}}}}}"#)).await;
        let loss = poll_fn(|cx| access.poll_loss(cx)).await;
        let expected = if stays {
            Loss::Links(Vec::new())
        } else {
            Loss::Login
        };
        assert_eq!(loss, expected, "{response:?} {after}");
        let again = poll_fn(|cx| Poll::Ready(access.poll_loss(cx))).await;
        assert_eq!(again, Poll::Pending);
    }
}

#[tokio::test]
async fn users_replaced_while_a_password_is_checked_are_the_ones_that_count() {
    let world = World::new(USERS).await;
    let mut access = world.access(None);
    let now = Instant::now();
    assert_eq!(access.login(now, PLAIN, b"\0app\0pw"), None);
    world.replace(r#"{"users": {}}"#).await;
    assert_eq!(poll_fn(|cx| access.poll_login(cx, now)).await, SaslCode::Ok);
    assert_eq!(poll_fn(|cx| access.poll_loss(cx)).await, Loss::Login);
}
