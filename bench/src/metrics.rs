//! What metrics cost: recording a message, a scrape with many tenants, tenants that come and go.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use weir_metrics::{
    AttemptOutcome, Component, ComponentType, Format, MessageType, Metrics, Qos, Status, Ttd, View,
};

use crate::measure::spread;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Tenants that have series when they are scraped.
    #[arg(long, default_value_t = 10_000)]
    tenants: usize,
    /// Tenants that come and go.
    #[arg(long, default_value_t = 100_000)]
    visitors: usize,
    /// Messages that are recorded, and how often everything is measured.
    #[arg(long, default_value_t = 2_000_000)]
    messages: u32,
    #[arg(long, default_value_t = 9)]
    rounds: usize,
}

const MQTT: Component = Component {
    kind: ComponentType::Adapter,
    name: "hono-mqtt",
};

pub(crate) fn run_all(options: &Options) -> anyhow::Result<()> {
    // First of all: what others free would be used again, and hide it.
    visitors(options)?;
    recording(options);
    scrape(options);
    Ok(())
}

fn recording(options: &Options) {
    let start = Instant::now();
    let metrics = Metrics::new("bench", start);
    let meters = metrics.tenant(MQTT, "acme");
    let (duration, count) = (Duration::from_micros(700), options.messages);
    let rounds = (0..options.rounds).map(|_| {
        let begun = Instant::now();
        for size in 0..count {
            // As a message does it: from the tenant's handles on, and with a time of its own.
            let meter = black_box(&meters).upload(
                MessageType::Telemetry,
                Qos::AtLeastOnce,
                Status::Forwarded,
                Ttd::None,
            );
            meter.record(
                black_box(duration),
                u64::from(size & 1023),
                black_box(begun),
            );
        }
        begun.elapsed().as_nanos() as f64 / f64::from(count)
    });
    let figures = spread(rounds);
    println!(
        "recording a message: {:.1} ns ({:.1} to {:.1})",
        figures.median, figures.least, figures.most
    );
}

fn scrape(options: &Options) {
    let metrics = Metrics::with_options("bench", Instant::now(), bounds(options));
    for tenant in 0..options.tenants {
        visit(&metrics, tenant);
    }
    for (view, format) in [
        (View::Hono, Format::Text),
        (View::Hono, Format::OpenMetrics),
        (View::Native, Format::Text),
    ] {
        let mut page = String::new();
        let rounds = (0..options.rounds).map(|_| {
            let begun = Instant::now();
            let snapshot = metrics.snapshot(view, begun);
            page = snapshot.write(format, SystemTime::now());
            begun.elapsed().as_secs_f64() * 1e3
        });
        let figures = spread(rounds);
        println!(
            "scrape of {} tenants, {view:?} {format:?}: {:.0} ms ({:.0} to {:.0}), {} lines, {:.1} MB",
            options.tenants,
            figures.median,
            figures.least,
            figures.most,
            page.lines().count(),
            page.len() as f64 / 1e6,
        );
    }
}

/// Each of them has a device that connects, sends one message, and goes.
fn visitors(options: &Options) -> anyhow::Result<()> {
    let metrics = Metrics::with_options("bench", Instant::now(), bounds(options));
    let before = resident_mib()?;
    let mut figures = Vec::new();
    for tenant in 0..options.visitors {
        visit(&metrics, tenant);
        if (tenant + 1).is_multiple_of((options.visitors / 10).max(1)) {
            figures.push(format!("{:.1}", resident_mib()? - before));
        }
    }
    println!(
        "{} tenants that come and go, room for {}: MiB after each tenth {}",
        options.visitors,
        options.tenants,
        figures.join(", ")
    );
    Ok(())
}

fn bounds(options: &Options) -> weir_metrics::Options {
    weir_metrics::Options {
        max_tenants: options.tenants,
        ..weir_metrics::Options::default()
    }
}

fn visit(metrics: &Metrics, tenant: usize) {
    let (tenant, now) = (format!("tenant-{tenant:06}"), Instant::now());
    metrics.connection_attempt(MQTT, Some(&tenant), AttemptOutcome::Succeeded, None);
    let meters = metrics.tenant(MQTT, &tenant);
    meters.connected().opened(now);
    let meter = meters.upload(
        MessageType::Telemetry,
        Qos::AtLeastOnce,
        Status::Forwarded,
        Ttd::None,
    );
    meter.record(Duration::from_micros(700), 100, now);
    meters.connected().closed(now);
}

/// Resident memory of this process, MiB (proc_pid_status(5)).
fn resident_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .context("VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib / 1024.0)
}
