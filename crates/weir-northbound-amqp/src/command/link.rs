//! One link by which an application sends commands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesOrdered, FuturesUnordered};
use tokio::sync::watch;
use weir_amqp_engine::{Connection, DeliveryId, Error, LinkId, Outcome, SessionId};
use weir_core::command::{CommandOutcome, Commands, Resolved};
use weir_core::{LogLimit, TenantId, shorten};

use super::parse::{BAD_REQUEST, parse, rejected};
use crate::slots::Linked;
use crate::token::Token;

/// Commands of a link that may be open at a time: its credit, while commands are wanted.
const CREDIT: u32 = 100;
/// Credit is given so many at a time: a flow for each command would cost as much as the command.
const LOT: u32 = 10;
/// Bytes that an open command takes up besides its message, about.
const OVERHEAD: usize = 2048;
/// Bytes of commands that a connection may have open; more are released.
const MOST_BYTES: usize = 16 << 20;

static OVER_BUDGET: LogLimit = LogLimit::new();
static REJECTED: LogLimit = LogLimit::new();

/// A link, as the task that owns its connection keeps it.
pub(crate) struct Link {
    id: LinkId,
    session: SessionId,
    tenant: TenantId,
    commands: Commands,
    /// Whether any of the tenant's devices has asked for commands (northbound contract §1.8).
    is_wanted: bool,
    /// When that changes.
    wanted: BoxStream<'static, bool>,
    /// In the order in which they came, in which they are handed over.
    resolving: FuturesOrdered<BoxFuture<'static, (Delivery, Resolved)>>,
    /// Handed over.
    open: FuturesUnordered<BoxFuture<'static, (Delivery, CommandOutcome)>>,
    budget: Budget,
}

/// What the commands of a connection that are open take up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<AtomicUsize>);

/// A part of it, given back when it is dropped.
struct Share(Budget, usize);

/// A command's delivery.
struct Delivery {
    id: DeliveryId,
    /// The application wants no outcome.
    settled: bool,
    _share: Share,
}

impl Budget {
    fn take(&self, size: usize) -> Option<Share> {
        let share = Share(self.clone(), size);
        let taken = self.0.fetch_add(size, Ordering::Relaxed);
        // Dropped, it is given back.
        (taken + size <= MOST_BYTES).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Linked for Link {
    fn id(&self) -> LinkId {
        self.id
    }

    fn session(&self) -> SessionId {
        self.session
    }
}

impl Link {
    pub(crate) fn new(
        (id, session): (LinkId, SessionId),
        tenant: TenantId,
        commands: Commands,
        budget: Budget,
    ) -> Self {
        let mut wanted = commands.is_wanted(&tenant);
        let is_wanted = *wanted.borrow_and_update();
        Self {
            id,
            session,
            tenant,
            commands,
            is_wanted,
            wanted: stream::unfold(wanted, changed).fuse().boxed(),
            resolving: FuturesOrdered::new(),
            open: FuturesUnordered::new(),
            budget,
        }
    }

    /// Takes a message that has arrived.
    pub(crate) fn arrive(
        &mut self,
        engine: &mut Connection<Token>,
        (id, message, settled): (DeliveryId, Bytes, bool),
    ) {
        let size = message.len() + OVERHEAD;
        let refusal = match (parse(&self.tenant, message), self.budget.take(size)) {
            (Ok(command), Some(share)) => {
                let delivery = Delivery {
                    id,
                    settled,
                    _share: share,
                };
                let commands = self.commands.clone();
                let resolve = async move { (delivery, commands.resolve(command).await) };
                return self.resolving.push_back(Box::pin(resolve));
            }
            (Ok(_), None) => {
                let tenant = self.tenant.as_str();
                if let Some(unlogged) = OVER_BUDGET.admit(Instant::now()) {
                    let what = "too many bytes of commands are open: one is released";
                    tracing::warn!(tenant, unlogged, "{what}");
                }
                Outcome::Released
            }
            (Err(fault), _) => {
                let tenant = shorten(self.tenant.as_str());
                if let Some(unlogged) = REJECTED.admit(Instant::now()) {
                    tracing::info!(tenant, %fault, unlogged, "command rejected");
                }
                fault.outcome()
            }
        };
        if !settled {
            engine.settle(self.id, id, &refusal);
        }
    }

    /// Hands over what is resolved, tells what became of commands, and gives credit.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, engine: &mut Connection<Token>) {
        let mut has_turned = false;
        while let Poll::Ready(Some(is_wanted)) = self.wanted.poll_next_unpin(cx) {
            has_turned |= self.is_wanted != is_wanted;
            self.is_wanted = is_wanted;
        }
        while let Poll::Ready(Some((delivery, resolved))) = self.resolving.poll_next_unpin(cx) {
            self.forward(delivery, resolved);
        }
        while let Poll::Ready(Some((delivery, outcome))) = self.open.poll_next_unpin(cx) {
            if !delivery.settled {
                engine.settle(self.id, delivery.id, &outcome_of(outcome));
            }
        }
        self.give_credit(engine, has_turned);
    }

    fn forward(&mut self, delivery: Delivery, resolved: Resolved) {
        // Handed over here, in order; only what becomes of it is waited for.
        let handed = resolved.forward();
        let outcome = async move { (delivery, handed.await) };
        self.open.push(Box::pin(outcome));
    }

    fn give_credit(&self, engine: &mut Connection<Token>, has_turned: bool) {
        let has = engine.incoming_credit(self.id);
        let may_have = match self.is_wanted {
            true => CREDIT.saturating_sub(self.in_flight()),
            false => 0,
        };
        let more = may_have.saturating_sub(has);
        if has_turned || more >= LOT || (has == 0 && more > 0) {
            engine.grant_credit(self.id, may_have);
        }
    }

    fn in_flight(&self) -> u32 {
        let count = self.resolving.len() + self.open.len();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The link has ended. Its commands are on their way, so they go on; nobody is told of it.
    pub(crate) fn end(mut self) {
        if self.in_flight() == 0 {
            return;
        }
        let finish = async move {
            while let Some((delivery, resolved)) = self.resolving.next().await {
                self.forward(delivery, resolved);
            }
            while self.open.next().await.is_some() {}
        };
        // Outside a runtime (it is being torn down) nothing goes on.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(finish);
        }
    }
}

/// What the application is told.
fn outcome_of(outcome: CommandOutcome) -> Outcome {
    match outcome {
        CommandOutcome::Accepted => Outcome::Accepted,
        CommandOutcome::Released => Outcome::Released,
        CommandOutcome::Rejected(reason) => rejected(Error::new(BAD_REQUEST, reason.text())),
    }
}

async fn changed(mut wanted: watch::Receiver<bool>) -> Option<(bool, watch::Receiver<bool>)> {
    wanted.changed().await.ok()?;
    let is_wanted = *wanted.borrow_and_update();
    Some((is_wanted, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connections_commands_share_their_bytes_and_give_them_back() {
        let budget = Budget::default();
        let most = budget.take(MOST_BYTES).unwrap();
        assert!(budget.clone().take(1).is_none());
        drop(most);
        let some = budget.take(MOST_BYTES - 1).unwrap();
        assert!(budget.take(2).is_none());
        assert!(budget.take(1).is_some());
        drop(some);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
