//! When a command counts as accepted: once the whole answer that carries it has left this process.
//!
//! hyper does not tell when an answer was written, so what it does with the answer's bytes is watched. A
//! [`Piece`] of the body knows when its last byte has been taken: copied to the connection's buffer, or
//! handed to the socket. The command then waits among the [`Unconfirmed`]. hyper flushes the connection
//! only when its buffer is empty, so a flush that succeeds after that means that the operating system
//! (through TLS, if there is any) has taken the last byte. Whether the device gets it is not known, as
//! with any TCP connection. Wherever the answer is dropped before that, the command is released.
//!
//! With HTTP/2 that is not enough: what hyper has taken may wait in a queue until the device has room for
//! it, for as long as it likes, while nobody can take it back any more. So a body with a command pretends to
//! go on, behind a [mark](Mark) at the end of its only piece. When the last byte is in the connection's buffer
//! and a flush has succeeded, hyper looks for a reset, and then asks for more: there is none, and the
//! command is accepted. Until then the exchange runs, and whoever ends it (the device with a reset, or we
//! because [nothing of it was taken](Progress) for too long) takes what is left out of the queue; the
//! command is released. A command without payload is an empty piece, which is in the queue behind the
//! head.
//!
//! The frame that says that the body has ended, nine bytes that mean little to the device any more (the head
//! said how long it is), is the one thing that may still get lost.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// Who wants to know that what is there as a whole has left.
    marks: Vec<oneshot::Sender<()>>,
}

impl Unconfirmed {
    /// All that was written has been flushed.
    pub(crate) fn flushed(&self) {
        let Written { commands, marks } = std::mem::take(&mut *self.lock());
        commands.into_iter().for_each(CommandDelivery::accept);
        for mark in marks {
            // The answer may have been given up.
            let _ = mark.send(());
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

/// How often a client has taken some of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicUsize>);

impl Progress {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The body of an answer, and the command that it carries, if any.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    payload: Bytes,
    command: Option<Load>,
    rest: Rest,
    /// If somebody watches.
    progress: Option<Progress>,
}

/// A command that goes out, and those of its connection.
#[derive(Debug)]
struct Load(CommandDelivery, Unconfirmed);

/// What of a body hyper has not asked for.
#[derive(Debug)]
enum Rest {
    Payload,
    /// The payload, which may be empty, with a mark at its end.
    Marked,
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
            progress: None,
        }
    }

    /// A command's payload; `unconfirmed` are those of the connection that it is written to.
    pub(crate) fn of_command(
        delivery: CommandDelivery,
        framing: Framing,
        unconfirmed: &Unconfirmed,
    ) -> Self {
        let mut body = Self::new(delivery.command().payload.clone());
        if framing == Framing::Streams {
            body.rest = Rest::Marked;
        }
        body.command = Some(Load(delivery, unconfirmed.clone()));
        body
    }

    /// Tells from now on when the client takes some of it.
    pub(crate) fn watch(&mut self) -> Progress {
        self.progress.get_or_insert_default().clone()
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
        let (command, mark) = match &mut this.rest {
            Rest::Payload => {
                this.rest = Rest::Nothing;
                (this.command.take(), None)
            }
            Rest::Marked => {
                let (passed, passing) = oneshot::channel();
                this.rest = Rest::Passed(passing);
                let mark = this.command.as_ref().map(|Load(_, unconfirmed)| Mark {
                    passed,
                    unconfirmed: unconfirmed.clone(),
                });
                (None, mark)
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
        let piece = Piece {
            bytes: std::mem::take(&mut this.payload),
            command,
            mark,
            progress: this.progress.clone(),
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

/// Bytes of a body, and what is told with the last of them.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    command: Option<Load>,
    mark: Option<Mark>,
    progress: Option<Progress>,
}

impl Piece {
    /// Nothing is left of it.
    fn end(&mut self) {
        if let Some(Load(delivery, unconfirmed)) = self.command.take() {
            unconfirmed.lock().commands.push(delivery);
        }
        if let Some(mark) = self.mark.take() {
            mark.reached();
        }
    }
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
        if let Some(progress) = &self.progress {
            progress.advance();
        }
        if self.bytes.is_empty() {
            self.end();
        }
    }
}

impl Drop for Piece {
    /// One without bytes is only dropped. It is in the connection's buffer then, or the queue was given up:
    /// which of both, hyper knows.
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            self.end();
        }
    }
}

/// The end of what a queue holds of a command.
#[derive(Debug)]
struct Mark {
    passed: oneshot::Sender<()>,
    unconfirmed: Unconfirmed,
}

impl Mark {
    fn reached(self) {
        self.unconfirmed.lock().marks.push(self.passed);
    }
}
