//! What is measured of messages to applications, and told of who consumes them.

use std::time::Instant;

use fe2o3_amqp::types::definitions::SenderSettleMode;
use weir_core::{Downstream, Qos, Reason};

use crate::Gateway;
use crate::application::{Application, Wire, accept, next};
use crate::responses::{ADDRESS, answer, response};

const RESPONSES: &str = "tenant=\"acme\",type=\"command_response\"";
const EVENTS: &str = "tenant=\"acme\",type=\"event\"";
const COUNT: &str = "hono_amqp_delivery_duration_seconds_count";

impl Gateway {
    /// The series of that name that has these labels; 0 if there is none.
    fn value(&self, name: &str, labels: &str) -> f64 {
        let page = weir_metrics::render(&self.metrics, Instant::now());
        let is_it = |line: &&str| line.split('{').next() == Some(name) && line.contains(labels);
        let line = page.lines().find(is_it);
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    fn deliveries(&self, labels: &str, outcome: &str) -> f64 {
        self.value(COUNT, &format!("{labels},outcome=\"{outcome}\""))
    }

    async fn until(&self, name: &str, labels: &str, value: f64) {
        while self.value(name, labels) != value {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_message_is_measured_from_its_wait_for_credit_to_its_outcome() {
    let gateway = Gateway::start().await;
    assert_eq!(answer(&gateway).await, Err(Reason::NoConsumer));
    assert_eq!(gateway.value("hono_amqp_nocredit_total", RESPONSES), 1.0);

    let mut application = Application::connect(gateway.address).await;
    let unsettled = SenderSettleMode::Unsettled;
    let mut receiver = application.receiver_with(ADDRESS, 0, unsettled).await;
    assert_eq!(gateway.value("weir_consumers", RESPONSES), 1.0);
    assert_eq!(gateway.value("weir_consumer_credit", RESPONSES), 0.0);
    let (disposition, ()) = tokio::join!(answer(&gateway), async {
        let queued = gateway.until("weir_consumer_queue_messages", RESPONSES, 1.0);
        queued.await;
        // It is looked at once without credit, in the gateway's time.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        receiver.set_credit(1).await.unwrap();
        accept(&mut receiver).await;
    });
    assert_eq!(disposition, Ok(()));
    assert_eq!(gateway.deliveries(RESPONSES, "accepted"), 1.0);
    assert_eq!(
        gateway.value("weir_consumer_queue_messages", RESPONSES),
        0.0
    );
    let waits = "weir_consumer_wait_seconds_count";
    assert_eq!(gateway.value(waits, RESPONSES), 1.0);
    assert!(gateway.value("weir_consumer_wait_seconds_sum", RESPONSES) > 0.0);

    // Credit that is there already is not waited for.
    receiver.set_credit(1).await.unwrap();
    gateway.until("weir_consumer_credit", RESPONSES, 1.0).await;
    let (disposition, ()) = tokio::join!(answer(&gateway), async {
        let delivery = next(&mut receiver).await;
        receiver.release(&delivery).await.unwrap();
    });
    assert_eq!(disposition, Err(Reason::Released));
    assert_eq!(gateway.deliveries(RESPONSES, "released"), 1.0);
    assert_eq!(gateway.deliveries(RESPONSES, "accepted"), 1.0);
    assert_eq!(gateway.value(waits, RESPONSES), 1.0);

    receiver.close().await.unwrap();
    gateway.until("weir_consumers", RESPONSES, 0.0).await;
}

#[tokio::test]
async fn of_a_message_that_was_wanted_settled_nothing_is_said_and_nothing_measured() {
    let gateway = Gateway::start().await;
    let mut application = Application::connect(gateway.address).await;
    let settled = SenderSettleMode::Settled;
    let mut receiver = application.receiver_with(ADDRESS, 10, settled).await;
    let answer = Downstream {
        qos: Qos::AtMostOnce,
        ..response("4711/app/1", "21.5")
    };
    assert_eq!(gateway.publish(answer).await, Ok(()));
    next(&mut receiver).await;
    assert_eq!(gateway.value(COUNT, RESPONSES), 0.0);
}

#[tokio::test]
async fn an_application_that_is_lost_has_aborted_what_it_had() {
    let gateway = Gateway::start().await;
    let wire = Wire::to(gateway.address).await;
    let mut application = Application::connect(wire.address).await;
    let mut receiver = application.receiver(ADDRESS).await;
    let (disposition, ()) = tokio::join!(answer(&gateway), async {
        let _unsettled = next(&mut receiver).await;
        wire.cut();
    });
    assert_eq!(disposition, Err(Reason::Released));
    assert_eq!(gateway.deliveries(RESPONSES, "aborted"), 1.0);
    gateway.until("weir_consumers", RESPONSES, 0.0).await;
}

#[tokio::test]
async fn events_are_measured_and_dead_letters_are_nobodys() {
    let gateway = Gateway::start().await;
    let mut application = Application::connect(gateway.address).await;
    let mut receiver = application.receiver("event/acme").await;
    gateway.event("4711", 1).await;
    accept(&mut receiver).await;
    gateway.until(COUNT, EVENTS, 1.0).await;
    assert_eq!(gateway.deliveries(EVENTS, "accepted"), 1.0);

    gateway.event("4711", 2).await;
    let delivery = next(&mut receiver).await;
    receiver.reject(&delivery, None).await.unwrap();
    let mut letters = application.receiver("event-dlq/acme").await;
    accept(&mut letters).await;
    assert_eq!(gateway.deliveries(EVENTS, "rejected"), 1.0);
    assert_eq!(gateway.deliveries(EVENTS, "accepted"), 1.0);
    assert_eq!(gateway.value("weir_consumers", EVENTS), 1.0);
    assert!(gateway.value("weir_consumer_credit", EVENTS) > 0.0);
}
