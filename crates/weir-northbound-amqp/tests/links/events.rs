//! Events are kept until somebody has accepted them.

use std::time::Duration;

use fe2o3_amqp::link::Receiver;
use fe2o3_amqp::link::delivery::Delivery;
use fe2o3_amqp::types::definitions::SenderSettleMode;
use fe2o3_amqp::types::messaging::{Data, Modified};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use weir_amqp_engine::SenderSettleMode as SettleMode;
use weir_core::{Downstream, Endpoint, Reason};
use weir_event_store::{Budgets, Options, Queue};

use crate::application::{Application, Wire, accept, annotation, header, next, text};
use crate::probe::{Probe, Seen};
use crate::{DEADLINE, Gateway, message};

const EVENTS: &str = "event/acme";
const DEAD: &str = "event-dlq/acme";
const CAUSE: &str = "x-opt-dead-letter-cause";

/// How often a delivery was tried before, as it says itself.
fn attempts(delivery: &Delivery<Data>) -> u32 {
    let header = header(delivery);
    assert!(header.durable);
    assert_eq!(header.first_acquirer, header.delivery_count == 0);
    header.delivery_count
}

#[tokio::test]
async fn events_wait_for_a_consumer_and_come_in_their_order() {
    let gateway = Gateway::start().await;
    for number in 0..500 {
        gateway.event("4711", number).await;
    }
    let gateway = gateway.restart().await;
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    for number in 0..500 {
        let delivery = next(&mut receiver).await;
        assert_eq!(text(&delivery), number.to_string());
        assert_eq!(attempts(&delivery), 0);
        let properties = delivery.message().properties.as_ref().unwrap();
        assert_eq!(properties.to.as_deref(), Some(EVENTS));
        receiver.accept(&delivery).await.unwrap();
    }
    gateway.event("4711", "while attached").await;
    assert_eq!(accept(&mut receiver).await, "while attached");
    application.close().await;

    let gateway = gateway.restart().await;
    gateway.event("4711", "last").await;
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    assert_eq!(accept(&mut receiver).await, "last", "the others are gone");
}

/// What an application does with an event.
#[derive(Clone, Copy, Debug)]
enum Act {
    Accept,
    Release,
    Reject,
    Modify {
        failed: Option<bool>,
        undeliverable: Option<bool>,
    },
}

impl Act {
    async fn on(self, receiver: &Receiver, delivery: &Delivery<Data>) {
        match self {
            Self::Accept => receiver.accept(delivery).await,
            Self::Release => receiver.release(delivery).await,
            Self::Reject => receiver.reject(delivery, None).await,
            Self::Modify {
                failed,
                undeliverable,
            } => {
                let modified = Modified {
                    delivery_failed: failed,
                    undeliverable_here: undeliverable,
                    message_annotations: None,
                };
                receiver.modify(delivery, modified).await
            }
        }
        .unwrap();
    }
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Gone,
    Again { attempts: u32 },
    Dead { cause: String },
}

#[tokio::test]
async fn each_outcome_decides_what_becomes_of_an_event() {
    let gateway = Gateway::start().await;
    let mut application = Application::connect(gateway.address).await;
    let mut events = application.receiver(EVENTS).await;
    let mut dead = application.receiver(DEAD).await;
    let modify = |failed, undeliverable| Act::Modify {
        failed,
        undeliverable,
    };
    let dead_of = |cause: &str| Fate::Dead {
        cause: cause.to_owned(),
    };
    let rows = [
        (Act::Accept, Fate::Gone),
        (Act::Release, Fate::Again { attempts: 1 }),
        (modify(Some(true), None), Fate::Again { attempts: 1 }),
        (modify(Some(true), Some(false)), Fate::Again { attempts: 1 }),
        (modify(None, None), Fate::Again { attempts: 0 }),
        (Act::Reject, dead_of("rejected")),
        (modify(None, Some(true)), dead_of("undeliverable")),
        (modify(Some(true), Some(true)), dead_of("undeliverable")),
    ];
    for (act, expected) in rows {
        gateway.event("4711", "it").await;
        let delivery = next(&mut events).await;
        assert_eq!((&*text(&delivery), attempts(&delivery)), ("it", 0));
        act.on(&events, &delivery).await;
        let fate = match expected {
            Fate::Gone => {
                // It would come before what its device sends later.
                gateway.event("4711", "the next").await;
                assert_eq!(accept(&mut events).await, "the next");
                Fate::Gone
            }
            Fate::Again { .. } => {
                let again = next(&mut events).await;
                assert_eq!(text(&again), "it");
                events.accept(&again).await.unwrap();
                Fate::Again {
                    attempts: attempts(&again),
                }
            }
            Fate::Dead { .. } => {
                let letter = next(&mut dead).await;
                assert_eq!(text(&letter), "it");
                assert_eq!(annotation(&letter, "device_id").as_deref(), Some("4711"));
                dead.accept(&letter).await.unwrap();
                let cause = annotation(&letter, CAUSE).unwrap();
                Fate::Dead { cause }
            }
        };
        assert_eq!(fate, expected, "{act:?}");
    }
}

#[tokio::test]
async fn an_event_that_is_given_back_too_often_becomes_a_dead_letter() {
    let options = Options {
        max_attempts: 2,
        ..Options::default()
    };
    let gateway = Gateway::with(options).await;
    gateway.event("4711", "poison").await;
    gateway.event("4711", "good").await;
    let mut application = Application::connect(gateway.address).await;
    // One at a time, so that the first is settled before the second is sent.
    let mut receiver = application
        .receiver_with(EVENTS, 1, SenderSettleMode::Unsettled)
        .await;
    for tried in 0..2 {
        let delivery = next(&mut receiver).await;
        assert_eq!((&*text(&delivery), attempts(&delivery)), ("poison", tried));
        receiver.release(&delivery).await.unwrap();
    }
    assert_eq!(accept(&mut receiver).await, "good");
    let mut dead = application.receiver(DEAD).await;
    let letter = next(&mut dead).await;
    assert_eq!(text(&letter), "poison");
    assert_eq!(annotation(&letter, CAUSE).as_deref(), Some("attempts"));
    assert_eq!(attempts(&letter), 0, "as a dead letter");
    // Dead letters may be given back as often as one likes.
    dead.release(&letter).await.unwrap();
    let again = next(&mut dead).await;
    assert_eq!((&*text(&again), attempts(&again)), ("poison", 1));
    dead.reject(&again, None).await.unwrap();
    dead.close().await.unwrap();

    let gateway = gateway.restart().await;
    let figures = gateway.store.figures(OffsetDateTime::now_utc());
    let left = figures
        .iter()
        .map(|it| it.dead_letters.count + it.events.count);
    assert_eq!(left.sum::<u64>(), 0);
}

#[tokio::test]
async fn what_a_lost_connection_had_is_sent_again_and_was_an_attempt() {
    let gateway = Gateway::start().await;
    for number in 0..5 {
        gateway.event("4711", number).await;
    }
    let wire = Wire::to(gateway.address).await;
    let mut application = Application::connect(wire.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    for _ in 0..5 {
        next(&mut receiver).await;
    }
    let mut other = Application::connect(gateway.address).await;
    let mut waiting = other.receiver(EVENTS).await;
    wire.cut();
    for number in 0..5 {
        let delivery = next(&mut waiting).await;
        assert_eq!(
            (text(&delivery), attempts(&delivery)),
            (number.to_string(), 1)
        );
        waiting.accept(&delivery).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_consumer_leaves_behind_when_it_goes_was_no_attempt() {
    let gateway = Gateway::start().await;
    for number in 0..3 {
        gateway.event("4711", number).await;
    }
    for detach_alone in [true, false] {
        let mut application = Application::connect(gateway.address).await;
        let mut receiver = application.receiver(EVENTS).await;
        for number in 0..3 {
            let delivery = next(&mut receiver).await;
            assert_eq!(
                (text(&delivery), attempts(&delivery)),
                (number.to_string(), 0)
            );
        }
        if detach_alone {
            receiver.close().await.unwrap();
        }
        application.close().await;
    }
    let gateway = gateway.restart().await;
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    assert_eq!(attempts(&next(&mut receiver).await), 0);
    // Nor is it one when the gateway stops.
    let gateway = gateway.restart().await;
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    let delivery = next(&mut receiver).await;
    assert_eq!((&*text(&delivery), attempts(&delivery)), ("0", 0));
}

#[tokio::test]
async fn who_loses_the_permission_may_still_settle_and_what_is_left_was_no_attempt() {
    let gateway = Gateway::start().await;
    for number in 0..2 {
        gateway.event(&format!("device-{number}"), number).await;
    }
    let mut wire = Wire::to(gateway.address).await;
    let mut application = Application::connect(wire.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    let first = next(&mut receiver).await;
    assert_eq!(text(&first), "0");
    assert_eq!(text(&next(&mut receiver).await), "1");
    // What it says now is on its way when it is told, and arrives after that.
    wire.hold(true);
    receiver.accept(&first).await.unwrap();
    while timeout(Duration::from_millis(200), wire.heard())
        .await
        .is_ok()
    {}
    gateway.withdraw().await;
    wire.heard().await;
    wire.hold(false);
    let ended = timeout(DEADLINE, receiver.recv::<Data>()).await.unwrap();
    assert!(ended.is_err(), "{ended:?}");
    application.close().await;

    let mut taker = gateway.store.taker("acme", Queue::Event);
    let mut offered = gateway.store.watch("acme", Queue::Event);
    let mut taken = taker.take(10, OffsetDateTime::now_utc()).await.unwrap();
    while taken.is_empty() {
        offered.changed().await.unwrap();
        taken = taker.take(10, OffsetDateTime::now_utc()).await.unwrap();
    }
    let left: Vec<_> = taken.iter().map(|it| (&*it.device, it.attempts)).collect();
    assert_eq!(left, [("device-1", 0)]);
}

#[tokio::test]
async fn what_is_settled_while_the_gateway_stops_is_settled() {
    let gateway = Gateway::start().await;
    for number in 0..2 {
        gateway.event(&format!("device-{number}"), number).await;
    }
    let mut wire = Wire::to(gateway.address).await;
    let mut application = Application::connect(wire.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    let first = next(&mut receiver).await;
    assert_eq!(text(&first), "0");
    assert_eq!(text(&next(&mut receiver).await), "1");
    wire.hold(true);
    receiver.accept(&first).await.unwrap();
    while timeout(Duration::from_millis(200), wire.heard())
        .await
        .is_ok()
    {}
    gateway.stop.cancel();
    wire.heard().await;
    wire.hold(false);

    let gateway = gateway.restart().await;
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    let delivery = next(&mut receiver).await;
    assert_eq!((&*text(&delivery), attempts(&delivery)), ("1", 0));
}

#[tokio::test]
async fn who_does_not_answer_that_the_permission_was_withdrawn_keeps_no_events() {
    let gateway = Gateway::start().await;
    gateway.event("4711", "it").await;
    let wire = Wire::to(gateway.address).await;
    let mut application = Application::connect(wire.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    assert_eq!(text(&next(&mut receiver).await), "it");
    wire.hold(true);
    let mut taker = gateway.store.taker("acme", Queue::Event);
    let mut offered = gateway.store.watch("acme", Queue::Event);
    offered.mark_unchanged();
    gateway.withdraw().await;
    timeout(DEADLINE, offered.changed()).await.unwrap().unwrap();
    let taken = taker.take(10, OffsetDateTime::now_utc()).await.unwrap();
    let left: Vec<_> = taken.iter().map(|it| (&*it.device, it.attempts)).collect();
    assert_eq!(left, [("4711", 0)]);
}

#[tokio::test]
async fn who_wants_events_settled_has_them_when_they_are_sent() {
    let gateway = Gateway::start().await;
    for number in 0..3 {
        gateway.event("4711", number).await;
    }
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application
        .receiver_with(EVENTS, 10, SenderSettleMode::Settled)
        .await;
    for number in 0..3 {
        assert_eq!(text(&next(&mut receiver).await), number.to_string());
    }
    // Nothing more is sent to who has gone.
    receiver.close().await.unwrap();
    application.close().await;
    gateway.event("4711", "last").await;
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    assert_eq!(accept(&mut receiver).await, "last");
}

#[tokio::test]
async fn an_event_that_nobody_took_in_time_is_dropped() {
    let gateway = Gateway::start().await;
    let short = Downstream {
        creation_time: 1,
        ttl: Some(1),
        ..message(Endpoint::Event, "4711", "short")
    };
    let long = Downstream {
        ttl: Some(60_000),
        ..message(Endpoint::Event, "4711", "long")
    };
    for event in [short, long] {
        assert_eq!(gateway.publish(event).await, Ok(()));
    }
    let expired = async {
        let is_expired = || {
            let figures = gateway.store.figures(OffsetDateTime::now_utc());
            figures.iter().any(|tenant| tenant.expired == 1)
        };
        while !is_expired() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, expired).await.unwrap();
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    let delivery = next(&mut receiver).await;
    assert_eq!(text(&delivery), "long");
    let left = header(&delivery).ttl.unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_drain_sends_what_waits_and_gives_the_rest_of_the_credit_back() {
    let gateway = Gateway::start().await;
    let rows = [
        (SettleMode::Unsettled, false),
        (SettleMode::Settled, true),
        (SettleMode::Mixed, false),
    ];
    for (settle_mode, settled) in rows {
        // Each leaves nothing to the next: a device of its own is what it has taken.
        let mut probe = Probe::attach(gateway.address, EVENTS, settle_mode).await;
        for (waiting, credit) in [(3, 10), (0, 10), (600, 1000)] {
            for number in 0..waiting {
                gateway.event("4711", number).await;
            }
            probe.drain(credit);
            for _ in 0..waiting {
                assert_eq!(probe.next().await, Seen::Message { settled });
            }
            assert_eq!(probe.next().await, Seen::Drained, "{settle_mode:?}");
        }
        drop(probe);
        empty(&gateway).await;
    }
}

/// Takes whatever is left.
async fn empty(gateway: &Gateway) {
    let is_empty = || {
        let figures = gateway.store.figures(OffsetDateTime::now_utc());
        figures.iter().all(|tenant| tenant.events.count == 0)
    };
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver(EVENTS).await;
    while !is_empty() {
        let pause = Duration::from_millis(50);
        if let Ok(delivery) = timeout(pause, receiver.recv::<Data>()).await {
            receiver.accept(&delivery.unwrap()).await.unwrap();
        }
    }
    application.close().await;
}

#[tokio::test]
async fn several_consumers_have_all_events_between_them() {
    let gateway = Gateway::start().await;
    let mut application = Application::connect(gateway.address).await;
    // Takes nothing, and keeps nothing from the others.
    let _idle = application
        .receiver_with(EVENTS, 0, SenderSettleMode::Unsettled)
        .await;
    let mut other = Application::connect(gateway.address).await;
    let receivers = [
        application.receiver(EVENTS).await,
        application.receiver(EVENTS).await,
        other.receiver(EVENTS).await,
    ];
    for number in 0..300 {
        gateway.event(&format!("device-{number}"), number).await;
    }
    let (see, mut saw) = mpsc::unbounded_channel();
    for mut receiver in receivers {
        let see = see.clone();
        tokio::spawn(async move {
            loop {
                let text = accept(&mut receiver).await;
                // At its end a test looks at nothing any more.
                let _ = see.send(text.parse::<u32>().unwrap());
            }
        });
    }
    let mut seen = Vec::new();
    while seen.len() < 300 {
        seen.push(timeout(DEADLINE, saw.recv()).await.unwrap().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_tenant_whose_store_is_full_is_told_so() {
    let options = Options {
        budgets: Budgets {
            count: 1,
            ..Budgets::default()
        },
        ..Options::default()
    };
    let gateway = Gateway::with(options).await;
    gateway.event("4711", "fits").await;
    let second = message(Endpoint::Event, "4711", "does not");
    assert_eq!(gateway.publish(second).await, Err(Reason::EventStoreFull));
}
