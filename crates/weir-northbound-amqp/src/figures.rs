//! What is told of consumers at each scrape.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::Weak;

use weir_core::TenantId;
use weir_metrics::{AmqpType, Figures, Name, Source};

use crate::embedded::Directory;

/// What links to applications are like, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConsumerFigures {
    pub(crate) links: usize,
    /// Messages that may be sent at once.
    pub(crate) credit: usize,
    /// Messages that wait for credit.
    pub(crate) queued: usize,
}

impl AddAssign for ConsumerFigures {
    fn add_assign(&mut self, other: Self) {
        self.links += other.links;
        self.credit += other.credit;
        self.queued += other.queued;
    }
}

impl Sum for ConsumerFigures {
    fn sum<I: Iterator<Item = Self>>(figures: I) -> Self {
        figures.fold(Self::default(), |mut sum, figures| {
            sum += figures;
            sum
        })
    }
}

/// All consumers, by tenant and kind.
pub(crate) type ByTenant = BTreeMap<(TenantId, &'static str), ConsumerFigures>;

/// Tells of the consumers of all addresses. A tenant whose devices are there and that has no consumer
/// has 0 of them.
#[derive(Debug)]
pub(crate) struct Consumers(pub(crate) Weak<Directory>);

impl Source for Consumers {
    fn families(&self) -> &'static [Name] {
        &[Name::Consumers, Name::ConsumerCredit, Name::ConsumerQueue]
    }

    fn collect(&self, figures: &mut Figures) {
        let Some(directory) = self.0.upgrade() else {
            return;
        };
        for ((tenant, kind), consumers) in directory.consumers() {
            let ConsumerFigures {
                links,
                credit,
                queued,
            } = consumers;
            for (name, value) in [
                (Name::Consumers, links),
                (Name::ConsumerCredit, credit),
                (Name::ConsumerQueue, queued),
            ] {
                figures.tell(name, &[tenant.as_str(), kind], value as f64);
            }
        }
    }
}

/// Counts consumers to those of their tenant and kind.
pub(crate) fn add(
    all: &mut ByTenant,
    tenant: &TenantId,
    kind: AmqpType,
    consumers: ConsumerFigures,
) {
    *all.entry((tenant.clone(), kind.as_str())).or_default() += consumers;
}
