//! What a message costs, next to a peer on the same machine in the same run.
//!
//! 50 MQTT connections publish 100 bytes with QoS 1 and keep 20 messages, or one, in flight; a
//! consumer takes all of them. Weir carries them to an AMQP 1.0 consumer that settles each one,
//! mosquitto (its queues unlimited) to an MQTT subscriber with QoS 1. What is counted is deliveries at
//! the consumer. The servers take turns, a round each; medians are printed, and the ratio between
//! them, which holds where absolute figures drift with the machine.
//!
//! Events go through Weir alone: they are on the disk before they are acknowledged, which mosquitto
//! does not offer.

use std::path::Path;
use std::time::Duration;

use crate::devices::{self, Load, PAYLOAD};
use crate::measure::{self, Deliveries, Round};
use crate::process::Server;
use crate::{mosquitto, weir};

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds per server and window; the median is printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Messages per round at window 20; a quarter of it at window 1.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Threads of the gateway that carry messages.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Leave the peer out.
    #[arg(long)]
    alone: bool,
}

/// A server, started and provisioned, with a consumer on it.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;
    fn server(&self) -> &Server;
    /// Where the devices connect, and the logins they use.
    fn devices(&self) -> devices::Target;
    /// What the consumer has taken since the start.
    fn deliveries(&self) -> &Deliveries;
}

/// What is measured, and what is to be reached.
const CASES: [Case; 3] = [
    Case {
        topic: "telemetry",
        window: 20,
        share: Some(0.25),
        cpu: 0.2,
        speed: None,
    },
    Case {
        topic: "telemetry",
        window: 1,
        share: Some(0.6),
        cpu: 0.6,
        speed: None,
    },
    Case {
        topic: "event",
        window: 20,
        share: None,
        cpu: 0.8,
        speed: Some(30_000.0),
    },
];

struct Case {
    topic: &'static str,
    window: u64,
    /// What the gateway is to cost at most, as a share of the peer; without one the peer is left out.
    share: Option<f64>,
    /// Processor seconds per 100,000 messages, at most, on two cores.
    cpu: f64,
    /// Messages per second, at least.
    speed: Option<f64>,
}

pub(crate) async fn run_all(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let mut subjects: Vec<Box<dyn Subject>> =
        vec![Box::new(weir::start(binary, options.workers).await?)];
    if !options.alone {
        subjects.push(Box::new(mosquitto::start().await?));
    }
    for case in CASES {
        let is_slow = case.window == 1 || case.topic == "event";
        let load = Load {
            topic: case.topic,
            connections: 50,
            window: case.window,
            messages: options.messages / if is_slow { 4 } else { 1 },
        };
        let takes_part = match case.share {
            Some(_) => subjects.len(),
            None => 1,
        };
        compare(&subjects[..takes_part], load, options.rounds, &case).await?;
    }
    Ok(())
}

async fn compare(
    subjects: &[Box<dyn Subject>],
    load: Load,
    rounds: usize,
    case: &Case,
) -> anyhow::Result<()> {
    let Load {
        topic,
        connections,
        window,
        messages,
    } = load;
    println!(
        "\n{topic}: {connections} connections, QoS 1, {PAYLOAD} bytes, window {window}, {messages} messages a round"
    );
    println!(
        "{:<10} {:>8} {:>21} {:>14} {:>17} {:>8}",
        "", "msg/s", "CPU s/100k", "calls/message", "p50, p99 ms", "RSS MiB"
    );
    let mut measured: Vec<Vec<Round>> = subjects.iter().map(|_| Vec::new()).collect();
    for subject in subjects {
        // Warms caches, connections and the branch predictor; not counted.
        run(
            &**subject,
            Load {
                messages: messages / 10,
                ..load
            },
        )
        .await?;
    }
    for _ in 0..rounds {
        for (subject, rounds) in subjects.iter().zip(&mut measured) {
            rounds.push(run(&**subject, load).await?);
        }
    }
    let mut results = Vec::new();
    for (subject, rounds) in subjects.iter().zip(&measured) {
        let cost = measure::spread(rounds.iter().map(Round::cpu_per_100k));
        let speed = measure::spread(rounds.iter().map(Round::per_second));
        let calls = system_calls(
            &**subject,
            Load {
                messages: messages / 10,
                ..load
            },
        )
        .await?;
        let calls = calls.map_or_else(|| "not counted".to_owned(), |calls| format!("{calls:.2}"));
        let half = measure::spread(rounds.iter().map(|round| round.latency.0)).median;
        let most = measure::spread(rounds.iter().map(|round| round.latency.1)).median;
        let latency = format!("{half:.2}, {most:.2}");
        let shown = format!("{:.3} ({:.3}–{:.3})", cost.median, cost.least, cost.most);
        let memory = measure::mib(subject.server().resident()?);
        println!(
            "{:<10} {:>8.0} {shown:>21} {calls:>14} {latency:>17} {memory:>8.1}",
            subject.name(),
            speed.median
        );
        results.push((cost.median, speed.median));
    }
    judge(&results, case);
    Ok(())
}

/// Holds the gateway's figures, which come first, against the targets.
fn judge(results: &[(f64, f64)], case: &Case) {
    let verdict = |is_reached| if is_reached { "reached" } else { "MISSED" };
    let Some((cost, speed)) = results.first() else {
        return;
    };
    let most = case.cpu;
    println!("CPU at most {most} s/100k: {}", verdict(*cost <= most));
    if let Some(least) = case.speed {
        println!("at least {least} msg/s: {}", verdict(*speed >= least));
    }
    if let (Some((peer, _)), Some(most)) = (results.get(1), case.share) {
        let ratio = cost / peer;
        let verdict = verdict(ratio <= most);
        println!("ratio {ratio:.3}, target at most {most}: {verdict}");
    }
}

/// One round: from the first message to the last delivery.
pub(crate) async fn run(subject: &dyn Subject, load: Load) -> anyhow::Result<Round> {
    let devices = devices::connect(&subject.devices(), load).await?;
    let deliveries = subject.deliveries();
    let before = deliveries.count();
    deliveries.take_latencies();
    let usage = subject.server().threads()?;
    let start = std::time::Instant::now();
    devices.publish_all().await?;
    while deliveries.count() < before + load.total() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let elapsed = start.elapsed();
    // The last acknowledgements are written after the last delivery.
    let cpu = subject.server().threads()?.since(&usage);
    Ok(Round {
        messages: load.total(),
        elapsed,
        cpu,
        latency: deliveries.take_latencies(),
    })
}

/// System calls per message, in a round of its own: counting them costs time.
async fn system_calls(subject: &dyn Subject, load: Load) -> anyhow::Result<Option<f64>> {
    let Some(counter) = measure::SystemCalls::start(subject.server().pid()).await? else {
        return Ok(None);
    };
    run(subject, load).await?;
    let calls = counter.stop().await?;
    Ok(calls.map(|calls| calls as f64 / load.total() as f64))
}
