//! One connection: hyper drives it, this bounds what its peer can make it wait for.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use weir_listener::{Connection, Stream};

use crate::handover::Unconfirmed;
use crate::request::{Front, Link};

/// Bytes of a request's head, and of what is read ahead on a connection.
const READ_BUFFER: usize = 16 * 1024;
/// How long a connection over the budget may take to hear that it is.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
/// How long, and how much, a closed connection is listened to.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// Serves a connection to its end.
pub(crate) async fn serve(connection: Connection, front: Arc<Front>) {
    let Connection {
        stream,
        peer,
        permit,
        stop,
        tls,
    } = connection;
    let unconfirmed = Unconfirmed::default();
    let link = Arc::new(Link {
        tls,
        stop: stop.clone(),
        unconfirmed: unconfirmed.clone(),
    });
    let is_served = permit.is_some();
    let patience = if is_served {
        front.patience
    } else {
        front.patience.min(REFUSAL_TIME)
    };
    let service = service_fn(move |request| {
        let (front, link) = (front.clone(), link.clone());
        async move {
            Ok::<_, Infallible>(if is_served {
                front.answer(request, &link).await
            } else {
                front.overloaded()
            })
        }
    });
    let stream = PeerStream::new(stream, patience, unconfirmed);
    // The time for a head starts when the one before is answered, so it bounds idleness too.
    // A peer that closes its side is gone, as for Hono: it could not be told from one that has left, which
    // is not to be given commands.
    let served = http1::Builder::new()
        .half_close(false)
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(READ_BUFFER)
        .keep_alive(is_served)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection broken off");
    }
}

/// A socket that gives up a peer that does not read, and closes so that the last answer arrives.
#[derive(Debug)]
struct PeerStream {
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
    fn new(stream: Stream, patience: Duration, unconfirmed: Unconfirmed) -> Self {
        Self {
            stream,
            patience,
            stalled: None,
            linger: None,
            unconfirmed,
        }
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
