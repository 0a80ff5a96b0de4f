//! Where the series live.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use crate::meters::TenantMeters;
use crate::{AttemptOutcome, Component, Counter, Gauge, Kind, Name, Summary};

/// One series' value.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Counter(Arc<Counter>),
    Gauge(Arc<Gauge>),
    Summary(Arc<Summary>),
}

/// The values of a series' labels, in the order of [`Name::labels`].
pub(crate) type LabelValues = Box<[Box<str>]>;

type Series = BTreeMap<(Component, LabelValues), Cell>;

type Tenants = BTreeMap<(Component, Box<str>), Arc<TenantMeters>>;

/// All series of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: String,
    start: Instant,
    families: [RwLock<Series>; Name::ALL.len()],
    tenants: RwLock<Tenants>,
}

impl Metrics {
    /// A store whose series carry `host` as their label of that name.
    pub fn new(host: impl Into<String>, now: Instant) -> Self {
        let inner = Inner {
            host: host.into(),
            start: now,
            families: Default::default(),
            tenants: RwLock::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The value of the label `host`.
    pub fn host(&self) -> &str {
        &self.inner.host
    }

    /// The handles of `tenant` at `component`, made at the first call.
    pub fn tenant(&self, component: Component, tenant: &str) -> Arc<TenantMeters> {
        let key = (component, tenant.into());
        let tenants = self
            .inner
            .tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(meters) = tenants.get(&key) {
            return meters.clone();
        }
        drop(tenants);
        let mut tenants = self
            .inner
            .tenants
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(TenantMeters::new(self.clone(), component, tenant));
        tenants.entry(key).or_insert_with(make).clone()
    }

    /// Counts one attempt to connect. `tenant` is `None` where it is not known or not real, so that
    /// guessing tenants makes no series.
    pub fn connection_attempt(
        &self,
        component: Component,
        tenant: Option<&str>,
        outcome: AttemptOutcome,
        cipher_suite: Option<&str>,
    ) {
        let labels = [
            tenant.unwrap_or("UNKNOWN"),
            outcome.as_str(),
            cipher_suite.unwrap_or("UNKNOWN"),
        ];
        self.counter(Name::ConnectionsAttempts, component, &labels)
            .increment();
    }

    /// The gauge of open connections of devices that did not authenticate.
    pub fn unauthenticated_connections(&self, component: Component) -> Arc<Gauge> {
        self.gauge(Name::ConnectionsUnauthenticated, component, &[])
    }

    /// Brings the time that devices have been connected up to date. To be called every ten seconds
    /// and before a scrape.
    pub fn update_connected_time(&self, now: Instant) {
        let tenants = self
            .inner
            .tenants
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        for meters in tenants.values() {
            meters.update_connected_time(now);
        }
    }

    pub(crate) fn counter(&self, name: Name, at: Component, labels: &[&str]) -> Arc<Counter> {
        debug_assert_eq!(name.kind(), Kind::Counter);
        match self.cell(name, at, labels) {
            Cell::Counter(counter) => counter,
            Cell::Gauge(_) | Cell::Summary(_) => unreachable!("{name:?} is a counter"),
        }
    }

    pub(crate) fn gauge(&self, name: Name, at: Component, labels: &[&str]) -> Arc<Gauge> {
        debug_assert_eq!(name.kind(), Kind::Gauge);
        match self.cell(name, at, labels) {
            Cell::Gauge(gauge) => gauge,
            Cell::Counter(_) | Cell::Summary(_) => unreachable!("{name:?} is a gauge"),
        }
    }

    pub(crate) fn summary(&self, name: Name, at: Component, labels: &[&str]) -> Arc<Summary> {
        match self.cell(name, at, labels) {
            Cell::Summary(summary) => summary,
            Cell::Counter(_) | Cell::Gauge(_) => unreachable!("{name:?} is a summary"),
        }
    }

    fn cell(&self, name: Name, component: Component, labels: &[&str]) -> Cell {
        debug_assert_eq!(name.labels().len(), labels.len());
        let values = labels.iter().map(|value| Box::from(*value)).collect();
        let family = &self.inner.families[name as usize];
        let mut series = family.write().unwrap_or_else(PoisonError::into_inner);
        let make = || match name.kind() {
            Kind::Counter => Cell::Counter(Arc::default()),
            Kind::Gauge => Cell::Gauge(Arc::default()),
            Kind::Bytes | Kind::Seconds => Cell::Summary(Arc::new(Summary::new(self.inner.start))),
        };
        series
            .entry((component, values))
            .or_insert_with(make)
            .clone()
    }

    /// Calls `visit` for each series of `name`, in the order of their labels.
    pub(crate) fn visit(&self, name: Name, mut visit: impl FnMut(Component, &LabelValues, &Cell)) {
        let family = &self.inner.families[name as usize];
        let series = family.read().unwrap_or_else(PoisonError::into_inner);
        for ((component, labels), cell) in series.iter() {
            visit(*component, labels, cell);
        }
    }
}
