//! Commands, configuration, accounts, logs.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{Application, Gateway, basic, story};

fn weir(arguments: &[&str], environment: &[(&str, &str)], folder: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder);
    command.output().unwrap()
}

const FREE_PORTS: [(&str, &str); 5] = [
    ("WEIR__HTTP__PORT", "0"),
    ("WEIR__MQTT__PORT", "0"),
    ("WEIR__MANAGEMENT__PORT", "0"),
    ("WEIR__HEALTH__PORT", "0"),
    ("WEIR__NORTHBOUND__AMQP__PORT", "0"),
];

#[test]
fn the_demonstration_shows_every_message_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let output = weir(&["demo", "--exit-after"], &FREE_PORTS, folder.path());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for expected in [
        "telemetry/demo  device=http-device qos=0 content-type=application/json adapter=hono-http",
        "telemetry/demo  device=http-device qos=1 content-type=application/json adapter=hono-http",
        "event/demo      device=http-device qos=1 content-type=application/json adapter=hono-http",
        "telemetry/demo  device=mqtt-device qos=0",
        "telemetry/demo  device=mqtt-device qos=1",
        "event/demo      device=mqtt-device qos=1 content-type=application/json adapter=hono-mqtt",
        "payload={\"from\":\"mqtt-device\",\"n\":3,\"temperature\":21.5}",
        "event/demo      device=http-device qos=1 content-type=application/json adapter=hono-http ttd=20",
        "answer          http-device  status 200  application/json  {\"seconds\":30}",
        "answer          mqtt-device  status 200  application/octet-stream  {\"seconds\":30}",
        "All 9 messages arrived, and 2 commands were answered.",
    ] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it leaves nothing behind"
    );
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    for (section, variable) in [
        ("mqtt", "WEIR__MQTT__PORT"),
        ("northbound.amqp", "WEIR__NORTHBOUND__AMQP__PORT"),
    ] {
        let mut environment = FREE_PORTS.to_vec();
        environment.push((variable, &port));
        for arguments in [&["serve"][..], &["demo", "--exit-after"]] {
            let output = weir(arguments, &environment, folder.path());
            let error = String::from_utf8(output.stderr).unwrap();
            let expected = format!("{section}: cannot listen on port {port} of 127.0.0.1");
            assert!(
                !output.status.success() && error.contains(&expected),
                "{error}"
            );
        }
    }
}

#[test]
fn a_data_folder_belongs_to_one_gateway() {
    story(async {
        let gateway = Gateway::start().await;
        let data = gateway.data();
        let second = weir(&["serve"], &FREE_PORTS, data.parent().unwrap());
        let error = String::from_utf8(second.stderr).unwrap();
        assert!(!second.status.success(), "{error}");
        assert!(
            error.contains("weir-data is in use by another gateway"),
            "{error}"
        );
        assert!(
            reqwest::get(gateway.health("/readiness"))
                .await
                .unwrap()
                .status()
                .is_success()
        );
    });
}

#[test]
fn check_names_the_line_of_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("bad.toml"),
        "[http]\nport = 8080\nprot = 1\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("good.toml"), "[http]\nport = 8080\n").unwrap();
    let bad = weir(&["check", "--config", "bad.toml"], &[], folder.path());
    let error = String::from_utf8(bad.stderr).unwrap();
    assert!(!bad.status.success());
    assert!(
        error.contains("bad.toml, line 3: unknown field `prot`"),
        "{error}"
    );
    let good = weir(&["check", "--config", "good.toml"], &[], folder.path());
    assert!(good.status.success());
    assert_eq!(
        String::from_utf8(good.stdout).unwrap(),
        "good.toml is valid\n"
    );
}

#[test]
fn the_first_start_makes_accounts_and_shows_them_to_the_owner_only() {
    story(async {
        let gateway = Gateway::start().await;
        let file = gateway.data().join("credentials");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for (account, (user, password)) in [
            ("application", gateway.application()),
            ("operator", gateway.operator()),
        ] {
            let folder = gateway.data();
            let shown = weir(&["secret", account], &[], folder.parent().unwrap());
            let expected = format!("{user}:{password}\n");
            assert_eq!(String::from_utf8(shown.stdout).unwrap(), expected);
        }
        let log = gateway.log();
        assert!(log.contains("credentials"), "the path is logged");
        for (_, password) in [gateway.application(), gateway.operator()] {
            assert!(!log.contains(password), "the secret is not");
        }
    });
}

#[test]
fn no_secret_is_ever_logged() {
    story(async {
        let gateway = Gateway::start_with(&[("WEIR__LOG__FILTER", "trace")]).await;
        let device = gateway.tenant_and_device().await;
        let mut application =
            Application::consume(&gateway, &format!("telemetry/{}", device.tenant)).await;
        let client = reqwest::Client::new();
        let request = basic(client.post(gateway.http("/telemetry")), &device);
        let (answer, _) = tokio::join!(request.body("x").send(), application.accept_next());
        assert_eq!(answer.unwrap().status(), 202);
        let wrong = client.post(gateway.http("/telemetry"));
        let wrong = wrong
            .basic_auth(&device.username, Some("wr0ng-s3cret"))
            .body("x");
        assert_eq!(wrong.send().await.unwrap().status(), 401);
        assert!(
            Application::login(&gateway, "application", "wr0ng-s3cret", "x")
                .await
                .is_err()
        );
        // Refusals are logged; this is the last one.
        gateway.logged("request refused").await;
        let log = gateway.logged("application refused").await;
        let (_, application) = gateway.application();
        let (_, operator) = gateway.operator();
        for secret in [&device.password, application, operator, "wr0ng-s3cret"] {
            assert!(!log.contains(secret));
        }
    });
}

#[test]
fn configured_accounts_replace_those_of_the_first_start() {
    story(async {
        let account = r#"{ username = "backend", password = "from the environment" }"#;
        let gateway = Gateway::start_with(&[("WEIR__ACCOUNTS__APPLICATION", account)]).await;
        let tenant = gateway.tenant(json!({})).await;
        let address = format!("telemetry/{tenant}");
        let (user, password) = gateway.application();
        assert!(
            Application::login(&gateway, user, password, &address)
                .await
                .is_err()
        );
        let configured =
            Application::login(&gateway, "backend", "from the environment", &address).await;
        assert!(configured.is_ok());
    });
}

#[test]
fn probes_and_metrics() {
    story(async {
        let gateway = Gateway::start().await;
        let client = reqwest::Client::new();
        for probe in ["/started", "/liveness", "/readiness"] {
            let answer = client.get(gateway.health(probe)).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{probe}");
            let verdict: Value = answer.json().await.unwrap();
            assert_eq!(verdict["status"], "UP", "{probe}");
        }
        let page = client
            .get(gateway.health("/prometheus"))
            .send()
            .await
            .unwrap();
        let kind = page.headers()["Content-Type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let text = page.text().await.unwrap();
        let unauthenticated = "hono_connections_unauthenticated{component_name=\"hono-mqtt\"";
        assert!(text.contains(unauthenticated), "{text}");
        assert_eq!(
            client
                .get(gateway.health("/else"))
                .send()
                .await
                .unwrap()
                .status(),
            404
        );
    });
}

/// Connects without ever saying anything that MQTT knows, until the gateway has had enough. Whoever it was.
async fn stranger(gateway: &Gateway) -> String {
    let mut stream = TcpStream::connect(gateway.address("mqtt")).await.unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    stream.write_all(&[0; 64]).await.unwrap();
    // It closes, with or without taking all of that.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    peer
}

#[test]
fn what_is_logged_is_changed_while_the_gateway_runs() {
    story(async {
        let gateway = Gateway::start().await;
        let configured = json!({"filter": "info", "configured": "info"});
        assert_eq!(gateway.get("log").await, configured);
        let wanted = json!({"filter": "info,weir_mqtt=debug", "for": 3600});
        let url = format!("http://{}/v1/log", gateway.address("management"));
        let anonymous = reqwest::Client::new().put(url).json(&wanted);
        assert_eq!(anonymous.send().await.unwrap().status(), 401);
        let nonsense = json!({"filter": "info,weir_mqtt=loud"});
        let (status, answer) = gateway.call(Method::PUT, "log", Some(&nonsense)).await;
        let error = answer["error"].as_str().unwrap();
        assert!(
            status == 400 && error.starts_with("filter: part 2"),
            "{error}"
        );
        assert_eq!(gateway.get("log").await, configured);

        gateway.manage(Method::PUT, "log", &wanted).await;
        let log = gateway.get("log").await;
        assert_eq!(log["filter"], "info,weir_mqtt=debug");
        assert!((1..=3600).contains(&log["for"].as_u64().unwrap()), "{log}");
        let seen = stranger(&gateway).await;
        let log = gateway.logged(&seen).await;
        let (operator, _) = gateway.operator();
        let change = log
            .lines()
            .find(|line| line.contains("what is logged was changed"));
        let change: Value = serde_json::from_str(change.unwrap()).unwrap();
        assert_eq!(change["operator"], operator);
        assert_eq!(change["filter"], "info,weir_mqtt=debug");
        assert_eq!(change["seconds"], 3600);

        gateway.manage(Method::PUT, "log", &json!({})).await;
        assert_eq!(gateway.get("log").await, configured);
        let unseen = stranger(&gateway).await;
        // This is later than whatever was logged of the stranger.
        let (level, second) = (
            json!({"filter": "error", "for": 1}),
            "what is configured is logged",
        );
        gateway.manage(Method::PUT, "log", &level).await;
        let log = gateway.logged(second).await;
        assert!(!log.contains(&unseen), "{log}");
        assert_eq!(gateway.get("log").await, configured);
    });
}

#[test]
fn a_gateway_that_cannot_store_events_is_alive_and_not_ready() {
    story(async {
        // More than any disk has.
        let reserve = i64::MAX.to_string();
        let gateway =
            Gateway::start_with(&[("WEIR__NORTHBOUND__EVENTS__RESERVE", &*reserve)]).await;
        let log = gateway.logged("a service is gone").await;
        assert!(log.contains("there is no room on the event store's disk"));
        let client = reqwest::Client::new();
        let answer = client
            .get(gateway.health("/readiness"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 503);
        let verdict: Value = answer.json().await.unwrap();
        assert_eq!(
            verdict,
            json!({"status": "DOWN", "checks": [
                {"name": "serving", "status": "UP"},
                {"name": "registry", "status": "UP"},
                {"name": "event-store", "status": "DOWN"},
            ]})
        );
        for path in ["/liveness", "/started"] {
            let answer = client.get(gateway.health(path)).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}");
        }
        let page = client.get(gateway.health("/metrics")).send().await.unwrap();
        let page = page.text().await.unwrap();
        for (service, value) in [("registry", 1), ("event-store", 0)] {
            let line = format!("weir_service_up{{service=\"{service}\"}} {value}\n");
            assert!(page.contains(&line), "{page}");
        }
        // Devices hear the same.
        let device = gateway.tenant_and_device().await;
        let event = basic(client.post(gateway.http("/event")), &device).body("x");
        assert_eq!(event.send().await.unwrap().status(), 503);
        assert_eq!(gateway.log().matches("a service is gone").count(), 1);
    });
}
