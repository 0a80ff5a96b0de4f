//! Who may connect.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::FutureExt as _;
use serde_json::json;
use time::OffsetDateTime;

use super::{LONG_AGO, duration, used, volume};
use crate::world::{Fixture, fixture, fixture_with, received};
use crate::{
    ChangeKind, ChangeSubject, ClientContext, ConnectionEvents, PipelineOptions, Presented,
    Principal, Protocol, Reason, RegistryChange, Session,
};

impl Fixture {
    async fn principal(&self) -> Principal {
        let presented = Presented::Password {
            username: "sensor@acme",
            password: b"secret",
        };
        let context = ClientContext::default();
        let known = self
            .pipeline
            .authenticate(Protocol::Mqtt, presented, context);
        known.await.unwrap()
    }

    async fn connect(&self) -> Result<Arc<Session>, Reason> {
        let principal = self.principal().await;
        let pipeline = &self.pipeline;
        pipeline.connect(Protocol::Mqtt, principal, "meter-1").await
    }

    /// Tells every event that is sent that this became of it.
    async fn settles(&self, disposition: Result<(), Reason>) -> Infallible {
        loop {
            while !self.world.published.lock().unwrap().is_empty() {
                self.world.settle(disposition.clone());
            }
            tokio::task::yield_now().await;
        }
    }

    fn open(&self) -> u64 {
        self.counted("hono_connections_authenticated{", "acme")
    }

    fn attempts(&self, outcome: &str) -> u64 {
        let labels = format!("outcome=\"{outcome}\"");
        self.counted("hono_connections_attempts_total", &labels)
    }
}

#[tokio::test]
async fn a_connection_is_refused_for_what_its_tenant_has_used() {
    let later = "2999-01-01T00:00:00Z";
    let many = u64::from(u32::MAX);
    let pass = "succeeded";
    let (seats, time, bytes) = (
        "tenant-connections-exceeded",
        "connection-duration-exceeded",
        "data-volume-exceeded",
    );
    // Settings, bytes and seconds used, outcome of the attempt.
    let rows = [
        (json!({}), many, many, pass),
        (json!({"resource-limits": {}}), many, many, pass),
        (
            json!({"resource-limits": {"max-connections": -1}}),
            many,
            many,
            pass,
        ),
        (
            json!({"resource-limits": {"max-connections": 0}}),
            0,
            0,
            seats,
        ),
        (
            json!({"resource-limits": {"max-connections": 1}}),
            0,
            0,
            pass,
        ),
        (duration(-1), many, many, pass),
        (duration(0), 0, 0, time),
        (duration(2), many, 119, pass),
        (duration(2), 0, 120, time),
        (volume(-1), many, many, pass),
        (volume(0), 0, 0, bytes),
        (volume(100), 99, many, pass),
        (volume(100), 100, 0, bytes),
        (
            json!({"minimum-message-size": 10, "resource-limits": volume(100)["resource-limits"]}),
            91,
            0,
            bytes,
        ),
        (
            json!({"resource-limits": {"data-volume": {"effective-since": later, "max-bytes": 9}}}),
            0,
            0,
            bytes,
        ),
        (
            json!({"resource-limits": {
                "connection-duration": {"effective-since": later, "max-minutes": 9}
            }}),
            0,
            0,
            time,
        ),
        // No period, no limit.
        (
            json!({"resource-limits": {"data-volume": {
                "effective-since": LONG_AGO, "max-bytes": 0, "period": {"mode": "days"}
            }}}),
            many,
            0,
            pass,
        ),
        // Of several the first in this order.
        (
            json!({"resource-limits": {
                "max-connections": 0,
                "connection-duration": {"effective-since": later, "max-minutes": 9},
                "data-volume": {"effective-since": later, "max-bytes": 9},
            }}),
            0,
            0,
            seats,
        ),
        (
            json!({"resource-limits": {
                "connection-duration": {"effective-since": later, "max-minutes": 9},
                "data-volume": {"effective-since": later, "max-bytes": 9},
            }}),
            0,
            0,
            time,
        ),
    ];
    for (settings, bytes, seconds, outcome) in rows {
        let fixture = used(bytes, seconds);
        fixture.world.configure(settings.clone());
        let connected = fixture.connect().await;
        assert_eq!(connected.is_ok(), outcome == "succeeded", "{settings}");
        assert_eq!(fixture.attempts(outcome), 1, "{settings}");
        assert_eq!(fixture.open(), u64::from(connected.is_ok()), "{settings}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_as_many_connect_as_may_also_when_all_come_at_once() {
    let fixture = Arc::new(fixture());
    let limits = json!({"resource-limits": {"max-connections": 10}});
    fixture.world.configure(limits);
    let principal = fixture.principal().await;
    let attempts = (0..64).map(|_| {
        let (fixture, principal) = (fixture.clone(), principal.clone());
        tokio::spawn(async move {
            let pipeline = &fixture.pipeline;
            pipeline.connect(Protocol::Mqtt, principal, "meter-1").await
        })
    });
    let ended = futures_util::future::join_all(attempts.collect::<Vec<_>>()).await;
    let (mut open, mut refused) = (Vec::new(), 0);
    for connected in ended {
        match connected.unwrap() {
            Ok(session) => open.push(session),
            Err(reason) => {
                assert_eq!(reason, Reason::TenantConnectionsExceeded);
                refused += 1;
            }
        }
    }
    assert_eq!((open.len(), refused), (10, 54));
    // One that leaves makes room for one.
    open.pop();
    let next = fixture.connect().await;
    assert!(next.is_ok());
    assert!(fixture.connect().await.is_err());
}

#[tokio::test]
async fn a_connection_that_is_refused_takes_no_place() {
    let fixture = fixture();
    let limits = json!({"resource-limits": {"max-connections": 1}});
    fixture.world.configure(limits);
    fixture.world.unregister("4711");
    assert_eq!(fixture.connect().await.unwrap_err(), Reason::DeviceUnknown);
    fixture.world.register("4711", &[]);
    let open = fixture.connect().await.unwrap();
    assert!(fixture.connect().await.is_err());
    drop(open);
    assert!(fixture.connect().await.is_ok());
}

#[tokio::test]
async fn a_connection_that_has_ended_makes_room_although_its_session_goes_on() {
    let fixture = fixture();
    let limits = json!({"resource-limits": {"max-connections": 1}});
    fixture.world.configure(limits);
    let ended = fixture.connect().await.unwrap();
    let message = received(("", "")).authenticate(&ended).unwrap();
    // Its outcome is waited for without anybody to tell it.
    drop(message.admit().await.unwrap().publish());
    assert!(fixture.connect().await.is_err());
    ended.end();
    assert_eq!(fixture.open(), 0);
    let next = fixture.connect().await.unwrap();

    ended.disconnected("meter-1").await;
    assert!(fixture.connect().await.is_err());
    let deleted = RegistryChange {
        at: OffsetDateTime::UNIX_EPOCH,
        tenant: "acme".into(),
        subject: ChangeSubject::Device {
            device: "4711".into(),
            change: ChangeKind::Deleted,
            enabled: false,
        },
    };
    fixture.pipeline.change_listener().changed(&deleted);
    assert!(next.is_closed() && !ended.is_closed());
    fixture.world.settle(Ok(()));
    while Arc::strong_count(&ended) > 1 {
        tokio::task::yield_now().await;
    }
    drop(ended);
    assert_eq!(fixture.open(), 1);
    assert!(fixture.connect().await.is_err());
    drop(next);
    assert_eq!(fixture.open(), 0);
    assert!(fixture.connect().await.is_ok());
}

#[tokio::test]
async fn a_connection_that_nobody_was_told_of_takes_no_place() {
    let fixture = fixture_with(PipelineOptions {
        connection_events: ConnectionEvents::Events,
        ..PipelineOptions::default()
    });
    let limits = json!({"resource-limits": {"max-connections": 1}});
    fixture.world.configure(limits);
    let refused = tokio::select! {
        refused = fixture.connect() => refused,
        never = fixture.settles(Err(Reason::EventStoreFull)) => match never {},
    };
    assert_eq!(refused.unwrap_err(), Reason::NotAnnounced);

    // Nobody waits for this one any more.
    let principal = fixture.principal().await;
    let connect = fixture
        .pipeline
        .connect(Protocol::Mqtt, principal.clone(), "meter-1");
    let mut connect = Box::pin(connect);
    assert!((&mut connect).now_or_never().is_none());
    let too_many = Reason::TenantConnectionsExceeded;
    assert_eq!(fixture.connect().await.unwrap_err(), too_many);
    drop(connect);

    let connected = tokio::select! {
        connected = fixture.connect() => connected,
        never = fixture.settles(Ok(())) => match never {},
    };
    let _open = connected.unwrap();
    assert_eq!(fixture.connect().await.unwrap_err(), too_many);
    assert_eq!(fixture.open(), 1);
}
