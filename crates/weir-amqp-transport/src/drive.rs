//! The loop of one connection.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use weir_amqp_engine::{Connection, Event};
use weir_listener::Stream;

use crate::stall::Stall;

/// Room made for each read, in bytes.
const READ_ROOM: usize = 16 * 1024;
/// While this much waits to be written nothing more is read: a peer that does not take our answers
/// gets no more of them.
const WRITE_BACKLOG: usize = 512 * 1024;
/// How long a peer may take to read the last words of a connection that is over.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Rounds of one poll before other tasks get their turn.
const ROUNDS: usize = 32;

/// A byte stream that a connection runs over.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    /// Asks the system to acknowledge received data at once.
    ///
    /// A client that keeps Nagle's algorithm on holds its next dispositions back until the last ones
    /// are acknowledged; with delayed acknowledgements that is 40 ms per round.
    fn acknowledge(&self) {}
}

impl Transport for TcpStream {
    #[cfg(target_os = "linux")]
    fn acknowledge(&self) {
        // Only ever a hint; if it fails the kernel acknowledges in its own time.
        let _ = socket2::SockRef::from(self).set_tcp_quickack(true);
    }
}

impl Transport for Stream {
    fn acknowledge(&self) {
        self.socket().acknowledge();
    }
}

impl Transport for tokio::io::DuplexStream {}

/// What sits on a connection and decides.
pub trait Peer: Send {
    /// What an outgoing delivery carries until it is settled.
    type Token: Send;

    /// Answers one event.
    fn handle_event(
        &mut self,
        now: Instant,
        connection: &mut Connection<Self::Token>,
        event: Event<Self::Token>,
    );

    /// Moves what waits: answers that were being looked up, messages to send. Arranges to be woken
    /// when there is more.
    fn poll_progress(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        connection: &mut Connection<Self::Token>,
    );

    /// When [`Peer::poll_progress`] has to be called without being woken.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The process is stopping: the connection is to be closed.
    fn stop(&mut self, now: Instant, connection: &mut Connection<Self::Token>) {
        connection.close(now, None);
    }
}

/// Runs `connection` over `stream` until it is over, and gives the peer back. Every token that was
/// sent has come back to it by then.
///
/// A stream that takes nothing for as long as the engine's
/// [idle time-out](Connection::idle_timeout) while something waits to be written is lost.
pub async fn drive<S: Transport, P: Peer>(
    stream: S,
    connection: Connection<P::Token>,
    peer: P,
    stop: CancellationToken,
) -> P {
    let mut drive = Drive {
        stream,
        connection,
        peer,
        input: BytesMut::new(),
        at_eof: false,
        unflushed: false,
        is_write_dead: false,
        stall: Stall::default(),
        flush_until: None,
        gathered: false,
        stop: Some(Box::pin(stop.cancelled_owned())),
        timer: None,
    };
    poll_fn(|cx| drive.poll(cx)).await;
    drive.peer
}

struct Drive<S, P: Peer> {
    stream: S,
    connection: Connection<P::Token>,
    peer: P,
    /// Received bytes that are not a whole frame yet.
    input: BytesMut,
    at_eof: bool,
    /// Whether something was written that the stream may still hold back (TLS).
    unflushed: bool,
    /// Nothing can be written any more; what the peer has sent before is still read.
    is_write_dead: bool,
    stall: Stall,
    /// How long the last words of a connection that is over may take.
    flush_until: Option<Pin<Box<Sleep>>>,
    /// Whether this task has already stepped back once before its next write.
    gathered: bool,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Armed for some deadline that is not later than the next one. It may fire early: resetting it
    /// for each message would cost more.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S: Transport, P: Peer> Drive<S, P> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            // The timers' clock, which tests can move.
            let now = tokio::time::Instant::now().into_std();
            let mut moved = self.poll_timer(cx, now);
            moved |= self.poll_read(cx);
            self.feed(now);
            if self.at_eof || self.is_stalled(now) {
                // Everything that came before has been handled.
                self.lost(now);
            }
            let before = self.connection.output().len();
            self.peer.poll_progress(cx, now, &mut self.connection);
            // What it did may have had an answer at once, which it has not acted upon yet.
            moved |= self.handle_events(now);
            // Last, so that what was settled before the stop is still told.
            moved |= self.poll_stop(cx, now);
            if self.steps_back(before) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            moved |= self.poll_write(cx, now);
            if self.connection.is_closed() && self.poll_flushed(cx).is_ready() {
                return self.poll_shutdown(cx);
            }
            if !moved {
                if self.arm_timer(cx) {
                    continue;
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gathering: the scheduler runs the task that was woken last first, so the first of many
    /// producers would see its message written alone. Stepping back once lets the others add theirs
    /// and halves the cost per message.
    fn steps_back(&mut self, before: usize) -> bool {
        let grew = self.connection.output().len() > before;
        let steps_back = grew && !self.gathered;
        self.gathered = steps_back;
        steps_back
    }

    /// Hands the engine what was received, as long as it takes something, and the peer what it makes
    /// of it.
    fn feed(&mut self, now: Instant) {
        loop {
            let before = self.input.len();
            self.connection.handle_input(now, &mut self.input);
            self.handle_events(now);
            if self.input.len() == before || self.input.is_empty() {
                return;
            }
        }
    }

    /// Whether there was any.
    fn handle_events(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(event) = self.connection.poll_event() {
            any = true;
            self.peer.handle_event(now, &mut self.connection, event);
        }
        any
    }

    fn poll_stop(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(stop) = &mut self.stop else {
            return false;
        };
        if stop.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.stop = None;
        self.peer.stop(now, &mut self.connection);
        self.handle_events(now)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let is_behind = self.connection.output().len() > WRITE_BACKLOG;
        if self.at_eof || is_behind || !self.connection.wants_input() {
            return false;
        }
        self.input.reserve(READ_ROOM);
        match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input) {
            Poll::Pending => false,
            Poll::Ready(Ok(read)) if read > 0 => {
                self.stream.acknowledge();
                true
            }
            Poll::Ready(_) => {
                self.at_eof = true;
                true
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let output = self.connection.output();
        if self.is_write_dead {
            output.clear();
            return false;
        }
        if output.is_empty() {
            return self.poll_flush(cx, now);
        }
        match Pin::new(&mut self.stream).poll_write(cx, output) {
            Poll::Pending => {
                self.stall.refused(now);
                false
            }
            Poll::Ready(Ok(written)) if written > 0 => {
                output.advance(written);
                self.unflushed = true;
                self.stall.taken();
                true
            }
            Poll::Ready(_) => {
                self.write_died();
                true
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if !self.unflushed {
            return false;
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => {
                self.stall.held_back(now);
                false
            }
            Poll::Ready(Ok(())) => {
                self.unflushed = false;
                self.stall.flushed();
                false
            }
            Poll::Ready(Err(_)) => {
                self.write_died();
                true
            }
        }
    }

    /// Dispositions that came before this may still wait to be read; reading will tell when there
    /// are no more.
    fn write_died(&mut self) {
        self.is_write_dead = true;
        self.unflushed = false;
        self.stall.flushed();
        self.connection.output().clear();
    }

    /// Nothing more comes or goes: the connection is over, whatever its peer was about to say.
    fn lost(&mut self, now: Instant) {
        self.connection.handle_eof(now);
        self.handle_events(now);
        self.connection.output().clear();
        self.unflushed = false;
        self.stall.flushed();
    }

    /// Whether a peer that may well be sending takes nothing: the engine hears it and would wait for
    /// ever. The last words have a time of their own.
    fn is_stalled(&self, now: Instant) -> bool {
        self.write_deadline()
            .is_some_and(|deadline| deadline <= now)
    }

    fn write_deadline(&self) -> Option<Instant> {
        let patience = self.connection.idle_timeout();
        let deadline = self.stall.deadline(patience);
        deadline.filter(|_| !self.connection.is_closed())
    }

    /// Whether the last words are out. A peer that does not read them is not waited for long.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.connection.output().is_empty() && !self.unflushed {
            return Poll::Ready(());
        }
        let patience = || Box::pin(tokio::time::sleep(FLUSH_TIMEOUT));
        self.flush_until
            .get_or_insert_with(patience)
            .as_mut()
            .poll(cx)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some((_, sleep)) = &mut self.timer else {
            return false;
        };
        if sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        self.connection.handle_timeout(now);
        true
    }

    /// Arms the timer for the next deadline; whether that has passed already.
    fn arm_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let deadlines = [
            self.connection.poll_timeout(),
            self.peer.deadline(),
            self.write_deadline(),
        ];
        let Some(next) = deadlines.into_iter().flatten().min() else {
            return false;
        };
        if self.timer.as_ref().is_some_and(|(armed, _)| *armed <= next) {
            return false;
        }
        let at = tokio::time::Instant::from_std(next);
        match &mut self.timer {
            Some((armed, sleep)) => {
                *armed = next;
                sleep.as_mut().reset(at);
            }
            timer => *timer = Some((next, Box::pin(tokio::time::sleep_until(at)))),
        }
        let Some((_, sleep)) = &mut self.timer else {
            return false;
        };
        let passed = sleep.as_mut().poll(cx).is_ready();
        if passed {
            self.timer = None;
            let now = tokio::time::Instant::now().into_std();
            self.connection.handle_timeout(now);
        }
        passed
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at_eof {
            return Poll::Ready(());
        }
        // Whether the peer hears of it makes no difference any more.
        let _: Poll<io::Result<()>> = Pin::new(&mut self.stream).poll_shutdown(cx);
        Poll::Ready(())
    }
}
