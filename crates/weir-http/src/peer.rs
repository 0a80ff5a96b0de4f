//! A connection's socket, as hyper sees it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use weir_listener::Stream;

use crate::handover::Unconfirmed;

/// How long, and how much, a closed connection is listened to.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// A socket that gives up a peer that does not read, and closes so that the last answer arrives.
#[derive(Debug)]
pub(crate) struct PeerStream {
    stream: Stream,
    patience: Duration,
    /// Runs while a write or a flush waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Set when our side is being closed.
    linger: Option<Linger>,
    /// The commands that count as accepted with the next flush.
    unconfirmed: Unconfirmed,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    bytes: usize,
    /// Whether our side is closed.
    is_closed: bool,
}

impl PeerStream {
    pub(crate) fn new(stream: Stream, patience: Duration, unconfirmed: Unconfirmed) -> Self {
        Self {
            stream,
            patience,
            stalled: None,
            linger: None,
            unconfirmed,
        }
    }

    /// The bare socket, for somebody who sees to these things in another way.
    pub(crate) fn into_inner(self) -> Stream {
        self.stream
    }

    fn bound<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bound(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS holds back what the socket has no room for.
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        let flushed = self.bound(polled, cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.unconfirmed.flushed();
        }
        flushed
    }

    /// Closes our side, then reads and forgets what is still on its way here: closing at once would
    /// reset the connection and could take the answer away from the peer (RFC 9112 §9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let linger = this.linger.get_or_insert_with(|| Linger {
            until: Box::pin(sleep(LINGER_TIME)),
            bytes: LINGER_BYTES,
            is_closed: false,
        });
        if !linger.is_closed {
            match Pin::new(&mut this.stream).poll_shutdown(cx)? {
                Poll::Ready(()) => linger.is_closed = true,
                // The last word of TLS has to go out first, and its peer may not read.
                Poll::Pending => return linger.until.as_mut().poll(cx).map(Ok),
            }
        }
        let mut scratch = [0; 4096];
        while linger.bytes > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            // Whatever ends the reading, the connection is closed then.
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer));
            let length = buffer.filled().len();
            if read.is_err() || length == 0 {
                break;
            }
            linger.bytes = linger.bytes.saturating_sub(length);
        }
        Poll::Ready(Ok(()))
    }
}
