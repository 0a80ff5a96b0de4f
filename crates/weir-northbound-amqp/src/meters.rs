//! What is measured of the messages to applications.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use weir_amqp_engine::Outcome;
use weir_core::{Reason, TenantId, TraceContext};
use weir_metrics::{AmqpType, Component, DeliveryOutcome, Metrics, TenantMeters, TraceId};

/// The series of one tenant's messages of one kind. It does not keep them: those of a tenant without
/// traffic may be removed, though applications wait for its messages. Then they are looked up anew.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    metrics: Metrics,
    tenant: TenantId,
    kind: AmqpType,
    known: Weak<TenantMeters>,
}

/// A message that was sent, until it has its outcome.
#[derive(Debug)]
pub(crate) struct Sent {
    tenant: Arc<TenantMeters>,
    kind: AmqpType,
    at: Instant,
    /// Boxed, because hardly any message has one.
    trace: Option<Box<TraceId>>,
}

impl Meters {
    pub(crate) fn new(metrics: &Metrics, tenant: &TenantId, kind: AmqpType) -> Self {
        Self {
            metrics: metrics.clone(),
            tenant: tenant.clone(),
            kind,
            known: Weak::new(),
        }
    }

    fn tenant(&mut self) -> Arc<TenantMeters> {
        if let Some(known) = self.known.upgrade() {
            return known;
        }
        let component = Component::NORTHBOUND_AMQP;
        let found = self.metrics.tenant(component, self.tenant.as_str());
        self.known = Arc::downgrade(&found);
        found
    }

    /// A message was not sent. That nobody consumes is no credit too: it is what a sender sees of it in a
    /// messaging network.
    pub(crate) fn refused(&mut self, reason: &Reason) {
        if matches!(reason, Reason::NoConsumer | Reason::NoCredit) {
            self.tenant().amqp_no_credit(self.kind);
        }
    }

    /// A message of this trace has waited so long for credit.
    pub(crate) fn waited(&mut self, waited: Duration, now: Instant, trace: &TraceContext) {
        let tenant = self.tenant();
        let meter = tenant.consumer_wait(self.kind);
        meter.record(waited, now, recorded(trace));
    }

    /// A message was sent that its receiver will say something of.
    pub(crate) fn sent(&mut self, at: Instant) -> Sent {
        Sent {
            tenant: self.tenant(),
            kind: self.kind,
            at,
            trace: None,
        }
    }
}

/// The id of a trace that somebody records.
fn recorded(trace: &TraceContext) -> Option<TraceId> {
    trace.is_sampled().then(|| TraceId(trace.trace_id()))
}

impl Sent {
    /// It belongs to this trace.
    pub(crate) fn traced(self, trace: &TraceContext) -> Self {
        Self {
            trace: recorded(trace).map(Box::new),
            ..self
        }
    }

    /// The message has its outcome.
    pub(crate) fn ended(&self, outcome: &Outcome, now: Instant) {
        match label(outcome) {
            Some(outcome) => {
                let meter = self.tenant.amqp_delivery(self.kind, outcome);
                let trace = self.trace.as_deref().copied();
                meter.record(now.saturating_duration_since(self.at), now, trace);
            }
            None => self.tenant.amqp_timeout(self.kind),
        }
    }
}

/// What the receiver said; `None` if it did not say it in time.
fn label(outcome: &Outcome) -> Option<DeliveryOutcome> {
    match outcome {
        Outcome::Accepted => Some(DeliveryOutcome::Accepted),
        Outcome::Rejected { .. } => Some(DeliveryOutcome::Rejected),
        Outcome::Released => Some(DeliveryOutcome::Released),
        Outcome::Modified { .. } => Some(DeliveryOutcome::Modified),
        Outcome::Unknown | Outcome::LinkLost => Some(DeliveryOutcome::Aborted),
        Outcome::TimedOut => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::SystemTime;

    use weir_metrics::{Format, View};

    use super::*;

    /// Of tests that do not look at them.
    pub(crate) fn meters() -> Meters {
        let metrics = Metrics::new("test", Instant::now());
        Meters::new(&metrics, &"acme".into(), AmqpType::Telemetry)
    }

    #[test]
    fn each_outcome_is_counted_as_what_the_receiver_said() {
        let start = Instant::now();
        let metrics = Metrics::new("test", start);
        let mut meters = Meters::new(&metrics, &"acme".into(), AmqpType::CommandResponse);
        let modified = Outcome::Modified {
            delivery_failed: true,
            undeliverable_here: false,
        };
        let rejected = Outcome::Rejected {
            condition: None,
            description: None,
        };
        let rows = [
            (Outcome::Accepted, "accepted", 1),
            (rejected, "rejected", 1),
            (Outcome::Released, "released", 1),
            (modified, "modified", 1),
            (Outcome::Unknown, "aborted", 1),
            (Outcome::LinkLost, "aborted", 2),
        ];
        let page = || weir_metrics::render(&metrics, start);
        let labels = "tenant=\"acme\",type=\"command_response\"";
        let value = |name: &str, labels: &str| {
            let page = page();
            let mut lines = page.lines();
            let line = lines.find(|line| line.starts_with(name) && line.contains(labels));
            let value = line.and_then(|line| line.rsplit(' ').next());
            value.map(|value| value.parse::<f64>().unwrap())
        };
        let duration = "hono_amqp_delivery_duration_seconds";
        for (outcome, said, count) in rows {
            let later = start + Duration::from_secs(2);
            meters.sent(start).ended(&outcome, later);
            let labels = format!("{labels},outcome=\"{said}\"");
            let count = f64::from(count);
            assert_eq!(value(&format!("{duration}_count"), &labels), Some(count));
            assert_eq!(
                value(&format!("{duration}_sum"), &labels),
                Some(2.0 * count)
            );
        }
        let before = page();
        meters.sent(start).ended(&Outcome::TimedOut, start);
        assert_eq!(value("hono_amqp_timeout_total", labels), Some(1.0));
        let untouched = |page: &str| page.lines().filter(|it| it.starts_with(duration)).count();
        assert_eq!(untouched(&page()), untouched(&before));
        for reason in [Reason::NoConsumer, Reason::NoCredit, Reason::Released] {
            meters.refused(&reason);
        }
        assert_eq!(value("hono_amqp_nocredit_total", labels), Some(2.0));
        meters.waited(Duration::from_secs(3), start, &TraceContext::unsampled());
        assert_eq!(value("weir_consumer_wait_seconds_sum", labels), Some(3.0));
    }

    #[test]
    fn a_trace_that_is_recorded_becomes_an_example() {
        let start = Instant::now();
        let metrics = Metrics::new("test", start);
        let mut meters = Meters::new(&metrics, &"acme".into(), AmqpType::Telemetry);
        let examples = || {
            let snapshot = metrics.snapshot(View::Hono, start);
            let page = snapshot.write(Format::OpenMetrics, SystemTime::now());
            page.matches("0af7651916cd43dd8448eb211c80319c").count()
        };
        for (flags, expected) in [("00", 0), ("01", 1)] {
            let trace = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let trace = TraceContext::parse(&trace).unwrap();
            let sent = meters.sent(start).traced(&trace);
            sent.ended(&Outcome::Accepted, start);
            assert_eq!(examples(), expected);
        }
    }

    #[test]
    fn the_series_of_an_idle_tenant_can_be_removed_and_come_again() {
        let idle = Duration::from_secs(60);
        let start = Instant::now();
        let options = weir_metrics::Options {
            tenant_idle_timeout: idle,
            ..weir_metrics::Options::default()
        };
        let metrics = Metrics::with_options("test", start, options);
        let mut meters = Meters::new(&metrics, &"acme".into(), AmqpType::Telemetry);
        let count = || {
            weir_metrics::render(&metrics, start)
                .matches("\"acme\"")
                .count()
        };
        let sent = meters.sent(start);
        meters.refused(&Reason::NoCredit);
        let series = count();
        assert!(series > 0);
        metrics.upkeep(start);
        metrics.upkeep(start + idle);
        assert_eq!(count(), series, "a message is out");
        drop(sent);
        metrics.upkeep(start + idle);
        assert_eq!(count(), 0);
        meters.refused(&Reason::NoCredit);
        assert_eq!(count(), series);
    }
}
