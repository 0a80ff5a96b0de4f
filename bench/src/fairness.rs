//! What one tenant feels of another.
//!
//! Tenant B's devices publish at a steady, modest rate. Tenant A floods: several connections with 64
//! messages in flight each, as fast as it goes; then the same while A's consumer takes half a second
//! for each message. Each tenant has a consumer of its own. The flood's thread has a low priority,
//! so that what is seen is the turn that the gateway gives B.

use std::future::pending;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::consumer::{Consumer, Pace};
use crate::devices::{self, Target};
use crate::fleet::Fleet;
use crate::gateway::{Gateway, Settings};
use crate::measure::{Deliveries, percentiles};
use crate::probe::{self, Group, Habit, Seen};
use crate::side::{Priority, Side};

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A's connections.
    #[arg(long, default_value_t = 10)]
    connections: usize,
    /// A's messages in flight per connection.
    #[arg(long, default_value_t = 64)]
    window: u64,
    /// B's devices; each publishes twenty times a second.
    #[arg(long, default_value_t = 10)]
    devices: usize,
    /// Seconds of each case in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The cases take turns so many times.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads of the gateway that carry messages.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

/// What A does meanwhile.
const CASES: [(&str, Option<Pace>); 3] = [
    ("B alone", None),
    ("A floods", Some(Pace::AT_ONCE)),
    ("A floods, its consumer is slow", Some(SLOW)),
];

const SLOW: Pace = Pace {
    credit: 100,
    delay: Duration::from_millis(500),
};

/// What one case showed, of all rounds.
#[derive(Default)]
struct Seconds {
    latencies: Vec<Duration>,
    failures: u64,
    /// What A's consumer got.
    delivered: u64,
    elapsed: f64,
    cpu: f64,
}

pub(crate) async fn run_all(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let settings = Settings {
        workers: options.workers,
        tls: false,
        keys: &[],
    };
    let gateway = Gateway::with(binary, settings)?;
    let mut fleet = Fleet::default();
    for tenant in ["a", "b"] {
        fleet.tenant(tenant);
    }
    let flooding = fleet.devices("a", "device", options.connections, &[]);
    let steady = fleet.devices("b", "device", options.devices, &[]);
    fleet.import(&gateway).await?;
    let flooding = gateway.mqtt(false, flooding)?;
    let group = Group {
        habit: Habit::Mqtt(gateway.mqtt(false, steady)?),
        devices: options.devices,
        interval: Duration::from_millis(50),
        seen: Seen::default(),
    };
    let seen = group.seen.clone();
    let probe = probe::start(vec![Consumer::of(&gateway, "b")?], vec![group]).await?;
    let mut shown = CASES.map(|_| Seconds::default());
    for _ in 0..options.rounds {
        for ((_, pace), shown) in CASES.iter().zip(&mut shown) {
            watch(&gateway, &flooding, *pace, options, (&seen, shown)).await?;
        }
    }
    print(options, shown);
    probe.finish()
}

/// One case of one round.
async fn watch(
    gateway: &Gateway,
    flooding: &Target,
    pace: Option<Pace>,
    options: &Options,
    (seen, shown): (&Seen, &mut Seconds),
) -> anyhow::Result<()> {
    let delivered = Deliveries::default();
    let flood = match pace {
        Some(pace) => {
            let consumer = Consumer::of(gateway, "a")?.with_pace(pace);
            Some(flood(consumer, flooding, options, delivered.clone()).await?)
        }
        None => None,
    };
    // The first second is not counted: connections are made, queues fill.
    tokio::time::sleep(Duration::from_secs(1)).await;
    seen.latencies.take();
    seen.take_failures();
    let (cpu, before, start) = (gateway.server.cpu()?, delivered.count(), Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    shown.latencies.extend(seen.latencies.take_all());
    shown.failures += seen.take_failures();
    shown.delivered += delivered.count() - before;
    shown.elapsed += start.elapsed().as_secs_f64();
    shown.cpu += gateway.server.cpu()? - cpu;
    if let Some(flood) = flood {
        flood.finish()?;
    }
    // What is left of the flood runs into its time-out.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

async fn flood(
    consumer: Consumer,
    target: &Target,
    options: &Options,
    delivered: Deliveries,
) -> anyhow::Result<Side> {
    let (target, connections, window) = (target.clone(), options.connections, options.window);
    let work = move |ready: oneshot::Sender<()>| async move {
        consumer.start(delivered, CancellationToken::new()).await?;
        for number in 0..connections {
            let target = target.clone();
            tokio::spawn(async move {
                loop {
                    if let Ok(socket) = target.connect(number).await {
                        // MQTT 3.1.1 has no other way to refuse a message than to disconnect.
                        let _ = devices::publish(socket, "telemetry", window, u64::MAX).await;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
        // Whoever waits has gone; this thread will be told.
        let _ = ready.send(());
        pending().await
    };
    Side::start(Priority::Low, work).await
}

fn print(options: &Options, shown: [Seconds; CASES.len()]) {
    println!(
        "tenant B: {} devices, 20 messages/s each, QoS 1; tenant A: {} connections, window {}",
        options.devices, options.connections, options.window
    );
    println!(
        "{:<31} {:>7} {:>8} {:>8} {:>8} {:>7} {:>7} {:>10} {:>6}",
        "", "p50 ms", "p99 ms", "max ms", "failed", "p50 x", "p99 x", "A's msg/s", "CPU"
    );
    let mut alone = None;
    for ((what, _), shown) in CASES.iter().zip(shown) {
        let figures = percentiles(shown.latencies);
        let alone = *alone.get_or_insert(figures);
        println!(
            "{what:<31} {:>7.2} {:>8.2} {:>8.2} {:>8} {:>7.1} {:>7.1} {:>10.0} {:>5.0}%",
            figures.half,
            figures.most,
            figures.all,
            shown.failures,
            figures.half / alone.half,
            figures.most / alone.most,
            shown.delivered as f64 / shown.elapsed,
            100.0 * shown.cpu / shown.elapsed,
        );
    }
}
