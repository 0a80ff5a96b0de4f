//! What a message costs, next to a peer on the same machine in the same run.
//!
//! 50 MQTT connections publish 100 bytes with QoS 1 and keep 20 messages, or one, in flight; a
//! consumer takes all of them. Weir carries them to an AMQP 1.0 consumer that settles each one,
//! mosquitto (its queues unlimited) to an MQTT subscriber with QoS 1. What is counted is deliveries at
//! the consumer. The servers take turns, a round each; medians are printed, and the ratio between
//! them, which holds where absolute figures drift with the machine.

use std::path::Path;
use std::time::Duration;

use crate::devices::{self, Load};
use crate::measure::{self, Round};
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
    /// Deliveries that the consumer has taken since the start.
    fn delivered(&self) -> u64;
}

/// What the gateway is to cost at most, as a share of the peer: (window, share).
const TARGETS: [(u64, f64); 2] = [(20, 0.25), (1, 0.6)];

pub(crate) async fn run_all(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let mut subjects: Vec<Box<dyn Subject>> =
        vec![Box::new(weir::start(binary, options.workers).await?)];
    if !options.alone {
        subjects.push(Box::new(mosquitto::start().await?));
    }
    for (window, target) in TARGETS {
        let messages = if window == 1 {
            options.messages / 4
        } else {
            options.messages
        };
        let load = Load {
            connections: 50,
            payload: 100,
            window,
            messages,
        };
        compare(&subjects, load, options.rounds, target).await?;
    }
    Ok(())
}

async fn compare(
    subjects: &[Box<dyn Subject>],
    load: Load,
    rounds: usize,
    target: f64,
) -> anyhow::Result<()> {
    let Load {
        connections,
        payload,
        window,
        messages,
    } = load;
    println!(
        "\n{connections} connections, QoS 1, {payload} bytes, window {window}, {messages} messages a round"
    );
    println!(
        "{:<12} {:>10} {:>22} {:>22} {:>10}",
        "", "msg/s", "CPU s/100k", "system calls/message", "RSS MiB"
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
    let mut costs = Vec::new();
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
        let shown = format!("{:.3} ({:.3}–{:.3})", cost.median, cost.least, cost.most);
        let memory = subject.server().resident_mib()?;
        println!(
            "{:<12} {:>10.0} {shown:>22} {calls:>22} {memory:>10.1}",
            subject.name(),
            speed.median
        );
        costs.push(cost.median);
    }
    if let [weir, peer] = costs[..] {
        let ratio = weir / peer;
        let verdict = if ratio <= target { "reached" } else { "MISSED" };
        println!("ratio {ratio:.3}, target at most {target}: {verdict}");
    }
    Ok(())
}

/// One round: from the first message to the last delivery.
async fn run(subject: &dyn Subject, load: Load) -> anyhow::Result<Round> {
    let devices = devices::connect(&subject.devices(), load).await?;
    let before = subject.delivered();
    let usage = subject.server().cpu()?;
    let start = std::time::Instant::now();
    devices.publish_all().await?;
    while subject.delivered() < before + load.total() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let elapsed = start.elapsed();
    // The last acknowledgements are written after the last delivery.
    let cpu = subject.server().cpu()? - usage;
    Ok(Round {
        messages: load.total(),
        elapsed,
        cpu,
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
