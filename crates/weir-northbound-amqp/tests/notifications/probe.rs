//! A receiver that tells what the other client keeps to itself: whether a delivery came settled, and
//! when a drain has ended.

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use weir_amqp_engine::{
    AttachRequest, ClientSasl, Config, Connection, Event, LinkId, SenderSettleMode,
};
use weir_amqp_transport::{Peer, drive};

use crate::DEADLINE;

/// One link without credit, on a connection of its own.
pub(crate) struct Probe {
    drains: mpsc::UnboundedSender<u32>,
    seen: mpsc::UnboundedReceiver<Seen>,
    _stop: DropGuard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Attached,
    Message { settled: bool },
    Drained,
}

impl Probe {
    pub(crate) async fn attach(
        address: SocketAddr,
        source: &'static str,
        settle_mode: SenderSettleMode,
    ) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let plain = ClientSasl::Plain {
            username: "app".to_owned(),
            password: "secret".to_owned(),
        };
        let connection = Connection::client(Config::default(), plain, Instant::now());
        let (drains, drain) = mpsc::unbounded_channel();
        let (see, seen) = mpsc::unbounded_channel();
        let peer = ProbePeer {
            source,
            settle_mode,
            link: None,
            drain,
            see,
        };
        let stop = CancellationToken::new();
        tokio::spawn(drive(stream, connection, peer, stop.clone()));
        let mut probe = Self {
            drains,
            seen,
            _stop: stop.drop_guard(),
        };
        assert_eq!(probe.next().await, Seen::Attached);
        probe
    }

    /// Gives credit and asks for it to be used or given back.
    pub(crate) fn drain(&self, credit: u32) {
        self.drains.send(credit).unwrap();
    }

    pub(crate) async fn next(&mut self) -> Seen {
        timeout(DEADLINE, self.seen.recv()).await.unwrap().unwrap()
    }
}

struct ProbePeer {
    source: &'static str,
    settle_mode: SenderSettleMode,
    link: Option<LinkId>,
    drain: mpsc::UnboundedReceiver<u32>,
    see: mpsc::UnboundedSender<Seen>,
}

impl Peer for ProbePeer {
    type Token = ();

    fn handle_event(&mut self, now: Instant, connection: &mut Connection<()>, event: Event<()>) {
        let seen = match event {
            Event::Opened(_) => {
                connection.begin(now);
                return;
            }
            Event::SessionBegun { session } => {
                let attach = AttachRequest {
                    snd_settle_mode: self.settle_mode,
                    ..AttachRequest::receiver("probe", self.source, 0)
                };
                self.link = Some(connection.attach(session, attach));
                return;
            }
            Event::Attached { .. } => Seen::Attached,
            Event::Message { settled, .. } => Seen::Message { settled },
            Event::Drained { .. } => Seen::Drained,
            _ => return,
        };
        // At its end a test looks at nothing any more.
        let _ = self.see.send(seen);
    }

    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        _now: Instant,
        connection: &mut Connection<()>,
    ) {
        let Some(link) = self.link else {
            return;
        };
        while let Poll::Ready(Some(credit)) = self.drain.poll_recv(cx) {
            connection.grant_credit(link, credit);
            connection.drain(link);
        }
    }
}
