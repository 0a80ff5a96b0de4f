//! Commands on their way to devices.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream, duplex};
use weir_core::command::{Command, CommandOutcome, Commands, Messaging, ReplyTo};

use super::ARRIVED;
use super::client::{Connect, property, puback, publish_with};
use super::*;
use crate::session::{self, Shared};

/// No response is wanted.
pub(super) fn one_way() -> Option<ReplyTo> {
    None
}

/// A response is wanted; the command's request id is `0014r`.
pub(super) fn request() -> Option<ReplyTo> {
    Some(ReplyTo {
        messaging: Messaging::Amqp,
        correlation_id: "4".into(),
        reply_id: "r".into(),
    })
}

/// What becomes of a command.
pub(super) type Asked = BoxFuture<'static, CommandOutcome>;

pub(super) fn command(device: &str, name: &str, reply_to: Option<ReplyTo>) -> Command {
    Command {
        tenant: "acme".into(),
        device: device.into(),
        name: name.into(),
        reply_to,
        content_type: Some("text/plain".into()),
        payload: Bytes::from_static(b"go"),
        trace: None,
    }
}

/// Sends a command as an application would.
pub(super) async fn ask(
    commands: &Commands,
    device: &str,
    name: &str,
    reply_to: Option<ReplyTo>,
) -> Asked {
    let command = command(device, name, reply_to);
    Box::pin(commands.resolve(command).await.forward())
}

impl Gateway {
    pub(super) async fn command(
        &self,
        device: &str,
        name: &str,
        reply_to: Option<ReplyTo>,
    ) -> Asked {
        ask(self.pipeline.commands(), device, name, reply_to).await
    }
}

/// A PUBLISH as the gateway sends it; packet id 0 means QoS 0. No response is wanted.
pub(super) fn published(version: u8, packet_id: u16, topic: &str) -> Vec<u8> {
    let first = if packet_id == 0 { 0x30 } else { 0x32 };
    let properties = property(3, "text/plain");
    publish_with(first, version, topic, packet_id, &properties, "go")
}

/// The same for a [`request`], whose response goes to `answer`.
pub(super) fn requested(version: u8, packet_id: u16, topic: &str, answer: &str) -> Vec<u8> {
    let first = if packet_id == 0 { 0x30 } else { 0x32 };
    let properties = [
        property(3, "text/plain"),
        property(8, answer),
        property(9, "0014r"),
    ]
    .concat();
    publish_with(first, version, topic, packet_id, &properties, "go")
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) async fn expect_publish(&mut self, version: u8, packet_id: u16, topic: &str) {
        self.expect(&published(version, packet_id, topic)).await;
    }
}

/// Device contract §3.9: filter, device, how topics begin; in version 5 also how response topics do.
#[tokio::test]
async fn the_topics_of_commands() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let rows = [
        (
            "command///req/#",
            "gw-1",
            "command///req/",
            "command///res/",
        ),
        ("c///q/#", "gw-1", "c///q/", "c///s/"),
        ("c///req/#", "gw-1", "c///req/", "c///res/"),
        (
            "command/acme//q/#",
            "gw-1",
            "command/acme//q/",
            // A topic with the tenant has to have the device too.
            "command/acme/gw-1/s/",
        ),
        (
            "c/acme/gw-1/q/#",
            "gw-1",
            "c/acme/gw-1/q/",
            "c/acme/gw-1/s/",
        ),
        ("c//gw-1/q/#", "gw-1", "c//gw-1/q/", "c//gw-1/s/"),
        ("c//+/q/#", "gw-1", "c///q/", "c///s/"),
        ("c//+/q/#", "edge-1", "c//edge-1/q/", "c//edge-1/s/"),
        (
            "command/acme/+/req/#",
            "edge-1",
            "command/acme/edge-1/req/",
            "command/acme/edge-1/res/",
        ),
        ("c//edge-1/q/#", "edge-1", "c//edge-1/q/", "c//edge-1/s/"),
        (
            "command/acme/edge-1/req/#",
            "edge-1",
            "command/acme/edge-1/req/",
            "command/acme/edge-1/res/",
        ),
    ];
    for version in [4, 5] {
        for (filter, device, topic, answer) in rows {
            let mut client = gateway.connected_as("gw@acme", version).await;
            client.subscribe(version, filter, 0).await;
            // A slash makes one more segment.
            for name in ["on", "a/b"] {
                let outcome = gateway.command(device, name, one_way()).await;
                let topic = format!("{topic}/{name}");
                client.expect_publish(version, 0, &topic).await;
                assert_eq!(outcome.await, CommandOutcome::Accepted, "{topic}");
            }
            let outcome = gateway.command(device, "on", request()).await;
            let topic = format!("{topic}0014r/on");
            let answer = format!("{answer}0014r/200");
            let expected = requested(version, 0, &topic, &answer);
            client.expect(&expected).await;
            assert_eq!(outcome.await, CommandOutcome::Accepted, "{topic}");
        }
    }
}

#[tokio::test]
async fn who_gets_whose_commands() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 4).await;
    // A gateway's own filter is not for its devices.
    client.subscribe(4, "c///q/#", 0).await;
    let edge = gateway.command("edge-1", "on", one_way()).await;
    assert_eq!(edge.await, CommandOutcome::Released);
    // One for a single device is not for others, nor for the gateway itself.
    let mut single = gateway.connected_as("gw@acme", 4).await;
    single.subscribe(4, "c//edge-1/q/#", 0).await;
    let _edge = gateway.command("edge-1", "on", one_way()).await;
    single.expect_publish(4, 0, "c//edge-1/q//on").await;
    let _own = gateway.command("gw-1", "off", one_way()).await;
    client.expect_publish(4, 0, "c///q//off").await;
    // The single one goes before the one for all.
    client.subscribe(4, "c//+/q/#", 0).await;
    let _edge = gateway.command("edge-1", "on", one_way()).await;
    single.expect_publish(4, 0, "c//edge-1/q//on").await;
    single.send(&[0xe0, 0]).await;
    single.expect_end().await;
    let deadline = Instant::now() + SOON;
    while gateway.command("edge-1", "on", one_way()).await.await != CommandOutcome::Accepted {
        assert!(Instant::now() < deadline, "nobody takes it");
    }
    client.expect_publish(4, 0, "c//edge-1/q//on").await;
    // Nobody takes those of a device that no gateway acts for.
    let other = gateway.command("edge-2", "on", one_way()).await;
    assert_eq!(other.await, CommandOutcome::Released);
}

#[tokio::test]
async fn a_name_that_no_topic_can_hold_is_refused_for_ever() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected(5).await;
    client.subscribe(5, "c///q/#", 1).await;
    let long = "x".repeat(65_530);
    for name in ["a+b", "#", "a\0b", long.as_str()] {
        let outcome = gateway.command("4711", name, one_way()).await.await;
        let CommandOutcome::Rejected(reason) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(reason.status(), 400);
    }
    client.expect_silence().await;
}

#[tokio::test]
async fn with_qos_1_a_command_is_taken_when_the_device_says_so() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    for version in [4, 5] {
        let mut client = gateway.connected(version).await;
        client.subscribe(version, "c///q/#", 1).await;
        let mut first = gateway.command("4711", "on", one_way()).await;
        let mut second = gateway.command("4711", "off", request()).await;
        client.expect_publish(version, 1, "c///q//on").await;
        let expected = requested(version, 2, "c///q/0014r/off", "c///s/0014r/200");
        client.expect(&expected).await;
        client.expect_silence().await;
        assert!((&mut first).now_or_never().is_none());
        client.send(&puback(2)).await;
        assert_eq!((&mut second).await, CommandOutcome::Accepted);
        assert!((&mut first).now_or_never().is_none());
        client.send(&puback(1)).await;
        assert_eq!(first.await, CommandOutcome::Accepted);
    }
}

#[tokio::test]
async fn commands_without_an_outcome_are_released_when_the_connection_ends() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected(4).await;
    client.subscribe(4, "c///q/#", 1).await;
    let outcome = gateway.command("4711", "on", one_way()).await;
    client.expect_publish(4, 1, "c///q//on").await;
    drop(client);
    assert_eq!(outcome.await, CommandOutcome::Released);
}

#[tokio::test]
async fn more_commands_wait_while_too_many_are_unacknowledged() {
    const IN_FLIGHT: u16 = 64;
    let config = MqttConfig {
        command_timeout: 7000,
        ..MqttConfig::default()
    };
    let gateway = Gateway::with(config, 10).await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 4).await;
    client.subscribe(4, "c///q/#", 1).await;
    client.subscribe(4, "c//edge-1/q/#", 0).await;
    let mut open = Vec::new();
    for packet_id in 1..=IN_FLIGHT {
        open.push(gateway.command("gw-1", "on", one_way()).await);
        client.expect_publish(4, packet_id, "c///q//on").await;
    }
    let more = gateway.command("gw-1", "more", one_way()).await;
    client.expect_silence().await;
    // Those that need no acknowledgement go on.
    let edge = gateway.command("edge-1", "on", one_way()).await;
    client.expect_publish(4, 0, "c//edge-1/q//on").await;
    assert_eq!(edge.await, CommandOutcome::Accepted);
    client.send(&puback(3)).await;
    client.expect_publish(4, IN_FLIGHT + 1, "c///q//more").await;
    client.send(&puback(IN_FLIGHT + 1)).await;
    assert_eq!(more.await, CommandOutcome::Accepted);
    assert_eq!(open.swap_remove(2).await, CommandOutcome::Accepted);
}

#[tokio::test]
async fn all_subscriptions_of_a_connection_get_their_turn() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.client().await;
    let request = Connect {
        version: 5,
        username: Some("gw@acme"),
        properties: &[0x21, 0, 1],
        ..Connect::default()
    };
    client.send(&request.bytes()).await;
    client.expect_connack(0).await;
    client.subscribe(5, "c///q/#", 1).await;
    client.subscribe(5, "c//edge-1/q/#", 1).await;
    let mut open = Vec::new();
    for device in ["gw-1", "gw-1", "gw-1", "edge-1", "edge-1", "edge-1"] {
        open.push(gateway.command(device, "on", one_way()).await);
    }
    let mut came = Vec::new();
    for packet_id in 1..=6 {
        let packet = client.packet().await;
        came.push(String::from_utf8_lossy(&packet).contains("edge-1"));
        client.send(&puback(packet_id)).await;
    }
    assert!(came.windows(2).all(|two| two[0] != two[1]), "{came:?}");
    for outcome in open {
        assert_eq!(outcome.await, CommandOutcome::Accepted);
    }
}

#[tokio::test]
async fn a_long_command_arrives_whole() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    for version in [4, 5] {
        let mut client = gateway.connected(version).await;
        client.subscribe(version, "c///q/#", 0).await;
        for length in [100, 200, 17_000, 65_000] {
            let name = "x".repeat(length);
            let outcome = gateway.command("4711", &name, one_way()).await;
            let topic = format!("c///q//{name}");
            client.expect_publish(version, 0, &topic).await;
            assert_eq!(outcome.await, CommandOutcome::Accepted);
        }
    }
}

/// A device at the other end of a pipe: with nothing outside of the process, tests can let time jump.
pub(super) async fn piped(
    pipeline: &Pipeline,
    request: Connect<'_>,
    room: usize,
) -> Client<DuplexStream> {
    let (stream, theirs) = duplex(room);
    let stop = CancellationToken::new();
    served(pipeline, request, (stream, theirs), stop).await
}

/// The device at the end of `stream`, whose other end is `theirs`, until `stop`.
pub(super) async fn served<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    pipeline: &Pipeline,
    request: Connect<'_>,
    (stream, theirs): (DuplexStream, S),
    stop: CancellationToken,
) -> Client<DuplexStream> {
    let shared = Shared {
        config: MqttConfig::default(),
        pipeline: pipeline.clone(),
    };
    tokio::spawn(async move { session::serve(theirs, ARRIVED, stop, &shared).await });
    let mut client = Client { stream };
    client.send(&request.bytes()).await;
    client.expect_connack(0).await;
    client
}

/// Time is paused: it jumps to the next deadline when nobody has anything to do.
#[tokio::test(start_paused = true)]
async fn a_command_that_is_not_acknowledged_in_time_is_released_and_its_packet_id_stays_taken() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    for version in [4, 5] {
        let request = Connect {
            version,
            keep_alive: 0,
            ..Connect::default()
        };
        let mut client = piped(&pipeline, request, 1024).await;
        client.subscribe(version, "c///q/#", 1).await;
        let first = ask(commands, "4711", "a", one_way()).await;
        client.expect_publish(version, 1, "c///q//a").await;
        assert_eq!(first.await, CommandOutcome::Released);
        // A late acknowledgement is not taken for another command's.
        let mut second = ask(commands, "4711", "b", one_way()).await;
        client.expect_publish(version, 2, "c///q//b").await;
        client.send(&puback(1)).await;
        client.expect_silence().await;
        assert!((&mut second).now_or_never().is_none());
        client.send(&puback(2)).await;
        assert_eq!(second.await, CommandOutcome::Accepted);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_unacknowledged_counts_against_the_receive_maximum_also_when_its_time_is_up() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    let request = Connect {
        version: 5,
        keep_alive: 0,
        properties: &[0x21, 0, 1],
        ..Connect::default()
    };
    let mut client = piped(&pipeline, request, 1024).await;
    client.subscribe(5, "c///q/#", 1).await;
    let first = ask(commands, "4711", "a", one_way()).await;
    client.expect_publish(5, 1, "c///q//a").await;
    assert_eq!(first.await, CommandOutcome::Released);
    let mut second = ask(commands, "4711", "b", one_way()).await;
    client.expect_silence().await;
    assert!((&mut second).now_or_never().is_none());
    client.send(&puback(1)).await;
    client.expect_publish(5, 2, "c///q//b").await;
    client.send(&puback(2)).await;
    assert_eq!(second.await, CommandOutcome::Accepted);
}

#[tokio::test(start_paused = true)]
async fn with_qos_0_a_command_is_taken_when_all_of_it_is_in_the_socket() {
    let (pipeline, _registry, back, _metrics) = pipeline();
    back.always(Ok(()));
    let commands = pipeline.commands();
    let mut client = piped(&pipeline, Connect::default(), 64).await;
    client.subscribe(4, "c///q/#", 0).await;
    let name = "x".repeat(100);
    let mut outcome = ask(commands, "4711", &name, one_way()).await;
    let bytes = published(4, 0, &format!("c///q//{name}"));
    let mut begin = vec![0; bytes.len() - 65];
    let read = client.stream.read_exact(&mut begin);
    read.await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    // One byte has no room in the pipe.
    assert!((&mut outcome).now_or_never().is_none());
    client.stream.read_u8().await.unwrap();
    assert_eq!(outcome.await, CommandOutcome::Accepted);
}
