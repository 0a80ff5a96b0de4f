//! Tokens that PyJWT has signed (`pyjwt.json`), tokens that are made here to be wrong, and what the
//! registry has to say.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use time::macros::datetime;

use super::*;
use crate::{Secrets, Validity};

/// When the tokens of `pyjwt.json` are issued; they are good for an hour.
const ISSUED: i64 = 1_800_000_000;

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn credentials(keys: Vec<PublicKey>) -> Credentials {
    Credentials {
        device: "4711".into(),
        enabled: true,
        ext: serde_json::Map::new(),
        secrets: Secrets::PublicKeys(keys),
        is_unannounced: false,
    }
}

fn key(der: &[u8], algorithm: &str) -> PublicKey {
    PublicKey {
        key: der.to_vec(),
        algorithm: algorithm.to_owned(),
        validity: Validity::default(),
    }
}

/// A device on P-256.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn key(&self) -> PublicKey {
        key(self.0.public_key().as_der().unwrap().as_ref(), "EC")
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes());
        format!("{signed}.{}", encoded(signature.unwrap()))
    }

    /// A token of these claims, taken apart.
    fn token(&self, claims: &Value) -> Token {
        let text = self.sign(r#"{"alg":"ES256","typ":"JWT"}"#, &claims.to_string());
        parse(&text).unwrap()
    }
}

fn encoded(part: impl AsRef<[u8]>) -> String {
    BASE64_URL.encode(part)
}

/// Takes a token apart whose device says nothing of itself elsewhere.
fn parse(text: &str) -> Option<Token> {
    Token::parse(text.as_bytes(), || None)
}

fn claims() -> Value {
    json!({"aud": "hono-adapter", "tid": "acme", "sub": "sensor1", "iat": ISSUED, "exp": ISSUED + 3600})
}

/// Name and key of each device that PyJWT signed for, then its tokens: algorithm, key and text.
fn pyjwt() -> (Vec<(String, PublicKey)>, Vec<[String; 3]>) {
    let file: Value = serde_json::from_str(include_str!("pyjwt.json")).unwrap();
    let read = |(name, der): (&String, &Value)| {
        let der = BASE64.decode(der.as_str().unwrap()).unwrap();
        let algorithm = if name.starts_with("rsa") { "RSA" } else { "EC" };
        (name.clone(), key(&der, algorithm))
    };
    let keys = file["keys"].as_object().unwrap().iter().map(read);
    let member = |token: &Value, name: &str| token[name].as_str().unwrap().to_owned();
    let tokens = file["tokens"].as_array().unwrap().iter();
    let tokens = tokens.map(|token| ["algorithm", "key", "token"].map(|name| member(token, name)));
    (keys.collect(), tokens.collect())
}

#[test]
fn every_algorithm_is_verified_with_its_own_key_and_no_other() {
    let (keys, tokens) = pyjwt();
    let mut seen: Vec<_> = tokens.iter().map(|[algorithm, ..]| algorithm).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ALGORITHMS.each_ref().map(|known| known.name));
    for [algorithm, signed_with, text] in &tokens {
        let token = parse(text).unwrap();
        for (name, key) in &keys {
            // RFC 7518 §3.3: 2,048 bits or more.
            let good = name == signed_with && name != "rsa-1024";
            let expected = if good {
                Ok(Duration::from_secs(4200))
            } else {
                Err(Flaw::Signature)
            };
            let checked = token.check(&credentials(vec![key.clone()]), at(ISSUED));
            assert_eq!(checked, expected, "{algorithm}, {name}");
        }
    }
}

#[test]
fn what_was_changed_on_the_way_is_not_signed() {
    let (keys, tokens) = pyjwt();
    let keys = credentials(keys.into_iter().map(|(_, key)| key).collect());
    for [algorithm, signed_with, text] in &tokens {
        if signed_with == "rsa-1024" {
            continue;
        }
        let is_good = |text: &str| parse(text).is_some_and(|t| t.check(&keys, at(ISSUED)).is_ok());
        assert!(is_good(text), "{algorithm}");
        for at in (0..text.len()).step_by(7).chain([text.len() - 1]) {
            for other in ["A", "B"] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, other);
                assert_eq!(is_good(&changed), changed == *text, "{algorithm}, {at}");
            }
        }
        let (signed, signature) = text.rsplit_once('.').unwrap();
        for signature in ["", "AA", &signature[..signature.len() - 4]] {
            assert!(!is_good(&format!("{signed}.{signature}")), "{algorithm}");
        }
        // Nothing but zeros has been taken for a signature before.
        let zeros = encoded(vec![0; BASE64_URL.decode(signature).unwrap().len()]);
        assert!(!is_good(&format!("{signed}.{zeros}")), "{algorithm}");
    }
}

#[test]
fn what_is_no_token_may_be_something_else() {
    let signer = Signer::new();
    let good = r#"{"alg":"ES256","typ":"JWT"}"#;
    let claims = claims().to_string();
    let [head, body] = [encoded(good), encoded(&claims)];
    assert!(parse(&signer.sign(good, &claims)).is_some());
    let headers = [
        r#"{"alg":"none","typ":"JWT"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"HS512","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","typ":"JWT"}"#,
        r#"{"alg":"ES256K","typ":"JWT"}"#,
        r#"{"alg":"es256","typ":"JWT"}"#,
        r#"{"alg":["ES256"],"typ":"JWT"}"#,
        r#"{"alg":"ES256","typ":"jwt"}"#,
        r#"{"alg":"ES256","typ":"JOSE"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"none","alg":"ES256","typ":"JWT"}"#,
        r#"{"alg":"ES256","typ":"JWT","crit":["exp"]}"#,
        r#"{"alg":"ES256","typ":"JWT","crit":["b64"],"b64":false}"#,
        r#"["ES256"]"#,
        "{",
        "",
    ];
    for header in headers {
        assert!(parse(&signer.sign(header, &claims)).is_none(), "{header}");
    }
    for claims in [
        "",
        "[]",
        "pa55word",
        r#"{"aud":"hono-adapter","aud":"x","tid":"acme","sub":"s"}"#,
    ] {
        assert!(parse(&signer.sign(good, claims)).is_none(), "{claims}");
    }
    let texts = [
        String::new(),
        "pa55word".to_owned(),
        "..".to_owned(),
        format!("{head}.{body}"),
        format!("{head}.{body}.AA.AA"),
        format!("{head}.{body}.AA=="),
        format!("{head}.{body}.A"),
        format!("{head}.{body}.AB"),
        format!("{head}.{body}.A+"),
        format!(" {head}.{body}.AA"),
        format!("{head}=.{body}.AA"),
        format!("{head}.{body}.AA\n"),
    ];
    for text in texts {
        assert!(parse(&text).is_none(), "{text}");
    }
    assert!(Token::parse(b"\xff.\xff.\xff", || None).is_none());
}

#[test]
fn a_token_has_a_longest_length() {
    let signature = |length| encoded(vec![0; length]);
    let start = format!(
        "{}.{}.",
        encoded(r#"{"alg":"ES256","typ":"JWT"}"#),
        encoded(claims().to_string())
    );
    let rest = MAX_TOKEN - start.len();
    let longest = format!("{start}{}", &signature(rest)[..rest - rest % 4]);
    assert!(longest.len() > MAX_TOKEN - 4);
    assert!(parse(&longest).is_some());
    assert!(parse(&format!("{longest}AAAA")).is_none());
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let signer = Signer::new();
    // What an attacker has: the public key, with which he "signs" (RFC 8725 §2.1).
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &signer.key().key);
    for algorithm in ["HS256", "ES256", "RS256"] {
        let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
        let signed = format!("{}.{}", encoded(header), encoded(claims().to_string()));
        let tag = hmac::sign(&secret, signed.as_bytes());
        let token = parse(&format!("{signed}.{}", encoded(tag)));
        let is_good = |token: Token| {
            let checked = token.check(&credentials(vec![signer.key()]), at(ISSUED));
            checked.is_ok()
        };
        assert!(!token.is_some_and(is_good), "{algorithm}");
    }
}

#[test]
fn a_key_in_the_token_is_not_the_devices() {
    let (device, attacker) = (Signer::new(), Signer::new());
    let point = attacker.0.public_key().as_ref();
    let header = json!({
        "alg": "ES256",
        "typ": "JWT",
        "jwk": {"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])},
        "jku": "https://attacker.example/keys",
    });
    let text = attacker.sign(&header.to_string(), &claims().to_string());
    let checked = parse(&text)
        .unwrap()
        .check(&credentials(vec![device.key()]), at(ISSUED));
    assert_eq!(checked, Err(Flaw::Signature));
}

#[test]
fn a_token_for_the_adapter_names_the_device_and_any_other_leaves_it_to_the_device() {
    let signer = Signer::new();
    let inside = Some(("acme", "sensor1"));
    let outside = Some(("other", "meter"));
    let with = |members: Value| {
        let mut claims = claims();
        let known = claims.as_object_mut().unwrap();
        known.extend(members.as_object().unwrap().clone());
        known.retain(|_, value| !value.is_null());
        claims
    };
    let rows = [
        (with(json!({})), outside, inside),
        (with(json!({})), None, inside),
        (with(json!({"aud": ["x", "hono-adapter"]})), outside, inside),
        (with(json!({"aud": null})), outside, outside),
        (with(json!({"aud": null})), None, None),
        (with(json!({"aud": "x"})), outside, outside),
        (with(json!({"aud": []})), outside, outside),
        (with(json!({"aud": ["HONO-ADAPTER"]})), outside, outside),
        (with(json!({"aud": {"hono-adapter": 1}})), outside, outside),
        // A token for the adapter that names nobody is not completed by what somebody says.
        (with(json!({"tid": null})), outside, None),
        (with(json!({"sub": null})), outside, None),
        (with(json!({"tid": ""})), outside, None),
        (with(json!({"sub": ["sensor1"]})), outside, None),
        // Claims of others are not looked at.
        (with(json!({"aud": "x", "tid": 5})), outside, outside),
        (with(json!({"iss": {"any": "thing"}})), outside, inside),
    ];
    for (claims, elsewhere, expected) in rows {
        let text = signer.sign(r#"{"alg":"ES256","typ":"JWT"}"#, &claims.to_string());
        let elsewhere = || elsewhere.map(|(tenant, name)| (tenant.into(), name.into()));
        let token = Token::parse(text.as_bytes(), elsewhere);
        let named = token.map(|token| (token.tenant.to_string(), token.auth_id.to_string()));
        let expected = expected.map(|(tenant, name)| (tenant.to_owned(), name.to_owned()));
        assert_eq!(named, expected, "{claims}");
    }
}

#[test]
fn a_token_has_its_time() {
    let (signer, now) = (Signer::new(), ISSUED);
    let (hour, day) = (3600, 86_400);
    let ok = |seconds| Ok(Duration::from_secs(seconds));
    let rows = [
        (json!({"iat": now, "exp": now + hour}), ok(4200)),
        (json!({"iat": now + 600, "exp": now + hour}), ok(4200)),
        (
            json!({"iat": now + 601, "exp": now + hour}),
            Err(Flaw::FromTheFuture),
        ),
        (json!({"iat": now, "exp": now}), Err(Flaw::Backwards)),
        (json!({"iat": now, "exp": now - 1}), Err(Flaw::Backwards)),
        (json!({"iat": now, "exp": now + 1}), ok(601)),
        (json!({"iat": now, "exp": now + day + 600}), ok(87_600)),
        (
            json!({"iat": now, "exp": now + day + 601}),
            Err(Flaw::LongLived),
        ),
        (json!({"iat": now - hour, "exp": now - 600}), ok(0)),
        (
            json!({"iat": now - hour, "exp": now - 601}),
            Err(Flaw::Expired),
        ),
        (
            json!({"iat": now, "exp": now + hour, "nbf": now + 600}),
            ok(4200),
        ),
        (
            json!({"iat": now, "exp": now + hour, "nbf": now + 601}),
            Err(Flaw::Early),
        ),
        (json!({"exp": now + hour}), Err(Flaw::NoIssue)),
        (json!({"iat": now}), Err(Flaw::NoExpiry)),
        (json!({"iat": now, "exp": null}), Err(Flaw::NoExpiry)),
        (
            json!({"iat": 1_800_000_000.9, "exp": 1_800_000_001.1}),
            ok(601),
        ),
        (json!({"iat": now, "exp": i64::MAX}), Err(Flaw::LongLived)),
        (json!({"iat": now, "exp": u64::MAX}), Err(Flaw::LongLived)),
        (json!({"iat": now, "exp": 1e300}), Err(Flaw::LongLived)),
        (
            json!({"iat": i64::MIN, "exp": i64::MIN + 1}),
            Err(Flaw::Expired),
        ),
        (json!({"iat": -1e300, "exp": 1e300}), Err(Flaw::LongLived)),
        (
            json!({"iat": i64::MAX, "exp": i64::MAX}),
            Err(Flaw::FromTheFuture),
        ),
    ];
    for (times, expected) in rows {
        let mut claims = json!({"aud": "hono-adapter", "tid": "acme", "sub": "sensor1"});
        let known = claims.as_object_mut().unwrap();
        known.extend(times.as_object().unwrap().clone());
        let checked = signer
            .token(&claims)
            .check(&credentials(vec![signer.key()]), at(now));
        assert_eq!(checked, expected, "{times}");
    }
    let header = r#"{"alg":"ES256","typ":"JWT"}"#;
    for date in [r#""1800003600""#, "true", "[1800003600]", "1e999"] {
        let claims =
            format!(r#"{{"aud":"hono-adapter","tid":"acme","sub":"s","iat":{now},"exp":{date}}}"#);
        assert!(parse(&signer.sign(header, &claims)).is_none(), "{date}");
    }
}

#[test]
fn any_key_that_is_valid_now_may_have_signed() {
    let (old, new, other) = (Signer::new(), Signer::new(), Signer::new());
    let token = new.token(&claims());
    let valid = |not_before, not_after, enabled| PublicKey {
        validity: Validity {
            enabled,
            not_before,
            not_after,
        },
        ..new.key()
    };
    let (past, future) = (
        Some(datetime!(2026-11-21 00:00 UTC)),
        Some(datetime!(2027-11-21 00:00 UTC)),
    );
    let broken = PublicKey {
        key: b"\x30\x03\x02\x01\x01".to_vec(),
        ..new.key()
    };
    let misnamed = PublicKey {
        algorithm: "RSA".to_owned(),
        ..new.key()
    };
    let unheard_of = PublicKey {
        algorithm: "ML-DSA".to_owned(),
        ..new.key()
    };
    let rows = [
        ("none", vec![], false),
        ("its own", vec![new.key()], true),
        ("others", vec![old.key(), other.key()], false),
        ("behind others", vec![old.key(), broken, new.key()], true),
        ("within its time", vec![valid(past, future, true)], true),
        ("too late", vec![valid(None, past, true)], false),
        ("too early", vec![valid(future, None, true)], false),
        ("disabled", vec![valid(None, None, false)], false),
        ("misnamed", vec![misnamed], false),
        ("unheard of", vec![unheard_of], false),
    ];
    for (name, keys, is_good) in rows {
        let checked = token.check(&credentials(keys), at(ISSUED));
        assert_eq!(checked.is_ok(), is_good, "{name}");
    }
    let certificates = Credentials {
        secrets: Secrets::Certificates(vec![Validity::default()]),
        ..credentials(vec![])
    };
    let checked = token.check(&certificates, at(ISSUED));
    assert_eq!(checked, Err(Flaw::Signature));
}
