//! Devices that sign tokens.

use std::sync::LazyLock;
use std::time::SystemTime;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use reqwest::{Method, RequestBuilder};
use weir_core::{PublicKey, Validity};

use crate::kit::{Gateway, Service, within};

static DEVICE: LazyLock<EcdsaKeyPair> = LazyLock::new(new_key);

fn new_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

/// With which tokens are verified.
pub(crate) fn key() -> PublicKey {
    PublicKey {
        key: DEVICE.public_key().as_der().unwrap().as_ref().to_vec(),
        algorithm: "EC".to_owned(),
        validity: Validity::default(),
    }
}

const SENSOR: &str = r#""aud":"hono-adapter","tid":"acme","sub":"4711""#;
const ANYBODY: &str = r#""aud":"some-project""#;

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

fn token(names: &str) -> String {
    signed_by(&DEVICE, names, 0)
}

#[tokio::test]
async fn a_token_says_who_uploads_or_leaves_that_to_the_path() {
    let gateway = Gateway::start().await;
    let at_gateway = SENSOR.replace("4711", "gateway");
    let rows = [
        (Method::POST, "/event", SENSOR, "4711"),
        (Method::PUT, "/event/acme/4711", SENSOR, "4711"),
        (Method::PUT, "/event//edge", &at_gateway, "edge"),
        (Method::PUT, "/event/acme/4711", ANYBODY, "4711"),
        (Method::PUT, "/telemetry/acme/gateway", ANYBODY, "gateway"),
    ];
    for (method, path, names, device) in rows {
        let request = gateway.anonymous(method, path).body("1");
        let response = within(request.bearer_auth(token(names)).send()).await;
        assert_eq!(response.unwrap().status(), 202, "{path} {names}");
        let message = gateway.northbound.message();
        assert_eq!(message.device.as_str(), device, "{path} {names}");
    }
}

#[tokio::test]
async fn the_name_of_the_mechanism_has_no_case() {
    let gateway = Gateway::start().await;
    for scheme in ["Bearer", "bearer", "BEARER "] {
        let request = gateway.anonymous(Method::POST, "/event").body("1");
        let request = request.header("authorization", format!("{scheme} {}", token(SENSOR)));
        assert_eq!(within(request.send()).await.unwrap().status(), 202);
    }
}

async fn refused(request: RequestBuilder, token: &str) -> (u16, usize) {
    let request = request.body("1").bearer_auth(token);
    let response = within(request.send()).await.unwrap();
    let challenges = response.headers().get_all("www-authenticate");
    (response.status().as_u16(), challenges.iter().count())
}

/// Contract §2.4: a challenge is for what could not be verified.
#[tokio::test]
async fn refusals() {
    let gateway = Gateway::start().await;
    let own = "/event";
    let path = "/event/acme/4711";
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
        (own, of("acme", "nobody"), (401, 0)),
        (own, of("nowhere", "4711"), (401, 0)),
        // Credentials of another type.
        (own, of("acme", "sensor1"), (401, 0)),
        (own, signed_by(&new_key(), SENSOR, 0), (401, 0)),
        (own, signed_by(&DEVICE, SENSOR, 4201), (401, 0)),
        ("/event/nowhere/4711", token(ANYBODY), (401, 0)),
        ("/event/acme/nobody", token(ANYBODY), (401, 0)),
        // The path names nobody, or not both.
        (own, token(ANYBODY), (401, 2)),
        ("/event//4711", token(ANYBODY), (401, 2)),
        (path, of("acme", ""), (401, 2)),
        (path, unsigned(r#"{"alg":"none","typ":"JWT"}"#), (401, 2)),
        (path, unsigned(r#"{"alg":"HS256","typ":"JWT"}"#), (401, 2)),
        (path, unsigned(r#"{"alg":"ES256"}"#), (401, 2)),
        (path, "e30.e30.".to_owned(), (401, 2)),
        (path, "x".repeat(9000), (401, 2)),
        // The tenant is the token's, not the path's.
        ("/event/other/4711", token(SENSOR), (403, 0)),
    ];
    for (path, token, expected) in rows {
        let method = if path == own {
            Method::POST
        } else {
            Method::PUT
        };
        let answer = refused(gateway.anonymous(method, path), &token).await;
        assert_eq!(answer, expected, "{path} {token}");
    }
    assert!(gateway.northbound.messages().is_empty());
}

#[tokio::test]
async fn what_the_registry_says_counts() {
    let gateway = Gateway::start().await;
    let request = || gateway.anonymous(Method::POST, "/event");
    let good = token(SENSOR);
    let change = |enabled| {
        gateway.registry.change(|records| {
            records.credentials.get_mut("4711").unwrap().enabled = enabled;
        });
    };
    change(false);
    assert_eq!(refused(request(), &good).await, (401, 0));
    change(true);
    for service in [Service::Tenant, Service::Credentials] {
        gateway
            .registry
            .change(|records| records.down = Some(service));
        assert_eq!(refused(request(), &good).await, (503, 0));
    }
    gateway.registry.change(|records| records.down = None);
    gateway
        .registry
        .change(|records| records.tenant.enabled = false);
    // Before the signature counts.
    let forged = signed_by(&new_key(), SENSOR, 0);
    assert_eq!(refused(request(), &forged).await, (403, 0));
}
