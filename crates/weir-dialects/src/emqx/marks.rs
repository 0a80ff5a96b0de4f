//! What one look does not show.

use std::time::Instant;

use weir_metrics::Tally;

use super::numbers::Numbers;

/// The largest values since the start, and rates over the last interval.
///
/// Somebody has to look at short intervals ([`Marks::observe`]): a peak between two looks is not seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    pub(super) connections: u64,
    pub(super) subscriptions: u64,
    pub(super) subscribers: u64,
    /// Messages a second.
    pub(super) received_rate: f64,
    pub(super) sent_rate: f64,
    /// When the last interval ended, and what had been received and sent by then.
    last: Option<(Instant, u64, u64)>,
}

impl Marks {
    /// Ends an interval: rates are those of the time since the last call.
    pub fn observe(&mut self, tally: &Tally, now: Instant) {
        let numbers = Numbers::of(tally);
        self.raise(&numbers);
        let (received, sent) = (numbers.received(), numbers.sent());
        if let Some((since, received_before, sent_before)) = self.last {
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            if seconds > 0.0 {
                let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
                self.received_rate = rate(received, received_before);
                self.sent_rate = rate(sent, sent_before);
            }
        }
        self.last = Some((now, received, sent));
    }

    /// Raises the largest values only.
    pub fn raise_to(&mut self, tally: &Tally) {
        self.raise(&Numbers::of(tally));
    }

    fn raise(&mut self, numbers: &Numbers) {
        self.connections = self.connections.max(numbers.connections);
        self.subscriptions = self.subscriptions.max(numbers.subscriptions());
        self.subscribers = self.subscribers.max(numbers.subscribers());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_metrics::{Component, Metrics, MqttCount};

    use super::*;

    #[test]
    fn rates_are_of_the_last_interval_and_largest_values_stay() {
        let start = Instant::now();
        let metrics = Metrics::new("h", start);
        let mut marks = Marks::default();
        marks.observe(&metrics.tally(), start);
        assert_eq!(marks.received_rate, 0.0);
        metrics.mqtt().add(MqttCount::PublishQos1Received, 30);
        metrics.mqtt().add(MqttCount::PublishQos0Sent, 5);
        let meters = metrics.tenant(Component::REGISTRY, "a");
        meters.connected().opened(start);
        let then = start + Duration::from_secs(10);
        marks.observe(&metrics.tally(), then);
        assert_eq!((marks.received_rate, marks.sent_rate), (3.0, 0.5));
        meters.connected().closed(then);
        marks.observe(&metrics.tally(), then + Duration::from_secs(10));
        assert_eq!((marks.received_rate, marks.sent_rate), (0.0, 0.0));
        assert_eq!(marks.connections, 1);
    }
}
