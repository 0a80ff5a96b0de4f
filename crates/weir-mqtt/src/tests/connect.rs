//! CONNECT and CONNACK.

use super::client::{Connect, connect, field, packet, puback, publish};
use super::*;

#[tokio::test]
async fn both_versions_are_welcome_on_one_port() {
    let gateway = Gateway::start().await;
    let mut v3 = gateway.client().await;
    v3.send(&Connect::default().bytes()).await;
    v3.expect(&[0x20, 2, 0, 0]).await;
    let mut v5 = gateway.client().await;
    let request = Connect {
        version: 5,
        // Session Expiry Interval: for ever.
        properties: &[0x11, 0xff, 0xff, 0xff, 0xff],
        ..Connect::default()
    };
    v5.send(&request.bytes()).await;
    let properties = [
        &[0x11, 0, 0, 0, 0][..],   // Session Expiry Interval
        &[0x21, 0, 64],            // Receive Maximum
        &[0x24, 1],                // Maximum QoS
        &[0x27, 0, 0, 0x08, 0x83], // Maximum Packet Size: 3 + 2048 + 128
        &[0x22, 0, 16],            // Topic Alias Maximum
        &[0x29, 0],                // Subscription Identifiers
        &[0x2a, 0],                // Shared Subscriptions
    ];
    let body = [&[0, 0, 22][..], &properties.concat()].concat();
    v5.expect(&packet(0x20, &body)).await;
    let attempts = gateway.series(&["hono_connections_attempts_total", "succeeded", "acme"]);
    assert!(attempts[0].ends_with(" 2"), "{attempts:?}");
    let open = gateway.series(&["hono_connections_authenticated{"]);
    assert!(open[0].ends_with(" 2"), "{open:?}");
}

#[tokio::test]
async fn an_old_session_may_be_asked_for_and_is_never_there() {
    let gateway = Gateway::start().await;
    for version in [3, 4, 5] {
        let mut client = gateway.client().await;
        let request = Connect {
            version,
            clean: false,
            ..Connect::default()
        };
        client.send(&request.bytes()).await;
        client.expect_connack(0).await;
    }
}

/// Device contract §8.1, column MQTT CONN.
#[tokio::test]
async fn refusals() {
    let gateway = Gateway::start().await;
    let good = Some("secret");
    let rows = [
        (None, None, 0x04, 0x86),
        (Some("sensor1@acme"), None, 0x04, 0x86),
        (Some("sensor1"), good, 0x04, 0x86),
        (Some("sensor1@acme"), Some("wrong"), 0x04, 0x86),
        (Some("nobody@acme"), good, 0x04, 0x86),
        (Some("sensor1@nowhere"), good, 0x04, 0x86),
        (Some("revoked@acme"), good, 0x04, 0x86),
        (Some("sensor1@off"), good, 0x05, 0x87),
        // The tenant is looked at before the password.
        (Some("sensor1@off"), Some("wrong"), 0x05, 0x87),
        (Some("sensor1@http-only"), good, 0x05, 0x87),
        (Some("gone@acme"), good, 0x05, 0x87),
    ];
    for (username, password, v3, v5) in rows {
        for (version, code) in [(4, v3), (5, v5)] {
            let request = Connect {
                version,
                username,
                password: password.map(str::as_bytes),
                ..Connect::default()
            };
            let mut client = gateway.client().await;
            client.send(&request.bytes()).await;
            client.expect_connack(code).await;
            client.expect_end().await;
        }
    }
    gateway.registry.fail();
    for (version, code) in [(4, 0x03), (5, 0x88)] {
        let mut client = gateway.client().await;
        client
            .send(&connect(version, "sensor1@acme", "secret"))
            .await;
        client.expect_connack(code).await;
        client.expect_end().await;
    }
    let counted = |outcome: &str| {
        let lines = gateway.series(&["hono_connections_attempts_total", outcome]);
        let value = |line: &String| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        lines.iter().map(value).sum::<f64>()
    };
    assert_eq!(counted("\"unauthorized\""), 14.0);
    assert_eq!(counted("adapter-disabled"), 6.0);
    assert_eq!(counted("registration-assertion-failure"), 2.0);
    assert_eq!(counted("unavailable"), 2.0);
}

#[tokio::test]
async fn a_password_alone_is_malformed_before_version_5() {
    let gateway = Gateway::start().await;
    for version in [4, 5] {
        let mut client = gateway.client().await;
        let request = Connect {
            version,
            username: None,
            ..Connect::default()
        };
        client.send(&request.bytes()).await;
        if version == 5 {
            client.expect_connack(0x86).await;
        }
        client.expect_end().await;
    }
}

#[tokio::test]
async fn a_client_without_a_name_gets_one_if_it_wants_a_clean_session() {
    let gateway = Gateway::start().await;
    for (version, clean, code) in [
        (4, true, 0),
        (5, true, 0),
        (4, false, 0x02),
        (5, false, 0x85),
    ] {
        let mut client = gateway.client().await;
        let request = Connect {
            version,
            clean,
            client_id: "",
            ..Connect::default()
        };
        client.send(&request.bytes()).await;
        let connack = client.packet().await;
        assert_eq!((connack[2], connack[3]), (0, code));
        let assigned = String::from_utf8_lossy(&connack).contains("weir-");
        assert_eq!(assigned, version == 5 && clean);
    }
}

#[tokio::test]
async fn what_is_not_a_connect_is_not_answered() {
    let gateway = Gateway::start().await;
    let good = Connect::default();
    let v5 = Connect {
        version: 5,
        ..Connect::default()
    };
    let with_flags = |flags: u8| {
        let mut body = good.body();
        body[7] |= flags;
        packet(0x10, &body)
    };
    let no_answer = [
        b"GET / HTTP/1.1\r\n".to_vec(),
        client::PINGREQ.to_vec(),
        publish(4, "telemetry", 1, "x"),
        packet(0x11, &good.body()),
        packet(0x10, &[field("MQTX"), vec![4, 2, 0, 0, 0, 0]].concat()),
        packet(0x10, &[good.body(), vec![0]].concat()),
        with_flags(0x01),
        with_flags(0x08),
        Connect {
            client_id: "a\0b",
            ..Connect::default()
        }
        .bytes(),
        vec![0x10, 0xff, 0xff, 0xff, 0xff, 0x01],
        // Announces more than is allowed.
        vec![0x10, 0x81, 0x11],
    ];
    for bytes in no_answer {
        let mut client = gateway.client().await;
        client.send(&bytes).await;
        client.expect_end().await;
    }
    let told = [
        (packet(0x10, &[v5.body(), vec![0]].concat()), 0x81),
        (
            packet(0x10, &[field("MQTT"), vec![6, 2, 0, 0, 0, 0]].concat()),
            0x01,
        ),
        // Enhanced authentication: method "x".
        (
            Connect {
                version: 5,
                properties: &[0x15, 0, 1, b'x'],
                ..Connect::default()
            }
            .bytes(),
            0x8c,
        ),
    ];
    for (bytes, code) in told {
        let mut client = gateway.client().await;
        client.send(&bytes).await;
        client.expect_connack(code).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn a_will_is_taken_and_never_published() {
    let mut gateway = Gateway::start().await;
    let mut body = field("MQTT");
    body.extend([4, 0xc6, 0, 60]);
    for part in ["client", "telemetry", "bye", "sensor1@acme", "secret"] {
        body.extend(field(part));
    }
    let mut client = gateway.client().await;
    client.send(&packet(0x10, &body)).await;
    client.expect_connack(0).await;
    drop(client);
    // Another device's message comes first, and alone.
    let mut witness = gateway.connected(4).await;
    witness.send(&publish(4, "telemetry", 0, "alive")).await;
    assert_eq!(&*gateway.back.next().await.message.payload, b"alive");
    assert!(gateway.back.is_idle());
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_in_its_version() {
    let gateway = Gateway::with(MqttConfig::default(), 1).await;
    let first = gateway.connected(4).await;
    for (version, code) in [(4, 0x03), (5, 0x9c)] {
        let mut client = gateway.client().await;
        // The limit is checked before the password.
        client
            .send(&connect(version, "sensor1@acme", "wrong"))
            .await;
        client.expect_connack(code).await;
        client.expect_end().await;
    }
    let refused = gateway.series(&["attempts_total", "adapter-connections-exceeded"]);
    assert!(refused[0].ends_with(" 2"), "{refused:?}");
    drop(first);
}

#[tokio::test]
async fn packets_may_follow_connect_without_waiting_and_arrive_in_any_pieces() {
    let mut gateway = Gateway::start().await;
    let all = [
        connect(4, "sensor1@acme", "secret"),
        publish(4, "telemetry", 7, "x"),
        client::PINGREQ.to_vec(),
    ]
    .concat();
    for size in [all.len(), 1, 3] {
        let mut client = gateway.client().await;
        for piece in all.chunks(size) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        client.expect_connack(0).await;
        client.expect(&client::PINGRESP).await;
        gateway.back.next().await.settle(Ok(()));
        client.expect(&puback(7)).await;
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_has_sent_much_more() {
    let gateway = Gateway::start().await;
    for _ in 0..20 {
        let mut client = gateway.client().await;
        client.send(&connect(4, "sensor1@acme", "wrong")).await;
        client
            .send(&publish(4, "telemetry", 0, &"x".repeat(2000)).repeat(30))
            .await;
        client.expect_connack(0x04).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn a_client_that_takes_only_tiny_packets_is_let_go() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let request = Connect {
        version: 5,
        // Maximum Packet Size: 10.
        properties: &[0x27, 0, 0, 0, 10],
        ..Connect::default()
    };
    client.send(&request.bytes()).await;
    client.expect_end().await;
}
