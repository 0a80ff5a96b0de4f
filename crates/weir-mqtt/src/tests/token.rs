//! Devices that sign tokens.

use std::sync::LazyLock;
use std::time::SystemTime;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use weir_core::{PublicKey, Validity};

use super::client::{Connect, puback, publish, publish_with, suback, subscribe, unsubscribe};
use super::command::piped;
use super::*;

static DEVICE: LazyLock<EcdsaKeyPair> = LazyLock::new(new_key);

fn new_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

/// With which every device's tokens are verified.
pub(super) fn key() -> PublicKey {
    PublicKey {
        key: DEVICE.public_key().as_der().unwrap().as_ref().to_vec(),
        algorithm: "EC".to_owned(),
        validity: Validity::default(),
    }
}

/// Whom a token is for and of.
pub(super) const SENSOR: &str = r#""aud":"hono-adapter","tid":"acme","sub":"sensor1""#;
const ANYBODY: &str = r#""aud":"some-project""#;
const CLIENT: &str = "tenants/acme/devices/sensor1";

/// A token that is issued `age` seconds ago and good for an hour.
fn signed_by(key: &EcdsaKeyPair, names: &str, age: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let issued = now.unwrap().as_secs() - age;
    let claims = format!(r#"{{{names},"iat":{issued},"exp":{}}}"#, issued + 3600);
    let header = BASE64.encode(r#"{"alg":"ES256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", BASE64.encode(claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64.encode(signature))
}

pub(super) fn token(names: &str) -> String {
    signed_by(&DEVICE, names, 0)
}

pub(super) fn connect<'a>(
    version: u8,
    client_id: &'a str,
    username: &'a str,
    token: &'a str,
) -> Connect<'a> {
    Connect {
        version,
        keep_alive: 0,
        client_id,
        username: Some(username),
        password: Some(token.as_bytes()),
        ..Connect::default()
    }
}

#[tokio::test]
async fn a_token_takes_the_place_of_the_password() {
    let mut gateway = Gateway::start().await;
    let rows = [
        ("any", "", SENSOR),
        ("any", "unused", SENSOR),
        // The token says who it is, whatever else is said.
        ("tenants/acme/devices/gw", "gw@acme", SENSOR),
        (CLIENT, "unused", ANYBODY),
        ("projects/x/tenants/acme/devices/sensor1", "", ANYBODY),
    ];
    for version in [4, 5] {
        for (client_id, username, names) in rows {
            let mut client = gateway.client().await;
            let token = token(names);
            let request = connect(version, client_id, username, &token);
            client.send(&request.bytes()).await;
            client.expect_connack(0).await;
            client.send(&publish(version, "t", 1, "21.5")).await;
            let message = gateway.back.next().await.accept();
            let origin = (message.tenant.as_str(), message.device.as_str());
            assert_eq!(origin, ("acme", "4711"), "{client_id} {names}");
            client.expect(&puback(1)).await;
        }
    }
}

/// Device contract §8.1, column MQTT CONN.
#[tokio::test]
async fn refusals() {
    let gateway = Gateway::start().await;
    let of = |tenant: &str, name: &str| {
        token(&format!(
            r#""aud":["hono-adapter"],"tid":"{tenant}","sub":"{name}""#
        ))
    };
    let unsigned = |header: &str| {
        let good = token(SENSOR);
        let (_, rest) = good.split_once('.').unwrap();
        format!("{}.{rest}", BASE64.encode(header))
    };
    let rows = [
        ("any", of("acme", "nobody"), 0x04, 0x86),
        ("any", of("nowhere", "sensor1"), 0x04, 0x86),
        ("any", of("acme", "revoked"), 0x04, 0x86),
        ("any", of("acme", "gone"), 0x05, 0x87),
        ("any", of("off", "sensor1"), 0x05, 0x87),
        ("any", of("http-only", "sensor1"), 0x05, 0x87),
        ("any", signed_by(&new_key(), SENSOR, 0), 0x04, 0x86),
        ("any", signed_by(&DEVICE, SENSOR, 4201), 0x04, 0x86),
        // A token for somebody else, of a client that does not say who it is.
        ("any", token(ANYBODY), 0x04, 0x86),
        ("acme/sensor1", token(ANYBODY), 0x04, 0x86),
        ("tenants/acme/devices/nobody", token(ANYBODY), 0x04, 0x86),
        (
            "tenants/nowhere/devices/sensor1",
            token(ANYBODY),
            0x04,
            0x86,
        ),
        // No tokens at all; as passwords they are wrong.
        (
            CLIENT,
            unsigned(r#"{"alg":"none","typ":"JWT"}"#),
            0x04,
            0x86,
        ),
        (
            CLIENT,
            unsigned(r#"{"alg":"HS256","typ":"JWT"}"#),
            0x04,
            0x86,
        ),
        (CLIENT, unsigned(r#"{"alg":"ES256"}"#), 0x04, 0x86),
        (CLIENT, "e30.e30.".to_owned(), 0x04, 0x86),
    ];
    for (client_id, token, v3, v5) in rows {
        for (version, code) in [(4, v3), (5, v5)] {
            let mut client = gateway.client().await;
            let request = connect(version, client_id, "sensor1@acme", &token);
            client.send(&request.bytes()).await;
            client.expect_connack(code).await;
        }
    }
    let token = token(SENSOR);
    let mut client = gateway.client().await;
    let request = Connect {
        username: None,
        ..connect(5, CLIENT, "", &token)
    };
    client.send(&request.bytes()).await;
    client.expect_connack(0x86).await;
    gateway.registry.fail();
    let mut client = gateway.client().await;
    client.send(&connect(5, CLIENT, "", &token).bytes()).await;
    client.expect_connack(0x88).await;
}

/// Device contract §1.6.3 and §3.7. Time is paused, for sockets as well.
#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_token_when_the_device_next_does_something() {
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    for version in [4, 5] {
        let rows = [
            publish(version, "t", 2, "x"),
            publish(version, "t", 0, "x"),
            publish(version, "t/?on-error=ignore", 2, "x"),
            publish(version, "t/?on-error=skip-ack", 2, "x"),
            // What else is wrong does not count any more.
            publish(version, "e/?on-error=ignore", 0, "x"),
            publish(version, "nowhere/?on-error=ignore", 2, "x"),
            publish_with(0x34, version, "t/?on-error=ignore", 2, b"", "x"),
            publish(version, "t/other/4711/?on-error=ignore", 2, "x"),
            subscribe(version, 2, &[("c///q/#", 1)]),
            unsubscribe(version, 2, &["c///q/#"]),
            puback(2).to_vec(),
        ];
        for packet in rows {
            let token = token(SENSOR);
            let request = connect(version, "any", "", &token);
            let mut client = piped(&pipeline, request, 1024).await;
            tokio::time::advance(Duration::from_secs(4190)).await;
            client.send(&publish(version, "t", 1, "21.5")).await;
            back.next().await.accept();
            client.expect(&puback(1)).await;
            client.send(&unsubscribe(version, 1, &["c///q/#"])).await;
            client.packet().await;
            tokio::time::advance(Duration::from_secs(11)).await;
            // As long as it does nothing, it may stay.
            client.expect_silence().await;
            client.send(&packet).await;
            client.expect_close(version, 0x87).await;
            assert!(back.is_idle());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_in_time_is_answered_in_spite_of_what_came_later() {
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    let token = token(SENSOR);
    let mut client = piped(&pipeline, connect(5, "any", "", &token), 1024).await;
    client.send(&publish(5, "t", 1, "x")).await;
    let sent = back.next().await;
    tokio::time::advance(Duration::from_secs(4201)).await;
    client.send(&publish(5, "t/?on-error=ignore", 2, "y")).await;
    client.expect_silence().await;
    sent.accept();
    client.expect(&puback(1)).await;
    client.expect_disconnect(0x87).await;
}

#[tokio::test(start_paused = true)]
async fn a_password_has_no_end() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let request = connect(5, "any", "sensor1@acme", "secret");
    let mut client = piped(&pipeline, request, 1024).await;
    tokio::time::advance(Duration::from_secs(30 * 86_400)).await;
    client.send(&publish(5, "t", 1, "x")).await;
    client.expect(&puback(1)).await;
    client.send(&subscribe(5, 2, &[("c///q/#", 1)])).await;
    client.expect(&suback(5, 2, &[1])).await;
}
