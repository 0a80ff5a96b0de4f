//! What the side of the applications does to devices, as far as it is not what a consumer says of a
//! message (§8.4, §8.5).

use reqwest::Client;
use serde_json::Value;

use super::line::{Line, Told};
use crate::kit::{
    Application, Command, Commander, Fate, Gateway, basic, mqtt_connect, payload, story,
};

#[test]
fn a_consumer_without_credit_is_as_good_as_none() {
    story(async {
        let hasty = [("WEIR__NORTHBOUND__AMQP__OUTCOME_TIMEOUT", "200")];
        let gateway = Gateway::start_with(&hasty).await;
        let device = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        let _application = Application::without_credit(&gateway, &address).await;
        // Until it is known that the application is silent, what is sent at most once waits for its credit.
        for qos in ["1", "0"] {
            let request = basic(Client::new().post(gateway.http("/telemetry")), &device);
            let request = request.header("QoS-Level", qos).body("x");
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 503, "{qos}");
            assert_eq!(answer.headers()["retry-after"], "2", "{qos}");
            let error: Value = answer.json().await.unwrap();
            assert_eq!(error["error"], "no consumer available", "{qos}");
        }
        for (level, disconnect) in [(4, None), (5, Some(0x89))] {
            for qos in [0, 1] {
                let line = Line::of(&gateway, &device, level).await;
                let topic = "t/?on-error=disconnect&correlation-id=c";
                let told = line.publish(topic, qos, "x").await;
                let topic = "error///t/c/503".to_owned();
                let expected = Told {
                    topic,
                    code: 503,
                    disconnect,
                };
                assert_eq!(told, expected, "{level} {qos}");
            }
        }
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(&device.tenant, "undeliverable"), 6);
        let labels = [("tenant", &*device.tenant)];
        assert!(metrics.sum("hono_amqp_nocredit_total", &labels) > 0.0);
    });
}

#[test]
fn who_cannot_be_announced_may_not_connect() {
    story(async {
        let told = [
            ("WEIR__CONNECTION_EVENTS", "events"),
            ("WEIR__NORTHBOUND__EVENTS__MAX_EVENTS_PER_TENANT", "2"),
        ];
        let gateway = Gateway::start_with(&told).await;
        let device = gateway.tenant_and_device().await;
        let login = (Some(&*device.username), Some(&*device.password));
        // That it connects and disconnects is all that there is room for.
        assert_eq!(mqtt_connect(&gateway, 4, login.0, login.1).await, Some(0));
        gateway
            .until(|metrics| metrics.connected(&device.tenant) == 0)
            .await;
        for (level, code) in [(4, 0x03), (5, 0x88)] {
            while mqtt_connect(&gateway, level, login.0, login.1).await != Some(code) {}
        }
        let metrics = gateway.metrics().await;
        assert!(metrics.attempts("unavailable") >= 2);
        // There is nobody to announce over HTTP, and telemetry takes no room.
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let request = basic(Client::new().post(gateway.http("/telemetry")), &device);
        let (answer, _) = tokio::join!(request.body("x").send(), application.accept_next());
        assert_eq!(answer.unwrap().status(), 202);
    });
}

#[test]
fn a_command_is_given_back_if_the_upload_that_waits_for_it_fails() {
    story(async {
        let patient = [("WEIR__NORTHBOUND__AMQP__OUTCOME_TIMEOUT", "60000")];
        let gateway = Gateway::start_with(&patient).await;
        let device = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let request = Client::new().post(gateway.http("/telemetry?hono-ttd=50"));
        let request = basic(request, &device).header("qos-level", "1").body("x");
        let waiting = tokio::spawn(request.send());
        let message = application.receive().await;
        let mut beside = commander.beside(&device.tenant).await;
        let command = Command::one_way(&device, "blink", "");
        let first = beside.send_batchable(command.message()).await.unwrap();
        // The request has the first one when there is no place for a second.
        assert_eq!(commander.send(&command).await, Fate::Released);
        application.release(&message).await;
        assert_eq!(payload(&message.into_message()), b"x");
        assert!(first.await.unwrap().is_released());
        let answer = waiting.await.unwrap().unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "2");
        assert!(!answer.headers().contains_key("hono-command"));
    });
}
