//! Headers, SASL, open, close, time.

use std::time::Duration;

use bytes::BytesMut;

use super::*;
use crate::condition;

fn with_sasl() -> Config {
    Config {
        sasl_mechanisms: vec!["PLAIN", "EXTERNAL"],
        ..config()
    }
}

fn plain(password: &str) -> ClientSasl {
    ClientSasl::Plain {
        username: "user".to_owned(),
        password: password.to_owned(),
    }
}

#[test]
fn opens_one_byte_at_a_time_and_closes_from_the_client() {
    let mut pair = Pair::new(config(), ClientSasl::None, config()).chunks(Chunks::Bytes, 1);
    pair.drive();
    let opened = |side: &Side| {
        side.any(|event| matches!(event, Event::Opened(open) if open.container_id == "weir"))
    };
    assert!(opened(&pair.client) && opened(&pair.server));
    pair.client.conn.close(pair.now, None);
    pair.drive();
    assert_eq!(pair.client.closed(), Some((None, CloseReason::Local)));
    assert_eq!(pair.server.closed(), Some((None, CloseReason::Remote)));
    assert!(pair.client.conn.is_closed() && pair.server.conn.is_closed());
}

#[test]
fn closes_from_the_server_with_an_error() {
    let mut pair = Pair::open();
    pair.server.conn.close(
        pair.now,
        Some(Error::new(condition::CONNECTION_FORCED, "bye")),
    );
    pair.drive();
    let (error, reason) = pair.client.closed().unwrap();
    assert_eq!(
        (error.unwrap(), reason),
        (
            Error::new(condition::CONNECTION_FORCED, "bye"),
            CloseReason::Remote
        )
    );
    assert_eq!(pair.server.closed().unwrap().1, CloseReason::Local);
}

#[test]
fn a_refused_open_is_open_and_close() {
    let mut pair = Pair::new(config(), ClientSasl::None, config());
    pair.server.obliging = false;
    pair.drive();
    assert!(!pair.server.conn.wants_input());
    pair.server
        .conn
        .close(pair.now, Some(condition::NOT_FOUND.into()));
    pair.drive();
    assert!(pair.client.any(|event| matches!(event, Event::Opened(_))));
    assert_eq!(
        condition_of(&pair.client.closed().unwrap().0),
        condition::NOT_FOUND
    );
}

#[test]
fn sasl_plain_is_believed_or_not() {
    for seed in 0..20 {
        for (password, good) in [("secret", true), ("wrong", false)] {
            let mut pair =
                Pair::new(config(), plain(password), with_sasl()).chunks(Chunks::Random, seed);
            pair.drive();
            let opened = |side: &Side| side.any(|event| matches!(event, Event::Opened(_)));
            assert_eq!((opened(&pair.client), opened(&pair.server)), (good, good));
            assert_eq!(pair.client.conn.is_closed(), !good);
        }
    }
}

#[test]
fn every_verdict_on_every_mechanism_reaches_the_client() {
    for (sasl, mechanism, response) in [
        (ClientSasl::Anonymous, "ANONYMOUS", &b""[..]),
        (ClientSasl::External, "EXTERNAL", b""),
        (plain("secret"), "PLAIN", b"\0user\0secret"),
    ] {
        for code in [
            SaslCode::Ok,
            SaslCode::Auth,
            SaslCode::Sys,
            SaslCode::SysPerm,
            SaslCode::SysTemp,
        ] {
            let client = Config {
                hostname: Some("host".to_owned()),
                ..config()
            };
            let server = Config {
                sasl_mechanisms: vec!["PLAIN", "EXTERNAL", "ANONYMOUS"],
                ..config()
            };
            let mut pair = Pair::new(client, sasl.clone(), server);
            pair.server.obliging = false;
            pair.drive();
            assert!(pair.server.any(|event| matches!(event,
                Event::SaslInit { mechanism: m, response: r, hostname: Some(host) }
                if m == mechanism && r == response && host == "host")));
            pair.server.conn.sasl_outcome(pair.now, code);
            pair.server.obliging = true;
            pair.drive();
            if code == SaslCode::Ok {
                assert!(pair.client.any(|event| matches!(event, Event::Opened(_))));
            } else {
                for side in [&pair.client, &pair.server] {
                    assert_eq!(side.closed().unwrap().1, CloseReason::Sasl(code));
                    assert!(side.conn.is_closed());
                }
            }
        }
    }
}

#[test]
fn a_mechanism_that_is_not_offered_fails() {
    let mut pair = Pair::new(config(), ClientSasl::Anonymous, with_sasl());
    pair.drive();
    assert_eq!(pair.client.closed().unwrap().1, CloseReason::SaslMechanism);
    assert!(
        !pair
            .server
            .any(|event| matches!(event, Event::SaslInit { .. }))
    );
}

#[test]
fn the_verdict_may_take_its_time_and_pipelined_frames_wait() {
    let mut pair = Pair::new(config(), plain("secret"), with_sasl());
    pair.server.obliging = false;
    pair.drive();
    assert!(
        pair.server
            .any(|event| matches!(event, Event::SaslInit { .. }))
    );
    assert!(!pair.server.conn.wants_input());
    pair.server.conn.sasl_outcome(pair.now, SaslCode::Ok);
    pair.server.obliging = true;
    pair.drive();
    assert!(pair.client.any(|event| matches!(event, Event::Opened(_))));
}

#[test]
fn other_protocol_headers_are_answered_with_ours() {
    let now = Instant::now();
    for (mechanisms, header, answer) in [
        (
            vec!["PLAIN"],
            b"AMQP\x00\x01\x00\x00",
            b"AMQP\x03\x01\x00\x00",
        ),
        (
            vec!["PLAIN"],
            b"AMQP\x02\x01\x00\x00",
            b"AMQP\x03\x01\x00\x00",
        ),
        (
            vec!["PLAIN"],
            b"AMQP\x00\x00\x09\x01",
            b"AMQP\x03\x01\x00\x00",
        ),
        (vec![], b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"),
        (vec![], b"GET / HT", b"AMQP\x00\x01\x00\x00"),
    ] {
        let mut server = Connection::<u32>::server(
            Config {
                sasl_mechanisms: mechanisms,
                ..config()
            },
            now,
        );
        server.handle_input(now, &mut BytesMut::from(&header[..]));
        assert_eq!(&server.output()[..], answer);
        assert!(server.is_closed());
        let closed = |event| {
            matches!(
                event,
                Event::Closed {
                    reason: CloseReason::ProtocolHeader,
                    ..
                }
            )
        };
        assert!(server.poll_event().is_some_and(closed));
    }
}

#[test]
fn a_handshake_that_stalls_ends_in_time() {
    let mut pair = Pair::new(config(), ClientSasl::None, config());
    pair.client.frozen = true;
    pair.pass(Duration::from_secs(9));
    assert!(pair.server.closed().is_none());
    pair.pass(Duration::from_secs(2));
    assert_eq!(
        pair.server.closed().unwrap().1,
        CloseReason::HandshakeTimeout
    );
}

#[test]
fn a_close_that_is_not_answered_ends_in_time() {
    let mut pair = Pair::open();
    pair.client.frozen = true;
    pair.server.conn.close(pair.now, None);
    pair.drive();
    assert!(!pair.server.conn.is_closed());
    pair.pass(Duration::from_secs(3));
    assert_eq!(pair.server.closed(), Some((None, CloseReason::Local)));
}

#[test]
fn heartbeats_keep_a_quiet_connection_both_ways() {
    let idle = |seconds| Config {
        idle_timeout: Some(Duration::from_secs(seconds)),
        ..config()
    };
    let mut pair = Pair::open_with(idle(4), idle(10));
    let (client, server) = (pair.client.heard.len(), pair.server.heard.len());
    pair.pass(Duration::from_secs(100));
    assert!(pair.client.closed().is_none() && pair.server.closed().is_none());
    // The peer is told half of our time-out and sends at half of that.
    assert_eq!((pair.client.heard.len() - client) / 8, 100);
    assert_eq!((pair.server.heard.len() - server) / 8, 40);
}

#[test]
fn a_silent_peer_is_closed_at_the_idle_timeout() {
    for freeze_client in [true, false] {
        let idle = || Config {
            idle_timeout: Some(Duration::from_secs(5)),
            ..config()
        };
        let mut pair = Pair::open_with(idle(), idle());
        pair.client.frozen = freeze_client;
        pair.server.frozen = !freeze_client;
        pair.pass(Duration::from_millis(4_900));
        let side = |pair: &Pair| {
            if freeze_client {
                pair.server.closed()
            } else {
                pair.client.closed()
            }
        };
        assert!(side(&pair).is_none());
        pair.pass(Duration::from_millis(200));
        assert_eq!(side(&pair).unwrap().1, CloseReason::IdleTimeout);
    }
}

#[test]
fn frames_larger_than_agreed_are_refused_by_their_size_alone() {
    let mut pair = Pair::open();
    pair.server.input.extend_from_slice(&[0, 1, 0, 1]);
    pair.drive();
    let (error, reason) = pair.server.closed().unwrap();
    assert_eq!(
        (condition_of(&error), reason),
        (condition::FRAMING_ERROR, CloseReason::Violation)
    );
    assert_eq!(
        condition_of(&pair.client.closed().unwrap().0),
        condition::FRAMING_ERROR
    );
}

#[test]
fn frames_that_are_out_of_place_close_with_not_allowed() {
    for frame in [
        // A flow without a session, a second open, a performative nobody knows.
        &b"\x00\x00\x00\x14\x02\x00\x00\x05\x00\x53\x13\xc0\x07\x05\x40\x43\x43\x43\x40\x40"[..],
        b"\x00\x00\x00\x11\x02\x00\x00\x00\x00\x53\x10\xc0\x04\x01\xa1\x01a",
        b"\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x99\x45",
    ] {
        let mut pair = Pair::open();
        pair.server.input.extend_from_slice(frame);
        pair.drive();
        assert_eq!(
            condition_of(&pair.client.closed().unwrap().0),
            condition::NOT_ALLOWED
        );
    }
}

#[test]
fn an_eof_is_told_once() {
    let mut pair = Pair::open();
    pair.server.conn.handle_eof(pair.now);
    pair.server.conn.handle_eof(pair.now);
    pair.drive();
    assert_eq!(
        pair.server.closed(),
        Some((None, CloseReason::TransportLost))
    );
    assert_eq!(
        pair.server
            .events
            .iter()
            .filter(|event| matches!(event, Event::Closed { .. }))
            .count(),
        1
    );
}

#[test]
fn commands_that_come_too_late_do_nothing() {
    let mut pair = Pair::open();
    let session = pair.begin();
    let (receiver, sender) = pair.telemetry(session, "t", 5);
    pair.client.conn.close(pair.now, None);
    pair.drive();
    assert_eq!(send(&mut pair.server, pair.now, sender, 1, b"late"), Err(1));
    pair.server.conn.detach(sender, None);
    pair.server.conn.accept_link(sender, AcceptLink::default());
    pair.client.conn.grant_credit(receiver, 5);
    pair.client
        .conn
        .settle(receiver, DeliveryId(0), &Outcome::Accepted);
    pair.client.conn.end(session, None);
    assert!(pair.client.conn.output().is_empty() && pair.server.conn.output().is_empty());
}

#[test]
fn an_eof_right_after_the_peers_close_does_not_take_back_our_answer() {
    let mut pair = Pair::open();
    pair.client.conn.close(pair.now, None);
    pair.client.turn(pair.now);
    let mut close = pair.client.wire.split();
    pair.server.conn.handle_input(pair.now, &mut close);
    pair.server.conn.handle_eof(pair.now);
    assert!(!pair.server.conn.output().is_empty());
}

#[test]
fn what_is_printed_holds_no_secrets() {
    let mut pair = Pair::new(config(), plain("secret"), with_sasl());
    pair.server.obliging = false;
    pair.drive();
    let printed = format!(
        "{:?} {:?} {:?}",
        pair.server.events,
        pair.client.conn,
        plain("secret")
    );
    assert!(
        printed.contains("SaslInit")
            && !printed.contains("secret")
            && !printed.contains("115, 101")
    );
}

#[test]
fn a_frame_that_nests_without_end_is_refused_before_it_is_decoded() {
    for code in [0x10, 0x11, 0x12, 0x16, 0x17, 0x18] {
        let mut pair = Pair::open();
        pair.begin();
        // A list in a list in a list ..; then descriptors of descriptors.
        let mut lists = vec![0x40];
        for _ in 0..5000 {
            let size = u32::try_from(lists.len()).unwrap() + 4;
            lists = [&[0xd0][..], &size.to_be_bytes(), &[0, 0, 0, 1], &lists].concat();
        }
        for body in [lists, vec![0; 50_000]] {
            let size = u32::try_from(body.len()).unwrap() + 11;
            let frame = [&size.to_be_bytes()[..], &[2, 0, 0, 0, 0, 0x53, code], &body].concat();
            pair.server.input.extend_from_slice(&frame);
        }
        pair.drive();
        let expected = if code == 0x10 {
            condition::NOT_ALLOWED
        } else {
            condition::DECODE_ERROR
        };
        assert_eq!(condition_of(&pair.client.closed().unwrap().0), expected);
    }
}

#[test]
fn an_error_of_any_length_fits_the_smallest_frame() {
    let mut pair = Pair::open_with(
        Config {
            max_frame_size: 512,
            ..config()
        },
        config(),
    );
    let error = Error::new("c".repeat(5000), "d".repeat(5000));
    pair.server.conn.close(pair.now, Some(error));
    pair.drive();
    let (error, reason) = pair.client.closed().unwrap();
    assert_eq!(reason, CloseReason::Remote);
    assert!("c".repeat(5000).starts_with(&*error.unwrap().condition));
}

#[test]
fn outcomes_that_wait_to_be_written_do_not_get_in_the_way_of_the_last_words() {
    let unread = |idle: Option<u64>| {
        let idle_timeout = idle.map(Duration::from_secs);
        let server = Config {
            idle_timeout,
            ..config()
        };
        let mut pair = Pair::open_with(config(), server);
        let session = pair.begin();
        let (sender, _) = pair.commands(session, "c");
        send(&mut pair.client, pair.now, sender, 1, b"m").unwrap();
        pair.drive();
        let (link, delivery, _) = pair.server.messages().remove(0);
        pair.server.conn.settle(link, delivery, &Outcome::Accepted);
        pair
    };
    // The transport has gone: nothing is left to be written.
    let mut pair = unread(None);
    pair.server.conn.handle_eof(pair.now);
    assert!(pair.server.conn.output().is_empty());
    // The peer is silent but takes what is sent: it is told why it is left.
    let mut pair = unread(Some(5));
    let now = pair.now + Duration::from_secs(5);
    pair.server.conn.handle_timeout(now);
    assert!(pair.server.conn.is_closed());
    pair.drive();
    assert_eq!(
        condition_of(&pair.client.closed().unwrap().0),
        condition::RESOURCE_LIMIT_EXCEEDED
    );
}
