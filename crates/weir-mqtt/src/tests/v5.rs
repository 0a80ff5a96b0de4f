//! What only MQTT 5 has.

mod codec;

use weir_core::command::{Command, CommandOutcome};
use weir_core::{Reason, TraceContext};

use super::client::{
    Connect, field, packet, property, puback, puback_refused, publish, publish_with, suback,
    suback_refused, subscribe, user,
};
use super::command::{command, one_way, published, request, requested};
use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

impl Gateway {
    /// A connection of device 4711 that said more in its CONNECT.
    async fn connected_with(&self, properties: &[u8]) -> Client {
        let mut client = self.client().await;
        let request = Connect {
            version: 5,
            properties,
            ..Connect::default()
        };
        client.send(&request.bytes()).await;
        client.expect_connack(0).await;
        client
    }
}

/// A PUBLISH with QoS 1.
fn with(topic: &str, properties: &[Vec<u8>]) -> Vec<u8> {
    publish_with(0x32, 5, topic, 1, &properties.concat(), "x")
}

#[tokio::test]
async fn user_properties_go_on_in_their_order_without_those_that_mean_something() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected(5).await;
    let a = || user("a", "1");
    let rows = [
        ("t", vec![], vec![]),
        ("t", vec![a()], vec![("a", "1")]),
        (
            "e",
            // Of several with the same name the first counts.
            vec![user("b", ""), a(), user("A", "2"), user("a", "3")],
            vec![("b", ""), ("a", "1"), ("A", "2")],
        ),
        (
            "t",
            vec![
                a(),
                user("traceparent", PARENT),
                user("tracestate", "x=y"),
                user("ü", "ö"),
            ],
            vec![("a", "1"), ("ü", "ö")],
        ),
        // It means something for responses alone.
        (
            "t",
            vec![user("hono-cmd-status", "404")],
            vec![("hono-cmd-status", "404")],
        ),
        (
            "c///s/0014r/200",
            vec![user("hono-cmd-status", "404"), a()],
            vec![("a", "1")],
        ),
    ];
    for (topic, said, expected) in rows {
        client.send(&with(topic, &said)).await;
        let message = gateway.back.next().await.accept();
        let properties = message.properties.iter();
        let properties: Vec<(&str, &str)> = properties
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(properties, expected, "{topic}");
        client.expect(&puback(1)).await;
    }
    client
        .send(&with("t", &[user("traceparent", PARENT)]))
        .await;
    let message = gateway.back.next().await.accept();
    let trace = TraceContext::parse(PARENT).unwrap();
    assert_eq!(message.trace.to_string(), trace.to_string());
}

#[tokio::test]
async fn a_topic_alias_is_the_topic_for_everybody_else_and_ends_with_the_connection() {
    let mut gateway = Gateway::start().await;
    let alias = vec![0x23, 0, 16];
    let topic = "e//edge-1/?content-type=a/b";
    let mut client = gateway.connected_as("gw@acme", 5).await;
    for sent in [topic, ""] {
        client.send(&with(sent, std::slice::from_ref(&alias))).await;
        let message = gateway.back.next().await.accept();
        assert_eq!(&*message.origin_address, topic);
        assert_eq!(message.device.as_str(), "edge-1");
        assert_eq!(message.content_type.as_deref(), Some("a/b"));
        client.expect(&puback(1)).await;
    }
    let mut other = gateway.connected_as("gw@acme", 5).await;
    other.send(&with("", &[alias])).await;
    other.expect_disconnect(0x82).await;
    // To version 3.1.1 these bytes are payload.
    let mut old = gateway.connected(4).await;
    let bytes = publish_with(0x30, 5, "t", 0, &[0x23, 0, 99], "x");
    old.send(&bytes).await;
    let message = gateway.back.next().await.accept();
    assert_eq!(&*message.payload, b"\x03\x23\x00\x63x");
}

#[tokio::test]
async fn who_knows_nothing_of_hono_answers_where_a_command_says() {
    let mut gateway = Gateway::start().await;
    // Filter, device, where the response goes.
    let rows = [
        ("command///req/#", "gw-1", "command///res/0014r/200"),
        ("c/acme//q/#", "gw-1", "c/acme/gw-1/s/0014r/200"),
        ("c//+/q/#", "edge-1", "c//edge-1/s/0014r/200"),
        ("c//edge-1/req/#", "edge-1", "c//edge-1/res/0014r/200"),
    ];
    for (filter, device, answer) in rows {
        let mut client = gateway.connected_as("gw@acme", 5).await;
        client.send(&subscribe(5, 1, &[(filter, 0)])).await;
        // The event that says so.
        gateway.back.next().await.accept();
        client.expect(&suback(5, 1, &[0])).await;
        let outcome = gateway.command(device, "on", request()).await;
        let name = filter.trim_end_matches("/#").replace('+', device);
        let expected = requested(5, 0, &format!("{name}/0014r/on"), answer);
        client.expect(&expected).await;
        assert_eq!(outcome.await, CommandOutcome::Accepted);
        for (said, status) in [(None, 200), (Some("207"), 207), (Some("503"), 503)] {
            let said = said.map(|status| user("hono-cmd-status", status));
            let said = [vec![property(9, "0014r")], said.into_iter().collect()].concat();
            client.send(&with(answer, &said)).await;
            let message = gateway.back.next().await.accept();
            client.expect(&puback(1)).await;
            assert_eq!(message.device.as_str(), device, "{filter}");
            let response = message.response.unwrap();
            assert_eq!(response.status, status, "{filter}");
            assert_eq!(response.reply_to, request().unwrap());
        }
        client.send(&[0xe0, 0]).await;
        client.expect_end().await;
        // And the one that says that it is over.
        gateway.back.next().await.accept();
    }
}

#[tokio::test]
async fn a_status_beside_the_topic_counts_instead_of_the_one_in_it() {
    let mut gateway = Gateway::start().await;
    let refused = "command response topic contains invalid data";
    let rows = [
        ("c///s/0014r/200", "404", Ok(404)),
        ("c///s/0014r/999", "404", Ok(404)),
        ("c///s/0014r/200", "199", Err(refused)),
        ("c///s/0014r/200", "300", Err(refused)),
        ("c///s/0014r/200", "600", Err(refused)),
        ("c///s/0014r/200", "fine", Err("invalid status code")),
        ("c///s/0014r/200", "", Err("invalid status code")),
        (
            "c///s/0014r",
            "200",
            Err("command response topic has too few segments"),
        ),
    ];
    let mut client = gateway.connected(5).await;
    for (topic, status, expected) in rows {
        let topic = format!("{topic}/?on-error=ignore");
        let status = user("hono-cmd-status", status);
        client.send(&with(&topic, &[status])).await;
        match expected {
            Ok(status) => {
                let message = gateway.back.next().await.accept();
                assert_eq!(message.response.unwrap().status, status);
                client.expect(&puback(1)).await;
            }
            Err(text) => client.expect(&puback_refused(1, text)).await,
        }
    }
}

#[tokio::test]
async fn a_one_way_command_says_what_it_is_and_not_where_to_answer() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected(5).await;
    client.subscribe(5, "c///q/#", 0).await;
    let outcome = gateway.command("4711", "on", one_way()).await;
    let content_type = property(3, "text/plain");
    let expected = publish_with(0x30, 5, "c///q//on", 0, &content_type, "go");
    client.expect(&expected).await;
    assert_eq!(outcome.await, CommandOutcome::Accepted);
}

/// A trace that nobody records is not worth its bytes.
#[tokio::test]
async fn a_command_says_which_trace_it_belongs_to_if_that_is_recorded() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected(5).await;
    client.subscribe(5, "c///q/#", 0).await;
    let unrecorded = format!("{}0", PARENT.strip_suffix('1').unwrap());
    let said = [user("traceparent", PARENT), user("tracestate", "a=b")];
    let parent_alone = user("traceparent", PARENT);
    for (parent, state, expected) in [
        (PARENT, Some("a=b"), said.concat()),
        (PARENT, Some("a\0b"), parent_alone.clone()),
        (PARENT, None, parent_alone),
        (&unrecorded, Some("a=b"), Vec::new()),
    ] {
        let trace = TraceContext::parse(parent).unwrap();
        let trace = trace.with_state(state.map(Into::into));
        let command = Command {
            trace: Some(trace),
            ..command("4711", "on", one_way())
        };
        let outcome = gateway.pipeline.commands().resolve(command).await.forward();
        let properties = [property(3, "text/plain"), expected].concat();
        let expected = publish_with(0x30, 5, "c///q//on", 0, &properties, "go");
        client.expect(&expected).await;
        assert_eq!(outcome.await, CommandOutcome::Accepted);
    }
}

/// How to answer is more to a device than what its answer is part of.
#[tokio::test]
async fn a_client_that_takes_small_packets_is_spared_the_trace_first() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let whole = requested(5, 0, "c///q/0014r/on", "c///s/0014r/200");
    let bare = publish_with(0x30, 5, "c///q/0014r/on", 0, b"", "go");
    let size = u32::try_from(whole.len()).unwrap();
    for (size, expected) in [(size, &whole), (size - 1, &bare)] {
        let limit = [&[0x27][..], &size.to_be_bytes()].concat();
        let mut client = gateway.connected_with(&limit).await;
        client.subscribe(5, "c///q/#", 0).await;
        let command = Command {
            trace: TraceContext::parse(PARENT),
            ..command("4711", "on", request())
        };
        let outcome = gateway.pipeline.commands().resolve(command).await.forward();
        client.expect(expected).await;
        assert_eq!(outcome.await, CommandOutcome::Accepted);
    }
}

/// [MQTT-3.1.2-29]
#[tokio::test]
async fn who_wants_no_problem_information_is_told_in_words_only_why_the_connection_ends() {
    let gateway = Gateway::start().await;
    gateway.back.always(Err(Reason::NoConsumer));
    let refused = with("t/?on-error=ignore", &[]);
    for (properties, is_told) in [(&b""[..], true), (&[0x17, 1], true), (&[0x17, 0], false)] {
        let mut client = gateway.connected_with(properties).await;
        client.send(&refused).await;
        match is_told {
            true => {
                let expected = puback_refused(1, "no consumer available");
                client.expect(&expected).await;
            }
            false => client.expect(&[0x40, 3, 0, 1, 0x80]).await,
        }
        client.send(&subscribe(5, 7, &[("c//nobody/q/#", 1)])).await;
        let expected = match is_told {
            true => suback_refused(5, 7, &[0x80], "device is disabled or not registered"),
            false => suback(5, 7, &[0x80]),
        };
        client.expect(&expected).await;
        client.send(&publish(5, "t", 1, "x")).await;
        let disconnect = client.packet().await;
        let text = field("no consumer available");
        assert!(disconnect.ends_with(&text), "{disconnect:02x?}");
        client.expect_end().await;
    }
}

#[tokio::test]
async fn a_keep_alive_that_is_too_long_is_replaced_for_who_can_be_told() {
    let config = MqttConfig {
        max_keep_alive: 1,
        ..MqttConfig::default()
    };
    let gateway = Gateway::with(config, 10).await;
    let told = [0x13, 0, 1];
    for (version, keep_alive, is_told) in [
        (5, 0, true),
        (5, 2, true),
        (5, 1, false),
        (4, 0, false),
        (4, 60, false),
    ] {
        let request = Connect {
            version,
            keep_alive,
            ..Connect::default()
        };
        let mut client = gateway.client().await;
        client.send(&request.bytes()).await;
        let connack = client.packet().await;
        let is_there = connack.windows(3).any(|property| property == told);
        assert_eq!(is_there, is_told, "{version} {keep_alive}");
        if version == 5 {
            client.expect_disconnect(0x8d).await;
        } else {
            // Theirs is not over by then.
            client.expect_silence().await;
        }
    }
}

/// MQTT 5 §3.4.2.1: the reason code of a PUBACK, and what the application is told.
#[tokio::test]
async fn a_device_may_say_that_it_did_not_take_a_command() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected(5).await;
    client.subscribe(5, "c///q/#", 1).await;
    let rows = [
        (0x00, "accepted"),
        (0x10, "accepted"),
        (0x80, "released"),
        (0x83, "released"),
        (0x87, "rejected"),
        (0x90, "rejected"),
        (0x91, "released"),
        (0x97, "released"),
        (0x99, "rejected"),
    ];
    for (packet_id, (code, expected)) in (1..).zip(rows) {
        let outcome = gateway.command("4711", "on", one_way()).await;
        client.expect_publish(5, packet_id, "c///q//on").await;
        client
            .send(&packet(0x40, &[0, packet_id as u8, code]))
            .await;
        let told = match outcome.await {
            CommandOutcome::Accepted => "accepted",
            CommandOutcome::Released => "released",
            CommandOutcome::Rejected(_) => "rejected",
        };
        assert_eq!(told, expected, "{code:#04x}");
    }
}

/// MQTT 5 §3.1.2.11.4.
#[tokio::test]
async fn a_command_that_is_larger_than_the_client_takes_is_refused_for_ever() {
    const TAKES: u8 = 40;
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.client().await;
    let request = Connect {
        version: 5,
        properties: &[0x27, 0, 0, 0, TAKES],
        ..Connect::default()
    };
    client.send(&request.bytes()).await;
    client.expect_connack(0).await;
    client.subscribe(5, "c///q/#", 0).await;
    // Beside it are 27 bytes, of which the content type has 13.
    let largest = "x".repeat(13);
    let outcome = gateway.command("4711", &largest, one_way()).await;
    let topic = format!("c///q//{largest}");
    assert_eq!(published(5, 0, &topic).len(), usize::from(TAKES));
    client.expect_publish(5, 0, &topic).await;
    assert_eq!(outcome.await, CommandOutcome::Accepted);
    // What it can do without is left out first.
    let longer = "x".repeat(14);
    let outcome = gateway.command("4711", &longer, one_way()).await;
    let bare = publish_with(0x30, 5, &format!("c///q//{longer}"), 0, b"", "go");
    client.expect(&bare).await;
    assert_eq!(outcome.await, CommandOutcome::Accepted);
    let outcome = gateway.command("4711", &"x".repeat(27), one_way()).await;
    let too_large = CommandOutcome::Rejected(Reason::PayloadTooLarge);
    assert_eq!(outcome.await, too_large);
    client.expect_silence().await;
}
