//! The metrics under AWS IoT's names, read from the file that they are written to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::kit::{
    Answer, Application, Command, Commander, Fate, Gateway, MqttDevice, basic, mqtt_connect,
    mqtt_socket, story,
};

type Sums = BTreeMap<(String, String), u64>;

/// Sums over all lines, by protocol and name.
fn sums(path: &Path) -> Sums {
    let text = std::fs::read_to_string(path).unwrap();
    // The last may be about to be written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut sums = Sums::new();
    for line in whole.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Weir/Test");
        assert!(line["_aws"]["Timestamp"].as_u64().unwrap() > 1_700_000_000_000);
        let protocol = line["Protocol"].as_str().unwrap();
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            let key = (protocol.to_owned(), name.to_owned());
            *sums.entry(key).or_default() += line[name].as_u64().unwrap();
        }
    }
    sums
}

#[test]
fn lines_for_cloudwatch_add_up_to_what_devices_did() {
    story(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let gateway = Gateway::start_with(&[
            ("WEIR__METRICS__AWS_IOT__ENABLED", "true"),
            ("WEIR__METRICS__AWS_IOT__INTERVAL", "1"),
            ("WEIR__METRICS__AWS_IOT__NAMESPACE", "Weir/Test"),
            ("WEIR__METRICS__AWS_IOT__OUTPUT", path.to_str().unwrap()),
        ])
        .await;
        let device = gateway.tenant_and_device().await;
        let web = gateway.device(&device.tenant, "web", json!({})).await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let mut commander = Commander::of(&gateway, &device.tenant).await;

        let wrong = mqtt_connect(&gateway, 4, Some(&device.username), Some("wrong")).await;
        assert_eq!(wrong, Some(4));
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        let (answer, _) = tokio::join!(mqtt.publish("telemetry", "1"), application.accept_next());
        assert_eq!(answer, Answer::Acknowledged { success: true });
        for topic in ["telemetry/other/x", "nothing"] {
            let topic = format!("{topic}/?on-error=ignore");
            mqtt.publish(&topic, "x").await;
        }
        let release = async {
            let received = application.receive().await;
            application.release(&received).await;
        };
        tokio::join!(mqtt.publish("telemetry/?on-error=ignore", "x"), release);

        // A line with the first of it is written before the rest is done.
        let published = ("MQTT".to_owned(), "PublishIn.Success".to_owned());
        while !path.exists() || sums(&path).get(&published) != Some(&1) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        assert_eq!(mqtt.subscribe("command///req/#", 1).await, Some(1));
        let command = Command::one_way(&device, "set", "1");
        let (fate, _) = tokio::join!(commander.send(&command), mqtt.command());
        assert_eq!(fate, Fate::Accepted);
        let upload = reqwest::Client::new().post(gateway.http("/telemetry"));
        let upload = basic(upload, &web).header("QoS-Level", "1").body("x");
        let (answer, _) = tokio::join!(upload.send(), application.accept_next());
        assert_eq!(answer.unwrap().status(), StatusCode::ACCEPTED);
        let mut pinging = mqtt_socket(&gateway, &device).await;
        pinging.write_all(&[0xc0, 0]).await.unwrap();
        let mut pong = [0; 2];
        pinging.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0xd0, 0]);

        gateway.terminate();
        drop((mqtt, pinging));
        assert!(gateway.wait().success());
        let sums = sums(&path);
        let expected = [
            ("MQTT", "Connect.AuthError", 1),
            ("MQTT", "Connect.ClientError", 0),
            ("MQTT", "Connect.Success", 2),
            ("MQTT", "Ping.Success", 1),
            ("MQTT", "PublishIn.AuthError", 1),
            ("MQTT", "PublishIn.ClientError", 1),
            ("MQTT", "PublishIn.ServerError", 1),
            ("MQTT", "PublishIn.Success", 1),
            ("MQTT", "PublishOut.Success", 1),
            ("MQTT", "Subscribe.Success", 1),
            ("MQTT", "Subscribe.ClientError", 0),
            ("MQTT", "Unsubscribe.Success", 0),
            ("HTTP", "PublishIn.Success", 1),
            ("HTTP", "PublishIn.ClientError", 0),
            ("HTTP", "PublishOut.Success", 0),
        ];
        for (protocol, name, count) in expected {
            let key = (protocol.to_owned(), name.to_owned());
            assert_eq!(sums.get(&key), Some(&count), "{protocol} {name}");
        }
    });
}
