//! All devices come back at once.
//!
//! Devices whose passwords are hashed with bcrypt connect as fast as they can, and try again a second
//! after they were refused; devices that are connected already publish with QoS 1 at a steady rate.
//! Once cold: the gateway has just started and remembers nobody. Then warm: all disconnect and come
//! back, and the gateway remembers those that it has checked within the last minute.
//!
//! Devices that share a hash share its check too, so the number of hashes says how much there is to
//! check. Connections that overflow the gateway's listen queue are counted too: whoever sees many
//! connects that take one, three or seven seconds is looking at them.

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::consumer::Consumer;
use crate::devices::{LogIn, Socket, Target};
use crate::fleet::{self, Fleet};
use crate::gateway::{Gateway, Settings};
use crate::measure::{Latencies, Percentiles, listen_overflows};
use crate::probe::{self, Group, Habit, Seen};
use crate::side::{Priority, Side};

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Devices that connect at once; gateway and clients need an open file for each.
    #[arg(long, default_value_t = 10_000)]
    devices: usize,
    /// bcrypt hashes that they have, of cost 10.
    #[arg(long, default_value_t = 100)]
    hashes: usize,
    /// Devices that are connected and publish, twice a second each.
    #[arg(long, default_value_t = 100)]
    publishers: usize,
    /// Seconds for which the publishers are alone.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds after which a storm is given up.
    #[arg(long, default_value_t = 300)]
    limit: u64,
    /// Connect with TLS.
    #[arg(long)]
    tls: bool,
    /// Threads of the gateway that carry messages.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

const TENANT: &str = "bench";

pub(crate) async fn run_all(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let settings = Settings {
        workers: options.workers,
        tls: options.tls,
        keys: &[],
    };
    let gateway = Gateway::with(binary, settings)?;
    let mut fleet = Fleet::default();
    fleet.tenant(TENANT);
    let hashes = fleet::bcrypt_hashes(options.hashes)?;
    let returning = fleet.devices(TENANT, "device", options.devices, &hashes);
    let steady = fleet.devices(TENANT, "steady", options.publishers, &[]);
    fleet.import(&gateway).await?;
    let gateway = gateway.restart()?;
    // Shared: ten thousand clones of ten thousand logins would take longer than the storm.
    let target = Arc::new(gateway.mqtt(options.tls, returning)?);
    let group = Group {
        habit: Habit::Mqtt(gateway.mqtt(options.tls, steady)?),
        devices: options.publishers,
        interval: Duration::from_millis(500),
        seen: Seen::default(),
    };
    let seen = group.seen.clone();
    let publishers =
        probe::start(vec![Consumer::of(&gateway, TENANT)?], vec![group.clone()]).await?;
    seen.latencies.take();
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    println!(
        "{} devices with {} bcrypt hashes connect at once; {} others publish",
        options.devices, options.hashes, options.publishers
    );
    println!(
        "{:<7} {:>9} {:>7} {:>10} {:>7} {:>6} {:>6} {:>9}  {:<24} publishers' p50, p99, max ms",
        "",
        "connected",
        "seconds",
        "connects/s",
        "refused",
        "lost",
        "CPU s",
        "overflows",
        "within ms: p50, p99, max"
    );
    let alone = seen.latencies.take();
    println!("{:<7} {:>86} {}", "before", "", shown(alone, &seen));
    for what in ["cold", "warm"] {
        let stormed = storm(&gateway, &target, options).await?;
        let Percentiles {
            half, most, all, ..
        } = stormed.times;
        println!(
            "{what:<7} {:>9} {:>7.1} {:>10.0} {:>7} {:>6} {:>6.1} {:>9}  {:<24} {}",
            stormed.times.count,
            stormed.seconds,
            stormed.times.count as f64 / stormed.seconds,
            stormed.refused,
            stormed.lost,
            stormed.cpu,
            stormed.overflows,
            format!("{half:.0}, {most:.0}, {all:.0}"),
            shown(seen.latencies.take(), &seen),
        );
        while gateway.connected().await? > options.publishers as f64 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        seen.latencies.take();
    }
    println!(
        "attempts as the gateway counts them: {:?}",
        gateway.attempts().await?
    );
    publishers.finish()
}

fn shown(latencies: Percentiles, seen: &Seen) -> String {
    let Percentiles {
        count,
        half,
        most,
        all,
    } = latencies;
    let failures = seen.take_failures();
    format!("{half:.2}, {most:.2}, {all:.2} ({count} messages, {failures} failed)")
}

struct Stormed {
    /// From the storm's beginning until CONNACK, of each device that is connected.
    times: Percentiles,
    /// CONNACK said no.
    refused: u64,
    /// The connection ended before CONNACK.
    lost: u64,
    seconds: f64,
    /// Of the gateway's processor time.
    cpu: f64,
    overflows: u64,
}

#[derive(Debug, Default)]
struct Counts {
    times: Latencies,
    refused: AtomicU64,
    lost: AtomicU64,
}

async fn storm(
    gateway: &Gateway,
    target: &Arc<Target>,
    options: &Options,
) -> anyhow::Result<Stormed> {
    let counts = Arc::new(Counts::default());
    let (counted, target) = (counts.clone(), target.clone());
    let (devices, limit) = (options.devices, Duration::from_secs(options.limit));
    let start = Instant::now();
    let work = move |ready: oneshot::Sender<()>| async move {
        let mut connecting = JoinSet::new();
        for number in 0..devices {
            connecting.spawn(come_back(target.clone(), number, start, counted.clone()));
        }
        let all = connecting.join_all();
        let sockets = tokio::time::timeout(limit, all).await;
        // Whoever waits has gone; this thread will be told.
        let _ = ready.send(());
        pending::<()>().await;
        drop(sockets);
        Ok(())
    };
    let (cpu, overflows) = (gateway.server.cpu()?, listen_overflows()?);
    let storm = Side::start(Priority::Low, work).await?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = gateway.server.cpu()? - cpu;
    storm.finish()?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Stormed {
        times: counts.times.take(),
        refused: count(&counts.refused),
        lost: count(&counts.lost),
        seconds,
        cpu,
        overflows: listen_overflows()? - overflows,
    })
}

async fn come_back(
    target: Arc<Target>,
    number: usize,
    start: Instant,
    counts: Arc<Counts>,
) -> Socket {
    loop {
        let failed = match target.log_in(number).await {
            Ok(LogIn::Accepted(socket)) => {
                counts.times.add(start.elapsed());
                return socket;
            }
            Ok(LogIn::Refused(_)) => &counts.refused,
            Err(_) => &counts.lost,
        };
        failed.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
