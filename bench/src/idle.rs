//! The memory of idle connections.
//!
//! MQTT devices connect and stay. Resident memory is read before, while nobody sends, while further
//! devices publish telemetry that a consumer settles, when all have gone, and when as many as before
//! have come again, which tells memory that the allocator keeps from memory that is lost; once without
//! TLS and once with. What the kernel keeps per socket is not in it.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::consumer::Consumer;
use crate::devices::{self, Load, Target};
use crate::fleet::Fleet;
use crate::gateway::{Gateway, Settings};
use crate::measure::{Deliveries, mib};

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Idle connections; gateway and clients need an open file for each.
    #[arg(long, default_value_t = 10_000)]
    connections: u64,
    /// Further connections that publish, one message in flight each.
    #[arg(long, default_value_t = 1_000)]
    busy: u64,
    /// Messages that each of them publishes.
    #[arg(long, default_value_t = 200)]
    messages: u64,
    /// Devices that the connections share.
    #[arg(long, default_value_t = 100)]
    devices: usize,
    /// Threads of the gateway that carry messages.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

const TENANT: &str = "bench";

/// With TLS, and the bytes that a connection may take.
const CASES: [(bool, u64); 2] = [(false, 4 * 1024), (true, 24 * 1024)];

/// The allocator gives memory back some time after it is free.
const SETTLED: Duration = Duration::from_secs(3);

pub(crate) async fn run_all(binary: &Path, options: &Options) -> anyhow::Result<()> {
    println!(
        "{} idle MQTT connections of {} devices; then {} more publish with QoS 1",
        options.connections, options.devices, options.busy
    );
    println!(
        "{:<6} {:>10} {:>8} {:>8} {:>8} {:>9} {:>11} {:>11}",
        "",
        "before MiB",
        "idle MiB",
        "busy MiB",
        "gone MiB",
        "again MiB",
        "idle B/conn",
        "busy B/conn"
    );
    for (tls, target) in CASES {
        measure(binary, options, tls, target).await?;
    }
    Ok(())
}

async fn measure(binary: &Path, options: &Options, tls: bool, most: u64) -> anyhow::Result<()> {
    let settings = Settings {
        workers: options.workers,
        tls,
        keys: &[],
    };
    let gateway = Gateway::with(binary, settings)?;
    let mut fleet = Fleet::default();
    fleet.tenant(TENANT);
    let logins = fleet.devices(TENANT, "device", options.devices, &[]);
    fleet.import(&gateway).await?;
    let target = gateway.mqtt(tls, logins)?;
    let consumer = Consumer::of(&gateway, TENANT)?;
    consumer
        .start(Deliveries::default(), CancellationToken::new())
        .await?;
    let load = |connections: u64, each: u64| Load {
        topic: "telemetry",
        connections,
        window: 1,
        messages: connections * each,
    };
    // What is made once, at the first use, belongs to no connection.
    let warm = load(options.devices as u64, 20);
    devices::connect(&target, warm).await?.publish_all().await?;
    tokio::time::sleep(SETTLED).await;
    let before = gateway.server.resident()?;
    let idle_devices = devices::connect(&target, load(options.connections, 0)).await?;
    tokio::time::sleep(SETTLED).await;
    let idle = gateway.server.resident()?;
    let (busy, sent) = busy(&gateway, &target, load(options.busy, options.messages)).await?;
    drop(idle_devices);
    while gateway.connected().await? > 0.0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(SETTLED).await;
    let gone = gateway.server.resident()?;
    let idle_devices = devices::connect(&target, load(options.connections, 0)).await?;
    tokio::time::sleep(SETTLED).await;
    let again = gateway.server.resident()?;
    drop(idle_devices);
    let per = |bytes: u64, connections: u64| bytes.saturating_sub(before) / connections.max(1);
    let per_idle = per(idle, options.connections);
    println!(
        "{:<6} {:>10.1} {:>8.1} {:>8.1} {:>8.1} {:>9.1} {per_idle:>11} {:>11}   target {most}: {}",
        if tls { "TLS" } else { "plain" },
        mib(before),
        mib(idle),
        mib(busy),
        mib(gone),
        mib(again),
        per(busy, options.connections + options.busy),
        if per_idle <= most {
            "reached"
        } else {
            "MISSED"
        },
    );
    println!("       ({sent:.0} messages/s while busy)");
    Ok(())
}

/// The most memory while devices publish, and their messages a second.
async fn busy(gateway: &Gateway, target: &Target, load: Load) -> anyhow::Result<(u64, f64)> {
    let devices = devices::connect(target, load).await?;
    let start = Instant::now();
    let mut publishing = std::pin::pin!(devices.publish_all());
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut most = 0;
    loop {
        tokio::select! {
            done = &mut publishing => {
                done?;
                let rate = load.total() as f64 / start.elapsed().as_secs_f64();
                return Ok((most, rate));
            }
            _ = ticks.tick() => most = most.max(gateway.server.resident()?),
        }
    }
}
