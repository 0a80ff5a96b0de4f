//! The demonstration's back-end application.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tokio::time::timeout;
use weir_amqp_engine::{Body, ClientSasl, Message, Outcome};
use weir_amqp_transport::{Client, ClientOptions, Receiver};

use super::TENANT;
use crate::app::Addresses;
use crate::application::{Gateway, Order};
use crate::secrets::Login;

/// Messages that may be on their way to the application at a time.
const CREDIT: u32 = 100;
/// For messages to arrive that were acknowledged.
const ARRIVAL: Duration = Duration::from_secs(10);
/// For a device to answer a command, seconds.
const ANSWER: u32 = 10;

/// An application that is connected, and what it has received.
pub(super) struct Application {
    gateway: Gateway,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    /// What has arrived, as [`Arrival::text`] says it.
    arrived: BTreeSet<String>,
    /// Devices that take commands.
    reachable: BTreeSet<String>,
}

/// A message that was printed and accepted.
struct Arrival {
    device: String,
    payload: String,
    /// Seconds that the device takes commands for, -1 until it says otherwise.
    ttd: Option<i64>,
}

/// What arrives when a device begins to take commands (`ttd` -1) or ends that (0).
pub(super) fn notification(device: &str, ttd: i64) -> String {
    format!("{device}: ttd {ttd}")
}

impl Arrival {
    /// What tells it from the others: its payload, if it has one.
    fn text(&self) -> String {
        match self.ttd {
            Some(ttd) if self.payload.is_empty() => notification(&self.device, ttd),
            _ => self.payload.clone(),
        }
    }
}

impl Application {
    /// Starts consuming telemetry and events; they are printed from now on.
    pub(super) async fn start(addresses: Addresses, login: &Login) -> anyhow::Result<Self> {
        let sasl = ClientSasl::Plain {
            username: login.username.clone(),
            password: login.password.clone(),
        };
        let (host, port) = (addresses.amqp.ip().to_string(), addresses.amqp.port());
        let client = Client::connect(ClientOptions::new(host, port, sasl)).await;
        let client = client.context("the application cannot connect")?;
        let gateway = Gateway::new(client, login.username.clone());
        let (arrived, arrivals) = mpsc::unbounded_channel();
        for endpoint in ["telemetry", "event"] {
            let address = format!("{endpoint}/{TENANT}");
            let receiver = gateway.receiver(&address, CREDIT.into()).await?;
            tokio::spawn(consume(receiver, arrived.clone()));
        }
        Ok(Self {
            gateway,
            arrivals,
            arrived: BTreeSet::new(),
            reachable: BTreeSet::new(),
        })
    }

    /// Waits until the device takes commands, sends it one, and prints its answer.
    ///
    /// # Errors
    /// If the command does not reach the device, or it does not do as it is told.
    pub(super) async fn command(&mut self, device: &str) -> anyhow::Result<()> {
        while !self.reachable.contains(device) {
            self.next().await?;
        }
        let (name, payload) = ("set-interval", r#"{"seconds":30}"#);
        let mut out = io::stdout();
        writeln!(
            out,
            "{:<15} device={device} command={name} payload={payload}",
            format!("command/{TENANT}")
        )?;
        let order = Order {
            tenant: TENANT,
            device,
            name,
            content_type: Some("application/json"),
            payload: Some(payload.as_bytes()),
            wait: Some(ANSWER),
        };
        let report = order.send(&self.gateway).await?;
        let answer = report.answer();
        let answer = answer.with_context(|| format!("the command to {device} failed"))?;
        writeln!(out, "{:<15} {answer}", "answer")?;
        Ok(())
    }

    /// Waits until all of these have arrived. From then on nothing is remembered, only printed.
    ///
    /// # Errors
    /// If some do not, which are named.
    pub(super) async fn arrived(&mut self, expected: &BTreeSet<String>) -> anyhow::Result<()> {
        let all = async {
            while !self.arrived.is_superset(expected) {
                self.next().await?;
            }
            anyhow::Ok(())
        };
        // Those that are missing are told below.
        let _ = timeout(ARRIVAL, all).await;
        self.arrivals.close();
        let missing: Vec<_> = expected.difference(&self.arrived).collect();
        match missing.len() {
            0 => Ok(()),
            count => bail!(
                "{count} of {} messages did not arrive: {missing:?}",
                expected.len()
            ),
        }
    }

    async fn next(&mut self) -> anyhow::Result<()> {
        let arrival = self.arrivals.recv().await;
        let arrival = arrival.context("the application's connection is over")?;
        self.arrived.insert(arrival.text());
        match arrival.ttd {
            Some(0) => self.reachable.remove(&arrival.device),
            Some(_) => self.reachable.insert(arrival.device),
            None => false,
        };
        Ok(())
    }
}

async fn consume(mut receiver: Receiver, arrived: mpsc::UnboundedSender<Arrival>) {
    while let Some(received) = receiver.receive().await {
        match Message::decode(received.message.clone()) {
            Ok(message) => {
                // Printed before it is settled: what the device sees acknowledged can be seen here.
                let arrival = print(&message);
                received.settle(Outcome::Accepted);
                // Nobody asks for it any more when the demonstration is over.
                let _ = arrived.send(arrival);
            }
            Err(error) => {
                tracing::error!(%error, "the application cannot read a message");
                received.settle(Outcome::Released);
            }
        }
    }
}

fn print(message: &Message) -> Arrival {
    let payload = match &message.body {
        Body::Data(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Body::Empty | Body::Sequence(_) | Body::Value(_) => String::new(),
    };
    let own = &message.application_properties;
    let text = |name| own.string(name).unwrap_or("–");
    let number = |name| own.integer(name);
    let ttd = number("ttd").map(|ttd| format!(" ttd={ttd}"));
    let properties = &message.properties;
    let line = format!(
        "{to:<15} device={device} qos={qos} content-type={kind} adapter={adapter}{ttd} payload={payload}",
        to = properties.to.as_deref().unwrap_or("–"),
        device = text("device_id"),
        qos = number("qos").map_or_else(|| "–".to_owned(), |qos| qos.to_string()),
        kind = properties.content_type.as_deref().unwrap_or("–"),
        adapter = text("orig_adapter"),
        ttd = ttd.unwrap_or_default(),
    );
    // A terminal that is gone ends the demonstration by its own signal.
    let _ = writeln!(io::stdout(), "{line}");
    Arrival {
        device: text("device_id").to_owned(),
        payload,
        ttd: number("ttd"),
    }
}
