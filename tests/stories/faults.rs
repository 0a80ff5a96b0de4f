//! Consumers that die, processes that are killed or stopped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fe2o3_amqp::types::messaging::Body;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::kit::{Answer, Application, Gateway, MqttDevice, basic, mqtt_socket, story};

/// What devices were told.
#[derive(Default)]
struct Told {
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Told {
    fn count(&self, accepted: bool) {
        let counter = if accepted {
            &self.accepted
        } else {
            &self.refused
        };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_consumer_that_is_killed_leaves_nothing_open() {
    story(async {
        // The time-out is so long that only the loss of the consumer can end what is open.
        let gateway = Arc::new(
            Gateway::start_with(&[("WEIR__NORTHBOUND__AMQP__OUTCOME_TIMEOUT", "3600000")]).await,
        );
        let tenant = gateway.tenant(json!({})).await;
        let address = format!("telemetry/{tenant}");
        let mut application = Application::consume(&gateway, &address).await;
        let told = Arc::new(Told::default());
        let mut devices = Vec::new();
        for number in 0..10 {
            let device = gateway
                .device(&tenant, &format!("device-{number}"), json!({}))
                .await;
            devices.push(tokio::spawn(http_device(
                gateway.clone(),
                device.clone(),
                told.clone(),
            )));
            devices.push(tokio::spawn(mqtt_device(
                gateway.clone(),
                device,
                told.clone(),
            )));
        }
        // It accepts some, then leaves some open, then dies.
        let mut taken = 0;
        for _ in 0..200 {
            application.accept_next().await;
            taken += 1;
        }
        for _ in 0..10 {
            application.receive().await;
        }
        // All that it accepted has to be known before it dies.
        while told.accepted.load(Ordering::SeqCst) < taken {
            tokio::task::yield_now().await;
        }
        application.die();
        for device in devices {
            device.await.unwrap();
        }
        let accepted = told.accepted.load(Ordering::SeqCst);
        let refused = told.refused.load(Ordering::SeqCst);
        assert_eq!(
            accepted, taken,
            "what devices saw accepted is what the consumer took"
        );
        assert_eq!(
            refused, 20,
            "each device ended with its open message refused"
        );
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(&tenant, "forwarded"), accepted);
        assert_eq!(metrics.uploads(&tenant, "undeliverable"), refused);
        assert_eq!(metrics.uploads(&tenant, "unprocessable"), 0);
    });
}

/// Sends until it is refused.
async fn http_device(gateway: Arc<Gateway>, device: crate::kit::Device, told: Arc<Told>) {
    let client = reqwest::Client::new();
    loop {
        let request = basic(client.post(gateway.http("/telemetry")), &device);
        let answer = request
            .header("QoS-Level", "1")
            .body("x")
            .send()
            .await
            .unwrap();
        told.count(answer.status() == 202);
        if answer.status() != 202 {
            assert_eq!(answer.status(), 503);
            return;
        }
    }
}

/// Sends until it is refused.
async fn mqtt_device(gateway: Arc<Gateway>, device: crate::kit::Device, told: Arc<Told>) {
    let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
    loop {
        let answer = mqtt.publish("t", "x").await;
        told.count(answer == Answer::Acknowledged { success: true });
        if answer == Answer::Closed {
            return;
        }
    }
}

#[test]
fn a_stop_answers_what_is_in_flight() {
    story(async {
        // So long that the outcomes come from the application alone.
        let patient = [("WEIR__NORTHBOUND__AMQP__OUTCOME_TIMEOUT", "60000")];
        let gateway = Gateway::start_with(&patient).await;
        let device = gateway.tenant_and_device().await;
        let mut application =
            Application::consume(&gateway, &format!("telemetry/{}", device.tenant)).await;
        let mut mqtt = mqtt_socket(&gateway, &device).await;
        mqtt.write_all(&[0x32, 6, 0, 1, b't', 0, 1, b'x'])
            .await
            .unwrap();
        let request = basic(
            reqwest::Client::new().post(gateway.http("/telemetry")),
            &device,
        )
        .header("QoS-Level", "1")
        .body("http");
        let http = tokio::spawn(request.send());
        let received = [application.receive().await, application.receive().await];
        gateway.terminate();
        // Accepted only after the gateway has begun to stop: nobody can connect any more.
        let mqtt_address = gateway.address("mqtt");
        while tokio::net::TcpStream::connect(mqtt_address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        for received in &received {
            application.accept(received).await;
        }
        assert_eq!(http.await.unwrap().unwrap().status(), 202);
        let mut rest = Vec::new();
        mqtt.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, [0x40, 2, 0, 1], "PUBACK, then the end");
        assert!(application.try_receive().await.is_none());
        let log = gateway.log();
        assert!(gateway.wait().success(), "{log}");
    });
}

#[test]
fn what_the_registry_acknowledged_survives_a_kill() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let login = gateway.operator().1.to_owned();
        let gateway = gateway.kill_and_restart().await;
        assert_eq!(gateway.operator().1, login, "accounts are made once");
        let mut application =
            Application::consume(&gateway, &format!("telemetry/{}", device.tenant)).await;
        let request = basic(
            reqwest::Client::new().post(gateway.http("/telemetry")),
            &device,
        );
        let (answer, _) = tokio::join!(request.body("x").send(), application.accept_next());
        assert_eq!(answer.unwrap().status(), 202);
    });
}

#[test]
fn many_messages_in_flight_are_acknowledged_in_order_and_none_twice() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let mut application =
            Application::consume(&gateway, &format!("telemetry/{}", device.tenant)).await;
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        const MESSAGES: usize = 1000;
        let send = async {
            let mut answered = 0;
            for number in 0..MESSAGES {
                mqtt.send("t", &number.to_string(), true).await;
                // The client keeps 50 in flight by itself.
                if number % 50 == 49 {
                    while answered <= number {
                        let answer = mqtt.answer().await;
                        assert_eq!(answer, Answer::Acknowledged { success: true });
                        answered += 1;
                    }
                }
            }
        };
        let take = async {
            let mut seen = BTreeSet::new();
            for expected in 0..MESSAGES {
                let message = application.accept_next().await;
                let Body::Data(mut data) = message.body else {
                    panic!("no data")
                };
                let text = String::from_utf8(data.pop().unwrap().0.to_vec()).unwrap();
                assert_eq!(text, expected.to_string(), "in the order of the device");
                assert!(seen.insert(text));
            }
        };
        tokio::join!(send, take);
        assert_eq!(
            gateway.metrics().await.uploads(&device.tenant, "forwarded"),
            MESSAGES
        );
    });
}
