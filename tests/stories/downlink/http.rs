//! Commands in the answers to uploads that wait for one.

use fe2o3_amqp::types::primitives::{SimpleValue, Symbol};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{assert_response, events, replies, reply_address, telemetry};
use crate::kit::{Application, Command, Commander, Device, Fate, Gateway, basic, property, story};

type Waiting = JoinHandle<reqwest::Result<Response>>;

/// Sends a message that waits for a command, and lets it arrive.
async fn wait(request: RequestBuilder, device: &Device, application: &mut Application) -> Waiting {
    let request = basic(request, device).body("x");
    let waiting = tokio::spawn(request.send());
    let message = application.accept_next().await;
    assert_eq!(property(&message, "ttd"), Some(SimpleValue::Int(50)));
    waiting
}

async fn answer(waiting: Waiting) -> Response {
    waiting.await.unwrap().unwrap()
}

#[test]
fn one_way_and_with_a_response() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let mut telemetry = telemetry(&gateway, tenant).await;
        let mut events = events(&gateway, tenant).await;
        let mut replies = replies(&gateway, tenant).await;
        let mut commander = Commander::of(&gateway, tenant).await;
        let client = Client::new();
        let post = |path: &str| client.post(gateway.http(path));
        let rows = [
            (post("/telemetry?hono-ttd=50"), false),
            (post("/telemetry").header("hono-ttd", "50"), false),
            (
                post("/telemetry?hono-ttd=50").header("qos-level", "1"),
                false,
            ),
            (post("/event?hono-ttd=50"), true),
        ];
        let count = rows.len();
        for (number, (request, is_event)) in rows.into_iter().enumerate() {
            let application = match is_event {
                true => &mut events,
                false => &mut telemetry,
            };
            let again = request.try_clone().unwrap();
            let waiting = wait(request, &device, application).await;
            let mut command = Command::one_way(&device, "setBrightness", "20");
            command.properties.content_type = Some(Symbol::from("text/x"));
            assert_eq!(commander.send(&command).await, Fate::Accepted);
            let told = answer(waiting).await;
            assert_eq!(told.status(), 200);
            let headers = told.headers();
            assert_eq!(headers["hono-command"], "setBrightness");
            assert_eq!(headers["content-type"], "text/x");
            assert!(!headers.contains_key("hono-cmd-req-id"));
            assert!(!headers.contains_key("hono-cmd-target-device"));
            assert_eq!(told.text().await.unwrap(), "20");

            let waiting = wait(again, &device, application).await;
            let id = number.to_string();
            let request = Command::one_way(&device, "get", "?");
            let request = request.answered_at(&reply_address(tenant), &id);
            assert_eq!(commander.send(&request).await, Fate::Accepted);
            let told = answer(waiting).await;
            assert_eq!(told.headers()["content-type"], "application/octet-stream");
            let request_id = told.headers()["hono-cmd-req-id"].to_str().unwrap();
            let path = format!("/command/res/{request_id}?hono-cmd-status=200");
            let sent = basic(post(&path), &device).body("42").send();
            let (sent, response) = tokio::join!(sent, replies.accept_next());
            let sent = sent.unwrap();
            assert_eq!(sent.status(), 202);
            assert_eq!(sent.text().await.unwrap(), "");
            assert_response(&response, &device, &id, 200, "42");
        }
        let metrics = gateway.metrics().await;
        for direction in ["one-way", "request", "response"] {
            assert_eq!(metrics.commands(tenant, direction, "forwarded"), count);
        }
        assert_eq!(metrics.uploads(tenant, "forwarded"), 2 * count);
        let name = "hono_telemetry_processing_duration_seconds_count";
        let labels = [("tenant", &**tenant), ("ttd", "command")];
        assert_eq!(metrics.sum(name, &labels) as usize, 2 * count);
    });
}

#[test]
fn a_wait_takes_one_command_or_none_and_then_is_over() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let mut telemetry = telemetry(&gateway, tenant).await;
        let mut commander = Commander::of(&gateway, tenant).await;
        let client = Client::new();
        let post = |ttd: &str| {
            client
                .post(gateway.http("/telemetry"))
                .header("hono-ttd", ttd)
        };
        let waiting = wait(post("50"), &device, &mut telemetry).await;
        let commands: Vec<_> = ["0", "1", "2"]
            .map(|payload| Command::one_way(&device, "set", payload))
            .into();
        let fates = commander.send_all(&commands).await;
        assert_eq!(fates, [Fate::Accepted, Fate::Released, Fate::Released]);
        assert_eq!(answer(waiting).await.text().await.unwrap(), "0");
        assert_eq!(commander.send(&commands[0]).await, Fate::Released);

        // Nothing comes within the time.
        let sent = basic(post("1"), &device).body("x").send();
        let (answer, message) = tokio::join!(sent, telemetry.accept_next());
        assert_eq!(property(&message, "ttd"), Some(SimpleValue::Int(1)));
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 202);
        let mut names = answer.headers().keys();
        assert!(names.all(|name| !name.as_str().starts_with("hono-")));
        assert_eq!(commander.send(&commands[0]).await, Fate::Released);

        // What is refused does not wait.
        telemetry.leave().await;
        let answer = basic(post("50"), &device).body("x").send().await;
        assert_eq!(answer.unwrap().status(), 503);
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.commands(tenant, "one-way", "forwarded"), 1);
        assert_eq!(metrics.commands(tenant, "one-way", "undeliverable"), 4);
    });
}

#[test]
fn a_response_needs_a_request_a_status_and_somebody_who_waits() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let mut telemetry = telemetry(&gateway, tenant).await;
        let mut commander = Commander::of(&gateway, tenant).await;
        let client = Client::new();
        let post = |path: &str| client.post(gateway.http(path));
        let waiting = wait(post("/telemetry?hono-ttd=50"), &device, &mut telemetry).await;
        let request = Command::one_way(&device, "get", "");
        let request = request.answered_at(&reply_address(tenant), "1");
        assert_eq!(commander.send(&request).await, Fate::Accepted);
        let told = answer(waiting).await;
        let id = told.headers()["hono-cmd-req-id"].to_str().unwrap();
        for (path, status) in [
            (format!("/command/res/{id}"), 400),
            (format!("/command/res/{id}?hono-cmd-status=199"), 400),
            (format!("/command/res/{id}?hono-cmd-status=300"), 400),
            (format!("/command/res/{id}?hono-cmd-status=600"), 400),
            (format!("/command/res/{id}?hono-cmd-status=OK"), 400),
            ("/command/res/nonsense?hono-cmd-status=200".to_owned(), 400),
            (format!("/command/res/{id}?hono-cmd-status=200"), 503),
        ] {
            let answer = basic(post(&path), &device).body("42").send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            assert!(!answer.headers().contains_key("retry-after"), "{path}");
            let error: Value = answer.json().await.unwrap();
            let text = error["error"].as_str().unwrap();
            match status {
                400 => assert!(text.contains("command-request-id ["), "{text}"),
                _ => assert_eq!(text, "no consumer available"),
            }
        }
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.commands(tenant, "response", "undeliverable"), 1);
        assert_eq!(metrics.commands(tenant, "response", "forwarded"), 0);
    });
}
