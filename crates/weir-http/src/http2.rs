//! HTTP/2 (RFC 9113), on connections with TLS whose client chose it.
//!
//! hyper and `h2` bound what a client can send: streams at a time, heads, windows, frames that continue a
//! head, requests that are reset as soon as they were made. What they leave open is bounded here:
//!
//! * A connection is idle while no request of it is in progress; then its time runs, whatever else
//!   it sends. A head that does not come to its end is no request.
//! * A request bounds itself while it is worked on. From then on the client has to take some of its answer
//!   now and then, or the answer is reset: nothing of it is sent later.
//! * A client that is gone without a word does not answer pings.
//!
//! All [`Exchanges`] of a connection run in the connection's task, so they end with it. A reset ends the
//! exchange: whatever it waits for is not waited for any longer.
//!
//! `CONNECT` names no resource of ours and is refused as any such request. If it also announces a body, which
//! it cannot have (RFC 9110 §9.3.6), hyper gives the connection up.
//!
//! Nobody is told to go on after `Expect: 100-continue` here, which hyper cannot do in HTTP/2: the client
//! sends the body when it has waited for as long as it likes (RFC 9110 §10.1.1), or in vain until it is
//! told that the body is missing.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::handover::{AnswerBody, Progress};
use crate::peer::PeerStream;

/// Requests of a connection that may be in progress at the same time.
const STREAMS: u32 = 32;
/// Bytes of a request's head, decoded.
const HEAD: u32 = 8 * 1024;
/// Bytes of bodies that a client may send before they are read: of one request, and of all together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// Requests that a client may reset before anybody has looked at them, before the connection is taken for
/// an attack.
const RESETS: usize = 20;
/// Requests that we have to reset in the life of a connection, before it is taken for an attack. Those of a
/// client that has not heard yet how many it may have in progress are among them.
const FAULTS: usize = 1024;
/// How long a client that was told to go may take to say that it has heard.
const PARTING: Duration = Duration::from_secs(5);

/// The longest time until a silent client is asked whether it is there.
const PING: Duration = Duration::from_secs(25);

/// Serves a connection to its end.
pub(crate) async fn serve<A, F>(
    mut stream: PeerStream,
    answer: A,
    patience: Duration,
    stop: &CancellationToken,
) -> hyper::Result<()>
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<AnswerBody>, Infallible>> + Send + 'static,
{
    let ended = converse(&mut stream, answer, patience, stop).await;
    // hyper closes what has come to its end, not what it was taken away from. This bounds itself, and if
    // the peer does not hear it, nobody else has to.
    let _ = stream.shutdown().await;
    ended
}

async fn converse<A, F>(
    stream: &mut PeerStream,
    answer: A,
    patience: Duration,
    stop: &CancellationToken,
) -> hyper::Result<()>
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<AnswerBody>, Infallible>> + Send + 'static,
{
    let begun = Arc::<Begun>::default();
    let exchanges = Exchanges::new(&begun, patience);
    let given = exchanges.given.clone();
    let service = service_fn(move |request| {
        let (answer, given) = (answer(request), given.clone());
        async move {
            let Ok(mut answer) = answer.await;
            given.put(answer.body_mut().watch());
            Ok::<_, Infallible>(answer)
        }
    });
    let (interval, timeout) = pulse(patience);
    let connection = http2::Builder::new(exchanges)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(FAULTS)
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut running = FuturesUnordered::new();
    let mut idle = Idle::new(patience);
    let mut stopped = pin!(stop.cancelled());
    poll_fn(|cx| {
        if !idle.is_parting && stopped.as_mut().poll(cx).is_ready() {
            idle.part();
            connection.as_mut().graceful_shutdown();
        }
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // What they write wakes the connection.
            running.extend(begun.take());
            while let Poll::Ready(Some(())) = running.poll_next_unpin(cx) {}
            if idle.poll(cx, running.is_empty()).is_pending() {
                return Poll::Pending;
            }
            if idle.is_parting {
                return Poll::Ready(Ok(()));
            }
            idle.part();
            connection.as_mut().graceful_shutdown();
        }
    })
    .await
}

/// After how much silence a client is asked whether it is there, and how long it has to say so. A device that
/// waits for a command has its radio asleep meanwhile, so by default it need not answer before the
/// longest wait is over.
fn pulse(patience: Duration) -> (Duration, Duration) {
    (PING.min(patience / 3), patience / 2)
}

/// The clock of a connection without a request in progress.
struct Idle {
    limit: Duration,
    /// Runs while there is none.
    clock: Option<Pin<Box<Sleep>>>,
    /// Whether the client has been told to go.
    is_parting: bool,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            clock: None,
            is_parting: false,
        }
    }

    /// The client is told to go. What is in progress may be finished.
    fn part(&mut self) {
        self.limit = self.limit.min(PARTING);
        self.clock = None;
        self.is_parting = true;
    }

    /// Ready when nothing has been in progress for too long.
    fn poll(&mut self, cx: &mut Context<'_>, is_idle: bool) -> Poll<()> {
        if !is_idle {
            self.clock = None;
            return Poll::Pending;
        }
        let limit = self.limit;
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep(limit)));
        clock.as_mut().poll(cx)
    }
}

/// Requests that are to be run. Only the connection's task owns them: each of them holds hyper's executor,
/// and would else hold itself.
#[derive(Default)]
struct Begun(Mutex<Vec<Exchange>>);

impl Begun {
    fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, exchange: Exchange) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push(exchange);
    }
}

/// Where a request leaves its answer's progress while it is polled.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<Option<Progress>>>);

impl Given {
    fn put(&self, progress: Progress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    fn take(&self) -> Option<Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Takes what hyper wants to have running on a connection: a future for each request in progress.
#[derive(Clone)]
struct Exchanges {
    begun: Weak<Begun>,
    given: Given,
    patience: Duration,
}

impl Exchanges {
    fn new(begun: &Arc<Begun>, patience: Duration) -> Self {
        Self {
            begun: Arc::downgrade(begun),
            given: Given::default(),
            patience,
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Exchanges {
    fn execute(&self, future: F) {
        if let Some(begun) = self.begun.upgrade() {
            begun.push(Exchange {
                future: Box::pin(future),
                given: self.given.clone(),
                patience: self.patience,
                taking: None,
            });
        }
    }
}

/// A request that is worked on, then an answer on its way to the client.
struct Exchange {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    given: Given,
    patience: Duration,
    /// From the answer on.
    taking: Option<Taking>,
}

impl Future for Exchange {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let polled = this.future.as_mut().poll(cx);
        // All exchanges of a connection are polled one after the other: whatever is there is of this one.
        let given = this.given.take();
        if polled.is_ready() {
            return Poll::Ready(());
        }
        if let Some(progress) = given {
            this.taking = Some(Taking::new(progress, this.patience));
        }
        match &mut this.taking {
            Some(taking) => taking.poll(cx, this.patience),
            None => Poll::Pending,
        }
    }
}

/// An answer that a client is to take off.
struct Taking {
    progress: Progress,
    /// As much as had been taken when the clock was set.
    seen: usize,
    clock: Pin<Box<Sleep>>,
}

impl Taking {
    fn new(progress: Progress, patience: Duration) -> Self {
        Self {
            seen: progress.count(),
            progress,
            clock: Box::pin(sleep(patience)),
        }
    }

    /// Ready when nothing was taken for too long.
    fn poll(&mut self, cx: &mut Context<'_>, patience: Duration) -> Poll<()> {
        loop {
            ready!(self.clock.as_mut().poll(cx));
            let taken = self.progress.count();
            if taken == self.seen {
                return Poll::Ready(());
            }
            self.seen = taken;
            self.clock.as_mut().reset(Instant::now() + patience);
        }
    }
}

#[cfg(test)]
mod tests;
