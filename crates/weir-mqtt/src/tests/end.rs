//! How connections end.

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex,
};
use weir_core::Reason;

use super::ARRIVED;
use super::client::{Connect, PINGREQ, connect, puback, publish};
use super::*;
use crate::session::{self, Shared};

#[tokio::test]
async fn on_stop_what_is_in_flight_is_answered_and_the_client_is_told() {
    let mut gateway = Gateway::start().await;
    let mut idle = gateway.connected(4).await;
    let mut busy = gateway.connected(5).await;
    busy.send(&publish(5, "telemetry", 1, "x")).await;
    let sent = gateway.back.next().await;
    gateway.stop.cancel();
    idle.expect_end().await;
    // Nothing more is read.
    busy.send(&publish(5, "telemetry", 2, "x")).await;
    sent.settle(Ok(()));
    busy.expect(&puback(1)).await;
    busy.expect_disconnect(0x8b).await;
    gateway.served.await.unwrap();
    assert!(gateway.back.is_idle());
}

#[tokio::test]
async fn on_stop_a_client_that_has_not_connected_is_let_go() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    client
        .send(&connect(4, "sensor1@acme", "secret")[..5])
        .await;
    // The connection is known to be served once another one is.
    gateway.connected(4).await;
    gateway.stop.cancel();
    client.expect_end().await;
    gateway.served.await.unwrap();
}

/// A client may say all it has to say at once.
#[tokio::test]
async fn what_came_right_before_the_disconnect_is_answered() {
    let gateway = Gateway::start().await;
    let mut client = gateway.client().await;
    let login = connect(4, "sensor1@acme", "secret");
    let all = [&login[..], &PINGREQ, &[0xe0, 0]].concat();
    client.send(&all).await;
    client.expect_connack(0).await;
    client.expect(&[0xd0, 0]).await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_silent_client_is_dropped_after_its_keep_alive() {
    let gateway = Gateway::start().await;
    for version in [4, 5] {
        let mut client = gateway.client().await;
        let request = Connect {
            version,
            keep_alive: 1,
            ..Connect::default()
        };
        client.send(&request.bytes()).await;
        client.expect_connack(0).await;
        // Half a packet is not a packet.
        client.send(&[0xc0]).await;
        client.expect_close(version, 0x8d).await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_its_outcome_is_not_silent() {
    let config = MqttConfig {
        max_in_flight: std::num::NonZeroU16::MIN,
        ..MqttConfig::default()
    };
    let mut gateway = Gateway::with(config, 10).await;
    let mut client = gateway.client().await;
    let request = Connect {
        keep_alive: 1,
        ..Connect::default()
    };
    client.send(&request.bytes()).await;
    client.expect_connack(0).await;
    client.send(&publish(4, "telemetry", 1, "x")).await;
    let sent = gateway.back.next().await;
    // Reading has stopped, and time passes. No assertion depends on how much.
    tokio::time::sleep(Duration::from_millis(1700)).await;
    sent.settle(Ok(()));
    client.expect(&puback(1)).await;
}

#[tokio::test]
async fn a_peer_that_does_not_connect_loses_its_place() {
    let config = MqttConfig {
        connect_timeout: 1,
        ..MqttConfig::default()
    };
    let gateway = Gateway::with(config, 10).await;
    let mut silent = gateway.client().await;
    let mut slow = gateway.client().await;
    slow.send(&[0x10, 0x20, 0]).await;
    silent.expect_end().await;
    slow.expect_end().await;
}

#[tokio::test]
async fn a_client_that_disconnects_is_let_go_without_a_word() {
    let mut gateway = Gateway::start().await;
    for version in [4, 5] {
        let mut client = gateway.connected(version).await;
        let last = [publish(version, "telemetry", 0, "x"), vec![0xe0, 0]].concat();
        client.send(&last).await;
        client.expect_end().await;
        gateway.back.next().await;
    }
    // With a reason, which version 5 allows: disconnect with will message.
    let mut client = gateway.connected(5).await;
    client.send(&[0xe0, 1, 4]).await;
    client.expect_end().await;
}

#[tokio::test]
async fn connections_are_counted_out() {
    let gateway = Gateway::start().await;
    let client = gateway.connected(4).await;
    drop(client);
    let deadline = Instant::now() + SOON;
    let open = || gateway.series(&["hono_connections_authenticated{"])[0].clone();
    while !open().ends_with(" 0") && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    assert!(open().ends_with(" 0"), "{}", open());
}

#[tokio::test]
async fn a_terminal_error_wins_over_what_the_device_asked_for() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected(5).await;
    gateway.registry.unregister("4711");
    client.send(&publish(5, "t/?on-error=ignore", 1, "x")).await;
    client.expect_disconnect(0x87).await;
    assert!(gateway.back.is_idle());
}

#[tokio::test]
async fn a_client_that_closes_its_side_at_once_is_no_trouble() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected(4).await;
    client.send(&publish(4, "telemetry", 1, "x")).await;
    client.stream.shutdown().await.unwrap();
    gateway.back.next().await.settle(Err(Reason::NoConsumer));
    client.expect_end().await;
    gateway.connected(4).await.expect_silence().await;
}

/// Time is paused: it jumps when nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_not_read_from_and_dropped_in_the_end() {
    let (client, stream) = duplex(64);
    flood(client, stream).await;
}

/// What TLS has taken and cannot get rid of has not been read by the peer either.
#[tokio::test(start_paused = true)]
async fn nor_is_one_whose_answers_wait_inside_the_stream() {
    let (client, stream) = duplex(64);
    // As much as `tokio-rustls` takes.
    flood(
        client,
        tokio::io::BufWriter::with_capacity(64 * 1024, stream),
    )
    .await;
}

/// A client that sends and never reads, until it is let go.
async fn flood<S>(mut client: DuplexStream, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (pipeline, _registry, _back, _metrics) = pipeline();
    let config = MqttConfig::default();
    let shared = Shared { config, pipeline };
    let handler = tokio::spawn(async move {
        session::serve(stream, ARRIVED, CancellationToken::new(), &shared).await;
    });
    let request = Connect {
        keep_alive: 0,
        ..Connect::default()
    };
    client.write_all(&request.bytes()).await.unwrap();
    client.read_exact(&mut [0; 4]).await.unwrap();
    let flood = PINGREQ.repeat(1_000_000);
    let sent = client.write_all(&flood).await;
    assert!(sent.is_err(), "all of it was read");
    handler.await.unwrap();
}
