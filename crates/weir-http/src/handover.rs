//! When a command counts as accepted: once the whole answer that carries it has left this process.
//!
//! hyper does not tell when an answer was written, so its two ends are watched. It asks [`AnswerBody`]
//! for the body and lets go of it once all of that is in its own buffer; the command then waits among
//! the [`Unconfirmed`]. hyper flushes the connection only when its buffer is empty, so a flush that
//! succeeds after that means that the operating system (through TLS, if there is any) has taken the last byte.
//! Whether the device gets it is not known, as with any TCP connection.
//!
//! Wherever the answer is dropped before that, the command is released.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use weir_core::command::CommandDelivery;

/// The commands of one connection that are in hyper's buffer. There is hardly more than one: hyper
/// does not take the next request before the answer is flushed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unconfirmed(Arc<Mutex<Vec<CommandDelivery>>>);

impl Unconfirmed {
    /// All that was written has been flushed.
    pub(crate) fn flushed(&self) {
        let written = std::mem::take(&mut *self.lock());
        written.into_iter().for_each(CommandDelivery::accept);
    }

    fn written(&self, delivery: CommandDelivery) {
        self.lock().push(delivery);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<CommandDelivery>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of an answer, and the command that it carries, if any.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    rest: Full<Bytes>,
    command: Option<(CommandDelivery, Unconfirmed)>,
}

impl AnswerBody {
    /// A body without a command.
    pub(crate) fn new(body: Bytes) -> Self {
        Self {
            rest: Full::new(body),
            command: None,
        }
    }

    /// A command's payload; `unconfirmed` are those of the connection that it is written to.
    pub(crate) fn of_command(delivery: CommandDelivery, unconfirmed: &Unconfirmed) -> Self {
        Self {
            rest: Full::new(delivery.command().payload.clone()),
            command: Some((delivery, unconfirmed.clone())),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.size_hint()
    }
}

impl Drop for AnswerBody {
    /// hyper keeps the body until it has taken all of it, or the connection has ended. One without
    /// any data it drops when it has taken the head.
    fn drop(&mut self) {
        let is_taken = self.rest.is_end_stream();
        if let Some((delivery, unconfirmed)) = self.command.take()
            && is_taken
        {
            unconfirmed.written(delivery);
        }
    }
}
