//! An AMQP 1.0 consumer that settles at once, or takes its time.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context as TaskContext;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{
    AttachRequest, ClientSasl, Config, Connection, DeliveryId, Event, LinkId, Outcome,
};
use weir_amqp_transport::{Peer, drive};

use crate::devices::PAYLOAD;
use crate::gateway::Gateway;
use crate::measure::Deliveries;

/// An application's consumer, not yet connected.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    address: SocketAddr,
    login: (String, String),
    tenant: String,
    pace: Pace,
}

/// How fast a consumer is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Of each of its links.
    pub(crate) credit: u32,
    /// From a message's arrival until it is settled.
    pub(crate) delay: Duration,
}

impl Pace {
    /// What is measured is the gateway.
    pub(crate) const AT_ONCE: Self = Self {
        credit: 2000,
        delay: Duration::ZERO,
    };
}

const ENDPOINTS: [&str; 2] = ["telemetry", "event"];

impl Consumer {
    /// One that settles every message in the moment it arrives.
    pub(crate) fn of(gateway: &Gateway, tenant: &str) -> anyhow::Result<Self> {
        Ok(Self {
            address: gateway.address("northbound.amqp")?,
            login: gateway.login("application")?,
            tenant: tenant.to_owned(),
            pace: Pace::AT_ONCE,
        })
    }

    pub(crate) fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// Connects, and goes on in a task until `stop` or the end of the runtime.
    pub(crate) async fn start(
        self,
        deliveries: Deliveries,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (username, password) = self.login;
        let sasl = ClientSasl::Plain { username, password };
        let connection = Connection::client(Config::default(), sasl, Instant::now());
        let attached = Arc::new(Notify::new());
        let peer = Settler {
            tenant: self.tenant,
            pace: self.pace,
            deliveries,
            attached: attached.clone(),
            attached_links: 0,
            since_credit: HashMap::new(),
            held: VecDeque::new(),
        };
        tokio::spawn(drive(stream, connection, peer, stop));
        tokio::time::timeout(Duration::from_secs(10), attached.notified())
            .await
            .context("the consumer could not attach its links")
    }
}

struct Settler {
    tenant: String,
    pace: Pace,
    deliveries: Deliveries,
    attached: Arc<Notify>,
    attached_links: usize,
    /// By link: deliveries since credit was given last.
    since_credit: HashMap<LinkId, u32>,
    /// What is settled later, and when.
    held: VecDeque<(Instant, LinkId, DeliveryId)>,
}

impl Settler {
    fn settle(&mut self, connection: &mut Connection<()>, link: LinkId, delivery: DeliveryId) {
        connection.settle(link, delivery, &Outcome::Accepted);
        let credit = self.pace.credit;
        let since_credit = self.since_credit.entry(link).or_default();
        *since_credit += 1;
        if *since_credit >= credit.div_ceil(2) {
            *since_credit = 0;
            connection.grant_credit(link, credit);
        }
    }
}

impl Peer for Settler {
    type Token = ();

    fn handle_event(&mut self, now: Instant, connection: &mut Connection<()>, event: Event<()>) {
        match event {
            Event::Opened(_) => {
                connection.begin(now);
            }
            Event::SessionBegun { session } => {
                for address in ENDPOINTS.map(|endpoint| format!("{endpoint}/{}", self.tenant)) {
                    let name = address.clone();
                    let credit = self.pace.credit;
                    connection.attach(session, AttachRequest::receiver(name, address, credit));
                }
            }
            Event::Attached { .. } => {
                self.attached_links += 1;
                if self.attached_links == ENDPOINTS.len() {
                    self.attached.notify_one();
                }
            }
            Event::Message {
                link,
                delivery,
                message,
                ..
            } => {
                // The payload comes last.
                let payload = message.len().saturating_sub(PAYLOAD);
                self.deliveries.add(&message[payload..]);
                if self.pace.delay.is_zero() {
                    self.settle(connection, link, delivery);
                } else {
                    self.held.push_back((now + self.pace.delay, link, delivery));
                }
            }
            _ => {}
        }
    }

    fn poll_progress(
        &mut self,
        _: &mut TaskContext<'_>,
        now: Instant,
        connection: &mut Connection<()>,
    ) {
        while let Some((due, link, delivery)) = self.held.front().copied()
            && due <= now
        {
            self.held.pop_front();
            self.settle(connection, link, delivery);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.held.front().map(|(due, ..)| *due)
    }
}
