//! One consumer link, as those who send to it see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;
use weir_core::{Completion, Downstream, Reason};

use crate::config::Limits;

/// A message for a consumer and what waits for its disposition.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Downstream,
    pub(crate) completion: Completion,
    /// When the outcome has to be known.
    pub(crate) give_up_at: Instant,
}

/// A message that was not taken, and why.
pub(crate) type Refused = (Box<Outgoing>, Reason);

/// The queue into an application's task: each message with the link it is for.
pub(crate) type Queue = mpsc::UnboundedSender<(Arc<Consumer>, Box<Outgoing>)>;

/// A consumer link's place in its address: a budget, and the way into the task that owns the link.
///
/// One queue leads to each task, so that a task with many links has one thing to wait for. It is
/// unbounded itself; the budgets of the links bound what is in it.
#[derive(Debug)]
pub(crate) struct Consumer {
    limits: Limits,
    queue: Queue,
    /// Where the owning task keeps the link.
    slot: usize,
    /// Messages that were offered and not yet sent.
    messages: AtomicUsize,
    /// Their payload, bytes.
    bytes: AtomicUsize,
    gone: AtomicBool,
}

impl Consumer {
    pub(crate) fn new(limits: Limits, queue: Queue, slot: usize) -> Self {
        Self {
            limits,
            queue,
            slot,
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// Where the owning task keeps the link.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// Messages that wait for this consumer's credit.
    pub(crate) fn waiting(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Puts a message into the link's queue.
    ///
    /// # Errors
    /// The message itself, if the queue is full or the link is gone.
    pub(crate) fn offer(self: &Arc<Self>, outgoing: Box<Outgoing>) -> Result<(), Refused> {
        if self.gone.load(Ordering::Acquire) {
            return Err((outgoing, Reason::NoConsumer));
        }
        let size = outgoing.message.payload.len();
        let messages = self.messages.fetch_add(1, Ordering::AcqRel);
        let bytes = self.bytes.fetch_add(size, Ordering::AcqRel);
        // A message larger than the whole budget may pass when nothing else waits.
        let fits = messages < self.limits.queue_messages
            && (bytes == 0 || bytes + size <= self.limits.queue_bytes);
        if !fits {
            self.taken(&outgoing);
            return Err((outgoing, Reason::NoCredit));
        }
        self.queue.send((self.clone(), outgoing)).map_err(
            |mpsc::error::SendError((_, outgoing))| {
                self.taken(&outgoing);
                (outgoing, Reason::NoConsumer)
            },
        )
    }

    /// The message has left the queue.
    pub(crate) fn taken(&self, outgoing: &Outgoing) {
        self.messages.fetch_sub(1, Ordering::AcqRel);
        self.bytes
            .fetch_sub(outgoing.message.payload.len(), Ordering::AcqRel);
    }

    /// The link is gone; whoever still holds it from a list of consumers is told so.
    pub(crate) fn close(&self) {
        self.gone.store(true, Ordering::Release);
    }
}
