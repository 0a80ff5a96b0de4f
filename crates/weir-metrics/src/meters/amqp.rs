//! What AMQP messages of a tenant meet.

use std::sync::OnceLock;

use crate::window::Clock;
use crate::{AmqpType, Counter, DeliveryOutcome};

use super::{LatencyMeter, made};

const TYPES: usize = AmqpType::ALL.len();
const DELIVERIES: usize = TYPES * DeliveryOutcome::ALL.len();

/// The AMQP series of one tenant at one component, each made at its first use.
#[derive(Debug)]
pub(crate) struct AmqpMeters {
    deliveries: [OnceLock<Box<LatencyMeter>>; DELIVERIES],
    waits: [OnceLock<Box<LatencyMeter>>; TYPES],
    no_credit: [Counter; TYPES],
    timeouts: [Counter; TYPES],
}

impl Default for AmqpMeters {
    fn default() -> Self {
        Self {
            deliveries: [const { OnceLock::new() }; DELIVERIES],
            waits: [const { OnceLock::new() }; TYPES],
            no_credit: Default::default(),
            timeouts: Default::default(),
        }
    }
}

impl AmqpMeters {
    pub(super) fn delivery(
        &self,
        clock: Clock,
        kind: AmqpType,
        outcome: DeliveryOutcome,
    ) -> &LatencyMeter {
        let index = kind as usize * DeliveryOutcome::ALL.len() + outcome as usize;
        self.deliveries[index].get_or_init(|| Box::new(LatencyMeter::new(clock)))
    }

    pub(super) fn consumer_wait(&self, clock: Clock, kind: AmqpType) -> &LatencyMeter {
        self.waits[kind as usize].get_or_init(|| Box::new(LatencyMeter::new(clock)))
    }

    pub(super) fn no_credit(&self, kind: AmqpType) -> &Counter {
        &self.no_credit[kind as usize]
    }

    pub(super) fn timeout(&self, kind: AmqpType) -> &Counter {
        &self.timeouts[kind as usize]
    }

    /// Deliveries there are series of.
    pub(crate) fn deliveries(
        &self,
    ) -> impl Iterator<Item = (AmqpType, DeliveryOutcome, &LatencyMeter)> {
        made(&self.deliveries).map(|(index, meter)| {
            let outcomes = DeliveryOutcome::ALL.len();
            let (kind, outcome) = (index / outcomes, index % outcomes);
            (AmqpType::ALL[kind], DeliveryOutcome::ALL[outcome], meter)
        })
    }

    /// Waits there are series of.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (AmqpType, &LatencyMeter)> {
        made(&self.waits).map(|(index, meter)| (AmqpType::ALL[index], meter))
    }

    /// Messages without credit, of kinds that had some.
    pub(crate) fn without_credit(&self) -> impl Iterator<Item = (AmqpType, u64)> {
        counted(&self.no_credit)
    }

    /// Messages without a disposition in time, of kinds that had some.
    pub(crate) fn timed_out(&self) -> impl Iterator<Item = (AmqpType, u64)> {
        counted(&self.timeouts)
    }

    /// A number that changes with everything that is recorded.
    pub(super) fn activity(&self) -> u64 {
        let latencies = made(&self.deliveries).chain(made(&self.waits));
        let latencies: u64 = latencies.map(|(_, meter)| meter.duration.count()).sum();
        let counters = self.no_credit.iter().chain(&self.timeouts);
        latencies + counters.map(Counter::value).sum::<u64>()
    }
}

fn counted(counters: &[Counter]) -> impl Iterator<Item = (AmqpType, u64)> {
    let counted = AmqpType::ALL.into_iter().zip(counters);
    let counted = counted.map(|(kind, counter)| (kind, counter.value()));
    counted.filter(|(_, count)| *count > 0)
}
