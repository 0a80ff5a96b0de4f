//! The directory of all addresses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::broadcast;
use weir_core::command::Messaging;
use weir_core::{
    ChangeListener, Delivery, Downstream, Endpoint, Northbound, Outlet, Reason, TenantId,
};
use weir_event_store::EventStore;
use weir_metrics::{AmqpType, Metrics, Source};

use crate::address::Direct;
use crate::config::Limits;
use crate::events::Events;
use crate::figures::{self, ByTenant, Consumers};
use crate::meters::Meters;
use crate::notification::{Notifications, Topic};
use crate::uplink::Node;

/// The embedded northbound: the directory of all addresses. Clones share it.
#[derive(Clone, Debug)]
pub struct Embedded(Arc<Directory>);

#[derive(Debug)]
pub(crate) struct Directory {
    limits: Limits,
    nodes: RwLock<HashMap<Direct, Arc<Node>>>,
    events: Arc<Events>,
    notifications: Arc<Notifications>,
    metrics: Metrics,
    /// At how many addresses those that nobody uses are looked for.
    sweep_at: AtomicUsize,
}

/// Addresses from which on it is worth to look for unused ones.
const SWEEP_FROM: usize = 1024;

impl Embedded {
    /// A northbound without consumers. Events go to `store`, which is closed when the endpoint has
    /// stopped. What becomes of messages is recorded in `metrics`.
    pub fn new(config: &crate::AmqpConfig, store: EventStore, metrics: Metrics) -> Self {
        Self(Arc::new(Directory {
            limits: config.limits(),
            nodes: RwLock::default(),
            events: Arc::new(Events::new(store, metrics.clone())),
            notifications: Arc::new(Notifications::new()),
            metrics,
            sweep_at: AtomicUsize::new(SWEEP_FROM),
        }))
    }

    /// Tells every application that has asked for it what changes in the registry.
    pub fn notifications(&self) -> Arc<dyn ChangeListener> {
        self.0.notifications.clone()
    }

    /// What there is to tell of consumers. It does not keep the northbound.
    pub fn consumers(&self) -> Arc<dyn Source> {
        Arc::new(Consumers(Arc::downgrade(&self.0)))
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// A message was for an address that is not there.
    pub(crate) fn refused(&self, message: &Downstream) {
        if let Some(kind) = kind_of(message.endpoint) {
            let mut meters = Meters::new(&self.0.metrics, &message.tenant, kind);
            meters.refused(&Reason::NoConsumer);
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.limits
    }

    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.0.events
    }

    pub(crate) fn subscribe(&self, topic: Topic) -> broadcast::Receiver<Bytes> {
        self.0.notifications.subscribe(topic)
    }

    /// The node of an address, if there is one.
    pub(crate) fn find(&self, address: &Direct) -> Option<Arc<Node>> {
        let nodes = self.0.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(address).cloned()
    }

    /// The node of an address, which is made if there is none.
    pub(crate) fn node(&self, address: &Direct) -> Arc<Node> {
        if let Some(node) = self.find(address) {
            return node;
        }
        let mut nodes = self.0.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= self.0.sweep_at.load(Ordering::Relaxed) {
            // Sessions say nothing when they end; so what they have left behind is looked for when
            // the directory has grown.
            nodes.retain(|_, node| !node.is_unused());
            let next = (2 * nodes.len()).max(SWEEP_FROM);
            self.0.sweep_at.store(next, Ordering::Relaxed);
        }
        nodes
            .entry(address.clone())
            .or_insert_with(|| Arc::new(self.new_node(address)))
            .clone()
    }

    fn new_node(&self, address: &Direct) -> Node {
        let (tenant, kind) = address.tenant_and_kind();
        Node::new(self.0.limits, Meters::new(&self.0.metrics, tenant, kind))
    }

    /// Forgets a node if nobody consumes from it and no session sends to it, so that attaching to
    /// ever new addresses leaves nothing behind.
    pub(crate) fn forget_unused(&self, address: &Direct) {
        let mut nodes = self.0.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if nodes.get(address).is_some_and(Node::is_unused) {
            nodes.remove(address);
        }
    }
}

impl Directory {
    /// All consumers there are, as they are now.
    pub(crate) fn consumers(&self) -> ByTenant {
        let mut all = ByTenant::new();
        // Their figures are not looked at under the lock that attaching links wait for.
        let nodes: Vec<_> = {
            let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
            let nodes = nodes.iter();
            nodes.map(|(at, node)| (at.clone(), node.clone())).collect()
        };
        for (address, node) in nodes {
            let (tenant, kind) = address.tenant_and_kind();
            figures::add(&mut all, tenant, kind, node.figures());
        }
        for (tenant, consumers) in self.events.consumers() {
            figures::add(&mut all, &tenant, AmqpType::Event, consumers);
        }
        all
    }
}

/// What a message over AMQP is counted as, if it is passed on at once.
fn kind_of(endpoint: Endpoint) -> Option<AmqpType> {
    match endpoint {
        Endpoint::Telemetry => Some(AmqpType::Telemetry),
        Endpoint::CommandResponse => Some(AmqpType::CommandResponse),
        Endpoint::Event => None,
    }
}

impl Northbound for Embedded {
    fn outlet(&self, tenant: &TenantId, endpoint: Endpoint) -> Arc<dyn Outlet> {
        match endpoint {
            Endpoint::Telemetry => self.node(&Direct::Telemetry(tenant.clone())),
            Endpoint::Event => Arc::new(self.0.events.outlet(tenant)),
            Endpoint::CommandResponse => Arc::new(Responses(self.clone())),
        }
    }
}

/// Where responses leave: each has an address of its own, which is there while somebody listens.
struct Responses(Embedded);

impl Outlet for Responses {
    fn publish(&self, message: Downstream) -> Delivery {
        let response = message.response.as_ref();
        let is_ours = response.is_some_and(|it| it.reply_to.messaging == Messaging::Amqp);
        let address = Direct::of(&message).filter(|_| is_ours);
        let node = address.and_then(|address| self.0.find(&address));
        match node {
            Some(node) => node.publish(message),
            None => {
                if is_ours {
                    self.0.refused(&message);
                }
                Delivery::settled(Err(Reason::NoConsumer), Instant::now())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use weir_core::Qos;
    use weir_event_store::Options;

    use super::*;
    use crate::message::tests::{message, response};
    use crate::uplink::Consumer;

    fn embedded() -> (Embedded, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = EventStore::open(folder.path(), Options::default()).unwrap();
        let metrics = Metrics::new("test", Instant::now());
        (Embedded::new(&Default::default(), store, metrics), folder)
    }

    #[tokio::test]
    async fn an_address_that_nobody_uses_is_forgotten() {
        let (embedded, _folder) = embedded();
        let address = Direct::Telemetry("acme".into());
        let node = embedded.node(&address);
        embedded.forget_unused(&address);
        assert!(Arc::ptr_eq(&node, &embedded.node(&address)));
        drop(node);
        embedded.forget_unused(&address);
        assert!(embedded.0.nodes.read().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_response_goes_to_who_listens_at_its_address_and_leaves_no_other_behind() {
        let (embedded, _folder) = embedded();
        let outlet = embedded.outlet(&"acme".into(), Endpoint::CommandResponse);
        let address = Direct::Response("acme".into(), "4711/app/1".into());
        let (queue, _queued) = mpsc::unbounded_channel();
        let consumer = Arc::new(Consumer::new(embedded.limits(), queue, 0));
        embedded.node(&address).add(&consumer);
        let answer = || Downstream {
            qos: Qos::AtMostOnce,
            ..response("4711/app/1")
        };
        assert_eq!(outlet.publish(answer()).await.disposition, Ok(()));
        assert_eq!(consumer.waiting(), 1);
        let mut of_kafka = answer();
        of_kafka.response.as_mut().unwrap().reply_to.messaging = Messaging::Kafka;
        let elsewhere = Downstream {
            tenant: "other".into(),
            ..answer()
        };
        for other in [
            response("4711/app/2"),
            elsewhere,
            of_kafka,
            message(Qos::AtLeastOnce),
        ] {
            let settled = outlet.publish(other).await;
            assert_eq!(settled.disposition, Err(Reason::NoConsumer));
        }
        assert_eq!(embedded.0.nodes.read().unwrap().len(), 1);
    }
}
