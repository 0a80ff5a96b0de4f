//! What an upload over HTTP costs: `wrk` posts telemetry on connections that stay.
//!
//! 50 connections, each request with the login of one of 50 devices; a consumer settles everything.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::consumer::Consumer;
use crate::devices::PAYLOAD;
use crate::fleet::Fleet;
use crate::gateway::{Gateway, Settings};
use crate::measure::{Deliveries, mib, spread};

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Of each round.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rounds of each QoS; the median is printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads of the gateway that carry messages.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

const TENANT: &str = "bench";
const DEVICES: usize = 50;

struct Round {
    per_second: f64,
    /// Seconds of the gateway's processor time per 100,000 requests.
    cpu: f64,
    /// As `wrk` writes them.
    half: String,
    most: String,
    refused: u64,
    /// What the consumer got, as a share of the requests.
    delivered: f64,
}

pub(crate) async fn run_all(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let settings = Settings {
        workers: options.workers,
        tls: false,
        keys: &[],
    };
    let gateway = Gateway::with(binary, settings)?;
    let mut fleet = Fleet::default();
    fleet.tenant(TENANT);
    let logins = fleet.devices(TENANT, "device", DEVICES, &[]);
    fleet.import(&gateway).await?;
    let deliveries = Deliveries::default();
    let consumer = Consumer::of(&gateway, TENANT)?;
    consumer
        .start(deliveries.clone(), CancellationToken::new())
        .await?;
    println!(
        "POST /telemetry, {} connections that stay, {PAYLOAD} bytes",
        options.connections
    );
    println!(
        "{:<6} {:>10} {:>21}  p50, p99",
        "", "requests/s", "CPU s/100k"
    );
    for qos in [0, 1] {
        let script = gateway.folder.path().join("upload.lua");
        std::fs::write(&script, self::script(&logins, qos))?;
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            rounds.push(round(&gateway, &script, options, &deliveries).await?);
        }
        let speed = spread(rounds.iter().map(|round| round.per_second));
        let cost = spread(rounds.iter().map(|round| round.cpu));
        let shown = format!("{:.2} ({:.2}–{:.2})", cost.median, cost.least, cost.most);
        let refused: u64 = rounds.iter().map(|round| round.refused).sum();
        let Some(last) = rounds.last() else { continue };
        println!(
            "QoS {qos:<2} {:>10.0} {shown:>21}  {}, {} ({refused} refused, {:.1} % delivered, {:.1} MiB)",
            speed.median,
            last.half,
            last.most,
            100.0 * last.delivered,
            mib(gateway.server.resident()?),
        );
    }
    Ok(())
}

/// Requests are made once; what they cost `wrk` while it measures is little.
fn script(logins: &[(String, String)], qos: u8) -> String {
    let names: Vec<String> = logins
        .iter()
        .map(|(user, password)| format!("\"{}\"", STANDARD.encode(format!("{user}:{password}"))))
        .collect();
    let names = names.join(",");
    format!(
        r#"
local logins = {{{names}}}
local requests, turn = {{}}, 0
function init()
  for number, login in ipairs(logins) do
    requests[number] = wrk.format("POST", "/telemetry", {{
      ["Host"] = "localhost",
      ["Authorization"] = "Basic " .. login,
      ["Content-Type"] = "application/octet-stream",
      ["QoS-Level"] = "{qos}",
    }}, string.rep("x", {PAYLOAD}))
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency)
  local refused = summary.errors.status + summary.errors.connect + summary.errors.read
    + summary.errors.write + summary.errors.timeout
  io.write(string.format("figures %d %d %d %.2fms %.2fms\n", summary.requests,
    summary.duration, refused, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"#
    )
}

async fn round(
    gateway: &Gateway,
    script: &Path,
    options: &Options,
    deliveries: &Deliveries,
) -> anyhow::Result<Round> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1"])
        .args(["--connections", &options.connections.to_string()])
        .args(["--duration", &format!("{}s", options.seconds)])
        .arg("--script")
        .arg(script)
        .arg(format!("http://{}", gateway.address("http")?))
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let (cpu, delivered) = (gateway.server.cpu()?, deliveries.count());
    let output = wrk.output().await.context("wrk")?;
    ensure!(output.status.success(), "wrk failed");
    let cpu = gateway.server.cpu()? - cpu;
    let delivered = deliveries.count() - delivered;
    let text = String::from_utf8(output.stdout)?;
    let figures = text.lines().find_map(|line| line.strip_prefix("figures "));
    let figures: Vec<&str> = figures.context("no figures")?.split(' ').collect();
    let [requests, micros, refused, half, most] = figures[..] else {
        anyhow::bail!("{figures:?} are not the figures");
    };
    let requests: f64 = requests.parse()?;
    Ok(Round {
        per_second: requests * 1e6 / micros.parse::<f64>()?,
        cpu: cpu * 100_000.0 / requests,
        half: half.to_owned(),
        most: most.to_owned(),
        refused: refused.parse()?,
        delivered: delivered as f64 / requests,
    })
}
