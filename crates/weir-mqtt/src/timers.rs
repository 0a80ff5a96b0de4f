//! The clocks of a connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

/// How long a peer may leave what it is sent unread. Reading from it has stopped by then, so
/// nothing but this notices that it is gone.
const STALL: Duration = Duration::from_secs(30);

/// Ends a connection whose client has sent no packet for one and a half times the keep-alive it
/// announced [MQTT-3.1.2-24], or was told instead (MQTT 5 §3.2.2.3.14).
///
/// Packets only note when they came; the one timer of a connection looks at that note when it fires
/// and sleeps on, so that a message costs no registration with the timer wheel.
pub(crate) struct KeepAlive {
    period: Duration,
    last_packet: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl KeepAlive {
    /// A keep-alive of `seconds`; 0 turns it off [MQTT-3.1.2-10].
    pub(crate) fn new(seconds: u16, now: Instant) -> Self {
        let period = Duration::from_secs(u64::from(seconds)) * 3 / 2;
        Self {
            period,
            last_packet: now,
            timer: (seconds > 0).then(|| Box::pin(sleep(period))),
        }
    }

    /// A packet was handled that arrived at `now`.
    pub(crate) fn packet(&mut self, now: Instant) {
        self.last_packet = now;
    }

    /// Ready when the client has been silent for too long. While `paused` nothing is read from it,
    /// so it cannot be blamed for silence.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, paused: bool) -> Poll<()> {
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        while timer.as_mut().poll(cx).is_ready() {
            let (silent_since, now) = (&mut self.last_packet, Instant::now());
            match deadline(silent_since, self.period, now, paused) {
                Some(deadline) => timer.as_mut().reset(deadline.into()),
                None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

/// Until when a client may go on being silent, looked at `now`; `None` if it is over.
fn deadline(
    silent_since: &mut Instant,
    period: Duration,
    now: Instant,
    paused: bool,
) -> Option<Instant> {
    if paused {
        *silent_since = now;
    }
    let deadline = *silent_since + period;
    (deadline > now).then_some(deadline)
}

/// Ends a connection whose peer does not read what it is sent.
#[derive(Default)]
pub(crate) struct StallWatch {
    timer: Option<Pin<Box<Sleep>>>,
}

impl StallWatch {
    /// Output waits for the peer. Ready when it has waited for too long.
    pub(crate) fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let start = || Box::pin(sleep(STALL));
        self.timer.get_or_insert_with(start).as_mut().poll(cx)
    }

    /// The peer has read everything.
    pub(crate) fn drained(&mut self) {
        self.timer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(3);

    /// The time left for a client whose last packet came `ago`.
    fn left(ago: Duration, paused: bool) -> Option<Duration> {
        let then = Instant::now();
        let now = then + ago;
        let deadline = deadline(&mut then.clone(), PERIOD, now, paused)?;
        Some(deadline - now)
    }

    #[tokio::test]
    async fn the_period_is_one_and_a_half_times_the_keep_alive() {
        assert_eq!(KeepAlive::new(2, Instant::now()).period, PERIOD);
        assert!(KeepAlive::new(0, Instant::now()).timer.is_none());
    }

    #[test]
    fn a_packet_since_the_last_look_prolongs_it() {
        let second = Duration::from_secs(1);
        assert_eq!(left(second, false), Some(2 * second));
        assert_eq!(left(3 * second, false), None);
        assert_eq!(left(60 * second, false), None);
    }

    #[test]
    fn a_client_that_is_not_read_from_is_not_blamed() {
        assert_eq!(left(Duration::from_secs(60), true), Some(PERIOD));
    }
}
