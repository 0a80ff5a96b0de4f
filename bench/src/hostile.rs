//! What well-behaved devices feel of attackers.
//!
//! Devices publish over MQTT, upload over HTTP, log in again and again, and others log in of whom the
//! gateway remembers nothing, all at a steady rate: alone, while each attack of `attacks.rs` goes on by
//! itself, and while all go on. All passwords are hashed with bcrypt, each with a hash of its own. The gateway's time-outs are five seconds, so that it can be seen to close connections;
//! attackers come back at once. Their thread has a low priority, so that what is seen is the turn
//! that the gateway gives the others.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::attacks::{self, Attack, Fates, Victim};
use crate::consumer::Consumer;
use crate::fleet::{self, Fleet};
use crate::gateway::{Gateway, Settings};
use crate::measure::{Percentiles, mib};
use crate::probe::{self, Group, Habit, Seen};

/// What is to be measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// HTTP connections that send a byte a second.
    #[arg(long, default_value_t = 500)]
    slow_heads: usize,
    /// MQTT connections that send half a CONNECT.
    #[arg(long, default_value_t = 500)]
    half_connects: usize,
    /// TLS handshakes that never end.
    #[arg(long, default_value_t = 200)]
    handshakes: usize,
    /// Who tries wrong passwords, each for a device of his own.
    #[arg(long, default_value_t = 20)]
    guessers: usize,
    /// Who sends what is too large, half of them over HTTP.
    #[arg(long, default_value_t = 20)]
    oversized: usize,
    /// Seconds of each case.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Threads of the gateway that carry messages.
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

const TENANT: &str = "bench";

/// Devices of each kind.
const DEVICES: usize = 10;

/// Who logs in for the first time: more of them than seconds for which a check is remembered, one a
/// second.
const STRANGERS: usize = 80;

const KINDS: [&str; 4] = ["MQTT", "HTTP", "log-in", "first log-in"];

impl Options {
    fn cases(&self) -> Vec<(&'static str, Vec<(Attack, usize)>)> {
        let attacks = [
            ("slow HTTP heads", Attack::SlowHeads, self.slow_heads),
            ("half CONNECTs", Attack::HalfConnects, self.half_connects),
            ("endless handshakes", Attack::Handshakes, self.handshakes),
            ("wrong passwords", Attack::Guesses, self.guessers),
            ("oversized", Attack::Oversized, self.oversized),
        ];
        let mut cases = vec![("alone", Vec::new())];
        cases.extend(attacks.map(|(what, attack, count)| (what, vec![(attack, count)])));
        let all = attacks.map(|(_, attack, count)| (attack, count));
        cases.push(("all of them", all.to_vec()));
        cases
    }
}

pub(crate) async fn run_all(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let settings = Settings {
        workers: options.workers,
        tls: true,
        keys: &[("MQTT__CONNECT_TIMEOUT", "5"), ("HTTP__IDLE_TIMEOUT", "5")],
    };
    let gateway = Gateway::with(binary, settings)?;
    let mut fleet = Fleet::default();
    fleet.tenant(TENANT);
    let known = 2 * DEVICES + STRANGERS;
    let hashes = fleet::bcrypt_hashes(known + options.guessers)?;
    let (good, guessed) = hashes.split_at(known);
    let logins = fleet.devices(TENANT, "device", known, good);
    let mut wrong = fleet.devices(TENANT, "guessed", options.guessers, guessed);
    wrong
        .iter_mut()
        .for_each(|(_, password)| password.push('!'));
    fleet.import(&gateway).await?;
    let groups = groups(&gateway, &logins)?;
    let seen: Vec<Seen> = groups.iter().map(|group| group.seen.clone()).collect();
    let consumers = vec![Consumer::of(&gateway, TENANT)?];
    let probe = probe::start(consumers, groups).await?;
    let victim = Victim {
        http: gateway.address("http")?,
        mqtt_tls: gateway.address("mqtt-tls")?,
        mqtt: gateway.mqtt(false, logins)?,
        guessed: gateway.mqtt(false, wrong)?,
    };
    println!("{DEVICES} devices of each kind; p99 x: as a multiple of that alone");
    println!(
        "{:<20} {:<13} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "", "", "p50 ms", "p99 ms", "max ms", "failed", "p99 x"
    );
    let mut alone = Vec::new();
    for (what, attacks) in options.cases() {
        let fates = Fates::default();
        let attack = attacks::start(attacks, &victim, &fates).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        for seen in &seen {
            seen.latencies.take();
            seen.take_failures();
        }
        let (before, cpu) = (gateway.attempts().await?, gateway.server.cpu()?);
        tokio::time::sleep(Duration::from_secs(options.seconds)).await;
        let cpu = 100.0 * (gateway.server.cpu()? - cpu) / options.seconds as f64;
        print_latencies(what, &seen, &mut alone);
        let (opened, refused, closed) = fates.take();
        let attempts = difference(&gateway.attempts().await?, &before);
        println!(
            "{:<20} gateway: {cpu:.0} % CPU, {:.0} MiB; attackers: {opened} connections, {refused} answered no, \
             {closed} closed; attempts of all: {attempts}",
            "",
            mib(gateway.server.resident()?)
        );
        attack.finish()?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    probe.finish()
}

/// The well-behaved. Those that log in are others than those that stay connected.
fn groups(gateway: &Gateway, logins: &[(String, String)]) -> anyhow::Result<Vec<Group>> {
    let (staying, coming) = logins.split_at(DEVICES);
    let (coming, strangers) = coming.split_at(DEVICES);
    let url = format!("http://{}/telemetry", gateway.address("http")?);
    let habits = [
        (Habit::Mqtt(gateway.mqtt(false, staying.to_vec())?), 50),
        (Habit::Http(url, staying[0].clone()), 50),
        (Habit::LogIn(gateway.mqtt(false, coming.to_vec())?), 200),
        (
            Habit::LogIn(gateway.mqtt(false, strangers.to_vec())?),
            1000 * DEVICES as u64,
        ),
    ];
    let group = |(habit, millis)| Group {
        habit,
        devices: DEVICES,
        interval: Duration::from_millis(millis),
        seen: Seen::default(),
    };
    Ok(habits.map(group).into())
}

fn print_latencies(what: &str, seen: &[Seen], alone: &mut Vec<Percentiles>) {
    for (kind, (name, seen)) in KINDS.iter().zip(seen).enumerate() {
        let latencies = seen.latencies.take();
        if alone.len() <= kind {
            alone.push(latencies);
        }
        let Percentiles {
            half, most, all, ..
        } = latencies;
        println!(
            "{:<20} {name:<13} {half:>8.2} {most:>8.2} {all:>8.1} {:>7} {:>7.1}",
            if kind == 0 { what } else { "" },
            seen.take_failures(),
            most / alone[kind].most,
        );
    }
}

fn difference(after: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>) -> String {
    let more = after.iter().filter_map(|(outcome, count)| {
        let more = count - before.get(outcome).copied().unwrap_or_default();
        (more > 0.0).then(|| format!("{outcome} {more}"))
    });
    more.collect::<Vec<_>>().join(", ")
}
