//! What the parts of the gateway record and tell, on the pages that Prometheus reads.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::kit::{Application, Device, Gateway, MqttDevice, Series, basic, connect_packet, story};

/// Waits until a series of that page has this value.
async fn until(gateway: &Gateway, name: &str, labels: &[(&str, &str)], value: f64) {
    while gateway.native().await.sum(name, labels) != value {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn upload(gateway: &Gateway, device: &Device, path: &str) -> u16 {
    let request = basic(reqwest::Client::new().post(gateway.http(path)), device);
    let request = request.header("Content-Type", "text/plain").body("21.5");
    let answer = request.header("QoS-Level", "1").send();
    answer.await.unwrap().status().as_u16()
}

#[test]
fn messages_to_applications_are_measured_and_their_consumers_told() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let labels = [("tenant", &*device.tenant), ("type", "telemetry")];
        assert_eq!(upload(&gateway, &device, "/telemetry").await, 503);
        let none = gateway.metrics().await;
        assert_eq!(none.sum("hono_amqp_nocredit_total", &labels), 1.0);
        until(&gateway, "weir_consumers", &labels, 0.0).await;

        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        let sent = upload(&gateway, &device, "/telemetry");
        let (status, _) = tokio::join!(sent, application.accept_next());
        assert_eq!(status, 202);
        let page = gateway.metrics().await;
        let accepted = [labels[0], labels[1], ("outcome", "accepted")];
        let service = ("component_name", "weir-northbound-amqp");
        for labels in [&accepted[..], &[labels[0], service]] {
            let name = "hono_amqp_delivery_duration_seconds_count";
            assert_eq!(page.sum(name, labels), 1.0, "{labels:?}");
        }
        until(&gateway, "weir_consumers", &labels, 1.0).await;
        let page = gateway.native().await;
        assert!(page.sum("weir_consumer_credit", &labels) > 0.0);
        assert_eq!(page.sum("weir_consumer_queue_messages", &labels), 0.0);
        application.leave().await;
        until(&gateway, "weir_consumers", &labels, 0.0).await;
    });
}

#[test]
fn an_outcome_that_does_not_come_in_time_is_none() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let labels = [("tenant", &*device.tenant), ("type", "telemetry")];
        let address = format!("telemetry/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        while gateway.native().await.sum("weir_consumer_credit", &labels) == 0.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let sent = upload(&gateway, &device, "/telemetry");
        let (status, _unsettled) = tokio::join!(sent, application.receive());
        assert_eq!(status, 503);
        let page = gateway.metrics().await;
        assert_eq!(page.sum("hono_amqp_timeout_total", &labels), 1.0);
        let deliveries = "hono_amqp_delivery_duration_seconds_count";
        assert_eq!(page.sum(deliveries, &labels), 0.0);
    });
}

#[test]
fn events_that_wait_are_told_and_so_are_dead_letters() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let labels = [("tenant", &*device.tenant)];
        for _ in 0..2 {
            assert_eq!(upload(&gateway, &device, "/event").await, 202);
        }
        let page = gateway.native().await;
        assert_eq!(page.sum("weir_events_stored", &labels), 2.0);
        // Each is more than its payload of four bytes.
        assert!(page.sum("weir_events_stored_bytes", &labels) > 8.0);
        assert_eq!(page.sum("weir_events_dead_letters", &labels), 0.0);
        // Waits long enough to be an age in whole seconds.
        while gateway
            .native()
            .await
            .sum("weir_events_oldest_age_seconds", &labels)
            < 1.0
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        let address = format!("event/{}", device.tenant);
        let mut application = Application::consume(&gateway, &address).await;
        application.accept_next().await;
        let second = application.receive().await;
        application.modify(&second, true).await;
        until(&gateway, "weir_events_stored", &labels, 0.0).await;
        until(&gateway, "weir_events_dead_letters", &labels, 1.0).await;
        let page = gateway.native().await;
        assert_eq!(page.sum("weir_events_stored_bytes", &labels), 0.0);
        assert_eq!(page.sum("weir_events_oldest_age_seconds", &labels), 0.0);
    });
}

#[test]
fn logins_tenants_caches_and_passwords_are_counted() {
    story(async {
        let gateway = Gateway::start().await;
        let name = "hono_tenants_total";
        let tenants = |page: &Series| page.sum(name, &[("component_name", "hono-registry")]);
        assert_eq!(tenants(&gateway.metrics().await), 0.0);
        let device = gateway.tenant_and_device().await;
        gateway.until(|page| tenants(page) == 1.0).await;
        let path = format!("tenants/{}", gateway.tenant(json!({})).await);
        gateway.until(|page| tenants(page) == 2.0).await;
        gateway
            .manage(reqwest::Method::DELETE, &path, &json!({}))
            .await;
        gateway.until(|page| tenants(page) == 1.0).await;

        let attempts = |page: &Series, client, outcome| {
            let labels = [("client_type", client), ("outcome", outcome)];
            page.sum("hono_authentication_attempts_total", &labels)
        };
        let (user, password) = gateway.application();
        let address = format!("telemetry/{}", device.tenant);
        for (password, is_good) in [(password, true), ("wrong", false)] {
            let login = Application::login(&gateway, user, password, &address).await;
            assert_eq!(login.is_ok(), is_good);
        }
        let page = gateway.metrics().await;
        assert_eq!(attempts(&page, "dispatch-router", "succeeded"), 1.0);
        assert_eq!(attempts(&page, "dispatch-router", "unauthorized"), 1.0);
        assert!(attempts(&page, "auth-service", "succeeded") >= 4.0);
        let url = format!("http://{}/v1/tenants", gateway.address("management"));
        let refused = reqwest::Client::new()
            .get(url)
            .basic_auth("op", Some("wrong"));
        assert_eq!(refused.send().await.unwrap().status(), 401);
        let page = gateway.metrics().await;
        assert_eq!(attempts(&page, "auth-service", "unauthorized"), 1.0);

        let before = gateway.native().await;
        assert_eq!(before.sum("weir_password_checks_total", &[]), 0.0);
        // The second finds everything in memory.
        for _ in 0..2 {
            MqttDevice::v3(&gateway, &device).await.unwrap();
        }
        let page = gateway.native().await;
        assert_eq!(page.sum("weir_password_checks_total", &[]), 1.0);
        for name in [
            "weir_password_checks_running",
            "weir_password_checks_waiting",
        ] {
            assert_eq!(page.sum(name, &[]), 0.0);
        }
        for cache in ["tenant", "assertion", "credentials"] {
            let labels = [("cache", cache)];
            let misses = page.sum("weir_cache_misses_total", &labels);
            assert_eq!(misses, 1.0, "{cache}");
            assert!(page.sum("weir_cache_hits_total", &labels) >= 1.0, "{cache}");
        }
        until(&gateway, "weir_cache_entries", &[("cache", "anchor")], 0.0).await;
    });
}

/// Writes a certificate for `localhost` that is good until a year begins, with its key.
fn write(folder: &Path, year: i32) -> CertificateDer<'static> {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("certificate.pem"), made.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    made.der().clone()
}

/// Logs in over MQTT with TLS as a client that has one cipher suite; the name it is registered by.
async fn connect_with_tls(
    gateway: &Gateway,
    device: &Device,
    trusted: &CertificateDer<'static>,
    password: &str,
) -> &'static str {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut provider = aws_lc_rs::default_provider();
    let suite = aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
    provider.cipher_suites = vec![suite];
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let port = gateway.address("mqtt-tls").port();
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector
        .connect(name, stream.await.unwrap())
        .await
        .unwrap();
    let connect = connect_packet(4, Some(&device.username), Some(password));
    stream.write_all(&connect).await.unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await.unwrap();
    "TLS_CHACHA20_POLY1305_SHA256"
}

#[test]
fn cipher_suites_of_attempts_and_the_end_of_certificates_are_told() {
    story(async {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name).to_str().unwrap().to_owned();
        let trusted = write(folder.path(), 2040);
        let gateway = Gateway::start_with(&[
            ("WEIR__TLS__CERTIFICATE", &path("certificate.pem")),
            ("WEIR__TLS__KEY", &path("key.pem")),
            ("WEIR__HTTP__TLS_PORT", "0"),
            ("WEIR__MQTT__TLS_PORT", "0"),
            ("WEIR__MANAGEMENT__TLS_PORT", "0"),
            ("WEIR__NORTHBOUND__AMQP__TLS_PORT", "0"),
        ])
        .await;
        let device = gateway.tenant_and_device().await;
        let attempts = |page: &Series, outcome, suite| {
            let labels = [
                ("tenant", &*device.tenant),
                ("outcome", outcome),
                ("cipher_suite", suite),
            ];
            page.sum("hono_connections_attempts_total", &labels)
        };
        let suite = connect_with_tls(&gateway, &device, &trusted, &device.password).await;
        connect_with_tls(&gateway, &device, &trusted, "wrong").await;
        MqttDevice::v3(&gateway, &device).await.unwrap();
        let page = gateway.metrics().await;
        assert_eq!(attempts(&page, "succeeded", suite), 1.0);
        assert_eq!(attempts(&page, "unauthorized", suite), 1.0);
        assert_eq!(attempts(&page, "succeeded", "UNKNOWN"), 1.0);

        let name = "weir_certificate_expiry_timestamp_seconds";
        let listeners = ["http", "management", "mqtt", "northbound.amqp"];
        // The seconds of the first days of 2040 and 2041.
        for (year, seconds) in [(2040, 2_208_988_800.0), (2041, 2_240_611_200.0)] {
            write(folder.path(), year);
            for listener in listeners {
                until(&gateway, name, &[("listener", listener)], seconds).await;
            }
        }
    });
}
