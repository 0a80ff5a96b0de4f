//! One connection.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use weir_listener::{Connection, Stream};

/// For a request's head, also for the next one's on a connection kept open.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// After which a connection is closed between two requests, so that none is kept for ever.
const CONNECTION_TIME: Duration = Duration::from_secs(600);
/// For what is in flight then.
const LAST_REQUEST_TIME: Duration = Duration::from_secs(60);
/// A request's line and header fields, in bytes.
const HEAD_SIZE: usize = 16 * 1024;
/// For telling a client that there is no room for it.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    connection: close\r\n\
    content-type: application/json; charset=utf-8\r\n\
    content-length: 35\r\n\r\n\
    {\"error\":\"Temporarily unavailable\"}";

/// Serves a connection to its end.
pub(crate) async fn serve(connection: Connection, router: Router) {
    let Connection {
        stream,
        permit: Some(_permit),
        stop,
        ..
    } = connection
    else {
        // A client that does not take the answer in time goes without.
        let _ = timeout(REFUSAL_TIME, refuse(connection.stream)).await;
        return;
    };
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // The listener bounds this by the drain time.
            connection.await
        }
        () = sleep(CONNECTION_TIME) => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_REQUEST_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "management connection ended");
    }
}

/// Answers before anything is read, then lets the client's request run dry: closing a socket with
/// unread bytes would take the answer back.
async fn refuse(mut stream: Stream) -> std::io::Result<()> {
    stream.write_all(NO_ROOM).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_declares_its_length() {
        let text = std::str::from_utf8(NO_ROOM).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
    }
}
