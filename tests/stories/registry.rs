//! What a change in the registry does at once, and who is told of it.

use fe2o3_amqp::types::primitives::Value as AmqpValue;
use reqwest::Method;
use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use serde_json::{Value, json};

use crate::kit::{
    Accepted, Answer, Application, Device, End, Gateway, MqttDevice, basic, content_type, payload,
    property, refusal, story, string, symbol_annotation,
};

/// The status of telemetry that a device sends over HTTP with QoS 1.
async fn upload(gateway: &Gateway, device: &Device) -> u16 {
    let request = reqwest::Client::new().post(gateway.http("/telemetry"));
    let request = basic(request, device)
        .header("content-type", "text/plain")
        .header("qos-level", "1");
    let answer = request.body("x").send().await.unwrap();
    answer.status().as_u16()
}

/// An upload that has to arrive.
async fn arrives(gateway: &Gateway, device: &Device, application: &mut Application) {
    let (status, _) = tokio::join!(upload(gateway, device), application.accept_next());
    assert_eq!(status, 202);
}

/// A message that has to go through a connection.
async fn goes_through(device: &mut MqttDevice, application: &mut Application) {
    let publish = device.publish("telemetry", "x");
    let (answer, _) = tokio::join!(publish, application.accept_next());
    assert_eq!(answer, Answer::Acknowledged { success: true });
}

/// A change that ends registrations.
struct Ending {
    method: Method,
    path: &'static str,
    body: Option<Value>,
    /// Whether all devices of the tenant are concerned.
    all: bool,
    /// What an upload over HTTP is answered from then on.
    http: u16,
    /// What a CONNECT is answered from then on.
    mqtt: &'static str,
}

fn endings() -> [Ending; 5] {
    let disabled = || Some(json!({"enabled": false}));
    let ending = |method, path, body, all, http, mqtt| Ending {
        method,
        path,
        body,
        all,
        http,
        mqtt,
    };
    let (bad, forbidden) = ("BadUserNamePassword", "NotAuthorized");
    [
        ending(Method::DELETE, "devices/{t}/d", None, false, 401, bad),
        ending(
            Method::PUT,
            "devices/{t}/d",
            disabled(),
            false,
            404,
            forbidden,
        ),
        ending(Method::DELETE, "devices/{t}", None, true, 401, bad),
        ending(Method::PUT, "tenants/{t}", disabled(), true, 403, forbidden),
        ending(Method::DELETE, "tenants/{t}", None, true, 401, bad),
    ]
}

#[test]
fn devices_whose_registration_ends_are_sent_away_at_once_and_no_others() {
    story(async {
        let gateway = Gateway::start().await;
        let stranger = gateway.tenant_and_device().await;
        let address = |tenant: &str| format!("telemetry/{tenant}");
        let mut strangers = Application::consume(&gateway, &address(&stranger.tenant)).await;
        let mut unconcerned = MqttDevice::v5(&gateway, &stranger).await.unwrap();
        for ending in endings() {
            let tenant = gateway.tenant(json!({})).await;
            let path = ending.path.replace("{t}", &tenant);
            let device = gateway.device(&tenant, "d", json!({})).await;
            let sibling = gateway.device(&tenant, "sibling", json!({})).await;
            let mut application = Application::consume(&gateway, &address(&tenant)).await;
            let mut v3 = MqttDevice::v3(&gateway, &device).await.unwrap();
            let mut v5 = MqttDevice::v5(&gateway, &device).await.unwrap();
            let mut other = MqttDevice::v5(&gateway, &sibling).await.unwrap();
            goes_through(&mut v3, &mut application).await;
            goes_through(&mut v5, &mut application).await;
            arrives(&gateway, &device, &mut application).await;

            let (method, body) = (ending.method.clone(), ending.body.as_ref());
            let (status, _) = gateway.call(method, &path, body).await;
            assert_eq!(status, 204, "{path}");

            let told = End::Told(DisconnectReasonCode::AdministrativeAction);
            assert_eq!(v3.end().await, End::Closed, "{path}");
            assert_eq!(v5.end().await, told, "{path}");
            assert_eq!(upload(&gateway, &device).await, ending.http, "{path}");
            let attempt = MqttDevice::v3(&gateway, &device).await;
            assert_eq!(refusal(attempt), ending.mqtt, "{path}");
            let attempt = MqttDevice::v5(&gateway, &device).await;
            assert_eq!(refusal(attempt), ending.mqtt, "{path}");
            if ending.all {
                assert_eq!(other.end().await, told, "{path}");
            } else {
                goes_through(&mut other, &mut application).await;
            }
            goes_through(&mut unconcerned, &mut strangers).await;
        }
    });
}

#[test]
fn a_device_that_is_enabled_again_may_come_back() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let paths = [
            format!("devices/{}/{}", device.tenant, device.id),
            format!("tenants/{}", device.tenant),
        ];
        for path in paths {
            let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
            let set = async |enabled: bool| {
                let body = json!({"enabled": enabled});
                gateway.manage(Method::PUT, &path, &body).await;
            };
            set(false).await;
            assert_eq!(mqtt.end().await, End::Closed);
            set(true).await;
            let mut mqtt = MqttDevice::v3(&gateway, &device).await.unwrap();
            goes_through(&mut mqtt, &mut application).await;
            arrives(&gateway, &device, &mut application).await;
        }
    });
}

#[test]
fn other_changes_disturb_no_connection() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let Device { tenant, id, .. } = &device;
        let mut application = Application::consume(&gateway, &format!("telemetry/{tenant}")).await;
        let mut v3 = MqttDevice::v3(&gateway, &device).await.unwrap();
        let mut v5 = MqttDevice::v5(&gateway, &device).await.unwrap();
        let defaults = |text| json!({"defaults": {"note": text}});
        let changes = [
            (format!("tenants/{tenant}"), defaults("of the tenant")),
            (format!("devices/{tenant}/{id}"), defaults("of the device")),
            (format!("credentials/{tenant}/{id}"), json!([])),
        ];
        for (path, body) in &changes {
            gateway.manage(Method::PUT, path, body).await;
        }
        for mqtt in [&mut v3, &mut v5] {
            let publish = mqtt.publish("telemetry", "x");
            let (answer, message) = tokio::join!(publish, application.accept_next());
            assert_eq!(answer, Answer::Acknowledged { success: true });
            // What was changed counts on connections that were there before.
            assert_eq!(property(&message, "note"), string("of the device"));
        }
    });
}

#[test]
fn a_changed_password_counts_at_the_next_log_in() {
    story(async {
        let gateway = Gateway::start().await;
        let old = gateway.tenant_and_device().await;
        let address = format!("telemetry/{}", old.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let mut connected = MqttDevice::v5(&gateway, &old).await.unwrap();
        // It is remembered from here on.
        arrives(&gateway, &old, &mut application).await;

        let new = Device {
            password: "another one".to_owned(),
            ..old.clone()
        };
        gateway.credentials(&new, json!({})).await;
        assert_eq!(upload(&gateway, &old).await, 401);
        let attempt = MqttDevice::v5(&gateway, &old).await;
        assert_eq!(refusal(attempt), "BadUserNamePassword");
        arrives(&gateway, &new, &mut application).await;
        goes_through(&mut connected, &mut application).await;
    });
}

#[test]
fn a_tenants_alias_is_as_good_as_its_id_in_user_names() {
    story(async {
        let gateway = Gateway::start().await;
        let tenant = gateway.tenant(json!({"alias": "the-other-name"})).await;
        let device = gateway.device(&tenant, "sensor1", json!({})).await;
        let by_alias = Device {
            username: "sensor1@the-other-name".to_owned(),
            ..device.clone()
        };
        let mut application = Application::consume(&gateway, &format!("telemetry/{tenant}")).await;
        let check = |is_good: bool, message: Accepted| {
            assert!(is_good);
            let name = Some(AmqpValue::String(tenant.clone()));
            assert_eq!(symbol_annotation(&message, "tenant_id"), name);
            let properties = message.properties.unwrap();
            assert_eq!(properties.to, Some(format!("telemetry/{tenant}")));
        };
        let sent = upload(&gateway, &by_alias);
        let (status, message) = tokio::join!(sent, application.accept_next());
        check(status == 202, message);
        for mqtt in [
            MqttDevice::v3(&gateway, &by_alias).await,
            MqttDevice::v5(&gateway, &by_alias).await,
        ] {
            let mut mqtt = mqtt.unwrap();
            let publish = mqtt.publish("telemetry", "x");
            let (answer, message) = tokio::join!(publish, application.accept_next());
            check(answer == Answer::Acknowledged { success: true }, message);
        }

        let path = format!("tenants/{tenant}");
        gateway.manage(Method::PUT, &path, &json!({})).await;
        assert_eq!(upload(&gateway, &by_alias).await, 401, "it has none now");
        arrives(&gateway, &device, &mut application).await;
    });
}

#[test]
fn credentials_may_be_bound_to_a_client_id() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let bound = json!({"ext": {"client-id": "the very one", "site": "Berlin"}});
        gateway.credentials(&device, bound).await;
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        for (client_id, is_good) in [("the very one", true), ("another", false)] {
            // The kit's client id is the device's.
            let client = Device {
                id: client_id.to_owned(),
                ..device.clone()
            };
            for attempt in [
                MqttDevice::v3(&gateway, &client).await,
                MqttDevice::v5(&gateway, &client).await,
            ] {
                if is_good {
                    goes_through(&mut attempt.unwrap(), &mut application).await;
                } else {
                    assert_eq!(refusal(attempt), "BadUserNamePassword", "{client_id}");
                }
            }
        }
        // HTTP has no such thing, so nothing contradicts.
        arrives(&gateway, &device, &mut application).await;
    });
}

/// The next notification without its time, which has to be of the right form.
async fn notification(application: &mut Application) -> Value {
    let message = application.accept_next().await;
    assert_eq!(content_type(&message).as_deref(), Some("application/json"));
    let mut json: Value = serde_json::from_slice(&payload(&message)).unwrap();
    let members = json.as_object_mut().unwrap();
    let time = members.remove("creation-time").unwrap();
    let form: String = time.as_str().unwrap().chars().map(digit).collect();
    assert_eq!(form, "0000-00-00T00:00:00Z", "{time}");
    json
}

fn digit(c: char) -> char {
    if c.is_ascii_digit() { '0' } else { c }
}

/// A notification of `acme`, or of its device `d`.
fn of(kind: &str, device: bool, more: Value) -> Value {
    let mut json = json!({"type": kind, "source": "device-registry", "tenant-id": "acme"});
    let members = json.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    if device {
        members.insert("device-id".to_owned(), json!("d"));
    }
    json
}

#[test]
fn applications_are_told_of_every_change_in_the_registry() {
    story(async {
        let gateway = Gateway::start().await;
        let consume = async |topic| Application::consume(&gateway, topic).await;
        let mut tenants = [
            consume("notification/registry-tenant").await,
            consume("notification/registry-tenant").await,
        ];
        let mut devices = [
            consume("notification/registry-device").await,
            consume("notification/registry-device").await,
        ];

        let t = |change: &str, enabled: bool, invalidate: bool| {
            let more = json!({"change": change, "enabled": enabled,
                "invalidate-cache-on-update": invalidate});
            Some(of("tenant-change-v1", false, more))
        };
        let d = |change: &str, enabled: bool| {
            let more = json!({"change": change, "enabled": enabled});
            Some(of("device-change-v1", true, more))
        };
        let other = |kind, device| Some(of(kind, device, json!({})));
        let (no, none) = (json!({"enabled": false}), json!({}));
        let forget = json!({"ext": {"invalidate-cache-on-update": true}});
        let secrets = json!([{"pwd-plain": "secret"}]);
        let set = json!([{"type": "hashed-password", "auth-id": "d", "secrets": secrets}]);
        // What is refused is no change, and the next notification is another's.
        let rows = [
            ("POST tenants/acme", &none, t("CREATE", true, false)),
            ("POST tenants/acme", &none, None),
            ("PUT tenants/acme", &no, t("UPDATE", false, false)),
            ("PUT tenants/acme", &forget, t("UPDATE", true, true)),
            ("POST devices/acme/d", &none, d("CREATE", true)),
            ("PUT devices/acme/nobody", &none, None),
            (
                "PUT credentials/acme/d",
                &set,
                other("credentials-change-v1", true),
            ),
            ("PUT devices/acme/d", &no, d("UPDATE", false)),
            ("PUT devices/acme/d", &none, d("UPDATE", true)),
            ("DELETE devices/acme/d", &none, d("DELETE", false)),
            (
                "DELETE devices/acme",
                &none,
                other("all-devices-of-tenant-deleted-v1", false),
            ),
            ("DELETE tenants/acme", &none, t("DELETE", false, true)),
        ];
        for (what, body, expected) in rows {
            let (method, path) = what.split_once(' ').unwrap();
            let answer = gateway.call(method.parse().unwrap(), path, Some(body));
            let (status, _) = answer.await;
            assert_eq!(status < 300, expected.is_some(), "{what}: {status}");
            let Some(expected) = expected else { continue };
            let topic = if path.starts_with("tenants") {
                &mut tenants
            } else {
                &mut devices
            };
            for application in topic {
                assert_eq!(notification(application).await, expected, "{what}");
            }
        }
    });
}

#[test]
fn the_status_of_a_device_says_who_changed_it_last() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let path = format!("devices/{}/{}", device.tenant, device.id);
        let (operator, _) = gateway.operator();
        let status = gateway.get(&path).await["status"].clone();
        assert_eq!(status["last-user"], operator);
        assert!(status["created"].is_string(), "{status}");
        assert_eq!(status.get("updated"), None, "{status}");
        gateway
            .manage(Method::PUT, &path, &json!({"enabled": true}))
            .await;
        let changed = gateway.get(&path).await["status"].clone();
        assert_eq!(changed["last-user"], operator);
        assert_eq!(changed["created"], status["created"]);
        assert!(changed["updated"].is_string(), "{changed}");
    });
}

#[test]
fn a_tenant_has_no_more_devices_and_credentials_than_it_may_have() {
    story(async {
        let gateway = Gateway::start().await;
        let limits = json!({"max-devices": 1, "max-credentials-per-device": 1});
        let limited = json!({"registration-limits": limits});
        let tenant = gateway.tenant(limited).await;
        gateway.device(&tenant, "first", json!({})).await;
        let (first, second) = (
            format!("devices/{tenant}/first"),
            format!("devices/{tenant}/second"),
        );
        let create = async |path: &str| gateway.call(Method::POST, path, Some(&json!({}))).await;
        let (status, answer) = create(&second).await;
        assert_eq!(status, 403, "{answer}");
        assert!(answer["error"].is_string(), "{answer}");

        let credential = |auth_id| {
            let secrets = json!([{"pwd-plain": "secret"}]);
            json!({"type": "hashed-password", "auth-id": auth_id, "secrets": secrets})
        };
        let two = json!([credential("one"), credential("two")]);
        let path = format!("credentials/{tenant}/first");
        let (status, answer) = gateway.call(Method::PUT, &path, Some(&two)).await;
        assert_eq!(status, 403, "{answer}");
        assert_eq!(gateway.get(&path).await[0]["auth-id"], "first", "as before");

        let (status, _) = gateway.call(Method::DELETE, &first, None).await;
        assert_eq!(status, 204);
        assert_eq!(create(&second).await.0, 201, "there is room again");
    });
}
