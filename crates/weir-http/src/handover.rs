//! When a command counts as accepted: once the whole answer that carries it has left this process.
//!
//! hyper does not tell when an answer was written, so what it does with the answer's bytes is watched. A
//! [`Piece`] of the body knows when its last byte has been taken: copied to the connection's buffer, or
//! handed to the socket. The command then waits among the [`Unconfirmed`]. hyper flushes the connection
//! only when its buffer is empty, so a flush that succeeds after that means that the operating system
//! (through TLS, if there is any) has taken the last byte. Whether the device gets it is not known, as
//! with any TCP connection. Wherever the answer is dropped before that, the command is released.
//!
//! With HTTP/2 a piece may have to wait until the device has room for it, and the device may reset the
//! answer meanwhile: then hyper drops the piece with bytes left, and the command is released. A command
//! without payload has no byte to watch. With HTTP/1.1 its head is in the buffer when hyper drops the
//! body. With HTTP/2 it is only in a queue, from which a reset still takes it; so the body pretends
//! to go on, with an [empty piece](Mark) that is in the queue behind the head. When that is gone and a
//! flush has succeeded, hyper looks for a reset, and then asks for more: there is none, and the command is
//! accepted. The frame that says so, nine bytes that mean nothing to the device any more (the head
//! said that there is no content), is the one thing that may still get lost.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use weir_core::command::CommandDelivery;

/// What of one connection is in hyper's buffer and not flushed yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unconfirmed(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    /// The commands of answers that are there as a whole.
    commands: Vec<CommandDelivery>,
    /// Who wants to know that a head is no longer there.
    heads: Vec<oneshot::Sender<()>>,
}

impl Unconfirmed {
    /// All that was written has been flushed.
    pub(crate) fn flushed(&self) {
        let Written { commands, heads } = std::mem::take(&mut *self.lock());
        commands.into_iter().for_each(CommandDelivery::accept);
        for head in heads {
            // The answer may have been given up.
            let _ = head.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the answers of a connection are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One after the other (HTTP/1.1).
    Sequence,
    /// At the same time (HTTP/2).
    Streams,
}

/// The body of an answer, and the command that it carries, if any.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    payload: Bytes,
    command: Option<Load>,
    rest: Rest,
}

/// A command that goes out, and those of its connection.
#[derive(Debug)]
struct Load(CommandDelivery, Unconfirmed);

/// What of a body hyper has not asked for.
#[derive(Debug)]
enum Rest {
    Payload,
    /// A mark behind the head.
    Mark,
    /// The end, when the mark has been passed.
    Passed(oneshot::Receiver<()>),
    Nothing,
}

impl AnswerBody {
    /// A body without a command.
    pub(crate) fn new(payload: Bytes) -> Self {
        let rest = if payload.is_empty() {
            Rest::Nothing
        } else {
            Rest::Payload
        };
        Self {
            payload,
            command: None,
            rest,
        }
    }

    /// A command's payload; `unconfirmed` are those of the connection that it is written to.
    pub(crate) fn of_command(
        delivery: CommandDelivery,
        framing: Framing,
        unconfirmed: &Unconfirmed,
    ) -> Self {
        let mut body = Self::new(delivery.command().payload.clone());
        if framing == Framing::Streams && body.payload.is_empty() {
            body.rest = Rest::Mark;
        }
        body.command = Some(Load(delivery, unconfirmed.clone()));
        body
    }
}

impl Body for AnswerBody {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let this = &mut *self;
        let piece = match &mut this.rest {
            Rest::Payload => {
                this.rest = Rest::Nothing;
                Piece {
                    bytes: std::mem::take(&mut this.payload),
                    command: this.command.take(),
                    _mark: None,
                }
            }
            Rest::Mark => {
                let (passed, passing) = oneshot::channel();
                this.rest = Rest::Passed(passing);
                let mark = this.command.as_ref().map(|Load(_, unconfirmed)| Mark {
                    passed: Some(passed),
                    unconfirmed: unconfirmed.clone(),
                });
                Piece {
                    bytes: Bytes::new(),
                    command: None,
                    _mark: mark,
                }
            }
            Rest::Passed(passing) => {
                let passed = ready!(Pin::new(passing).poll(cx));
                this.rest = Rest::Nothing;
                if let (Ok(()), Some(Load(delivery, _))) = (passed, this.command.take()) {
                    delivery.accept();
                }
                return Poll::Ready(None);
            }
            Rest::Nothing => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.payload.len() as u64)
    }
}

impl Drop for AnswerBody {
    /// With HTTP/1.1 hyper drops a body without any data when it has taken the head.
    fn drop(&mut self) {
        if let (Rest::Nothing, Some(Load(delivery, unconfirmed))) =
            (&self.rest, self.command.take())
        {
            unconfirmed.lock().commands.push(delivery);
        }
    }
}

/// Bytes of a body, and the command that is told with the last of them.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    command: Option<Load>,
    /// Held to be dropped with it.
    _mark: Option<Mark>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if self.bytes.is_empty()
            && let Some(Load(delivery, unconfirmed)) = self.command.take()
        {
            unconfirmed.lock().commands.push(delivery);
        }
    }
}

/// Where a head ends in a queue.
#[derive(Debug)]
struct Mark {
    passed: Option<oneshot::Sender<()>>,
    unconfirmed: Unconfirmed,
}

impl Drop for Mark {
    /// It is in the connection's buffer, or the queue was given up. Which of both, hyper knows.
    fn drop(&mut self) {
        let passed = self.passed.take();
        self.unconfirmed.lock().heads.extend(passed);
    }
}
