//! Devices that are registered by themselves, and the applications that hear of it; when these hear of it
//! is in [`notice`].

mod notice;

use reqwest::Method;
use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use serde_json::{Value, json};

use crate::kit::{
    Accepted, Answer, Application, Authority, Device, End, Gateway, MqttDevice, TlsGateway, basic,
    content_type, payload, property, refusal, story, string, subject, symbol_annotation,
};

const NOTIFICATION: &str = "application/vnd.eclipse-hono-device-provisioning-notification";

/// A gateway's registration that lets it bring devices.
fn authorised() -> Value {
    json!({"authorities": ["auto-provisioning-enabled"], "memberOf": ["floor-3"]})
}

/// Sends telemetry for an edge device over HTTP; the status and the answer.
async fn send_for(gateway: &Gateway, sender: &Device, edge: &str) -> reqwest::Response {
    let url = gateway.http(&format!("/telemetry/{}/{edge}", sender.tenant));
    let request = basic(reqwest::Client::new().put(url), sender)
        .header("content-type", "text/plain")
        .header("qos-level", "1");
    request.body("x").send().await.unwrap()
}

/// The applications of a tenant.
struct Applications {
    tenant: String,
    telemetry: Application,
    events: Application,
}

impl Applications {
    async fn of(gateway: &Gateway, tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            telemetry: consume_telemetry(gateway, tenant).await,
            events: consume_events(gateway, tenant).await,
        }
    }

    /// Lets the device be announced and its message arrive while `sent` waits.
    async fn welcome<T>(
        &mut self,
        device: &str,
        by: Option<&str>,
        sent: impl Future<Output = T>,
    ) -> T {
        let events = async {
            let event = self.events.accept_next().await;
            assert_announced(&event, &self.tenant, device, by);
        };
        let (sent, (), message) = tokio::join!(sent, events, self.telemetry.accept_next());
        assert_eq!(property(&message, "device_id"), string(device));
        sent
    }
}

async fn consume_telemetry(gateway: &Gateway, tenant: &str) -> Application {
    Application::consume(gateway, &format!("telemetry/{tenant}")).await
}

async fn consume_events(gateway: &Gateway, tenant: &str) -> Application {
    Application::consume(gateway, &format!("event/{tenant}")).await
}

/// The notification of northbound contract §8.3.
fn assert_announced(event: &Accepted, tenant: &str, device: &str, by: Option<&str>) {
    assert_eq!(content_type(event).as_deref(), Some(NOTIFICATION));
    assert_eq!(payload(event), b"");
    let wanted = [
        ("hono_registration_status", Some("NEW")),
        ("tenant_id", Some(tenant)),
        ("device_id", Some(device)),
        ("gateway_id", by),
        ("orig_adapter", Some("hono-device-registry")),
        ("orig_address", Some("event")),
    ];
    for (name, text) in wanted {
        assert_eq!(property(event, name), text.and_then(string), "{name}");
    }
    assert!(event.header.as_ref().unwrap().durable);
    let to = event.properties.as_ref().unwrap().to.as_deref();
    assert_eq!(to, Some(&*format!("event/{tenant}")));
    let name = fe2o3_amqp::types::primitives::Value::String(device.to_owned());
    assert_eq!(symbol_annotation(event, "device_id"), Some(name));
}

/// What the registry says of a device that was registered by itself.
async fn registered(gateway: &Gateway, tenant: &str, device: &str, is_announced: bool) -> Value {
    let registration = gateway.get(&format!("devices/{tenant}/{device}")).await;
    let status = &registration["status"];
    assert_eq!(status["auto-provisioned"], true, "{registration}");
    let sent = status.get("auto-provisioning-notification-sent");
    assert_eq!(sent, is_announced.then_some(&json!(true)), "{registration}");
    let comment = registration["ext"]["comment"].as_str().unwrap();
    assert!(comment.starts_with("Auto-provisioned at "), "{comment}");
    registration
}

#[test]
fn a_gateway_has_its_devices_registered_by_sending_for_them() {
    story(async {
        let gateway = Gateway::start().await;
        let tenant = gateway.tenant(json!({})).await;
        let sender = gateway.device(&tenant, "gw", authorised()).await;
        let mut applications = Applications::of(&gateway, &tenant).await;
        let mut changes = Application::consume(&gateway, "notification/registry-device").await;

        let sent = send_for(&gateway, &sender, "by-http");
        let answer = applications.welcome("by-http", Some("gw"), sent).await;
        assert_eq!(answer.status(), 202);
        let mut v3 = MqttDevice::v3(&gateway, &sender).await.unwrap();
        let mut v5 = MqttDevice::v5(&gateway, &sender).await.unwrap();
        for (mqtt, edge) in [(&mut v3, "by:mqtt-3.1.1"), (&mut v5, "by=mqtt_5")] {
            let topic = format!("telemetry/{tenant}/{edge}");
            let sent = mqtt.publish(&topic, "x");
            let answer = applications.welcome(edge, Some("gw"), sent).await;
            assert_eq!(answer, Answer::Acknowledged { success: true }, "{edge}");
        }
        for edge in ["by-http", "by:mqtt-3.1.1", "by=mqtt_5"] {
            let device = registered(&gateway, &tenant, edge, true).await;
            assert_eq!(device["via"], json!(["gw"]));
            assert_eq!(device["viaGroups"], json!(["floor-3"]));
            assert_eq!(device["status"].get("last-user"), None, "{device}");
            let change = changes.accept_next().await;
            let change: Value = serde_json::from_slice(&payload(&change)).unwrap();
            assert_eq!(change["device-id"], edge);
            assert_eq!(change["change"], "CREATE");
        }

        // Once is enough: the next event is the device's own.
        let topic = format!("event/{tenant}/by-http");
        let (answer, event) = tokio::join!(
            v5.publish(&topic, "fire"),
            applications.events.accept_next()
        );
        assert_eq!(answer, Answer::Acknowledged { success: true });
        assert_eq!(payload(&event), b"fire");
    });
}

#[test]
fn whose_group_a_device_is_in_may_send_for_it_too_and_no_others() {
    story(async {
        let gateway = Gateway::start().await;
        let tenant = gateway.tenant(json!({})).await;
        let sender = gateway.device(&tenant, "gw", authorised()).await;
        let member = json!({"memberOf": ["floor-3"]});
        let member = gateway.device(&tenant, "member", member).await;
        let other = json!({"authorities": ["auto-provisioning-enabled"]});
        let other = gateway.device(&tenant, "other", other).await;
        let mut applications = Applications::of(&gateway, &tenant).await;
        let sent = send_for(&gateway, &sender, "edge");
        let answer = applications.welcome("edge", Some("gw"), sent).await;
        assert_eq!(answer.status(), 202);

        let sent = send_for(&gateway, &member, "edge");
        let (answer, _) = tokio::join!(sent, applications.telemetry.accept_next());
        assert_eq!(answer.status(), 202);
        assert_eq!(send_for(&gateway, &other, "edge").await.status(), 403);
    });
}

#[test]
fn messages_that_bring_the_same_device_at_once_all_arrive() {
    story(async {
        let gateway = Gateway::start().await;
        let tenant = gateway.tenant(json!({})).await;
        let sender = gateway.device(&tenant, "gw", authorised()).await;
        let mut telemetry = consume_telemetry(&gateway, &tenant).await;
        let mut events = consume_events(&gateway, &tenant).await;
        let sent =
            futures_util::future::join_all((0..8).map(|_| send_for(&gateway, &sender, "edge")));
        let arrive = async {
            for _ in 0..8 {
                telemetry.accept_next().await;
            }
        };
        let announce = async {
            loop {
                let event = events.accept_next().await;
                assert_announced(&event, &tenant, "edge", Some("gw"));
            }
        };
        let (answers, ()) = tokio::select! {
            done = async { tokio::join!(sent, arrive) } => done,
            () = announce => unreachable!("it has no end"),
        };
        for answer in answers {
            assert_eq!(answer.status(), 202);
        }
        registered(&gateway, &tenant, "edge", true).await;
    });
}

#[test]
fn who_may_not_bring_devices_is_told_so() {
    story(async {
        let gateway = Gateway::start().await;
        let limited = json!({"registration-limits": {"max-devices": 1}});
        let rows = [
            // Registration of the gateway, tenant, edge device, status, MQTT 5 reason.
            (
                json!({}),
                json!({}),
                "edge",
                404,
                DisconnectReasonCode::NotAuthorized,
            ),
            (
                authorised(),
                limited,
                "edge",
                403,
                DisconnectReasonCode::QuotaExceeded,
            ),
            (
                authorised(),
                json!({}),
                "not an id",
                404,
                DisconnectReasonCode::TopicNameInvalid,
            ),
        ];
        for (registration, configuration, edge, status, reason) in rows {
            let tenant = gateway.tenant(configuration).await;
            let sender = gateway.device(&tenant, "gw", registration).await;
            let _applications = Applications::of(&gateway, &tenant).await;
            let answer = send_for(&gateway, &sender, &edge.replace(' ', "%20")).await;
            assert_eq!(answer.status(), status);
            let topic = format!("telemetry/{tenant}/{edge}");
            let mut v3 = MqttDevice::v3(&gateway, &sender).await.unwrap();
            assert_eq!(v3.publish(&topic, "x").await, Answer::Closed, "{status}");
            let mut v5 = MqttDevice::v5(&gateway, &sender).await.unwrap();
            v5.send(&topic, "x", true).await;
            assert_eq!(v5.end().await, End::Told(reason), "{status}");
            let found = gateway.get(&format!("devices/{tenant}")).await;
            assert_eq!(found["total"], 1, "nothing was registered: {found}");
        }
    });
}

/// A tenant that registers by itself whoever presents a certificate of this authority.
async fn open_tenant(gateway: &Gateway, authority: &Authority, more: Value) -> String {
    let mut members = json!({"auto-provisioning-enabled": true});
    let all = members.as_object_mut().unwrap();
    all.extend(more.as_object().unwrap().clone());
    let anchor = authority.anchor(members);
    gateway.tenant(json!({"trusted-ca": [anchor]})).await
}

#[test]
fn a_device_is_registered_by_its_first_certificate() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let template = json!({"auto-provisioning-device-id-template": "acme:{{subject-cn}}"});
        let tenant = open_tenant(&gateway, &authority, template).await;
        let mut applications = Applications::of(&gateway, &tenant).await;
        let visitor = |name| gateway.visitor(&authority.issue(&subject(name)));

        let first = visitor("first");
        let answer = applications
            .welcome("acme:first", None, first.upload("x"))
            .await;
        assert_eq!(answer.0, 202);
        let second = visitor("second");
        let sent = async {
            let mut mqtt = second.v5("any", None).await.unwrap();
            mqtt.publish("telemetry", "x").await
        };
        let answer = applications.welcome("acme:second", None, sent).await;
        assert_eq!(answer, Answer::Acknowledged { success: true });

        for name in ["first", "second"] {
            let id = format!("acme:{name}");
            let device = registered(&gateway, &tenant, &id, true).await;
            assert_eq!(device.get("authorities"), None, "{device}");
            let credentials = gateway.get(&format!("credentials/{tenant}/{id}")).await;
            let credential = &credentials[0];
            assert_eq!(credential["type"], "x509-cert");
            assert_eq!(credential["auth-id"], format!("CN={name},O=Acme"));
            assert_eq!(credentials.as_array().unwrap().len(), 1);
        }

        // From now on it is known, however it comes.
        let mut mqtt = first.v3("any", None).await.unwrap();
        let publish = mqtt.publish("event", "fire");
        let (answer, event) = tokio::join!(publish, applications.events.accept_next());
        assert_eq!(answer, Answer::Acknowledged { success: true });
        assert_eq!(payload(&event), b"fire");
        assert_eq!(property(&event, "device_id"), string("acme:first"));
    });
}

#[test]
fn a_gateway_that_is_registered_by_its_certificate_brings_its_devices() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Gateways");
        let as_gateway = json!({"auto-provision-as-gateway": true,
            "auto-provisioning-device-id-template": "{{subject-cn}}"});
        let tenant = open_tenant(&gateway, &authority, as_gateway).await;
        let mut applications = Applications::of(&gateway, &tenant).await;
        let visitor = gateway.visitor(&authority.issue(&subject("gw")));
        let answer = applications.welcome("gw", None, visitor.upload("x")).await;
        assert_eq!(answer.0, 202);
        let device = registered(&gateway, &tenant, "gw", true).await;
        assert_eq!(device["authorities"], json!(["auto-provisioning-enabled"]));

        let path = format!("/telemetry/{tenant}/edge");
        let sent = visitor.request(Method::PUT, &path).body("x").send();
        let answer = applications.welcome("edge", Some("gw"), sent).await;
        assert_eq!(answer.unwrap().status(), 202);
        let edge = registered(&gateway, &tenant, "edge", true).await;
        assert_eq!(edge["via"], json!(["gw"]));
    });
}

#[test]
fn a_full_tenant_takes_no_device_for_its_certificate() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let anchor = authority.anchor(json!({"auto-provisioning-enabled": true}));
        let full = json!({"registration-limits": {"max-devices": 0}, "trusted-ca": [anchor]});
        let tenant = gateway.tenant(full).await;
        let _applications = Applications::of(&gateway, &tenant).await;
        let visitor = gateway.visitor(&authority.issue(&subject("sensor")));
        assert_eq!(visitor.upload("x").await.0, 403);
        let attempts = [visitor.v3("c", None).await, visitor.v5("c", None).await];
        assert_eq!(attempts.map(refusal), ["NotAuthorized", "NotAuthorized"]);
    });
}
