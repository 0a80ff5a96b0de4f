//! The socket of one connection with its two buffers.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// What one read may bring, and so what a connection that is not read from any more may hold.
const SCRATCH: usize = 16 * 1024;
/// Room behind what was read. The codec asks for that much after each packet, and would allocate
/// for it otherwise.
const HEADROOM: usize = 8;
/// An output buffer that grew beyond this is given back when it is empty.
const KEPT_OUTPUT: usize = 1024;
/// How long the last bytes may take to reach the peer.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    /// Where all connections of a worker thread read to, so that an idle one holds no buffer.
    static INPUT: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// A socket, what was read from it and is not handled yet, and what is to be written to it.
pub(crate) struct Wire<S> {
    io: S,
    pub(crate) inbox: BytesMut,
    pub(crate) outbox: BytesMut,
    /// Bytes that were written and that the stream may still hold back (TLS).
    unflushed: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(io: S) -> Self {
        Self {
            io,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            unflushed: 0,
        }
    }

    /// Reads once into the inbox; 0 is the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        INPUT.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            let read = read.filled();
            if self.inbox.is_empty() {
                self.inbox = BytesMut::with_capacity(read.len() + HEADROOM);
            }
            self.inbox.extend_from_slice(read);
            Poll::Ready(Ok(read.len()))
        })
    }

    /// As [`Wire::poll_read`].
    pub(crate) async fn read(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    /// Gives the input buffer back if all of it was handled: messages that are on their way keep
    /// the part they need.
    pub(crate) fn release_input(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
    }

    /// Whether something has not reached the socket yet.
    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty() || self.unflushed > 0
    }

    /// How many bytes that have left the outbox may not have reached the socket yet.
    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed
    }

    /// Writes the outbox. Ready when everything is in the socket.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // First of all: what the stream holds back cannot be taken out of the output any more.
            if self.unflushed > 0 {
                ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                self.unflushed = 0;
            }
            if self.outbox.is_empty() {
                if self.outbox.capacity() > KEPT_OUTPUT {
                    self.outbox = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.outbox))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(written);
            self.unflushed += written;
        }
    }

    /// Writes what is left, calls `written` if all of it is in the socket, says that nothing more will
    /// come, and waits briefly for the peer to do the same. A socket that is closed over unread input is reset, and a reset may overtake the
    /// last bytes, which say why.
    pub(crate) async fn close(mut self, written: impl FnOnce()) {
        let close = async {
            poll_fn(|cx| self.poll_write(cx)).await?;
            written();
            self.io.shutdown().await?;
            loop {
                self.inbox = BytesMut::new();
                if self.read().await? == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        // Whether the peer heard it makes no difference any more.
        let _ = tokio::time::timeout(LINGER, close).await;
    }
}
