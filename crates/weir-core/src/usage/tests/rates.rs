//! Which messages come too fast. The rates are so slow that no token is added while a test runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::SWEEP_FROM;
use super::super::pace::KEPT;
use super::messages::{message, response};
use super::{tenant, volume};
use crate::world::{Fixture, fixture, received};
use crate::{
    ChangeKind, ChangeListener as _, ChangeSubject, DeviceId, Endpoint, Outcome, Protocol, Qos,
    RateOf, Reason, Received, RegistryChange, Session, Tenant, Usage,
};

/// What a message is refused for, if it is: whose rate it exceeds.
type Verdict = Option<RateOf>;

const DEVICE: Verdict = Some(RateOf::Device);
const TENANT: Verdict = Some(RateOf::Tenant);
const PASSES: Verdict = None;

fn limits(message_rate: Value) -> Value {
    json!({"resource-limits": {"message-rate": message_rate}})
}

/// One that takes some months for a token.
fn slow(burst: u32) -> Value {
    json!({"max-messages-per-second": 1e-7, "burst": burst})
}

fn of_device(burst: u32) -> Value {
    limits(json!({"device": slow(burst)}))
}

fn of_tenant(burst: u32) -> Value {
    limits(json!({"tenant": slow(burst)}))
}

fn both(tenant: u32, device: u32) -> Value {
    limits(json!({"tenant": slow(tenant), "device": slow(device)}))
}

impl Fixture {
    async fn verdict(&self, session: &Arc<Session>, message: Received) -> Verdict {
        match self.upload(session, message, Ok(())).await {
            Outcome::Accepted => PASSES,
            Outcome::Refused(refusal) => {
                assert!(!refusal.terminal);
                let Reason::MessageRateExceeded(rate_of, wait) = refusal.reason else {
                    panic!("{:?}", refusal.reason);
                };
                assert!(!wait.is_zero());
                Some(rate_of)
            }
        }
    }

    /// What becomes of so many messages of a session's own device; each in an exchange of its own if the
    /// protocol has no connections.
    async fn verdicts(&self, session: &Arc<Session>, messages: usize) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for _ in 0..messages {
            let session = self.next(session);
            verdicts.push(self.verdict(&session, message(1)).await);
        }
        verdicts
    }

    fn next(&self, session: &Arc<Session>) -> Arc<Session> {
        match session.protocol() {
            Protocol::Http => {
                let principal = session.principal().clone();
                self.pipeline.exchange(Protocol::Http, principal)
            }
            Protocol::Mqtt => session.clone(),
        }
    }
}

fn for_device(device: &str) -> Received {
    Received {
        target: received(("acme", device)).target,
        ..message(1)
    }
}

#[tokio::test]
async fn a_burst_passes_and_nothing_beyond_it() {
    // The limits, and what becomes of four messages.
    let rows = [
        (json!({}), [PASSES; 4]),
        (limits(json!({})), [PASSES; 4]),
        (
            limits(json!({"tenant": {}, "device": {"burst": 1}})),
            [PASSES; 4],
        ),
        (
            limits(json!({"device": {"max-messages-per-second": -1, "burst": 1}})),
            [PASSES; 4],
        ),
        (of_tenant(2), [PASSES, PASSES, TENANT, TENANT]),
        (of_device(2), [PASSES, PASSES, DEVICE, DEVICE]),
        (both(3, 2), [PASSES, PASSES, DEVICE, DEVICE]),
        (both(2, 3), [PASSES, PASSES, TENANT, TENANT]),
        (both(2, 2), [PASSES, PASSES, DEVICE, DEVICE]),
        (
            limits(json!({"device": {"max-messages-per-second": 1e-7}})),
            [PASSES, DEVICE, DEVICE, DEVICE],
        ),
    ];
    for protocol in [Protocol::Http, Protocol::Mqtt] {
        for (settings, expected) in &rows {
            let fixture = fixture();
            let session = fixture.session(protocol, "sensor").await;
            fixture.world.configure(settings.clone());
            let verdicts = fixture.verdicts(&session, 4).await;
            assert_eq!(verdicts, expected, "{protocol:?} {settings}");
        }
    }
}

#[tokio::test]
async fn messages_of_every_kind_take_from_one_bucket() {
    let kinds = || {
        [
            message(0),
            message(1),
            response(1),
            Received {
                endpoint: Endpoint::Event,
                ..message(1)
            },
            Received {
                qos: Qos::AtMostOnce,
                ..message(1)
            },
        ]
    };
    for protocol in [Protocol::Http, Protocol::Mqtt] {
        let fixture = fixture();
        let session = fixture.session(protocol, "sensor").await;
        fixture.world.configure(of_device(5));
        for expected in [PASSES, DEVICE] {
            for message in kinds() {
                let kind = (message.endpoint, message.qos);
                let verdict = fixture.verdict(&fixture.next(&session), message).await;
                assert_eq!(verdict, expected, "{protocol:?} {kind:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_device_has_one_bucket_however_it_sends() {
    let fixture = fixture();
    fixture.world.configure(of_device(2));
    let [mqtt, other_mqtt] = [
        fixture.session(Protocol::Mqtt, "sensor").await,
        fixture.session(Protocol::Mqtt, "sensor").await,
    ];
    let http = fixture.session(Protocol::Http, "sensor").await;
    let target = for_device("4711").target;
    let anonymous = fixture.pipeline.anonymous(Protocol::Mqtt, &target).await;
    let rows = [
        (&mqtt, PASSES),
        (&http, PASSES),
        (&other_mqtt, DEVICE),
        (&fixture.next(&http), DEVICE),
        (&anonymous.unwrap(), DEVICE),
        (&mqtt, DEVICE),
    ];
    for (place, (session, expected)) in rows.into_iter().enumerate() {
        let verdict = fixture.verdict(session, for_device("4711")).await;
        assert_eq!(verdict, expected, "{place}");
    }
}

#[tokio::test]
async fn what_a_gateway_sends_for_a_device_is_the_devices() {
    for protocol in [Protocol::Http, Protocol::Mqtt] {
        let fixture = fixture();
        fixture.world.register("edge2", &["gw", "gw2"]);
        fixture.world.configure(of_device(1));
        let gateway = fixture.session(protocol, "gw").await;
        let other_gateway = fixture.session(protocol, "gw2").await;
        let rows = [
            (&gateway, "edge", PASSES),
            (&gateway, "edge", DEVICE),
            (&gateway, "edge2", PASSES),
            (&other_gateway, "edge2", DEVICE),
            (&gateway, "gw", PASSES),
            (&gateway, "gw", DEVICE),
            (&other_gateway, "gw2", PASSES),
        ];
        for (place, (session, device, expected)) in rows.into_iter().enumerate() {
            let session = fixture.next(session);
            let verdict = fixture.verdict(&session, for_device(device)).await;
            assert_eq!(verdict, expected, "{protocol:?} {place} {device}");
        }
    }
}

#[tokio::test]
async fn the_tenants_devices_share_its_bucket() {
    let fixture = fixture();
    fixture.world.configure(of_tenant(3));
    let sensor = fixture.session(Protocol::Mqtt, "sensor").await;
    let gateway = fixture.session(Protocol::Http, "gw").await;
    assert_eq!(fixture.verdicts(&sensor, 2).await, [PASSES; 2]);
    assert_eq!(fixture.verdicts(&gateway, 2).await, [PASSES, TENANT]);
    assert_eq!(fixture.verdict(&gateway, for_device("edge")).await, TENANT);
    assert_eq!(fixture.verdicts(&sensor, 1).await, [TENANT]);
}

#[tokio::test]
async fn what_is_refused_for_one_rate_costs_nothing_of_the_other() {
    let fixture = fixture();
    let flooding = fixture.session(Protocol::Mqtt, "sensor").await;
    let other = fixture.session(Protocol::Mqtt, "gw").await;
    // A device that sends too much takes nothing from the others.
    fixture.world.configure(both(3, 2));
    let verdicts = fixture.verdicts(&flooding, 10).await;
    assert_eq!(verdicts[..3], [PASSES, PASSES, DEVICE]);
    assert_eq!(fixture.verdicts(&other, 5).await[..2], [PASSES, TENANT]);
    // The other one has one left of its own two.
    fixture.world.configure(of_device(2));
    assert_eq!(fixture.verdicts(&other, 2).await, [PASSES, DEVICE]);
    assert_eq!(fixture.verdicts(&flooding, 1).await, [DEVICE]);
}

#[tokio::test]
async fn what_is_refused_for_something_else_costs_nothing() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "gw").await;
    let empty = "application/vnd.eclipse-hono-empty-notification";
    let contradictory = || Received {
        content_type: Some(empty.into()),
        ..message(1)
    };
    let mut settings = both(1, 1);
    settings["resource-limits"]["data-volume"] =
        volume(100)["resource-limits"]["data-volume"].clone();
    fixture.world.configure(settings.clone());
    let rows = [
        (contradictory(), 400),
        (for_device("stranger"), 403),
        (for_device("nobody"), 404),
        (message(101), 429),
    ];
    for (message, status) in rows {
        let Outcome::Refused(refusal) = fixture.upload(&session, message, Ok(())).await else {
            panic!("{status} expected");
        };
        assert_eq!(refusal.reason.status(), status);
        let is_rate = matches!(refusal.reason, Reason::MessageRateExceeded(..));
        assert!(!is_rate, "{status}");
    }
    settings["resource-limits"]["data-volume"]["max-bytes"] = json!(1_000_000);
    fixture.world.configure(settings);
    assert_eq!(fixture.verdicts(&session, 2).await, [PASSES, DEVICE]);
}

#[tokio::test]
async fn another_limit_holds_from_the_next_message() {
    let steps = [
        (json!({}), vec![PASSES; 5]),
        (of_device(2), vec![PASSES, PASSES, DEVICE]),
        // The same, and something else.
        (
            json!({"ext": {}, "resource-limits": of_device(2)["resource-limits"]}),
            vec![DEVICE],
        ),
        (of_device(3), vec![PASSES, DEVICE]),
        (both(1, 5), vec![PASSES, TENANT]),
        (of_device(5), vec![PASSES, DEVICE]),
        (json!({}), vec![PASSES; 5]),
        (of_tenant(2), vec![PASSES, TENANT]),
    ];
    for protocol in [Protocol::Http, Protocol::Mqtt] {
        let fixture = fixture();
        let session = fixture.session(protocol, "sensor").await;
        for (place, (settings, expected)) in steps.iter().enumerate() {
            fixture.world.configure(settings.clone());
            let verdicts = fixture.verdicts(&session, expected.len()).await;
            assert_eq!(verdicts, *expected, "{protocol:?} {place} {settings}");
        }
    }
}

#[tokio::test]
async fn what_comes_too_fast_is_unprocessable_and_counts_for_the_volume() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    fixture.world.configure(of_device(1));
    let verdicts = fixture.verdicts(&session, 3).await;
    assert_eq!(verdicts, [PASSES, DEVICE, DEVICE]);
    assert_eq!(fixture.count("status=\"forwarded\""), 1);
    assert_eq!(fixture.count("status=\"unprocessable\""), 2);
    assert_eq!(fixture.consumed(), 3);
}

#[tokio::test]
async fn a_flood_is_told_of_now_and_then() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let lines = |reason: Reason| {
        let lines = (0..1000).filter(|_| session.admit_line(&reason).is_some());
        lines.count()
    };
    let too_fast = Reason::MessageRateExceeded(RateOf::Device, Duration::from_secs(1));
    assert!(lines(too_fast) < 1000);
    assert_eq!(lines(Reason::DataVolumeExceeded), 1000);
}

/// How many of so many messages pass.
fn passing(usage: &Usage, owner: &str, settings: &Tenant, messages: usize) -> usize {
    let counters = usage.of(&owner.into());
    let pace = counters.pace(settings, &"4711".into()).unwrap();
    let passing = (0..messages).filter(|_| pace.take().is_ok());
    passing.count()
}

#[test]
fn tenants_do_not_share_anything() {
    let usage = Usage::default();
    let settings = tenant(both(2, 2));
    for owner in ["acme", "other"] {
        assert_eq!(passing(&usage, owner, &settings, 5), 2);
    }
}

#[test]
fn a_deleted_tenants_namesake_may_send_its_burst() {
    let settings = tenant(both(2, 2));
    let change = RegistryChange {
        at: time::OffsetDateTime::now_utc(),
        tenant: "acme".into(),
        subject: ChangeSubject::Tenant {
            change: ChangeKind::Deleted,
            enabled: false,
            invalidate_cache: true,
        },
    };
    for is_held in [false, true] {
        let usage = Usage::default();
        let counters = usage.of(&"acme".into());
        let pace = counters.pace(&settings, &"4711".into()).unwrap();
        let held = is_held.then_some(pace);
        drop(counters);
        assert_eq!(passing(&usage, "acme", &settings, 5), 2);
        usage.changed(&change);
        assert_eq!(passing(&usage, "acme", &settings, 5), 2);
        drop(held);
    }
}

#[test]
fn a_tenant_that_has_sent_lately_is_not_forgotten() {
    let usage = Usage::default();
    let settings = tenant(both(2, 2));
    assert_eq!(passing(&usage, "tenant", &settings, 5), 2);
    assert_eq!(passing(&usage, "device", &tenant(of_device(2)), 5), 2);
    let unused = usage.of(&"unused".into());
    drop(unused.pace(&settings, &"4711".into()));
    drop(unused);
    for number in 0..2 * SWEEP_FROM {
        drop(usage.of(&format!("tenant-{number}").as_str().into()));
    }
    assert!(!usage.0.read().unwrap().known.contains_key("unused"));
    assert_eq!(passing(&usage, "tenant", &settings, 5), 0);
    assert_eq!(passing(&usage, "device", &tenant(of_device(2)), 5), 0);
}

#[test]
fn buckets_that_are_full_are_forgotten_unless_a_session_holds_them() {
    let usage = Usage::default();
    let counters = usage.of(&"acme".into());
    let buckets = counters.buckets();
    // It takes a nanosecond until such a bucket is full again.
    let quick = tenant(limits(json!({"device": {"max-messages-per-second": 1e9}})));
    let id = |number: usize| DeviceId::from(number.to_string());
    let held = counters.pace(&quick, &"held".into()).unwrap();
    for number in 0..10 * SWEEP_FROM {
        counters.pace(&quick, &id(number)).unwrap().take().unwrap();
    }
    assert!(buckets.known_devices() <= 2 * SWEEP_FROM + 2);

    // It is the same that another session gets.
    let settings = tenant(of_device(1));
    let again = counters.pace(&settings, &"held".into()).unwrap();
    assert!(again.take().is_ok());
    let shared = counters.pace(&settings, &"held".into()).unwrap();
    assert!(shared.take().is_err());
    // Without a limit none is kept but those that sessions hold.
    drop((held, again));
    assert!(counters.pace(&tenant(json!({})), &"held".into()).is_none());
    assert_eq!(buckets.known_devices(), 1);
    assert!(shared.take().is_err());
}

#[test]
fn very_many_devices_are_not_all_remembered() {
    let usage = Usage::default();
    let counters = usage.of(&"acme".into());
    let settings = tenant(of_device(1));
    let of = |device: &str| counters.pace(&settings, &device.into()).unwrap();
    let held = of("held");
    assert!(held.take().is_ok() && of("first").take().is_ok());
    assert!(of("first").take().is_err());
    for number in 0..2 * KEPT {
        let pace = of(&number.to_string());
        assert!(pace.take().is_ok());
    }
    assert!(counters.buckets().known_devices() <= KEPT + 1);
    // It has had to be forgotten, and may send again.
    assert!(of("first").take().is_ok());
    assert!(of("held").take().is_err());
}
