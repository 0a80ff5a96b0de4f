//! The gateway, and an AMQP 1.0 consumer that settles at once.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context as TaskContext;
use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{AttachRequest, ClientSasl, Config, Connection, Event, Outcome};
use weir_amqp_transport::{Peer, drive};

use crate::devices::Target;
use crate::gateway::Gateway;
use crate::messages::Subject;
use crate::process::Server;

const DEVICES: usize = 50;
const CREDIT: u32 = 2000;
const TENANT: &str = "bench";

pub(crate) struct Weir {
    gateway: Gateway,
    mqtt: SocketAddr,
    delivered: Arc<AtomicU64>,
}

/// Starts the gateway, registers the devices and attaches the consumer.
pub(crate) async fn start(binary: &Path, workers: usize) -> anyhow::Result<Weir> {
    let gateway = Gateway::start(binary, workers)?;
    let api = gateway.api()?;
    api.call(Method::POST, &format!("tenants/{TENANT}"), json!({}))
        .await?;
    for number in 0..DEVICES {
        api.provision(TENANT, &format!("device-{number}")).await?;
    }
    let delivered = Arc::new(AtomicU64::new(0));
    let application = gateway.login("application")?;
    let northbound = gateway.address("northbound.amqp")?;
    consume(northbound, application, delivered.clone()).await?;
    Ok(Weir {
        mqtt: gateway.address("mqtt")?,
        gateway,
        delivered,
    })
}

impl Subject for Weir {
    fn name(&self) -> &'static str {
        "weir"
    }

    fn server(&self) -> &Server {
        &self.gateway.server
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
