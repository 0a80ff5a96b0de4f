//! What metrics cost of a message: a gateway beside one of the same sources that records nothing.
//!
//! The load is that of `messages.rs`. Both gateways are there all the time and take turns, each the first
//! in every other round, so that a machine that gets slower or faster does it to both. A round has a ratio
//! of its own; the median of those is the overhead, and between the quartiles is half of them. What is
//! compared is processor time, so others on the machine matter less, but they do.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::devices::{Load, PAYLOAD};
use crate::messages::run;
use crate::weir::{self, Weir};

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The gateway that records nothing: built with the feature `no-op-metrics`.
    #[arg(long, default_value = "target/release/weir-no-op")]
    no_op: PathBuf,
    /// Rounds per window; the median is printed. Many short ones tell more than a few long ones: what
    /// disturbs the machine lasts longer than a round.
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Messages per gateway and round at window 20; a third of it at window 1.
    #[arg(long, default_value_t = 150_000)]
    messages: u64,
    /// Threads of each gateway that carry messages.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

/// Messages in flight per connection, and what metrics are to cost at most of each, in percent.
const CASES: [(u64, f64); 2] = [(20, 8.0), (1, 3.0)];

pub(crate) async fn run_all(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let recording = weir::start(binary, options.workers).await?;
    let no_op = weir::start(&options.no_op, options.workers).await?;
    for (window, most) in CASES {
        let load = Load {
            topic: "telemetry",
            connections: 50,
            window,
            messages: options.messages / if window == 1 { 3 } else { 1 },
        };
        compare([&recording, &no_op], load, options.rounds, most).await?;
    }
    Ok(())
}

async fn compare(subjects: [&Weir; 2], load: Load, rounds: usize, most: f64) -> anyhow::Result<()> {
    let Load {
        connections,
        window,
        messages,
        ..
    } = load;
    println!(
        "\n{connections} connections, QoS 1, {PAYLOAD} bytes, window {window}, {rounds} rounds of {messages} messages"
    );
    for subject in subjects {
        // Warms caches, connections and the branch predictor; not counted.
        run(subject, load).await?;
    }
    let mut measured = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let first = round % 2;
        let mut costs = [0.0; 2];
        for at in [first, 1 - first] {
            costs[at] = run(subjects[at], load).await?.cpu_per_100k();
        }
        measured.push(costs);
    }
    for (name, at) in [("recording", 0), ("no-op", 1)] {
        let cost = Quartiles::of(measured.iter().map(|costs| costs[at]));
        println!("{name:<10} {cost:.4} CPU s/100k");
    }
    let overhead = |[recording, no_op]: &[f64; 2]| (recording / no_op - 1.0) * 100.0;
    let overhead = Quartiles::of(measured.iter().map(overhead));
    let verdict = match overhead.0[1] <= most {
        true => "reached",
        false => "MISSED",
    };
    println!("overhead   {overhead:.1} %, target at most {most} %: {verdict}");
    Ok(())
}

/// Of several figures.
struct Quartiles([f64; 3]);

impl Quartiles {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |quarter| figures.get(figures.len() * quarter / 4).copied();
        Self([1, 2, 3].map(|quarter| at(quarter).unwrap_or(f64::NAN)))
    }
}

impl fmt::Display for Quartiles {
    /// With as many digits as the precision says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let [first, median, third] = self.0;
        write!(
            f,
            "{median:.digits$} ({first:.digits$} to {third:.digits$})"
        )
    }
}
