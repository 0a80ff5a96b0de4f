//! Devices that say who they are by a certificate.

use reqwest::Method;
use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::kit::{
    Answer, Application, Authority, End, Identity, MqttDevice, TlsGateway, Visitor, property,
    refusal, story, string, subject,
};

const UNKNOWN: (u16, &str) = (404, "tenant is disabled or not registered");
const BAD: (u16, &str) = (401, "bad credentials");

/// A tenant that trusts this authority, with more members.
async fn tenant(gateway: &TlsGateway, anchors: &[Value], more: Value) -> String {
    let mut configuration = json!({"trusted-ca": anchors});
    let members = configuration.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    gateway.tenant(configuration).await
}

/// A device that logs in with a certificate, whose credential has more members.
async fn register(gateway: &TlsGateway, tenant: &str, id: &str, auth_id: &str, more: Value) {
    let path = format!("devices/{tenant}/{id}");
    gateway.manage(Method::POST, &path, &json!({})).await;
    let mut credential = json!({"type": "x509-cert", "auth-id": auth_id, "secrets": [{}]});
    let members = credential.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    let path = format!("credentials/{tenant}/{id}");
    gateway
        .manage(Method::PUT, &path, &json!([credential]))
        .await;
}

async fn consume(gateway: &TlsGateway, tenant: &str) -> Application {
    Application::consume(gateway, &format!("telemetry/{tenant}")).await
}

/// Requires that messages of this device arrive, over all protocols.
async fn is_heard(visitor: &Visitor, device: &str, application: &mut Application) {
    let mut arrives = async || {
        let message = application.accept_next().await;
        assert_eq!(property(&message, "device_id"), string(device));
    };
    let ((status, text), ()) = tokio::join!(visitor.upload("x"), arrives());
    assert_eq!(status, 202, "{device}: {text}");
    for connected in [visitor.v3("c", None).await, visitor.v5("c", None).await] {
        let mut mqtt = connected.unwrap();
        let (answer, ()) = tokio::join!(mqtt.publish("telemetry", "x"), arrives());
        assert_eq!(answer, Answer::Acknowledged { success: true }, "{device}");
    }
}

/// Requires that this device is refused, over all protocols.
async fn is_refused(visitor: &Visitor, http: (u16, &str), mqtt: &str, why: &str) {
    let (status, text) = visitor.upload("x").await;
    let (expected, error) = http;
    assert_eq!(status, expected, "{why}: {text}");
    let text: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text, json!({"error": error}), "{why}");
    let attempts = [visitor.v3("c", None).await, visitor.v5("c", None).await];
    assert_eq!(attempts.map(refusal), [mqtt, mqtt], "{why}");
}

#[test]
fn a_certificate_of_a_trusted_authority_takes_the_place_of_a_password() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let anchor = authority.anchor(json!({}));
        let tenant = tenant(&gateway, &[anchor], json!({})).await;
        // Spaces and case of the attributes' names do not matter.
        register(&gateway, &tenant, "sensor", "cn=4711, o=Acme", json!({})).await;
        let mut application = consume(&gateway, &tenant).await;
        let visitor = gateway.visitor(&authority.issue(&subject("4711")));
        is_heard(&visitor, "sensor", &mut application).await;

        let mut connected = visitor.v5("c", None).await.unwrap();
        let path = format!("devices/{tenant}/sensor");
        gateway.manage(Method::DELETE, &path, &json!({})).await;
        let told = End::Told(DisconnectReasonCode::AdministrativeAction);
        assert_eq!(connected.end().await, told);
        is_refused(&visitor, BAD, "BadUserNamePassword", "deleted").await;
    });
}

#[test]
fn a_template_makes_the_name_of_the_credential() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let template = json!({"auth-id-template": "{{subject-cn}}.{{subject-o}}"});
        let anchor = authority.anchor(template);
        let tenant = tenant(&gateway, &[anchor], json!({})).await;
        register(&gateway, &tenant, "sensor", "4711.Acme", json!({})).await;
        let mut application = consume(&gateway, &tenant).await;
        let visitor = gateway.visitor(&authority.issue(&subject("4711")));
        is_heard(&visitor, "sensor", &mut application).await;
        let other = gateway.visitor(&authority.issue(&subject("4712")));
        is_refused(&other, BAD, "BadUserNamePassword", "another").await;
    });
}

#[test]
fn the_host_name_says_which_of_the_tenants_that_trust_an_authority() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let shared = |more: Value| {
            let mut configuration = json!({"trust-anchor-group": "acme"});
            let members = configuration.as_object_mut().unwrap();
            members.extend(more.as_object().unwrap().clone());
            configuration
        };
        let anchor = || [authority.anchor(json!({}))];
        let first = tenant(&gateway, &anchor(), shared(json!({}))).await;
        let aliased = shared(json!({"alias": "the-second"}));
        let second = tenant(&gateway, &anchor(), aliased).await;
        for (tenant, device) in [(&first, "of-first"), (&second, "of-second")] {
            register(&gateway, tenant, device, "CN=4711,O=Acme", json!({})).await;
        }
        let identity = authority.issue(&subject("4711"));
        for (label, tenant, device) in [
            (&*first, &first, "of-first"),
            (&*second, &second, "of-second"),
            ("the-second", &second, "of-second"),
        ] {
            let visitor = gateway.visitor_of(&format!("{label}.gateway.example"), &identity);
            let mut application = consume(&gateway, tenant).await;
            is_heard(&visitor, device, &mut application).await;
        }

        let refused = "BadUserNamePassword";
        let nobody = gateway.visitor_of("nobody.gateway.example", &identity);
        is_refused(&nobody, UNKNOWN, refused, "no such tenant").await;
        is_refused(&gateway.visitor(&identity), UNKNOWN, refused, "no name").await;
        let plain = gateway.visitor_of("localhost", &identity);
        let undetermined = (400, "could not determine tenant ID from SNI extension");
        is_refused(&plain, undetermined, refused, "a name without a tenant").await;
    });
}

#[test]
fn who_is_not_vouched_for_is_refused_in_its_own_protocol() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let anchor = [authority.anchor(json!({}))];
        let tenant = tenant(&gateway, &anchor, json!({})).await;
        let disabled = json!({"enabled": false});
        let past = json!({"secrets": [{"not-after": "2020-01-01T00:00:00Z"}]});
        let dn = |name: &str| format!("CN={name},O=Acme");
        register(&gateway, &tenant, "good", &dn("good"), json!({})).await;
        register(&gateway, &tenant, "disabled", &dn("disabled"), disabled).await;
        register(&gateway, &tenant, "past", &dn("past"), past).await;
        let issued = |name: &str| authority.issue(&subject(name));
        let of = |name: &str| Authority::new(name).issue(&subject("good"));
        let bad = "BadUserNamePassword";
        let rows = [
            ("unknown issuer", of("Nobody"), UNKNOWN),
            ("self-signed", Identity::self_signed("good"), UNKNOWN),
            ("same name, another key", of("Acme Devices"), BAD),
            ("no credential", issued("unregistered"), BAD),
            ("disabled credential", issued("disabled"), BAD),
            ("no valid secret", issued("past"), BAD),
        ];
        for (why, identity, http) in rows {
            is_refused(&gateway.visitor(&identity), http, bad, why).await;
        }
        // A name leads to the tenant, which trusts others.
        let host = format!("{tenant}.gateway.example");
        let visitor = gateway.visitor_of(&host, &of("Nobody"));
        is_refused(&visitor, BAD, bad, "by host name").await;
    });
}

#[test]
fn what_is_disabled_is_so_for_certificates_too() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let anchor = [authority.anchor(json!({}))];
        let tenant = tenant(&gateway, &anchor, json!({})).await;
        register(&gateway, &tenant, "sensor", "CN=4711,O=Acme", json!({})).await;
        let mut application = consume(&gateway, &tenant).await;
        let visitor = gateway.visitor(&authority.issue(&subject("4711")));
        is_heard(&visitor, "sensor", &mut application).await;

        let (device, this) = (
            format!("devices/{tenant}/sensor"),
            format!("tenants/{tenant}"),
        );
        let disabled = json!({"enabled": false});
        gateway.manage(Method::PUT, &device, &disabled).await;
        let unknown = (404, "device is disabled or not registered");
        is_refused(&visitor, unknown, "NotAuthorized", "device").await;
        gateway.manage(Method::PUT, &device, &json!({})).await;
        is_heard(&visitor, "sensor", &mut application).await;

        let disabled = json!({"enabled": false, "trusted-ca": anchor});
        gateway.manage(Method::PUT, &this, &disabled).await;
        let forbidden = (403, "tenant is disabled or not registered");
        is_refused(&visitor, forbidden, "NotAuthorized", "tenant").await;
        let adapters = json!([{"type": "hono-http"}, {"type": "hono-mqtt"}]);
        let closed = json!({"adapters": adapters, "trusted-ca": anchor});
        gateway.manage(Method::PUT, &this, &closed).await;
        let forbidden = (403, "adapter is disabled");
        is_refused(&visitor, forbidden, "NotAuthorized", "adapters").await;
        gateway.manage(Method::PUT, &this, &json!({})).await;
        is_refused(&visitor, UNKNOWN, "BadUserNamePassword", "no anchor").await;
    });
}

#[test]
fn an_authority_may_be_replaced_by_one_of_the_same_name() {
    story(async {
        let gateway = TlsGateway::start().await;
        let (old, new) = (Authority::new("Acme"), Authority::new("Acme"));
        let anchors = [old.anchor(json!({})), new.anchor(json!({}))];
        let tenant = tenant(&gateway, &anchors, json!({})).await;
        register(&gateway, &tenant, "sensor", "CN=4711,O=Acme", json!({})).await;
        let mut application = consume(&gateway, &tenant).await;
        let [before, after] = [&old, &new].map(|authority| {
            let identity = authority.issue(&subject("4711"));
            gateway.visitor(&identity)
        });
        is_heard(&before, "sensor", &mut application).await;
        is_heard(&after, "sensor", &mut application).await;
        let left = json!({"trusted-ca": [new.anchor(json!({}))]});
        gateway
            .manage(Method::PUT, &format!("tenants/{tenant}"), &left)
            .await;
        is_refused(&before, BAD, "BadUserNamePassword", "no longer trusted").await;
        is_heard(&after, "sensor", &mut application).await;
    });
}

#[test]
fn a_certificate_out_of_its_time_ends_the_handshake() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let anchor = authority.anchor(json!({}));
        let tenant = tenant(&gateway, &[anchor], json!({})).await;
        register(&gateway, &tenant, "sensor", "CN=4711,O=Acme", json!({})).await;
        let (now, day) = (OffsetDateTime::now_utc(), Duration::days(1));
        let rows = [
            (now - day * 2, now - day, "Expired"),
            (now + day, now + day * 2, "NotValidYet"),
        ];
        for (not_before, not_after, reason) in rows {
            let mut params = subject("4711");
            (params.not_before, params.not_after) = (not_before, not_after);
            let visitor = gateway.visitor(&authority.issue(&params));
            let upload = visitor.request(Method::POST, "/telemetry").body("x");
            assert!(upload.send().await.is_err(), "{reason}");
            for attempt in [visitor.v3("c", None).await, visitor.v5("c", None).await] {
                let error = attempt.err().unwrap();
                assert!(!error.contains("ConnectionRefused("), "{reason}: {error}");
            }
            gateway.logged(reason).await;
        }
    });
}

#[test]
fn a_password_helps_whose_certificate_leads_nowhere_over_mqtt_alone() {
    story(async {
        let gateway = TlsGateway::start().await;
        let device = gateway.tenant_and_device().await;
        let mut application = consume(&gateway, &device.tenant).await;
        let visitor = gateway.visitor(&Identity::self_signed("4711"));
        let login = Some((&*device.username, &*device.password));
        for mqtt in [visitor.v3("c", login).await, visitor.v5("c", login).await] {
            let mut mqtt = mqtt.unwrap();
            let publish = mqtt.publish("telemetry", "x");
            let (answer, _) = tokio::join!(publish, application.accept_next());
            assert_eq!(answer, Answer::Acknowledged { success: true });
        }
        let wrong = Some((&*device.username, "wrong"));
        assert_eq!(refusal(visitor.v5("c", wrong).await), "BadUserNamePassword");

        let request = visitor.request(Method::POST, "/telemetry").body("x");
        let request = request.basic_auth(&device.username, Some(&device.password));
        assert_eq!(request.send().await.unwrap().status(), 404);
    });
}

#[test]
fn a_certificate_may_be_bound_to_a_client_id() {
    story(async {
        let gateway = TlsGateway::start().await;
        let authority = Authority::new("Acme Devices");
        let anchor = authority.anchor(json!({}));
        let tenant = tenant(&gateway, &[anchor], json!({})).await;
        let bound = json!({"ext": {"client-id": "the very one"}});
        register(&gateway, &tenant, "sensor", "CN=4711,O=Acme", bound).await;
        let visitor = gateway.visitor(&authority.issue(&subject("4711")));
        let good: Result<MqttDevice, _> = visitor.v5("the very one", None).await;
        assert!(good.is_ok());
        assert_eq!(
            refusal(visitor.v5("another", None).await),
            "BadUserNamePassword"
        );
    });
}
