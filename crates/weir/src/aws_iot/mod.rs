//! The metrics under AWS IoT's names, written as lines for CloudWatch; `docs/aws-iot-metrics.md` has them.
//!
//! `config` is its section, `output` where the lines go. What they say is in `weir_dialects`.
//!
//! A thread of its own writes: a disk may be full, and a pipe may have nobody who reads it, for as long as
//! they like. What was not written is part of the next line.

mod config;
mod output;

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use weir_dialects::aws_iot::{self, Counts, Protocol, Written};
use weir_metrics::Metrics;

pub use config::AwsIotConfig;

use output::Output;

/// Says when a line is due.
#[derive(Debug)]
pub(crate) struct AwsIot {
    interval: Duration,
    writer: Writer,
}

impl AwsIot {
    /// Opens what is written to.
    ///
    /// # Errors
    /// If that is a file that cannot be opened.
    pub(crate) fn build(config: &AwsIotConfig, metrics: Metrics) -> anyhow::Result<Self> {
        let output = Output::of(&config.output);
        let output = output
            .with_context(|| format!("cannot open {} (metrics.aws_iot.output)", config.output))?;
        let writer = Writer {
            metrics,
            namespace: config.namespace.clone(),
            output,
            written: Default::default(),
            is_failing: false,
        };
        Ok(Self {
            interval: Duration::from_secs(config.interval),
            writer,
        })
    }

    /// Has lines written until `stop` is cancelled, and a last one then. Nobody waits for that longer than
    /// `drain`.
    pub(crate) async fn run(self, stop: CancellationToken, drain: Duration) {
        let Self { interval, writer } = self;
        // Nothing waits in it: while the thread writes, it is not to be told of more.
        let (due, receiver) = sync_channel(0);
        let (ending, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("aws-iot".to_owned());
        let thread = thread.spawn(move || {
            writer.run(&receiver);
            drop(ending);
        });
        if let Err(error) = thread {
            // No reason for the gateway to end.
            tracing::error!(%error, "no thread to write metrics under AWS IoT's names");
            return stop.cancelled().await;
        }
        tell(interval, &due, &stop).await;
        drop(due);
        if tokio::time::timeout(drain, ended).await.is_err() {
            tracing::warn!("the last metrics under AWS IoT's names are not written");
        }
    }
}

/// Tells the thread of each line that is due, as long as there is one.
async fn tell(interval: Duration, due: &SyncSender<()>, stop: &CancellationToken) {
    let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_late = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let was_late = is_late;
        is_late = match due.try_send(()) {
            Ok(()) => false,
            Err(TrySendError::Full(())) => true,
            Err(TrySendError::Disconnected(())) => {
                tracing::error!("nobody writes metrics under AWS IoT's names any more");
                return stop.cancelled().await;
            }
        };
        if is_late && !was_late {
            tracing::warn!("metrics under AWS IoT's names wait: nobody reads the last line");
        }
    }
}

/// Writes the lines.
#[derive(Debug)]
struct Writer {
    metrics: Metrics,
    namespace: String,
    output: Output,
    written: [Written; Protocol::ALL.len()],
    /// Whether it was told that nothing can be written.
    is_failing: bool,
}

impl Writer {
    fn run(mut self, due: &Receiver<()>) {
        while due.recv().is_ok() {
            self.write(SystemTime::now());
        }
        self.write(SystemTime::now());
    }

    fn write(&mut self, now: SystemTime) {
        let result = self.write_lines(now);
        match &result {
            Err(error) if !self.is_failing => {
                tracing::error!(%error, "metrics under AWS IoT's names cannot be written; they wait");
            }
            Ok(()) if self.is_failing => {
                tracing::info!("metrics under AWS IoT's names are written again");
            }
            _ => {}
        }
        self.is_failing = result.is_err();
    }

    fn write_lines(&mut self, now: SystemTime) -> std::io::Result<()> {
        let tally = self.metrics.tally();
        for (protocol, written) in Protocol::ALL.into_iter().zip(&mut self.written) {
            let period = written.period(&Counts::of(&tally, protocol));
            let line = aws_iot::line(&self.namespace, protocol, &period, now);
            self.output.write(&line)?;
            written.add(&period);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
