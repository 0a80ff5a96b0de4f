//! Limits as devices and applications meet them.

mod connections;
mod messages;
mod periods;
mod rates;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::OffsetDateTime;
use weir_metrics::Status;

use super::{PeriodSum, SWEEP_FROM, TenantSums, Usage, UsageSnapshot};
use crate::world::{Fixture, fixture_with};
use crate::{
    ChangeKind, ChangeListener as _, ChangeSubject, PipelineOptions, Reason, RegistryChange, Tenant,
};

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

/// A period that has begun long ago and does not end soon.
fn age() -> Value {
    json!({"mode": "days", "no-of-days": 100_000})
}

fn volume(max_bytes: i64) -> Value {
    json!({"resource-limits": {
        "data-volume": {"effective-since": LONG_AGO, "max-bytes": max_bytes, "period": age()}
    }})
}

fn duration(max_minutes: i64) -> Value {
    json!({"resource-limits": {"connection-duration": {
        "effective-since": LONG_AGO, "max-minutes": max_minutes, "period": age()
    }}})
}

fn tenant(settings: Value) -> Tenant {
    serde_json::from_value(settings).unwrap()
}

/// A fixture whose tenant has used so much.
fn used(bytes: u64, seconds: u64) -> Fixture {
    let sum = |consumed| PeriodSum {
        effective_since: LONG_AGO.parse().unwrap(),
        period: serde_json::from_value(age()).unwrap(),
        since: LONG_AGO.parse().unwrap(),
        consumed,
    };
    let sums = TenantSums {
        data_volume: Some(sum(bytes)),
        connection_duration: Some(sum(seconds)),
    };
    let snapshot = UsageSnapshot {
        tenants: [("acme".to_owned(), sums)].into(),
    };
    fixture_with(PipelineOptions {
        usage: Usage::restore(snapshot),
        ..PipelineOptions::default()
    })
}

#[test]
fn what_is_kept_is_gone_on_with_by_the_next_process() {
    let usage = Usage::default();
    let (limited, free) = ("acme".into(), "free".into());
    let both = json!({"resource-limits": {
        "data-volume": volume(100)["resource-limits"]["data-volume"],
        "connection-duration": duration(1)["resource-limits"]["connection-duration"],
    }});
    let held = usage.of(&limited);
    let at = Instant::now();
    let now = OffsetDateTime::now_utc();
    drop(held.enter_at(&tenant(both.clone()), now, at).unwrap());
    held.count(Status::Forwarded, 90);
    usage.of(&free).count(Status::Forwarded, 90);
    let seat = held.enter_at(&tenant(both.clone()), now, at).unwrap();
    let snapshot = usage.snapshot_at(now, at + Duration::from_secs(60));
    drop(seat);
    let text = serde_json::to_string(&snapshot).unwrap();
    let read: UsageSnapshot = serde_json::from_str(&text).unwrap();
    assert_eq!(read, snapshot);
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["tenants"]["acme"]["data-volume"]["consumed"], 90);
    assert_eq!(
        shown["tenants"]["acme"]["connection-duration"]["consumed"],
        60
    );
    assert_eq!(shown["tenants"]["free"], Value::Null);

    let next = Usage::restore(read);
    assert_eq!(next.snapshot().tenants, snapshot.tenants);
    let volume = next.of(&limited).volume(&tenant(volume(100))).unwrap();
    assert!(!volume.refuses(10));
    assert!(volume.refuses(11));
    assert_eq!(
        next.of(&limited).enter(&tenant(duration(1))).unwrap_err(),
        Reason::ConnectionDurationExceeded
    );
}

#[test]
fn tenants_without_limits_that_nobody_uses_are_forgotten() {
    let usage = Usage::default();
    let held = usage.of(&"held".into());
    let limited = usage.of(&"limited".into());
    assert!(limited.volume(&tenant(volume(100))).is_some());
    limited.count(Status::Forwarded, 1);
    drop(limited);
    for number in 0..10 * SWEEP_FROM {
        let tenant = format!("tenant-{number}").as_str().into();
        usage.of(&tenant).count(Status::Forwarded, 1);
    }
    let tenants = usage.0.read().unwrap();
    assert!(tenants.known.len() <= SWEEP_FROM + 2);
    assert!(tenants.known.contains_key("held"));
    assert!(tenants.known.contains_key("limited"));
    drop((tenants, held));
}

#[test]
fn what_a_deleted_tenant_has_used_is_not_its_namesakes() {
    let at = OffsetDateTime::now_utc();
    let change = |change, tenant: &str| RegistryChange {
        at,
        tenant: tenant.into(),
        subject: ChangeSubject::Tenant {
            change,
            enabled: change != ChangeKind::Deleted,
            invalidate_cache: true,
        },
    };
    let limits = tenant(volume(100));
    for is_held in [true, false] {
        let usage = Usage::default();
        for tenant in ["acme", "other"] {
            let counters = usage.of(&tenant.into());
            assert!(counters.volume(&limits).is_some());
            counters.count(Status::Forwarded, 60);
        }
        let held = is_held.then(|| usage.of(&"acme".into()));
        let seen = held.as_ref().map(|held| held.volume(&limits).unwrap());
        usage.changed(&change(ChangeKind::Updated, "acme"));
        assert_eq!(usage.snapshot().tenants.len(), 2);
        usage.changed(&change(ChangeKind::Deleted, "acme"));
        let left = usage.snapshot().tenants;
        assert_eq!(left.keys().collect::<Vec<_>>(), ["other"]);
        let known = usage.0.read().unwrap().known.contains_key("acme");
        assert_eq!(known, is_held);

        let namesake = usage.of(&"acme".into());
        let volume = namesake.volume(&limits).unwrap();
        assert!(!volume.refuses(100));
        assert!(seen.is_none_or(|seen| seen.is_over()));
        // A session that goes on counts for it.
        if let Some(held) = held {
            held.count(Status::Forwarded, 1);
            assert!(volume.refuses(100));
        }
    }
}
