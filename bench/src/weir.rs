//! The gateway, and an AMQP 1.0 consumer that settles at once.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context as TaskContext;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{AttachRequest, ClientSasl, Config, Connection, Event, Outcome};
use weir_amqp_transport::{Peer, drive};

use crate::Subject;
use crate::devices::Target;
use crate::process::Server;

const DEVICES: usize = 50;
const CREDIT: u32 = 2000;
const TENANT: &str = "bench";

pub(crate) struct Weir {
    server: Server,
    mqtt: SocketAddr,
    delivered: Arc<AtomicU64>,
    _folder: TempDir,
}

/// Starts the gateway, registers the devices and attaches the consumer.
pub(crate) async fn start(binary: &Path, workers: usize) -> anyhow::Result<Weir> {
    let folder = tempfile::tempdir()?;
    let binary = binary.canonicalize().with_context(|| {
        format!(
            "{} is not there; build it with cargo build --release",
            binary.display()
        )
    })?;
    let mut command = Command::new(binary);
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
    let address = |name: &str| addresses.get(name).copied().context("not listening");
    let credentials = std::fs::read_to_string(folder.path().join("weir-data/credentials"))?;
    let credentials: toml::Table = credentials.parse()?;
    let login = |account: &str| -> Option<(String, String)> {
        let part = |name| Some(credentials.get(account)?.get(name)?.as_str()?.to_owned());
        Some((part("username")?, part("password")?))
    };
    provision(
        address("management")?,
        &login("operator").context("operator")?,
    )
    .await?;
    let delivered = Arc::new(AtomicU64::new(0));
    let application = login("application").context("application")?;
    consume(address("northbound.amqp")?, application, delivered.clone()).await?;
    Ok(Weir {
        server,
        mqtt: address("mqtt")?,
        delivered,
        _folder: folder,
    })
}

impl Subject for Weir {
    fn name(&self) -> &'static str {
        "weir"
    }

    fn server(&self) -> &Server {
        &self.server
    }

    fn devices(&self) -> Target {
        let login = |number| (format!("device-{number}@{TENANT}"), "password".to_owned());
        Target {
            address: self.mqtt,
            logins: (0..DEVICES).map(login).collect(),
        }
    }

    fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }
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

async fn provision(api: SocketAddr, operator: &(String, String)) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let call = async |method: Method, path: String, body: Value| {
        let request = client.request(method, format!("http://{api}/v1/{path}"));
        let answer = request
            .basic_auth(&operator.0, Some(&operator.1))
            .json(&body)
            .send()
            .await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        Ok(())
    };
    call(Method::POST, format!("tenants/{TENANT}"), json!({})).await?;
    let hash = STANDARD.encode(Sha256::digest("password"));
    for number in 0..DEVICES {
        let id = format!("device-{number}");
        call(Method::POST, format!("devices/{TENANT}/{id}"), json!({})).await?;
        let secrets = json!([{"hash-function": "sha-256", "pwd-hash": hash}]);
        let credentials = json!([{"type": "hashed-password", "auth-id": id, "secrets": secrets}]);
        call(
            Method::PUT,
            format!("credentials/{TENANT}/{id}"),
            credentials,
        )
        .await?;
    }
    Ok(())
}

/// Settles every message in the moment it arrives: what is measured is the gateway.
struct Settler {
    delivered: Arc<AtomicU64>,
    attached: Arc<Notify>,
    since_credit: u32,
}

async fn consume(
    address: SocketAddr,
    (username, password): (String, String),
    delivered: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let sasl = ClientSasl::Plain { username, password };
    let connection = Connection::client(Config::default(), sasl, Instant::now());
    let attached = Arc::new(Notify::new());
    let peer = Settler {
        delivered,
        attached: attached.clone(),
        since_credit: 0,
    };
    tokio::spawn(drive(stream, connection, peer, CancellationToken::new()));
    attached.notified().await;
    Ok(())
}

impl Peer for Settler {
    type Token = ();

    fn handle_event(&mut self, now: Instant, connection: &mut Connection<()>, event: Event<()>) {
        match event {
            Event::Opened(_) => {
                connection.begin(now);
            }
            Event::SessionBegun { session } => {
                let address = format!("telemetry/{TENANT}");
                connection.attach(session, AttachRequest::receiver("bench", address, CREDIT));
            }
            Event::Attached { .. } => self.attached.notify_one(),
            Event::Message { link, delivery, .. } => {
                connection.settle(link, delivery, &Outcome::Accepted);
                self.delivered.fetch_add(1, Ordering::Relaxed);
                self.since_credit += 1;
                if self.since_credit >= CREDIT / 2 {
                    self.since_credit = 0;
                    connection.grant_credit(link, CREDIT);
                }
            }
            _ => {}
        }
    }

    fn poll_progress(&mut self, _: &mut TaskContext<'_>, _: Instant, _: &mut Connection<()>) {}
}
