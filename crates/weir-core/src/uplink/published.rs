//! The fourth state: the message is out, its outcome is not known yet.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::Outcome;
use super::record::Record;
use crate::Delivery;

/// A message that was handed to the northbound. A future of its [`Outcome`].
///
/// If it is dropped before, because the peer is gone or its task was cancelled, the outcome is still
/// waited for (which takes bounded time) and recorded, as one that nobody was told.
#[derive(Debug)]
#[must_use = "a message that was received has to end in an outcome"]
pub struct Published(Option<Open>);

#[derive(Debug)]
struct Open {
    delivery: Delivery,
    record: Record,
}

impl Published {
    pub(super) fn new(delivery: Delivery, record: Record) -> Self {
        Self(Some(Open { delivery, record }))
    }

    /// Waits until the message is taken, and leaves its record open.
    ///
    /// # Errors
    /// The outcome, if it is not taken.
    pub(super) async fn taken(mut self) -> Result<Record, Outcome> {
        let settled = poll_fn(|cx| match &mut self.0 {
            Some(open) => Pin::new(&mut open.delivery).poll(cx),
            None => Poll::Pending,
        });
        let settled = settled.await;
        let open = self.0.take();
        let mut record = open
            .map(|open| open.record)
            .expect("it is taken only here and where this is over");
        match settled.disposition {
            Ok(()) => {
                record.forwarded(settled.at);
                Ok(record)
            }
            refused => Err(record.finish(refused, settled.at)),
        }
    }
}

impl Future for Published {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(open) = &mut self.0 else {
            // Polled after it was ready, which no caller does: there is nothing more to tell.
            return Poll::Pending;
        };
        let settled = ready!(Pin::new(&mut open.delivery).poll(cx));
        let record = self.0.take().map(|open| open.record);
        let outcome = record.map(|record| record.finish(settled.disposition, settled.at));
        outcome.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let Some(Open {
            delivery,
            mut record,
        }) = self.0.take()
        else {
            return;
        };
        record.nobody_waits();
        // Outside a runtime (it is being torn down) the record's own guard speaks up.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let settled = delivery.await;
                let _ = record.finish(settled.disposition, settled.at);
            });
        }
    }
}
