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

use crate::devices::Target;
use crate::process::Server;
use crate::tls::Identity;

pub(crate) struct Gateway {
    pub(crate) server: Server,
    /// By the listeners' names.
    addresses: BTreeMap<String, SocketAddr>,
    credentials: toml::Table,
    settings: Settings,
    identity: Option<Identity>,
    pub(crate) binary: PathBuf,
    pub(crate) folder: TempDir,
}

/// What differs from the default settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    /// Whether the ports with TLS are open too.
    pub(crate) tls: bool,
    /// Further keys, as environment variables without `WEIR__`.
    pub(crate) keys: &'static [(&'static str, &'static str)],
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
        Self::with(
            binary,
            Settings {
                workers,
                tls: false,
                keys: &[],
            },
        )
    }

    pub(crate) fn with(binary: &Path, settings: Settings) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let binary = binary.canonicalize().with_context(|| {
            format!(
                "{} is not there; build it with cargo build --release",
                binary.display()
            )
        })?;
        let identity = match settings.tls {
            true => Some(Identity::write(folder.path())?),
            false => None,
        };
        Self::launch(binary, folder, settings, identity)
    }

    /// Stops it, and starts it anew with what is on its disk.
    pub(crate) fn restart(self) -> anyhow::Result<Self> {
        let Self {
            server,
            settings,
            identity,
            binary,
            folder,
            ..
        } = self;
        drop(server);
        Self::launch(binary, folder, settings, identity)
    }

    fn launch(
        binary: PathBuf,
        folder: TempDir,
        settings: Settings,
        identity: Option<Identity>,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(&binary);
        command
            .arg("serve")
            .current_dir(folder.path())
            .env("WEIR__LOG__FORMAT", "json")
            .env("WEIR__WORKERS", settings.workers.to_string())
            .stderr(Stdio::piped());
        let mut ports = 0;
        for section in ["HTTP", "MQTT", "MANAGEMENT", "NORTHBOUND__AMQP", "HEALTH"] {
            command.env(format!("WEIR__{section}__PORT"), "0");
            ports += 1;
            if identity.is_some() && section != "HEALTH" {
                command.env(format!("WEIR__{section}__TLS_PORT"), "0");
                ports += 1;
            }
        }
        if let Some(Identity {
            certificate, key, ..
        }) = &identity
        {
            command.env("WEIR__TLS__CERTIFICATE", certificate);
            command.env("WEIR__TLS__KEY", key);
        }
        for (key, value) in settings.keys {
            command.env(format!("WEIR__{key}"), value);
        }
        let mut server = Server::start(&mut command)?;
        let addresses = addresses(&mut server, ports)?;
        let credentials = std::fs::read_to_string(folder.path().join("weir-data/credentials"))?;
        Ok(Self {
            server,
            addresses,
            credentials: credentials.parse()?,
            settings,
            identity,
            binary,
            folder,
        })
    }

    pub(crate) fn address(&self, listener: &str) -> anyhow::Result<SocketAddr> {
        let address = self.addresses.get(listener).copied();
        address.with_context(|| format!("{listener} is not listening"))
    }

    /// Where MQTT devices connect, with TLS or without.
    pub(crate) fn mqtt(&self, tls: bool, logins: Vec<(String, String)>) -> anyhow::Result<Target> {
        let identity = self.identity.as_ref().filter(|_| tls);
        Ok(Target {
            address: self.address(if tls { "mqtt-tls" } else { "mqtt" })?,
            tls: identity.map(|identity| identity.connector.clone()),
            logins,
        })
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

    /// How many devices have tried to connect so far, by what became of it.
    pub(crate) async fn attempts(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let mut attempts = BTreeMap::new();
        for (labels, value) in self.series("hono_connections_attempts_total").await? {
            let outcome = labels
                .split_once("outcome=\"")
                .and_then(|(_, rest)| rest.split_once('"'));
            let (outcome, _) = outcome.context("an attempt without an outcome")?;
            *attempts.entry(outcome.to_owned()).or_default() += value;
        }
        Ok(attempts)
    }

    /// How many devices are connected that have logged in.
    pub(crate) async fn connected(&self) -> anyhow::Result<f64> {
        let series = self.series("hono_connections_authenticated").await?;
        Ok(series.iter().map(|(_, value)| value).sum())
    }

    /// Labels and value of each series of that name.
    async fn series(&self, name: &str) -> anyhow::Result<Vec<(String, f64)>> {
        let url = format!("http://{}/prometheus", self.address("health")?);
        let text = reqwest::get(url).await?.text().await?;
        let series = text.lines().filter_map(|line| {
            let (labels, value) = line
                .strip_prefix(name)?
                .strip_prefix('{')?
                .rsplit_once(' ')?;
            Some((labels.to_owned(), value.parse().ok()?))
        });
        Ok(series.collect())
    }

    /// Imports a file of tenants and devices with `weir apply`.
    pub(crate) async fn apply(&self, file: &Path) -> anyhow::Result<()> {
        let Api {
            address, operator, ..
        } = self.api()?;
        let (user, password) = operator;
        let mut command = tokio::process::Command::new(&self.binary);
        command
            .args(["apply", "-f"])
            .arg(file)
            .args(["--url", &format!("http://{address}")])
            .env("WEIR_USER", format!("{user}:{password}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let status = command.status().await?;
        ensure!(status.success(), "weir apply failed");
        Ok(())
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
fn addresses(server: &mut Server, ports: usize) -> anyhow::Result<BTreeMap<String, SocketAddr>> {
    let stderr = server.child().stderr.take().context("no log")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut addresses = BTreeMap::new();
    while addresses.len() < ports {
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
