//! Where messages come from: several addresses, and what is kept from coming again at once.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use weir_amqp_engine::Outcome;
use weir_amqp_transport::{Received, Receiver};

/// How long a message of another device is kept before it is given back. Given back at once it would
/// come again at once, for ever. Shorter than a gateway waits for an outcome.
const HOLD: Duration = Duration::from_millis(500);

/// What is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Telemetry,
    Event,
    DeadLetters,
}

impl Endpoint {
    /// As it stands in a line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Event => "event",
            Self::DeadLetters => "dead-letter",
        }
    }

    pub(super) fn address(self, tenant: &str) -> String {
        let endpoint = match self {
            Self::Telemetry => "telemetry",
            Self::Event => "event",
            Self::DeadLetters => "event-dlq",
        };
        format!("{endpoint}/{tenant}")
    }

    /// Whether what is given back is stored until somebody takes it.
    pub(super) fn is_stored(self) -> bool {
        self != Self::Telemetry
    }
}

/// Links that are read together.
#[derive(Default)]
pub(super) struct Sources {
    links: Vec<(Endpoint, Receiver)>,
    /// Which one is looked at first the next time: a busy one must not silence the others.
    first: usize,
}

impl Sources {
    pub(super) fn add(&mut self, endpoint: Endpoint, receiver: Receiver) {
        self.links.push((endpoint, receiver));
    }

    /// The next message of any link, or why a link is over.
    pub(super) async fn next(&mut self) -> anyhow::Result<(Endpoint, Received)> {
        let count = self.links.len();
        poll_fn(|cx| {
            for offset in 0..count {
                let at = (self.first + offset) % count;
                let (endpoint, link) = &mut self.links[at];
                match link.poll_receive(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Some(received)) => {
                        self.first = at + 1;
                        return Poll::Ready(Ok((*endpoint, received)));
                    }
                    Poll::Ready(None) => return Poll::Ready(Err(link.ended().into())),
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Gives a message back without counting as an attempt, of which an event has only so many.
const NOT_TRIED: Outcome = Outcome::Modified {
    delivery_failed: false,
    undeliverable_here: false,
};

/// Stored messages of other devices, to be given back.
#[derive(Default)]
pub(super) struct Held(VecDeque<(Instant, Received)>);

impl Held {
    pub(super) fn hold(&mut self, received: Received) {
        self.0.push_back((Instant::now() + HOLD, received));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives back what is due, whenever that is.
    pub(super) async fn release_due(&mut self) {
        match self.0.front() {
            Some((due, _)) => sleep_until(*due).await,
            None => std::future::pending().await,
        }
        let now = Instant::now();
        while let Some((_, received)) = self.0.pop_front_if(|(due, _)| *due <= now) {
            received.settle(NOT_TRIED);
        }
    }

    /// Gives everything back.
    pub(super) fn release_all(&mut self) {
        for (_, received) in self.0.drain(..) {
            received.settle(NOT_TRIED);
        }
    }
}
