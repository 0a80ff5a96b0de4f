//! HTTP/2 (RFC 9113), on connections with TLS whose client chose it.
//!
//! hyper and `h2` bound what a client can send: streams at a time, heads, windows, frames that continue a
//! head, requests that are reset as soon as they were made. What they leave open is bounded here:
//!
//! * A connection is idle while no request of it is in progress; then its time runs, whatever else
//!   it sends. A head that does not come to its end is no request.
//! * A request bounds itself while it is worked on; from then on its answer has as long to be
//!   taken off by the client.
//! * A client that is gone without a word does not answer pings.
//!
//! All [`Exchanges`] of a connection run in the connection's task, so they end with it. A reset ends the
//! exchange: whatever it waits for is not waited for any longer.
//!
//! Nobody is told to go on after `Expect: 100-continue` here, which hyper cannot do in HTTP/2: the client
//! sends the body when it has waited for as long as it likes (RFC 9110 §10.1.1), or in vain until it is
//! told that the body is missing.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::handover::AnswerBody;
use crate::peer::PeerStream;

/// Requests of a connection that may be in progress at the same time.
const STREAMS: u32 = 100;
/// Bytes of a request's head, decoded.
const HEAD: u32 = 16 * 1024;
/// Bytes of bodies that a client may send before they are read: of one request, and of all together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// Requests that a client may reset before anybody has looked at them, and those that we have to
/// reset, before the connection is taken for an attack.
const RESETS: usize = 20;
const FAULTS: usize = 100;
/// How long a client that was told to go may take to say that it has heard.
const PARTING: Duration = Duration::from_secs(5);

/// The longest time until a silent client is asked whether it is there, and until it has to have
/// said so.
const PING: Duration = Duration::from_secs(25);

/// Serves a connection to its end.
pub(crate) async fn serve<A, F>(
    stream: PeerStream,
    answer: A,
    patience: Duration,
    stop: &CancellationToken,
) -> hyper::Result<()>
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<AnswerBody>, Infallible>> + Send + 'static,
{
    let exchanges = Exchanges::new(patience);
    let worked = exchanges.worked.clone();
    let service = service_fn(move |request| {
        let (answer, worked) = (answer(request), worked.clone());
        async move {
            let answer = answer.await;
            worked.fetch_add(1, Ordering::Relaxed);
            answer
        }
    });
    let ping = PING.min(patience / 3);
    let connection = http2::Builder::new(exchanges.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(FAULTS)
        .keep_alive_interval(ping)
        .keep_alive_timeout(ping)
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
            running.extend(exchanges.begun());
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

/// What hyper has running on a connection: a future for each request in progress.
#[derive(Clone)]
struct Exchanges {
    /// Those that are to be run.
    begun: Arc<Mutex<Vec<Exchange>>>,
    /// How many requests have got their answer.
    worked: Arc<AtomicUsize>,
    patience: Duration,
}

impl Exchanges {
    fn new(patience: Duration) -> Self {
        Self {
            begun: Arc::default(),
            worked: Arc::default(),
            patience,
        }
    }

    fn begun(&self) -> Vec<Exchange> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *begun)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Exchanges {
    fn execute(&self, future: F) {
        let exchange = Exchange {
            future: Box::pin(future),
            worked: self.worked.clone(),
            patience: self.patience,
            deadline: None,
        };
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push(exchange);
    }
}

/// A request that is worked on, then an answer on its way into the queue of the connection.
struct Exchange {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    worked: Arc<AtomicUsize>,
    patience: Duration,
    /// From the answer on.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Future for Exchange {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // All exchanges of a connection are polled one after the other: whatever is counted now is this one.
        let before = this.worked.load(Ordering::Relaxed);
        if this.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if this.worked.load(Ordering::Relaxed) != before {
            this.deadline = Some(Box::pin(sleep(this.patience)));
        }
        match &mut this.deadline {
            Some(deadline) => deadline.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
