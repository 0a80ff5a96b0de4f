//! Whatever consumers do, each event is accepted in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use fe2o3_amqp::types::messaging::Data;
use time::OffsetDateTime;
use tokio::time::timeout;
use weir_event_store::Options;

use crate::application::{Application, Wire, accept, next, text};
use crate::{DEADLINE, Gateway};

const EVENTS: &str = "event/acme";
const COUNT: usize = 400;

#[tokio::test]
async fn nothing_is_lost_between_consumers_that_give_back_leave_and_die() {
    let gateway = Gateway::with(Options {
        max_attempts: 1000,
        ..Options::default()
    })
    .await;
    let mut accepted = BTreeSet::new();
    let mut sent = 0;
    for round in 0..6 {
        for _ in 0..COUNT / 8 {
            gateway.event(&format!("device-{}", sent % 7), sent).await;
            sent += 1;
        }
        let wire = Wire::to(gateway.address).await;
        let mut application = Application::connect(wire.address).await;
        let mut receiver = application.receiver(EVENTS).await;
        for number in 0..30 {
            let delivery = next(&mut receiver).await;
            match number % 3 {
                0 => {
                    receiver.accept(&delivery).await.unwrap();
                    accepted.insert(text(&delivery).parse::<usize>().unwrap());
                }
                1 if round < 2 => receiver.release(&delivery).await.unwrap(),
                _ => {}
            }
        }
        match round % 3 {
            0 => wire.cut(),
            1 => application.close().await,
            _ => receiver.close().await.unwrap(),
        }
    }
    let gateway = gateway.restart().await;
    let mut application = Application::connect(gateway.address).await;
    let mut other = Application::connect(gateway.address).await;
    let mut dies = other.receiver(EVENTS).await;
    next(&mut dies).await;
    let mut receiver = application.receiver(EVENTS).await;
    while sent < COUNT {
        gateway.event("late", sent).await;
        sent += 1;
    }
    let first = accept(&mut receiver).await;
    accepted.insert(first.parse().unwrap());
    drop((dies, other));

    let left = || {
        let figures = gateway.store.figures(OffsetDateTime::now_utc());
        figures.iter().map(|it| it.events.count).sum::<u64>()
    };
    let rest = async {
        while left() > 0 {
            let pause = Duration::from_millis(50);
            let Ok(delivery) = timeout(pause, receiver.recv::<Data>()).await else {
                continue;
            };
            let delivery = delivery.unwrap();
            receiver.accept(&delivery).await.unwrap();
            accepted.insert(text(&delivery).parse().unwrap());
        }
    };
    timeout(DEADLINE, rest).await.unwrap();
    assert_eq!(accepted, (0..COUNT).collect::<BTreeSet<_>>());
}
