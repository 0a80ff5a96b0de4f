//! The gateway, and an AMQP 1.0 consumer that settles at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::task::Context as TaskContext;
use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{AttachRequest, ClientSasl, Config, Connection, Event, LinkId, Outcome};
use weir_amqp_transport::{Peer, drive};

use crate::devices::{PAYLOAD, Target};
use crate::gateway::Gateway;
use crate::measure::Deliveries;
use crate::messages::Subject;
use crate::process::Server;

const DEVICES: usize = 50;
const CREDIT: u32 = 2000;
const TENANT: &str = "bench";
const ADDRESSES: [&str; 2] = ["telemetry", "event"];

pub(crate) struct Weir {
    gateway: Gateway,
    mqtt: SocketAddr,
    deliveries: Deliveries,
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
    let deliveries = Deliveries::default();
    let application = gateway.login("application")?;
    let northbound = gateway.address("northbound.amqp")?;
    consume(northbound, application, deliveries.clone()).await?;
    Ok(Weir {
        mqtt: gateway.address("mqtt")?,
        gateway,
        deliveries,
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

    fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }
}

/// Settles every message in the moment it arrives: what is measured is the gateway.
struct Settler {
    deliveries: Deliveries,
    attached: Arc<Notify>,
    attached_links: usize,
    /// By link: deliveries since credit was given last.
    since_credit: HashMap<LinkId, u32>,
}

async fn consume(
    address: SocketAddr,
    (username, password): (String, String),
    deliveries: Deliveries,
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let sasl = ClientSasl::Plain { username, password };
    let connection = Connection::client(Config::default(), sasl, Instant::now());
    let attached = Arc::new(Notify::new());
    let peer = Settler {
        deliveries,
        attached: attached.clone(),
        attached_links: 0,
        since_credit: HashMap::new(),
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
                for address in ADDRESSES.map(|endpoint| format!("{endpoint}/{TENANT}")) {
                    let name = address.clone();
                    connection.attach(session, AttachRequest::receiver(name, address, CREDIT));
                }
            }
            Event::Attached { .. } => {
                self.attached_links += 1;
                if self.attached_links == ADDRESSES.len() {
                    self.attached.notify_one();
                }
            }
            Event::Message {
                link,
                delivery,
                message,
                ..
            } => {
                connection.settle(link, delivery, &Outcome::Accepted);
                // The payload comes last.
                let payload = message.len().saturating_sub(PAYLOAD);
                self.deliveries.add(&message[payload..]);
                let since_credit = self.since_credit.entry(link).or_default();
                *since_credit += 1;
                if *since_credit >= CREDIT / 2 {
                    *since_credit = 0;
                    connection.grant_credit(link, CREDIT);
                }
            }
            _ => {}
        }
    }

    fn poll_progress(&mut self, _: &mut TaskContext<'_>, _: Instant, _: &mut Connection<()>) {}
}
