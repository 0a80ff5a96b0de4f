//! What no client may make us hold or wait for.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use weir_core::command::{Command, CommandOutcome};
use weir_http::HttpConfig;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, event, fields, frame,
};
use crate::commands::{hand_over, one_way};
use crate::kit::{Gateway, until, within};

const ENHANCE_YOUR_CALM: u8 = 0xb;
const INITIAL_WINDOW_SIZE: u16 = 4;
const LARGEST_WINDOW: u32 = 0x7fff_ffff;

async fn impatient() -> Gateway {
    let config = HttpConfig {
        idle_timeout: 1,
        ..HttpConfig::default()
    };
    Gateway::start_secured(config, None).await
}

/// An upload without a body.
fn upload(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &event(&[]))
}

#[tokio::test]
async fn a_client_is_told_what_it_may_send() {
    let gateway = Gateway::start_with_tls().await;
    let mut client = Raw::open(&gateway, &[]).await;
    let settings = client.expect(SETTINGS).await.payload;
    let settings: BTreeMap<u16, u32> = settings
        .chunks(6)
        .map(|setting| {
            let (id, value) = setting.split_at(2);
            let id = u16::from_be_bytes(id.try_into().unwrap());
            (id, u32::from_be_bytes(value.try_into().unwrap()))
        })
        .collect();
    let (streams, window, head) = (settings[&3], settings[&4], settings[&6]);
    assert_eq!((streams, window, head), (32, 64 * 1024, 8 * 1024));
    assert!(!settings.contains_key(&8), "no extended CONNECT");
}

#[tokio::test]
async fn a_connection_without_a_request_in_progress_is_told_to_go_and_closed() {
    let gateway = impatient().await;
    let mut begun = Raw::open(&gateway, &[]).await;
    let mut in_head = Raw::open(&gateway, &[]).await;
    in_head.send(HEADERS, END_STREAM, 1, &event(&[])[..9]).await;
    let mut between = Raw::open(&gateway, &[]).await;
    between.write(&upload(1)).await;
    assert_eq!(between.expect(HEADERS).await.stream, 1);
    // In the middle of a head no other frame may be sent, so pings have no answer there.
    let (begun, in_head, between) =
        tokio::join!(begun.rest(), in_head.rest_unanswered(), between.rest());
    for frames in [begun, in_head, between] {
        let told: Vec<_> = frames.iter().filter(|frame| frame.kind == GOAWAY).collect();
        assert!(!told.is_empty() && told.iter().all(|frame| frame.code() == 0));
    }
    // One that does not even begin is not told anything that it would understand.
    let mut silent = Raw::silent(&gateway).await;
    silent.ends().await;
    until(|| gateway.budget.open() == 0).await;
}

#[tokio::test]
async fn whatever_else_a_client_sends_does_not_keep_its_connection_open() {
    let gateway = impatient().await;
    let mut client = Raw::open(&gateway, &[]).await;
    let update = frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes());
    let mut told = false;
    while let Some(frame) = client.next().await {
        told |= frame.kind == GOAWAY;
        client.answer(&frame).await;
        // It fails when the connection has ended.
        let _ = client.try_write(&update).await;
    }
    assert!(told);
    until(|| gateway.budget.open() == 0).await;
}

#[tokio::test]
async fn a_client_that_is_gone_without_a_word_is_found() {
    let gateway = impatient().await;
    gateway.northbound.holds();
    let mut client = Raw::open(&gateway, &[]).await;
    client.write(&upload(1)).await;
    let _held = gateway.northbound.held(1).await;
    // Its request is in progress; it reads, but says nothing any more.
    let frames = client.rest_unanswered().await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
    until(|| gateway.budget.open() == 0).await;
}

#[tokio::test]
async fn a_head_is_bounded_in_one_frame_or_many() {
    let gateway = Gateway::start_with_tls().await;
    let mut client = Raw::open(&gateway, &[]).await;
    let large = "x".repeat(5 * 1024);
    let head = event(&[("x-one", &large), ("x-two", &large)]);
    let (first, second) = head.split_at(6 * 1024);
    client.send(HEADERS, END_STREAM, 1, first).await;
    client.send(CONTINUATION, END_HEADERS, 1, second).await;
    let answer = client.expect(HEADERS).await;
    assert_eq!(answer.stream, 1);
    // `:status: 431`, a literal under an indexed name (RFC 7541 Appendix A).
    let coded = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(answer.payload.len() < 32, "{coded:?}");
    // A head that never ends is an attack.
    client.send(HEADERS, END_STREAM, 3, &event(&[])).await;
    let piece = frame(CONTINUATION, 0, 3, &fields(&[("x", &large)]));
    let flood = piece.repeat(200);
    let _ = client.try_write(&flood).await;
    let frames = client.rest_unanswered().await;
    let end = frames.iter().find(|frame| frame.kind == GOAWAY);
    assert!(
        end.is_none_or(|end| end.code() == ENHANCE_YOUR_CALM),
        "{end:?}"
    );
    assert!(gateway.northbound.messages().is_empty());
}

#[tokio::test]
async fn who_resets_as_fast_as_it_asks_is_sent_away() {
    let gateway = Gateway::start_with_tls().await;
    let mut client = Raw::open(&gateway, &[]).await;
    let cancel = 8u32.to_be_bytes();
    let flood: Vec<u8> = (0..2000)
        .flat_map(|request| {
            let stream = 2 * request + 1;
            let reset = frame(RST_STREAM, 0, stream, &cancel);
            [upload(stream), reset].concat()
        })
        .collect();
    let _ = client.try_write(&flood).await;
    let frames = client.rest_unanswered().await;
    let end = frames.iter().find(|frame| frame.kind == GOAWAY);
    assert!(
        end.is_none_or(|end| end.code() == ENHANCE_YOUR_CALM),
        "{end:?}"
    );
    until(|| gateway.budget.open() == 0).await;
}

/// More than the operating system buffers for a connection.
const LARGE: usize = 32 * 1024 * 1024;

/// A client that has room for everything and reads nothing, with a command on its way to `4711` that the
/// connection has no room for. What was read of the command comes back too.
async fn clogged(gateway: &Gateway) -> (Raw, BoxFuture<'static, CommandOutcome>, usize) {
    let window = [(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)];
    let mut client = Raw::open(gateway, &window).await;
    let more = (LARGEST_WINDOW - 65_535).to_be_bytes();
    client.send(WINDOW_UPDATE, 0, 0, &more).await;
    let head = event(&[("hono-ttd", "50")]);
    let flags = END_HEADERS | END_STREAM;
    client.send(HEADERS, flags, 1, &head).await;
    gateway.northbound.arrival().await;
    let large = Command {
        payload: vec![b'x'; LARGE].into(),
        ..one_way("4711", "set", "")
    };
    let mut outcome = hand_over(gateway, large).await.boxed();
    let read = client.expect(DATA).await.payload.len();
    assert_eq!((&mut outcome).now_or_never(), None);
    (client, outcome, read)
}

#[tokio::test]
async fn a_command_is_accepted_when_the_whole_answer_was_written_and_not_before() {
    for reads_on in [true, false] {
        let gateway = Gateway::start_with_tls().await;
        let (mut client, outcome, mut read) = clogged(&gateway).await;
        if reads_on {
            let mut flags = 0;
            while flags & END_STREAM == 0 {
                let data = client.expect(DATA).await;
                (read, flags) = (read + data.payload.len(), data.flags);
            }
            assert_eq!(read, LARGE);
            assert_eq!(within(outcome).await, CommandOutcome::Accepted);
        } else {
            drop(client);
            assert_eq!(within(outcome).await, CommandOutcome::Released);
        }
    }
}

#[tokio::test]
async fn a_command_of_which_the_device_takes_no_more_never_comes_later() {
    let config = HttpConfig {
        idle_timeout: 2,
        ..HttpConfig::default()
    };
    let gateway = Gateway::start_secured(config, None).await;
    for payload in ["on", "more than a few bytes"] {
        let mut client = Raw::open(&gateway, &[(INITIAL_WINDOW_SIZE, 1)]).await;
        let flags = END_HEADERS | END_STREAM;
        let head = event(&[("hono-ttd", "1")]);
        client.send(HEADERS, flags, 1, &head).await;
        gateway.northbound.arrival().await;
        let command = one_way("4711", "set", payload);
        let outcome = hand_over(&gateway, command).await;
        assert_eq!(client.expect(DATA).await.payload, payload.as_bytes()[..1]);
        let reset = client.expect(RST_STREAM).await;
        assert_eq!((reset.stream, reset.payload), (1, vec![0, 0, 0, 8]));
        assert_eq!(within(outcome).await, CommandOutcome::Released);
        // Now there would be room.
        let update = frame(WINDOW_UPDATE, 0, 1, &100u32.to_be_bytes());
        client.write(&update).await;
        client.write(&upload(3)).await;
        let answer = client.next().await.unwrap();
        assert_eq!((answer.kind, answer.stream), (HEADERS, 3));
        gateway.northbound.arrival().await;
    }
}

#[tokio::test]
async fn a_command_without_payload_is_accepted_when_its_head_was_written_and_not_before() {
    for resets in [true, false] {
        let gateway = Gateway::start_with_tls().await;
        let (mut client, large, _) = clogged(&gateway).await;
        let head = fields(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/event"),
            ("authorization", "Basic Z2F0ZXdheTFAYWNtZTpwdw=="),
            ("content-type", "text/plain"),
            ("hono-ttd", "50"),
        ]);
        let flags = END_HEADERS | END_STREAM;
        client.send(HEADERS, flags, 3, &head).await;
        gateway.northbound.arrival().await;
        let mut outcome = hand_over(&gateway, one_way("gateway", "set", ""))
            .await
            .boxed();
        // Its answer is in the queue, behind the other one.
        until(|| gateway.uploads() == 2.0).await;
        assert_eq!((&mut outcome).now_or_never(), None);
        if resets {
            client.send(RST_STREAM, 0, 3, &8u32.to_be_bytes()).await;
            assert_eq!(within(outcome).await, CommandOutcome::Released);
        } else {
            let mut ended = BTreeSet::new();
            while ended.len() < 2 {
                let frame = client.next().await.unwrap();
                if frame.flags & END_STREAM != 0 && frame.kind == DATA {
                    ended.insert(frame.stream);
                }
            }
            assert_eq!(within(outcome).await, CommandOutcome::Accepted);
            assert_eq!(within(large).await, CommandOutcome::Accepted);
        }
    }
}

/// Splitmix64: the same cases in each run.
fn random(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(z >> 33).unwrap() % below
}

#[tokio::test]
async fn damaged_frames_hurt_nobody_else() {
    let gateway = Gateway::start_with_tls().await;
    let whole = [
        frame(HEADERS, END_HEADERS, 1, &event(&[])),
        frame(WINDOW_UPDATE, 0, 1, &9u32.to_be_bytes()),
        frame(DATA, END_STREAM, 1, b"body"),
        frame(HEADERS, END_STREAM, 3, &event(&[])[..20]),
        frame(CONTINUATION, END_HEADERS, 3, &event(&[])[20..]),
        upload(5),
        frame(RST_STREAM, 0, 5, &8u32.to_be_bytes()),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]),
        upload(7),
    ];
    let whole = whole.concat();
    let mut state = 0x5eed;
    for _ in 0..500 {
        let mut bytes = whole.clone();
        for _ in 0..=random(&mut state, 3) {
            let at = random(&mut state, bytes.len());
            let until = at + random(&mut state, (bytes.len() - at).min(8));
            match random(&mut state, 4) {
                0 => bytes[at] ^= 1 << random(&mut state, 8),
                1 => bytes[at] = u8::try_from(random(&mut state, 256)).unwrap(),
                2 => drop(bytes.drain(at..until)),
                _ => bytes.truncate(at + 1),
            }
        }
        let mut client = Raw::open(&gateway, &[]).await;
        // The other side may have had enough before the end.
        let _ = client.try_write(&bytes).await;
        client.leave().await;
    }
    let mut client = Raw::open(&gateway, &[]).await;
    client.write(&upload(1)).await;
    assert_eq!(client.expect(HEADERS).await.stream, 1);
    drop(client);
    until(|| gateway.budget.open() == 0).await;
    gateway.stopped().await;
}
