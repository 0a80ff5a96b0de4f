//! Packets that end the connection, and some that only look as if they did.

use super::client::{PINGREQ, connect, field, packet, puback, publish, publish_with};
use super::*;

#[tokio::test]
async fn breaches_of_the_protocol() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let rows = |version| {
        let publish =
            |first, topic, packet_id| publish_with(first, version, topic, packet_id, b"", "x");
        vec![
            (
                "second CONNECT",
                connect(version, "sensor1@acme", "secret"),
                0x82,
            ),
            (
                "CONNACK",
                packet(0x20, &[0, 0, 0][..if version == 5 { 3 } else { 2 }]),
                0x82,
            ),
            ("PINGRESP", packet(0xd0, b""), 0x82),
            ("reserved packet type", packet(0x00, b""), 0x81),
            ("flags of PINGREQ", packet(0xc1, b""), 0x81),
            (
                "flags of SUBSCRIBE",
                packet(0x80, &[0, 1, 0, 1, b'x', 0]),
                0x81,
            ),
            ("QoS 3", publish(0x36, "telemetry", 1), 0x81),
            (
                "packet id 0",
                packet(0x32, &[&field("t")[..], &[0, 0, 0]].concat()),
                0x81,
            ),
            ("DUP with QoS 0", publish(0x38, "telemetry", 0), 0x81),
            ("+ in a topic", publish(0x32, "telemetry/+", 1), 0x90),
            ("# in a topic", publish(0x32, "telemetry/#", 1), 0x90),
            ("U+0000 in a topic", publish(0x32, "t//a\0b", 1), 0x81),
            ("not UTF-8", packet(0x30, &[0, 1, 0xff, 0]), 0x81),
            ("empty topic", publish(0x32, "", 1), 0x82),
            (
                "no filters",
                packet(0x82, &[0, 1, 0][..if version == 5 { 3 } else { 2 }]),
                0x82,
            ),
            ("field beyond the end", packet(0x30, &[0, 9, b't']), 0x81),
            (
                "too large",
                publish_with(0x30, version, "t", 0, b"", &"x".repeat(2175)),
                0x95,
            ),
            ("announced too large", vec![0x30, 0x81, 0x11], 0x95),
            (
                "endless length",
                vec![0x30, 0xff, 0xff, 0xff, 0xff, 0xff],
                0x81,
            ),
        ]
    };
    for version in [4, 5] {
        for (name, bytes, code) in rows(version) {
            let mut client = gateway.connected(version).await;
            client.send(&bytes).await;
            println!("{version} {name}");
            client.expect_close(version, code).await;
        }
    }
}

#[tokio::test]
async fn breaches_only_version_5_knows() {
    let gateway = Gateway::start().await;
    let with = |properties: &[u8]| publish_with(0x32, 5, "telemetry", 1, properties, "x");
    let rows = [
        ("subscription identifier", with(&[0x0b, 1]), 0x82),
        (
            "content type twice",
            with(&[3, 0, 1, b'a', 3, 0, 1, b'b']),
            0x82,
        ),
        ("U+0000 in a content type", with(&[3, 0, 1, 0]), 0x81),
        (
            "U+0000 in a user property",
            with(&[0x26, 0, 1, 0, 0, 1, b'x']),
            0x81,
        ),
        ("wildcard in a response topic", with(&[8, 0, 1, b'#']), 0x90),
        ("AUTH", packet(0xf0, b""), 0x8c),
        ("body of PINGREQ", packet(0xc0, b"x"), 0x81),
    ];
    for (name, bytes, code) in rows {
        let mut client = gateway.connected(5).await;
        client.send(&bytes).await;
        println!("{name}");
        client.expect_disconnect(code).await;
    }
    let mut old = gateway.connected(4).await;
    old.send(&packet(0xf0, b"")).await;
    old.expect_end().await;
    let mut old = gateway.connected(4).await;
    old.send(&packet(0xc0, b"x")).await;
    old.expect_end().await;
}

#[tokio::test]
async fn the_largest_packet_and_payload_pass() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected(4).await;
    let device = format!("t//4711/{}", "x".repeat(117));
    // 2 + 125 for the topic, 2048 for the payload: 1 less than 2176 with QoS 0.
    client
        .send(&publish(4, &device, 0, &"x".repeat(2049)))
        .await;
    assert_eq!(gateway.back.next().await.message.payload.len(), 2049);
}

#[tokio::test]
async fn acknowledgements_of_nothing_are_ignored_and_pubrel_is_completed() {
    let gateway = Gateway::start().await;
    for version in [4, 5] {
        let mut client = gateway.connected(version).await;
        for kind in [0x40, 0x50, 0x70] {
            client.send(&packet(kind, &[0, 9])).await;
        }
        client.expect_silence().await;
        client.send(&packet(0x62, &[0, 9])).await;
        let expected: &[u8] = if version == 5 {
            &[0x70, 3, 0, 9, 0x92]
        } else {
            &[0x70, 2, 0, 9]
        };
        client.expect(expected).await;
    }
}

#[tokio::test]
async fn what_is_settled_is_answered_before_a_breach_ends_the_connection() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected(4).await;
    let all = [publish(4, "t", 1, "x"), PINGREQ.to_vec(), vec![0]].concat();
    client.send(&[&all[..], &[0]].concat()).await;
    // PUBACK and PINGRESP, in the order in which they became known.
    let mut answers = [client.packet().await, client.packet().await];
    answers.sort();
    assert_eq!(answers, [puback(1).to_vec(), client::PINGRESP.to_vec()]);
    client.expect_end().await;
}
