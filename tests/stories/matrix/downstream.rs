//! What the side of the applications does to devices (§8.4, §8.5); what a consumer says of a message
//! is in `settlement`, but for the status that MQTT devices are told.

use fe2o3_amqp::types::definitions::AmqpError;
use reqwest::Client;
use serde_json::Value;

use super::line::{Line, Told};
use crate::kit::{
    Application, Command, Commander, Fate, Gateway, basic, mqtt_connect, payload, story,
};

/// What a consumer says of a message.
#[derive(Clone, Debug)]
enum Verdict {
    Release,
    /// Whether it says that the message is undeliverable here.
    Modify(bool),
    Reject(AmqpError),
    /// Nothing.
    Stall,
}

async fn settle(application: &mut Application, verdict: Verdict) {
    let message = application.receive().await;
    match verdict {
        Verdict::Release => application.release(&message).await,
        Verdict::Modify(undeliverable) => application.modify(&message, undeliverable).await,
        Verdict::Reject(condition) => application.reject(&message, condition, "no").await,
        Verdict::Stall => {}
    }
}

#[test]
fn over_mqtt_a_device_is_told_the_status_of_what_a_consumer_says() {
    story(async {
        let hasty = [("WEIR__NORTHBOUND__AMQP__OUTCOME_TIMEOUT", "200")];
        let gateway = Gateway::start_with(&hasty).await;
        let device = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        let rows = [
            (Verdict::Release, 503, 0x83),
            (Verdict::Modify(false), 503, 0x83),
            (Verdict::Modify(true), 404, 0x83),
            (Verdict::Reject(AmqpError::NotAllowed), 400, 0x83),
            (Verdict::Reject(AmqpError::UnauthorizedAccess), 403, 0x87),
            (Verdict::Reject(AmqpError::InternalError), 500, 0x83),
            (Verdict::Reject(AmqpError::ResourceLimitExceeded), 503, 0x97),
            (Verdict::Stall, 503, 0x89),
        ];
        for (verdict, code, reason) in rows {
            // What was left open is settled behind the consumer's back, so each has its own.
            let mut application = Application::consume(&gateway, &address).await;
            for (level, disconnect) in [(4, None), (5, Some(reason))] {
                let line = Line::of(&gateway, &device, level).await;
                let publish = line.publish("t/?on-error=disconnect", 1, "x");
                let (told, ()) = tokio::join!(publish, settle(&mut application, verdict.clone()));
                let topic = format!("error///t/7/{code}");
                let expected = Told {
                    topic,
                    code,
                    disconnect,
                };
                assert_eq!(told, expected, "{verdict:?}");
            }
            application.leave().await;
        }
    });
}

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
