//! What one look does not show.

use std::time::Instant;

use weir_metrics::Tally;

use super::numbers::Numbers;

/// Messages a second, over the last interval. Somebody has to say when one ends ([`Rates::observe`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub(super) received: f64,
    pub(super) sent: f64,
    /// When the last interval ended, and what had been received and sent by then.
    last: Option<(Instant, u64, u64)>,
}

impl Rates {
    /// Ends an interval: rates are those of the time since the last call.
    pub fn observe(&mut self, tally: &Tally, now: Instant) {
        let numbers = Numbers::of(tally);
        let (received, sent) = (numbers.received(), numbers.sent());
        if let Some((since, received_before, sent_before)) = self.last {
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            if seconds > 0.0 {
                let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
                self.received = rate(received, received_before);
                self.sent = rate(sent, sent_before);
            }
        }
        self.last = Some((now, received, sent));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_metrics::{Metrics, MqttCount};

    use super::*;

    #[test]
    fn rates_are_of_the_last_interval() {
        let start = Instant::now();
        let metrics = Metrics::new("h", start);
        let mut rates = Rates::default();
        rates.observe(&metrics.tally(), start);
        assert_eq!(rates.received, 0.0);
        metrics.mqtt().add(MqttCount::PublishQos1Received, 30);
        metrics.mqtt().add(MqttCount::PublishQos0Sent, 5);
        let then = start + Duration::from_secs(10);
        rates.observe(&metrics.tally(), then);
        assert_eq!((rates.received, rates.sent), (3.0, 0.5));
        rates.observe(&metrics.tally(), then + Duration::from_secs(10));
        assert_eq!((rates.received, rates.sent), (0.0, 0.0));
    }
}
