//! The owner of a client's engine.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use weir_amqp_engine::{Connection, DeliveryId, Event, LinkId, Outcome, SessionId};

use super::link::{Answer, Link, Side};
use super::{ConnectError, Ended, Received};
use crate::Peer;

/// A link that is wanted.
#[derive(Debug)]
pub(super) struct Attach {
    pub(super) address: String,
    pub(super) side: Side,
    pub(super) end: Arc<OnceLock<Ended>>,
    pub(super) answer: oneshot::Sender<Result<LinkId, ConnectError>>,
}

/// What the application is done with. There is one for each message that arrived and one for each
/// receiver, so that no more can wait than there was credit.
#[derive(Debug)]
pub(super) enum Done {
    /// A message: with an outcome, or without one.
    Delivery {
        link: LinkId,
        delivery: DeliveryId,
        outcome: Option<Outcome>,
    },
    /// A receiver.
    Link(LinkId),
}

/// What runs on the connection's task.
pub(super) struct ClientPeer {
    /// Who waits for the connection to be open; dropped when it is over.
    opened: Option<oneshot::Sender<()>>,
    attaches: mpsc::Receiver<Attach>,
    done_in: mpsc::UnboundedSender<Done>,
    done: mpsc::UnboundedReceiver<Done>,
    /// Is told why the connection is over.
    over: Arc<OnceLock<Ended>>,
    session: Option<SessionId>,
    links: HashMap<LinkId, Link>,
    /// Names given to links.
    names: u64,
}

impl ClientPeer {
    pub(super) fn new(
        opened: oneshot::Sender<()>,
        attaches: mpsc::Receiver<Attach>,
        (done_in, done): (mpsc::UnboundedSender<Done>, mpsc::UnboundedReceiver<Done>),
        over: Arc<OnceLock<Ended>>,
    ) -> Self {
        Self {
            opened: Some(opened),
            attaches,
            done_in,
            done,
            over,
            session: None,
            links: HashMap::new(),
            names: 0,
        }
    }

    fn attach(&mut self, now: Instant, connection: &mut Connection<Answer>, attach: Attach) {
        let session = self.session.get_or_insert_with(|| connection.begin(now));
        self.names += 1;
        let name = format!("{}-{}", attach.address, self.names);
        let request = attach.side.request(name, &attach.address);
        let id = connection.attach(*session, request);
        let link = Link {
            side: attach.side,
            end: attach.end,
            answer: Some(attach.answer),
        };
        self.links.insert(id, link);
    }

    /// The server has agreed to a link that may have been given up meanwhile.
    fn attached(&mut self, connection: &mut Connection<Answer>, id: LinkId) {
        let answer = self.links.get_mut(&id).and_then(|link| link.answer.take());
        let is_wanted = answer.is_some_and(|answer| answer.send(Ok(id)).is_ok());
        if !is_wanted {
            self.detach(connection, id);
        }
    }

    fn detach(&mut self, connection: &mut Connection<Answer>, id: LinkId) {
        if self.links.remove(&id).is_some() {
            connection.detach(id, None);
        }
    }

    fn arrive(
        &mut self,
        connection: &mut Connection<Answer>,
        (link, delivery): (LinkId, DeliveryId),
        message: Bytes,
        is_settled: bool,
    ) {
        let received = Received::new(message, (link, delivery), is_settled, self.done_in.clone());
        let is_wanted = match self.links.get_mut(&link) {
            Some(Link {
                side: Side::Receiver(inbound),
                ..
            }) => inbound.arrive(received),
            _ => return,
        };
        if !is_wanted {
            self.detach(connection, link);
        }
    }

    fn settled(&mut self, link: LinkId, answer: Answer, outcome: Outcome) {
        if outcome != Outcome::LinkLost {
            // Who does not wait any more need not be told.
            let _ = answer.send(Ok(outcome));
            return;
        }
        if let Some(Side::Sender(outbound)) = self.links.get_mut(&link).map(|link| &mut link.side) {
            outbound.lost.push(answer);
        }
    }

    fn all_over(&mut self, ended: &Ended) {
        for (_, link) in self.links.drain() {
            link.over(ended.clone());
        }
    }

    fn done(&mut self, connection: &mut Connection<Answer>, done: Done) {
        match done {
            Done::Link(link) => self.detach(connection, link),
            Done::Delivery {
                link,
                delivery,
                outcome,
            } => {
                if let Some(outcome) = &outcome {
                    connection.settle(link, delivery, outcome);
                }
                let side = self.links.get_mut(&link).map(|link| &mut link.side);
                if let Some(Side::Receiver(inbound)) = side
                    && let Some(credit) = inbound.done(outcome.as_ref())
                {
                    connection.grant_credit(link, credit);
                }
            }
        }
    }
}

impl Peer for ClientPeer {
    type Token = Answer;

    fn handle_event(
        &mut self,
        _now: Instant,
        connection: &mut Connection<Answer>,
        event: Event<Answer>,
    ) {
        match event {
            Event::Opened(_) => {
                if let Some(opened) = self.opened.take() {
                    // Who has given up closes the connection.
                    let _ = opened.send(());
                }
            }
            Event::Attached { link, .. } => self.attached(connection, link),
            Event::Drain { link } => {
                if let Some(Side::Sender(outbound)) =
                    self.links.get_mut(&link).map(|link| &mut link.side)
                {
                    outbound.is_draining = true;
                }
            }
            Event::Settled {
                link,
                token,
                outcome,
                ..
            } => self.settled(link, token, outcome),
            Event::Message {
                link,
                delivery,
                message,
                settled,
            } => self.arrive(connection, (link, delivery), message, settled),
            Event::Detached { link, error, .. } => {
                if let Some(link) = self.links.remove(&link) {
                    link.over(Ended::Detached { error });
                }
            }
            Event::SessionEnded { session, error } if self.session == Some(session) => {
                self.session = None;
                self.all_over(&Ended::Detached { error });
            }
            Event::Closed { reason, error } => {
                let ended = Ended::Closed { reason, error };
                // It ends once.
                let _ = self.over.set(ended.clone());
                self.opened = None;
                self.attaches.close();
                self.all_over(&ended);
            }
            // Credit and room for the sender are looked at in `poll_progress`; the rest is a server's.
            _ => {}
        }
    }

    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        connection: &mut Connection<Answer>,
    ) {
        while let Poll::Ready(Some(attach)) = self.attaches.poll_recv(cx) {
            // What was asked for when the connection was over is answered by being dropped.
            if self.over.get().is_none() {
                self.attach(now, connection, attach);
            }
        }
        while let Poll::Ready(Some(done)) = self.done.poll_recv(cx) {
            self.done(connection, done);
        }
        let mut left = Vec::new();
        for (id, link) in &mut self.links {
            if let Side::Sender(outbound) = &mut link.side
                && outbound.pump(cx, now, *id, connection)
            {
                left.push(*id);
            }
        }
        for link in left {
            self.detach(connection, link);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let heads = self.links.values().filter_map(|link| match &link.side {
            Side::Sender(outbound) => outbound.head.as_ref(),
            Side::Receiver(_) => None,
        });
        heads.map(|head| head.no_credit_at).min()
    }
}
