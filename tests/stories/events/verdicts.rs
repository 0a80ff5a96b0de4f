//! What an application says of an event, and what becomes of it.

use fe2o3_amqp::types::definitions::AmqpError;
use fe2o3_amqp::types::primitives::Value;

use serde_json::json;

use super::{assert_next, consume, send_with, store};
use crate::kit::{
    Application, Gateway, Received, delivery_count, payload, property, story, string,
    symbol_annotation, text,
};

/// How an application ends what it has begun with an event.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Release,
    /// Modified, with the word that the delivery failed.
    Fail,
    /// Rejected, with an error.
    Reject,
    UndeliverableHere,
    /// Its link ends, with the event open.
    Leave,
    /// Its connection is cut, with the event open.
    Die,
}

impl Verdict {
    /// Says it of an event; the application goes on with the next one, if it is still there.
    async fn say(self, application: Application, event: &Received) -> Option<Application> {
        match self {
            Self::Release => application.release(event).await,
            Self::Fail => application.modify(event, false).await,
            Self::Reject => {
                let condition = AmqpError::DecodeError;
                application.reject(event, condition, "no").await;
            }
            Self::UndeliverableHere => application.modify(event, true).await,
            Self::Leave => {
                application.leave().await;
                return None;
            }
            Self::Die => {
                application.die();
                return None;
            }
        }
        Some(application)
    }
}

async fn dead_letters(gateway: &Gateway, tenant: &str) -> Application {
    Application::consume(gateway, &format!("event-dlq/{tenant}")).await
}

#[test]
fn an_event_comes_again_until_it_is_accepted() {
    story(async {
        let gateway = Gateway::start().await;
        // What the application does, and whether that was an attempt.
        let rows = [
            (Verdict::Release, 1),
            (Verdict::Fail, 1),
            (Verdict::Leave, 0),
            (Verdict::Die, 1),
        ];
        for (verdict, count) in rows {
            let device = gateway.tenant_and_device().await;
            store(&gateway, &device, "again").await;
            let mut application = consume(&gateway, &device.tenant).await;
            let event = application.receive().await;
            let mut application = match verdict.say(application, &event).await {
                Some(application) => application,
                None => consume(&gateway, &device.tenant).await,
            };
            assert_next(&mut application, "again", count).await;
            // Once accepted it is gone, and the device was told nothing of all this.
            store(&gateway, &device, "next").await;
            assert_next(&mut application, "next", 0).await;
            let metrics = gateway.metrics().await;
            assert_eq!(metrics.uploads(&device.tenant, "forwarded"), 2);
            assert_eq!(metrics.uploads(&device.tenant, "undeliverable"), 0);
        }
    });
}

#[test]
fn an_event_that_no_application_can_take_becomes_a_dead_letter() {
    story(async {
        let two = [("WEIR__NORTHBOUND__EVENTS__MAX_DELIVERY_ATTEMPTS", "2")];
        let gateway = Gateway::start_with(&two).await;
        // What the application does each time that it gets the event, how often, and why it is dead.
        let rows = [
            (Verdict::Reject, 1, "rejected"),
            (Verdict::UndeliverableHere, 1, "undeliverable"),
            (Verdict::Release, 2, "attempts"),
            (Verdict::Fail, 2, "attempts"),
        ];
        let mut tenants = Vec::new();
        for (verdict, times, _) in rows {
            let device = gateway.tenant_and_device().await;
            let query = "?hono-ttl=60";
            let status = send_with(&gateway, &device, query, "dead").await;
            assert_eq!(status, 202);
            let mut application = consume(&gateway, &device.tenant).await;
            for _ in 0..times {
                let event = application.receive().await;
                application = verdict.say(application, &event).await.unwrap();
            }
            let mut dead = dead_letters(&gateway, &device.tenant).await;
            let letter = dead.receive().await;
            assert_eq!(payload(letter.message()), b"dead", "{verdict:?}");
            dead.leave().await;
            // The next event is not held up, and what became of the first is written with it.
            store(&gateway, &device, "next").await;
            assert_next(&mut application, "next", 0).await;
            tenants.push(device.tenant);
        }
        let gateway = gateway.kill_and_restart_with(&two).await;
        for (tenant, (verdict, _, cause)) in tenants.iter().zip(rows) {
            let mut application = dead_letters(&gateway, tenant).await;
            let letter = application.receive().await;
            // However often it is given back, there is no place that is worse.
            application.release(&letter).await;
            let letter = application.accept_next().await;
            assert_eq!(payload(&letter), b"dead", "{verdict:?}");
            assert_eq!(property(&letter, "device_id"), string("sensor"));
            let to = letter.properties.as_ref().unwrap().to.as_deref();
            assert_eq!(to, Some(&*format!("event/{tenant}")));
            assert_eq!(letter.header.as_ref().unwrap().ttl, None, "it stays");
            let annotation = symbol_annotation(&letter, "x-opt-dead-letter-cause");
            let expected = Some(Value::String(cause.to_owned()));
            assert_eq!(annotation, expected, "{verdict:?}");
        }
    });
}

#[test]
fn what_an_application_leaves_behind_goes_to_the_one_that_is_there() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        for number in 0..10 {
            store(&gateway, &device, &number.to_string()).await;
        }
        // All events of one device are with one application at a time.
        let mut doomed = consume(&gateway, &device.tenant).await;
        for number in 0..10 {
            let event = doomed.receive().await;
            assert_eq!(payload(event.message()), number.to_string().as_bytes());
        }
        let mut heir = consume(&gateway, &device.tenant).await;
        let other = gateway.device(&device.tenant, "other", json!({})).await;
        store(&gateway, &other, "other").await;
        doomed.die();
        let mut heard = Vec::new();
        while heard.len() < 10 {
            let event = heir.accept_next().await;
            if text(&event) != "other" {
                assert_eq!(delivery_count(&event), 1);
                heard.push(text(&event));
            }
        }
        // Their order is not promised any more.
        heard.sort();
        let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(heard, expected);
    });
}
