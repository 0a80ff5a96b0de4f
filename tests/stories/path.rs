//! A message goes from a device to an application, with everything in it.

use fe2o3_amqp::types::primitives::{SimpleValue, Value};
use serde_json::json;

use crate::kit::{
    Accepted, Answer, Application, Gateway, MqttDevice, basic, content_type, payload, property,
    story, string, symbol_annotation,
};

/// What every message has, whatever protocol it came by.
fn assert_common(message: &Accepted, tenant: &str, endpoint: &str, adapter: &str, address: &str) {
    let header = message.header.clone().unwrap_or_default();
    assert_eq!(header.durable, endpoint == "event");
    let properties = message.properties.as_ref().unwrap();
    assert_eq!(
        properties.to.as_deref(),
        Some(&*format!("{endpoint}/{tenant}"))
    );
    assert!(properties.message_id.is_some());
    let created = properties.creation_time.as_ref().unwrap().milliseconds();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let age = now.as_millis() as i64 - created;
    assert!((-1000..120_000).contains(&age), "created {age} ms ago");
    let text = |text: &str| Some(Value::String(text.to_owned()));
    assert_eq!(symbol_annotation(message, "device_id"), text("sensor"));
    assert_eq!(symbol_annotation(message, "tenant_id"), text(tenant));
    let resource = format!("{endpoint}/{tenant}/sensor");
    assert_eq!(symbol_annotation(message, "resource"), text(&resource));
    let Some(Value::Map(trace)) = symbol_annotation(message, "x-opt-trace-context") else {
        panic!("no trace context");
    };
    let traceparent = trace.get(&Value::String("traceparent".into()));
    let Some(Value::String(traceparent)) = traceparent else {
        panic!("{trace:?}")
    };
    assert!(
        traceparent.starts_with("00-") && traceparent.len() == 55,
        "{traceparent}"
    );
    assert_eq!(property(message, "device_id"), string("sensor"));
    assert_eq!(property(message, "orig_adapter"), string(adapter));
    assert_eq!(property(message, "orig_address"), string(address));
}

#[test]
fn telemetry_and_events_over_http() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let mut telemetry = Application::consume(&gateway, &format!("telemetry/{tenant}")).await;
        let mut events = Application::consume(&gateway, &format!("event/{tenant}")).await;
        let client = reqwest::Client::new();
        let put = format!("/telemetry/{tenant}/sensor");
        let rows = [
            ("POST", "/telemetry", None, 0),
            ("POST", "/telemetry", Some("0"), 0),
            ("POST", "/telemetry?a=b", Some("1"), 1),
            ("PUT", &put, Some("1"), 1),
            ("PUT", "/telemetry//sensor", None, 0),
            ("POST", "/event", None, 1),
            ("PUT", &put.replace("telemetry", "event"), Some("1"), 1),
        ];
        for (method, path, qos, expected) in rows {
            let method = method.parse().unwrap();
            let mut request = basic(client.request(method, gateway.http(path)), &device)
                .header("Content-Type", "text/plain; charset=utf-8")
                .body("warm");
            if let Some(qos) = qos {
                request = request.header("QoS-Level", qos);
            }
            let sent = tokio::spawn(request.send());
            let is_event = path.starts_with("/event");
            let application = if is_event {
                &mut events
            } else {
                &mut telemetry
            };
            let message = application.accept_next().await;
            let answer = sent.await.unwrap().unwrap();
            assert_eq!(answer.status(), 202, "{path}");
            assert_eq!(answer.bytes().await.unwrap(), "", "{path}");
            let endpoint = if is_event { "event" } else { "telemetry" };
            assert_common(&message, tenant, endpoint, "hono-http", path);
            assert_eq!(
                property(&message, "qos"),
                Some(SimpleValue::Int(expected)),
                "{path}"
            );
            assert_eq!(content_type(&message).as_deref(), Some("text/plain"));
            assert_eq!(payload(&message), b"warm");
        }
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(tenant, "forwarded"), rows.len());
        let bytes = metrics.sum("hono_telemetry_payload_bytes_sum", &[("tenant", tenant)]);
        assert_eq!(bytes as usize, rows.len() * "warm".len());
    });
}

#[test]
fn telemetry_and_events_over_both_versions_of_mqtt() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let mut telemetry = Application::consume(&gateway, &format!("telemetry/{tenant}")).await;
        let mut events = Application::consume(&gateway, &format!("event/{tenant}")).await;
        let mut devices = [
            MqttDevice::v3(&gateway, &device).await.unwrap(),
            MqttDevice::v5(&gateway, &device).await.unwrap(),
        ];
        let mut sent = 0;
        for mqtt in &mut devices {
            for topic in [
                "telemetry".to_owned(),
                "t".to_owned(),
                "t//sensor".to_owned(),
                format!("telemetry/{tenant}/sensor"),
                "telemetry/?content-type=text%2Fplain".to_owned(),
                "event".to_owned(),
                "e//sensor".to_owned(),
                format!("e/{tenant}/sensor/?content-type=text%2Fplain"),
            ] {
                let is_event = topic.starts_with('e');
                mqtt.send(&topic, "warm", true).await;
                let (answer, message) = tokio::join!(mqtt.answer(), async {
                    if is_event {
                        events.accept_next().await
                    } else {
                        telemetry.accept_next().await
                    }
                });
                assert_eq!(answer, Answer::Acknowledged { success: true }, "{topic}");
                let endpoint = if is_event { "event" } else { "telemetry" };
                assert_common(&message, tenant, endpoint, "hono-mqtt", &topic);
                assert_eq!(
                    property(&message, "qos"),
                    Some(SimpleValue::Int(1)),
                    "{topic}"
                );
                let expected = if topic.contains("/?") {
                    "text/plain"
                } else {
                    "application/octet-stream"
                };
                assert_eq!(content_type(&message).as_deref(), Some(expected), "{topic}");
                assert_eq!(payload(&message), b"warm");
                sent += 1;
            }
            mqtt.send("t", "once", false).await;
            let ((), message) = tokio::join!(mqtt.flush(), telemetry.accept_next());
            assert_eq!(property(&message, "qos"), Some(SimpleValue::Int(0)));
            sent += 1;
        }
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(tenant, "forwarded"), sent);
        let labels = [("tenant", tenant.as_str()), ("component_name", "hono-mqtt")];
        assert_eq!(metrics.sum("hono_connections_authenticated", &labels), 2.0);
        let attempts = [labels[0], ("outcome", "succeeded")];
        assert_eq!(
            metrics.sum("hono_connections_attempts_total", &attempts),
            2.0
        );
    });
}

/// An event says what is left of its time to live, in milliseconds; whole seconds are asked for.
fn assert_left(message: &Accepted, whole: u32) {
    let left = message.header.as_ref().unwrap().ttl.unwrap();
    assert!((whole / 2..=whole).contains(&left), "{left} of {whole}");
}

#[test]
fn defaults_gateways_and_time_to_live() {
    story(async {
        let gateway = Gateway::start().await;
        let tenant = gateway
            .tenant(json!({
                "defaults": {"importance": "low", "unit": "kWh", "ttl": 60},
                "resource-limits": {"max-ttl": 30},
                "minimum-message-size": 4096,
            }))
            .await;
        let concentrator = gateway.device(&tenant, "concentrator", json!({})).await;
        let registration =
            json!({"via": ["concentrator"], "defaults": {"importance": "high", "floor": 3}});
        gateway.device(&tenant, "sensor", registration).await;
        let mut events = Application::consume(&gateway, &format!("event/{tenant}")).await;

        let client = reqwest::Client::new();
        let put = gateway.http(&format!("/event/{tenant}/sensor?hono-ttl=20"));
        let request = basic(client.put(put), &concentrator).body("x");
        let (answer, message) = tokio::join!(request.send(), events.accept_next());
        assert_eq!(answer.unwrap().status(), 202);
        assert_eq!(property(&message, "device_id"), string("sensor"));
        assert_eq!(property(&message, "importance"), string("high"));
        assert_eq!(property(&message, "unit"), string("kWh"));
        assert_eq!(property(&message, "floor"), Some(SimpleValue::Int(3)));
        assert_eq!(property(&message, "ttl"), None);
        assert_left(&message, 20_000);

        let mut mqtt = MqttDevice::v5(&gateway, &concentrator).await.unwrap();
        mqtt.send("e//sensor", "x", true).await;
        let (answer, message) = tokio::join!(mqtt.answer(), events.accept_next());
        assert_eq!(answer, Answer::Acknowledged { success: true });
        // The tenant's cap.
        assert_left(&message, 30_000);
        let metrics = gateway.metrics().await;
        let bytes = metrics.sum("hono_telemetry_payload_bytes_sum", &[("tenant", &tenant)]);
        assert_eq!(
            bytes, 8192.0,
            "payloads count in steps of the minimum message size"
        );
    });
}

#[test]
fn a_trace_that_a_device_began_goes_on() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let mut telemetry =
            Application::consume(&gateway, &format!("telemetry/{}", device.tenant)).await;
        let request = basic(
            reqwest::Client::new().post(gateway.http("/telemetry")),
            &device,
        )
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .body("x");
        let (answer, message) = tokio::join!(request.send(), telemetry.accept_next());
        assert_eq!(answer.unwrap().status(), 202);
        let Some(Value::Map(trace)) = symbol_annotation(&message, "x-opt-trace-context") else {
            panic!("no trace context");
        };
        let traceparent = trace.get(&Value::String("traceparent".into()));
        let Some(Value::String(traceparent)) = traceparent else {
            panic!("{trace:?}")
        };
        assert!(
            traceparent.contains("0af7651916cd43dd8448eb211c80319c"),
            "{traceparent}"
        );
    });
}
