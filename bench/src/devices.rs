//! The load: MQTT devices that keep a number of messages in flight.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, BytesMut};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::measure::now;

/// How much is sent, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) topic: &'static str,
    pub(crate) connections: u64,
    /// Messages in flight per connection.
    pub(crate) window: u64,
    pub(crate) messages: u64,
}

impl Load {
    fn per_connection(&self) -> u64 {
        (self.messages / self.connections).max(1)
    }

    /// Messages that are really sent: the same number from each connection.
    pub(crate) fn total(&self) -> u64 {
        self.per_connection() * self.connections
    }
}

/// Where devices connect.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// User name and password per device; empty if nobody asks.
    pub(crate) logins: Vec<(String, String)>,
}

/// Bytes of each payload, of which the first eight say when it was sent; see [`now`].
pub(crate) const PAYLOAD: usize = 100;

/// Devices that are connected and have sent nothing yet.
pub(crate) struct Devices {
    sockets: Vec<TcpStream>,
    load: Load,
}

/// Connects all devices.
pub(crate) async fn connect(target: &Target, load: Load) -> anyhow::Result<Devices> {
    let connect = |number: u64| connect_one(target, number as usize);
    let sockets = try_join_all((0..load.connections).map(connect)).await?;
    Ok(Devices { sockets, load })
}

async fn connect_one(target: &Target, number: usize) -> anyhow::Result<TcpStream> {
    let login = target.logins.get(number);
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let mut body = [
        text("MQTT"),
        vec![4, if login.is_some() { 0xc2 } else { 2 }, 0, 0],
    ]
    .concat();
    body.extend(text(&format!("bench-{number}")));
    if let Some((username, password)) = login {
        body.extend(text(username));
        body.extend(text(password));
    }
    let mut socket = TcpStream::connect(target.address).await?;
    socket.set_nodelay(true)?;
    socket.write_all(&packet(0x10, &body)).await?;
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).await?;
    ensure!(connack[3] == 0, "device {number} was refused: {connack:?}");
    Ok(socket)
}

/// A packet whose remaining length takes one or two bytes.
pub(crate) fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut packet = vec![head];
    if length < 128 {
        packet.push(length as u8);
    } else {
        packet.extend([(length % 128) as u8 | 128, (length / 128) as u8]);
    }
    packet.extend(body);
    packet
}

impl Devices {
    /// Publishes everything and waits for every acknowledgement.
    pub(crate) async fn publish_all(self) -> anyhow::Result<()> {
        let load = self.load;
        let all = self
            .sockets
            .into_iter()
            .map(|socket| tokio::spawn(publish(socket, load)));
        for done in try_join_all(all).await? {
            done?;
        }
        Ok(())
    }
}

async fn publish(mut socket: TcpStream, load: Load) -> anyhow::Result<()> {
    let total = load.per_connection();
    let (mut sent, mut acknowledged, mut next_id) = (0, 0, 0_u16);
    let mut output = Vec::new();
    let mut input = BytesMut::new();
    while acknowledged < total {
        output.clear();
        while sent < total && sent - acknowledged < load.window {
            next_id = next_id % u16::MAX + 1;
            let topic = load.topic.as_bytes();
            let mut body = Vec::with_capacity(13 + PAYLOAD);
            body.extend((topic.len() as u16).to_be_bytes());
            body.extend(topic);
            body.extend(next_id.to_be_bytes());
            body.extend(now().to_be_bytes());
            body.resize(body.len() + PAYLOAD - 8, b'x');
            output.extend(packet(0x32, &body));
            sent += 1;
        }
        if !output.is_empty() {
            socket.write_all(&output).await?;
        }
        let read = socket.read_buf(&mut input).await?;
        ensure!(read > 0, "the server closed the connection");
        while input.len() >= 4 {
            ensure!(input[..2] == [0x40, 2], "{:?} is not PUBACK", &input[..2]);
            input.advance(4);
            acknowledged += 1;
        }
    }
    socket.write_all(&[0xe0, 0]).await.context("DISCONNECT")
}
