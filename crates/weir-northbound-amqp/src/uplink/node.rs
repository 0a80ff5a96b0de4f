//! An address that passes messages on, and who consumes from it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use weir_core::{Completion, Delivery, Downstream, Outlet, Qos, Reason};

use super::{Consumer, Outgoing, Refused};
use crate::config::Limits;
use crate::figures::ConsumerFigures;
use crate::meters::Meters;

/// Of so many messages one goes to a consumer that is frozen, if it has none yet.
const PROBE_EVERY: usize = 64;

/// Who comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Frozen, and to be tried.
    Probed,
    Alive,
    Frozen,
}

/// One address and its competing consumers.
#[derive(Debug)]
pub(crate) struct Node {
    outcome_timeout: Duration,
    meters: Mutex<Meters>,
    consumers: ArcSwap<Vec<Arc<Consumer>>>,
    /// Where the search for a consumer starts next.
    next: AtomicUsize,
}

impl Node {
    /// A node that nobody consumes from.
    pub(crate) fn new(limits: Limits, meters: Meters) -> Self {
        Self {
            outcome_timeout: limits.outcome_timeout,
            meters: Mutex::new(meters),
            consumers: ArcSwap::default(),
            next: AtomicUsize::new(0),
        }
    }

    /// The series of its messages.
    pub(crate) fn meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its consumers are like together.
    pub(crate) fn figures(&self) -> ConsumerFigures {
        let consumers = self.consumers.load();
        let there = consumers.iter().filter(|consumer| !consumer.is_gone());
        there.map(|consumer| consumer.figures()).sum()
    }

    /// Nobody consumes from the address and no session sends to it.
    pub(crate) fn is_unused(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.consumers.load().is_empty()
    }

    pub(crate) fn add(&self, consumer: &Arc<Consumer>) {
        self.consumers.rcu(|consumers| {
            let mut more = Vec::clone(consumers);
            more.push(consumer.clone());
            more
        });
    }

    /// Takes out the consumers that are gone.
    pub(crate) fn prune(&self) {
        if self
            .consumers
            .load()
            .iter()
            .any(|consumer| consumer.is_gone())
        {
            self.consumers.rcu(|consumers| {
                let mut fewer = Vec::clone(consumers);
                fewer.retain(|consumer| !consumer.is_gone());
                fewer
            });
        }
    }

    /// `consumer` has credit to spare: others let it have what waits for theirs.
    pub(crate) fn nudge_others(&self, consumer: &Arc<Consumer>) {
        let consumers = self.consumers.load();
        if consumers.len() < 2 {
            return;
        }
        for other in consumers.iter().filter(|other| !other.has_spare_credit()) {
            if !Arc::ptr_eq(other, consumer) {
                other.nudge();
            }
        }
    }

    /// Whether a consumer other than this one could take a message at once.
    pub(crate) fn has_other_with_credit(&self, consumer: &Arc<Consumer>) -> bool {
        let consumers = self.consumers.load();
        let is_other = |other: &&Arc<Consumer>| !Arc::ptr_eq(other, consumer);
        consumers
            .iter()
            .filter(is_other)
            .any(|other| other.is_ready())
    }

    /// Gives a message to the consumer that can send it at once and has the fewest that it has not
    /// done with, so that a slow one gets less, beginning with another one each time; to one that is
    /// expected to have credit soon if none can. One that is frozen comes last, but for a message now
    /// and then that shows whether it still is. With a single consumer the order of messages is kept.
    ///
    /// # Errors
    /// The message itself if nobody consumes, or nobody takes more at the moment.
    pub(crate) fn dispatch(&self, outgoing: Box<Outgoing>) -> Result<(), Refused> {
        let consumers = self.consumers.load();
        match consumers.as_slice() {
            [] => Err((outgoing, Reason::NoConsumer)),
            [only] => only.offer(outgoing),
            several => self.dispatch_to_best(several, outgoing),
        }
    }

    fn dispatch_to_best(
        &self,
        consumers: &[Arc<Consumer>],
        mut outgoing: Box<Outgoing>,
    ) -> Result<(), Refused> {
        let count = consumers.len();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let candidates = || (0..count).map(|step| &consumers[start.wrapping_add(step) % count]);
        let is_probe = start.is_multiple_of(PROBE_EVERY);
        let rank = |consumer: &&Arc<Consumer>| {
            let outstanding = consumer.outstanding();
            let is_without = !consumer.has_spare_credit();
            let standing = match consumer.is_frozen() {
                true if is_probe && outstanding == 0 && !is_without => Standing::Probed,
                true => Standing::Frozen,
                false => Standing::Alive,
            };
            (standing, is_without, outstanding)
        };
        let best = candidates().min_by_key(rank);
        let mut refusal = Reason::NoConsumer;
        // The best may have gone or filled up in the meantime; then any other will do.
        for consumer in best.into_iter().chain(candidates()) {
            match consumer.offer(outgoing) {
                Ok(()) => return Ok(()),
                Err((refused, reason)) => {
                    outgoing = refused;
                    if reason == Reason::NoCredit {
                        refusal = reason;
                    }
                }
            }
        }
        Err((outgoing, refusal))
    }
}

impl Outlet for Node {
    fn publish(&self, message: Downstream) -> Delivery {
        let now = Instant::now();
        let at_least_once = message.qos == Qos::AtLeastOnce;
        let (delivery, completion) = if at_least_once {
            Delivery::open()
        } else {
            // Done as soon as a consumer's link has it; what becomes of it then nobody waits for.
            (Delivery::settled(Ok(()), now), Completion::unobserved())
        };
        let give_up_at = now + self.outcome_timeout;
        let outgoing = Outgoing {
            message,
            completion,
            give_up_at,
        };
        match self.dispatch(Box::new(outgoing)) {
            Ok(()) => delivery,
            Err((_, reason)) => {
                self.meters().refused(&reason);
                Delivery::settled(Err(reason), now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use weir_metrics::{AmqpType, Component, Metrics};

    use super::*;
    use crate::message::tests::message;
    use crate::meters::tests::meters;
    use crate::uplink::Order;

    fn limits() -> Limits {
        crate::AmqpConfig {
            queue_messages: 2,
            ..Default::default()
        }
        .limits()
    }

    fn node() -> Node {
        Node::new(limits(), meters())
    }

    #[tokio::test]
    async fn without_a_consumer_every_message_is_refused_at_once() {
        let node = node();
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            let settled = node.publish(message(qos)).await;
            assert_eq!(settled.disposition, Err(Reason::NoConsumer), "{qos:?}");
        }
    }

    #[tokio::test]
    async fn where_refusals_are_counted_is_looked_up_once() {
        let metrics = Metrics::new("test", Instant::now());
        let meters = Meters::new(&metrics, &"acme".into(), AmqpType::Telemetry);
        let node = Node::new(limits(), meters);
        let series = metrics.tenant(Component::NORTHBOUND_AMQP, "acme");
        assert_eq!(Arc::weak_count(&series), 0);
        for _ in 0..2 {
            let refused = publish(&node, Qos::AtMostOnce).await;
            assert_eq!(refused, Err(Reason::NoConsumer));
            assert_eq!(Arc::weak_count(&series), 1, "the node knows them");
        }
    }

    fn consumers<const N: usize>(
        node: &Node,
    ) -> ([Arc<Consumer>; N], mpsc::UnboundedReceiver<Order>) {
        let (queue, queued) = mpsc::unbounded_channel();
        let consumers = std::array::from_fn(|slot| {
            let consumer = Arc::new(Consumer::new(limits(), queue.clone(), slot));
            node.add(&consumer);
            consumer
        });
        (consumers, queued)
    }

    async fn publish(node: &Node, qos: Qos) -> Result<(), Reason> {
        node.publish(message(qos)).await.disposition
    }

    #[tokio::test]
    async fn competing_consumers_share_and_a_full_queue_is_no_credit() {
        let node = node();
        let (consumers, mut queued) = consumers::<2>(&node);
        for _ in 0..4 {
            assert_eq!(publish(&node, Qos::AtMostOnce).await, Ok(()));
        }
        assert_eq!(
            consumers.each_ref().map(|consumer| consumer.waiting()),
            [2, 2]
        );
        assert_eq!(
            publish(&node, Qos::AtLeastOnce).await,
            Err(Reason::NoCredit)
        );
        let Ok(Order::Send(consumer, outgoing)) = queued.try_recv() else {
            panic!("nothing was queued");
        };
        consumer.taken(&outgoing);
        assert_eq!(publish(&node, Qos::AtMostOnce).await, Ok(()));
    }

    #[tokio::test]
    async fn messages_go_where_there_is_credit() {
        let node = node();
        let (consumers, mut queued) = consumers::<3>(&node);
        consumers[1].set_credit(2, 0, false);
        for _ in 0..2 {
            assert_eq!(publish(&node, Qos::AtMostOnce).await, Ok(()));
        }
        assert_eq!(
            consumers.each_ref().map(|consumer| consumer.waiting()),
            [0, 2, 0]
        );
        // One that has credit again asks the others for what waits for theirs.
        consumers[2].set_credit(1, 0, false);
        consumers[1].set_credit(0, 0, false);
        node.nudge_others(&consumers[2]);
        node.nudge_others(&consumers[2]);
        let mut nudged = Vec::new();
        while let Ok(order) = queued.try_recv() {
            if let Order::PassOn(consumer) = order {
                nudged.push(consumer.slot());
            }
        }
        assert_eq!(nudged, [1], "once");
    }

    #[tokio::test]
    async fn nothing_is_kept_for_consumers_that_are_asleep_or_gone() {
        let node = node();
        let (consumers, _queued) = consumers::<2>(&node);
        for consumer in &consumers {
            consumer.set_credit(0, 0, true);
        }
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            assert_eq!(publish(&node, qos).await, Err(Reason::NoCredit), "{qos:?}");
        }
        consumers[0].close();
        consumers[1].set_credit(1, 0, false);
        assert_eq!(
            publish(&node, Qos::AtMostOnce).await,
            Ok(()),
            "the other one takes it"
        );
        consumers[1].close();
        node.prune();
        assert_eq!(
            publish(&node, Qos::AtMostOnce).await,
            Err(Reason::NoConsumer)
        );
    }

    #[tokio::test]
    async fn of_two_with_credit_the_slow_one_gets_less() {
        let node = node();
        let (consumers, _queued) = consumers::<2>(&node);
        consumers[0].set_credit(100, 2, false);
        consumers[1].set_credit(100, 0, false);
        for expected in [[0, 1], [0, 2]] {
            assert_eq!(publish(&node, Qos::AtMostOnce).await, Ok(()));
            let waiting = consumers.each_ref().map(|consumer| consumer.waiting());
            assert_eq!(waiting, expected);
        }
    }

    #[tokio::test]
    async fn of_two_with_credit_a_frozen_one_gets_one_message_now_and_then() {
        let node = node();
        let (consumers, mut queued) = consumers::<2>(&node);
        for consumer in &consumers {
            consumer.set_credit(1000, 0, false);
        }
        consumers[1].set_frozen(true);
        assert!(!node.has_other_with_credit(&consumers[0]));
        assert!(node.has_other_with_credit(&consumers[1]));
        let mut frozen = 0;
        for number in 0..4 * PROBE_EVERY {
            assert_eq!(publish(&node, Qos::AtMostOnce).await, Ok(()));
            let Ok(Order::Send(consumer, outgoing)) = queued.try_recv() else {
                panic!("nothing was queued");
            };
            consumer.taken(&outgoing);
            if consumer.slot() == 1 {
                frozen += 1;
                // It keeps the second one.
                consumer.set_credit(1000, usize::from(frozen > 1), false);
            } else {
                // As if it always had more to do.
                consumer.set_credit(1000, 5, false);
            }
            let expected = 1 + usize::from(number >= PROBE_EVERY);
            assert_eq!(frozen, expected, "{number}");
        }
        consumers[1].set_credit(1000, 0, false);
        consumers[1].set_frozen(false);
        assert_eq!(publish(&node, Qos::AtMostOnce).await, Ok(()));
        assert_eq!(consumers[1].waiting(), 1, "like everybody");
        // Somebody without credit is better still.
        consumers[1].set_frozen(true);
        consumers[0].set_credit(0, 0, false);
        assert_eq!(publish(&node, Qos::AtMostOnce).await, Ok(()));
        assert_eq!(consumers[0].waiting(), 1);
    }
}
