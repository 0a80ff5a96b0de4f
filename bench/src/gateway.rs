//! A gateway process of its own: default settings, free ports, a temporary folder.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::process::Server;

pub(crate) struct Gateway {
    pub(crate) server: Server,
    /// By the listeners' names.
    addresses: BTreeMap<String, SocketAddr>,
    credentials: toml::Table,
    pub(crate) binary: PathBuf,
    pub(crate) folder: TempDir,
}

/// An operator's access to the management API.
#[derive(Clone)]
pub(crate) struct Api {
    client: reqwest::Client,
    pub(crate) address: SocketAddr,
    pub(crate) operator: (String, String),
}

impl Gateway {
    pub(crate) fn start(binary: &Path, workers: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let binary = binary.canonicalize().with_context(|| {
            format!(
                "{} is not there; build it with cargo build --release",
                binary.display()
            )
        })?;
        let mut command = Command::new(&binary);
        command
            .arg("serve")
            .current_dir(folder.path())
            .env("WEIR__LOG__FORMAT", "json")
            .env("WEIR__WORKERS", workers.to_string())
            .stderr(Stdio::piped());
        for section in ["HTTP", "MQTT", "MANAGEMENT", "HEALTH", "NORTHBOUND__AMQP"] {
            command.env(format!("WEIR__{section}__PORT"), "0");
        }
        let mut server = Server::start(&mut command)?;
        let addresses = addresses(&mut server)?;
        let credentials = std::fs::read_to_string(folder.path().join("weir-data/credentials"))?;
        Ok(Self {
            server,
            addresses,
            credentials: credentials.parse()?,
            binary,
            folder,
        })
    }

    pub(crate) fn address(&self, listener: &str) -> anyhow::Result<SocketAddr> {
        let address = self.addresses.get(listener).copied();
        address.context("not listening")
    }

    /// User and password of `application` or `operator`.
    pub(crate) fn login(&self, account: &str) -> anyhow::Result<(String, String)> {
        let part = |name| {
            Some(
                self.credentials
                    .get(account)?
                    .get(name)?
                    .as_str()?
                    .to_owned(),
            )
        };
        let login = part("username").zip(part("password"));
        login.context("no such account")
    }

    pub(crate) fn api(&self) -> anyhow::Result<Api> {
        Ok(Api {
            client: reqwest::Client::new(),
            address: self.address("management")?,
            operator: self.login("operator")?,
        })
    }
}

impl Api {
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> anyhow::Result<()> {
        let url = format!("http://{}/v1/{path}", self.address);
        let request = self.client.request(method, url).json(&body);
        let request = request.basic_auth(&self.operator.0, Some(&self.operator.1));
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(())
    }

    /// Registers a device whose password is `password`.
    pub(crate) async fn provision(&self, tenant: &str, id: &str) -> anyhow::Result<()> {
        self.call(Method::POST, &format!("devices/{tenant}/{id}"), json!({}))
            .await?;
        let set = json!([password_credential(id)]);
        self.call(Method::PUT, &format!("credentials/{tenant}/{id}"), set)
            .await
    }
}

/// A credential with a password that is hashed already.
pub(crate) fn password_credential(auth_id: &str) -> Value {
    let hash = STANDARD.encode(Sha256::digest("password"));
    let secrets = json!([{"hash-function": "sha-256", "pwd-hash": hash}]);
    json!({"type": "hashed-password", "auth-id": auth_id, "secrets": secrets})
}

/// Reads the real ports from the log.
fn addresses(server: &mut Server) -> anyhow::Result<BTreeMap<String, SocketAddr>> {
    let stderr = server.child().stderr.take().context("no log")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut addresses = BTreeMap::new();
    while addresses.len() < 5 {
        let Some(line) = lines.next() else {
            bail!("the gateway did not start")
        };
        let event: Value = serde_json::from_str(&line?)?;
        if let (Some(name), Some(address)) = (event["listener"].as_str(), event["address"].as_str())
        {
            addresses.insert(name.to_owned(), address.parse()?);
        }
    }
    // The log goes on; somebody has to read it.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(addresses)
}
