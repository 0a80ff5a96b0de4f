//! Accounting periods (device contract §1.12). The present is always an argument.

use std::num::NonZeroU32;

use time::{Duration, OffsetDateTime, Time};

use crate::{Period, PeriodMode, Timestamp};

const MINUTES_OF_DAY: u64 = 24 * 60;

/// When accounting periods begin and end. All of it is UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    first: OffsetDateTime,
    length: Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Month,
    Days(NonZeroU32),
}

/// One period of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: OffsetDateTime,
    pub(super) end: OffsetDateTime,
    /// How much of a whole period this one is: so many minutes of so many.
    share: (u64, u64),
}

impl Rule {
    /// The months of the calendar, by which is counted what no limit has been set for.
    pub(super) const CALENDAR: Self = Self {
        first: OffsetDateTime::UNIX_EPOCH,
        length: Length::Month,
    };

    /// `None` if no period follows from it: days, but none of them. Then there is no limit.
    pub(super) fn new(effective_since: Timestamp, period: Option<Period>) -> Option<Self> {
        let length = match period {
            None => Length::Month,
            Some(period) => match period.mode {
                PeriodMode::Monthly => Length::Month,
                PeriodMode::Days => Length::Days(NonZeroU32::new(period.no_of_days?)?),
            },
        };
        Some(Self {
            first: effective_since.into(),
            length,
        })
    }

    /// When the first period begins.
    pub(super) fn first(self) -> OffsetDateTime {
        self.first
    }

    pub(super) fn period(self) -> Period {
        match self.length {
            Length::Month => Period {
                mode: PeriodMode::Monthly,
                no_of_days: None,
            },
            Length::Days(days) => Period {
                mode: PeriodMode::Days,
                no_of_days: Some(days.get()),
            },
        }
    }

    /// The period that it is `now`; none before the first one.
    pub(super) fn window(self, now: OffsetDateTime) -> Option<Window> {
        if now < self.first {
            return None;
        }
        Some(match self.length {
            Length::Month => self.month(now),
            Length::Days(days) => self.days(now, days),
        })
    }

    /// The first one begins within a month, all others with theirs.
    fn month(self, now: OffsetDateTime) -> Window {
        let midnight = now.replace_time(Time::MIDNIGHT);
        let begin = midnight.replace_day(1).unwrap_or(midnight);
        let days = begin.month().length(begin.year());
        let end = begin.saturating_add(Duration::days(days.into()));
        let start = self.first.max(begin);
        let minutes = u64::try_from((end - start).whole_minutes()).unwrap_or(0);
        Window {
            start,
            end,
            share: (minutes.max(1), u64::from(days) * MINUTES_OF_DAY),
        }
    }

    fn days(self, now: OffsetDateTime, days: NonZeroU32) -> Window {
        let length = Duration::days(days.get().into());
        let into = (now - self.first).whole_seconds() % length.whole_seconds();
        let start = now.replace_nanosecond(0).unwrap_or(now) - Duration::seconds(into);
        // The first one may begin within a second, unlike what operators can write.
        let start = start.max(self.first);
        Window {
            start,
            end: start.saturating_add(length),
            share: (1, 1),
        }
    }
}

impl Window {
    /// What is left of a limit in a month that is not a whole one.
    pub(super) fn limit(&self, configured: u64) -> u64 {
        let (minutes, of) = self.share;
        let share = (u128::from(configured) * u128::from(minutes)).div_ceil(of.into());
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> OffsetDateTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    fn period(mode: PeriodMode, no_of_days: Option<u32>) -> Option<Period> {
        Some(Period { mode, no_of_days })
    }

    fn rule(effective_since: &str, period: Option<Period>) -> Option<Rule> {
        Rule::new(effective_since.parse().unwrap(), period)
    }

    #[test]
    fn a_month_begins_on_its_first_day_and_the_first_one_when_it_is_said() {
        // effective-since, now, start, end.
        let rows = [
            (
                "2026-01-15T10:00:00Z",
                "2026-01-15T10:00:00Z",
                "2026-01-15T10:00:00Z",
                "2026-02-01T00:00:00Z",
            ),
            (
                "2026-01-15T10:00:00Z",
                "2026-01-31T23:59:59Z",
                "2026-01-15T10:00:00Z",
                "2026-02-01T00:00:00Z",
            ),
            (
                "2026-01-15T10:00:00Z",
                "2026-02-01T00:00:00Z",
                "2026-02-01T00:00:00Z",
                "2026-03-01T00:00:00Z",
            ),
            (
                "2026-01-15T10:00:00Z",
                "2028-02-29T12:00:00Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                "2026-01-15T10:00:00Z",
                "2026-12-31T23:59:59Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            // In UTC the month has changed already.
            (
                "2026-01-15T10:00:00Z",
                "2026-03-31T23:30:00-01:00",
                "2026-04-01T00:00:00Z",
                "2026-05-01T00:00:00Z",
            ),
            (
                "9999-12-02T00:00:00Z",
                "9999-12-31T00:00:00Z",
                "9999-12-02T00:00:00Z",
                "9999-12-31T23:59:59Z",
            ),
        ];
        for (since, now, start, end) in rows {
            for monthly in [None, period(PeriodMode::Monthly, None)] {
                let window = rule(since, monthly).unwrap().window(time(now)).unwrap();
                let end_shown = Timestamp::from(window.end).to_string();
                assert_eq!((window.start, &*end_shown), (time(start), end), "{now}");
            }
        }
    }

    #[test]
    fn days_are_counted_from_when_it_is_said() {
        let since = "2028-02-20T10:00:00Z";
        // Days, now, start, end.
        let rows = [
            (
                1,
                "2028-02-20T10:00:00Z",
                "2028-02-20T10:00:00Z",
                "2028-02-21T10:00:00Z",
            ),
            (
                1,
                "2028-02-21T09:59:59Z",
                "2028-02-20T10:00:00Z",
                "2028-02-21T10:00:00Z",
            ),
            (
                1,
                "2028-02-21T10:00:00Z",
                "2028-02-21T10:00:00Z",
                "2028-02-22T10:00:00Z",
            ),
            (
                10,
                "2028-03-01T09:59:59Z",
                "2028-02-20T10:00:00Z",
                "2028-03-01T10:00:00Z",
            ),
            (
                10,
                "2028-03-01T10:00:00Z",
                "2028-03-01T10:00:00Z",
                "2028-03-11T10:00:00Z",
            ),
            (
                30,
                "2030-02-09T09:59:59Z",
                "2030-01-10T10:00:00Z",
                "2030-02-09T10:00:00Z",
            ),
            (
                365,
                "2029-02-19T10:00:00Z",
                "2029-02-19T10:00:00Z",
                "2030-02-19T10:00:00Z",
            ),
        ];
        for (days, now, start, end) in rows {
            let rule = rule(since, period(PeriodMode::Days, Some(days))).unwrap();
            let window = rule.window(time(now)).unwrap();
            assert_eq!(
                (window.start, window.end),
                (time(start), time(end)),
                "{days} {now}"
            );
            assert_eq!(window.limit(1_000), 1_000);
        }
        let long = rule(since, period(PeriodMode::Days, Some(u32::MAX))).unwrap();
        assert_eq!(long.window(time(since)).unwrap().start, time(since));
    }

    #[test]
    fn without_a_length_there_is_no_period() {
        for days in [None, Some(0)] {
            assert_eq!(
                rule("2026-01-01T00:00:00Z", period(PeriodMode::Days, days)),
                None
            );
        }
    }

    #[test]
    fn before_the_first_period_there_is_none() {
        for period in [None, period(PeriodMode::Days, Some(7))] {
            let rule = rule("2026-01-15T10:00:00Z", period).unwrap();
            assert_eq!(rule.window(time("2026-01-15T09:59:59Z")), None);
            assert!(rule.window(time("2026-01-15T10:00:00Z")).is_some());
        }
    }

    #[test]
    fn of_a_limit_the_first_month_gets_its_share_rounded_up() {
        // effective-since, now, configured, effective.
        let rows = [
            // 31 days have 44,640 minutes, of which 22,320 are left.
            ("2026-01-16T12:00:00Z", "2026-01-20T00:00:00Z", 1_000, 500),
            ("2026-01-16T12:00:00Z", "2026-01-20T00:00:00Z", 1_001, 501),
            ("2026-01-16T12:00:00Z", "2026-02-01T00:00:00Z", 1_001, 1_001),
            ("2026-01-01T00:00:00Z", "2026-01-20T00:00:00Z", 1_001, 1_001),
            ("2025-06-16T12:00:00Z", "2026-01-20T00:00:00Z", 1_001, 1_001),
            // 14 of 28 and of 29 days.
            (
                "2026-02-15T00:00:00Z",
                "2026-02-15T00:00:00Z",
                29_000,
                14_500,
            ),
            (
                "2028-02-15T00:00:00Z",
                "2028-02-15T00:00:00Z",
                29_000,
                15_000,
            ),
            // Whole minutes, and one at least.
            ("2026-01-31T23:58:01Z", "2026-01-31T23:58:01Z", 44_640, 1),
            ("2026-01-31T23:59:59Z", "2026-01-31T23:59:59Z", 44_640, 1),
            ("2026-01-31T23:59:59Z", "2026-01-31T23:59:59Z", 44_641, 2),
            ("2026-01-16T12:00:00Z", "2026-01-20T00:00:00Z", 0, 0),
            (
                "2026-01-01T00:00:00Z",
                "2026-01-20T00:00:00Z",
                u64::MAX,
                u64::MAX,
            ),
        ];
        for (since, now, configured, effective) in rows {
            let window = rule(since, None).unwrap().window(time(now)).unwrap();
            assert_eq!(
                window.limit(configured),
                effective,
                "{since} {now} {configured}"
            );
        }
    }

    #[test]
    fn a_rule_that_is_written_down_is_the_same_when_it_is_read() {
        let since = "2026-01-15T10:00:00Z";
        for period in [
            period(PeriodMode::Monthly, None),
            period(PeriodMode::Days, Some(7)),
        ] {
            let written = rule(since, period).unwrap();
            let first = Timestamp::from(written.first());
            assert_eq!(Rule::new(first, Some(written.period())), Some(written));
        }
    }
}
