//! The pipeline as a whole, with a registry and a northbound that do as they are told.

mod provisioning;

use std::time::Instant;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::json;

use super::{Admission, Endpoint, Outcome, Received};
use crate::{ClientContext, CredentialFault, Presented, Protocol, Reason, Rule};

use crate::world::{fixture, received, refused};

#[tokio::test]
async fn a_message_goes_all_the_way_and_is_counted_once() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let admitted = received(("", ""))
        .authenticate(&session)
        .unwrap()
        .admit()
        .await
        .unwrap();
    let published = admitted.publish();
    let message = fixture.world.settle(Ok(()));
    assert_eq!(published.await, Outcome::Accepted);
    assert_eq!(message.device.as_str(), "4711");
    assert_eq!(message.adapter, "hono-mqtt");
    assert_eq!(
        message.content_type.as_deref(),
        Some("application/octet-stream")
    );
    assert_eq!(
        fixture.count("status=\"forwarded\",qos=\"1\",ttd=\"none\""),
        1
    );
}

#[tokio::test]
async fn addresses_name_whom_a_message_is_for() {
    let fixture = fixture();
    let sensor = fixture.session(Protocol::Mqtt, "sensor").await;
    let gateway = fixture.session(Protocol::Mqtt, "gw").await;
    for (session, target, device) in [
        (&sensor, ("", ""), "4711"),
        (&sensor, ("acme", "4711"), "4711"),
        (&gateway, ("", "edge"), "edge"),
        (&gateway, ("acme", "edge"), "edge"),
    ] {
        let admitted = received(target)
            .authenticate(session)
            .unwrap()
            .admit()
            .await
            .unwrap();
        assert_eq!(admitted.message().device.as_str(), device, "{target:?}");
        drop(admitted);
    }
    let address = Reason::BadRequest(
        Rule::Address,
        "message address must not contain tenant ID only".into(),
    );
    for (session, target, expected) in [
        (&sensor, ("other", "4711"), (Reason::ForeignTenant, false)),
        (&sensor, ("acme", ""), (address, false)),
        (&sensor, ("", "edge"), (Reason::GatewayNotAuthorised, true)),
        (&gateway, ("", "nobody"), (Reason::DeviceUnknown, false)),
        (
            &gateway,
            ("", "stranger"),
            (Reason::GatewayNotAuthorised, true),
        ),
    ] {
        assert_eq!(
            refused(received(target), session).await,
            expected,
            "{target:?}"
        );
    }
}

#[tokio::test]
async fn a_change_is_seen_by_the_next_message() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let first = received(("", "")).authenticate(&session).unwrap();
    assert!(matches!(first.try_admit(), Admission::Admitted(_)));
    let only_http = json!({"adapters": [{"type": "hono-http", "enabled": true}]});
    for (tenant, expected) in [
        (json!({"enabled": false}), (Reason::TenantDisabled, true)),
        (only_http, (Reason::AdapterDisabled, true)),
    ] {
        fixture.world.configure(tenant);
        assert_eq!(refused(received(("", "")), &session).await, expected);
    }
    fixture.world.configure(json!({}));
    fixture.world.unregister("4711");
    assert_eq!(
        refused(received(("", "")), &session).await,
        (Reason::DeviceUnknown, true)
    );
}

#[tokio::test]
async fn an_edge_device_that_is_gone_concerns_its_gateway_only_if_that_is_gone_too() {
    let fixture = fixture();
    let gateway = fixture.session(Protocol::Mqtt, "gw").await;
    fixture.world.unregister("edge");
    assert_eq!(
        refused(received(("", "edge")), &gateway).await,
        (Reason::DeviceUnknown, false)
    );
    fixture.world.unregister("gw");
    assert_eq!(
        refused(received(("", "edge")), &gateway).await,
        (Reason::DeviceUnknown, true)
    );
}

#[tokio::test]
async fn the_content_rule_is_placed_where_each_protocol_has_it() {
    let fixture = fixture();
    let empty = |target| Received {
        payload: Bytes::new(),
        ..received(target)
    };
    // (protocol, text for a registered device, reason for an unknown one, counted)
    for (protocol, text, first, counted) in [
        (
            Protocol::Http,
            "content type [] does not match payload",
            "content",
            0,
        ),
        (
            Protocol::Mqtt,
            "Content-Type  does not match payload",
            "device",
            1,
        ),
    ] {
        let session = fixture.session(protocol, "gw").await;
        let rule = |text: &'static str| Reason::BadRequest(Rule::ContentType, text.into());
        assert_eq!(refused(empty(("", "edge")), &session).await.0, rule(text));
        let component = format!("component_name=\"{}\"", protocol.type_name());
        assert_eq!(fixture.count(&component), counted, "{protocol:?}");
        let expected = if first == "content" {
            rule(text)
        } else {
            Reason::DeviceUnknown
        };
        assert_eq!(refused(empty(("", "nobody")), &session).await.0, expected);
    }
}

#[tokio::test]
async fn a_notification_is_empty_and_says_so() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let notification = ByteString::from_static("application/vnd.eclipse-hono-empty-notification");
    let content_type = Some(notification);
    let marked = Received {
        content_type: content_type.clone(),
        ..received(("", ""))
    };
    let (reason, _) = refused(marked, &session).await;
    assert!(
        matches!(reason, Reason::BadRequest(Rule::ContentType, _)),
        "{reason:?}"
    );
    let empty = Received {
        content_type,
        payload: Bytes::new(),
        ..received(("", ""))
    };
    assert!(empty.authenticate(&session).unwrap().admit().await.is_ok());
}

#[tokio::test]
async fn time_to_live_is_what_is_asked_for_under_the_tenants_cap() {
    let fixture = fixture();
    let tenant = |defaults, limits| json!({"defaults": defaults, "resource-limits": limits});
    let event = |ttl| Received {
        endpoint: Endpoint::Event,
        ttl,
        ..received(("", ""))
    };
    let telemetry = |ttl| Received {
        ttl,
        ..received(("", ""))
    };
    let rows = [
        (tenant(json!({}), json!({})), event(None), None),
        (tenant(json!({}), json!({})), event(Some(5)), Some(5000)),
        (
            tenant(json!({"ttl": 7}), json!({})),
            event(None),
            Some(7000),
        ),
        (
            tenant(json!({"ttl": 7}), json!({"max-ttl": 3})),
            event(Some(5)),
            Some(3000),
        ),
        (
            tenant(json!({}), json!({"max-ttl": 3})),
            event(None),
            Some(3000),
        ),
        (
            tenant(json!({}), json!({"max-ttl": 3})),
            telemetry(Some(9)),
            None,
        ),
        (
            tenant(json!({"ttl-telemetry-qos1": 9}), json!({})),
            telemetry(None),
            Some(9000),
        ),
        (
            tenant(json!({}), json!({"max-ttl-telemetry-qos1": 4})),
            telemetry(None),
            Some(4000),
        ),
    ];
    for (tenant, received, expected) in rows {
        let shown = format!("{tenant} {:?} {:?}", received.endpoint, received.ttl);
        fixture.world.configure(tenant);
        let session = fixture.session(Protocol::Mqtt, "sensor").await;
        let admitted = received
            .authenticate(&session)
            .unwrap()
            .admit()
            .await
            .unwrap();
        assert_eq!(admitted.message().ttl, expected, "{shown}");
        drop(admitted);
    }
}

#[tokio::test]
async fn a_message_whose_peer_is_gone_is_still_recorded_as_what_became_of_it() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    let admitted = received(("", ""))
        .authenticate(&session)
        .unwrap()
        .admit()
        .await
        .unwrap();
    drop(admitted.publish());
    fixture.world.settle(Ok(()));
    while fixture.count("status=\"forwarded\"") == 0 {
        tokio::task::yield_now().await;
    }
    let text = weir_metrics::render(&fixture.metrics, Instant::now());
    let abandoned = "tenant=\"acme\",status=\"forwarded\"} 1";
    let is_told =
        |line: &str| line.starts_with("weir_uplinks_abandoned") && line.ends_with(abandoned);
    assert!(text.lines().any(is_told), "{text}");
}

#[tokio::test]
async fn a_message_that_is_dropped_on_the_way_is_undeliverable() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    drop(received(("", "")).authenticate(&session).unwrap());
    assert_eq!(fixture.count("status=\"undeliverable\""), 1);
}

#[tokio::test]
async fn refused_payloads_are_accounted_in_steps_too() {
    let fixture = fixture();
    fixture
        .world
        .configure(json!({"minimum-message-size": 4096}));
    let session = fixture.session(Protocol::Mqtt, "gw").await;
    assert_eq!(
        refused(received(("", "nobody")), &session).await.0,
        Reason::DeviceUnknown
    );
    let text = weir_metrics::render(&fixture.metrics, Instant::now());
    let sum = "hono_telemetry_payload_bytes_sum";
    let is_sum = |line: &&str| line.starts_with(sum) && line.contains("unprocessable");
    let line = text.lines().find(is_sum).unwrap();
    assert!(line.ends_with(" 4096"), "{line}");
}

#[tokio::test]
async fn over_mqtt_the_content_rule_comes_before_the_tenants_switches() {
    let fixture = fixture();
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    fixture.world.configure(json!({"enabled": false}));
    let empty = Received {
        payload: Bytes::new(),
        ..received(("", ""))
    };
    let (reason, terminal) = refused(empty, &session).await;
    assert!(
        matches!(reason, Reason::BadRequest(Rule::ContentType, _)),
        "{reason:?}"
    );
    assert!(!terminal);
}

#[tokio::test]
async fn only_protocols_with_connections_have_their_series() {
    let fixture = fixture();
    let _session = fixture.session(Protocol::Http, "sensor").await;
    let text = weir_metrics::render(&fixture.metrics, Instant::now());
    assert!(!text.contains("hono_connections_authenticated{"), "{text}");
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() {
    let fixture = fixture();
    let open = || {
        let text = weir_metrics::render(&fixture.metrics, Instant::now());
        let name = "hono_connections_authenticated{";
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .map(str::to_owned);
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    let session = fixture.session(Protocol::Mqtt, "sensor").await;
    assert_eq!(open(), 1);
    drop(session);
    assert_eq!(open(), 0);
    // An exchange is no connection.
    let _exchange = fixture.session(Protocol::Http, "sensor").await;
    assert_eq!(open(), 0);
}

#[tokio::test]
async fn the_first_check_that_fails_decides_who_may_log_in() {
    let fixture = fixture();
    let login = async |username: &str, password: &[u8]| {
        let presented = Presented::Password { username, password };
        let result = fixture
            .pipeline
            .authenticate(Protocol::Mqtt, presented, ClientContext::default())
            .await;
        result
            .map(|principal| principal.device.to_string())
            .map_err(|error| error.reason)
    };
    let bad = Err(Reason::Unauthorized(CredentialFault::Wrong));
    assert_eq!(login("sensor@acme", b"secret").await, Ok("4711".to_owned()));
    assert_eq!(
        login("sensor", b"secret").await,
        Err(Reason::Unauthorized(CredentialFault::Malformed))
    );
    for (username, password) in [
        ("sensor@acme", "wrong"),
        ("nobody@acme", "secret"),
        ("sensor@other", "secret"),
    ] {
        assert_eq!(
            login(username, password.as_bytes()).await,
            bad,
            "{username}"
        );
    }
    // Before the password is looked at.
    fixture.world.configure(json!({"enabled": false}));
    assert_eq!(
        login("sensor@acme", b"wrong").await,
        Err(Reason::TenantDisabled)
    );
    fixture
        .world
        .configure(json!({"adapters": [{"type": "hono-mqtt"}]}));
    assert_eq!(
        login("nobody@acme", b"wrong").await,
        Err(Reason::AdapterDisabled)
    );
}
