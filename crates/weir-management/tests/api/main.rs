//! The API over a real socket, row by row of its contract: with an SQLite file, or with the database
//! that `WEIR_TEST_POSTGRES_URL` names, which tests then share.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod access;
mod anchors;
mod certificates;
mod connections;
mod credentials;
mod devices;
mod limits;
mod log;
mod objects;
mod openapi;
mod requests;
mod search;
mod secrets;
mod tenants;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_core::{Accounts, ConnectionBudget, PasswordSecret, PasswordVerifier, Role};
use weir_management::{Management, ManagementConfig};
use weir_metrics::Metrics;
use weir_registry::SqlRegistry;

/// A management API of its own, and a client of it.
struct Given {
    /// A tenant's id that no other test has; `{t}` in paths and in the bodies of rows.
    tenant: String,
    address: SocketAddr,
    client: Client,
    registry: SqlRegistry,
    metrics: Metrics,
    log: Arc<log::Kept>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    _folder: TempDir,
}

impl Given {
    async fn new() -> Self {
        Self::with(ManagementConfig::default(), 100).await
    }

    async fn with(config: ManagementConfig, connections: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = SqlRegistry::open(&url(&folder)).await.unwrap();
        let mut accounts = Accounts::new(PasswordVerifier::new(1));
        accounts.add(Role::Operator, "op", PasswordSecret::of_random("pw"));
        accounts.add(Role::Application, "app", PasswordSecret::of_random("pw"));
        let config = ManagementConfig {
            port: 0,
            bcrypt_cost: 5,
            ..config
        };
        let (accounts, metrics) = (Arc::new(accounts), Metrics::new("test", Instant::now()));
        let log = Arc::new(log::Kept::default());
        let (kept, known) = (log.clone(), metrics.clone());
        let built = Management::build(config, None, registry.clone(), accounts, known, kept);
        let management = built.await.unwrap();
        let address = management.local_addr();
        let stop = CancellationToken::new();
        let budget = ConnectionBudget::new(connections);
        let drain = Duration::from_secs(10);
        Self {
            tenant: unique("acme"),
            address,
            client: Client::new(),
            registry,
            metrics,
            log,
            server: tokio::spawn(management.run(budget, stop.clone(), drain)),
            stop,
            _folder: folder,
        }
    }

    /// With a tenant that has a device `4711`.
    async fn with_device() -> Self {
        let given = Self::new().await;
        given.ok("POST", "/v1/tenants/{t}", None).await;
        given.ok("POST", "/v1/devices/{t}/4711", None).await;
        given
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{t}", &self.tenant)
    }

    /// A request of the operator.
    fn request(&self, verb: &str, path: &str) -> RequestBuilder {
        self.anonymous(verb, path)
            .header("Authorization", "Basic b3A6cHc=")
    }

    fn anonymous(&self, verb: &str, path: &str) -> RequestBuilder {
        let url = format!("http://{}{}", self.address, self.fill(path));
        self.client
            .request(Method::from_bytes(verb.as_bytes()).unwrap(), url)
    }

    async fn send(&self, verb: &str, path: &str, body: Option<Value>) -> Response {
        let mut request = self.request(verb, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    /// Sends what has to succeed.
    async fn ok(&self, verb: &str, path: &str, body: Option<Value>) -> Response {
        let response = self.send(verb, path, body).await;
        assert!(
            response.status().is_success(),
            "{verb} {path}: {response:?}"
        );
        response
    }

    /// The object at `path`.
    async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, None).await.json().await.unwrap()
    }

    /// Checks verb, path and body against the status and a part of the error's text.
    async fn rows(&self, rows: &[(&str, &str, &str, u16, &str)]) {
        for (verb, path, body, status, text) in rows {
            let mut request = self.request(verb, path);
            if !body.is_empty() {
                let body = self.fill(body);
                request = request
                    .header("Content-Type", "application/json")
                    .body(body);
            }
            let response = request.send().await.unwrap();
            let row = format!("{verb} {path} {body}");
            assert_eq!(response.status().as_u16(), *status, "{row}");
            if *status >= 400 {
                let error = error(response).await;
                assert!(error.contains(text), "{row}: {error}");
            }
        }
    }
}

/// The database's URL.
fn url(folder: &TempDir) -> String {
    let file = folder.path().join("registry.db");
    let sqlite = format!("sqlite://{}?mode=rwc", file.display());
    std::env::var("WEIR_TEST_POSTGRES_URL").unwrap_or(sqlite)
}

/// A name that no other test has.
fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4())
}

/// The text of an error, whose form is checked.
async fn error(response: Response) -> String {
    assert_eq!(
        response.headers()["content-type"],
        "application/json; charset=utf-8"
    );
    let body: Value = response.json().await.unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    body["error"].as_str().unwrap().to_owned()
}

fn header(response: &Response, name: impl reqwest::header::AsHeaderName) -> String {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap()).to_owned()
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}
