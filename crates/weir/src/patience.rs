//! A byte stream whose other side has to read what it asked for in time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Ends with [`io::ErrorKind::TimedOut`] when too much time passes from the first write that has to wait to the
/// flush after the last one: also for somebody who reads a little now and then.
#[derive(Debug)]
pub(crate) struct Patience<S> {
    stream: S,
    time: Duration,
    /// When what is being written has to be read.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    pub(crate) fn new(stream: S, time: Duration) -> Self {
        Self {
            stream,
            time,
            deadline: None,
        }
    }

    /// The result of a write, or that it has taken too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            return result;
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(self.time)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.deadline = None;
        }
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_reader_who_stops_is_not_waited_for_nor_one_who_reads_a_little_now_and_then() {
        for is_reading in [false, true] {
            let (stream, mut reader) = duplex(16);
            let mut stream = Patience::new(stream, Duration::from_millis(20));
            let reading = async {
                if !is_reading {
                    std::future::pending::<()>().await;
                }
                loop {
                    reader.read_u8().await.unwrap();
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let written = tokio::select! {
                written = stream.write_all(&[0; 100_000]) => written,
                () = reading => unreachable!(),
            };
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test]
    async fn each_answer_has_its_own_time() {
        let (stream, mut reader) = duplex(16);
        let mut stream = Patience::new(stream, Duration::from_secs(3600));
        let mut read = [0; 32];
        for _ in 0..2 {
            let written = async {
                stream.write_all(&[0; 32]).await?;
                let was_timed = stream.deadline.is_some();
                stream.flush().await?;
                io::Result::Ok(was_timed)
            };
            let (written, read) = tokio::join!(written, reader.read_exact(&mut read));
            read.unwrap();
            assert!(written.unwrap());
            assert!(stream.deadline.is_none());
        }
    }
}
