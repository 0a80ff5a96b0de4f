//! The metrics under EMQX's names, read as a scraper does, and what is counted under them of real traffic.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use crate::kit::{
    Answer, Application, Command, Commander, Fate, Gateway, MqttDevice, Series, basic, story,
};

const STATS: &str = "/api/v5/prometheus/stats";
const CLOUD: &str = "/deployment_metrics";

/// A gateway whose metrics are read with this login.
const LOGIN: [(&str, &str); 5] = [
    ("WEIR__METRICS__EMQX__ENABLED", "true"),
    ("WEIR__METRICS__EMQX__PORT", "0"),
    ("WEIR__METRICS__EMQX__KEY", "prometheus"),
    ("WEIR__METRICS__EMQX__SECRET", "s3cret"),
    ("WEIR__METRICS__EMQX__TOKEN", "t0ken"),
];

fn request(gateway: &Gateway, path: &str) -> reqwest::RequestBuilder {
    let url = format!("http://{}{path}", gateway.address("metrics.emqx"));
    reqwest::Client::new().get(url)
}

async fn read(gateway: &Gateway, path: &str) -> Series {
    let request = request(gateway, path).basic_auth("prometheus", Some("s3cret"));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    let kind = answer.headers()["content-type"].to_str().unwrap();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    Series::parse(&answer.text().await.unwrap())
}

/// Broker metrics, some of them after the answer that they count.
async fn until(gateway: &Gateway, expected: &[(&str, f64)]) {
    loop {
        let series = read(gateway, STATS).await;
        let value = |name: &str| series.sum(&format!("emqx_{name}"), &[]);
        if expected.iter().all(|(name, wanted)| value(name) == *wanted) {
            return;
        }
        for (name, wanted) in expected {
            assert!(value(name) <= *wanted, "{name}: {}", value(name));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn who_reads_metrics_of_emqx_has_to_log_in() {
    story(async {
        let gateway = Gateway::start_with(&LOGIN).await;
        for path in [STATS, CLOUD, "/nothing"] {
            let wrong = request(&gateway, path).basic_auth("prometheus", Some("wrong"));
            for refused in [request(&gateway, path), wrong] {
                let answer = refused.send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
                let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with("Basic realm="), "{challenge}");
            }
        }
        for path in [STATS, CLOUD, "/deployment_metrics/data_integration"] {
            let answer = request(&gateway, path).bearer_auth("t0ken").send().await;
            assert_eq!(answer.unwrap().status(), StatusCode::OK, "{path}");
        }
        let json = request(&gateway, STATS).bearer_auth("t0ken");
        let json = json.header("Accept", "application/json").send().await;
        assert_eq!(json.unwrap().status(), StatusCode::BAD_REQUEST);
    });
}

#[test]
fn devices_messages_are_counted_as_emqx_would() {
    story(async {
        let gateway = Gateway::start_with(&LOGIN).await;
        let device = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let unused = [
            ("packets_connect", 0.0),
            ("messages_received", 0.0),
            ("connections_count", 0.0),
            ("cluster_nodes_running", 1.0),
        ];
        until(&gateway, &unused).await;

        let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
        let connected = [
            ("packets_connect", 1.0),
            ("packets_connack_sent", 1.0),
            ("client_connected", 1.0),
            ("authentication_success", 1.0),
            ("connections_count", 1.0),
            ("connections_max", 1.0),
        ];
        until(&gateway, &connected).await;

        let (answer, _) = tokio::join!(mqtt.publish("telemetry", "1"), application.accept_next());
        assert_eq!(answer, Answer::Acknowledged { success: true });
        mqtt.send("telemetry", "0", false).await;
        tokio::join!(mqtt.flush(), application.accept_next());
        let taken = [
            ("packets_publish_received", 2.0),
            ("packets_puback_sent", 1.0),
            ("messages_qos0_received", 1.0),
            ("messages_qos1_received", 1.0),
            ("messages_received", 2.0),
            ("messages_delivered", 2.0),
            ("messages_acked", 1.0),
            ("messages_dropped", 0.0),
            ("packets_publish_error", 0.0),
        ];
        until(&gateway, &taken).await;

        // What the device may not do, what it does wrong, and what nobody wants.
        for topic in ["telemetry/other/x", "nothing", "command///res/bad/200"] {
            let topic = format!("{topic}/?on-error=ignore");
            mqtt.publish(&topic, "x").await;
        }
        let release = async {
            let received = application.receive().await;
            application.release(&received).await;
        };
        let unwanted = mqtt.publish("telemetry/?on-error=ignore", "x");
        let (answer, ()) = tokio::join!(unwanted, release);
        assert_eq!(answer, Answer::Acknowledged { success: false });
        let refused = [
            ("packets_publish_received", 6.0),
            ("packets_publish_auth_error", 1.0),
            ("packets_publish_error", 2.0),
            ("authorization_deny", 1.0),
            ("messages_dropped", 1.0),
            ("messages_dropped_no_subscribers", 1.0),
            ("messages_delivered", 2.0),
        ];
        until(&gateway, &refused).await;
    });
}

#[test]
fn commands_and_other_protocols_are_counted_too() {
    story(async {
        let gateway = Gateway::start_with(&LOGIN).await;
        let device = gateway.tenant_and_device().await;
        let web = gateway.device(&device.tenant, "web", json!({})).await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;

        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.subscribe("command///req/#", 1).await, Some(1));
        let command = Command::one_way(&device, "set", "1");
        let (fate, _) = tokio::join!(commander.send(&command), mqtt.command());
        assert_eq!(fate, Fate::Accepted);
        let commanded = [
            ("packets_subscribe_received", 1.0),
            ("packets_suback_sent", 1.0),
            ("subscriptions_count", 1.0),
            ("topics_count", 1.0),
            ("subscribers_count", 1.0),
            ("messages_sent", 1.0),
            ("messages_qos1_sent", 1.0),
            ("packets_publish_sent", 1.0),
            ("packets_puback_received", 1.0),
            ("packets_publish_received", 0.0),
        ];
        until(&gateway, &commanded).await;

        let before = read(&gateway, STATS).await;
        let upload = reqwest::Client::new().post(gateway.http("/telemetry"));
        let upload = basic(upload, &web).header("QoS-Level", "1").body("x");
        let (answer, _) = tokio::join!(upload.send(), application.accept_next());
        assert_eq!(answer.unwrap().status(), StatusCode::ACCEPTED);
        let uploaded = [
            ("messages_received", 1.0),
            ("messages_qos1_received", 1.0),
            ("messages_acked", 1.0),
        ];
        until(&gateway, &uploaded).await;
        let after = read(&gateway, STATS).await;
        for name in [
            "packets_received",
            "packets_sent",
            "bytes_received",
            "bytes_sent",
        ] {
            let name = format!("emqx_{name}");
            assert_eq!(after.sum(&name, &[]), before.sum(&name, &[]), "{name}");
        }

        // The cloud's page has the same numbers.
        let cloud = read(&gateway, CLOUD).await;
        let labels = [("deployment_id", "weir"), ("platform", "weir")];
        let received = cloud.sum("deployment_emqx_metrics_messages_received", &labels);
        assert_eq!(received, 1.0);

        drop(mqtt);
        let gone = [
            ("client_disconnected", 1.0),
            ("client_disconnected_reason", 1.0),
            ("session_terminated", 1.0),
        ];
        until(&gateway, &gone).await;
        let series = read(&gateway, STATS).await;
        for (name, expected) in [
            ("emqx_subscriptions_count", 0.0),
            ("emqx_subscriptions_max", 1.0),
            ("emqx_connections_max", 1.0),
        ] {
            assert_eq!(series.sum(name, &[]), expected, "{name}");
        }
        let closed = [("reason", "tcp_closed"), ("listener_type", "mqtt")];
        assert_eq!(series.sum("emqx_client_disconnected_reason", &closed), 1.0);
    });
}
