//! What a tenant's devices may use: connections, time, bytes (device contract §1.12).

use reqwest::Client;
use reqwest::header::RETRY_AFTER;
use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::kit::{
    Answer, Application, Command, Commander, Device, End, Fate, Gateway, MqttDevice, basic,
    mqtt_connect, mqtt_socket, payload, story,
};

const TOO_MUCH: &str = "tenant's accumulated message data volume exceeds configured maximum value";

/// A period that has begun long ago and does not end soon.
fn limit(most: &str, number: u32) -> Value {
    let mut limit = json!({
        "effective-since": "2020-01-01T00:00:00Z",
        "period": {"mode": "days", "no-of-days": 100_000},
    });
    limit[most] = json!(number);
    limit
}

fn volume(max_bytes: u32) -> Value {
    json!({"resource-limits": {"data-volume": limit("max-bytes", max_bytes)}})
}

async fn limited(gateway: &Gateway, tenant: Value) -> Device {
    let tenant = gateway.tenant(tenant).await;
    gateway.device(&tenant, "sensor", json!({})).await
}

/// Sends so many bytes over HTTP; status and error, if there is one.
async fn post(gateway: &Gateway, device: &Device, size: usize) -> (u16, Value) {
    let request = Client::new().post(gateway.http("/event"));
    let sent = basic(request, device).body("x".repeat(size)).send().await;
    let answer = sent.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

async fn assert_refused(gateway: &Gateway, device: &Device, size: usize) {
    let refused = post(gateway, device, size).await;
    assert_eq!(refused, (429, json!({"error": TOO_MUCH})));
}

/// What CONNECT of both versions is answered with.
async fn connacks(gateway: &Gateway, device: &Device) -> [Option<u8>; 2] {
    let (user, password) = (Some(&*device.username), Some(&*device.password));
    [
        mqtt_connect(gateway, 4, user, password).await,
        mqtt_connect(gateway, 5, user, password).await,
    ]
}

const REFUSED: [Option<u8>; 2] = [Some(0x05), Some(0x97)];

#[test]
fn as_many_devices_connect_as_may() {
    story(async {
        let gateway = Gateway::start().await;
        let device = limited(&gateway, json!({"resource-limits": {"max-connections": 2}})).await;
        let first = mqtt_socket(&gateway, &device).await;
        let _second = mqtt_socket(&gateway, &device).await;
        assert_eq!(connacks(&gateway, &device).await, REFUSED);
        let series = gateway.metrics().await;
        assert_eq!(series.attempts("tenant-connections-exceeded"), 2);
        assert_eq!(series.connected(&device.tenant), 2);
        // Other tenants have places of their own.
        let other = gateway.tenant_and_device().await;
        let _other = mqtt_socket(&gateway, &other).await;

        drop(first);
        gateway
            .until(|series| series.connected(&device.tenant) == 1)
            .await;
        let _next = mqtt_socket(&gateway, &device).await;
        assert_eq!(connacks(&gateway, &device).await, REFUSED);
        // HTTP has no connections that count.
        assert_eq!(post(&gateway, &device, 1).await.0, 202);
    });
}

/// A device that was cut off comes back before anybody knows what became of its message.
#[test]
fn a_device_whose_connection_is_reset_gets_its_place_back_at_once() {
    story(async {
        let patient = [("WEIR__NORTHBOUND__AMQP__OUTCOME_TIMEOUT", "100000")];
        let gateway = Gateway::start_with(&patient).await;
        let device = limited(&gateway, json!({"resource-limits": {"max-connections": 1}})).await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        for _ in 0..3 {
            let mut socket = mqtt_socket(&gateway, &device).await;
            // QoS 1, packet 1, without a payload but with a type that says so.
            let topic = "telemetry/?content-type=none";
            let mut publish = vec![0x32, u8::try_from(topic.len() + 4).unwrap()];
            publish.extend([0, u8::try_from(topic.len()).unwrap()]);
            publish.extend(topic.bytes().chain([0, 1]));
            socket.write_all(&publish).await.unwrap();
            let _unsettled = application.receive().await;
            assert_eq!(connacks(&gateway, &device).await, REFUSED);
            socket.set_zero_linger().unwrap();
            drop(socket);
            gateway
                .until(|series| series.connected(&device.tenant) == 0)
                .await;
        }
        let _next = mqtt_socket(&gateway, &device).await;
        let series = gateway.metrics().await;
        let ended = ["forwarded", "unprocessable", "undeliverable"]
            .map(|status| series.uploads(&device.tenant, status));
        assert_eq!(ended, [0, 0, 0], "all outcomes are still open");
    });
}

#[test]
fn devices_that_have_been_connected_for_too_long_do_not_connect_again() {
    story(async {
        let gateway = Gateway::start().await;
        let duration = json!({"connection-duration": limit("max-minutes", 0)});
        let device = limited(&gateway, json!({"resource-limits": duration})).await;
        assert_eq!(connacks(&gateway, &device).await, REFUSED);
        let series = gateway.metrics().await;
        assert_eq!(series.attempts("connection-duration-exceeded"), 2);
        assert_eq!(post(&gateway, &device, 1).await.0, 202);
    });
}

#[test]
fn a_tenant_that_has_sent_too_much_sends_nothing_more() {
    story(async {
        let gateway = Gateway::start().await;
        let device = limited(&gateway, volume(100)).await;
        let [mut v3, mut other_v3, mut v5, mut other_v5] = [
            MqttDevice::v3(&gateway, &device).await.unwrap(),
            MqttDevice::v3(&gateway, &device).await.unwrap(),
            MqttDevice::v5(&gateway, &device).await.unwrap(),
            MqttDevice::v5(&gateway, &device).await.unwrap(),
        ];
        assert_eq!(post(&gateway, &device, 60).await.0, 202);
        let success = Answer::Acknowledged { success: true };
        assert_eq!(v3.publish("event", &"x".repeat(40)).await, success);

        assert_refused(&gateway, &device, 1).await;
        assert_eq!(connacks(&gateway, &device).await, REFUSED);
        for mqtt in [&mut v3, &mut v5] {
            assert_eq!(mqtt.publish("event", "x").await, Answer::Closed);
        }
        for mqtt in [&mut other_v3, &mut other_v5] {
            // Only the second one, which is empty, is acknowledged.
            mqtt.send("event/?on-error=skip-ack", "x", true).await;
            let answer = mqtt.publish("event/?content-type=none", "").await;
            assert_eq!(answer, success);
        }
        let series = gateway.metrics().await;
        assert_eq!(series.attempts("data-volume-exceeded"), 2);
        let counted = ["forwarded", "unprocessable", "undeliverable"]
            .map(|status| series.uploads(&device.tenant, status));
        assert_eq!(counted, [4, 5, 0]);
        let log = gateway.log();
        assert!(log.contains("data-volume-exceeded"), "{log}");

        // What was refused counts too, so it takes more than a few bytes.
        let path = format!("tenants/{}", device.tenant);
        let put = reqwest::Method::PUT;
        gateway.manage(put.clone(), &path, &volume(106)).await;
        assert_eq!(post(&gateway, &device, 1).await.0, 202);
        assert_refused(&gateway, &device, 1).await;
        gateway.manage(put, &path, &json!({})).await;
        assert_eq!(post(&gateway, &device, 1_000).await.0, 202);
    });
}

#[test]
fn a_command_that_is_too_much_is_rejected() {
    story(async {
        let gateway = Gateway::start().await;
        let device = limited(&gateway, volume(100)).await;
        let mut telemetry =
            Application::consume(&gateway, &format!("telemetry/{}", device.tenant)).await;
        let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
        assert_eq!(mqtt.subscribe("command///req/#", 1).await, Some(1));
        let mut commander = Commander::of(&gateway, &device.tenant).await;
        let small = Command::one_way(&device, "blink", &"x".repeat(60));
        let (fate, arrived) = tokio::join!(commander.send(&small), mqtt.command());
        assert_eq!(fate, Fate::Accepted);
        assert_eq!(arrived.payload.len(), 60);

        let large = Command::one_way(&device, "blink", &"x".repeat(41));
        let is_rejected = |fate: &Fate| match fate {
            Fate::Rejected { condition, text } => {
                condition == "hono:bad-request" && text == TOO_MUCH
            }
            Fate::Accepted | Fate::Released => false,
        };
        let fate = commander.send(&large).await;
        assert!(is_rejected(&fate), "{fate:?}");
        let series = gateway.metrics().await;
        let counted = ["forwarded", "unprocessable"]
            .map(|status| series.commands(&device.tenant, "one-way", status));
        assert_eq!(counted, [1, 1]);

        // A request that waits for a command gets 429 although its message has arrived.
        let path = format!("tenants/{}", device.tenant);
        gateway
            .manage(reqwest::Method::PUT, &path, &volume(110))
            .await;
        drop(mqtt);
        let request = Client::new().post(gateway.http("/telemetry?hono-ttd=50"));
        let request = basic(request, &device).body("12345").send();
        let waiting = tokio::spawn(request);
        assert_eq!(payload(&telemetry.accept_next().await), b"12345");
        let fate = commander.send(&large).await;
        assert!(is_rejected(&fate), "{fate:?}");
        let answer = waiting.await.unwrap().unwrap();
        assert_eq!(answer.status(), 429);
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error, json!({"error": TOO_MUCH}));
    });
}

#[test]
fn what_was_used_is_known_after_a_stop_and_after_a_kill() {
    story(async {
        let gateway = Gateway::start().await;
        let device = limited(&gateway, volume(100)).await;
        assert_eq!(post(&gateway, &device, 60).await.0, 202);
        let gateway = gateway.stop_and_restart().await;
        assert_eq!(post(&gateway, &device, 30).await.0, 202);
        let file = gateway.data().join("usage.json");
        let is_written = || std::fs::read_to_string(&file).unwrap().contains(":90");
        while !is_written() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let gateway = gateway.kill_and_restart().await;
        assert_eq!(post(&gateway, &device, 10).await.0, 202);
        assert_refused(&gateway, &device, 1).await;
    });
}

#[test]
fn a_damaged_file_is_told_of_and_put_aside() {
    story(async {
        let gateway = Gateway::start().await;
        let device = limited(&gateway, volume(100)).await;
        assert_eq!(post(&gateway, &device, 100).await.0, 202);
        let gateway = gateway.stop_and_restart().await;
        let file = gateway.data().join("usage.json");
        std::fs::write(&file, "{\"version\":1,\"ten").unwrap();
        let gateway = gateway.kill_and_restart().await;
        let log = gateway.log();
        assert!(log.contains("what tenants have used cannot be read"));
        assert!(gateway.data().join("usage.json.damaged").exists());
        assert_eq!(post(&gateway, &device, 100).await.0, 202);
        assert_refused(&gateway, &device, 1).await;
    });
}

/// So many messages at once, and then one a day: none is added while a story lasts.
fn rate(of: &str, burst: u32) -> Value {
    let rate = json!({"max-messages-per-second": 0.000_01, "burst": burst});
    json!({"resource-limits": {"message-rate": {of: rate}}})
}

/// Each of the two rates, the text of its refusals, and whether it is one device that has it.
const RATES: [(&str, &str, bool); 2] = [
    (
        "device",
        "device's message rate exceeds configured maximum value",
        true,
    ),
    (
        "tenant",
        "tenant's message rate exceeds configured maximum value",
        false,
    ),
];

async fn configure(gateway: &Gateway, device: &Device, tenant: &Value) {
    let path = format!("tenants/{}", device.tenant);
    gateway.manage(reqwest::Method::PUT, &path, tenant).await;
}

#[test]
fn over_http_a_burst_passes_and_what_comes_too_fast_is_refused() {
    story(async {
        let gateway = Gateway::start().await;
        let stranger = gateway.tenant_and_device().await;
        for (of, text, is_per_device) in RATES {
            let device = limited(&gateway, rate(of, 2)).await;
            let other = gateway.device(&device.tenant, "other", json!({})).await;
            for _ in 0..2 {
                assert_eq!(post(&gateway, &device, 1).await.0, 202);
            }
            let request = Client::new()
                .put(gateway.http(&format!("/telemetry/{}/{}", device.tenant, device.id)));
            let answer = basic(request, &device).body("x").send().await.unwrap();
            assert_eq!(answer.status(), 429);
            let seconds = answer.headers()[RETRY_AFTER].to_str().unwrap();
            let seconds: u32 = seconds.parse().unwrap();
            assert!((1..=100_000).contains(&seconds), "{seconds}");
            let error: Value = answer.json().await.unwrap();
            assert_eq!(error, json!({"error": text}));

            let expected = if is_per_device { 202 } else { 429 };
            assert_eq!(post(&gateway, &other, 1).await.0, expected, "{of}");
            assert_eq!(post(&gateway, &stranger, 1).await.0, 202);
            let counted = ["forwarded", "unprocessable", "undeliverable"];
            let counts = async || {
                let series = gateway.metrics().await;
                counted.map(|status| series.uploads(&device.tenant, status))
            };
            let passed = 2 + usize::from(is_per_device);
            assert_eq!(counts().await, [passed, 4 - passed, 0], "{of}");

            // One more may come at once.
            configure(&gateway, &device, &rate(of, 3)).await;
            assert_eq!(post(&gateway, &device, 1).await.0, 202);
            let refused = post(&gateway, &device, 1).await;
            assert_eq!(refused, (429, json!({"error": text})));
            configure(&gateway, &device, &json!({})).await;
            assert_eq!(post(&gateway, &device, 1).await.0, 202);
        }
        assert!(gateway.log().contains("message-rate-exceeded"));
    });
}

#[test]
fn over_mqtt_a_burst_passes_and_what_comes_too_fast_is_refused() {
    story(async {
        let gateway = Gateway::start().await;
        for (of, text, is_per_device) in RATES {
            for version in [3, 5] {
                let device = limited(&gateway, rate(of, 2)).await;
                let other = gateway.device(&device.tenant, "other", json!({})).await;
                let connect = async |device: &Device| match version {
                    3 => MqttDevice::v3(&gateway, device).await.unwrap(),
                    _ => MqttDevice::v5(&gateway, device).await.unwrap(),
                };
                let (mut mqtt, mut other) = (connect(&device).await, connect(&other).await);
                let success = Answer::Acknowledged { success: true };
                // Version 3.1.1 cannot say that it was refused.
                let refused = Answer::Acknowledged {
                    success: version == 3,
                };
                let careless = "event/?on-error=ignore";
                for expected in [success, success, refused] {
                    let answer = mqtt.publish(careless, "x").await;
                    assert_eq!(answer, expected, "{of} {version}");
                }
                let expected = if is_per_device { success } else { refused };
                assert_eq!(other.publish(careless, "x").await, expected, "{of}");

                // QoS 0 has no answer, but counts.
                mqtt.send("telemetry/?on-error=ignore", "x", false).await;
                mqtt.flush().await;
                let passed = 2 + usize::from(is_per_device);
                let unprocessable = 5 - passed;
                gateway
                    .until(|series| {
                        series.uploads(&device.tenant, "unprocessable") == unprocessable
                    })
                    .await;
                let series = gateway.metrics().await;
                assert_eq!(series.uploads(&device.tenant, "forwarded"), passed);
                assert_eq!(series.uploads(&device.tenant, "undeliverable"), 0);

                // The connection goes on, and the next message finds the new limit.
                configure(&gateway, &device, &rate(of, 3)).await;
                assert_eq!(mqtt.publish("event", "x").await, success);
                assert_eq!(mqtt.subscribe("error///#", 0).await, Some(0));
                mqtt.send("event/?correlation-id=7", "x", true).await;
                let error: Value = serde_json::from_str(&mqtt.command().await.payload).unwrap();
                assert_eq!(
                    (&error["code"], &error["message"]),
                    (&json!(429), &json!(text))
                );

                mqtt.send("event/?on-error=disconnect", "x", true).await;
                let told = match version {
                    3 => End::Closed,
                    _ => End::Told(DisconnectReasonCode::MessageRateTooHigh),
                };
                assert_eq!(mqtt.end().await, told, "{of}");
            }
        }
    });
}

#[test]
fn what_a_gateway_sends_for_a_device_is_that_devices_rate() {
    story(async {
        let gateway = Gateway::start().await;
        let hub = limited(&gateway, rate("device", 1)).await;
        for edge in ["one", "two"] {
            let via = json!({"via": [hub.id]});
            gateway.device(&hub.tenant, edge, via).await;
        }
        let mut mqtt = MqttDevice::v5(&gateway, &hub).await.unwrap();
        let rows = [
            ("event//one", true),
            ("event//two", true),
            ("event", true),
            ("event//one", false),
            ("event//two", false),
            ("event", false),
        ];
        for (topic, success) in rows {
            let topic = format!("{topic}/?on-error=ignore");
            let answer = mqtt.publish(&topic, "x").await;
            assert_eq!(answer, Answer::Acknowledged { success }, "{topic}");
        }
        // The device has one rate on all its ways.
        let path = format!("/event/{}/one", hub.tenant);
        let request = Client::new().put(gateway.http(&path));
        let answer = basic(request, &hub).body("x").send().await.unwrap();
        assert_eq!(answer.status(), 429);
    });
}
