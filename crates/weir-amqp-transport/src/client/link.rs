//! One link of a client: what waits for it, and its credit.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use weir_amqp_engine::{AttachRequest, Connection, LinkId, Outcome, SendOptions};

use super::{ConnectError, Credit, Ended, Received, SendError};

/// Who waits for what became of a message; dropped when its link is over.
pub(super) type Answer = oneshot::Sender<Result<Outcome, SendError>>;

/// A message to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) message: Bytes,
    pub(super) no_credit_at: Instant,
    pub(super) credit_timeout: Duration,
    pub(super) outcome_timeout: Duration,
    pub(super) answer: Answer,
}

/// What a link does.
#[derive(Debug)]
pub(super) enum Side {
    Receiver(Inbound),
    Sender(Outbound),
}

#[derive(Debug)]
pub(super) struct Inbound {
    /// Has room for all that there was credit for.
    messages: mpsc::Sender<Received>,
    credit: Credit,
    /// Messages that have arrived, without those that were not taken.
    arrived: u64,
    /// Those of them that the application is not done with.
    open: u32,
    /// Those that it has done with since credit was given last.
    since_credit: u32,
}

#[derive(Debug)]
pub(super) struct Outbound {
    queue: mpsc::Receiver<Outgoing>,
    /// Taken from the queue, and waits for credit.
    pub(super) head: Option<Outgoing>,
    /// The server wants its credit back.
    pub(super) is_draining: bool,
    /// Lost with the link, whose end is about to be told.
    pub(super) lost: Vec<Answer>,
}

impl Side {
    pub(super) fn receiver(messages: mpsc::Sender<Received>, credit: Credit) -> Self {
        Self::Receiver(Inbound {
            messages,
            credit,
            arrived: 0,
            open: 0,
            since_credit: 0,
        })
    }

    pub(super) fn sender(queue: mpsc::Receiver<Outgoing>) -> Self {
        Self::Sender(Outbound {
            queue,
            head: None,
            is_draining: false,
            lost: Vec::new(),
        })
    }

    pub(super) fn request(&self, name: String, address: &str) -> AttachRequest {
        match self {
            Self::Receiver(inbound) => AttachRequest::receiver(name, address, inbound.room()),
            Self::Sender(_) => AttachRequest::sender(name, address),
        }
    }
}

impl Inbound {
    /// Messages that may come now.
    fn room(&self) -> u32 {
        let room = self.credit.window.saturating_sub(self.open);
        let left = self.credit.total.map(|total| {
            let left = total.saturating_sub(self.arrived);
            u32::try_from(left).unwrap_or(u32::MAX)
        });
        left.map_or(room, |left| left.min(room))
    }

    /// Hands a message over; whether there is still an application.
    pub(super) fn arrive(&mut self, received: Received) -> bool {
        self.arrived += 1;
        self.open += 1;
        self.messages.try_send(received).is_ok()
    }

    /// The application is done with a message; the credit that is to be given then. Half of it at a
    /// time: a flow per message would cost as much as the message.
    pub(super) fn done(&mut self, outcome: Option<&Outcome>) -> Option<u32> {
        self.open = self.open.saturating_sub(1);
        self.since_credit += 1;
        if outcome.is_some_and(|outcome| *outcome != Outcome::Accepted) {
            self.arrived = self.arrived.saturating_sub(1);
        }
        // Towards the end of a total there may be less than half of it on its way.
        let is_last = self.credit.total.is_some() && self.open == 0;
        let is_due = is_last || self.since_credit >= self.credit.window / 2;
        is_due.then(|| {
            self.since_credit = 0;
            self.room()
        })
    }
}

impl Outbound {
    /// Sends what there is credit for; whether the application has done with the link.
    pub(super) fn pump(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        link: LinkId,
        connection: &mut Connection<Answer>,
    ) -> bool {
        loop {
            let next = match self.head.take() {
                Some(head) => Poll::Ready(Some(head)),
                None => self.queue.poll_recv(cx),
            };
            match next {
                Poll::Ready(Some(next)) if next.answer.is_closed() => {}
                Poll::Ready(Some(next)) if connection.can_send(link) => {
                    next.send(now, link, connection);
                }
                Poll::Ready(Some(next)) if next.no_credit_at <= now => next.give_up(),
                Poll::Ready(Some(next)) => {
                    self.head = Some(next);
                    break;
                }
                Poll::Ready(None) => return true,
                Poll::Pending => break,
            }
        }
        if std::mem::take(&mut self.is_draining) {
            connection.drained(link);
        }
        false
    }
}

impl Outgoing {
    fn send(self, now: Instant, link: LinkId, connection: &mut Connection<Answer>) {
        let options = SendOptions {
            settled: false,
            give_up_at: Some(now + self.outcome_timeout),
        };
        let message = self.message;
        // It can be sent, or we would not be here.
        let _ = connection.send(now, link, self.answer, options, |out| {
            out.extend_from_slice(&message);
        });
    }

    fn give_up(self) {
        // Who does not wait any more need not be told.
        let _ = self
            .answer
            .send(Err(SendError::NoCredit(self.credit_timeout)));
    }
}

/// A link, attached or about to be.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) side: Side,
    /// Is told why the link is over before its channels close.
    pub(super) end: Arc<OnceLock<Ended>>,
    /// Who waits for it to be attached.
    pub(super) answer: Option<oneshot::Sender<Result<LinkId, ConnectError>>>,
}

impl Link {
    /// Tells all who wait: this answer or the end, then the closed channels.
    pub(super) fn over(self, ended: Ended) {
        // It ends once.
        let _ = self.end.set(ended.clone());
        if let Some(answer) = self.answer {
            let _ = answer.send(Err(ended.into()));
        }
    }
}
