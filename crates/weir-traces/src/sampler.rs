//! Which of the traces are recorded that begin here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SamplingDecision, ShouldSample as _};

use crate::{Sampler, TracesConfig};

/// Decides.
#[derive(Debug)]
pub(crate) enum Root {
    /// As the SDK does.
    Sdk(SdkSampler),
    /// So many a second. The SDK has that only together with Jaeger's remote sampler.
    Limited(RateLimit),
}

impl Root {
    pub(crate) fn of(config: &TracesConfig) -> Self {
        match config.sampler {
            Sampler::AlwaysOn => Self::Sdk(SdkSampler::AlwaysOn),
            Sampler::AlwaysOff => Self::Sdk(SdkSampler::AlwaysOff),
            Sampler::TraceIdRatio => Self::Sdk(SdkSampler::TraceIdRatioBased(config.argument())),
            Sampler::RateLimiting => {
                Self::Limited(RateLimit::new(config.argument(), Instant::now()))
            }
        }
    }

    pub(crate) fn samples(&self, trace_id: u128) -> bool {
        match self {
            Self::Sdk(sampler) => {
                let id = TraceId::from(trace_id);
                let result = sampler.should_sample(None, id, "", &SpanKind::Server, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
            Self::Limited(limit) => limit.admits(Instant::now()),
        }
    }
}

/// Lets so many through a second, and after a pause those of a second at once, but one in any case.
#[derive(Debug)]
pub(crate) struct RateLimit {
    began: Instant,
    /// Between two of them, nanoseconds.
    interval: u64,
    /// When the next one would be due had all come evenly, nanoseconds since `began`. It may be as far
    /// ahead of the clock as those of a second take.
    due: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl RateLimit {
    fn new(per_second: f64, now: Instant) -> Self {
        Self {
            began: now,
            interval: Duration::from_secs_f64(per_second.recip()).as_nanos() as u64,
            due: AtomicU64::new(0),
        }
    }

    fn admits(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.began).as_nanos() as u64;
        let ahead = self.interval.max(SECOND);
        let next = |due: u64| {
            let next = due.max(now) + self.interval;
            (next - now <= ahead).then_some(next)
        };
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.due.fetch_update(set, fetch, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Root {
        Root::of(&toml::from_str(text).unwrap())
    }

    #[test]
    fn each_sampler_takes_its_part() {
        let rows = [
            ("", 1000..=1000),
            ("sampler = \"always_off\"", 0..=0),
            ("sampler = \"traceidratio\"\nsampler_arg = 0", 0..=0),
            ("sampler = \"traceidratio\"\nsampler_arg = 1", 1000..=1000),
            // Ids that lie evenly over their range.
            ("sampler = \"traceidratio\"\nsampler_arg = 0.25", 249..=251),
        ];
        for (text, expected) in rows {
            let root = root(text);
            let ids = (0..1000_u128).map(|id| id * (u128::from(u64::MAX) / 1000) + 1);
            let taken = ids.filter(|id| root.samples(*id)).count();
            assert!(expected.contains(&taken), "{text}: {taken}");
        }
    }

    #[test]
    fn a_limit_lets_so_many_through_a_second_and_no_more() {
        for (per_second, at_once) in [(10.0, 10), (1.0, 1), (0.5, 1)] {
            let began = Instant::now();
            let limit = RateLimit::new(per_second, began);
            let admitted = |at: f64| {
                let now = began + Duration::from_secs_f64(at);
                (0..100).filter(|_| limit.admits(now)).count()
            };
            assert_eq!(admitted(0.0), at_once, "{per_second}");
            assert_eq!(admitted(0.0), 0, "{per_second}");
            assert_eq!(admitted(1.01 / per_second), 1, "{per_second}");
            assert_eq!(admitted(1.02 / per_second), 0, "{per_second}");
            // A long silence is not made up for.
            assert_eq!(admitted(1000.0), at_once, "{per_second}");
        }
    }
}
