//! MQTT over WebSockets (§6 in version 5, and in 3.1.1).
//!
//! The handshake is behind us when a connection comes here. [`Frames`] makes one stream of bytes of the
//! binary messages, whose bounds mean nothing [MQTT-6.0.0-2], and the session does not know that there
//! are any. Anything but binary messages ends the connection [MQTT-6.0.0-1].
//!
//! Nothing piles up: a message is read when the one before it was taken, and written when what was
//! written before has been flushed. Pings are answered with the last one's pong, and are no sign of
//! life for MQTT.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, Stream as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use weir_listener::Connection;

use crate::MqttConfig;
use crate::session::{self, Arrival, Shared};

/// What is read from the socket at a time.
const READ: usize = 4 * 1024;
/// The largest message that is written, and room for it with its head, pongs and the last word.
const PIECE: usize = 8 * 1024;
const OUTPUT: usize = 2 * PIECE;
/// The least that the largest message of a client may have: browsers put everything into one that was
/// sent between two of their turns.
const MESSAGE: usize = 256 * 1024;
/// What may be read, beside the longest CONNECT, before the client has said who it is.
const HANDSHAKE: usize = READ;
/// Type and length of a packet.
const PACKET_HEAD: usize = 5;
/// How long the last word may take, and the client's answer to it.
const PARTING: Duration = Duration::from_secs(1);

/// Serves connections that clients have turned into WebSockets somewhere else. Clones are the same.
#[derive(Clone, Debug)]
pub struct WebSockets {
    shared: Arc<Shared>,
}

impl WebSockets {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Serves one connection to its end, as the adapter's own, from the first byte behind the handshake on;
    /// `read_ahead` are those that were read already. The subprotocol `mqtt` has been agreed on.
    pub async fn serve(self, connection: Connection, read_ahead: Bytes) {
        let Connection {
            stream,
            peer,
            permit,
            stop,
            tls,
        } = connection;
        tracing::debug!(%peer, "MQTT connection over a WebSocket");
        let arrival = Arrival {
            has_place: permit.is_some(),
            tls: tls.map(Box::new),
        };
        serve(stream, read_ahead, arrival, stop, &self.shared).await;
        // The place in the budget is held until the very end of the connection.
        drop(permit);
    }
}

/// Serves a connection from the first byte behind the handshake on.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    read_ahead: Bytes,
    arrival: Arrival,
    stop: CancellationToken,
    shared: &Shared,
) {
    let frames = Frames::new(stream, read_ahead, stop.clone(), &shared.config);
    let mut frames = frames.await;
    session::serve(&mut frames, arrival, stop, shared).await;
    frames.part().await;
}

/// The messages of a WebSocket as a stream of bytes.
struct Frames<S> {
    socket: WebSocketStream<Gate<S>>,
    /// What of the last message was not taken yet.
    unread: Bytes,
    parting: Parting,
    stop: CancellationToken,
}

/// A stream from which only so much can be read, until the first answer: a message is collected as a whole
/// before anybody looks at it, also for somebody who has not said who he is.
struct Gate<S> {
    stream: S,
    /// Bytes; none if there is no bound any more.
    left: Option<usize>,
}

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    /// Both sides talk.
    No,
    /// The client did what it must not do, and is to be told.
    Refused(CloseCode),
    /// We have said our last word.
    Said,
    /// The client has said its last word, or is gone.
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    async fn new(
        stream: S,
        read_ahead: Bytes,
        stop: CancellationToken,
        config: &MqttConfig,
    ) -> Self {
        let largest = config.packet_limit().saturating_add(PACKET_HEAD);
        let largest = largest.max(MESSAGE);
        let bounds = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(PIECE)
            .max_write_buffer_size(OUTPUT)
            .max_message_size(Some(largest))
            .max_frame_size(Some(largest));
        let (role, bounds) = (Role::Server, Some(bounds));
        let read_ahead = read_ahead.to_vec();
        let stream = Gate {
            stream,
            left: Some(config.connect_limit().saturating_add(HANDSHAKE)),
        };
        let socket = WebSocketStream::from_partially_read(stream, read_ahead, role, bounds);
        Self {
            socket: socket.await,
            unread: Bytes::new(),
            parting: Parting::No,
            stop,
        }
    }

    /// The next message with something in it; `None` if there is none to come.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            let next = ready!(Pin::new(&mut self.socket).poll_next(cx));
            let fault = match next {
                Some(Ok(Message::Binary(bytes))) if bytes.is_empty() => continue,
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Ok(Some(bytes))),
                // A ping has its answer, and so has a close: what comes after it is the end.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => continue,
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    Parting::Refused(CloseCode::Unsupported)
                }
                Some(Err(Error::Capacity(_))) => Parting::Refused(CloseCode::Size),
                // Only texts have an encoding.
                Some(Err(Error::Utf8(_))) => Parting::Refused(CloseCode::Unsupported),
                Some(Err(Error::Io(error))) => {
                    self.parting = Parting::Over;
                    return Poll::Ready(Err(error));
                }
                Some(Err(_)) => Parting::Refused(CloseCode::Protocol),
                None => {
                    self.parting = Parting::Over;
                    return Poll::Ready(Ok(None));
                }
            };
            if self.parting == Parting::No {
                self.parting = fault;
            }
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
    }

    /// Says our last word, if it has not been said.
    fn poll_say(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let code = match self.parting {
            Parting::No if self.stop.is_cancelled() => Some(CloseCode::Away),
            Parting::No => Some(CloseCode::Normal),
            Parting::Refused(code) => Some(code),
            Parting::Said | Parting::Over => None,
        };
        if let Some(code) = code {
            self.parting = Parting::Said;
            let reason = Default::default();
            let last = Message::Close(Some(CloseFrame { code, reason }));
            Pin::new(&mut self.socket).start_send(last).or_else(ended)?;
        }
        self.poll_flush_all(cx)
    }

    /// Ready when everything is in the socket.
    fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.socket).poll_flush(cx));
        flushed.or_else(ended)?;
        // If the client has just said its last word, that was not asked of the stream underneath.
        ready!(Pin::new(self.socket.get_mut()).poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    /// Ends what the session has left, with both sides' last word if there is somebody to hear it.
    async fn part(&mut self) {
        let part = async {
            poll_fn(|cx| self.poll_say(cx)).await?;
            // The server closes first (RFC 6455 §7.1.1), and listens for a while, because closing over
            // unread input could take the last word away from the client.
            let stream = self.socket.get_mut();
            stream.shutdown().await?;
            let mut ignored = [0; 512];
            while stream.read(&mut ignored).await? > 0 {}
            io::Result::Ok(())
        };
        // Whether the client heard it makes no difference any more.
        let _ = tokio::time::timeout(PARTING, part).await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let Some(left) = self.left else {
            return Poll::Ready(Ok(()));
        };
        let left = left.checked_sub(buffer.filled().len() - before);
        self.left = Some(left.ok_or(io::ErrorKind::InvalidData)?);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            match ready!(self.poll_message(cx))? {
                Some(message) => self.unread = message,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    /// Takes what fits into one message.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Pongs may wait even if nothing was written here.
        ready!(self.poll_flush_all(cx))?;
        self.socket.get_mut().left = None;
        let length = bytes.len().min(PIECE);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..length]));
        let sent = Pin::new(&mut self.socket).start_send(message);
        sent.map_err(broken)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_all(cx)
    }

    /// Says that nothing more will come. The stream underneath stays open for the client's answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_say(cx)
    }
}

/// An error that only says that the last words have been said is none.
fn ended(error: Error) -> io::Result<()> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(()),
        error => Err(broken(error)),
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}
