//! Commands that do not get to the device, and what of them it gets to see all the same: nothing.

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter, DuplexStream, duplex};
use weir_core::command::CommandOutcome::{Accepted, Released};

use super::client::{Connect, PINGREQ, PINGRESP, packet, puback, publish};
use super::command::{Asked, ask, one_way, piped, published, served};
use super::subscribe::deleted;
use super::*;

/// A client of version 5 that takes one command at a time.
const ONE_AT_A_TIME: Connect<'_> = Connect {
    version: 5,
    clean: true,
    keep_alive: 0,
    client_id: "client",
    username: Some("gw@acme"),
    password: Some(b"secret"),
    properties: &[0x21, 0, 1],
};

/// The default time for a command, and what is over when it is.
const TIMEOUT: Duration = Duration::from_secs(1);
const A_BIT: Duration = Duration::from_millis(10);

/// A command that has had its outcome by now.
fn settled(asked: &mut Asked) -> Option<weir_core::command::CommandOutcome> {
    asked.now_or_never()
}

/// Time is paused in these: it jumps to the next deadline when nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn a_command_that_waits_for_the_window_is_released_in_time_and_never_sent() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    let mut client = piped(&pipeline, ONE_AT_A_TIME, 1024).await;
    client.subscribe(5, "c///q/#", 1).await;
    let mut first = ask(commands, "gw-1", "a", one_way()).await;
    client.expect_publish(5, 1, "c///q//a").await;
    let mut second = ask(commands, "gw-1", "b", one_way()).await;
    client.expect_silence().await;
    tokio::time::sleep(TIMEOUT + A_BIT).await;
    assert_eq!(settled(&mut first), Some(Released));
    assert_eq!(settled(&mut second), Some(Released));
    client.send(&puback(1)).await;
    client.expect_silence().await;
    // There is room for what comes now.
    let third = ask(commands, "gw-1", "c", one_way()).await;
    client.expect_publish(5, 2, "c///q//c").await;
    client.send(&puback(2)).await;
    assert_eq!(third.await, Accepted);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_window_and_for_the_acknowledgement_have_one_deadline() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    let mut client = piped(&pipeline, ONE_AT_A_TIME, 1024).await;
    client.subscribe(5, "c///q/#", 1).await;
    let first = ask(commands, "gw-1", "a", one_way()).await;
    let mut second = ask(commands, "gw-1", "b", one_way()).await;
    client.expect_publish(5, 1, "c///q//a").await;
    tokio::time::sleep(TIMEOUT - 2 * A_BIT).await;
    client.send(&puback(1)).await;
    assert_eq!(first.await, Accepted);
    client.expect_publish(5, 2, "c///q//b").await;
    assert_eq!(settled(&mut second), None);
    tokio::time::sleep(3 * A_BIT).await;
    assert_eq!(settled(&mut second), Some(Released));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_64_commands_wait_on_all_subscriptions_together() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    let mut client = piped(&pipeline, ONE_AT_A_TIME, 1024).await;
    client.subscribe(5, "c///q/#", 1).await;
    client.subscribe(5, "c//edge-1/q/#", 1).await;
    let sent = ask(commands, "gw-1", "sent", one_way()).await;
    client.expect_publish(5, 1, "c///q//sent").await;
    let mut waiting = Vec::new();
    for turn in 0..64 {
        let device = ["gw-1", "edge-1"][turn % 2];
        waiting.push(ask(commands, device, "waits", one_way()).await);
        client.expect_silence().await;
    }
    let mut more = ask(commands, "edge-1", "more", one_way()).await;
    client.expect_silence().await;
    assert_eq!(settled(&mut more), Some(Released));
    assert!(waiting.iter_mut().all(|asked| settled(asked).is_none()));
    // Those that wait get their turn, and then there is a place in the row again.
    client.send(&puback(1)).await;
    assert_eq!(sent.await, Accepted);
    client.packet().await;
    let mut more = ask(commands, "edge-1", "more", one_way()).await;
    client.expect_silence().await;
    assert_eq!(settled(&mut more), None);
}

/// A device that takes commands for edge-1 with QoS 0, its own with QoS 1, and does not read. What
/// comes first does not fit into the pipe.
async fn stuck(pipeline: &Pipeline) -> (Client<DuplexStream>, Asked, Vec<u8>) {
    let mut client = piped(pipeline, ONE_AT_A_TIME, 64).await;
    client.subscribe(5, "c///q/#", 1).await;
    client.subscribe(5, "c//edge-1/q/#", 0).await;
    let long = "x".repeat(100);
    let begun = ask(pipeline.commands(), "edge-1", &long, one_way()).await;
    tokio::time::sleep(A_BIT).await;
    let bytes = published(5, 0, &format!("c//edge-1/q//{long}"));
    (client, begun, bytes)
}

#[tokio::test(start_paused = true)]
async fn a_command_that_waits_for_a_device_that_does_not_read_is_never_sent_once_it_is_released() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    let (mut client, mut begun, bytes) = stuck(&pipeline).await;
    let long = "x".repeat(1000);
    let mut waiting = Vec::new();
    // Some are in the output, the others find it full.
    for turn in 0..20 {
        let device = ["gw-1", "edge-1"][turn % 2];
        waiting.push(ask(commands, device, &long, one_way()).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(waiting.iter_mut().all(|asked| settled(asked).is_none()));
    tokio::time::sleep(TIMEOUT / 2).await;
    let late = ask(commands, "gw-1", "late", one_way()).await;
    tokio::time::sleep(TIMEOUT / 2).await;
    assert_eq!(settled(&mut begun), Some(Released));
    for asked in &mut waiting {
        assert_eq!(settled(asked), Some(Released));
    }
    // What it had a part of comes whole; then what there is time for still. The window is open for it:
    // what was never sent needs no acknowledgement.
    client.expect(&bytes).await;
    let next = client.packet().await;
    // Behind the head, the topic and its length.
    let packet_id = u16::from(next[2 + 2 + "c///q//late".len() + 1]);
    assert_eq!(next, published(5, packet_id, "c///q//late"));
    client.send(&puback(packet_id)).await;
    assert_eq!(late.await, Accepted);
    client.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn commands_wait_while_the_device_does_not_read_but_not_any_number_of_them() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let mut client = piped(&pipeline, Connect::default(), 64).await;
    client.subscribe(4, "c///q/#", 0).await;
    let name = "x".repeat(1000);
    let (mut open, mut released) = (Vec::new(), 0);
    for _ in 0..100 {
        let mut outcome = ask(pipeline.commands(), "4711", &name, one_way()).await;
        // The connection gets its turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
        match (&mut outcome).now_or_never() {
            None => open.push(outcome),
            Some(outcome) => {
                assert_eq!(outcome, Released);
                released += 1;
            }
        }
    }
    // A few are in the output, the others have their place in the row.
    assert!((20..=35).contains(&released), "{released}");
    let topic = format!("c///q//{name}");
    for outcome in open {
        client.expect_publish(4, 0, &topic).await;
        assert_eq!(outcome.await, Accepted);
    }
}

/// The pipe is full to the last byte, so that nothing of the next command is begun.
#[tokio::test(start_paused = true)]
async fn a_device_is_given_time_to_read_from_when_there_is_something_to_read() {
    const PIPE: usize = 64;
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    let request = Connect {
        keep_alive: 0,
        ..Connect::default()
    };
    let mut client = piped(&pipeline, request, PIPE).await;
    client.subscribe(4, "c///q/#", 0).await;
    let name = "x".repeat(PIPE - published(4, 0, "c///q//").len());
    let topic = format!("c///q//{name}");
    let first = ask(commands, "4711", &name, one_way()).await;
    assert_eq!(first.await, Accepted);
    let second = ask(commands, "4711", &name, one_way()).await;
    assert_eq!(second.await, Released);
    // Longer than a peer may leave unread what waits for it; but nothing does.
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.send(&PINGREQ).await;
    tokio::time::sleep(A_BIT).await;
    client.expect_publish(4, 0, &topic).await;
    client.expect(&PINGRESP).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_begun_when_the_connection_ends_is_not_sent() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    let (mut client, begun, bytes) = stuck(&pipeline).await;
    let own = ask(commands, "gw-1", "on", one_way()).await;
    let edge = ask(commands, "edge-1", "on", one_way()).await;
    tokio::time::sleep(A_BIT).await;
    pipeline.change_listener().changed(&deleted("gw-1"));
    assert_eq!(own.await, Released);
    assert_eq!(edge.await, Released);
    client.expect(&bytes).await;
    client.expect_disconnect(0x98).await;
    // That one it has, so the application is told so.
    assert_eq!(begun.await, Accepted);
}

#[tokio::test(start_paused = true)]
async fn what_is_begun_when_the_connection_ends_is_released_if_it_does_not_get_there() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let (mut client, begun, bytes) = stuck(&pipeline).await;
    pipeline.change_listener().changed(&deleted("gw-1"));
    // It is let go while it does not read.
    assert_eq!(begun.await, Released);
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, bytes[..64]);
}

#[tokio::test(start_paused = true)]
async fn a_command_in_the_output_is_taken_out_when_the_device_breaks_the_protocol() {
    /// As many packets as are handled before commands have their turn.
    const PACKETS: usize = 64;
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    let mut client = piped(&pipeline, ONE_AT_A_TIME, 4096).await;
    client.subscribe(5, "c///q/#", 1).await;
    let first = ask(commands, "gw-1", "a", one_way()).await;
    let second = ask(commands, "gw-1", "b", one_way()).await;
    client.expect_publish(5, 1, "c///q//a").await;
    // Makes room for the second, and ends the connection before anything is written.
    let pings = PINGREQ.repeat(PACKETS - 1);
    let breach = packet(0x00, b"");
    client
        .send(&[&puback(1)[..], &pings, &breach].concat())
        .await;
    for _ in 1..PACKETS {
        client.expect(&PINGRESP).await;
    }
    let disconnect = client.packet().await;
    assert_eq!(disconnect[0], 0xe0, "{disconnect:?}");
    client.expect_end().await;
    assert_eq!(first.await, Accepted);
    assert_eq!(second.await, Released);
}

#[tokio::test(start_paused = true)]
async fn what_the_stream_holds_back_is_not_taken_yet() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let (stream, theirs) = duplex(64);
    // It takes everything at once, as TLS does.
    let theirs = BufWriter::with_capacity(64 * 1024, theirs);
    let stop = CancellationToken::new();
    let request = Connect::default();
    let mut client = served(&pipeline, request, (stream, theirs), stop).await;
    client.subscribe(4, "c///q/#", 0).await;
    let name = "x".repeat(100);
    let mut outcome = ask(pipeline.commands(), "4711", &name, one_way()).await;
    tokio::time::sleep(A_BIT).await;
    assert_eq!(settled(&mut outcome), None);
    let topic = format!("c///q//{name}");
    client.expect_publish(4, 0, &topic).await;
    assert_eq!(outcome.await, Accepted);
}

#[tokio::test(start_paused = true)]
async fn on_stop_commands_may_still_be_acknowledged_and_nothing_new_is_begun() {
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    let commands = pipeline.commands();
    for version in [4, 5] {
        back.always(Ok(()));
        let pair = duplex(1024);
        let stop = CancellationToken::new();
        let request = Connect {
            version,
            ..Connect::default()
        };
        let mut client = served(&pipeline, request, pair, stop.clone()).await;
        client.subscribe(version, "c///q/#", 1).await;
        back.next().await;
        let mut first = ask(commands, "4711", "a", one_way()).await;
        let mut second = ask(commands, "4711", "b", one_way()).await;
        client.expect_publish(version, 1, "c///q//a").await;
        client.expect_publish(version, 2, "c///q//b").await;
        stop.cancel();
        tokio::time::sleep(A_BIT).await;
        assert_eq!(settled(&mut first), None);
        let uplink = publish(version, "telemetry", 7, "x");
        client.send(&[&uplink, &puback(2)[..]].concat()).await;
        assert_eq!((&mut second).await, Accepted);
        assert_eq!(settled(&mut first), None);
        client.send(&puback(1)).await;
        assert_eq!(first.await, Accepted);
        client.expect_close(version, 0x8b).await;
        assert!(back.is_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn on_stop_a_connection_waits_no_longer_than_its_commands_have_time() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let stop = CancellationToken::new();
    let pair = duplex(1024);
    let mut client = served(&pipeline, ONE_AT_A_TIME, pair, stop.clone()).await;
    client.subscribe(5, "c///q/#", 1).await;
    let sent = ask(pipeline.commands(), "gw-1", "a", one_way()).await;
    client.expect_publish(5, 1, "c///q//a").await;
    let mut waiting = ask(pipeline.commands(), "gw-1", "b", one_way()).await;
    client.expect_silence().await;
    stop.cancel();
    tokio::time::sleep(A_BIT).await;
    // What was not begun is not begun any more.
    assert_eq!(settled(&mut waiting), Some(Released));
    assert_eq!(sent.await, Released);
    client.expect_disconnect(0x8b).await;
}

#[tokio::test(start_paused = true)]
async fn on_stop_a_client_that_says_goodbye_is_not_waited_for() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let stop = CancellationToken::new();
    let pair = duplex(1024);
    let mut client = served(&pipeline, ONE_AT_A_TIME, pair, stop.clone()).await;
    client.subscribe(5, "c///q/#", 1).await;
    let mut sent = ask(pipeline.commands(), "gw-1", "a", one_way()).await;
    client.expect_publish(5, 1, "c///q//a").await;
    stop.cancel();
    tokio::time::sleep(A_BIT).await;
    client.stream.write_all(&[0xe0, 0]).await.unwrap();
    tokio::time::sleep(A_BIT).await;
    assert_eq!(settled(&mut sent), Some(Released));
    client.expect_end().await;
}
