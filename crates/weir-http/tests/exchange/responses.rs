//! What devices respond to commands (contract §2.8).

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use weir_core::command::{CommandOutcome, Messaging, ReplyTo};
use weir_core::{Endpoint, Qos, Reason, RejectCondition};

use crate::commands::{hand_over, request};
use crate::kit::{Gateway, within};

const COUNT: &str = "hono_command_processing_duration_seconds_count";
/// The correlation id `c/1`, and the reply id `<device>/r-1`.
const ID: &str = "103c~2f1r-1";

fn post(gateway: &Gateway, path: &str) -> RequestBuilder {
    gateway.request(Method::POST, path)
}

fn put(gateway: &Gateway, path: &str) -> RequestBuilder {
    gateway.request(Method::PUT, path)
}

async fn answer(request: RequestBuilder) -> (u16, bool, String) {
    let response = within(request.send()).await.unwrap();
    let status = response.status().as_u16();
    let is_retried = response.headers().contains_key("retry-after");
    (status, is_retried, response.text().await.unwrap())
}

#[tokio::test]
async fn a_response_goes_where_the_commands_sender_waits_for_it() {
    let gateway = Gateway::start().await;
    let by_gateway = |path: &str| gateway.gateway_request(path);
    let cases = [
        (post(&gateway, &format!("/command/res/{ID}")), "4711"),
        (post(&gateway, &format!("/command/res/{ID}/")), "4711"),
        (
            put(&gateway, &format!("/command/res/acme/4711/{ID}")),
            "4711",
        ),
        (put(&gateway, &format!("/command/res//4711/{ID}")), "4711"),
        (
            put(&gateway, &format!("/command/res//4711/{ID}/more")),
            "4711",
        ),
        (by_gateway(&format!("/command/res/acme/edge/{ID}")), "edge"),
        (by_gateway(&format!("/command/res//a%2Bb+c/{ID}")), "a+b c"),
    ];
    for (request, device) in cases {
        let request = request.header("hono-cmd-status", "200");
        // What uploads know, responses do not.
        let request = request.header("qos-level", "7").header("hono-ttd", "50");
        let request = request.header("content-type", "text/plain; charset=utf-8");
        assert_eq!(
            answer(request.body("done")).await,
            (202, false, String::new())
        );
        let message = gateway.northbound.message();
        assert_eq!(message.endpoint, Endpoint::CommandResponse);
        assert_eq!(message.device.as_str(), device);
        assert_eq!(message.qos, Qos::AtLeastOnce);
        assert_eq!((message.ttd, message.ttl), (None, None));
        assert_eq!(message.content_type.as_deref(), Some("text/plain"));
        assert_eq!(message.payload, "done");
        let response = message.response.unwrap();
        let reply_to = ReplyTo {
            messaging: Messaging::Amqp,
            correlation_id: "c/1".into(),
            reply_id: format!("{device}/r-1").into(),
        };
        assert_eq!((response.reply_to, response.status), (reply_to, 200));
    }
    let labels = [r#"direction="response""#, r#"status="forwarded""#];
    assert_eq!(gateway.metric(COUNT, &labels), 7.0);
    assert_eq!(gateway.uploads(), 0.0);
}

#[tokio::test]
async fn a_command_is_answered_with_the_id_it_came_with() {
    let gateway = Gateway::start().await;
    let upload = gateway.gateway_request("/telemetry//edge");
    let upload = upload.header("hono-ttd", "50").body("1");
    let waiting = tokio::spawn(upload.send());
    gateway.northbound.arrival().await;
    let command = request("edge", "read", "");
    let reply_to = command.reply_to.clone().unwrap();
    let outcome = hand_over(&gateway, command).await;
    assert_eq!(within(outcome).await, CommandOutcome::Accepted);
    let carried = within(waiting).await.unwrap().unwrap();
    let header = |name| carried.headers()[name].to_str().unwrap();
    let (device, id) = (header("hono-cmd-target-device"), header("hono-cmd-req-id"));
    let path = format!("/command/res//{device}/{id}?hono-cmd-status=204");
    assert_eq!(answer(gateway.gateway_request(&path)).await.0, 202);
    let message = gateway.northbound.message();
    // Nothing is wrong with an empty response.
    assert_eq!(message.content_type, None);
    let response = message.response.unwrap();
    assert_eq!((response.reply_to, response.status), (reply_to, 204));
}

#[tokio::test]
async fn the_status_is_a_header_or_else_a_parameter_and_has_to_be_one() {
    let gateway = Gateway::start().await;
    let cases = [
        ("?hono-cmd-status=200", None, None),
        ("?hono-cmd-status=299", None, None),
        ("", Some("400"), None),
        ("?hono-cmd-status=7", Some("599"), None),
        ("", None, Some("null")),
        ("?hono-cmd-status=", None, Some("null")),
        ("", Some("fine"), Some("null")),
        ("?hono-cmd-status=200", Some("fine"), Some("null")),
        ("", Some("199"), Some("199")),
        ("", Some("300"), Some("300")),
        ("", Some("399"), Some("399")),
        ("", Some("600"), Some("600")),
        ("", Some("-200"), Some("-200")),
        ("", Some("65736"), Some("65736")),
    ];
    for (query, header, told) in cases {
        let mut request = post(&gateway, &format!("/command/res/{ID}{query}"));
        if let Some(header) = header {
            request = request.header("hono-cmd-status", header);
        }
        let (status, _, body) = answer(request).await;
        match told {
            None => assert_eq!(status, 202, "{query} {header:?}"),
            Some(told) => {
                assert_eq!(status, 400, "{query} {header:?}");
                let text =
                    format!("command-request-id [{ID}] or status code [{told}] is missing/invalid");
                assert_eq!(body, json!({ "error": text }).to_string());
            }
        }
    }
    assert_eq!(gateway.metric(COUNT, &[r#"direction="response""#]), 4.0);
}

#[tokio::test]
async fn what_is_no_request_id_is_a_bad_request() {
    let gateway = Gateway::start().await;
    for id in ["0", "zz1abc", "000", "0ffshort", "000r%20", "%C3%A4"] {
        let path = format!("/command/res/{id}?hono-cmd-status=200");
        let (status, _, body) = answer(post(&gateway, &path)).await;
        assert_eq!(status, 400, "{id}");
        assert!(body.contains("command-request-id ["), "{body}");
    }
    let unnamed = put(&gateway, "/command/res//4711//more?hono-cmd-status=200");
    assert_eq!(answer(unnamed).await.0, 400);
    assert!(gateway.northbound.messages().is_empty());
    assert_eq!(gateway.metric(COUNT, &[]), 0.0);
}

#[tokio::test]
async fn a_path_has_to_be_long_enough_and_of_the_senders_tenant() {
    let gateway = Gateway::start().await;
    let short = "request URI must contain tenant, device and request ID";
    let nobody = "request URI must contain device ID";
    let foreign = "not authorized to upload data for device from other tenant";
    let cases = [
        ("/command/res".to_owned(), 404, short),
        (format!("/command/res/{ID}"), 404, short),
        ("/command/res/acme/4711".to_owned(), 404, short),
        ("/command/res/acme/4711/".to_owned(), 404, short),
        (format!("/command/res/4711/{ID}"), 404, short),
        (format!("/command/res/acme//{ID}"), 404, nobody),
        (format!("/command/res/other/4711/{ID}"), 403, foreign),
    ];
    for (path, status, text) in cases {
        let path = format!("{path}?hono-cmd-status=200");
        let (told, _, body) = answer(put(&gateway, &path)).await;
        assert_eq!(told, status, "{path}");
        assert_eq!(body, json!({ "error": text }).to_string(), "{path}");
    }
    for path in [
        "/command/res",
        "/command/res/acme/4711/1",
        "/command/res//4711/1",
    ] {
        assert_eq!(answer(post(&gateway, path)).await.0, 405, "{path}");
    }
    let get = gateway.request(Method::GET, &format!("/command/res/{ID}"));
    assert_eq!(answer(get).await.0, 405);
    let anonymous = gateway.anonymous(Method::POST, &format!("/command/res/{ID}"));
    assert_eq!(answer(anonymous).await.0, 401);
    assert!(gateway.northbound.messages().is_empty());
}

#[tokio::test]
async fn a_response_that_is_not_taken_is_told_its_status_as_it_is() {
    let gateway = Gateway::start().await;
    let later = "temporarily unavailable";
    let internal = "Internal server error";
    let cases = [
        (Reason::NoConsumer, 503, "no consumer available"),
        (Reason::NoCredit, 503, "no consumer available"),
        (Reason::Released, 503, "consumer didn't process the message"),
        (Reason::DownstreamUnavailable, 503, later),
        (Reason::Internal, 500, internal),
        (
            Reason::Rejected(RejectCondition::Other, Some("late".into())),
            400,
            "late",
        ),
    ];
    for (reason, status, text) in cases {
        gateway.northbound.says(Err(reason.clone()));
        let path = format!("/command/res/{ID}?hono-cmd-status=200");
        let expected = (status, false, json!({ "error": text }).to_string());
        assert_eq!(answer(post(&gateway, &path)).await, expected, "{reason:?}");
    }
    let unprocessable = [r#"direction="response""#, r#"status="unprocessable""#];
    assert_eq!(gateway.metric(COUNT, &unprocessable), 1.0);
    let undeliverable = [r#"direction="response""#, r#"status="undeliverable""#];
    assert_eq!(gateway.metric(COUNT, &undeliverable), 5.0);
    // The device's registration is asked for as for any message.
    let foreign = format!("/command/res//other-edge/{ID}?hono-cmd-status=200");
    assert_eq!(answer(gateway.gateway_request(&foreign)).await.0, 403);
}
