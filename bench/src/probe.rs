//! Well-behaved devices that send at a steady rate, and how long each message takes.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use crate::consumer::Consumer;
use crate::devices::{PAYLOAD, Socket, Target, disconnect, publish_packet};
use crate::measure::{Deliveries, Latencies};
use crate::side::{Priority, Side};

/// What a device does again and again.
#[derive(Clone, Debug)]
pub(crate) enum Habit {
    /// Publishes telemetry with QoS 1 on a connection that stays, and waits for PUBACK.
    Mqtt(Target),
    /// Uploads telemetry with QoS 1 on a connection that stays, to this URL, with this login.
    Http(String, (String, String)),
    /// Connects with MQTT, logs in, disconnects; with another login each time, if there are more
    /// logins than devices.
    LogIn(Target),
}

/// Devices with the same habit.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) habit: Habit,
    pub(crate) devices: usize,
    /// Between two messages of a device.
    pub(crate) interval: Duration,
    pub(crate) seen: Seen,
}

/// What a group has seen. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// From the moment a message was to be sent: one that waits for its predecessor waits too.
    pub(crate) latencies: Latencies,
    failures: Arc<AtomicU64>,
}

impl Seen {
    /// Messages since the last call that were not accepted.
    pub(crate) fn take_failures(&self) -> u64 {
        self.failures.swap(0, Ordering::Relaxed)
    }
}

/// After which a message counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the groups, and consumers that settle what they send, on a thread of their own.
pub(crate) async fn start(consumers: Vec<Consumer>, groups: Vec<Group>) -> anyhow::Result<Side> {
    let work = |ready: oneshot::Sender<()>| async move {
        for consumer in consumers {
            consumer
                .start(Deliveries::default(), CancellationToken::new())
                .await?;
        }
        let devices = groups.into_iter().map(Arc::new).flat_map(|group| {
            (0..group.devices).map(move |number| {
                let group = group.clone();
                async move {
                    let device = Device::new(&group, number).await?;
                    anyhow::Ok((group, number, device))
                }
            })
        });
        for (group, number, device) in try_join_all(devices).await? {
            tokio::spawn(run(group, number, device));
        }
        // Whoever waits has gone; this thread will be told.
        let _ = ready.send(());
        pending().await
    };
    Side::start(Priority::Normal, work).await
}

async fn run(group: Arc<Group>, number: usize, mut device: Device) {
    // Devices do not send at the same moment.
    let offset = group.interval * number as u32 / group.devices as u32;
    let mut ticks = interval_at((Instant::now() + offset).into(), group.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut idle_since = Instant::now();
    loop {
        let due = ticks.tick().await.into_std();
        // A timer is late by up to a millisecond, which is not the gateway's.
        let start = if idle_since > due {
            due
        } else {
            Instant::now()
        };
        if bounded(device.act(&group)).await.is_ok() {
            group.seen.latencies.add(start.elapsed());
        } else {
            group.seen.failures.fetch_add(1, Ordering::Relaxed);
            if let Ok(again) = bounded(Device::new(&group, number)).await {
                device = again;
            }
        }
        idle_since = Instant::now();
    }
}

async fn bounded<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(PATIENCE, work).await.context("no answer")?
}

enum Device {
    Mqtt(Socket, u16),
    Http(reqwest::Client),
    /// With the login of this number next.
    LogIn(usize),
}

impl Device {
    async fn new(group: &Group, number: usize) -> anyhow::Result<Self> {
        let mut device = match &group.habit {
            Habit::Mqtt(target) => Self::Mqtt(target.connect(number).await?, 0),
            Habit::Http(..) => Self::Http(reqwest::Client::builder().no_proxy().build()?),
            Habit::LogIn(_) => Self::LogIn(number),
        };
        // What is done for the first time is not steady.
        device.act(group).await?;
        Ok(device)
    }

    async fn act(&mut self, Group { habit, devices, .. }: &Group) -> anyhow::Result<()> {
        match (self, habit) {
            (Self::Mqtt(socket, id), _) => {
                *id = *id % u16::MAX + 1;
                socket.write_all(&publish_packet("telemetry", *id)).await?;
                socket.flush().await?;
                let mut puback = [0; 4];
                socket.read_exact(&mut puback).await?;
                let [high, low] = id.to_be_bytes();
                ensure!(puback == [0x40, 2, high, low], "{puback:?} is not PUBACK");
            }
            (Self::Http(client), Habit::Http(url, (user, password))) => {
                let request = client.post(url).basic_auth(user, Some(password));
                let request = request
                    .header("content-type", "application/octet-stream")
                    .header("qos-level", "1")
                    .body(vec![b'x'; PAYLOAD]);
                let answer = request.send().await?;
                ensure!(answer.status().is_success(), "{}", answer.status());
                answer.bytes().await?;
            }
            (Self::LogIn(next), Habit::LogIn(target)) => {
                let login = *next;
                *next += devices;
                disconnect(target.connect(login).await?).await?;
            }
            (_, _) => {}
        }
        Ok(())
    }
}
