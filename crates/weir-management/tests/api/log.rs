//! What the gateway logs.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use weir_management::{LogControl, LogError, LogFilter};

use crate::{Given, error};

/// A log that understands only levels, and keeps what it was told.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<Change>>);

/// Who, what, and for how long.
type Change = (String, Option<String>, Option<Duration>);

impl LogControl for Kept {
    fn read(&self) -> LogFilter {
        let changes = self.0.lock().unwrap();
        let (filter, left) = match changes.last() {
            Some((_, filter, time)) => (filter.clone(), *time),
            None => (None, None),
        };
        let configured = "info".to_owned();
        LogFilter {
            filter: filter.unwrap_or_else(|| configured.clone()),
            configured,
            left: left.map(|time| time - Duration::from_millis(10)),
        }
    }

    fn change(
        &self,
        operator: &str,
        filter: Option<&str>,
        time: Option<Duration>,
    ) -> Result<(), LogError> {
        match filter {
            Some("nonsense") => Err(LogError::Filter("part 1 is no level".to_owned())),
            Some("broken") => Err(LogError::Unavailable),
            filter => {
                let change = (operator.to_owned(), filter.map(str::to_owned), time);
                self.0.lock().unwrap().push(change);
                Ok(())
            }
        }
    }
}

#[tokio::test]
async fn it_is_read_and_changed_for_a_while_or_for_good() {
    let given = Given::new().await;
    let seen = given.get("/v1/log").await;
    assert_eq!(seen, json!({"filter": "info", "configured": "info"}));
    let rows = [
        (
            json!({"filter": "debug", "for": 600}),
            json!({"filter": "debug", "configured": "info", "for": 600}),
        ),
        (
            json!({"filter": "trace", "for": null}),
            json!({"filter": "trace", "configured": "info"}),
        ),
        (json!({}), json!({"filter": "info", "configured": "info"})),
    ];
    for (body, expected) in rows {
        let changed = given.ok("PUT", "/v1/log", Some(body)).await;
        assert_eq!(changed.status(), 204);
        assert_eq!(given.get("/v1/log").await, expected);
    }
    let changes = given.log.0.lock().unwrap();
    let ten_minutes = Some(Duration::from_secs(600));
    let change = |filter: Option<&str>, time| ("op".to_owned(), filter.map(str::to_owned), time);
    assert_eq!(
        *changes,
        [
            change(Some("debug"), ten_minutes),
            change(Some("trace"), None),
            change(None, None)
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let given = Given::new().await;
    let long = format!(r#"{{"filter": "{}"}}"#, "a".repeat(1025));
    let rows = [
        ("", "a JSON body is required"),
        ("[]", "a JSON object is required"),
        (r#"{"filter": "nonsense"}"#, "filter: part 1 is no level"),
        (r#"{"filter": 5}"#, "filter: a string is expected"),
        (&long, "filter: has more than 1024 bytes"),
        (r#"{"level": "debug"}"#, "level: there is no such member"),
        (
            r#"{"filter": "debug", "for": 0}"#,
            "for: is no number of seconds from 1 to 604800",
        ),
        (
            r#"{"filter": "debug", "for": 604801}"#,
            "for: is no number of seconds from 1 to 604800",
        ),
        (
            r#"{"filter": "debug", "for": "10m"}"#,
            "for: an integer from 0 on is expected",
        ),
        (r#"{"for": 5}"#, "for: is of no use without a filter"),
    ];
    for (body, text) in rows {
        given.rows(&[("PUT", "/v1/log", body, 400, text)]).await;
    }
    let broken = json!({"filter": "broken"});
    let failed = given.send("PUT", "/v1/log", Some(broken)).await;
    assert_eq!(failed.status(), 500);
    error(failed).await;
    let anonymous = given.anonymous("PUT", "/v1/log").json(&json!({})).send();
    assert_eq!(anonymous.await.unwrap().status(), 401);
    assert!(given.log.0.lock().unwrap().is_empty());
}
