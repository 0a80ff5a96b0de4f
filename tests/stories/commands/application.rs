//! Commands that are an application: `weir consume` and `weir command`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Done, weir};
use crate::kit::{Answer, Device, Gateway, MqttDevice, basic, story};

async fn store(gateway: &Gateway, device: &Device, payload: &str) {
    let request = reqwest::Client::new().post(gateway.http("/event"));
    let request = basic(request, device).header("content-type", "text/plain");
    let answer = request.body(payload.to_owned()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

/// The lines of JSON that a command printed.
fn lines(done: Done) -> Vec<Value> {
    let out = done.succeeded();
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn events_are_shown_and_removed_by_number() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        for number in 1..=5 {
            store(&gateway, &device, &format!("event {number}")).await;
        }
        let consume = |more: &[&str]| {
            let base = ["consume", "--tenant", &device.tenant, "--events"];
            weir(&gateway, &[&base[..], more].concat())
        };
        let shown = lines(consume(&["--count", "3", "-o", "json"]));
        assert_eq!(shown.len(), 3);
        for (number, event) in (1..).zip(&shown) {
            assert_eq!(event["endpoint"], "event");
            assert_eq!(event["tenant"], device.tenant);
            assert_eq!(event["device"], "sensor");
            assert_eq!(event["content-type"], "text/plain");
            assert_eq!(event["payload"], format!("event {number}"));
            assert_eq!(event["delivery-count"], 0);
        }
        // The rest is for the next one, who has it for the first time too.
        let shown = consume(&["-n", "1"]).succeeded();
        assert_eq!(shown.lines().count(), 1);
        assert!(
            shown.contains("sensor") && shown.contains("event 4"),
            "{shown}"
        );
        let shown = lines(consume(&["--count", "1", "-o", "json"]));
        assert_eq!(shown[0]["payload"], "event 5");
        assert_eq!(shown[0]["delivery-count"], 0);
    });
}

#[test]
fn other_devices_events_are_left_to_others_and_dead_letters_shown_when_asked_for() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &*device.tenant;
        let other = gateway.device(tenant, "other", json!({})).await;
        store(&gateway, &device, "first").await;
        store(&gateway, &other, "second").await;
        let base = ["consume", "-t", tenant, "-n", "1", "-o", "json"];
        let consume = |more: &[&str]| lines(weir(&gateway, &[&base[..], more].concat()));
        let shown = consume(&["--events", "--device", "other"]);
        assert_eq!(shown[0]["payload"], "second");
        let mut application =
            crate::kit::Application::consume(&gateway, &format!("event/{tenant}")).await;
        let event = application.receive().await;
        application.modify(&event, true).await;
        let shown = consume(&["--dead-letters"]);
        assert_eq!(shown[0]["payload"], "first");
        let annotations = &shown[0]["message-annotations"];
        assert_eq!(annotations["x-opt-dead-letter-cause"], "undeliverable");
    });
}

/// A device that answers each command with this status and the command's payload, over MQTT.
async fn obliging(gateway: &Gateway, device: &Device, status: u16) {
    let mut mqtt = MqttDevice::v5(gateway, device).await.unwrap();
    assert_eq!(mqtt.subscribe("command///req/#", 1).await, Some(1));
    tokio::spawn(async move {
        loop {
            let command = mqtt.command().await;
            let id = command.request_id();
            if !id.is_empty() {
                let topic = format!("command///res/{id}/{status}/?content-type=text%2Fplain");
                let answer = mqtt.publish(&topic, &command.payload).await;
                assert_eq!(answer, Answer::Acknowledged { success: true });
            }
        }
    });
}

#[test]
fn a_command_is_delivered_and_answered_or_has_failed() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &*device.tenant;
        let broken = gateway.device(tenant, "broken", json!({})).await;
        gateway.device(tenant, "absent", json!({})).await;
        obliging(&gateway, &device, 200).await;
        obliging(&gateway, &broken, 500).await;
        let command = |device: &str, more: &[&str]| {
            let base = ["command", tenant, device, "echo"];
            weir(&gateway, &[&base[..], more].concat())
        };
        assert_eq!(command("sensor", &[]).succeeded(), "delivered\n");
        let payload = ["--payload", "hello", "--wait", "60"];
        let out = command("sensor", &payload).succeeded();
        let mut words = out.lines();
        assert_eq!(words.next(), Some("delivered"));
        let answer = words.next().unwrap();
        assert!(
            answer.starts_with("sensor  status 200") && answer.contains("hello"),
            "{out}"
        );

        // The device has got it, and says that it cannot.
        let done = command("broken", &[&payload[..], &["-o", "json"]].concat());
        assert_eq!(done.status, 1, "{}", done.error);
        let report: Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!(
            (&report["delivered"], &report["outcome"]),
            (&json!(true), &json!("accepted"))
        );
        let response = &report["response"];
        assert_eq!(
            (&response["status"], &response["device"]),
            (&json!(500), &json!("broken"))
        );
        assert_eq!(response["payload"], "hello");
        assert_eq!(response["content-type"], "text/plain");

        let error = command("absent", &[]).failed();
        assert!(
            error.contains("not delivered: the device is not connected"),
            "{error}"
        );
        let error = command("nobody", &["--wait"]).failed();
        assert!(
            error.contains("not delivered: ") && !error.contains("try again"),
            "{error}"
        );
        assert_eq!(command("sensor", &["--wait", "0"]).status, 2);
    });
}

#[test]
fn a_command_that_nobody_answers_has_failed() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let command = ["command", &device.tenant, "sensor", "echo"];
        let error = weir(&gateway, &command).failed();
        let nobody = format!("no device of tenant {} is connected", device.tenant);
        assert!(error.contains(&nobody), "{error}");

        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.subscribe("command///req/#", 1).await, Some(1));
        let silent = tokio::spawn(async move { mqtt.end().await });
        let done = weir(&gateway, &[&command[..], &["--wait", "1"]].concat());
        assert_eq!(done.out, "delivered\n");
        let error = done.failed();
        assert!(error.contains("no answer within 1 s"), "{error}");
        silent.abort();
    });
}

#[test]
fn an_application_that_is_not_let_in_is_told_so() {
    story(async {
        let gateway = Gateway::start().await;
        gateway
            .manage(Method::POST, "tenants/acme", &json!({}))
            .await;
        for command in [
            &["consume", "--tenant", "acme", "--user", "app:wrong"][..],
            &["command", "acme", "sensor", "blink", "--user", "app:wrong"],
        ] {
            let error = weir(&gateway, command).failed();
            assert!(error.contains("does not accept user app"), "{error}");
        }
        assert_eq!(weir(&gateway, &["consume"]).status, 2, "whose messages?");
        let none = ["consume", "--tenant", "acme", "--count", "0"];
        assert_eq!(weir(&gateway, &none).status, 2);
    });
}
