//! Tokens whose time is over: at the log-in, and while the device is connected (§8.1).

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize, SigningKey as _};
use reqwest::{Client, Method};
use serde_json::json;

use super::line::{Line, Told};
use crate::kit::{Answer, Device, Gateway, MqttDevice, mqtt_connect, story};

/// Seconds for which a token counts beyond its end (§1.6.3).
const GRACE: u64 = 600;

/// A device that signs tokens with this key.
struct Signer {
    device: Device,
    key: KeyPair,
}

impl Signer {
    async fn of(gateway: &Gateway) -> Self {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let device = gateway.tenant_and_device().await;
        let secret = json!({"key": STANDARD.encode(key.subject_public_key_info())});
        let credential = json!({"type": "rpk", "auth-id": "sensor", "secrets": [secret]});
        let path = format!("credentials/{}/{}", device.tenant, device.id);
        gateway
            .manage(Method::PUT, &path, &json!([credential]))
            .await;
        Self { device, key }
    }

    /// The device with a token in the place of its password, which was issued an hour before its end, so
    /// many seconds ago.
    fn ended(&self, ago: u64) -> Device {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let end = now.unwrap().as_secs() - ago;
        let claims = json!({
            "aud": "hono-adapter", "tid": self.device.tenant, "sub": "sensor",
            "iat": end - 3600, "exp": end,
        });
        let part = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let header = part(br#"{"alg":"RS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", part(claims.to_string().as_bytes()));
        let signature = self.key.sign(signed.as_bytes()).unwrap();
        Device {
            username: "unused".into(),
            password: format!("{signed}.{}", part(&signature)),
            ..self.device.clone()
        }
    }
}

async fn upload(gateway: &Gateway, device: &Device) -> (u16, bool) {
    let request = Client::new().post(gateway.http("/event")).body("x");
    let answer = request.bearer_auth(&device.password).send().await.unwrap();
    let is_challenged = answer.headers().contains_key("www-authenticate");
    (answer.status().as_u16(), is_challenged)
}

#[test]
fn at_the_log_in() {
    story(async {
        let gateway = Gateway::start().await;
        let signer = Signer::of(&gateway).await;
        let rows = [(0, 202, 0, 0), (GRACE + 1, 401, 0x04, 0x86)];
        for (ago, status, v3, v5) in rows {
            let device = signer.ended(ago);
            assert_eq!(upload(&gateway, &device).await, (status, false), "{ago}");
            for (level, code) in [(4, v3), (5, v5)] {
                let login = (Some(&*device.username), Some(&*device.password));
                let connack = mqtt_connect(&gateway, level, login.0, login.1).await;
                assert_eq!(connack, Some(code), "{ago}, level {level}");
            }
        }
    });
}

#[test]
fn while_the_device_is_connected() {
    /// Seconds that are left, enough to connect on a slow machine.
    const LEFT: u64 = 8;
    story(async {
        let gateway = Gateway::start().await;
        let signer = Signer::of(&gateway).await;
        let device = signer.ended(GRACE - LEFT);
        let mut mqtt = MqttDevice::v5(&gateway, &device).await.unwrap();
        let line = async |level| Line::of(&gateway, &device, level).await;
        let publishers = [line(4).await, line(5).await];
        let subscribers = [line(4).await, line(5).await];
        let mut taken = 0;
        // It ends when it next sends something, and would rather have gone on.
        while mqtt.publish("event/?on-error=ignore", "x").await != Answer::Closed {
            taken += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(taken > 0);
        // The others have sent nothing, and are there still.
        let codes = [None, Some(0x87)];
        for (line, disconnect) in publishers.into_iter().zip(codes) {
            let told = line.publish("event/?on-error=ignore", 1, "x").await;
            let topic = "error///event/7/401".to_owned();
            let expected = Told {
                topic,
                code: 401,
                disconnect,
            };
            assert_eq!(told, expected);
        }
        for (mut line, disconnect) in subscribers.into_iter().zip(codes) {
            line.subscribe("command///req/#").await;
            assert_eq!(line.closed().await, disconnect);
        }
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.uploads(&device.tenant, "forwarded"), taken);
    });
}
