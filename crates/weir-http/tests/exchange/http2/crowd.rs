//! Many requests on one connection.

use weir_core::Reason;

use super::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, Raw, event, fields, frame,
};
use super::{client, upload};
use crate::kit::{Gateway, until};

const STREAMS: u32 = 32;
const REFUSED_STREAM: u32 = 7;

/// What is answered to anybody at once.
fn preflight(stream: u32) -> Vec<u8> {
    let head = fields(&[
        (":method", "OPTIONS"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/event"),
    ]);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head)
}

#[tokio::test]
async fn few_requests_at_a_time_are_before_they_are_known() {
    let gateway = Gateway::start_with_tls().await;
    let gate = gateway.registry.gate.clone();
    gate.close();
    let mut raw = Raw::open(&gateway, &[]).await;
    let begun = |stream| frame(HEADERS, END_HEADERS, stream, &event(&[]));
    let streams = (0..STREAMS - 1).map(|request| 2 * request + 1);
    for stream in streams.clone() {
        raw.write(&begun(stream)).await;
    }
    until(|| gate.asked() == 8).await;
    // Whatever was sent before this was looked at before this was answered.
    raw.write(&preflight(101)).await;
    assert_eq!(raw.expect(HEADERS).await.stream, 101);
    assert_eq!(gate.asked(), 8);
    // Now they are known, but not what they bring. Somebody else's password is checked after theirs.
    gate.open();
    let other = upload(&gateway, &client(), reqwest::Method::POST, "/event");
    assert_eq!(other.body("1").send().await.unwrap().status(), 202);
    raw.write(&preflight(103)).await;
    assert_eq!(raw.expect(HEADERS).await.stream, 103);
    assert_eq!(gate.asked(), 9);
    for stream in streams.clone() {
        raw.send(DATA, END_STREAM, stream, b"1").await;
    }
    let mut answered = Vec::new();
    for _ in streams.clone() {
        answered.push(raw.expect(HEADERS).await.stream);
    }
    answered.sort_unstable();
    assert_eq!(answered, streams.collect::<Vec<_>>());
    assert_eq!(gateway.northbound.messages().len(), 32);
}

#[tokio::test]
async fn requests_that_there_was_no_place_for_may_be_many() {
    let gateway = Gateway::start_with_tls().await;
    gateway.northbound.holds();
    let mut raw = Raw::open(&gateway, &[]).await;
    let flags = END_HEADERS | END_STREAM;
    let begun = |stream| frame(HEADERS, flags, stream, &event(&[]));
    for request in 0..STREAMS {
        raw.write(&begun(2 * request + 1)).await;
    }
    let held = gateway.northbound.held(32).await;
    for request in STREAMS..STREAMS + 300 {
        raw.write(&begun(2 * request + 1)).await;
        let reset = raw.expect(RST_STREAM).await;
        assert_eq!(reset.stream, 2 * request + 1);
        assert_eq!(reset.payload, REFUSED_STREAM.to_be_bytes());
    }
    for completion in held {
        completion.settle(Err(Reason::Released), std::time::Instant::now());
    }
    for _ in 0..STREAMS {
        assert!(raw.expect(HEADERS).await.stream < 2 * STREAMS);
    }
}

#[tokio::test]
async fn whoever_asks_for_a_tunnel_is_told_that_there_is_none() {
    let gateway = Gateway::start_with_tls().await;
    let mut raw = Raw::open(&gateway, &[]).await;
    let head = fields(&[(":method", "CONNECT"), (":authority", "localhost:5671")]);
    raw.send(HEADERS, END_HEADERS, 1, &head).await;
    let answer = raw.expect(HEADERS).await;
    // `:status: 404` (RFC 7541 Appendix A).
    assert_eq!((answer.stream, answer.payload[0]), (1, 0x8d));
    // The connection goes on.
    raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &event(&[])))
        .await;
    assert_eq!(raw.expect(HEADERS).await.stream, 3);
    // With a body to come, it does not, but it ends as it should.
    let head = [head, fields(&[("content-length", "1")])].concat();
    raw.send(HEADERS, END_HEADERS, 5, &head).await;
    raw.ends().await;
    until(|| gateway.budget.open() == 0).await;
}
