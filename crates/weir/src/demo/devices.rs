//! The demonstration's devices: they send over real sockets and wait for their acknowledgements, then
//! take a command and answer it.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU16;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v3::{Codec, Connect, ConnectAckReason, Packet, SubscribeReturnCode};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use super::application::notification;
use super::provision::{Device, exchange};

/// Largest packet that is read, bytes.
const PACKET: u32 = 4096;
/// Seconds that the HTTP device waits for a command.
const TTD: &str = "20";

fn payload(device: &Device, number: u32) -> String {
    let temperature = 20.0 + f64::from(number) / 2.0;
    json!({"from": device.id, "n": number, "temperature": temperature}).to_string()
}

/// Says what the device does, before the application says what it got.
fn say(device: &Device, what: &str) {
    // A terminal that is gone ends the demonstration by its own signal.
    let _ = writeln!(io::stdout(), "{:<15} {what}", device.id);
}

/// What the HTTP device does: it sends, then waits for a command and answers. Returns what is to arrive.
pub(super) async fn http(address: SocketAddr, device: &Device) -> anyhow::Result<BTreeSet<String>> {
    let mut sent = BTreeSet::new();
    for (number, path, qos) in [
        (1, "/telemetry", "0"),
        (2, "/telemetry", "1"),
        (3, "/event", "1"),
    ] {
        let payload = payload(device, number);
        say(device, &format!("POST {path}, QoS {qos}"));
        let header = ("QoS-Level", qos);
        let answer = post(address, device, path, header, payload.clone()).await?;
        has_status(&answer, StatusCode::ACCEPTED)?;
        sent.insert(payload);
    }
    sent.insert(http_command(address, device).await?);
    Ok(sent)
}

/// Sends one more message, whose answer is a command, and then what came of that.
async fn http_command(address: SocketAddr, device: &Device) -> anyhow::Result<String> {
    let payload = payload(device, 4);
    let path = "/event";
    say(
        device,
        &format!("POST {path}, hono-ttd {TTD}: waits for a command"),
    );
    let told = post(address, device, path, ("hono-ttd", TTD), payload.clone()).await?;
    has_status(&told, StatusCode::OK)?;
    let header = |name| {
        let value = told
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.with_context(|| format!("the answer of the HTTP adapter has no {name}"))
    };
    let (name, id) = (header("hono-command")?, header("hono-cmd-req-id")?);
    let path = format!("/command/res/{id}");
    let command = String::from_utf8_lossy(told.body());
    say(
        device,
        &format!("got {name} {command}, POST {path}, status 200"),
    );
    let status = ("hono-cmd-status", "200");
    let answer = post(address, device, &path, status, command.into_owned()).await?;
    has_status(&answer, StatusCode::ACCEPTED)?;
    Ok(payload)
}

async fn post(
    address: SocketAddr,
    device: &Device,
    path: &str,
    (name, value): (&str, &str),
    payload: String,
) -> anyhow::Result<Response<Bytes>> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::AUTHORIZATION, device.basic())
        .header(header::CONTENT_TYPE, "application/json")
        .header(name, value)
        .body(Full::from(payload))?;
    let answer = exchange(address, request).await;
    answer.with_context(|| format!("POST {path}"))
}

fn has_status(answer: &Response<Bytes>, expected: StatusCode) -> anyhow::Result<()> {
    let (status, body) = (answer.status(), String::from_utf8_lossy(answer.body()));
    ensure!(
        status == expected,
        "the HTTP device was answered {status} {body}"
    );
    Ok(())
}

/// What the MQTT device does: it sends, then subscribes to commands and answers one. Returns what is
/// to arrive.
pub(super) async fn mqtt(address: SocketAddr, device: &Device) -> anyhow::Result<BTreeSet<String>> {
    let mut connection = Connection::open(address, device).await?;
    let mut sent = BTreeSet::new();
    for (number, topic, qos) in [
        (1, "telemetry", QoS::AtMostOnce),
        (2, "telemetry", QoS::AtLeastOnce),
        (3, "event/?content-type=application/json", QoS::AtLeastOnce),
    ] {
        let payload = payload(device, number);
        say(device, &format!("PUBLISH {topic}, QoS {}", qos.value()));
        connection.publish(topic, qos, payload.clone()).await?;
        sent.insert(payload);
    }
    connection.command(device).await?;
    connection.0.send(Packet::Disconnect).await?;
    sent.extend([-1, 0].map(|ttd| notification(device.id, ttd)));
    Ok(sent)
}

/// An MQTT connection that has one packet under way at a time.
struct Connection(Framed<TcpStream, Codec>);

impl Connection {
    async fn open(address: SocketAddr, device: &Device) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot reach the MQTT adapter on {address}"))?;
        let mut connection = Self(Framed::new(stream, Codec::new(PACKET)));
        let connect = Connect {
            clean_session: true,
            keep_alive: 60,
            username: Some(device.username().into()),
            password: Some(device.password.clone().into()),
            ..Connect::default()
        };
        let connect = Packet::Connect(Box::new(connect.client_id(device.id)));
        connection.0.send(connect).await?;
        match connection.next().await? {
            Packet::ConnectAck(ack) if ack.return_code == ConnectAckReason::ConnectionAccepted => {
                Ok(connection)
            }
            other => bail!("the MQTT device was not let in: {other:?}"),
        }
    }

    async fn next(&mut self) -> anyhow::Result<Packet> {
        let packet = self.0.next().await.transpose()?;
        let (packet, _) = packet.context("the gateway closed the MQTT device's connection")?;
        Ok(packet)
    }

    async fn publish(&mut self, topic: &str, qos: QoS, payload: String) -> anyhow::Result<()> {
        let packet_id = (qos == QoS::AtLeastOnce).then_some(NonZeroU16::MIN);
        let publish = Publish {
            dup: false,
            retain: false,
            qos,
            topic: topic.to_owned().into(),
            packet_id,
            payload: payload.into(),
            properties: None,
        };
        self.0.send(Packet::Publish(Box::new(publish))).await?;
        if packet_id.is_some() {
            match self.next().await? {
                Packet::PublishAck { .. } => {}
                other => bail!("the MQTT message was not acknowledged: {other:?}"),
            }
        }
        Ok(())
    }

    /// Subscribes to commands, takes one and answers it.
    async fn command(&mut self, device: &Device) -> anyhow::Result<()> {
        let filter = "command///req/#";
        say(device, &format!("SUBSCRIBE {filter}: waits for a command"));
        let subscribe = Packet::Subscribe {
            packet_id: NonZeroU16::MIN,
            topic_filters: vec![(filter.into(), QoS::AtLeastOnce)],
        };
        self.0.send(subscribe).await?;
        let command = loop {
            match self.next().await? {
                Packet::SubscribeAck { status, .. }
                    if matches!(*status, [SubscribeReturnCode::Success(_)]) => {}
                // It may come before the subscription is acknowledged (MQTT 3.1.1, section 3.8.4).
                Packet::Publish(command) => break command,
                other => bail!("the MQTT device got no command: {other:?}"),
            }
        };
        if let Some(packet_id) = command.packet_id {
            self.0.send(Packet::PublishAck { packet_id }).await?;
        }
        let parts: Vec<&str> = command.topic.split('/').collect();
        let ["command", "", "", "req", id, name] = *parts else {
            bail!("the command's topic is not understood: {}", command.topic);
        };
        let payload = String::from_utf8_lossy(&command.payload);
        let topic = format!("command///res/{id}/200");
        say(device, &format!("got {name} {payload}, PUBLISH {topic}"));
        let answered = self.publish(&topic, QoS::AtLeastOnce, payload.into_owned());
        answered.await.context("the MQTT device cannot answer")
    }
}
