//! The application's end of a link that receives.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::mpsc;
use weir_amqp_engine::{DeliveryId, LinkId, Outcome};

use super::peer::Done;
use super::{Ended, error};

/// A link that receives from one address. Dropping it detaches the link: the server takes back what
/// was not settled.
#[derive(Debug)]
pub struct Receiver {
    messages: mpsc::Receiver<Received>,
    link: LinkId,
    done: mpsc::UnboundedSender<Done>,
    end: Arc<OnceLock<Ended>>,
}

/// A message and the means to settle it. Dropped without that, its delivery stays open.
#[derive(Debug)]
pub struct Received {
    /// The message as it came, sections and all.
    pub message: Bytes,
    link: LinkId,
    delivery: DeliveryId,
    /// The server wants no outcome.
    is_settled: bool,
    done: mpsc::UnboundedSender<Done>,
    is_done: bool,
}

impl Receiver {
    pub(super) fn new(
        messages: mpsc::Receiver<Received>,
        link: LinkId,
        done: mpsc::UnboundedSender<Done>,
        end: Arc<OnceLock<Ended>>,
    ) -> Self {
        Self {
            messages,
            link,
            done,
            end,
        }
    }

    /// The next message; `None` when the link is over, and [`Receiver::ended`] says why. Cancelling it
    /// loses nothing.
    pub async fn receive(&mut self) -> Option<Received> {
        self.messages.recv().await
    }

    /// The same for who waits for several links at a time.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.messages.poll_recv(cx)
    }

    /// Why the link is over, once [`Receiver::receive`] has said that it is.
    pub fn ended(&self) -> Ended {
        error::end_of(&self.end)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // A connection that is over has no link left to detach.
        let _ = self.done.send(Done::Link(self.link));
    }
}

impl Received {
    pub(super) fn new(
        message: Bytes,
        (link, delivery): (LinkId, DeliveryId),
        is_settled: bool,
        done: mpsc::UnboundedSender<Done>,
    ) -> Self {
        Self {
            message,
            link,
            delivery,
            is_settled,
            done,
            is_done: false,
        }
    }

    /// Tells the server what became of the message.
    pub fn settle(mut self, outcome: Outcome) {
        self.done(Some(outcome));
    }

    fn done(&mut self, outcome: Option<Outcome>) {
        self.is_done = true;
        let done = Done::Delivery {
            link: self.link,
            delivery: self.delivery,
            outcome: outcome.filter(|_| !self.is_settled),
        };
        // A connection that is over has no delivery left to settle.
        let _ = self.done.send(done);
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.is_done {
            self.done(None);
        }
    }
}
