//! One consumer link, as those who send to it see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use weir_core::{Completion, Downstream, Reason};

use crate::config::Limits;
use crate::figures::ConsumerFigures;

/// A message for a consumer and what waits for its disposition.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Downstream,
    pub(crate) completion: Completion,
    /// When the outcome has to be known.
    pub(crate) give_up_at: Instant,
}

impl Outgoing {
    /// What the message counts for in a queue's budget, bytes.
    fn size(&self) -> usize {
        self.message.payload.len() + self.message.origin_address.len()
    }
}

/// A message that was not taken, and why.
pub(crate) type Refused = (Box<Outgoing>, Reason);

/// What reaches the task that owns a link.
#[derive(Debug)]
pub(crate) enum Order {
    /// A message for the link.
    Send(Arc<Consumer>, Box<Outgoing>),
    /// Another consumer of the same address has credit to spare for what waits here.
    PassOn(Arc<Consumer>),
}

/// The way into an application's task.
pub(crate) type Queue = mpsc::UnboundedSender<Order>;

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
    /// What they count for, bytes.
    bytes: AtomicUsize,
    /// Messages the application is ready to take, as of the last look at the link.
    credit: AtomicUsize,
    /// Messages that it had not settled by then.
    unsettled: AtomicUsize,
    /// The application is not expected to give credit.
    is_asleep: AtomicBool,
    /// A [`Order::PassOn`] is on its way.
    is_nudged: AtomicBool,
    is_gone: AtomicBool,
    /// It has let a message time out, and has not settled one or given credit since.
    is_frozen: AtomicBool,
}

impl Consumer {
    pub(crate) fn new(limits: Limits, queue: Queue, slot: usize) -> Self {
        Self {
            limits,
            queue,
            slot,
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            credit: AtomicUsize::new(0),
            unsettled: AtomicUsize::new(0),
            is_asleep: AtomicBool::new(false),
            is_nudged: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            is_frozen: AtomicBool::new(false),
        }
    }

    /// Where the owning task keeps the link.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// How long a message may wait.
    pub(crate) fn outcome_timeout(&self) -> Duration {
        self.limits.outcome_timeout
    }

    /// Messages that wait for this consumer's credit.
    pub(crate) fn waiting(&self) -> usize {
        self.messages.load(Ordering::SeqCst)
    }

    /// What is told of it.
    pub(crate) fn figures(&self) -> ConsumerFigures {
        ConsumerFigures {
            links: 1,
            credit: self.credit.load(Ordering::Relaxed),
            queued: self.waiting(),
        }
    }

    /// Messages that this consumer has not done with: those that wait and those it has not settled.
    pub(crate) fn outstanding(&self) -> usize {
        self.waiting() + self.unsettled.load(Ordering::Relaxed)
    }

    /// Whether one more message could go out at once.
    pub(crate) fn has_spare_credit(&self) -> bool {
        self.credit.load(Ordering::SeqCst) > self.waiting()
    }

    /// Whether one more message could go out at once, and is likely to be settled.
    pub(crate) fn is_ready(&self) -> bool {
        self.has_spare_credit() && !self.is_frozen()
    }

    /// Whether it has not been heard of since it let a message time out.
    pub(crate) fn is_frozen(&self) -> bool {
        self.is_frozen.load(Ordering::Relaxed)
    }

    /// A message has timed out, or the application has been heard of.
    pub(crate) fn set_frozen(&self, is_frozen: bool) {
        self.is_frozen.store(is_frozen, Ordering::Relaxed);
    }

    /// Whether the application could take a message at the last look at the link.
    pub(crate) fn has_credit(&self) -> bool {
        self.credit.load(Ordering::SeqCst) > 0
    }

    /// Without credit, but expected to give some.
    pub(crate) fn is_out_of_credit_awake(&self) -> bool {
        !self.has_credit() && !self.is_asleep.load(Ordering::Relaxed)
    }

    /// The owning task has looked at the link.
    pub(crate) fn set_credit(&self, credit: usize, unsettled: usize, is_asleep: bool) {
        self.credit.store(credit, Ordering::SeqCst);
        self.unsettled.store(unsettled, Ordering::Relaxed);
        self.is_asleep.store(is_asleep, Ordering::Relaxed);
    }

    /// Puts a message into the link's queue.
    ///
    /// # Errors
    /// The message itself, if the queue is full, the application takes nothing, or the link is gone.
    pub(crate) fn offer(self: &Arc<Self>, outgoing: Box<Outgoing>) -> Result<(), Refused> {
        if self.is_gone() {
            return Err((outgoing, Reason::NoConsumer));
        }
        if self.is_asleep.load(Ordering::Relaxed) {
            return Err((outgoing, Reason::NoCredit));
        }
        let size = outgoing.size();
        let messages = self.messages.fetch_add(1, Ordering::SeqCst);
        let bytes = self.bytes.fetch_add(size, Ordering::AcqRel);
        // A message larger than the whole budget may pass when nothing else waits.
        let fits = messages < self.limits.queue_messages
            && (bytes == 0 || bytes + size <= self.limits.queue_bytes);
        if !fits {
            self.taken(&outgoing);
            return Err((outgoing, Reason::NoCredit));
        }
        match self.queue.send(Order::Send(self.clone(), outgoing)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(Order::Send(_, outgoing))) => {
                self.taken(&outgoing);
                Err((outgoing, Reason::NoConsumer))
            }
            // What comes back is what was sent.
            Err(_) => Ok(()),
        }
    }

    /// The message has left the queue.
    pub(crate) fn taken(&self, outgoing: &Outgoing) {
        self.messages.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(outgoing.size(), Ordering::AcqRel);
    }

    /// Asks the owning task to let another consumer have what waits here.
    pub(crate) fn nudge(self: &Arc<Self>) {
        if self.waiting() > 0 && !self.is_nudged.swap(true, Ordering::AcqRel) {
            // A task that is gone has passed everything on already.
            let _ = self.queue.send(Order::PassOn(self.clone()));
        }
    }

    /// The owning task has heard of it.
    pub(crate) fn nudged(&self) {
        self.is_nudged.store(false, Ordering::Release);
    }

    /// The link is gone; whoever still holds it from a list of consumers is told so.
    pub(crate) fn close(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }
}
