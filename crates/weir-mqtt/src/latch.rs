//! Things that are polled only when they have been woken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Wraps a future that is looked at far more often than it is woken.
///
/// A connection asks after each message whether it is to stop. Polling a cancellation token takes a
/// lock that all connections share; a latch costs one atomic swap until the token wakes it.
pub(crate) struct Latch<F> {
    future: Pin<Box<F>>,
    signal: Arc<Signal>,
}

/// Stands between a task and what it waits for, and remembers that there is something to look at.
pub(crate) struct Signal {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Signal {
    /// One that is raised: whatever is behind it was never looked at.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            woken: AtomicBool::new(true),
            task: AtomicWaker::new(),
        })
    }

    /// Takes note that there is something to look at, without waking the task: it is about to look.
    pub(crate) fn raise(&self) {
        self.woken.store(true, Ordering::Release);
    }

    /// With what to look, if there is something to look at. If not, the task of `cx` is woken when
    /// there is.
    pub(crate) fn lower(self: &Arc<Self>, cx: &Context<'_>) -> Option<Waker> {
        // Registered first: a wake in between is seen either by the swap or by the task.
        self.task.register(cx.waker());
        let is_raised = self.woken.swap(false, Ordering::AcqRel);
        is_raised.then(|| Waker::from(self.clone()))
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
        self.task.wake();
    }
}

impl<F: Future> Latch<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            signal: Signal::new(),
        }
    }

    /// Polls the future if it asked for that. Not to be called again once it is ready.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<F::Output> {
        let Some(waker) = self.signal.lower(cx) else {
            return Poll::Pending;
        };
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_future_is_polled_only_when_it_was_woken() {
        let polls = AtomicUsize::new(0);
        let (sender, mut receiver) = oneshot::channel::<()>();
        let mut latch = Latch::new(poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut receiver).poll(cx)
        }));
        for _ in 0..10 {
            poll_fn(|cx| {
                assert!(latch.poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        sender.send(()).unwrap();
        assert_eq!(poll_fn(|cx| latch.poll(cx)).await, Ok(()));
        drop(latch);
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }
}
