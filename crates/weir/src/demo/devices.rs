//! The demonstration's devices: they send over real sockets and wait for their acknowledgements.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU16;

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use rmqtt_codec::types::{Publish, QoS};
use rmqtt_codec::v3::{Codec, Connect, ConnectAckReason, Packet};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use super::provision::{Device, Devices, exchange};
use crate::app::Addresses;

/// Largest packet that is read, bytes.
const PACKET: u32 = 4096;

/// Sends telemetry and an event from each device, and returns the payloads that were acknowledged.
pub(super) async fn send(
    addresses: Addresses,
    devices: &Devices,
) -> anyhow::Result<BTreeSet<String>> {
    let mut sent = BTreeSet::new();
    if let Some(address) = addresses.http {
        http(address, &devices.http, &mut sent).await?;
    }
    if let Some(address) = addresses.mqtt {
        mqtt(address, &devices.mqtt, &mut sent).await?;
    }
    Ok(sent)
}

fn payload(device: &Device, number: u32) -> String {
    let temperature = 20.0 + f64::from(number) / 2.0;
    json!({"from": device.id, "n": number, "temperature": temperature}).to_string()
}

/// Says what the device does, before the application says what it got.
fn say(device: &Device, what: &str) {
    // A terminal that is gone ends the demonstration by its own signal.
    let _ = writeln!(io::stdout(), "{:<15} {what}", device.id);
}

async fn http(
    address: SocketAddr,
    device: &Device,
    sent: &mut BTreeSet<String>,
) -> anyhow::Result<()> {
    for (number, path, qos) in [
        (1, "/telemetry", "0"),
        (2, "/telemetry", "1"),
        (3, "/event", "1"),
    ] {
        let payload = payload(device, number);
        say(device, &format!("POST {path}, QoS {qos}"));
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::AUTHORIZATION, device.basic())
            .header(header::CONTENT_TYPE, "application/json")
            .header("QoS-Level", qos)
            .body(Full::from(payload.clone()))?;
        let (status, answer) = exchange(address, request).await?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(
            status == StatusCode::ACCEPTED,
            "POST {path}: {status} {answer}"
        );
        sent.insert(payload);
    }
    Ok(())
}

async fn mqtt(
    address: SocketAddr,
    device: &Device,
    sent: &mut BTreeSet<String>,
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot reach the MQTT adapter on {address}"))?;
    let mut packets = Framed::new(stream, Codec::new(PACKET));
    let connect = Connect {
        clean_session: true,
        keep_alive: 60,
        username: Some(device.username().into()),
        password: Some(device.password.clone().into()),
        ..Connect::default()
    };
    packets
        .send(Packet::Connect(Box::new(connect.client_id(device.id))))
        .await?;
    match packets.next().await.transpose()? {
        Some((Packet::ConnectAck(ack), _))
            if ack.return_code == ConnectAckReason::ConnectionAccepted => {}
        other => bail!("the MQTT device was not let in: {other:?}"),
    }
    for (number, topic, qos) in [
        (1, "telemetry", QoS::AtMostOnce),
        (2, "telemetry", QoS::AtLeastOnce),
        (3, "event/?content-type=application/json", QoS::AtLeastOnce),
    ] {
        let payload = payload(device, number);
        say(device, &format!("PUBLISH {topic}, QoS {}", qos.value()));
        let packet_id = (qos == QoS::AtLeastOnce).then_some(NonZeroU16::MIN);
        let publish = Publish {
            dup: false,
            retain: false,
            qos,
            topic: topic.into(),
            packet_id,
            payload: payload.clone().into(),
            properties: None,
        };
        packets.send(Packet::Publish(Box::new(publish))).await?;
        if packet_id.is_some() {
            match packets.next().await.transpose()? {
                Some((Packet::PublishAck { .. }, _)) => {}
                other => bail!("the MQTT message was not acknowledged: {other:?}"),
            }
        }
        sent.insert(payload);
    }
    packets.send(Packet::Disconnect).await?;
    Ok(())
}
