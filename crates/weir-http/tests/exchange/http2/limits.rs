//! What no client may make us hold or wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use weir_core::command::{Command, CommandOutcome};
use weir_http::HttpConfig;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, event, frame,
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
    assert_eq!((streams, window, head), (100, 64 * 1024, 16 * 1024));
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
    for client in [&mut begun, &mut in_head, &mut between] {
        let frames = client.rest().await;
        let last = frames.iter().rfind(|frame| frame.kind == GOAWAY).unwrap();
        assert_eq!(last.code(), 0);
    }
    // One that does not even begin is not told anything that it would understand.
    let mut silent = Raw::silent(&gateway).await;
    silent.rest().await;
    until(|| gateway.budget.open() == 0).await;
}

#[tokio::test]
async fn whatever_else_a_client_sends_does_not_keep_its_connection_open() {
    let gateway = impatient().await;
    let mut client = Raw::open(&gateway, &[]).await;
    let update = frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes());
    // Writing fails when the connection has ended.
    within(async {
        while client.try_write(&update).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
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
    let large = "x".repeat(9 * 1024);
    let head = event(&[("x-one", &large), ("x-two", &large)]);
    let (first, second) = head.split_at(10 * 1024);
    client.send(HEADERS, END_STREAM, 1, first).await;
    client.send(CONTINUATION, END_HEADERS, 1, second).await;
    let answer = client.expect(HEADERS).await;
    assert_eq!(answer.stream, 1);
    // `:status: 431`, a literal under an indexed name (RFC 7541 Appendix A).
    let coded = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(answer.payload.len() < 32, "{coded:?}");
    // A head that never ends is an attack.
    client.send(HEADERS, END_STREAM, 3, &event(&[])).await;
    let piece = frame(CONTINUATION, 0, 3, &super::frames::fields(&[("x", &large)]));
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

#[tokio::test]
async fn a_command_is_accepted_when_the_whole_answer_was_written_and_not_before() {
    for reads_on in [true, false] {
        let gateway = Gateway::start_with_tls().await;
        let window = [(INITIAL_WINDOW_SIZE, LARGEST_WINDOW)];
        let mut client = Raw::open(&gateway, &window).await;
        let more = (LARGEST_WINDOW - 65_535).to_be_bytes();
        client.send(WINDOW_UPDATE, 0, 0, &more).await;
        let head = event(&[("hono-ttd", "50")]);
        client
            .send(HEADERS, END_HEADERS | END_STREAM, 1, &head)
            .await;
        gateway.northbound.arrival().await;
        let large = Command {
            payload: vec![b'x'; LARGE].into(),
            ..one_way("4711", "set", "")
        };
        let mut outcome = Box::pin(hand_over(&gateway, large).await);
        let mut read = client.expect(DATA).await.payload.len();
        assert_eq!(outcome.as_mut().now_or_never(), None);
        if reads_on {
            let mut last = 0;
            while last & END_STREAM == 0 {
                let data = client.expect(DATA).await;
                (read, last) = (read + data.payload.len(), data.flags);
            }
            assert_eq!(read, LARGE);
            assert_eq!(within(outcome).await, CommandOutcome::Accepted);
        } else {
            drop(client);
            assert_eq!(within(outcome).await, CommandOutcome::Released);
        }
    }
}
