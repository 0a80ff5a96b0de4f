//! The client of the management API.

use std::time::Duration;

use reqwest::header::{ETAG, IF_MATCH};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::resource::Resource;
use crate::person::User;

/// The largest answer that is read, bytes; a page of two hundred devices has up to three million.
const ANSWER: usize = 32 * 1024 * 1024;
/// Before the second try, and doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The members of a JSON object.
pub(super) type Members = Map<String, Value>;

/// A gateway's management API, and who asks.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    base: Url,
    user: User,
    tries: u32,
}

/// An object and its version.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub(super) object: T,
    pub(super) version: String,
}

/// A part of what a search found.
#[derive(Deserialize)]
pub(super) struct Page {
    /// How many were found altogether.
    pub(super) total: u64,
    pub(super) result: Vec<Members>,
}

/// Why the API did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// It said why.
    #[error("{text} ({status})")]
    Refused { status: StatusCode, text: String },
    /// There is no answer.
    #[error("cannot reach {url}: {reason}")]
    Unreachable { url: Url, reason: String },
    /// What answers is no management API, or is broken.
    #[error("{url} does not answer as a management API does: {reason}")]
    Unintelligible { url: Url, reason: String },
    /// An id that cannot be asked for.
    #[error("{0}: there is nothing of that name")]
    Id(String),
}

impl ApiError {
    pub(super) fn is(&self, expected: StatusCode) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == expected)
    }

    /// Whether every other request would fail too.
    pub(super) fn is_hopeless(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || self.is(StatusCode::UNAUTHORIZED)
    }

    /// Whether the same request may be answered a moment later.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || self.is(StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl Api {
    pub(super) fn new(client: Client, base: Url, user: User) -> Self {
        Self {
            client,
            base,
            user,
            tries: 1,
        }
    }

    /// The same, which tries again while the gateway is away or overloaded. A change may then be made
    /// by a request whose answer got lost, and the next one find it made.
    pub(super) fn with_tries(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// An object and its version.
    pub(super) async fn get<T: for<'de> Deserialize<'de>>(
        &self,
        resource: Resource<'_>,
    ) -> Result<Found<T>, ApiError> {
        let answer = self.send(self.request(Method::GET, resource, &[])?).await?;
        Ok(Found {
            object: answer.parse()?,
            version: answer.version,
        })
    }

    /// A part of a collection; a filter that fits nothing is answered with 404.
    pub(super) async fn search(
        &self,
        collection: Resource<'_>,
        query: &[(&str, String)],
    ) -> Result<Page, ApiError> {
        let request = self.request(Method::GET, collection, query)?;
        self.send(request).await?.parse()
    }

    /// Creates an object and returns what the API says of it: its id.
    pub(super) async fn create(
        &self,
        resource: Resource<'_>,
        object: &Members,
    ) -> Result<Members, ApiError> {
        let request = self.request(Method::POST, resource, &[])?.json(object);
        self.send(request).await?.parse()
    }

    /// Replaces an object, if it has the version `expected` (or whichever).
    pub(super) async fn replace<T: serde::Serialize>(
        &self,
        resource: Resource<'_>,
        object: &T,
        expected: Option<&str>,
    ) -> Result<(), ApiError> {
        let request = self.request(Method::PUT, resource, &[])?.json(object);
        self.send(if_match(request, expected)).await.map(drop)
    }

    /// Removes an object, if it has the version `expected` (or whichever).
    pub(super) async fn delete(
        &self,
        resource: Resource<'_>,
        expected: Option<&str>,
    ) -> Result<(), ApiError> {
        let request = self.request(Method::DELETE, resource, &[])?;
        self.send(if_match(request, expected)).await.map(drop)
    }

    fn request(
        &self,
        method: Method,
        resource: Resource<'_>,
        query: &[(&str, String)],
    ) -> Result<RequestBuilder, ApiError> {
        let url = resource.url(&self.base);
        let mut url = url.ok_or_else(|| ApiError::Id(resource.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let User { name, password } = &self.user;
        Ok(self
            .client
            .request(method, url)
            .basic_auth(name, Some(password)))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, ApiError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..self.tries {
            let Some(copy) = request.try_clone() else {
                break;
            };
            match self.send_once(copy).await {
                Err(error) if error.is_passing() => sleep(pause).await,
                done => return done,
            }
            pause *= 2;
        }
        self.send_once(request).await
    }

    async fn send_once(&self, request: RequestBuilder) -> Result<Answer, ApiError> {
        let unreachable = |error: reqwest::Error| ApiError::Unreachable {
            url: self.base.clone(),
            reason: root_cause(&error),
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let version = response.headers().get(ETAG);
        let version = version.and_then(|version| version.to_str().ok());
        let mut answer = Answer {
            url: response.url().clone(),
            version: version.unwrap_or_default().to_owned(),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.body.len() + chunk.len() > ANSWER {
                return Err(answer.unintelligible("it says too much".to_owned()));
            }
            answer.body.extend_from_slice(&chunk);
        }
        match status.is_success() {
            true => Ok(answer),
            false => Err(answer.refusal(status)),
        }
    }
}

fn if_match(request: RequestBuilder, expected: Option<&str>) -> RequestBuilder {
    match expected {
        Some(version) => request.header(IF_MATCH, version),
        None => request,
    }
}

struct Answer {
    url: Url,
    version: String,
    body: Vec<u8>,
}

impl Answer {
    fn parse<T: for<'de> Deserialize<'de>>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| self.unintelligible(error.to_string()))
    }

    fn unintelligible(&self, reason: String) -> ApiError {
        let url = self.url.clone();
        ApiError::Unintelligible { url, reason }
    }

    fn refusal(self, status: StatusCode) -> ApiError {
        #[derive(Deserialize)]
        struct Body {
            error: String,
        }
        let text = match serde_json::from_slice::<Body>(&self.body) {
            Ok(Body { error }) => error,
            Err(_) => format!("{} cannot be had", self.url.path()),
        };
        let text = match status {
            StatusCode::UNAUTHORIZED => "the gateway does not know this user and password".into(),
            _ => text,
        };
        ApiError::Refused { status, text }
    }
}

/// What is under `error sending request`.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
