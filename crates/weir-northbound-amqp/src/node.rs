//! Addresses and who consumes from them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::broadcast;
use weir_core::{
    ChangeListener, Completion, Delivery, Downstream, Endpoint, Northbound, Outlet, Qos, Reason,
    TenantId,
};

use crate::config::Limits;
use crate::consumer::{Consumer, Outgoing, Refused};
use crate::notification::{Notifications, Topic};

/// The embedded northbound: the directory of all addresses. Clones share it.
#[derive(Clone, Debug)]
pub struct Embedded(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    limits: Limits,
    nodes: RwLock<HashMap<(Endpoint, TenantId), Arc<Node>>>,
    notifications: Arc<Notifications>,
    /// At how many addresses those that nobody uses are looked for.
    sweep_at: AtomicUsize,
}

/// Addresses from which on it is worth to look for unused ones.
const SWEEP_FROM: usize = 1024;

/// Nobody consumes from the address and no session sends to it.
fn is_unused(node: &Arc<Node>) -> bool {
    Arc::strong_count(node) == 1 && node.consumers.load().is_empty()
}

impl Embedded {
    /// A northbound without consumers.
    pub fn new(config: &crate::AmqpConfig) -> Self {
        Self(Arc::new(Directory {
            limits: config.limits(),
            nodes: RwLock::default(),
            notifications: Arc::new(Notifications::new()),
            sweep_at: AtomicUsize::new(SWEEP_FROM),
        }))
    }

    /// Tells every application that has asked for it what changes in the registry.
    pub fn notifications(&self) -> Arc<dyn ChangeListener> {
        self.0.notifications.clone()
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.limits
    }

    pub(crate) fn subscribe(&self, topic: Topic) -> broadcast::Receiver<Bytes> {
        self.0.notifications.subscribe(topic)
    }

    pub(crate) fn node(&self, tenant: &TenantId, endpoint: Endpoint) -> Arc<Node> {
        let key = (endpoint, tenant.clone());
        let nodes = self.0.nodes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(&key) {
            return node.clone();
        }
        drop(nodes);
        let mut nodes = self.0.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= self.0.sweep_at.load(Ordering::Relaxed) {
            // Sessions say nothing when they end; so what they have left behind is looked for when
            // the directory has grown.
            nodes.retain(|_, node| !is_unused(node));
            let next = (2 * nodes.len()).max(SWEEP_FROM);
            self.0.sweep_at.store(next, Ordering::Relaxed);
        }
        nodes
            .entry(key)
            .or_insert_with(|| Arc::new(Node::new(self.0.limits)))
            .clone()
    }

    /// Forgets `node` if nobody consumes from it and no session sends to it, so that attaching to
    /// ever new addresses leaves nothing behind.
    pub(crate) fn forget_unused(&self, tenant: &TenantId, endpoint: Endpoint) {
        let mut nodes = self.0.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let key = (endpoint, tenant.clone());
        if nodes.get(&key).is_some_and(is_unused) {
            nodes.remove(&key);
        }
    }
}

impl Northbound for Embedded {
    fn outlet(&self, tenant: &TenantId, endpoint: Endpoint) -> Arc<dyn Outlet> {
        self.node(tenant, endpoint)
    }
}

/// One address and its competing consumers.
#[derive(Debug)]
pub(crate) struct Node {
    outcome_timeout: Duration,
    consumers: ArcSwap<Vec<Arc<Consumer>>>,
    /// Where the search for a consumer starts next.
    next: AtomicUsize,
}

impl Node {
    fn new(limits: Limits) -> Self {
        Self {
            outcome_timeout: limits.outcome_timeout,
            consumers: ArcSwap::default(),
            next: AtomicUsize::new(0),
        }
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
            .any(|other| other.has_spare_credit())
    }

    /// Gives a message to the consumer that can send it at once and has least waiting, beginning
    /// with another one each time; to one that is expected to have credit soon if none can. With a
    /// single consumer the order of messages is kept.
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
        let rank = |consumer: &&Arc<Consumer>| (!consumer.has_spare_credit(), consumer.waiting());
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
            Err((_, reason)) => Delivery::settled(Err(reason), now),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::consumer::Order;
    use crate::message::tests::message;

    fn embedded() -> Embedded {
        Embedded::new(&crate::AmqpConfig {
            queue_messages: 2,
            ..Default::default()
        })
    }

    fn acme() -> TenantId {
        TenantId::from("acme")
    }

    #[tokio::test]
    async fn without_a_consumer_every_message_is_refused_at_once() {
        let outlet = embedded().outlet(&acme(), Endpoint::Telemetry);
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            let settled = outlet.publish(message(qos)).await;
            assert_eq!(settled.disposition, Err(Reason::NoConsumer), "{qos:?}");
        }
    }

    fn consumers<const N: usize>(
        embedded: &Embedded,
        node: &Node,
    ) -> ([Arc<Consumer>; N], mpsc::UnboundedReceiver<Order>) {
        let (queue, queued) = mpsc::unbounded_channel();
        let consumers = std::array::from_fn(|slot| {
            let consumer = Arc::new(Consumer::new(embedded.limits(), queue.clone(), slot));
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
        let embedded = embedded();
        let node = embedded.node(&acme(), Endpoint::Telemetry);
        let (consumers, mut queued) = consumers::<2>(&embedded, &node);
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
        let embedded = embedded();
        let node = embedded.node(&acme(), Endpoint::Telemetry);
        let (consumers, mut queued) = consumers::<3>(&embedded, &node);
        consumers[1].set_credit(2, false);
        for _ in 0..2 {
            assert_eq!(publish(&node, Qos::AtMostOnce).await, Ok(()));
        }
        assert_eq!(
            consumers.each_ref().map(|consumer| consumer.waiting()),
            [0, 2, 0]
        );
        // One that has credit again asks the others for what waits for theirs.
        consumers[2].set_credit(1, false);
        consumers[1].set_credit(0, false);
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
        let embedded = embedded();
        let node = embedded.node(&acme(), Endpoint::Telemetry);
        let (consumers, _queued) = consumers::<2>(&embedded, &node);
        for consumer in &consumers {
            consumer.set_credit(0, true);
        }
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
            assert_eq!(publish(&node, qos).await, Err(Reason::NoCredit), "{qos:?}");
        }
        consumers[0].close();
        consumers[1].set_credit(1, false);
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
    async fn an_address_that_nobody_uses_is_forgotten() {
        let embedded = embedded();
        let node = embedded.node(&acme(), Endpoint::Event);
        embedded.forget_unused(&acme(), Endpoint::Event);
        assert!(Arc::ptr_eq(&node, &embedded.node(&acme(), Endpoint::Event)));
        drop(node);
        embedded.forget_unused(&acme(), Endpoint::Event);
        assert!(embedded.0.nodes.read().unwrap().is_empty());
    }
}
