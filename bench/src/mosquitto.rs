//! The peer: mosquitto, and an MQTT subscriber with QoS 1.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::devices::{Target, packet};
use crate::measure::Deliveries;
use crate::messages::Subject;
use crate::process::Server;

pub(crate) struct Mosquitto {
    server: Server,
    address: SocketAddr,
    deliveries: Deliveries,
    _folder: TempDir,
}

/// Starts the broker with unlimited queues (by default it acknowledges and drops) and subscribes.
pub(crate) async fn start() -> anyhow::Result<Mosquitto> {
    let folder = tempfile::tempdir()?;
    // A port that was free a moment ago; the broker cannot tell one it took itself.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let configuration = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\n\
         max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n\
         user root\n",
        address.port()
    );
    let path = folder.path().join("mosquitto.conf");
    std::fs::write(&path, configuration)?;
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(&path).stderr(Stdio::null());
    // Distributions install it where only an administrator's path looks.
    let paths = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{paths}:/usr/sbin"));
    let server = Server::start(&mut command)
        .context("mosquitto has to be installed (Debian: apt-get install mosquitto)")?;
    let deliveries = Deliveries::default();
    let socket = subscribe(address).await?;
    tokio::spawn(consume(socket, deliveries.clone()));
    Ok(Mosquitto {
        server,
        address,
        deliveries,
        _folder: folder,
    })
}

impl Subject for Mosquitto {
    fn name(&self) -> &'static str {
        "mosquitto"
    }

    fn server(&self) -> &Server {
        &self.server
    }

    fn devices(&self) -> Target {
        Target {
            address: self.address,
            tls: None,
            logins: Vec::new(),
        }
    }

    fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }
}

async fn subscribe(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let connect = b"\0\x04MQTT\x04\x02\0\0\0\x08consumer";
    let subscribe = b"\0\x01\0\x09telemetry\x01";
    for _ in 0..200 {
        let Ok(mut socket) = TcpStream::connect(address).await else {
            tokio::time::sleep(Duration::from_millis(25)).await;
            continue;
        };
        socket.set_nodelay(true)?;
        socket.write_all(&packet(0x10, connect)).await?;
        socket.write_all(&packet(0x82, subscribe)).await?;
        // CONNACK of 4 bytes, then SUBACK of 5.
        let mut answers = [0; 9];
        socket.read_exact(&mut answers).await?;
        ensure!(
            answers[3] == 0 && answers[8] == 1,
            "not subscribed: {answers:?}"
        );
        return Ok(socket);
    }
    bail!("mosquitto does not answer on {address}")
}

/// Acknowledges every message at once, many with one write.
async fn consume(mut socket: TcpStream, deliveries: Deliveries) -> anyhow::Result<()> {
    let mut input = BytesMut::with_capacity(256 * 1024);
    let mut output = Vec::new();
    while socket.read_buf(&mut input).await? > 0 {
        output.clear();
        while let Some((head, length)) = header(&input) {
            if input.len() < head + length {
                break;
            }
            if input[0] & 0xf0 == 0x30 {
                let topic = usize::from(u16::from_be_bytes([input[head], input[head + 1]]));
                let id = head + 2 + topic;
                output.extend([0x40, 2, input[id], input[id + 1]]);
                deliveries.add(&input[id + 2..head + length]);
            }
            input.advance(head + length);
        }
        socket.write_all(&output).await?;
        input.reserve(64 * 1024);
    }
    Ok(())
}

/// Length of the fixed header, and of what follows it.
fn header(input: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in input.get(1..)?.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((index + 2, length));
        }
    }
    None
}
