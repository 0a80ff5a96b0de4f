//! Subscriptions for errors, and what comes of a refused message.

mod bounds;
mod edge;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncWrite};
use weir_core::Reason;

use super::client::{
    Connect, puback, publish, publish_with, suback, subscribe, unsuback, unsubscribe,
};
use super::command::{one_way, piped};
use super::*;

const OWN: &str = "error///#";
const ALL: &str = "error//+/#";

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// The next packet, which has to be an error: QoS 0, not retained. Its topic and its payload.
    async fn error(&mut self, version: u8) -> (String, Value) {
        let packet = self.packet().await;
        assert_eq!(packet[0], 0x30, "{packet:02x?}");
        let header = 1 + packet[1..].iter().take_while(|byte| **byte > 0x7f).count() + 1;
        let (length, rest) = packet[header..].split_at(2);
        let length = usize::from(u16::from_be_bytes(length.try_into().unwrap()));
        let (topic, rest) = rest.split_at(length);
        let payload = if version == 5 {
            assert_eq!(rest[0], 0, "there are properties");
            &rest[1..]
        } else {
            rest
        };
        let topic = String::from_utf8(topic.to_vec()).unwrap();
        (topic, serde_json::from_slice(payload).unwrap())
    }

    async fn expect_error(&mut self, version: u8, topic: &str, text: &str) {
        let (told, payload) = self.error(version).await;
        assert_eq!(told, topic);
        assert_eq!(payload["message"], text, "{topic}");
        let status = topic.rsplit('/').next().unwrap();
        assert_eq!(payload["code"].to_string(), status, "{topic}");
    }

    /// PUBACK for a message that was refused; only version 5 says so.
    async fn expect_refused(&mut self, version: u8, packet_id: u16) {
        let answer = self.packet().await;
        if version == 5 {
            assert_eq!(answer[2..5], [0, packet_id as u8, 0x80]);
        } else {
            assert_eq!(answer, puback(packet_id));
        }
    }

    /// SUBACK or UNSUBACK, whose codes come last.
    async fn expect_codes(&mut self, first: u8, packet_id: u16, codes: &[u8]) {
        let answer = self.packet().await;
        let id = packet_id.to_be_bytes();
        assert_eq!(
            (answer[0], &answer[2..4]),
            (first, &id[..]),
            "{answer:02x?}"
        );
        assert!(answer.ends_with(codes), "{codes:02x?} {answer:02x?}");
    }
}

/// Device contract §3.8.
#[tokio::test]
async fn what_is_granted_and_what_is_refused() {
    let gateway = Gateway::start().await;
    let rows = [
        (OWN, true),
        ("e///#", true),
        ("error/acme//#", true),
        ("e//gw-1/#", true),
        ("error/acme/gw-1/#", true),
        (ALL, true),
        ("e/acme/+/#", true),
        // Which it may not act for; which does not exist.
        ("e//edge-2/#", false),
        ("e//nobody/#", false),
        ("e/other//#", false),
        ("e/+//#", false),
        ("error//#", false),
        ("error////#", false),
    ];
    for version in [4, 5] {
        let mut client = gateway.connected_as("gw@acme", version).await;
        for (filter, is_granted) in rows {
            for qos in [0, 1, 2] {
                println!("{version} {filter} {qos}");
                client.send(&subscribe(version, 7, &[(filter, qos)])).await;
                let is_granted = is_granted && qos == 0;
                let code = if is_granted { 0 } else { 0x80 };
                client.expect_codes(0x90, 7, &[code]).await;
                client.send(&unsubscribe(version, 8, &[filter])).await;
                let code = if is_granted { 0 } else { 0x80 };
                let codes: &[u8] = if version == 5 { &[code] } else { &[] };
                client.expect(&unsuback(version, 8, codes)).await;
            }
        }
    }
    // Nobody else is told, unlike with commands.
    let mut back = gateway.back;
    assert!(back.is_idle());
}

/// Device contract §3.6: the mode; whether the connection goes on with an error subscription; whether
/// QoS 1 is acknowledged.
#[tokio::test]
async fn the_error_comes_first_then_what_the_device_asked_for() {
    let gateway = Gateway::start().await;
    gateway.back.always(Err(Reason::NoConsumer));
    let rows = [
        ("", true, true),
        ("/?on-error=default", true, true),
        ("/?on-error=Disconnect", true, true),
        ("/?on-error=ignore", true, true),
        ("/?on-error=skip-ack", true, false),
        ("/?on-error=disconnect", false, false),
    ];
    for version in [4, 5] {
        for (mode, goes_on, acknowledges) in rows {
            for packet_id in [0, 9] {
                println!("{version} {mode} {packet_id}");
                let mut client = gateway.connected(version).await;
                client.subscribe(version, OWN, 0).await;
                let topic = format!("telemetry{mode}");
                client.send(&publish(version, &topic, packet_id, "x")).await;
                let id = if packet_id == 0 { -1 } else { 9 };
                let told = format!("error///telemetry/{id}/503");
                client
                    .expect_error(version, &told, "no consumer available")
                    .await;
                if !goes_on {
                    client.expect_close(version, 0x83).await;
                    continue;
                }
                if packet_id > 0 && acknowledges {
                    client.expect_refused(version, packet_id).await;
                }
                client.expect_silence().await;
            }
        }
    }
}

/// Device contract §1.18: the error is the last that a device hears, whatever it asked for.
#[tokio::test]
async fn a_terminal_error_is_told_before_the_connection_is_closed() {
    for version in [4, 5] {
        for mode in ["default", "ignore", "skip-ack", "disconnect"] {
            for packet_id in [0, 1] {
                let gateway = Gateway::start().await;
                let mut client = gateway.connected_as("gw@acme", version).await;
                client.subscribe(version, ALL, 0).await;
                let topic = format!("t//edge-2/?on-error={mode}");
                client.send(&publish(version, &topic, packet_id, "x")).await;
                let id = if packet_id == 0 { -1 } else { 1 };
                let told = format!("error//edge-2/t/{id}/403");
                let text = "gateway is disabled or not registered";
                client.expect_error(version, &told, text).await;
                client.expect_close(version, 0x87).await;

                let mut client = gateway.connected_as("gw@acme", version).await;
                client.subscribe(version, OWN, 0).await;
                gateway.registry.unregister("gw-1");
                let topic = format!("t/?on-error={mode}");
                client.send(&publish(version, &topic, packet_id, "x")).await;
                let told = format!("error///t/{id}/404");
                let text = "device is disabled or not registered";
                client.expect_error(version, &told, text).await;
                client.expect_close(version, 0x87).await;
            }
        }
    }
}

/// What is published, with QoS 1 or 0, and what is told of it. None of it ends the connection.
#[tokio::test]
async fn whatever_is_wrong_with_a_message_is_told() {
    let gateway = Gateway::start().await;
    gateway.back.always(Err(Reason::Released));
    let rows = [
        ("x", 1, "unknown/1/404", "no such endpoint"),
        (
            "x//edge-1/?correlation-id=a",
            0,
            "unknown/a/404",
            "no such endpoint",
        ),
        ("/telemetry", 1, "unknown/1/400", "malformed topic name"),
        ("t/?content-type=%zz", 0, "t/-1/400", "malformed topic name"),
        (
            "event",
            0,
            "event/-1/400",
            "Only QoS 1 supported for event messages",
        ),
        (
            "t/acme",
            0,
            "t/-1/400",
            "message address must not contain tenant ID only",
        ),
        (
            "t/other/gw-1",
            1,
            "t/1/403",
            "can only publish for device of same tenant",
        ),
        (
            "t//nobody",
            1,
            "t/1/404",
            "device is disabled or not registered",
        ),
        ("e", 1, "e/1/503", "consumer didn't process the message"),
        (
            "t//edge-1",
            1,
            "t/1/503",
            "consumer didn't process the message",
        ),
        (
            "command///res/1",
            1,
            "command-response/1/400",
            "command response topic has too few segments",
        ),
        ("c///s/1/x", 0, "c-s/-1/400", "invalid status code"),
        (
            "c//edge-1/s/1/999",
            1,
            "c-s/1/400",
            "command response topic contains invalid data",
        ),
    ];
    for version in [4, 5] {
        let mut client = gateway.connected_as("gw@acme", version).await;
        client.subscribe(version, "e//+/#", 0).await;
        for (topic, packet_id, rest, text) in rows {
            client.send(&publish(version, topic, packet_id, "x")).await;
            let device = ["edge-1", "nobody"].into_iter();
            let device = device
                .filter(|device| topic.contains(device))
                .collect::<String>();
            let told = format!("e//{device}/{rest}");
            client.expect_error(version, &told, text).await;
            if packet_id > 0 {
                client.expect_refused(version, packet_id).await;
            }
        }
        // QoS 2 has no answer but this.
        let qos2 = publish_with(0x34, version, "telemetry", 3, b"", "x");
        client.send(&qos2).await;
        let text = "QoS 2 not supported for telemetry messages";
        client
            .expect_error(version, "e///telemetry/-1/400", text)
            .await;
        client.expect_silence().await;
    }
}

#[tokio::test]
async fn the_payload_says_when_it_was_and_which_message() {
    let gateway = Gateway::start().await;
    gateway.back.always(Err(Reason::NoConsumer));
    let mut client = gateway.connected(5).await;
    client.subscribe(5, OWN, 0).await;
    let before = OffsetDateTime::now_utc() - Duration::from_millis(1);
    let topic = "telemetry/?correlation-id=a%2Fb";
    client.send(&publish(5, topic, 0, "x")).await;
    let (topic, payload) = client.error(5).await;
    // What cannot be in a topic.
    assert_eq!(topic, "error///telemetry/-1/503");
    assert_eq!(payload["correlation-id"], "a/b");
    assert_eq!(payload.as_object().unwrap().len(), 4);
    let told = payload["timestamp"].as_str().unwrap();
    assert_eq!(told.len(), "2026-11-21T10:00:00.000Z".len(), "{told}");
    let told = OffsetDateTime::parse(told, &Rfc3339).unwrap();
    assert!(told > before && told <= OffsetDateTime::now_utc());
}

#[tokio::test]
async fn nothing_is_told_without_a_subscription_or_after_its_end() {
    let gateway = Gateway::start().await;
    gateway.back.always(Err(Reason::NoConsumer));
    for version in [4, 5] {
        let mut client = gateway.connected(version).await;
        client.subscribe(version, OWN, 0).await;
        // Any spelling of the same.
        let filters = ["e/acme/4711/#", OWN, "x"];
        client.send(&unsubscribe(version, 2, &filters)).await;
        let codes: &[u8] = if version == 5 { &[0, 0x80, 0x80] } else { &[] };
        client.expect(&unsuback(version, 2, codes)).await;
        client
            .send(&publish(version, "t/?on-error=ignore", 3, "x"))
            .await;
        client.expect_refused(version, 3).await;
        client.send(&publish(version, "t", 0, "x")).await;
        client.expect_close(version, 0x83).await;
    }
}

#[tokio::test]
async fn a_subscription_for_commands_is_none_for_errors() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected(5).await;
    client.subscribe(5, "command///req/#", 0).await;
    gateway.back.always(Err(Reason::NoConsumer));
    client.send(&publish(5, "t", 1, "x")).await;
    client.expect_disconnect(0x83).await;
}

#[tokio::test]
async fn one_packet_may_ask_for_commands_and_errors() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    for version in [4, 5] {
        let mut client = gateway.connected_as("gw@acme", version).await;
        let filters = [
            (OWN, 0),
            ("c///q/#", 1),
            ("e//+/#", 1),
            ("c//edge-1/q/#", 0),
            // The same as the first; the last one counts for both.
            ("e//gw-1/#", 0),
        ];
        client.send(&subscribe(version, 9, &filters)).await;
        client.expect_codes(0x90, 9, &[0, 1, 0, 0, 0]).await;
        client.send(&publish(version, "x", 1, "x")).await;
        client
            .expect_error(version, "e//gw-1/unknown/1/404", "no such endpoint")
            .await;
        client.expect_refused(version, 1).await;
        let command = gateway.command("edge-1", "on", one_way()).await;
        client.expect_publish(version, 0, "c//edge-1/q//on").await;
        command.await;
        // One that is refused changes nothing, and counts for all like it.
        let filters = [("error///#", 0), ("error//+/#", 1)];
        client.send(&subscribe(version, 10, &filters)).await;
        client.expect_codes(0x90, 10, &[0x80, 0x80]).await;
        client.send(&publish(version, "x", 0, "x")).await;
        client
            .expect_error(version, "e//gw-1/unknown/-1/404", "no such endpoint")
            .await;
    }
}

#[tokio::test]
async fn subacks_stay_in_order_while_the_registry_is_asked_and_errors_are_told_meanwhile() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 4).await;
    client.send(&subscribe(4, 1, &[("c//slow-1/q/#", 0)])).await;
    client.send(&subscribe(4, 2, &[(OWN, 0)])).await;
    client.send(&publish(4, "x", 0, "x")).await;
    client
        .expect_error(4, "error///unknown/-1/404", "no such endpoint")
        .await;
    // It is in force already, and can be ended as well.
    client.send(&unsubscribe(4, 3, &[OWN])).await;
    client.expect(&unsuback(4, 3, &[])).await;
    client
        .send(&publish(4, "x/?on-error=skip-ack", 0, "x"))
        .await;
    client.expect_silence().await;
    gateway.registry.gate.add_permits(1);
    client.expect(&suback(4, 1, &[0])).await;
    client.expect(&suback(4, 2, &[0])).await;
    // The answer does not bring it back.
    client.send(&publish(4, "x", 0, "x")).await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_subscription_counts_for_what_was_published_behind_it_in_the_same_breath() {
    let gateway = Gateway::start().await;
    for version in [4, 5] {
        let mut client = gateway.connected(version).await;
        let both = [
            subscribe(version, 1, &[(OWN, 0)]),
            publish(version, "x", 2, "x"),
        ];
        client.send(&both.concat()).await;
        let mut kinds = Vec::new();
        for _ in 0..3 {
            kinds.push(client.packet().await[0]);
        }
        kinds.sort_unstable();
        assert_eq!(kinds, [0x30, 0x40, 0x90]);
        client.expect_silence().await;
    }
}

#[tokio::test]
async fn an_error_that_the_client_takes_no_packet_for_is_left_out() {
    let gateway = Gateway::start().await;
    gateway.back.always(Err(Reason::NoConsumer));
    let mut client = gateway.client().await;
    let request = Connect {
        version: 5,
        // Maximum Packet Size.
        properties: &[0x27, 0, 0, 0, 64],
        ..Connect::default()
    };
    client.send(&request.bytes()).await;
    client.expect_connack(0).await;
    client.subscribe(5, OWN, 0).await;
    client.send(&publish(5, "t", 1, "x")).await;
    // It has asked for it, so the connection goes on.
    client.expect_refused(5, 1).await;
    client.expect_silence().await;
}

#[tokio::test]
async fn expired_credentials_are_told_of_too() {
    let token = token::token(token::SENSOR);
    tokio::time::pause();
    let (pipeline, _registry, _back, _metrics) = pipeline();
    for version in [4, 5] {
        let request = token::connect(version, "any", "", &token);
        let mut client = piped(&pipeline, request, 1024).await;
        client.subscribe(version, OWN, 0).await;
        tokio::time::advance(Duration::from_secs(4201)).await;
        client
            .send(&publish(version, "t/?on-error=ignore", 1, "x"))
            .await;
        client
            .expect_error(version, "error///t/1/401", "credentials have expired")
            .await;
        client.expect_close(version, 0x87).await;
    }
}
