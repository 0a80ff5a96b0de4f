//! Events that are not taken, and events that nobody wants any more.

use std::time::Duration;

use serde_json::{Value, json};

use super::{assert_next, consume, send, send_with, store};
use crate::kit::{Answer, Application, Gateway, MqttDevice, basic, story, text};

/// Sends an event again and again until it is taken.
async fn until_taken(gateway: &Gateway, device: &crate::kit::Device, payload: &str) {
    loop {
        match send(gateway, device, payload).await {
            202 => return,
            status => assert_eq!(status, 503),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_full_tenant_is_refused_until_there_is_room_and_no_other_tenant() {
    story(async {
        let few = [
            ("WEIR__NORTHBOUND__EVENTS__MAX_EVENTS_PER_TENANT", "3"),
            ("WEIR__NORTHBOUND__EVENTS__MAX_BYTES_PER_TENANT", "4096"),
        ];
        let gateway = Gateway::start_with(&few).await;
        // One has many small events, the other two large ones.
        let large = "x".repeat(1500);
        for (payload, room) in [("x", 3), (&*large, 2)] {
            let device = gateway.tenant_and_device().await;
            let tenant = &device.tenant;
            for _ in 0..room {
                store(&gateway, &device, payload).await;
            }
            let request = reqwest::Client::new().post(gateway.http("/event"));
            let request = basic(request, &device).body(payload.to_owned());
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 503);
            assert_eq!(answer.headers()["retry-after"], "2");
            let error: Value = answer.json().await.unwrap();
            assert!(error["error"].is_string(), "{error}");
            let mut v3 = MqttDevice::v3(&gateway, &device).await.unwrap();
            assert_eq!(v3.publish("event", payload).await, Answer::Closed);
            let mut v5 = MqttDevice::v5(&gateway, &device).await.unwrap();
            let answer = v5.publish("e/?on-error=ignore", payload).await;
            assert_eq!(answer, Answer::Acknowledged { success: false });
            let metrics = gateway.metrics().await;
            assert_eq!(metrics.uploads(tenant, "forwarded"), room);
            assert_eq!(metrics.uploads(tenant, "undeliverable"), 3);

            // Neither other tenants nor telemetry have to do with it.
            let other = gateway.tenant_and_device().await;
            store(&gateway, &other, payload).await;
            let address = format!("telemetry/{tenant}");
            let mut telemetry = Application::consume(&gateway, &address).await;
            let (answer, _) = tokio::join!(v5.publish("t", "x"), telemetry.accept_next());
            assert_eq!(answer, Answer::Acknowledged { success: true });

            let mut application = consume(&gateway, tenant).await;
            assert_next(&mut application, payload, 0).await;
            until_taken(&gateway, &device, "late").await;
            for _ in 1..room {
                assert_next(&mut application, payload, 0).await;
            }
            assert_next(&mut application, "late", 0).await;
        }
    });
}

#[test]
fn an_event_is_gone_when_its_time_is_over() {
    story(async {
        let one = [("WEIR__NORTHBOUND__EVENTS__MAX_EVENTS_PER_TENANT", "1")];
        let gateway = Gateway::start_with(&one).await;
        // By the device's word, and by the tenant's.
        let capped = gateway
            .tenant(json!({"resource-limits": {"max-ttl": 1}}))
            .await;
        let capped = gateway.device(&capped, "sensor", json!({})).await;
        let device = gateway.tenant_and_device().await;
        for (device, query) in [(&device, "?hono-ttl=1"), (&capped, "")] {
            let status = send_with(&gateway, device, query, "short-lived").await;
            assert_eq!(status, 202);
        }
        // There is room for one alone, so the next is taken when the first has expired.
        until_taken(&gateway, &device, "lasting").await;
        until_taken(&gateway, &capped, "also short-lived").await;
        let mut application = consume(&gateway, &device.tenant).await;
        let event = application.accept_next().await;
        assert_eq!(text(&event), "lasting");
        assert_eq!(event.header.as_ref().unwrap().ttl, None);
    });
}

#[test]
fn the_time_to_live_goes_on_over_a_kill() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let status = send_with(&gateway, &device, "?hono-ttl=1000", "x").await;
        assert_eq!(status, 202);
        let mut application = consume(&gateway, &device.tenant).await;
        let left = |event: &crate::kit::Accepted| event.header.as_ref().unwrap().ttl.unwrap();
        let before = left(&application.receive().await.into_message());
        let gateway = gateway.kill_and_restart().await;
        let mut application = consume(&gateway, &device.tenant).await;
        let after = left(&application.accept_next().await);
        assert!(after < before && before <= 1_000_000, "{after}, {before}");
    });
}
