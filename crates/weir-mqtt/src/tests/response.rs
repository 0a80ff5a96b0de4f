//! Responses to commands.

use weir_core::command::{Messaging, ReplyTo};
use weir_core::{Endpoint, Qos, Reason};

use super::client::{puback, puback_refused, publish};
use super::*;

#[tokio::test]
async fn a_response_arrives_with_all_it_says_and_is_acknowledged_after_its_outcome() {
    let mut gateway = Gateway::start().await;
    // Topic, device, status, content type.
    let rows = [
        (
            "command///res/0014r/200",
            "gw-1",
            200,
            Some("application/octet-stream"),
        ),
        (
            "c///s/0014r/200/",
            "gw-1",
            200,
            Some("application/octet-stream"),
        ),
        (
            "c/acme/gw-1/s/0014r/299",
            "gw-1",
            299,
            Some("application/octet-stream"),
        ),
        (
            "c//edge-1/s/0014r/400",
            "edge-1",
            400,
            Some("application/octet-stream"),
        ),
        (
            "command/acme/edge-1/res/0014r/599/?content-type=a/b",
            "edge-1",
            599,
            Some("a/b"),
        ),
        // Nobody looks at the third segment, nor behind the status.
        (
            "c///x/0014r/503/more",
            "gw-1",
            503,
            Some("application/octet-stream"),
        ),
    ];
    for version in [4, 5] {
        for (topic, device, status, content_type) in rows {
            for packet_id in [0, 7] {
                let mut client = gateway.connected_as("gw@acme", version).await;
                client.send(&publish(version, topic, packet_id, "ok")).await;
                let sent = gateway.back.next().await;
                client.expect_silence().await;
                let message = sent.accept();
                if packet_id > 0 {
                    client.expect(&puback(packet_id)).await;
                }
                assert_eq!(message.endpoint, Endpoint::CommandResponse, "{topic}");
                assert_eq!(message.device.as_str(), device, "{topic}");
                assert_eq!(message.content_type.as_deref(), content_type, "{topic}");
                // However it came, its outcome is waited for.
                assert_eq!(message.qos, Qos::AtLeastOnce);
                let response = message.response.unwrap();
                let reply_to = ReplyTo {
                    messaging: Messaging::Amqp,
                    correlation_id: "4".into(),
                    reply_id: "r".into(),
                };
                assert_eq!((response.status, response.reply_to), (status, reply_to));
            }
        }
    }
}

#[tokio::test]
async fn a_response_may_be_empty() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected(4).await;
    client.send(&publish(4, "c///s/0014r/204", 1, "")).await;
    let message = gateway.back.next().await.accept();
    assert_eq!((message.payload.len(), message.content_type), (0, None));
    client.expect(&puback(1)).await;
}

/// Device contract §3.4 and §3.5: what is told, and with which code.
#[tokio::test]
async fn responses_that_are_refused() {
    const FEW: &str = "command response topic has too few segments";
    const STATUS: &str = "invalid status code";
    const DATA: &str = "command response topic contains invalid data";
    let gateway = Gateway::start().await;
    let rows = [
        ("command", FEW),
        ("c///s", FEW),
        ("c///s/0014r", FEW),
        ("c///s/0014r/", FEW),
        ("c///s/0014r//?a=b", FEW),
        ("c///s/0014r/ok", STATUS),
        ("c///s/0014r/2x0", STATUS),
        ("c///s/0014r//200", STATUS),
        ("c///s//on", STATUS),
        ("c///s/0014r/199", DATA),
        ("c///s/0014r/300", DATA),
        ("c///s/0014r/399", DATA),
        ("c///s/0014r/600", DATA),
        ("c///s/0014r/-200", DATA),
        ("c///s/0014r/65736", DATA),
        ("c///s//200", DATA),
        ("c///s/x/200", DATA),
        ("c///s/0094r/200", DATA),
        (
            "c/acme//s/0014r/200",
            "message address must not contain tenant ID only",
        ),
        (
            "c/other/4711/s/0014r/200",
            "can only publish for device of same tenant",
        ),
    ];
    for (topic, text) in rows {
        for packet_id in [0, 1] {
            let mut client = gateway.connected(5).await;
            client.send(&publish(5, topic, packet_id, "x")).await;
            let disconnect = client.packet().await;
            let told = String::from_utf8_lossy(&disconnect);
            assert!(told.contains(text), "{topic}: {told}");
            let code = if text.starts_with("can") { 0x87 } else { 0x90 };
            assert_eq!(disconnect[2], code, "{topic}");
            client.expect_end().await;
        }
    }
    let mut client = gateway.connected(5).await;
    let second = client::publish_with(0x34, 5, "c///s/0014r/200", 1, b"", "x");
    client.send(&second).await;
    client.expect_disconnect(0x9b).await;
}

#[tokio::test]
async fn what_a_device_wants_to_happen_on_error_counts_for_responses_too() {
    let gateway = Gateway::start().await;
    gateway.back.always(Err(Reason::NoConsumer));
    let mut client = gateway.connected(5).await;
    for (topic, text) in [
        ("c///s/0014r/200", "no consumer available"),
        ("c///s/0014r/ok", "invalid status code"),
    ] {
        let topic = format!("{topic}/?on-error=ignore");
        client.send(&publish(5, &topic, 9, "x")).await;
        client.expect(&puback_refused(9, text)).await;
    }
    client.send(&publish(5, "c///s/0014r/200", 1, "x")).await;
    client.expect_disconnect(0x83).await;
}
