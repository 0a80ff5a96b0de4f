//! SUBSCRIBE and UNSUBSCRIBE, and what applications are told of them.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use weir_core::command::CommandOutcome;
use weir_core::{ChangeKind, ChangeSubject, Endpoint, Qos, RegistryChange};

use super::client::{
    Connect, PINGREQ, PINGRESP, publish, suback, suback_refused, subscribe, unsuback, unsubscribe,
};
use super::command::{ask, one_way, served};
use super::*;

const OWN: &str = "command///req/#";
const ALL: &str = "command//+/req/#";

impl Back {
    /// The next message, which has to tell applications whether `device` can be reached.
    async fn expect_ttd(&mut self, device: &str, ttd: i32) {
        let message = self.next().await.accept();
        assert_eq!(
            (message.device.as_str(), message.ttd),
            (device, Some(ttd)),
            "{message:?}"
        );
    }
}

/// Device contract §3.9: filter, and whether the gateway gets it.
#[tokio::test]
async fn what_is_granted_and_what_is_refused() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let rows = [
        (OWN, true),
        ("c/acme//q/#", true),
        ("command/acme/gw-1/req/#", true),
        (ALL, true),
        ("c//edge-1/q/#", true),
        ("c/other//q/#", false),
        ("c/+//q/#", false),
        ("telemetry/#", false),
    ];
    for version in [4, 5] {
        for (filter, is_granted) in rows {
            for qos in [0, 1, 2] {
                let mut client = gateway.connected_as("gw@acme", version).await;
                client.send(&subscribe(version, 7, &[(filter, qos)])).await;
                let code = if is_granted && qos < 2 { qos } else { 0x80 };
                println!("{version} {filter} {qos}");
                client.expect(&suback(version, 7, &[code])).await;
                // The next one must not replace it before it is gone.
                client.expect_silence().await;
            }
        }
    }
}

#[tokio::test]
async fn why_the_registry_does_not_allow_it_is_said() {
    let gateway = Gateway::start().await;
    let rows = [
        ("c//edge-2/q/#", "gateway is disabled or not registered"),
        ("c//nobody/q/#", "device is disabled or not registered"),
    ];
    for version in [4, 5] {
        let mut client = gateway.connected_as("gw@acme", version).await;
        for (filter, text) in rows {
            for qos in [0, 1] {
                client.send(&subscribe(version, 7, &[(filter, qos)])).await;
                let expected = suback_refused(version, 7, &[0x80], text);
                client.expect(&expected).await;
            }
            client.send(&subscribe(version, 8, &[(filter, 2)])).await;
            client.expect(&suback(version, 8, &[0x80])).await;
        }
    }
}

#[tokio::test]
async fn of_several_filters_for_the_same_the_last_one_counts_for_all() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let edge = "c//edge-1/q/#";
    let rows = [
        (vec![(OWN, 0), ("x", 0), (OWN, 1)], vec![1, 0x80, 1]),
        (vec![(OWN, 1), (OWN, 2)], vec![0x80, 0x80]),
        (vec![(OWN, 2), (OWN, 1)], vec![1, 1]),
        (vec![(ALL, 0), (edge, 0), (OWN, 1)], vec![1, 0, 1]),
    ];
    for version in [4, 5] {
        for (filters, codes) in &rows {
            let mut client = gateway.connected_as("gw@acme", version).await;
            client.send(&subscribe(version, 9, filters)).await;
            client.expect(&suback(version, 9, codes)).await;
        }
        let mut client = gateway.connected_as("gw@acme", version).await;
        let one_of_two = [("c//edge-2/q/#", 0), (OWN, 0)];
        client.send(&subscribe(version, 9, &one_of_two)).await;
        let text = "gateway is disabled or not registered";
        let expected = suback_refused(version, 9, &[0x80, 0], text);
        client.expect(&expected).await;
        // What is in force is the last one too: the gateway gets no more than its own.
        let mut client = gateway.connected_as("gw@acme", version).await;
        let filters = [(ALL, 0), ("c///q/#", 0)];
        client.send(&subscribe(version, 1, &filters)).await;
        client.expect(&suback(version, 1, &[0, 0])).await;
        let edge = gateway.command("edge-1", "on", one_way()).await;
        assert_eq!(edge.await, CommandOutcome::Released);
        let own = gateway.command("gw-1", "on", one_way()).await;
        client.expect_publish(version, 0, "c///q//on").await;
        assert_eq!(own.await, CommandOutcome::Accepted);
    }
}

#[tokio::test]
async fn applications_are_told_when_it_begins_and_once_when_it_ends() {
    let mut gateway = Gateway::start().await;
    for version in [4, 5] {
        let mut client = gateway.connected(version).await;
        client.send(&subscribe(version, 1, &[(OWN, 1)])).await;
        let told = gateway.back.next().await;
        // Not before they have heard of it.
        client.expect_silence().await;
        let told = told.accept();
        assert_eq!(
            (told.endpoint, told.qos),
            (Endpoint::Event, Qos::AtLeastOnce)
        );
        assert_eq!((told.device.as_str(), told.ttd), ("4711", Some(-1)));
        client.expect(&suback(version, 1, &[1])).await;

        client.send(&unsubscribe(version, 2, &[OWN, "x"])).await;
        client.expect(&unsuback(version, 2, &[0, 0x80])).await;
        gateway.back.expect_ttd("4711", 0).await;
        let gone = gateway.command("4711", "on", one_way()).await;
        assert_eq!(gone.await, CommandOutcome::Released);
        client.send(&unsubscribe(version, 3, &[OWN])).await;
        client.expect(&unsuback(version, 3, &[0x80])).await;
        drop(client);
        gateway.connected(version).await;
        assert!(gateway.back.is_idle());
    }
}

#[tokio::test]
async fn an_unsubscribe_means_any_spelling_of_the_same() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 5).await;
    let filters = [(ALL, 1), ("command//edge-1/req/#", 0)];
    client.send(&subscribe(5, 1, &filters)).await;
    client.expect(&suback(5, 1, &[1, 0])).await;
    let all = ["c/acme/gw-1/q/#", "c/acme/edge-1/q/#", "c//edge-1/q/#"];
    client.send(&unsubscribe(5, 2, &all)).await;
    client.expect(&unsuback(5, 2, &[0, 0, 0x80])).await;
}

#[tokio::test]
async fn applications_are_told_when_the_connection_ends() {
    let mut gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    for version in [4, 5] {
        for says_goodbye in [true, false] {
            let mut client = gateway.connected_as("gw@acme", version).await;
            client.subscribe(version, ALL, 1).await;
            gateway.back.expect_ttd("gw-1", -1).await;
            client.subscribe(version, "c//edge-1/q/#", 1).await;
            gateway.back.expect_ttd("edge-1", -1).await;
            if says_goodbye {
                client.send(&[0xe0, 0]).await;
                client.expect_end().await;
            } else {
                drop(client);
            }
            let mut ended = [gateway.back.next().await, gateway.back.next().await]
                .map(|sent| (sent.message.device.to_string(), sent.message.ttd));
            ended.sort();
            let expected = [("edge-1", Some(0)), ("gw-1", Some(0))];
            assert_eq!(
                ended,
                expected.map(|(device, ttd)| (device.to_owned(), ttd))
            );
        }
    }
}

#[tokio::test]
async fn a_later_subscription_takes_an_earlier_ones_place() {
    let mut gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut first = gateway.connected_as("gw@acme", 4).await;
    first.subscribe(4, ALL, 0).await;
    gateway.back.expect_ttd("gw-1", -1).await;
    // On the same connection.
    first.subscribe(4, OWN, 0).await;
    gateway.back.expect_ttd("gw-1", -1).await;
    let edge = gateway.command("edge-1", "on", one_way()).await;
    assert_eq!(edge.await, CommandOutcome::Released);
    // On another one.
    let mut second = gateway.connected_as("gw@acme", 5).await;
    second.subscribe(5, "c//+/q/#", 0).await;
    gateway.back.expect_ttd("gw-1", -1).await;
    let taken = gateway.command("gw-1", "on", one_way()).await;
    second.expect_publish(5, 0, "c///q//on").await;
    assert_eq!(taken.await, CommandOutcome::Accepted);
    first.expect_silence().await;
    // To whom it was replaced, it still is a subscription; nobody hears of its end.
    first.send(&unsubscribe(4, 2, &[OWN])).await;
    first.expect(&unsuback(4, 2, &[])).await;
    drop(first);
    drop(second);
    gateway.back.expect_ttd("gw-1", 0).await;
    gateway.connected(4).await;
    assert!(gateway.back.is_idle());
}

#[tokio::test]
async fn nobody_is_told_when_the_process_stops() {
    let mut gateway = Gateway::start().await;
    let mut client = gateway.connected_as("gw@acme", 5).await;
    client.send(&subscribe(5, 1, &[(OWN, 0)])).await;
    gateway.back.expect_ttd("gw-1", -1).await;
    client.expect(&suback(5, 1, &[0])).await;
    // One more, in the middle of being made.
    let filters = [("c//slow-1/q/#", 0), ("c//edge-1/q/#", 0)];
    client.send(&subscribe(5, 2, &filters)).await;
    let told = gateway.back.next().await;
    assert_eq!(told.message.device.as_str(), "edge-1");
    gateway.stop.cancel();
    client.expect_disconnect(0x8b).await;
    told.settle(Ok(()));
    gateway.served.await.unwrap();
    let gone = gateway.pipeline.commands();
    for device in ["gw-1", "edge-1"] {
        until_released(gone, device).await;
    }
    assert!(gateway.back.is_idle());
}

#[tokio::test]
async fn nobody_is_told_when_the_registration_has_ended() {
    let mut gateway = Gateway::start().await;
    for version in [4, 5] {
        let mut client = gateway.connected(version).await;
        client.send(&subscribe(version, 1, &[(OWN, 0)])).await;
        gateway.back.expect_ttd("4711", -1).await;
        client.expect(&suback(version, 1, &[0])).await;
        let deleted = deleted("4711");
        gateway.pipeline.change_listener().changed(&deleted);
        client.expect_close(version, 0x98).await;
        until_released(gateway.pipeline.commands(), "4711").await;
        assert!(gateway.back.is_idle());
    }
}

pub(super) fn deleted(device: &str) -> RegistryChange {
    RegistryChange {
        at: std::time::SystemTime::now().into(),
        tenant: "acme".into(),
        subject: ChangeSubject::Device {
            device: device.into(),
            change: ChangeKind::Deleted,
            enabled: false,
        },
    }
}

/// Who is not registered any more, for whom a message is, and whether the connection's own device is
/// gone.
#[tokio::test]
async fn nobody_is_told_when_a_message_shows_that_the_registration_has_ended() {
    for (gone, topic, is_own) in [
        ("gw-1", "event", true),
        ("gw-1", "event//edge-1", true),
        ("edge-1", "event//edge-1", false),
    ] {
        let mut gateway = Gateway::start().await;
        let mut client = gateway.connected_as("gw@acme", 5).await;
        client.send(&subscribe(5, 1, &[(OWN, 0)])).await;
        gateway.back.expect_ttd("gw-1", -1).await;
        client.expect(&suback(5, 1, &[0])).await;
        gateway.registry.unregister(gone);
        client.send(&publish(5, topic, 1, "x")).await;
        client.expect_disconnect(0x87).await;
        if is_own {
            gateway.stop.cancel();
            gateway.served.await.unwrap();
            assert!(gateway.back.is_idle(), "{topic}");
        } else {
            gateway.back.expect_ttd("gw-1", 0).await;
        }
    }
}

/// A device that goes just as its registration ends.
struct Going {
    stream: DuplexStream,
    pipeline: Pipeline,
}

impl AsyncRead for Going {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if poll.is_ready() && buf.filled().len() == before {
            self.pipeline.change_listener().changed(&deleted("4711"));
        }
        poll
    }
}

impl AsyncWrite for Going {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn nobody_is_told_when_the_device_goes_as_its_registration_ends() {
    let (pipeline, _registry, mut back, _metrics) = pipeline();
    back.always(Ok(()));
    let (stream, theirs) = duplex(1024);
    let theirs = Going {
        stream: theirs,
        pipeline: pipeline.clone(),
    };
    let stop = CancellationToken::new();
    let mut client = served(&pipeline, Connect::default(), (stream, theirs), stop).await;
    client.subscribe(4, OWN, 0).await;
    back.expect_ttd("4711", -1).await;
    client.stream.shutdown().await.unwrap();
    client.expect_end().await;
    until_released(pipeline.commands(), "4711").await;
    assert!(back.is_idle());
}

/// Waits until nobody takes a device's commands any more.
async fn until_released(commands: &weir_core::command::Commands, device: &str) {
    let deadline = Instant::now() + SOON;
    while ask(commands, device, "on", one_way()).await.await != CommandOutcome::Released {
        assert!(Instant::now() < deadline, "commands for {device} are taken");
    }
}

#[tokio::test]
async fn other_packets_are_answered_while_a_subscription_is_made_and_subacks_stay_in_order() {
    let mut gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 5).await;
    let slow = [("c//slow-1/q/#", 0)];
    client.send(&subscribe(5, 1, &slow)).await;
    client.send(&subscribe(5, 2, &[("x", 0)])).await;
    client.send(&subscribe(5, 3, &[(OWN, 0)])).await;
    client.expect_silence().await;
    // It is given up before it is there.
    client.send(&unsubscribe(5, 4, &["c//slow-1/q/#"])).await;
    client.expect(&unsuback(5, 4, &[0])).await;
    client.send(&unsubscribe(5, 5, &["c//slow-1/q/#"])).await;
    client.expect(&unsuback(5, 5, &[0x80])).await;
    gateway.registry.gate.add_permits(1);
    client.expect(&suback(5, 1, &[0])).await;
    client.expect(&suback(5, 2, &[0x80])).await;
    client.expect(&suback(5, 3, &[0])).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let message = gateway.back.next().await.message;
        told.push((message.device.to_string(), message.ttd));
    }
    assert!(told.contains(&("slow-1".to_owned(), Some(0))), "{told:?}");
}

#[tokio::test]
async fn reading_stops_while_too_many_subscribes_are_open() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 4).await;
    client.send(&subscribe(4, 1, &[("c//slow-1/q/#", 1)])).await;
    for packet_id in 2..=8 {
        client.send(&PINGREQ).await;
        client.expect(&PINGRESP).await;
        client.send(&subscribe(4, packet_id, &[("x", 0)])).await;
    }
    // Comes after the answers to all of them, because nothing is read until there is one.
    client.send(&PINGREQ).await;
    client.send(&subscribe(4, 9, &[("x", 0)])).await;
    // What it has sent has arrived once another one is served.
    gateway.connected(4).await;
    gateway.registry.gate.add_permits(1);
    client.expect(&suback(4, 1, &[1])).await;
    let mut answers = Vec::new();
    for _ in 0..9 {
        answers.push(client.packet().await);
    }
    let subacks: Vec<_> = answers.iter().filter(|answer| answer[0] == 0x90).collect();
    let expected: Vec<_> = (2..=9).map(|id| suback(4, id, &[0x80])).collect();
    assert_eq!(subacks, expected.iter().collect::<Vec<_>>());
    assert!(answers.contains(&PINGRESP.to_vec()));
}

#[tokio::test]
async fn a_registry_that_is_down_grants_nothing_new() {
    let gateway = Gateway::start().await;
    gateway.back.always(Ok(()));
    let mut client = gateway.connected_as("gw@acme", 5).await;
    gateway.registry.fail();
    client.send(&subscribe(5, 1, &[("c//edge-1/q/#", 1)])).await;
    let expected = suback_refused(5, 1, &[0x80], "Temporarily unavailable");
    client.expect(&expected).await;
    client.send(&unsubscribe(5, 2, &["c//edge-1/q/#"])).await;
    client.expect(&unsuback(5, 2, &[0x80])).await;
}
