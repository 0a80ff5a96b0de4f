//! An MQTT connection by hand, of a device that has subscribed to errors: a client library may see the
//! end before it has handed over what came last.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{Device, Gateway, connect_packet};

/// The connection.
pub(super) struct Line {
    stream: TcpStream,
    level: u8,
}

/// What came before the end of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The topic of the error.
    pub(super) topic: String,
    /// The status in the error.
    pub(super) code: u16,
    /// The reason code of DISCONNECT, which MQTT 5 alone has.
    pub(super) disconnect: Option<u8>,
}

impl Line {
    /// Connects, and subscribes to the errors of the device's messages.
    pub(super) async fn of(gateway: &Gateway, device: &Device, level: u8) -> Self {
        let stream = TcpStream::connect(gateway.address("mqtt")).await.unwrap();
        let mut line = Self { stream, level };
        let connect = connect_packet(level, Some(&device.username), Some(&device.password));
        line.stream.write_all(&connect).await.unwrap();
        assert_eq!(line.read().await, [0x20, 0, 0], "CONNACK");
        line.subscribe("error///#").await;
        let suback = line.read().await;
        assert_eq!((suback[0], suback.last()), (0x90, Some(&0)), "{suback:?}");
        line
    }

    /// Asks for a subscription with QoS 0.
    pub(super) async fn subscribe(&mut self, filter: &str) {
        let body = [&[0, 1], self.properties(), &field(filter), &[0]].concat();
        self.write(0x82, &body).await;
    }

    /// Publishes a message that has to be refused, and whose refusal has to end the connection.
    pub(super) async fn publish(mut self, topic: &str, qos: u8, payload: &str) -> Told {
        let id: &[u8] = if qos == 0 { &[] } else { &[0, 7] };
        let body = [&field(topic), id, self.properties(), payload.as_bytes()].concat();
        self.write(0x30 | qos << 1, &body).await;
        let properties = self.properties().len();
        let (mut topic, mut code) = (None, None);
        let packets = self.end().await;
        for packet in &packets {
            if packet[0] == 0x30 {
                let length = usize::from(packet[1]) << 8 | usize::from(packet[2]);
                let (name, rest) = packet[3..].split_at(length);
                let error: Value = serde_json::from_slice(&rest[properties..]).unwrap();
                assert_eq!(
                    topic.replace(String::from_utf8(name.to_vec()).unwrap()),
                    None
                );
                code = error["code"]
                    .as_u64()
                    .and_then(|code| u16::try_from(code).ok());
            }
        }
        Told {
            topic: topic.expect("no error came"),
            code: code.unwrap(),
            disconnect: disconnect(&packets),
        }
    }

    /// Waits for the end of the connection; the reason code of DISCONNECT if there is one.
    pub(super) async fn closed(self) -> Option<u8> {
        disconnect(&self.end().await)
    }

    /// All packets until the end, the first byte of each with its body.
    async fn end(mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Ok(first) = self.stream.read_u8().await {
            packets.push(self.rest(first).await);
        }
        packets
    }

    async fn read(&mut self) -> Vec<u8> {
        let first = self.stream.read_u8().await.unwrap();
        let packet = self.rest(first).await;
        match (first, self.level) {
            // What the gateway says of itself in MQTT 5 is not what these stories are about.
            (0x20, 5) => packet[..3].to_vec(),
            _ => packet,
        }
    }

    async fn rest(&mut self, first: u8) -> Vec<u8> {
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await.unwrap();
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut packet = vec![first; length + 1];
        self.stream.read_exact(&mut packet[1..]).await.unwrap();
        packet
    }

    async fn write(&mut self, first: u8, body: &[u8]) {
        let length = u8::try_from(body.len()).unwrap();
        assert!(length < 128, "the length takes one byte");
        let packet = [&[first, length], body].concat();
        self.stream.write_all(&packet).await.unwrap();
    }

    /// No properties, in the versions that have them.
    fn properties(&self) -> &'static [u8] {
        if self.level == 5 { &[0] } else { &[] }
    }
}

fn disconnect(packets: &[Vec<u8>]) -> Option<u8> {
    let last = packets.last().filter(|packet| packet[0] == 0xe0)?;
    last.get(1).copied()
}

fn field(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}
