//! What a counter has grown by in the present period. The present is always an argument.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::period::Rule;
use super::snapshot::PeriodSum;
use crate::{ConnectionDuration, DataVolume, ResourceLimits, Timestamp};

/// How long a clock may be behind. One that still shows an earlier time than it did was ahead before.
const DOUBT: Duration = Duration::from_secs(24 * 60 * 60);

/// What a counter has grown by in the present period.
#[derive(Debug)]
pub(super) struct Sum {
    rule: Rule,
    /// Whether there is a limit, or has been one.
    is_limited: bool,
    /// From when on has been counted.
    since: OffsetDateTime,
    /// What the counter showed then.
    base: u64,
    /// Since when the clock has shown an earlier time than `since`.
    doubted: Option<Instant>,
    /// Another one each time that `since` changes.
    era: u64,
}

/// A limit of a period, as it is configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    rule: Rule,
    most: u64,
}

/// A limit as it is now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effective {
    pub(super) most: u64,
    pub(super) until: OffsetDateTime,
}

impl Limit {
    /// `None` if there is none, which is what -1 means.
    pub(super) fn of_volume(limits: &ResourceLimits) -> Option<Self> {
        let DataVolume {
            effective_since,
            max_bytes,
            period,
        } = *limits.data_volume.as_ref()?;
        Some(Self {
            rule: Rule::new(effective_since, period)?,
            most: u64::try_from(max_bytes).ok()?,
        })
    }

    /// As [`Limit::of_volume`].
    pub(super) fn of_duration(limits: &ResourceLimits) -> Option<Self> {
        let ConnectionDuration {
            effective_since,
            max_minutes,
            period,
        } = *limits.connection_duration.as_ref()?;
        Some(Self {
            rule: Rule::new(effective_since, period)?,
            most: u64::try_from(max_minutes).ok()?,
        })
    }
}

impl Sum {
    /// The sum, and what its counter begins with.
    pub(super) fn restore(stored: Option<PeriodSum>, now: OffsetDateTime) -> (Self, u64) {
        let read = stored.and_then(|stored| {
            let rule = Rule::new(stored.effective_since, Some(stored.period))?;
            Some((rule, stored.since.into(), stored.consumed))
        });
        let is_limited = read.is_some();
        let (rule, since, counter) = read.unwrap_or((Rule::CALENDAR, now, 0));
        let sum = Self {
            rule,
            is_limited,
            since,
            base: 0,
            doubted: None,
            era: 0,
        };
        (sum, counter)
    }

    pub(super) fn apply(
        &mut self,
        limit: Limit,
        (now, at): (OffsetDateTime, Instant),
        counter: u64,
    ) -> Effective {
        self.is_limited = true;
        self.rule = limit.rule;
        let present = self.advance((now, at), counter);
        match limit.rule.window(present) {
            Some(window) => Effective {
                most: window.limit(limit.most),
                until: window.end,
            },
            None => Effective {
                most: 0,
                until: limit.rule.first(),
            },
        }
    }

    /// There is no limit any more: from now on the months count.
    pub(super) fn lift(&mut self) {
        self.rule = Rule::CALENDAR;
    }

    /// As if nothing had been counted.
    pub(super) fn reset(&mut self, now: OffsetDateTime, counter: u64) {
        *self = Self {
            rule: Rule::CALENDAR,
            is_limited: false,
            since: now,
            base: counter,
            doubted: None,
            era: self.era + 1,
        };
    }

    pub(super) fn has_limit(&self) -> bool {
        self.is_limited
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn era(&self) -> u64 {
        self.era
    }

    pub(super) fn consumed(&self, counter: u64) -> u64 {
        counter.saturating_sub(self.base)
    }

    /// Starts anew if a period has begun since it started. What was counted since the period began
    /// stays, also if another rule says so now than when it was counted. Returns what time it is.
    fn advance(&mut self, clocks: (OffsetDateTime, Instant), counter: u64) -> OffsetDateTime {
        let present = self.present(clocks);
        if let Some(window) = self.rule.window(present)
            && window.start > self.since
        {
            self.start(window.start);
            self.base = counter;
        }
        present
    }

    /// What time it is. If the clock shows that it is earlier than it has been, then either it is behind
    /// now, as that of a machine may be which has just started, or it was ahead before. The first is put
    /// right soon, and until then it is as late as it was.
    fn present(&mut self, (now, at): (OffsetDateTime, Instant)) -> OffsetDateTime {
        if now >= self.since {
            self.doubted = None;
            return now;
        }
        let doubted = *self.doubted.get_or_insert(at);
        let passed = at.saturating_duration_since(doubted);
        if passed < DOUBT {
            return self.since;
        }
        self.doubted = None;
        let passed = time::Duration::try_from(passed).unwrap_or(time::Duration::MAX);
        self.start(now.saturating_sub(passed));
        now
    }

    fn start(&mut self, since: OffsetDateTime) {
        self.since = since;
        self.era += 1;
    }

    pub(super) fn store(
        &mut self,
        clocks: (OffsetDateTime, Instant),
        counter: u64,
    ) -> Option<PeriodSum> {
        self.advance(clocks, counter);
        let consumed = self.consumed(counter);
        (self.is_limited && consumed > 0).then(|| PeriodSum {
            effective_since: Timestamp::from(self.rule.first()),
            period: self.rule.period(),
            since: Timestamp::from(self.since),
            consumed,
        })
    }
}
