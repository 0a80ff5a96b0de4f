//! `/v1/log`: what the gateway logs, changed while it runs.
//!
//! It is Weir's own, Hono has no such resource. Who logs, and how, is not known here: [`LogControl`] is.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::answer::{Failure, page, removed};
use crate::api::Api;
use crate::object::{Broken, check_length, members, parse};
use crate::request::{JsonBody, Operator};

/// The longest filter, in bytes.
const MAX_FILTER: usize = 1024;
/// The longest time for which a filter may hold, in seconds: a week.
const MAX_TIME: u64 = 7 * 24 * 60 * 60;

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// The filter that holds now.
    pub filter: String,
    /// The one that held when the gateway started.
    pub configured: String,
    /// After which time the configured one holds again; `None` if nothing else is to come.
    pub left: Option<Duration>,
}

/// Why the filter was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// It cannot be understood. The text says why and does not quote it.
    Filter(String),
    /// The log cannot be changed.
    Unavailable,
}

/// The log, as operators may see and change it. Nothing in here waits.
pub trait LogControl: Send + Sync {
    /// What is logged.
    fn read(&self) -> LogFilter;

    /// Has the log go by `filter`, or by the configured one if that is `None`: for `time`, or until the next
    /// change. Logs that `operator` has done so.
    ///
    /// # Errors
    /// If nothing has changed; the variants say why.
    fn change(
        &self,
        operator: &str,
        filter: Option<&str>,
        time: Option<Duration>,
    ) -> Result<(), LogError>;
}

/// The resource as it is returned.
#[derive(Serialize)]
struct Shown {
    filter: String,
    configured: String,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
}

/// The resource as it is sent.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    filter: Option<String>,
    #[serde(rename = "for")]
    seconds: Option<u64>,
}

pub(crate) async fn read(State(api): State<Arc<Api>>) -> Response {
    let LogFilter {
        filter,
        configured,
        left,
    } = api.log.read();
    // A part of a second is still to come.
    let seconds = left.map(|left| left.as_secs_f64().ceil() as u64);
    page(&Shown {
        filter,
        configured,
        seconds,
    })
}

pub(crate) async fn update(
    State(api): State<Arc<Api>>,
    Extension(Operator(operator)): Extension<Operator>,
    body: JsonBody,
) -> Result<Response, Failure> {
    let sent: Sent = parse(members(&body.required()?)?)?;
    let time = sent.time()?;
    if let Some(filter) = &sent.filter {
        check_length("filter", filter, MAX_FILTER)?;
    }
    let changed = api.log.change(&operator, sent.filter.as_deref(), time);
    changed.map_err(|error| match error {
        LogError::Filter(reason) => Broken::new("filter", reason).into(),
        LogError::Unavailable => Failure::internal(),
    })?;
    Ok(removed())
}

impl Sent {
    fn time(&self) -> Result<Option<Duration>, Broken> {
        match (self.seconds, &self.filter) {
            (None, _) => Ok(None),
            (Some(_), None) => Err(Broken::new("for", "is of no use without a filter")),
            (Some(seconds @ 1..=MAX_TIME), Some(_)) => Ok(Some(Duration::from_secs(seconds))),
            (Some(_), Some(_)) => {
                let rule = format!("is no number of seconds from 1 to {MAX_TIME}");
                Err(Broken::new("for", rule))
            }
        }
    }
}
