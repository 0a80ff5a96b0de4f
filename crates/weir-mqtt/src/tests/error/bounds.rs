//! What subscriptions for errors and the errors themselves may take.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};

use super::super::client::packet;
use super::super::command::served;
use super::*;
use crate::session;

/// A stream that remembers how much there ever was to write.
struct Largest {
    stream: DuplexStream,
    seen: Arc<AtomicUsize>,
}

impl AsyncRead for Largest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Largest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.seen.fetch_max(bytes.len(), Ordering::AcqRel);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn the_errors_of_many_messages_wait_for_the_device_to_read_and_then_all_come() {
    const OPEN: u16 = 64;
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    let seen = Arc::new(AtomicUsize::new(0));
    let (stream, theirs) = duplex(1024);
    let theirs = Largest {
        stream: theirs,
        seen: seen.clone(),
    };
    let stop = CancellationToken::new();
    let request = Connect::default();
    let mut client = served(&pipeline, request, (stream, theirs), stop).await;
    client.subscribe(4, OWN, 0).await;
    let id = "x".repeat(1000);
    let topic = format!("t/?correlation-id={id}");
    for packet_id in 1..=OPEN {
        client.send(&publish(4, &topic, packet_id, "x")).await;
    }
    let mut open = Vec::new();
    for _ in 0..OPEN {
        open.push(back.next().await);
    }
    // The first one is what the others wait for.
    for sent in open.into_iter().rev() {
        sent.settle(Err(Reason::Released));
    }
    let told = format!("error///t/{id}/503");
    let mut bytes = 0;
    for packet_id in 1..=OPEN {
        let (topic, payload) = client.error(4).await;
        assert_eq!(topic, told);
        bytes += topic.len() + payload.to_string().len();
        client.expect(&puback(packet_id)).await;
    }
    client.expect_silence().await;
    // One that is begun comes whole, and then no other.
    let limit = session::OUTPUT_LIMIT + 2 * bytes / usize::from(OPEN);
    let seen = seen.load(Ordering::Acquire);
    assert!(bytes > 4 * limit && seen <= limit, "{bytes} {seen} {limit}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_floods_and_reads_no_errors_is_not_read_from() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Err(Reason::NoConsumer));
    let mut client = piped(&pipeline, Connect::default(), 64).await;
    client.subscribe(4, OWN, 0).await;
    let flood = publish(4, "t", 0, "x").repeat(100_000);
    let sent = client.stream.write_all(&flood).await;
    assert!(sent.is_err(), "all of it was read");
}

#[tokio::test]
async fn the_limit_of_subscriptions_is_for_commands_and_errors_together() {
    let config = MqttConfig {
        max_payload_size: 64 * 1024,
        ..MqttConfig::default()
    };
    let gateway = Gateway::with(config, 10).await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 4).await;
    // One waits for the registry, and so do all behind it.
    let asked: Vec<_> = (0..998).map(|n| format!("c//slow-1{n}/q/#")).collect();
    let mut filters: Vec<_> = asked.iter().map(|filter| (&**filter, 0)).collect();
    filters.push(("c//slow-1/q/#", 0));
    client.send(&subscribe(4, 1, &filters)).await;
    // There is room for one.
    let filters = [("c//edge-1/q/#", 0), (OWN, 0)];
    client.send(&subscribe(4, 2, &filters)).await;
    client.send(&subscribe(4, 3, &[(ALL, 0)])).await;
    client.send(&unsubscribe(4, 4, &[OWN])).await;
    client.expect(&unsuback(4, 4, &[])).await;
    let filters = [(OWN, 0), ("c//edge-1/q/#", 0)];
    client.send(&subscribe(4, 5, &filters)).await;
    client.expect_silence().await;
    gateway.registry.gate.add_permits(1);
    let codes = [&[0x80; 998][..], &[0]].concat();
    client
        .expect(&packet(0x90, &[&[0, 1], &codes[..]].concat()))
        .await;
    client.expect(&suback(4, 2, &[0x80, 0])).await;
    client.expect(&suback(4, 3, &[0])).await;
    client.expect(&suback(4, 5, &[0x80, 0])).await;
    // There is room again: none of them was granted but one.
    client.subscribe(4, OWN, 0).await;
    client.send(&publish(4, "x", 0, "x")).await;
    client
        .expect_error(4, "error///unknown/-1/404", "no such endpoint")
        .await;
}
