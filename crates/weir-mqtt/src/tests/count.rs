//! What is counted of each packet: that, its bytes, and nothing else.

use weir_metrics::MqttCount as M;

use super::client::{
    PINGREQ, PINGRESP, connect, packet, puback, publish, suback, subscribe, unsuback, unsubscribe,
};
use super::command::one_way;
use super::*;

const OWN: &str = "command///req/#";

/// Everything counted so far.
fn counts(gateway: &Gateway) -> Vec<u64> {
    let counts = gateway.metrics.tally().mqtt;
    M::ALL.iter().map(|what| counts.of(*what)).collect()
}

/// What has been counted since `before`, without bytes.
fn since(gateway: &Gateway, before: &[u64]) -> Vec<M> {
    let counted = counts(gateway);
    let rows = M::ALL.iter().zip(counted).zip(before);
    let packets = rows.filter(|((what, _), _)| !matches!(what, M::BytesReceived | M::BytesSent));
    let changed = packets.flat_map(|((what, now), before)| {
        std::iter::repeat_n(*what, usize::try_from(now - before).unwrap())
    });
    changed.collect()
}

fn bytes(gateway: &Gateway) -> (u64, u64) {
    let counts = gateway.metrics.tally().mqtt;
    (counts.of(M::BytesReceived), counts.of(M::BytesSent))
}

/// In the order of their numbers, as the counters are.
fn in_order(counted: &[M]) -> Vec<M> {
    let mut counted = counted.to_vec();
    counted.sort_by_key(|what| *what as usize);
    counted
}

#[tokio::test]
async fn every_packet_is_counted_as_what_it_is() {
    for version in [4, 5] {
        let gateway = Gateway::start().await;
        gateway.back.always(Ok(()));
        let mut client = gateway.connected(version).await;
        let wrong = "telemetry/?on-error=ignore";
        let not_allowed = "telemetry/other/x/?on-error=ignore";
        let pubcomp: &[u8] = match version {
            4 => &[0x70, 2, 0, 6],
            _ => &[0x70, 3, 0, 6, 0x92],
        };
        let rows: Vec<(Vec<u8>, Vec<u8>, &[M])> = vec![
            (PINGREQ.into(), PINGRESP.into(), &[M::Ping, M::PingrespSent]),
            (
                publish(version, "telemetry", 7, "x"),
                puback(7).into(),
                &[M::PublishQos1Received, M::PubackSent],
            ),
            (
                publish(version, "telemetry", 0, "x"),
                Vec::new(),
                &[M::PublishQos0Received],
            ),
            (
                client::publish_with(0x34, version, wrong, 3, b"", "x"),
                Vec::new(),
                &[M::PublishQos2Received, M::PublishError],
            ),
            (
                publish(version, not_allowed, 4, "x"),
                puback(4).into(),
                &[M::PublishQos1Received, M::PubackSent, M::PublishAuthError],
            ),
            (
                subscribe(version, 5, &[(OWN, 1), ("telemetry/#", 1)]),
                suback(version, 5, &[1, 0x80]),
                &[
                    M::Subscribe,
                    M::SubackSent,
                    M::SubscribeError,
                    M::FilterGranted,
                    M::FilterRefused,
                    M::SubscriptionBegun,
                    M::SubscriberBegun,
                ],
            ),
            (
                puback(99).into(),
                Vec::new(),
                &[M::PubackReceived, M::PubackMissed],
            ),
            (
                packet(0x62, &[0, 6]),
                pubcomp.into(),
                &[M::PubrelReceived, M::PubcompSent],
            ),
            (packet(0x50, &[0, 6]), Vec::new(), &[M::Unasked]),
            (
                unsubscribe(version, 8, &[OWN]),
                unsuback(version, 8, &[0]),
                &[
                    M::Unsubscribe,
                    M::UnsubackSent,
                    M::SubscriptionEnded,
                    M::SubscriberEnded,
                ],
            ),
            (
                unsubscribe(version, 9, &[OWN]),
                unsuback(version, 9, &[0x80]),
                &[M::Unsubscribe, M::UnsubackSent, M::UnsubscribeError],
            ),
        ];
        for (sent, answer, expected) in rows {
            let (before, bytes_before) = (counts(&gateway), bytes(&gateway));
            client.send(&sent).await;
            let mut answered = 0;
            if let Some(first) = answer.first() {
                // Version 5 says more of what it refuses.
                let got = client.packet().await;
                assert_eq!(got[0], *first, "{expected:?}");
                assert!(got.len() >= answer.len(), "{expected:?}");
                answered = got.len() as u64;
            }
            let mut extra = vec![];
            let mut more = (0, 0);
            if answer.is_empty() {
                client.expect_silence().await;
                extra = vec![M::Ping, M::PingrespSent];
                more = (2, 2);
            }
            let expected = in_order(&[expected, &extra].concat());
            assert_eq!(since(&gateway, &before), expected, "version {version}");
            let (read, written) = bytes(&gateway);
            let read = read - bytes_before.0 - more.0;
            let written = written - bytes_before.1 - more.1;
            let lengths = (sent.len() as u64, answered);
            assert_eq!((read, written), lengths, "{expected:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_is_counted_from_its_first_byte_to_its_end() {
    let gateway = Gateway::start().await;
    let start = counts(&gateway);
    let mut wrong = gateway.client().await;
    let request = connect(4, "sensor1@acme", "wrong");
    wrong.send(&request).await;
    wrong.expect_connack(4).await;
    wrong.expect_end().await;
    let expected = [
        M::Connect,
        M::ConnackSent,
        M::ConnackError,
        M::ConnackAuthError,
        M::AuthenticationFailed,
    ];
    assert_eq!(since(&gateway, &start), in_order(&expected));
    assert_eq!(bytes(&gateway), (request.len() as u64, 4));

    let opened = [M::Connect, M::ConnackSent, M::Authenticated, M::Connected];
    let ends: [(u8, Vec<u8>, &[M]); 3] = [
        (4, packet(0xe0, b""), &[M::Disconnect, M::EndedNormal]),
        (4, packet(0x20, &[0, 0]), &[M::EndedViolation]),
        (
            5,
            packet(0x20, &[0, 0, 0]),
            &[M::EndedViolation, M::DisconnectSent],
        ),
    ];
    for (version, last, ended) in ends {
        let before = counts(&gateway);
        let mut client = gateway.connected(version).await;
        assert_eq!(since(&gateway, &before), in_order(&opened));
        client.send(&last).await;
        client
            .expect_close(
                if ended.contains(&M::DisconnectSent) {
                    5
                } else {
                    4
                },
                0x82,
            )
            .await;
        let expected = in_order(&[&opened, ended].concat());
        assert_eq!(since(&gateway, &before), expected);
    }
}

/// With QoS 1 a command counts when it is acknowledged, because until then it may be taken back.
#[tokio::test]
async fn a_command_is_counted_once_the_device_has_it() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected(4).await;
    for (qos, is_sent, acknowledged) in [
        (0, M::PublishQos0Sent, &[][..]),
        (1, M::PublishQos1Sent, &[M::PubackReceived][..]),
    ] {
        client.subscribe(4, OWN, qos).await;
        let before = counts(&gateway);
        let outcome = gateway.command("4711", "set", one_way()).await;
        let (outcome, ()) = tokio::join!(outcome, async {
            let command = client.packet().await;
            assert_eq!(command[0], if qos == 0 { 0x30 } else { 0x32 });
            if qos == 1 {
                assert_eq!(since(&gateway, &before), []);
                client.send(&puback(1)).await;
            }
        });
        assert!(matches!(
            outcome,
            weir_core::command::CommandOutcome::Accepted
        ));
        let expected = in_order(&[&[is_sent], acknowledged].concat());
        assert_eq!(since(&gateway, &before), expected);
    }
}
