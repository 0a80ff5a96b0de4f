//! Which messages and commands pass, and what of them counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt as _;
use serde_json::json;
use time::OffsetDateTime;

use super::{tenant, used, volume};
use crate::command::{
    Command, CommandDelivery, CommandOutcome, CommandTarget, Messaging, ReplyTo, RequestId,
    Subscription,
};
use crate::uplink::Waited;
use crate::world::{Fixture, fixture, received, refused};
use crate::{
    Endpoint, Outcome, Protocol, Reason, Received, RejectCondition, ResponseHead, Session,
    Timestamp,
};

impl Fixture {
    /// Sends a message, of which this is to become.
    pub(super) async fn upload(
        &self,
        session: &Arc<Session>,
        message: Received,
        disposition: Result<(), Reason>,
    ) -> Outcome {
        match message.authenticate(session).unwrap().admit().await {
            Ok(admitted) => {
                let published = admitted.publish();
                self.world.settle(disposition);
                published.await
            }
            Err(outcome) => outcome,
        }
    }

    /// What the tenant has used so far.
    pub(super) fn consumed(&self) -> u64 {
        let usage = self.pipeline.usage().of(&"acme".into());
        let _limited = usage.volume(&tenant(volume(i64::MAX)));
        let sums = usage.sums(OffsetDateTime::now_utc(), Instant::now());
        sums.data_volume.map_or(0, |sum| sum.consumed)
    }
}

pub(super) fn message(size: usize) -> Received {
    Received {
        payload: Bytes::from(vec![b'x'; size]),
        content_type: Some(ByteString::from_static("text/plain")),
        ..received(("", ""))
    }
}

pub(super) fn response(size: usize) -> Received {
    let reply_to = ReplyTo {
        messaging: Messaging::Amqp,
        correlation_id: ByteString::from_static("c1"),
        reply_id: ByteString::from_static("app/1"),
    };
    let id = RequestId::encode(&reply_to, &"4711".into());
    Received {
        endpoint: Endpoint::CommandResponse,
        response: Some(ResponseHead {
            request_id: RequestId::parse(&id).unwrap(),
            status: 200,
        }),
        ..message(size)
    }
}

fn command(size: usize) -> Command {
    Command {
        tenant: "acme".into(),
        device: "4711".into(),
        name: ByteString::from_static("blink"),
        reply_to: None,
        content_type: None,
        payload: Bytes::from(vec![b'x'; size]),
        trace: None,
    }
}

#[tokio::test]
async fn a_message_is_refused_that_is_more_than_what_is_left() {
    // Used of 100, minimum size, size, whether it passes.
    let rows = [
        (0, 0, 100, true),
        (0, 0, 101, false),
        (99, 0, 1, true),
        (99, 0, 2, false),
        (100, 0, 1, false),
        (100, 0, 0, true),
        (500, 0, 0, true),
        (500, 10, 0, true),
        (90, 10, 1, true),
        (91, 10, 1, false),
        (90, 10, 11, false),
    ];
    let endpoints: [fn(usize) -> Received; 3] = [
        message,
        |size| Received {
            endpoint: Endpoint::Event,
            ..message(size)
        },
        response,
    ];
    for protocol in [Protocol::Http, Protocol::Mqtt] {
        for endpoint in endpoints {
            for (used_so_far, least, size, passes) in rows {
                let fixture = used(used_so_far, 0);
                let session = fixture.session(protocol, "sensor").await;
                let mut limits = volume(100);
                limits["minimum-message-size"] = json!(least);
                fixture.world.configure(limits);
                let outcome = fixture.upload(&session, endpoint(size), Ok(())).await;
                let expected = match passes {
                    true => Outcome::Accepted,
                    false => Outcome::refused(Reason::DataVolumeExceeded, false),
                };
                let row = (used_so_far, least, size);
                assert_eq!(outcome, expected, "{protocol:?} {row:?}");
            }
        }
    }
}

#[tokio::test]
async fn other_faults_of_a_message_are_told_first() {
    let fixture = used(100, 0);
    let session = fixture.session(Protocol::Mqtt, "gw").await;
    fixture.world.configure(volume(100));
    let typed = |content_type: &'static str, device| Received {
        content_type: Some(ByteString::from_static(content_type)),
        ..received(("acme", device))
    };
    let empty = "application/vnd.eclipse-hono-empty-notification";
    let rows = [
        (typed(empty, "edge"), 400),
        (typed("text/plain", "stranger"), 403),
        (typed("text/plain", "nobody"), 404),
        (typed("text/plain", "edge"), 429),
    ];
    for (message, status) in rows {
        let (reason, _) = refused(message, &session).await;
        assert_eq!(reason.status(), status, "{reason:?}");
    }
    fixture
        .world
        .configure(json!({"enabled": false, "resource-limits": volume(0)["resource-limits"]}));
    let (reason, _) = refused(typed("text/plain", "edge"), &session).await;
    assert_eq!(reason, Reason::TenantDisabled);
}

#[tokio::test]
async fn what_was_forwarded_or_unprocessable_counts_in_both_directions() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let rejected = || Reason::Rejected(RejectCondition::Other, None);
    let unknown = || Received {
        target: received(("acme", "nobody")).target,
        ..message(1_000)
    };
    let mut expected = 0;
    // Message, what the application says, what is added.
    let rows = [
        (message(1), Ok(()), 1),
        (response(20), Ok(()), 20),
        (message(300), Err(rejected()), 300),
        (message(5_000), Err(Reason::Released), 0),
        (message(5_000), Err(Reason::NoConsumer), 0),
        (unknown(), Ok(()), 1_000),
        (message(0), Ok(()), 0),
    ];
    for (message, disposition, added) in rows {
        let row = format!("{disposition:?} {added}");
        let _ = fixture.upload(&session, message, disposition).await;
        expected += added;
        assert_eq!(fixture.consumed(), expected, "{row}");
    }
    // It counts as the tenant says now, also if that is not what it said at the log-in.
    for enabled in [true, false] {
        let tenant = json!({"minimum-message-size": 10, "enabled": enabled});
        fixture.world.configure(tenant);
        let _ = fixture.upload(&session, unknown(), Ok(())).await;
        let message = Received {
            payload: Bytes::from_static(b"x"),
            ..unknown()
        };
        let _ = fixture.upload(&session, message, Ok(())).await;
        expected += 1_000 + 10;
        assert_eq!(fixture.consumed(), expected);
    }
    // What is refused for the limit is unprocessable, so it counts too.
    fixture.world.configure(volume(1_400 + 2 * 1_010));
    let _ = fixture.upload(&session, message(80), Ok(())).await;
    assert_eq!(fixture.consumed(), expected + 80);
    let unprocessable = fixture.count("status=\"unprocessable\"");
    assert!(unprocessable > 0);
}

#[tokio::test]
async fn a_limit_that_is_set_finds_what_was_used_before() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    assert_eq!(
        fixture.upload(&session, message(60), Ok(())).await,
        Outcome::Accepted
    );
    fixture.world.configure(volume(100));
    let too_much = Outcome::refused(Reason::DataVolumeExceeded, false);
    assert_eq!(
        fixture.upload(&session, message(41), Ok(())).await,
        too_much
    );
    fixture.world.configure(volume(101 + 1));
    assert_eq!(
        fixture.upload(&session, message(1), Ok(())).await,
        Outcome::Accepted
    );
}

#[tokio::test]
async fn a_session_notices_that_a_period_begins() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let soon = Timestamp::from(OffsetDateTime::now_utc() + Duration::from_secs(2));
    let volume = json!({"effective-since": soon, "max-bytes": i64::MAX});
    let limits = json!({"resource-limits": {"data-volume": volume}});
    fixture.world.configure(limits);
    let passes = async {
        loop {
            let outcome = fixture.upload(&session, message(1), Ok(())).await;
            if outcome == Outcome::Accepted {
                return;
            }
            let too_much = Outcome::refused(Reason::DataVolumeExceeded, false);
            assert_eq!(outcome, too_much);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let hang = Duration::from_secs(60);
    tokio::time::timeout(hang, passes).await.unwrap();
}

/// Takes a device's commands by a subscription.
async fn subscribe(fixture: &Fixture, session: &Arc<Session>, room: usize) -> Subscription {
    let told = async {
        while fixture.world.published.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        fixture.world.settle(Ok(()))
    };
    let (subscription, _) = tokio::join!(session.subscribe(CommandTarget::Own, room), told);
    subscription.unwrap()
}

#[tokio::test]
async fn a_command_is_rejected_that_is_more_than_what_is_left() {
    // Used of 100, size, whether it passes.
    let rows = [
        (0, 100, true),
        (99, 1, true),
        (99, 2, false),
        (500, 0, true),
    ];
    for (used_so_far, size, passes) in rows {
        let fixture = used(used_so_far, 0);
        let session = fixture.session(Protocol::Mqtt, "sensor").await;
        let mut subscription = subscribe(&fixture, &session, 8).await;
        fixture.world.configure(volume(100));
        let commands = fixture.pipeline.commands();
        let outcome = commands.resolve(command(size)).await.forward();
        let delivery = subscription.next().now_or_never().flatten();
        assert_eq!(delivery.is_some(), passes, "{used_so_far} {size}");
        let expected = match delivery {
            Some(delivery) => {
                delivery.accept();
                CommandOutcome::Accepted
            }
            None => CommandOutcome::Rejected(Reason::DataVolumeExceeded),
        };
        assert_eq!(outcome.await, expected);
        let status = if passes { "forwarded" } else { "unprocessable" };
        let page = weir_metrics::render(&fixture.metrics, Instant::now());
        let labels = [
            "hono_command_payload_bytes_count",
            "hono-mqtt",
            "acme",
            status,
        ];
        let is_counted = |line: &str| labels.iter().all(|label| line.contains(label));
        assert!(page.lines().any(is_counted), "{labels:?}");
        assert_eq!(fixture.consumed(), used_so_far + size as u64);
    }
}

#[tokio::test]
async fn a_refused_command_takes_no_room_from_the_next_one() {
    let fixture = used(100, 0);
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let mut subscription = subscribe(&fixture, &session, 1).await;
    fixture.world.configure(volume(100));
    let commands = fixture.pipeline.commands();
    let refused = commands.resolve(command(1)).await.forward();
    let passes = commands.resolve(command(0)).await.forward();
    let delivery = subscription.next().now_or_never().flatten();
    delivery.unwrap().accept();
    assert_eq!(passes.await, CommandOutcome::Accepted);
    let too_much = CommandOutcome::Rejected(Reason::DataVolumeExceeded);
    assert_eq!(refused.await, too_much);
}

#[tokio::test]
async fn a_tenant_that_changes_while_its_command_looks_for_its_way_is_asked_again() {
    let mut stepped = volume(109);
    stepped["minimum-message-size"] = json!(10);
    // What the tenant becomes, and what of a command of one byte, or why not.
    let rows = [
        (volume(101), None),
        (volume(100), Some(Reason::DataVolumeExceeded)),
        (stepped, Some(Reason::DataVolumeExceeded)),
        (json!({"enabled": false}), Some(Reason::TenantDisabled)),
    ];
    for (tenant, refused) in rows {
        let fixture = used(100, 0);
        let session = fixture.session(Protocol::Mqtt, "sensor").await;
        let mut subscription = subscribe(&fixture, &session, 8).await;
        *fixture.world.meanwhile.lock().unwrap() = Some(tenant);
        let resolved = fixture.pipeline.commands().resolve(command(1)).await;
        let outcome = resolved.forward();
        let delivery = subscription.next().now_or_never().flatten();
        assert_eq!(delivery.is_some(), refused.is_none(), "{refused:?}");
        delivery.into_iter().for_each(CommandDelivery::accept);
        let expected = refused.map_or(CommandOutcome::Accepted, CommandOutcome::Rejected);
        assert_eq!(outcome.await, expected);
    }
}

#[tokio::test]
async fn devices_that_nobody_authenticated_have_the_limit_too() {
    let fixture = used(99, 0);
    fixture.world.configure(volume(100));
    let message = |size| Received {
        target: received(("acme", "4711")).target,
        ..message(size)
    };
    let too_much = Outcome::refused(Reason::DataVolumeExceeded, false);
    for protocol in [Protocol::Http, Protocol::Mqtt] {
        let target = message(0).target;
        let session = fixture.pipeline.anonymous(protocol, &target).await;
        let session = session.unwrap();
        let rows = [(2, too_much.clone()), (0, Outcome::Accepted)];
        for (size, expected) in rows {
            let outcome = fixture.upload(&session, message(size), Ok(())).await;
            assert_eq!(outcome, expected, "{protocol:?} {size}");
        }
    }
}

#[tokio::test]
async fn an_upload_that_waits_for_such_a_command_is_refused_although_it_was_forwarded() {
    let fixture = used(90, 0);
    fixture.world.configure(volume(100));
    let session = fixture.session(Protocol::Http, "sensor").await;
    let waits = Received {
        ttd: Some(30),
        ..message(5)
    };
    let admitted = waits.authenticate(&session).unwrap().admit().await.unwrap();
    let waiting = admitted.publish_and_wait(std::future::pending());
    let answer = async {
        while fixture.world.published.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        fixture.world.settle(Ok(()));
        let commands = fixture.pipeline.commands();
        commands.resolve(command(11)).await.forward().await
    };
    let (Waited { outcome, command }, told) = tokio::join!(waiting, answer);
    let too_much = Reason::DataVolumeExceeded;
    assert_eq!(told, CommandOutcome::Rejected(too_much.clone()));
    assert_eq!(outcome, Outcome::refused(too_much, false));
    assert!(command.is_none());
    assert_eq!(fixture.count("status=\"unprocessable\""), 1);
    assert_eq!(fixture.consumed(), 90 + 5 + 11);
}
