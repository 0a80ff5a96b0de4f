//! The loop of a connection, where its peer does not play along.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream, ReadBuf};
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{ClientSasl, CloseReason, Config, Connection, Event};
use weir_amqp_transport::{Peer, Transport, drive};

/// Remembers how its connection ended.
#[derive(Default)]
struct Witness(Option<CloseReason>);

impl Peer for Witness {
    type Token = ();

    fn handle_event(&mut self, _: Instant, _: &mut Connection<()>, event: Event<()>) {
        if let Event::Closed { reason, .. } = event {
            self.0 = Some(reason);
        }
    }

    fn poll_progress(&mut self, _: &mut Context<'_>, _: Instant, _: &mut Connection<()>) {}
}

fn client() -> Connection<()> {
    Connection::client(Config::default(), ClientSasl::Anonymous, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_does_not_hold_up_the_end() {
    // Room for one byte: even the first header cannot be written.
    let (ours, _theirs) = tokio::io::duplex(1);
    let stop = CancellationToken::new();
    stop.cancel();
    let witness = drive(ours, client(), Witness::default(), stop).await;
    assert_eq!(witness.0, Some(CloseReason::Local));
}

#[tokio::test]
async fn a_peer_that_goes_away_ends_the_connection() {
    let (ours, theirs) = tokio::io::duplex(1024);
    drop(theirs);
    let witness = drive(ours, client(), Witness::default(), CancellationToken::new()).await;
    assert_eq!(witness.0, Some(CloseReason::TransportLost));
}

/// Passes on what was written when it is flushed and not before, as TLS does while its socket is full.
struct HoldsBack {
    stream: DuplexStream,
    held: Vec<u8>,
}

impl Transport for HoldsBack {}

impl AsyncRead for HoldsBack {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for HoldsBack {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.held.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.held.is_empty() {
            match Pin::new(&mut this.stream).poll_write(cx, &this.held)? {
                Poll::Ready(written) => drop(this.held.drain(..written)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_stream_holds_back_is_flushed() {
    // Each flush takes several turns.
    let (stream, mut theirs) = tokio::io::duplex(3);
    let held = Vec::new();
    let ours = HoldsBack { stream, held };
    tokio::spawn(drive(
        ours,
        client(),
        Witness::default(),
        CancellationToken::new(),
    ));
    let mut header = [0; 8];
    let read = tokio::time::timeout(Duration::from_secs(1), theirs.read_exact(&mut header));
    read.await.expect("something was held back").unwrap();
    assert_eq!(&header[..4], b"AMQP");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_for_good_does_not_hold_up_the_end() {
    let (stream, _theirs) = tokio::io::duplex(1);
    let held = Vec::new();
    let stop = CancellationToken::new();
    stop.cancel();
    let ours = HoldsBack { stream, held };
    let witness = drive(ours, client(), Witness::default(), stop).await;
    assert_eq!(witness.0, Some(CloseReason::Local));
}
