//! What an application says of a message, and what the device hears of it. Of events the device hears
//! only that they are stored; those are in `events`.

use fe2o3_amqp::types::definitions::AmqpError;
use serde_json::Value;

use crate::kit::{Answer, Application, Gateway, MqttDevice, basic, story, text};

/// What the application does with a message.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    Accept,
    Release,
    Modify,
    UndeliverableHere,
    Reject(AmqpErrorKind, &'static str),
    Stall,
}

#[derive(Clone, Copy, Debug)]
enum AmqpErrorKind {
    NotAllowed,
    UnauthorizedAccess,
    InternalError,
    ResourceLimitExceeded,
}

impl Verdict {
    async fn apply(self, application: &mut Application) {
        let received = application.receive().await;
        match self {
            Self::Accept => application.accept(&received).await,
            Self::Release => application.release(&received).await,
            Self::Modify => application.modify(&received, false).await,
            Self::UndeliverableHere => application.modify(&received, true).await,
            Self::Reject(kind, text) => {
                let condition = match kind {
                    AmqpErrorKind::NotAllowed => AmqpError::NotAllowed,
                    AmqpErrorKind::UnauthorizedAccess => AmqpError::UnauthorizedAccess,
                    AmqpErrorKind::InternalError => AmqpError::InternalError,
                    AmqpErrorKind::ResourceLimitExceeded => AmqpError::ResourceLimitExceeded,
                };
                application.reject(&received, condition, text).await;
            }
            Self::Stall => {}
        }
    }
}

/// Device contract §1.14 and §8.4: verdict, HTTP status, its text, metric status.
const ROWS: [(Verdict, u16, &str, &str); 9] = [
    (Verdict::Accept, 202, "", "forwarded"),
    (
        Verdict::Release,
        503,
        "consumer didn't process the message",
        "undeliverable",
    ),
    (
        Verdict::Modify,
        503,
        "consumer didn't process the message",
        "undeliverable",
    ),
    (
        Verdict::UndeliverableHere,
        404,
        "consumer declared message as undeliverable, it should not be redelivered",
        "unprocessable",
    ),
    (
        Verdict::Reject(AmqpErrorKind::NotAllowed, "not this"),
        400,
        "not this",
        "unprocessable",
    ),
    (
        Verdict::Reject(AmqpErrorKind::UnauthorizedAccess, "not you"),
        403,
        "not you",
        "unprocessable",
    ),
    (
        Verdict::Reject(AmqpErrorKind::InternalError, "secret detail"),
        503,
        "temporarily unavailable",
        "undeliverable",
    ),
    (
        Verdict::Reject(AmqpErrorKind::ResourceLimitExceeded, "full"),
        503,
        "consumer rejected the message because a resource limit was exceeded, possibly a \
         (tenant-specific) queue size limit",
        "undeliverable",
    ),
    (
        Verdict::Stall,
        503,
        "consumer failed to indicate in time whether it has processed the message",
        "undeliverable",
    ),
];

#[test]
fn over_http() {
    story(async {
        let gateway = Gateway::start().await;
        for (verdict, status, text, metric) in ROWS {
            let device = gateway.tenant_and_device().await;
            let address = format!("telemetry/{}", device.tenant);
            let mut application = Application::consume(&gateway, &address).await;
            let request = basic(
                reqwest::Client::new().post(gateway.http("/telemetry")),
                &device,
            )
            .header("QoS-Level", "1")
            .body("x");
            let (answer, ()) = tokio::join!(request.send(), verdict.apply(&mut application));
            let answer = answer.unwrap();
            assert_eq!(answer.status(), status, "{verdict:?}");
            let retry = answer
                .headers()
                .get("Retry-After")
                .map(|value| value.to_str().unwrap());
            assert_eq!(retry, (status == 503).then_some("2"), "{verdict:?}");
            let body = answer.text().await.unwrap();
            let error = serde_json::from_str::<Value>(&body).unwrap_or_default();
            assert_eq!(
                error["error"].as_str().unwrap_or_default(),
                text,
                "{verdict:?}"
            );
            let metrics = gateway.metrics().await;
            assert_eq!(metrics.uploads(&device.tenant, metric), 1, "{verdict:?}");
        }
    });
}

#[test]
fn over_mqtt_in_every_error_mode() {
    story(async {
        let gateway = Gateway::start().await;
        for (verdict, status, _, metric) in ROWS {
            let is_success = status == 202;
            let acknowledged = |success| Answer::Acknowledged { success };
            for (mode, v3, v5) in [
                ("disconnect", Answer::Closed, Answer::Closed),
                // MQTT 3.1.1 has no reason code: it looks like success.
                ("ignore", acknowledged(true), acknowledged(false)),
            ] {
                let device = gateway.tenant_and_device().await;
                let address = format!("telemetry/{}", device.tenant);
                let mut application = Application::consume(&gateway, &address).await;
                let connected = [
                    (MqttDevice::v3(&gateway, &device).await.unwrap(), v3),
                    (MqttDevice::v5(&gateway, &device).await.unwrap(), v5),
                ];
                for (mut mqtt, refused) in connected {
                    let topic = format!("t/?on-error={mode}");
                    let publish = mqtt.publish(&topic, "x");
                    let (answer, ()) = tokio::join!(publish, verdict.apply(&mut application));
                    let expected = if is_success {
                        acknowledged(true)
                    } else {
                        refused
                    };
                    assert_eq!(answer, expected, "{verdict:?} {mode}");
                }
                let metrics = gateway.metrics().await;
                assert_eq!(
                    metrics.uploads(&device.tenant, metric),
                    2,
                    "{verdict:?} {mode}"
                );
            }
        }
    });
}

#[test]
fn a_refused_message_may_leave_no_trace_but_the_next_is_acknowledged() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
        mqtt.send("t/?on-error=skip-ack", "refused", true).await;
        mqtt.send("t", "taken", true).await;
        let verdicts = async {
            Verdict::Release.apply(&mut application).await;
            Verdict::Accept.apply(&mut application).await;
        };
        let (answer, ()) = tokio::join!(mqtt.answer(), verdicts);
        assert_eq!(answer, Answer::Acknowledged { success: true });
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(&device.tenant, "forwarded"), 1);
        assert_eq!(metrics.uploads(&device.tenant, "undeliverable"), 1);
    });
}

#[test]
fn without_a_consumer_no_telemetry_is_taken_but_events_are() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let client = reqwest::Client::new();
        for qos in ["0", "1"] {
            let request = basic(client.post(gateway.http("/telemetry")), &device);
            let request = request.header("QoS-Level", qos).body("x");
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 503, "{qos}");
            let body = answer.text().await.unwrap();
            assert_eq!(body, r#"{"error":"no consumer available"}"#, "{qos}");
        }
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.publish("t", "x").await, Answer::Closed);
        // Also with QoS 0 the connection ends, as the contract has it (§3.6).
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        mqtt.send("t", "x", false).await;
        assert_eq!(mqtt.answer().await, Answer::Closed);
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(&device.tenant, "undeliverable"), 4);

        let request = basic(client.post(gateway.http("/event")), &device);
        let answer = request.body("http").send().await.unwrap();
        assert_eq!(answer.status(), 202);
        let devices = [
            (MqttDevice::v3(&gateway, &device).await.unwrap(), "v3"),
            (MqttDevice::v5(&gateway, &device).await.unwrap(), "v5"),
        ];
        for (mut mqtt, payload) in devices {
            let answer = mqtt.publish("event", payload).await;
            assert_eq!(answer, Answer::Acknowledged { success: true });
        }
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(&device.tenant, "forwarded"), 3);
        let address = format!("event/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        for payload in ["http", "v3", "v5"] {
            assert_eq!(text(&application.accept_next().await), payload);
        }
    });
}

#[test]
fn competing_consumers_share_and_tenants_are_apart() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let other = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        let mut first = Application::consume(&gateway, &address).await;
        let mut second = Application::consume(&gateway, &address).await;
        let mut stranger =
            Application::consume(&gateway, &format!("telemetry/{}", other.tenant)).await;
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        let mut shares = [0, 0];
        for _ in 0..20 {
            mqtt.send("t", "x", true).await;
            let take = async {
                tokio::select! {
                    _ = first.accept_next() => shares[0] += 1,
                    _ = second.accept_next() => shares[1] += 1,
                    _ = stranger.receive() => panic!("another tenant's message"),
                }
            };
            let (answer, ()) = tokio::join!(mqtt.answer(), take);
            assert_eq!(answer, Answer::Acknowledged { success: true });
        }
        assert!(shares[0] > 0 && shares[1] > 0, "{shares:?}");
    });
}
