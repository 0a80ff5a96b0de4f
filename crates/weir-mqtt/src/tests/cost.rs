//! What a message and an idle connection cost.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, duplex};

use super::ARRIVED;
use super::client::{connect, puback, publish};
use super::*;
use crate::session::{self, Shared};

/// A stream that counts the system calls a socket would make. A read that finds nothing is none,
/// because readiness is known.
struct Counted<S> {
    stream: S,
    calls: std::sync::Arc<AtomicUsize>,
}

impl<S> Counted<S> {
    fn count<T>(&self, poll: &Poll<T>) {
        if poll.is_ready() {
            self.calls.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.count(&poll);
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(&poll);
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn one_read_and_one_write_per_batch() {
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    let config = MqttConfig::default();
    let shared = std::sync::Arc::new(Shared { config, pipeline });
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let (mut client, stream) = duplex(64 * 1024);
    let counted = Counted {
        stream,
        calls: calls.clone(),
    };
    let stop = CancellationToken::new();
    tokio::spawn(async move { session::serve(counted, ARRIVED, stop, &shared).await });
    client
        .write_all(&connect(4, "sensor1@acme", "secret"))
        .await
        .unwrap();
    client.read_exact(&mut [0; 4]).await.unwrap();

    for window in [1, 20, 64] {
        let before = calls.load(Ordering::Acquire);
        let batch: Vec<u8> = (1..=window)
            .flat_map(|packet_id| publish(4, "telemetry", packet_id, &"x".repeat(100)))
            .collect();
        client.write_all(&batch).await.unwrap();
        let mut open = Vec::new();
        for _ in 0..window {
            open.push(back.next().await);
        }
        open.into_iter().for_each(|sent| sent.settle(Ok(())));
        let mut answers = vec![0; 4 * usize::from(window)];
        client.read_exact(&mut answers).await.unwrap();
        let expected: Vec<u8> = (1..=window).flat_map(puback).collect();
        assert_eq!(answers, expected);
        assert_eq!(calls.load(Ordering::Acquire) - before, 2, "window {window}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_small() {
    let (pipeline, _registry, _back, _metrics) = pipeline();
    let config = MqttConfig::default();
    let shared = Shared { config, pipeline };
    let (_client, stream) = duplex(1);
    let connection = session::serve(stream, ARRIVED, CancellationToken::new(), &shared);
    let size = size_of_val(&connection);
    assert!(size < 1024, "{size}");
}
