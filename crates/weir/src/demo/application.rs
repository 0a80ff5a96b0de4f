//! The demonstration's back-end application.

use std::io::{self, Write as _};

use anyhow::Context as _;
use tokio::sync::mpsc;
use weir_amqp_engine::{Body, ClientSasl, Message, Outcome, Value};
use weir_amqp_transport::{Client, ClientOptions, Receiver};

use super::TENANT;
use crate::app::Addresses;
use crate::secrets::Login;

/// Messages that may be on their way to the application at a time.
const CREDIT: u32 = 100;

/// Starts consuming telemetry and events; each payload that was printed goes to `arrived` too.
/// It ends with the client.
pub(super) async fn start(
    addresses: Addresses,
    login: &Login,
    arrived: &mpsc::UnboundedSender<String>,
) -> anyhow::Result<Client> {
    let sasl = ClientSasl::Plain {
        username: login.username.clone(),
        password: login.password.clone(),
    };
    let (host, port) = (addresses.amqp.ip().to_string(), addresses.amqp.port());
    let client = Client::connect(ClientOptions::new(host, port, sasl)).await;
    let client = client.context("the application cannot connect")?;
    for endpoint in ["telemetry", "event"] {
        let address = format!("{endpoint}/{TENANT}");
        let receiver = client.receiver(&address, CREDIT).await;
        let receiver =
            receiver.with_context(|| format!("the application cannot consume {address}"))?;
        tokio::spawn(consume(receiver, arrived.clone()));
    }
    Ok(client)
}

async fn consume(mut receiver: Receiver, arrived: mpsc::UnboundedSender<String>) {
    while let Some(received) = receiver.receive().await {
        match Message::decode(received.message.clone()) {
            Ok(message) => {
                // Printed before it is settled: what the device sees acknowledged can be seen here.
                let payload = print(&message);
                received.settle(Outcome::Accepted);
                let _ = arrived.send(payload);
            }
            Err(error) => {
                tracing::error!(%error, "the application cannot read a message");
                received.settle(Outcome::Released);
            }
        }
    }
}

fn print(message: &Message) -> String {
    let payload = match &message.body {
        Body::Data(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Body::Empty | Body::Sequence(_) | Body::Value(_) => String::new(),
    };
    let property = |name| match message.application_properties.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        _ => "–".to_owned(),
    };
    let properties = &message.properties;
    let line = format!(
        "{to:<15} device={device} qos={qos} content-type={kind} adapter={adapter} payload={payload}",
        to = properties.to.as_deref().unwrap_or("–"),
        device = property("device_id"),
        qos = property("qos"),
        kind = properties.content_type.as_deref().unwrap_or("–"),
        adapter = property("orig_adapter"),
    );
    // A terminal that is gone ends the demonstration by its own signal.
    let _ = writeln!(io::stdout(), "{line}");
    payload
}
