//! The way of commands, with a registry and a northbound that do as they are told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt as _;
use serde_json::json;

use super::{Command, CommandOutcome, CommandTarget, Messaging, ReplyTo, RequestId, Subscription};
use crate::uplink::Waited;
use crate::world::{Fixture, fixture, received};
use crate::{
    ChangeKind, ChangeListener as _, ChangeSubject, DeviceId, Downstream, Endpoint, Outcome,
    Protocol, Qos, Reason, Received, RegistryChange, ResponseHead, Session, Target,
};

fn command(device: &str) -> Command {
    Command {
        tenant: "acme".into(),
        device: device.into(),
        name: ByteString::from_static("blink"),
        reply_to: None,
        content_type: None,
        payload: Bytes::from_static(b"1"),
        trace: None,
    }
}

fn request(device: &str) -> Command {
    Command {
        reply_to: Some(ReplyTo {
            messaging: Messaging::Amqp,
            correlation_id: ByteString::from_static("c1"),
            reply_id: ByteString::from_static("app/1"),
        }),
        ..command(device)
    }
}

impl Fixture {
    async fn send(&self, command: Command) -> CommandOutcome {
        self.pipeline
            .commands()
            .resolve(command)
            .await
            .forward()
            .await
    }

    /// Sends a command and accepts it from `subscription`; which device and gateway it names.
    async fn pass(&self, device: &str, subscription: &mut Subscription) -> Option<String> {
        let resolved = self.pipeline.commands().resolve(command(device)).await;
        let outcome = resolved.forward();
        let taken = subscription.next().now_or_never().flatten();
        let gateway = taken.map(|delivery| {
            let gateway = delivery.gateway().map(ToString::to_string);
            delivery.accept();
            gateway.unwrap_or_default()
        });
        let expected = match gateway {
            Some(_) => CommandOutcome::Accepted,
            None => CommandOutcome::Released,
        };
        assert_eq!(outcome.await, expected);
        gateway
    }

    /// Subscribes, and takes the event that tells applications of it.
    async fn subscribe(&self, session: &Arc<Session>, target: CommandTarget) -> Subscription {
        let (subscription, event) = tokio::join!(session.subscribe(target, 8), self.event());
        assert_eq!(event.ttd, Some(-1));
        subscription.unwrap()
    }

    /// The next message that is published; it is taken.
    async fn event(&self) -> Downstream {
        while self.world.published.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        self.world.settle(Ok(()))
    }

    fn commands_counted(&self, labels: &str) -> u64 {
        self.counted("hono_command_processing_duration_seconds_count", labels)
    }
}

#[tokio::test]
async fn a_device_is_told_of_a_command_and_the_application_of_what_became_of_it() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    assert_eq!(
        fixture.send(command("4711")).await,
        CommandOutcome::Released
    );
    let mut own = fixture.subscribe(&session, CommandTarget::Own).await;
    for settle in [0, 1, 2, 3] {
        let resolved = fixture.pipeline.commands().resolve(request("4711")).await;
        let outcome = resolved.forward();
        let delivery = own.next().await.unwrap();
        assert_eq!(delivery.request_id().as_deref(), Some("002c1app~2f1"));
        let expected = match settle {
            0 => {
                delivery.accept();
                CommandOutcome::Accepted
            }
            1 => {
                delivery.reject(Reason::PayloadTooLarge);
                CommandOutcome::Rejected(Reason::PayloadTooLarge)
            }
            2 => {
                delivery.release();
                CommandOutcome::Released
            }
            _ => {
                drop(delivery);
                CommandOutcome::Released
            }
        };
        assert_eq!(outcome.await, expected);
    }
    let adapter = "component_type=\"adapter\",host=\"test\",tenant=\"acme\"";
    for (labels, count) in [
        ("status=\"forwarded\",direction=\"request\"", 1),
        ("status=\"unprocessable\",direction=\"request\"", 1),
        ("status=\"undeliverable\",direction=\"request\"", 2),
    ] {
        let labels = format!("{adapter},{labels}");
        assert_eq!(fixture.commands_counted(&labels), count, "{labels}");
    }
    let router = "component_type=\"service\",host=\"test\",tenant=\"acme\",\
                  status=\"undeliverable\",direction=\"one-way\"";
    assert_eq!(fixture.commands_counted(router), 1);
}

#[tokio::test]
async fn commands_for_strangers_and_for_those_switched_off_are_rejected() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let _own = fixture.subscribe(&session, CommandTarget::Own).await;
    let rejected = |reason| CommandOutcome::Rejected(reason);
    let nobody = fixture.send(command("nobody")).await;
    assert_eq!(nobody, rejected(Reason::DeviceUnknown));
    let elsewhere = Command {
        tenant: "other".into(),
        ..command("4711")
    };
    let elsewhere = fixture.send(elsewhere).await;
    assert_eq!(elsewhere, rejected(Reason::TenantUnknown));
    for (tenant, reason) in [
        (json!({"enabled": false}), Reason::TenantDisabled),
        (
            json!({"adapters": [{"type": "hono-http", "enabled": true}]}),
            Reason::AdapterDisabled,
        ),
    ] {
        fixture.world.configure(tenant);
        assert_eq!(fixture.send(command("4711")).await, rejected(reason));
    }
}

/// Northbound contract §5.2.
#[tokio::test]
async fn a_devices_own_subscription_goes_before_its_gateways() {
    let fixture = fixture();
    fixture.world.register("edge", &["gw", "gw2"]);
    let first = fixture.session(Protocol::Mqtt, "gw").await;
    let second = fixture.session(Protocol::Mqtt, "gw2").await;
    let mut of_first = fixture.subscribe(&first, CommandTarget::All).await;
    let via = |gateway: &str| Some(gateway.to_owned());
    assert_eq!(fixture.pass("edge", &mut of_first).await, via("gw"));
    assert_eq!(fixture.pass("gw", &mut of_first).await, via(""));
    assert_eq!(fixture.pass("stranger", &mut of_first).await, None);

    // Of two gateways, the one that has sent for the device last.
    let mut of_second = fixture.subscribe(&second, CommandTarget::All).await;
    for (sender, taker, name) in [
        (&second, &mut of_second, "gw2"),
        (&first, &mut of_first, "gw"),
    ] {
        let message = received(("", "edge")).authenticate(sender).unwrap();
        drop(message.admit().await.unwrap());
        assert_eq!(fixture.pass("edge", taker).await, via(name), "{name}");
    }

    // One that has asked for this device alone goes before both.
    let edge = CommandTarget::Device(DeviceId::from("edge"));
    let mut of_edge = fixture.subscribe(&second, edge).await;
    assert_eq!(fixture.pass("edge", &mut of_edge).await, via("gw2"));
    drop(of_second);
    assert_eq!(fixture.event().await.ttd, Some(0));
    drop(of_edge);
    assert_eq!(fixture.event().await.ttd, Some(0));
    assert_eq!(fixture.pass("edge", &mut of_first).await, via("gw"));
}

#[tokio::test]
async fn a_gateway_that_asks_for_its_own_commands_gets_no_others() {
    let fixture = fixture();
    let gateway = fixture.session(Protocol::Mqtt, "gw").await;
    let mut own = fixture.subscribe(&gateway, CommandTarget::Own).await;
    assert_eq!(fixture.pass("gw", &mut own).await, Some(String::new()));
    assert_eq!(fixture.pass("edge", &mut own).await, None);
}

#[tokio::test]
async fn a_gateway_cannot_ask_for_a_device_that_is_not_its_own() {
    let fixture = fixture();
    let gateway = fixture.session(Protocol::Mqtt, "gw").await;
    for (device, reason) in [
        ("stranger", Reason::GatewayNotAuthorised),
        ("nobody", Reason::DeviceUnknown),
    ] {
        let target = CommandTarget::Device(DeviceId::from(device));
        assert_eq!(gateway.subscribe(target, 1).await.err(), Some(reason));
    }
}

#[tokio::test]
async fn a_gateway_that_has_lost_its_right_takes_no_more_commands() {
    let fixture = fixture();
    let gateway = fixture.session(Protocol::Mqtt, "gw").await;
    let edge = CommandTarget::Device(DeviceId::from("edge"));
    let _edge = fixture.subscribe(&gateway, edge).await;
    fixture.world.register("edge", &["gw2"]);
    let outcome = fixture.send(command("edge")).await;
    assert_eq!(
        outcome,
        CommandOutcome::Rejected(Reason::GatewayNotAuthorised)
    );
}

#[tokio::test]
async fn a_later_subscription_takes_the_place_of_an_earlier_one_which_then_says_nothing() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let mut first = fixture.subscribe(&session, CommandTarget::Own).await;
    let mut second = fixture.subscribe(&session, CommandTarget::Own).await;
    assert!(first.next().await.is_none(), "it is told so");
    assert!(first.end().await.is_none());
    assert!(fixture.world.published.lock().unwrap().is_empty());
    assert_eq!(fixture.pass("4711", &mut second).await, Some(String::new()));
    second.leave();
    tokio::task::yield_now().await;
    assert!(fixture.world.published.lock().unwrap().is_empty());
    assert_eq!(
        fixture.send(command("4711")).await,
        CommandOutcome::Released
    );
}

#[tokio::test]
async fn who_takes_no_more_makes_commands_be_released() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let (subscription, _) = tokio::join!(session.subscribe(CommandTarget::Own, 1), fixture.event());
    let subscription = subscription.unwrap();
    let resolve = || fixture.pipeline.commands().resolve(command("4711"));
    let first = resolve().await.forward();
    assert_eq!(
        fixture.send(command("4711")).await,
        CommandOutcome::Released
    );
    drop(subscription);
    assert_eq!(first.await, CommandOutcome::Released);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_not_settled_is_released_in_the_end() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let mut own = fixture.subscribe(&session, CommandTarget::Own).await;
    let resolved = fixture.pipeline.commands().resolve(command("4711")).await;
    let (outcome, delivery) = tokio::join!(resolved.forward(), own.next());
    assert_eq!(outcome, CommandOutcome::Released);
    delivery.unwrap().accept();

    // Nobody has looked for this one in time: the device does not get it any more.
    assert_eq!(
        fixture.send(command("4711")).await,
        CommandOutcome::Released
    );
    let resolved = fixture.pipeline.commands().resolve(request("4711")).await;
    let _open = resolved.forward();
    let next = own.next().await.unwrap();
    assert!(next.command().reply_to.is_some());
}

#[tokio::test]
async fn commands_are_wanted_from_the_first_subscription_until_the_tenant_ends() {
    let fixture = fixture();
    let commands = fixture.pipeline.commands();
    let wanted = commands.is_wanted(&"acme".into());
    assert!(!*wanted.borrow());
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let own = fixture.subscribe(&session, CommandTarget::Own).await;
    assert!(*wanted.borrow());
    own.leave();
    tokio::task::yield_now().await;
    assert!(*wanted.borrow(), "another device may come");
    commands.changed(&RegistryChange {
        at: time::OffsetDateTime::UNIX_EPOCH,
        tenant: "acme".into(),
        subject: ChangeSubject::AllDevices,
    });
    assert!(!*wanted.borrow());
}

/// Connections that nobody authenticated are not closed when their tenant is disabled.
#[tokio::test]
async fn commands_are_wanted_again_when_a_tenant_with_subscribers_is_back() {
    let fixture = fixture();
    let commands = fixture.pipeline.commands();
    let wanted = commands.is_wanted(&"acme".into());
    let anonymous = fixture.pipeline.connect_anonymous(Protocol::Mqtt);
    let target = Target {
        tenant: Some("acme".into()),
        device: Some("4711".into()),
    };
    let session = anonymous.session(&target).await.unwrap();
    let own = fixture.subscribe(&session, CommandTarget::Own).await;
    let change = |enabled| RegistryChange {
        at: time::OffsetDateTime::UNIX_EPOCH,
        tenant: "acme".into(),
        subject: ChangeSubject::Tenant {
            change: ChangeKind::Updated,
            enabled,
            invalidate_cache: true,
        },
    };
    commands.changed(&change(false));
    assert!(!*wanted.borrow());
    commands.changed(&change(true));
    assert!(*wanted.borrow());
    commands.changed(&change(false));
    own.leave();
    tokio::task::yield_now().await;
    commands.changed(&change(true));
    assert!(!*wanted.borrow(), "nobody takes any");
}

async fn wait(fixture: &Fixture, target: &str, user: &str, ttd: i32) -> Waited {
    let session = fixture.session(Protocol::Http, user).await;
    let message = Received {
        ttd: Some(ttd),
        ..received(("", target))
    };
    let admitted = message.authenticate(&session).unwrap().admit().await;
    admitted
        .unwrap()
        .publish_and_wait(std::future::pending())
        .await
}

#[tokio::test]
async fn a_device_that_waits_gets_the_command_that_follows_its_message() {
    let fixture = fixture();
    let application = async {
        let message = fixture.event().await;
        assert_eq!(message.ttd, Some(30));
        fixture.send(command("edge")).await
    };
    let device = async {
        let waited = wait(&fixture, "edge", "gw", 30).await;
        assert_eq!(waited.outcome, Outcome::Accepted);
        let delivery = waited.command.unwrap();
        assert_eq!(delivery.gateway().map(DeviceId::as_str), Some("gw"));
        delivery.accept();
    };
    let (outcome, ()) = tokio::join!(application, device);
    assert_eq!(outcome, CommandOutcome::Accepted);
    assert_eq!(
        fixture.count("status=\"forwarded\",qos=\"1\",ttd=\"command\""),
        1
    );
    assert_eq!(
        fixture.send(command("edge")).await,
        CommandOutcome::Released,
        "the wait is over"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_a_command_ends_when_its_time_is_up() {
    let fixture = fixture();
    let (waited, message) = tokio::join!(wait(&fixture, "", "sensor", 3600), fixture.event());
    assert_eq!(message.ttd, Some(60), "as long as its tenant allows");
    assert_eq!(waited.outcome, Outcome::Accepted);
    assert!(waited.command.is_none());
    assert_eq!(
        fixture.count("status=\"forwarded\",qos=\"1\",ttd=\"expired\""),
        1
    );
}

#[tokio::test]
async fn a_wait_ends_when_the_process_stops() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Http, "sensor").await;
    let message = Received {
        ttd: Some(30),
        ..received(("", ""))
    };
    let admitted = message.authenticate(&session).unwrap().admit().await;
    let waits = admitted.unwrap().publish_and_wait(std::future::ready(()));
    let (waited, _) = tokio::join!(waits, fixture.event());
    assert_eq!(waited.outcome, Outcome::Accepted);
    assert!(waited.command.is_none());
}

#[tokio::test]
async fn who_leaves_before_the_application_has_answered_is_counted_all_the_same() {
    let fixture = fixture();
    assert!(wait(&fixture, "", "sensor", 30).now_or_never().is_none());
    fixture.event().await;
    tokio::task::yield_now().await;
    let labels = "status=\"forwarded\",qos=\"1\",ttd=\"expired\"";
    assert_eq!(fixture.count(labels), 1);
}

#[tokio::test]
async fn a_message_that_is_not_taken_ends_the_wait() {
    let fixture = fixture();
    let application = async {
        while fixture.world.published.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let resolved = fixture.pipeline.commands().resolve(command("4711")).await;
        let outcome = resolved.forward();
        fixture.world.settle(Err(Reason::Released));
        outcome.await
    };
    let (waited, outcome) = tokio::join!(wait(&fixture, "", "sensor", 30), application);
    assert!(
        matches!(waited.outcome, Outcome::Refused(refusal) if refusal.reason == Reason::Released)
    );
    assert!(waited.command.is_none());
    assert_eq!(outcome, CommandOutcome::Released);
    assert_eq!(
        fixture.count("status=\"undeliverable\",qos=\"1\",ttd=\"none\""),
        1
    );
}

#[tokio::test]
async fn who_leaves_while_it_waits_has_sent_its_message() {
    let fixture = fixture();
    let leaves = async {
        let _ =
            tokio::time::timeout(Duration::from_millis(1), wait(&fixture, "", "sensor", 30)).await;
    };
    tokio::join!(leaves, fixture.event());
    assert_eq!(
        fixture.count("status=\"forwarded\",qos=\"1\",ttd=\"expired\""),
        1
    );
    assert_eq!(
        fixture.send(command("4711")).await,
        CommandOutcome::Released
    );
}

#[tokio::test]
async fn a_response_goes_where_the_command_says_and_is_counted_with_commands() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "gw").await;
    let reply_to = ReplyTo {
        reply_id: ByteString::from_static("edge/7"),
        ..request("edge").reply_to.unwrap()
    };
    let request_id = RequestId::encode(&reply_to, &"edge".into());
    let message = Received {
        endpoint: Endpoint::CommandResponse,
        response: Some(ResponseHead {
            request_id: RequestId::parse(&request_id).unwrap(),
            status: 204,
        }),
        payload: Bytes::new(),
        qos: Qos::AtLeastOnce,
        arrived: Instant::now(),
        ..received(("", "edge"))
    };
    let admitted = message.authenticate(&session).unwrap().admit().await;
    let published = admitted.unwrap().publish();
    let message = fixture.world.settle(Ok(()));
    assert_eq!(published.await, Outcome::Accepted);
    let response = message.response.unwrap();
    assert_eq!((response.reply_to, response.status), (reply_to, 204));
    assert_eq!(message.content_type, None, "an empty one needs no type");
    let labels = "status=\"forwarded\",direction=\"response\"";
    assert_eq!(fixture.commands_counted(labels), 1);
}
