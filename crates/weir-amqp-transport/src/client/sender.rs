//! The application's end of a link that sends.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot};
use weir_amqp_engine::Outcome;

use super::link::Outgoing;
use super::{Ended, SendError, error};

/// A link that sends to one address. Dropping it detaches the link.
#[derive(Debug)]
pub struct Sender {
    queue: mpsc::Sender<Outgoing>,
    end: Arc<OnceLock<Ended>>,
    credit_timeout: Duration,
    outcome_timeout: Duration,
}

impl Sender {
    pub(super) fn new(
        queue: mpsc::Sender<Outgoing>,
        end: Arc<OnceLock<Ended>>,
        credit_timeout: Duration,
        outcome_timeout: Duration,
    ) -> Self {
        Self {
            queue,
            end,
            credit_timeout,
            outcome_timeout,
        }
    }

    /// Sends one message, whose sections `encode` appends to the buffer, and waits for its outcome.
    ///
    /// The outcome is [`Outcome::TimedOut`] if the server gave none in time; the message was then
    /// given up as released. Messages are sent in the order in which the futures were first polled.
    /// A future that is dropped while it waits for credit sends nothing.
    ///
    /// # Errors
    /// If there is no credit in time, or the link is over.
    pub async fn send(&self, encode: impl FnOnce(&mut BytesMut)) -> Result<Outcome, SendError> {
        let mut message = BytesMut::new();
        encode(&mut message);
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing {
            message: message.freeze(),
            no_credit_at: Instant::now() + self.credit_timeout,
            credit_timeout: self.credit_timeout,
            outcome_timeout: self.outcome_timeout,
            answer,
        };
        // Those in front wait no longer than this one may.
        if self.queue.send(outgoing).await.is_err() {
            return Err(error::end_of(&self.end).into());
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Err(error::end_of(&self.end).into()),
        }
    }
}
