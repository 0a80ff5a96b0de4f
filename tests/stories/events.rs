//! Events are taken when they are on the disk, and kept until an application has accepted them. What
//! applications say of them is in [`verdicts`], what is not taken in [`limits`].

mod limits;
mod verdicts;

use std::collections::BTreeMap;

use fe2o3_amqp::types::primitives::SimpleValue;
use reqwest::Client;
use serde_json::json;

use crate::kit::{
    Accepted, Answer, Application, Device, Gateway, MqttDevice, basic, delivery_count, property,
    story, string, text,
};

/// Sends an event over HTTP; the status.
async fn send(gateway: &Gateway, device: &Device, payload: &str) -> u16 {
    send_with(gateway, device, "", payload).await
}

/// The same, with a query.
async fn send_with(gateway: &Gateway, device: &Device, query: &str, payload: &str) -> u16 {
    let request = Client::new().post(gateway.http(&format!("/event{query}")));
    let request = basic(request, device).header("content-type", "text/plain");
    let answer = request.body(payload.to_owned()).send().await.unwrap();
    answer.status().as_u16()
}

/// Sends an event that has to be taken.
async fn store(gateway: &Gateway, device: &Device, payload: &str) {
    assert_eq!(send(gateway, device, payload).await, 202, "{payload}");
}

async fn consume(gateway: &Gateway, tenant: &str) -> Application {
    Application::consume(gateway, &format!("event/{tenant}")).await
}

/// The next event that is offered, accepted; it has to be this one.
async fn assert_next(application: &mut Application, payload: &str, count: u32) -> Accepted {
    let event = application.accept_next().await;
    assert_eq!((&*text(&event), delivery_count(&event)), (payload, count));
    event
}

fn device_of(event: &Accepted) -> String {
    match property(event, "device_id") {
        Some(SimpleValue::String(device)) => device,
        other => panic!("{other:?}"),
    }
}

/// Devices that have sent what nobody was there for.
struct Senders {
    tenant: String,
    /// What each has sent, in its order.
    sent: BTreeMap<String, Vec<String>>,
}

impl Senders {
    /// Three devices send ten events each, in turn: over HTTP and over both versions of MQTT.
    async fn send(gateway: &Gateway) -> Self {
        let tenant = gateway.tenant(json!({})).await;
        let http = gateway.device(&tenant, "http", json!({})).await;
        let v3 = gateway.device(&tenant, "v3", json!({})).await;
        let v5 = gateway.device(&tenant, "v5", json!({})).await;
        let mut v3 = MqttDevice::v3(gateway, &v3).await.unwrap();
        let mut v5 = MqttDevice::v5(gateway, &v5).await.unwrap();
        let mut sent = BTreeMap::<_, Vec<_>>::new();
        for number in 0..10 {
            let payload = number.to_string();
            store(gateway, &http, &payload).await;
            for mqtt in [&mut v3, &mut v5] {
                let answer = mqtt.publish("event", &payload).await;
                assert_eq!(answer, Answer::Acknowledged { success: true });
            }
            for device in ["http", "v3", "v5"] {
                let all = sent.entry(device.to_owned()).or_default();
                all.push(payload.clone());
            }
        }
        Self { tenant, sent }
    }

    /// An application that comes now gets all of it, each device's in its order.
    async fn assert_delivered(&self, application: &mut Application) {
        let mut heard = BTreeMap::<_, Vec<_>>::new();
        for _ in 0..30 {
            let event = application.accept_next().await;
            assert_eq!(delivery_count(&event), 0, "handed out for the first time");
            assert!(event.header.as_ref().unwrap().durable);
            heard
                .entry(device_of(&event))
                .or_default()
                .push(text(&event));
        }
        assert_eq!(heard, self.sent);
    }
}

#[test]
fn events_wait_for_their_application_in_the_order_of_their_device() {
    story(async {
        let gateway = Gateway::start().await;
        let senders = Senders::send(&gateway).await;
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(&senders.tenant, "forwarded"), 30);

        let other = gateway.tenant_and_device().await;
        let mut stranger = consume(&gateway, &other.tenant).await;
        let mut application = consume(&gateway, &senders.tenant).await;
        senders.assert_delivered(&mut application).await;
        // Nothing of it was for another tenant, and nothing comes twice.
        store(&gateway, &other, "theirs").await;
        assert_next(&mut stranger, "theirs", 0).await;
        let last = gateway.device(&senders.tenant, "last", json!({})).await;
        store(&gateway, &last, "ours").await;
        assert_next(&mut application, "ours", 0).await;
    });
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    story(async {
        let gateway = Gateway::start().await;
        let senders = Senders::send(&gateway).await;
        let tried = gateway.tenant_and_device().await;
        store(&gateway, &tried, "again").await;

        // Those of one tenant are with an application that has said nothing yet; the other's was
        // given back once.
        let mut application = consume(&gateway, &senders.tenant).await;
        for _ in 0..30 {
            application.receive().await;
        }
        let mut hesitant = consume(&gateway, &tried.tenant).await;
        let event = hesitant.receive().await;
        hesitant.release(&event).await;
        assert_eq!(
            delivery_count(&hesitant.receive().await.into_message()),
            1,
            "given back once"
        );
        // That it was is written with the next event.
        store(&gateway, &tried, "next").await;
        let gateway = gateway.kill_and_restart().await;

        let mut application = consume(&gateway, &senders.tenant).await;
        senders.assert_delivered(&mut application).await;
        let mut hesitant = consume(&gateway, &tried.tenant).await;
        assert_next(&mut hesitant, "again", 1).await;
        assert_next(&mut hesitant, "next", 0).await;
    });
}

#[test]
fn what_was_accepted_does_not_come_again_after_a_stop() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        for number in 0..10 {
            store(&gateway, &device, &number.to_string()).await;
        }
        let mut application = consume(&gateway, &device.tenant).await;
        for number in 0..5 {
            assert_next(&mut application, &number.to_string(), 0).await;
        }
        // Of the rest it has seen one.
        application.receive().await;
        application.heard().await;
        let gateway = gateway.stop_and_restart().await;

        let mut application = consume(&gateway, &device.tenant).await;
        for number in 5..10 {
            // That the gateway has stopped was not the application's fault.
            assert_next(&mut application, &number.to_string(), 0).await;
        }
        store(&gateway, &device, "new").await;
        let event = assert_next(&mut application, "new", 0).await;
        assert_eq!(property(&event, "device_id"), string("sensor"));
    });
}
