//! The counters with a clock of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use time::OffsetDateTime;
use time::macros::datetime;
use weir_metrics::Status;

use super::{LONG_AGO, duration, tenant};
use crate::usage::TenantUsage;
use crate::{Reason, Tenant};

fn counters(now: OffsetDateTime) -> (Arc<TenantUsage>, Instant) {
    let at = Instant::now();
    (Arc::new(TenantUsage::new(now, at)), at)
}

#[test]
fn connections_count_for_as_long_as_they_are_open() {
    let now = datetime!(2026-11-21 10:00 UTC);
    let (usage, at) = counters(now);
    let limits = tenant(duration(10));
    let after = |seconds| at + Duration::from_secs(seconds);
    let _first = usage.enter_at(&limits, now, at).unwrap();
    let second = usage.enter_at(&limits, now, after(60)).unwrap();
    // One minute of one, and then four of two.
    let third = usage.enter_at(&limits, now, after(299));
    assert!(third.is_ok());
    drop(third);
    drop(second);
    // The tenth is over when the one that is left has been there for another one and two seconds.
    assert!(usage.enter_at(&limits, now, after(360)).is_ok());
    assert_eq!(
        usage.enter_at(&limits, now, after(361)).unwrap_err(),
        Reason::ConnectionDurationExceeded
    );
    assert!(usage.enter_at(&tenant(json!({})), now, after(361)).is_ok());
}

#[test]
fn a_new_period_begins_with_nothing_used() {
    let monthly = |name: &str, most: &str| {
        let mut limit = json!({"effective-since": "2026-10-15T00:00:00Z"});
        limit[most] = json!(100);
        tenant(json!({"resource-limits": {name: limit}}))
    };
    let volume = monthly("data-volume", "max-bytes");
    let duration = monthly("connection-duration", "max-minutes");
    let november = datetime!(2026-11-21 10:00 UTC);
    let december = datetime!(2026-12-01 00:00 UTC);
    let (usage, at) = counters(november);
    let seen = usage.volume_at(&volume, november, at).unwrap();
    usage.count(Status::Forwarded, 100);
    assert!(seen.refuses(1));
    assert!(!seen.is_over_at(december - Duration::from_secs(1)));
    assert!(seen.is_over_at(december));
    let next = usage.volume_at(&volume, december, at).unwrap();
    assert!(!next.refuses(100));
    assert!(next.refuses(101));

    // The period of connections that stay open begins without anybody connecting.
    let _open = usage.enter_at(&duration, november, at).unwrap();
    let hours = |hours: u64| at + Duration::from_secs(hours * 3600);
    assert!(usage.enter_at(&duration, november, hours(2)).is_err());
    let kept = usage.sums(december, hours(2)).connection_duration;
    assert_eq!(kept, None);
    let kept = usage.sums(december, hours(3)).connection_duration.unwrap();
    assert_eq!(kept.consumed, 3600);
    let minutes = |minutes: u64| hours(2) + Duration::from_secs(minutes * 60);
    assert!(usage.enter_at(&duration, december, minutes(99)).is_ok());
    assert!(usage.enter_at(&duration, december, minutes(100)).is_err());
}

#[test]
fn a_rule_that_changes_keeps_what_was_used_in_its_period() {
    let limit = |since: &str, days: Option<u32>| {
        let period = match days {
            Some(days) => json!({"mode": "days", "no-of-days": days}),
            None => json!({"mode": "monthly"}),
        };
        let volume = json!({"effective-since": since, "max-bytes": 1_000, "period": period});
        tenant(json!({"resource-limits": {"data-volume": volume}}))
    };
    let begun = datetime!(2026-11-10 00:00 UTC);
    let now = datetime!(2026-11-21 10:00 UTC);
    let before = limit("2026-11-10T00:00:00Z", Some(30));
    // The rule that follows, and what remains of 600 used.
    let rows = [
        (limit("2026-11-10T00:00:00Z", Some(30)), 600),
        (limit("2026-11-09T00:00:00Z", Some(30)), 600),
        (limit("2025-01-01T00:00:00Z", None), 600),
        (limit("2026-11-11T00:00:00Z", Some(30)), 0),
        (limit("2026-11-20T00:00:00Z", None), 0),
        (limit("2026-11-10T00:00:00Z", Some(1)), 0),
    ];
    for (after, remains) in rows {
        let (usage, at) = counters(begun);
        assert!(usage.volume_at(&before, begun, at).is_some());
        usage.count(Status::Forwarded, 600);
        assert!(usage.volume_at(&after, now, at).is_some());
        let kept = usage.sums(now, Instant::now()).data_volume;
        let kept = kept.map_or(0, |kept| kept.consumed);
        assert_eq!(kept, remains, "{after:?}");
        // Without a limit for a while, nothing is lost.
        assert!(usage.volume_at(&tenant(json!({})), now, at).is_none());
        usage.count(Status::Forwarded, 7);
        let _ = usage.volume_at(&after, now, at);
        let kept = usage.sums(now, Instant::now()).data_volume.unwrap();
        assert_eq!(kept.consumed, remains + 7, "{after:?}");
    }
}

#[test]
fn a_limit_that_begins_later_allows_nothing_and_then_everything() {
    let (now, later) = (
        datetime!(2026-11-21 10:00 UTC),
        datetime!(2026-11-25 00:00 UTC),
    );
    let volume = json!({"effective-since": "2026-11-25T00:00:00Z", "max-bytes": 3_000});
    let limits = tenant(json!({"resource-limits": {"data-volume": volume}}));
    let (usage, at) = counters(now);
    let nothing = usage.volume_at(&limits, now, at).unwrap();
    assert!(nothing.refuses(1));
    assert!(!nothing.refuses(0));
    usage.count(Status::Unprocessable, 1);
    assert!(!nothing.is_over_at(now) && nothing.is_over_at(later));
    // Six of thirty days are left.
    let then = usage.volume_at(&limits, later, at).unwrap();
    assert!(!then.refuses(600));
    assert!(then.refuses(601));
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn monthly(max_bytes: u64) -> Tenant {
    let volume = json!({"effective-since": LONG_AGO, "max-bytes": max_bytes});
    tenant(json!({"resource-limits": {"data-volume": volume}}))
}

#[test]
fn a_clock_that_was_ahead_does_not_stop_the_periods() {
    let (ahead, now) = (
        datetime!(2030-01-01 00:00 UTC),
        datetime!(2026-11-21 10:00 UTC),
    );
    let limits = monthly(100);
    let (usage, at) = counters(ahead);
    let seen = usage.volume_at(&limits, ahead, at).unwrap();
    usage.count(Status::Forwarded, 100);
    assert!(usage.volume_at(&limits, now, at).unwrap().refuses(1));
    let november = usage.volume_at(&limits, now + DAY, at + DAY).unwrap();
    assert!(november.refuses(1));
    // Whoever looks at it meanwhile sees that it has become clear.
    assert!(seen.is_over_at(now + DAY));
    assert!(!november.is_over_at(now + DAY));
    let (december, at) = (datetime!(2026-12-01 00:00 UTC), at + 10 * DAY);
    assert!(november.is_over_at(december));
    let december = usage.volume_at(&limits, december, at).unwrap();
    assert!(!december.refuses(100));
}

#[test]
fn a_clock_that_is_behind_for_a_while_takes_nothing_back() {
    let november = datetime!(2026-11-21 10:00 UTC);
    // What the clock shows meanwhile, and for how long.
    let rows = [
        (datetime!(2026-11-21 09:59 UTC), DAY),
        (datetime!(2026-11-01 00:00 UTC), DAY),
        (datetime!(2026-10-21 10:00 UTC), DAY / 2),
        (datetime!(2025-11-21 10:00 UTC), DAY / 2),
        (OffsetDateTime::UNIX_EPOCH, DAY / 2),
    ];
    let limits = monthly(100);
    for (behind, passed) in rows {
        let (usage, at) = counters(datetime!(2026-10-21 10:00 UTC));
        let _ = usage.volume_at(&limits, november, at);
        usage.count(Status::Forwarded, 60);
        let written = usage.sums(november, at);

        // The same process, and one that has just started.
        let next = Arc::new(TenantUsage::restore(written.clone(), behind, at));
        for usage in [usage, next] {
            let seen = usage.volume_at(&limits, behind, at).unwrap();
            assert!(!seen.refuses(40), "{behind}");
            assert!(seen.refuses(41), "{behind}");
            assert_eq!(usage.sums(behind, at), written, "{behind}");
            let (behind, at) = (behind + passed, at + passed);
            assert_eq!(usage.sums(behind, at), written, "{behind}");
            let again = usage.volume_at(&limits, november, at).unwrap();
            assert!(!again.refuses(40), "{behind}");
            assert!(again.refuses(41), "{behind}");
            assert_eq!(usage.sums(november, at), written, "{behind}");
        }
    }
}

#[test]
fn a_clock_that_is_put_right_is_not_doubted_any_more() {
    let (november, october) = (
        datetime!(2026-11-21 10:00 UTC),
        datetime!(2026-10-21 10:00 UTC),
    );
    let limits = monthly(100);
    let (usage, at) = counters(november);
    usage.count(Status::Forwarded, 60);
    for number in 0..5 {
        let at = at + number * DAY;
        let _ = usage.volume_at(&limits, october, at);
        let _ = usage.volume_at(&limits, november, at + DAY / 2);
    }
    assert!(usage.volume_at(&limits, november, at).unwrap().refuses(41));
}

#[test]
fn without_its_limit_a_tenant_is_counted_by_the_month() {
    let since = datetime!(2026-11-03 00:00 UTC);
    let rule = json!({"mode": "days", "no-of-days": 2});
    let both = json!({"resource-limits": {
        "data-volume": {
            "effective-since": "2026-11-03T00:00:00Z", "max-bytes": 100, "period": rule
        },
        "connection-duration": {
            "effective-since": "2026-11-03T00:00:00Z", "max-minutes": 100, "period": rule
        },
    }});
    let (limited, free) = (tenant(both), tenant(json!({})));
    let (usage, at) = counters(since);
    let _ = usage.volume_at(&limited, since, at);
    let open = usage.enter_at(&limited, since, at).unwrap();
    usage.count(Status::Forwarded, 60);
    let (hour, later) = (Duration::from_secs(60 * 60), since + 5 * DAY);
    assert!(usage.volume_at(&free, since, at + hour).is_none());
    drop(usage.enter_at(&free, since, at + hour).unwrap());
    let kept = usage.sums(later, at + 2 * hour);
    assert_eq!(kept.data_volume.unwrap().consumed, 60);
    assert_eq!(kept.connection_duration.unwrap().consumed, 2 * 3600);
    assert!(
        usage
            .volume_at(&monthly(100), later, at)
            .unwrap()
            .refuses(41)
    );
    let december = usage.sums(datetime!(2026-12-01 00:00 UTC), at + 2 * hour);
    assert!(december.is_empty());
    drop(open);
}

#[test]
fn what_a_month_has_used_without_a_limit_is_known_when_one_is_set() {
    let (october, november) = (
        datetime!(2026-10-21 10:00 UTC),
        datetime!(2026-11-21 10:00 UTC),
    );
    let (usage, at) = counters(october);
    usage.count(Status::Forwarded, 500);
    assert!(
        usage
            .sums(datetime!(2026-11-01 00:00:09 UTC), at)
            .is_empty()
    );
    usage.count(Status::Forwarded, 60);
    let volume = json!({"effective-since": LONG_AGO, "max-bytes": 100});
    let limits = tenant(json!({"resource-limits": {"data-volume": volume}}));
    let volume = usage.volume_at(&limits, november, at).unwrap();
    assert!(!volume.refuses(40));
    assert!(volume.refuses(41));
}
