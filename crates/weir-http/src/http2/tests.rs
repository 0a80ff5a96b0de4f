use std::task::Waker;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::advance;
use weir_listener::Stream;

use super::*;
use crate::handover::Unconfirmed;

const PATIENCE: Duration = Duration::from_secs(75);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// The start of a connection, then eight requests with large heads.
fn requests() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for request in 0..8 {
        // `:method: GET`, `:scheme: https`, `:path: /` (RFC 7541 Appendix A), and `x` of 1,000 bytes: 127,
        // and 873 in groups of seven bits (§5.1).
        let mut head = vec![0x82, 0x87, 0x84, 0, 1, b'x', 127, 0xe9, 6];
        head.extend([b'y'; 1000]);
        bytes.extend(frame(1, 5, 2 * request + 1, &head));
    }
    bytes
}

/// `CONNECT` to `a`, with a body to come.
fn connect() -> Vec<u8> {
    let method = b"\x02\x07CONNECT";
    let authority = b"\x01\x01a";
    let length = b"\x0f\x0d\x011";
    let head = [&method[..], authority, length].concat();
    frame(1, 4, 17, &head)
}

#[tokio::test]
async fn what_a_request_holds_is_let_go_with_the_connection() {
    for (last, is_closed) in [(connect(), false), (Vec::new(), true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        // All of it is there before anything is read.
        client.write_all(&requests()).await.unwrap();
        client.write_all(&last).await.unwrap();
        if is_closed {
            client.shutdown().await.unwrap();
        }
        let (stream, _) = listener.accept().await.unwrap();
        let mut all = vec![0; requests().len() + last.len()];
        while stream.peek(&mut all).await.unwrap() < all.len() {}
        let stream = Stream::Plain(stream);
        let stream = PeerStream::new(stream, PATIENCE, Unconfirmed::default());
        let held = Arc::new(());
        let begun = Arc::new(Mutex::new(0));
        let (probe, counted) = (held.clone(), begun.clone());
        let answer = move |_| {
            *counted.lock().unwrap() += 1;
            let probe = probe.clone();
            async move {
                let _probe = probe;
                std::future::pending().await
            }
        };
        let rest = tokio::spawn(async move {
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await
        });
        let _ = serve(stream, answer, PATIENCE, &CancellationToken::new()).await;
        assert_eq!(*begun.lock().unwrap(), 8);
        assert_eq!(Arc::strong_count(&held), 1, "closed: {is_closed}");
        let _ = rest.await.unwrap();
    }
}

fn poll(taking: &mut Taking) -> Poll<()> {
    taking.poll(&mut Context::from_waker(Waker::noop()), PATIENCE)
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_taken_slowly_is_not_given_up_until_it_is_not_taken_any_more() {
    let progress = Progress::default();
    let mut taking = Taking::new(progress.clone(), PATIENCE);
    for _ in 0..9 {
        assert_eq!(poll(&mut taking), Poll::Pending);
        progress.advance();
        advance(PATIENCE).await;
    }
    assert_eq!(poll(&mut taking), Poll::Pending);
    advance(PATIENCE).await;
    assert_eq!(poll(&mut taking), Poll::Ready(()));
}

#[test]
fn a_device_that_waits_for_a_command_need_not_answer_meanwhile() {
    for patience in [1, 11, 75] {
        let patience = Duration::from_secs(patience);
        let (interval, timeout) = pulse(patience);
        assert!(interval + timeout > patience * 8 / 10, "{patience:?}");
    }
    assert_eq!(pulse(PATIENCE * 100).0, PING);
}
