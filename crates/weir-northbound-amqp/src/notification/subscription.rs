//! One link to an application that is told of changes in the registry.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::unconstrained;
use weir_amqp_engine::{Connection, LinkId, SendOptions, SenderSettleMode, SessionId};
use weir_core::LogLimit;

use super::Topic;
use crate::slots::Linked;
use crate::token::Token;

static MISSED: LogLimit = LogLimit::new();

/// A link, as the task that owns its connection keeps it. What waits for its credit is in its topic.
pub(crate) struct Subscription {
    id: LinkId,
    session: SessionId,
    topic: Topic,
    /// The application wants its notifications settled already, or leaves it to us.
    presettled: bool,
    /// How long the application may take to settle one that is not.
    outcome_timeout: Duration,
    /// The application has asked for its credit to be used or given back.
    pub(crate) is_draining: bool,
    notifications: BoxStream<'static, Result<Bytes, Missed>>,
}

impl Linked for Subscription {
    fn id(&self) -> LinkId {
        self.id
    }

    fn session(&self) -> SessionId {
        self.session
    }
}

/// So many notifications were dropped while there was no credit for them.
struct Missed(u64);

impl Subscription {
    pub(crate) fn new(
        (id, session): (LinkId, SessionId),
        (topic, receiver): (Topic, Receiver<Bytes>),
        settle_mode: SenderSettleMode,
        outcome_timeout: Duration,
    ) -> Self {
        Self {
            id,
            session,
            topic,
            presettled: settle_mode != SenderSettleMode::Unsettled,
            outcome_timeout,
            is_draining: false,
            notifications: stream::unfold(receiver, next).fuse().boxed(),
        }
    }

    /// Sends what there is credit for, and arranges to be woken by the next notification if there is
    /// credit left.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        engine: &mut Connection<Token>,
    ) {
        let mut has_sent_all = false;
        while !has_sent_all && engine.can_send(self.id) {
            match self.notifications.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => self.send(now, engine, &message),
                Poll::Ready(Some(Err(missed))) => self.log_missed(now, missed),
                Poll::Ready(None) | Poll::Pending => has_sent_all = true,
            }
        }
        if self.is_draining && (has_sent_all || engine.credit(self.id) == 0) {
            self.is_draining = false;
            engine.drained(self.id);
        }
    }

    fn send(&self, now: Instant, engine: &mut Connection<Token>, message: &[u8]) {
        let options = SendOptions {
            settled: self.presettled,
            // What the application says makes no difference, but deliveries that it never settles
            // would add up, and in the end hold up the other links of its session.
            give_up_at: Some(now + self.outcome_timeout),
        };
        let encode = |buffer: &mut bytes::BytesMut| buffer.extend_from_slice(message);
        // It was asked right before whether this can be sent.
        let _ = engine.send(now, self.id, Token::Unobserved, options, encode);
    }

    fn log_missed(&self, now: Instant, Missed(count): Missed) {
        if let Some(unlogged) = MISSED.admit(now) {
            let address = self.topic.address();
            tracing::warn!(
                address,
                count,
                unlogged,
                "notifications dropped: an application took them too slowly"
            );
        }
    }
}

/// The oldest notification that is still there. Unconstrained, so that pending means that there is
/// none, and not that it is some other task's turn: a drain must not end before the last one.
async fn next(mut receiver: Receiver<Bytes>) -> Option<(Result<Bytes, Missed>, Receiver<Bytes>)> {
    match unconstrained(receiver.recv()).await {
        Ok(message) => Some((Ok(message), receiver)),
        Err(RecvError::Lagged(count)) => Some((Err(Missed(count)), receiver)),
        Err(RecvError::Closed) => None,
    }
}
