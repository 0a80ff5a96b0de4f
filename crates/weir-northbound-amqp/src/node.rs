//! Addresses and who consumes from them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use weir_core::{
    Completion, Delivery, Downstream, Endpoint, Northbound, Outlet, Qos, Reason, TenantId,
};

use crate::config::Limits;
use crate::consumer::{Consumer, Outgoing, Refused};

/// The embedded northbound: the directory of all addresses. Clones share it.
#[derive(Clone, Debug)]
pub struct Embedded(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    limits: Limits,
    nodes: RwLock<HashMap<(Endpoint, TenantId), Arc<Node>>>,
}

impl Embedded {
    /// A northbound without consumers.
    pub fn new(config: &crate::AmqpConfig) -> Self {
        Self(Arc::new(Directory {
            limits: config.limits(),
            nodes: RwLock::default(),
        }))
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.limits
    }

    pub(crate) fn node(&self, tenant: &TenantId, endpoint: Endpoint) -> Arc<Node> {
        let key = (endpoint, tenant.clone());
        let nodes = self.0.nodes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(&key) {
            return node.clone();
        }
        drop(nodes);
        let mut nodes = self.0.nodes.write().unwrap_or_else(PoisonError::into_inner);
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
        let is_unused =
            |node: &Arc<Node>| Arc::strong_count(node) == 1 && node.consumers.load().is_empty();
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

    pub(crate) fn remove(&self, consumer: &Arc<Consumer>) {
        self.consumers.rcu(|consumers| {
            let mut fewer = Vec::clone(consumers);
            fewer.retain(|other| !Arc::ptr_eq(other, consumer));
            fewer
        });
    }

    /// Gives a message to the consumer that has least waiting, beginning with another one each time.
    /// With a single consumer the order of messages is kept.
    ///
    /// # Errors
    /// The message itself if nobody consumes, or nobody takes more at the moment.
    pub(crate) fn dispatch(&self, outgoing: Box<Outgoing>) -> Result<(), Refused> {
        let consumers = self.consumers.load();
        let count = consumers.len();
        let start = if count > 1 {
            self.next.fetch_add(1, Ordering::Relaxed)
        } else {
            0
        };
        let candidates = (0..count).map(|step| &consumers[start.wrapping_add(step) % count]);
        match candidates.min_by_key(|consumer| consumer.waiting()) {
            Some(consumer) => consumer.offer(outgoing),
            None => Err((outgoing, Reason::NoConsumer)),
        }
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

    #[tokio::test]
    async fn competing_consumers_share_and_a_full_queue_is_no_credit() {
        let embedded = embedded();
        let node = embedded.node(&acme(), Endpoint::Telemetry);
        let (queue, mut queued) = mpsc::unbounded_channel();
        let consumers = [0, 1].map(|slot| {
            let consumer = Arc::new(Consumer::new(embedded.limits(), queue.clone(), slot));
            node.add(&consumer);
            consumer
        });
        for _ in 0..4 {
            assert_eq!(
                node.publish(message(Qos::AtMostOnce)).await.disposition,
                Ok(())
            );
        }
        assert_eq!(
            consumers.each_ref().map(|consumer| consumer.waiting()),
            [2, 2]
        );
        let refused = node.publish(message(Qos::AtLeastOnce)).await;
        assert_eq!(refused.disposition, Err(Reason::NoCredit));
        let (consumer, outgoing) = queued.try_recv().unwrap();
        consumer.taken(&outgoing);
        assert_eq!(
            node.publish(message(Qos::AtMostOnce)).await.disposition,
            Ok(())
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
