//! What the parts of the gateway have to tell at each scrape.
//!
//! Parts that know nothing of metrics have figures; here is what they are called. Nothing in here waits:
//! [`Tenants`] counts beforehand, because it takes the database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weir_core::{
    ChangeKind, ChangeListener, ChangeSubject, ConnectionBudget, PasswordVerifier, RegistryChange,
};
use weir_event_store::EventStore;
use weir_listener::{Arrived, Counts, Tls};
use weir_metrics::{Figures, Name, Source};
use weir_registry::SqlRegistry;
use weir_traces::Traces;

/// How often tenants are counted though nobody has told of a change.
const COUNT: Duration = Duration::from_secs(60);
/// How long there is between two counts at least. Somebody may be making thousands of tenants.
const PAUSE: Duration = Duration::from_secs(1);

/// Spans, by what became of them.
#[derive(Debug)]
pub(crate) struct Spans(pub(crate) Traces);

impl Source for Spans {
    fn families(&self) -> &'static [Name] {
        &[Name::TracesSpans]
    }

    fn collect(&self, figures: &mut Figures) {
        let spans = self.0.figures();
        for (result, count) in [
            ("exported", spans.exported),
            ("dropped", spans.dropped),
            ("failed", spans.failed),
        ] {
            figures.tell(Name::TracesSpans, &[result], count as f64);
        }
    }
}

/// Checks of passwords.
#[derive(Debug)]
pub(crate) struct Passwords(pub(crate) PasswordVerifier);

impl Source for Passwords {
    fn families(&self) -> &'static [Name] {
        &[
            Name::PasswordChecks,
            Name::PasswordChecksRunning,
            Name::PasswordChecksWaiting,
        ]
    }

    fn collect(&self, figures: &mut Figures) {
        let load = self.0.figures();
        for (name, value) in [
            (Name::PasswordChecks, load.checks),
            (Name::PasswordChecksRunning, load.running),
            (Name::PasswordChecksWaiting, load.waiting),
        ] {
            figures.tell(name, &[], value as f64);
        }
    }
}

/// What is remembered of the registry.
#[derive(Debug)]
pub(crate) struct Caches(pub(crate) SqlRegistry);

impl Source for Caches {
    fn families(&self) -> &'static [Name] {
        &[Name::CacheEntries, Name::CacheHits, Name::CacheMisses]
    }

    fn collect(&self, figures: &mut Figures) {
        for cache in self.0.cache_figures() {
            for (name, value) in [
                (Name::CacheEntries, cache.entries),
                (Name::CacheHits, cache.hits),
                (Name::CacheMisses, cache.misses),
            ] {
                figures.tell(name, &[cache.cache], value as f64);
            }
        }
    }
}

/// Events that wait. A tenant that none wait of has 0.
#[derive(Debug)]
pub(crate) struct Events(pub(crate) EventStore);

impl Source for Events {
    fn families(&self) -> &'static [Name] {
        &[
            Name::EventsDead,
            Name::EventsOldestAge,
            Name::EventsStored,
            Name::EventsStoredBytes,
        ]
    }

    fn collect(&self, figures: &mut Figures) {
        let mut tenants = self.0.figures(OffsetDateTime::now_utc());
        tenants.sort_unstable_by(|left, right| left.tenant.cmp(&right.tenant));
        for tenant in tenants {
            let labels = [&*tenant.tenant];
            let age = tenant.events.oldest_age.unwrap_or_default();
            for (name, value) in [
                (Name::EventsDead, tenant.dead_letters.count as f64),
                (Name::EventsOldestAge, age.as_secs_f64()),
                (Name::EventsStored, tenant.events.count as f64),
                (Name::EventsStoredBytes, tenant.events.bytes as f64),
            ] {
                figures.tell(name, &labels, value);
            }
        }
    }
}

/// The connections of all listeners, and the places that devices have.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) listeners: Vec<Arc<Counts>>,
    pub(crate) budget: ConnectionBudget,
}

impl Source for Connections {
    fn families(&self) -> &'static [Name] {
        &[
            Name::Connections,
            Name::ConnectionsLimit,
            Name::ListenerConnections,
        ]
    }

    fn collect(&self, figures: &mut Figures) {
        figures.tell(Name::Connections, &[], self.budget.open() as f64);
        figures.tell(Name::ConnectionsLimit, &[], self.budget.limit() as f64);
        for counts in &self.listeners {
            for what in Arrived::ALL {
                let labels = [counts.listener(), what.as_str()];
                figures.tell(Name::ListenerConnections, &labels, counts.of(what) as f64);
            }
        }
    }
}

/// The certificates that listeners use now, by the listener's name.
#[derive(Debug)]
pub(crate) struct Expiry(pub(crate) BTreeMap<&'static str, Tls>);

impl Source for Expiry {
    fn families(&self) -> &'static [Name] {
        &[Name::CertificateExpiry]
    }

    fn collect(&self, figures: &mut Figures) {
        for (listener, tls) in &self.0 {
            if let Some(expires) = tls.expires() {
                figures.tell(Name::CertificateExpiry, &[listener], expires as f64);
            }
        }
    }
}

/// How many tenants there are, as of the last count. Told of a change, it counts soon.
#[derive(Clone, Debug)]
pub(crate) struct Tenants(Arc<Count>);

#[derive(Debug)]
struct Count {
    last: AtomicU64,
    has_changed: Notify,
}

impl Tenants {
    /// Counts for the first time.
    pub(crate) async fn of(registry: &SqlRegistry) -> anyhow::Result<Self> {
        let last = registry.count_tenants().await?;
        Ok(Self(Arc::new(Count {
            last: AtomicU64::new(last),
            has_changed: Notify::new(),
        })))
    }

    /// Counts again when there has been a change, and now and then, until `stop` is cancelled.
    pub(crate) async fn keep(self, registry: SqlRegistry, stop: CancellationToken) {
        let counting = async {
            loop {
                tokio::time::sleep(PAUSE).await;
                let changed = self.0.has_changed.notified();
                // Nothing was told in time: counted all the same.
                let _ = tokio::time::timeout(COUNT, changed).await;
                self.count(&registry).await;
            }
        };
        stop.run_until_cancelled(counting).await;
    }

    async fn count(&self, registry: &SqlRegistry) {
        match registry.count_tenants().await {
            Ok(count) => self.0.last.store(count, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "tenants cannot be counted"),
        }
        registry.tidy_caches().await;
    }
}

impl ChangeListener for Tenants {
    fn changed(&self, change: &RegistryChange) {
        if let ChangeSubject::Tenant {
            change: ChangeKind::Created | ChangeKind::Deleted,
            ..
        } = change.subject
        {
            self.0.has_changed.notify_one();
        }
    }
}

impl Source for Tenants {
    fn families(&self) -> &'static [Name] {
        &[Name::TenantsRegistered]
    }

    fn collect(&self, figures: &mut Figures) {
        let count = self.0.last.load(Ordering::Relaxed);
        figures.tell(Name::TenantsRegistered, &[], count as f64);
    }
}
