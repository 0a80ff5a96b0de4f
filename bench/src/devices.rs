//! The load: MQTT devices that keep a number of messages in flight.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::measure::now;
use crate::tls::Connector;

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
    /// Without it there is no TLS.
    pub(crate) tls: Option<Connector>,
    /// User name and password per device, which connections use in turn; empty if nobody asks.
    pub(crate) logins: Vec<(String, String)>,
}

/// A connection, with TLS or without.
pub(crate) type Socket = Box<dyn Io>;

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// What a device was told that wanted to log in.
pub(crate) enum LogIn {
    Accepted(Socket),
    /// The return code of CONNACK.
    Refused(u8),
}

impl Target {
    /// Opens a connection and sends nothing yet.
    pub(crate) async fn open(&self) -> io::Result<Socket> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.connect(tcp).await?),
            None => Box::new(tcp),
        })
    }

    /// Connects the device of that number.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) async fn log_in(&self, number: usize) -> io::Result<LogIn> {
        let login = number.checked_rem(self.logins.len());
        let login = login.and_then(|number| self.logins.get(number));
        let mut socket = self.open().await?;
        let connect = connect_packet(&format!("bench-{number}"), login);
        socket.write_all(&connect).await?;
        // TLS may hold back what it was given.
        socket.flush().await?;
        let mut connack = [0; 4];
        socket.read_exact(&mut connack).await?;
        Ok(match connack[3] {
            0 => LogIn::Accepted(socket),
            code => LogIn::Refused(code),
        })
    }

    /// Connects the device of that number, which nothing keeps from it.
    pub(crate) async fn connect(&self, number: usize) -> anyhow::Result<Socket> {
        match self.log_in(number).await.context("lost")? {
            LogIn::Accepted(socket) => Ok(socket),
            LogIn::Refused(code) => bail!("device {number} was refused: {code}"),
        }
    }
}

/// Devices that are connected and have sent nothing yet.
pub(crate) struct Devices {
    sockets: Vec<Socket>,
    load: Load,
}

/// Connections that are opened at a time.
const CONNECTING: usize = 100;

/// Connects all devices.
pub(crate) async fn connect(target: &Target, load: Load) -> anyhow::Result<Devices> {
    let sockets = stream::iter(0..load.connections)
        .map(|number| target.connect(number as usize))
        .buffered(CONNECTING)
        .try_collect()
        .await?;
    Ok(Devices { sockets, load })
}

/// CONNECT of MQTT 3.1.1 with a clean session and no keep-alive.
pub(crate) fn connect_packet(client_id: &str, login: Option<&(String, String)>) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let mut body = [
        text("MQTT"),
        vec![4, if login.is_some() { 0xc2 } else { 2 }, 0, 0],
    ]
    .concat();
    body.extend(text(client_id));
    if let Some((username, password)) = login {
        body.extend(text(username));
        body.extend(text(password));
    }
    packet(0x10, &body)
}

/// PUBLISH with QoS 1, whose payload begins with when it was made.
pub(crate) fn publish_packet(topic: &str, id: u16) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + topic.len() + PAYLOAD);
    body.extend((topic.len() as u16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(id.to_be_bytes());
    body.extend(now().to_be_bytes());
    body.resize(body.len() + PAYLOAD - 8, b'x');
    packet(0x32, &body)
}

/// Bytes of each payload, of which the first eight say when it was sent; see [`now`].
pub(crate) const PAYLOAD: usize = 100;

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
        let all = self.sockets.into_iter().map(|socket| {
            tokio::spawn(publish(
                socket,
                load.topic,
                load.window,
                load.per_connection(),
            ))
        });
        for done in try_join_all(all).await? {
            done?;
        }
        Ok(())
    }
}

/// Publishes so many messages, with `window` of them in flight, and disconnects.
pub(crate) async fn publish(
    mut socket: Socket,
    topic: &str,
    window: u64,
    total: u64,
) -> anyhow::Result<()> {
    let (mut sent, mut acknowledged, mut next_id) = (0, 0, 0_u16);
    let mut output = Vec::new();
    let mut input = BytesMut::new();
    while acknowledged < total {
        output.clear();
        while sent < total && sent - acknowledged < window {
            next_id = next_id % u16::MAX + 1;
            output.extend(publish_packet(topic, next_id));
            sent += 1;
        }
        if !output.is_empty() {
            socket.write_all(&output).await?;
            socket.flush().await?;
        }
        let read = socket.read_buf(&mut input).await?;
        ensure!(read > 0, "the server closed the connection");
        while input.len() >= 4 {
            ensure!(input[..2] == [0x40, 2], "{:?} is not PUBACK", &input[..2]);
            input.advance(4);
            acknowledged += 1;
        }
    }
    disconnect(socket).await
}

pub(crate) async fn disconnect(mut socket: Socket) -> anyhow::Result<()> {
    socket.write_all(&[0xe0, 0]).await?;
    socket.flush().await.context("DISCONNECT")
}
