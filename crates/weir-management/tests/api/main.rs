//! The API over a real socket, row by row of its contract.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod access;
mod connections;
mod credentials;
mod objects;
mod requests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_core::{Accounts, ConnectionBudget, PasswordSecret, PasswordVerifier, Role};
use weir_management::{Management, ManagementConfig};
use weir_registry::SqlRegistry;

/// A management API of its own, and a client of it.
struct Given {
    address: SocketAddr,
    client: Client,
    registry: SqlRegistry,
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
        let file = folder.path().join("registry.db");
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let registry = SqlRegistry::open(&url).await.unwrap();
        let mut accounts = Accounts::new(PasswordVerifier::new(1));
        accounts.add(Role::Operator, "op", PasswordSecret::of_random("pw"));
        accounts.add(Role::Application, "app", PasswordSecret::of_random("pw"));
        let config = ManagementConfig {
            port: 0,
            bcrypt_cost: 5,
            ..config
        };
        let built = Management::build(config, registry.clone(), Arc::new(accounts));
        let management = built.await.unwrap();
        let address = management.local_addr();
        let stop = CancellationToken::new();
        let budget = ConnectionBudget::new(connections);
        let drain = Duration::from_secs(10);
        Self {
            address,
            client: Client::new(),
            registry,
            server: tokio::spawn(management.run(budget, stop.clone(), drain)),
            stop,
            _folder: folder,
        }
    }

    /// A request of the operator.
    fn request(&self, verb: &str, path: &str) -> RequestBuilder {
        self.anonymous(verb, path)
            .header("Authorization", "Basic b3A6cHc=")
    }

    fn anonymous(&self, verb: &str, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
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
                let body = (*body).to_owned();
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
