//! Where the series live.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::cell::Level;
use crate::page::component_labels;
use crate::source::Figures;
use crate::tally::{Messages, Most, Row, Tally};
use crate::tenants::{Tenants, UNKNOWN};
use crate::traffic::{MqttCounts, MqttTraffic};
use crate::{
    AttemptOutcome, AuthenticationOutcome, ClientType, Component, Counter, Direction, Gauge,
    MessageType, Name, Qos, Snapshot, Source, Status, TenantMeters, Ttd, View,
};

/// How many series there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tenants that may have series of their own. All others share those of the tenant `OVERFLOW`.
    pub max_tenants: usize,
    /// After how long without traffic and connections a tenant's series are removed; zero is never.
    pub tenant_idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_tenants: 10_000,
            tenant_idle_timeout: Duration::ZERO,
        }
    }
}

/// All series of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: String,
    start: Instant,
    options: Options,
    tenants: Tenants,
    /// Open connections of all devices.
    connections: Arc<Level>,
    unauthenticated: RwLock<BTreeMap<Component, Arc<Gauge>>>,
    authentications: [[Counter; ClientType::ALL.len()]; AuthenticationOutcome::ALL.len()],
    sources: RwLock<Vec<Arc<dyn Source>>>,
    mqtt: Arc<MqttTraffic>,
}

impl Metrics {
    /// A store whose series carry `host` as their label of that name.
    pub fn new(host: impl Into<String>, now: Instant) -> Self {
        Self::with_options(host, now, Options::default())
    }

    /// The same, with other bounds.
    pub fn with_options(host: impl Into<String>, now: Instant, options: Options) -> Self {
        let inner = Inner {
            host: host.into(),
            start: now,
            options,
            tenants: Tenants::new(options.max_tenants, options.tenant_idle_timeout),
            connections: Arc::default(),
            unauthenticated: RwLock::default(),
            authentications: Default::default(),
            sources: RwLock::default(),
            mqtt: Arc::new(MqttTraffic::new()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The value of the label `host`.
    pub fn host(&self) -> &str {
        &self.inner.host
    }

    /// Makes the series that dashboards expect of an adapter from its start, at 0: of the tenant `UNKNOWN`
    /// each status of each type, and what else they make a ratio of. Each is dozens of lines, so no more
    /// than that.
    pub fn announce(&self, component: Component) {
        let meters = self.tenant(component, UNKNOWN);
        for status in Status::ALL {
            for kind in MessageType::ALL {
                meters.upload(kind, Qos::AtLeastOnce, status, Ttd::None);
            }
            meters.command(Direction::OneWay, status);
        }
        let (kind, qos) = (MessageType::Telemetry, Qos::AtMostOnce);
        meters.upload(kind, qos, Status::Undeliverable, Ttd::None);
    }

    /// The handles of `tenant` at `component`, made at the first call. If too many other tenants have
    /// some, they are those of the tenant `OVERFLOW`.
    pub fn tenant(&self, component: Component, tenant: &str) -> Arc<TenantMeters> {
        let Inner { host, start, .. } = &*self.inner;
        let all = &self.inner.connections;
        let make = |tenant: &str| {
            let labels = component_labels(component, host, Some(tenant));
            TenantMeters::new(component, tenant, labels.into(), *start, all.clone())
        };
        self.inner.tenants.get(component, tenant, make)
    }

    /// Counts one attempt to connect. `tenant` is `None` where it is not known or not real, so that
    /// guessing tenants makes no series. The cipher suite is a registered name
    /// ([`cipher_suite`](crate::cipher_suite)); none is there without TLS.
    pub fn connection_attempt(
        &self,
        component: Component,
        tenant: Option<&str>,
        outcome: AttemptOutcome,
        cipher_suite: Option<&'static str>,
    ) {
        let meters = self.tenant(component, tenant.unwrap_or(UNKNOWN));
        meters.attempt(outcome, cipher_suite);
    }

    /// Counts one attempt of an application or a service to authenticate.
    pub fn authentication_attempt(&self, outcome: AuthenticationOutcome, client: ClientType) {
        self.inner.authentications[outcome as usize][client as usize].increment();
    }

    /// The gauge of open connections of devices that did not authenticate.
    pub fn unauthenticated_connections(&self, component: Component) -> Arc<Gauge> {
        let gauges = &self.inner.unauthenticated;
        let mut gauges = gauges.write().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Gauge::part_of(self.inner.connections.clone()));
        gauges.entry(component).or_insert_with(make).clone()
    }

    /// What MQTT connections count.
    pub fn mqtt(&self) -> &Arc<MqttTraffic> {
        &self.inner.mqtt
    }

    /// Everything that was counted until now, in plain numbers. Sources are not asked.
    pub fn tally(&self) -> Tally {
        let inner = &*self.inner;
        let (tenants, removed) = inner.tenants.all_and_removed();
        let rows = tenants.iter().map(|meters| Row {
            tenant: meters.tenant().into(),
            messages: Messages::of(meters),
            connections: meters
                .connected_if_any()
                .map_or(0, |it| u64::try_from(it.open()).unwrap_or(0)),
        });
        let gauges = &inner.unauthenticated;
        let gauges = gauges.read().unwrap_or_else(PoisonError::into_inner);
        let unauthenticated: i64 = gauges.values().map(|it| it.value()).sum();
        Tally {
            mqtt: MqttCounts(inner.mqtt.read()),
            rows: rows.collect(),
            removed,
            unauthenticated: u64::try_from(unauthenticated).unwrap_or(0),
            most: Most {
                connections: inner.connections.most(),
                subscriptions: inner.mqtt.subscriptions.most(),
                subscribers: inner.mqtt.subscribers.most(),
            },
        }
    }

    /// Asks `source` at each scrape for the families it has.
    pub fn register(&self, source: Arc<dyn Source>) {
        let sources = &self.inner.sources;
        let mut sources = sources.write().unwrap_or_else(PoisonError::into_inner);
        sources.push(source);
    }

    /// Brings the time that devices have been connected up to date. A snapshot does so too.
    pub fn update_connected_time(&self, now: Instant) {
        self.inner.tenants.for_each(|meters| {
            if let Some(connected) = meters.connected_if_any() {
                connected.update(now);
            }
        });
    }

    /// What is to be done every ten seconds: [`update_connected_time`](Self::update_connected_time), and
    /// the series of idle tenants are removed.
    pub fn upkeep(&self, now: Instant) {
        self.update_connected_time(now);
        self.inner.tenants.evict(now);
    }

    /// Everything one view shows, as it is at `now`. Sources are asked; nothing is written yet.
    pub fn snapshot(&self, view: View, now: Instant) -> Snapshot {
        self.update_connected_time(now);
        let inner = &*self.inner;
        let sources = inner.sources.read().unwrap_or_else(PoisonError::into_inner);
        let sources: Vec<_> = sources
            .iter()
            .filter(|it| shows(view, it))
            .cloned()
            .collect();
        let mut figures = Figures::new(inner.options.max_tenants);
        for source in sources {
            figures.ask(&*source);
        }
        match view {
            View::Hono => self.authentications(&mut figures),
            View::Native => self.own(&mut figures),
        }
        let gauges = &inner.unauthenticated;
        let gauges = gauges.read().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            view,
            now,
            host: inner.host.clone(),
            tenants: inner.tenants.all(),
            unauthenticated: gauges.iter().map(|(at, it)| (*at, it.value())).collect(),
            figures,
        }
    }

    fn authentications(&self, figures: &mut Figures) {
        let name = Name::AuthenticationAttempts;
        for (outcome, row) in AuthenticationOutcome::ALL
            .iter()
            .zip(&self.inner.authentications)
        {
            for (client, counter) in ClientType::ALL.iter().zip(row) {
                let labels = [outcome.as_str(), client.as_str()];
                figures.set(name, &labels, counter.value() as f64);
            }
        }
    }

    /// What this store has to say of itself.
    fn own(&self, figures: &mut Figures) {
        let tenants = &self.inner.tenants;
        let counts = [
            (Name::MetricsTenants, tenants.len() as u64),
            (Name::MetricsTenantsEvicted, tenants.evicted.value()),
            (Name::MetricsTenantsFolded, tenants.folded.count()),
        ];
        for (name, count) in counts {
            figures.set(name, &[], count as f64);
        }
    }
}

/// Whether a source has anything for a view.
fn shows(view: View, source: &Arc<dyn Source>) -> bool {
    let mut families = source.families().iter();
    families.any(|family| family.view() == view)
}
