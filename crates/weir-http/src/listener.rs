//! One connection: hyper drives it, this bounds what its peer can make it wait for.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use weir_listener::Connection;

use crate::handover::{AnswerBody, Framing};
use crate::http2;
use crate::link::Link;
use crate::peer::PeerStream;
use crate::request::Front;

/// What clients with TLS may choose from (RFC 7301 §6).
pub(crate) const PROTOCOLS: &[&[u8]] = &[HTTP2, b"http/1.1"];
const HTTP2: &[u8] = b"h2";

/// Bytes of a request's head, and of what is read ahead on a connection.
const READ_BUFFER: usize = 16 * 1024;
/// How long a connection over the budget may take to hear that it is.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// Serves a connection to its end.
pub(crate) async fn serve(connection: Connection, front: Arc<Front>) {
    let Connection {
        stream,
        peer,
        permit,
        stop,
        tls,
    } = connection;
    let framing = match stream.protocol() {
        Some(HTTP2) => Framing::Streams,
        _ => Framing::Sequence,
    };
    let link = Arc::new(Link::new(tls, framing, stop.clone()));
    let is_served = permit.is_some();
    let patience = if is_served {
        front.patience
    } else {
        front.patience.min(REFUSAL_TIME)
    };
    let stream = PeerStream::new(stream, patience, link.unconfirmed.clone());
    let (asked, known) = (front.clone(), link.clone());
    let answer = move |request| {
        let (front, link) = (asked.clone(), known.clone());
        async move {
            Ok::<_, Infallible>(if is_served {
                front.answer(request, &link).await
            } else {
                front.overloaded()
            })
        }
    };
    let ended = match framing {
        // Those that there is no place for have no TLS.
        Framing::Streams => http2::serve(stream, answer, patience, &stop).await,
        Framing::Sequence => {
            let limits = Limits {
                patience,
                is_served,
            };
            http1(stream, answer, limits, &stop).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection broken off");
        return;
    }
    if let Some((stream, read_ahead)) = link.upgrade.taken().await {
        let tls = link.tls.clone();
        drop(link);
        let connection = Connection {
            stream,
            peer,
            tls,
            permit,
            stop,
        };
        front.go_on(connection, read_ahead).await;
    }
}

/// What a connection with HTTP/1.1 may do.
struct Limits {
    patience: Duration,
    /// Whether there is a place for it; without one it gets one answer.
    is_served: bool,
}

async fn http1<A, F>(
    stream: PeerStream,
    answer: A,
    limits: Limits,
    stop: &CancellationToken,
) -> hyper::Result<()>
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<AnswerBody>, Infallible>>,
{
    // The time for a head starts when the one before is answered, so it bounds idleness too.
    // A peer that closes its side is gone, as for Hono: it could not be told from one that has left, which
    // is not to be given commands.
    let served = http1::Builder::new()
        .half_close(false)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        .max_buf_size(READ_BUFFER)
        .keep_alive(limits.is_served)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .with_upgrades();
    let mut served = pin!(served);
    tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    }
}
