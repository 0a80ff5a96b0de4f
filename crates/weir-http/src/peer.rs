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
    stall: Stall,
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
            stall: Stall::new(patience),
            linger: None,
            unconfirmed,
        }
    }

    /// The bare socket, for somebody who sees to these things in another way.
    pub(crate) fn into_inner(self) -> Stream {
        self.stream
    }
}

/// What a peer is waited for with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write,
    Flush,
}

/// The clock of a peer that does not read.
///
/// TLS takes what the socket has no room for, so a write that succeeds says nothing of the peer, unless
/// there was no room before.
#[derive(Debug)]
struct Stall {
    patience: Duration,
    /// Runs while the peer is waited for.
    clock: Option<Pin<Box<Sleep>>>,
    /// Whether there was no room for the last write.
    is_full: bool,
}

impl Stall {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            clock: None,
            is_full: false,
        }
    }

    fn bound<T>(
        &mut self,
        step: Step,
        polled: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            if step == Step::Flush || self.is_full {
                self.clock = None;
                self.is_full = false;
            }
            return polled;
        }
        self.is_full |= step == Step::Write;
        let patience = self.patience;
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(clock.as_mut().poll(cx));
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
        self.stall.bound(Step::Write, polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.stall.bound(Step::Write, polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS holds back what the socket has no room for.
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        let flushed = self.stall.bound(Step::Flush, polled, cx);
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::time::advance;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(8);

    fn poll(stall: &mut Stall, step: Step, is_ready: bool) -> Poll<Result<(), io::ErrorKind>> {
        let polled = match is_ready {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        };
        let bound = stall.bound(step, polled, &mut Context::from_waker(Waker::noop()));
        bound.map_err(|error| error.kind())
    }

    #[tokio::test(start_paused = true)]
    async fn what_tls_takes_does_not_mean_that_the_peer_reads() {
        let mut stall = Stall::new(PATIENCE);
        let stalls = Poll::Ready(Err(io::ErrorKind::TimedOut));
        assert_eq!(poll(&mut stall, Step::Write, true), Poll::Ready(Ok(())));
        assert_eq!(poll(&mut stall, Step::Flush, false), Poll::Pending);
        advance(PATIENCE * 3 / 4).await;
        assert_eq!(poll(&mut stall, Step::Write, true), Poll::Ready(Ok(())));
        assert_eq!(poll(&mut stall, Step::Flush, false), Poll::Pending);
        advance(PATIENCE / 2).await;
        assert_eq!(poll(&mut stall, Step::Flush, false), stalls);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_slowly_is_waited_for() {
        for step in [Step::Flush, Step::Write] {
            let mut stall = Stall::new(PATIENCE);
            for _ in 0..9 {
                assert_eq!(poll(&mut stall, step, false), Poll::Pending);
                advance(PATIENCE * 3 / 4).await;
                assert_eq!(poll(&mut stall, step, true), Poll::Ready(Ok(())));
            }
        }
    }
}
