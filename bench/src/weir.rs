//! The gateway as a subject: devices and a consumer.

use std::net::SocketAddr;
use std::path::Path;

use reqwest::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::consumer::Consumer;
use crate::devices::Target;
use crate::gateway::Gateway;
use crate::measure::Deliveries;
use crate::messages::Subject;
use crate::process::Server;

const DEVICES: usize = 50;
const TENANT: &str = "bench";

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
    let consumer = Consumer::of(&gateway, TENANT)?;
    consumer
        .start(deliveries.clone(), CancellationToken::new())
        .await?;
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
            tls: None,
            logins: (0..DEVICES).map(login).collect(),
        }
    }

    fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }
}
