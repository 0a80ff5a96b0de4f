//! Connections against a registry and a back end that do what a test tells them.

mod anonymous;
mod client;
mod command;
mod connect;
mod cost;
mod count;
mod end;
mod error;
mod fakes;
mod independent;
mod mutation;
mod publish;
mod response;
mod subscribe;
mod token;
mod undelivered;
mod v5;
mod violation;
mod websocket;

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_core::{ConnectionBudget, PasswordVerifier, Pipeline, PipelineOptions};
use weir_metrics::Metrics;

use crate::session::Arrival;
use crate::{Adapter, MqttConfig};
use client::Client;
use fakes::{Back, FakeRegistry};

/// How long a test waits for what has to come.
const SOON: Duration = Duration::from_secs(20);

/// A client that there is room for, without TLS.
const ARRIVED: Arrival = Arrival {
    has_place: true,
    tls: None,
};

/// An adapter on a free port with everything behind it.
struct Gateway {
    address: std::net::SocketAddr,
    pipeline: Pipeline,
    registry: std::sync::Arc<FakeRegistry>,
    back: Back,
    metrics: Metrics,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

/// A pipeline of fakes.
fn pipeline() -> (Pipeline, std::sync::Arc<FakeRegistry>, Back, Metrics) {
    let registry = std::sync::Arc::new(FakeRegistry::default());
    let (back, northbound) = Back::new();
    let metrics = Metrics::new("test", Instant::now());
    let pipeline = Pipeline::new(
        registry.clone(),
        northbound,
        PasswordVerifier::new(1),
        metrics.clone(),
        PipelineOptions::default(),
    );
    (pipeline, registry, back, metrics)
}

impl Gateway {
    async fn start() -> Self {
        Self::with(MqttConfig::default(), 100).await
    }

    async fn with(config: MqttConfig, connections: usize) -> Self {
        let (pipeline, registry, back, metrics) = pipeline();
        let config = MqttConfig { port: 0, ..config };
        let adapter = Adapter::build(config, None, pipeline.clone())
            .await
            .unwrap();
        let address = adapter.local_addr();
        let stop = CancellationToken::new();
        let budget = ConnectionBudget::new(connections);
        let served = tokio::spawn(adapter.run(budget, stop.clone(), SOON));
        Self {
            address,
            pipeline,
            registry,
            back,
            metrics,
            stop,
            served,
        }
    }

    /// A connection on which nothing has been sent.
    async fn client(&self) -> Client {
        Client::new(self.address).await
    }

    /// A connection of device 4711 that was accepted.
    async fn connected(&self, version: u8) -> Client {
        self.connected_as("sensor1@acme", version).await
    }

    async fn connected_as(&self, username: &str, version: u8) -> Client {
        let mut client = self.client().await;
        client
            .send(&client::connect(version, username, "secret"))
            .await;
        client.expect_connack(0).await;
        client
    }

    /// The lines of the exposition that hold all of `parts`.
    fn series(&self, parts: &[&str]) -> Vec<String> {
        let text = weir_metrics::render(&self.metrics, Instant::now());
        let matches = |line: &&str| parts.iter().all(|part| line.contains(part));
        text.lines().filter(matches).map(str::to_owned).collect()
    }
}
