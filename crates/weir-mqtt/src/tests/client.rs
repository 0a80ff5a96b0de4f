//! Packets by hand, and a socket to send them through.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::SOON;

/// A packet of type and flags `first` with `body`.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let more = if rest > 0x7f { 0x80 } else { 0 };
        packet.push((rest & 0x7f) as u8 | more);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// A field with its length in front.
pub(super) fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut field = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    field.extend_from_slice(bytes);
    field
}

/// A CONNECT taken apart.
pub(super) struct Connect<'a> {
    pub(super) version: u8,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) client_id: &'a str,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a [u8]>,
    /// Version 5 only.
    pub(super) properties: &'a [u8],
}

impl Default for Connect<'_> {
    fn default() -> Self {
        Self {
            version: 4,
            clean: true,
            keep_alive: 60,
            client_id: "client",
            username: Some("sensor1@acme"),
            password: Some(b"secret"),
            properties: b"",
        }
    }
}

impl Connect<'_> {
    pub(super) fn body(&self) -> Vec<u8> {
        let flags = [
            (self.clean, 0x02),
            (self.username.is_some(), 0x80),
            (self.password.is_some(), 0x40),
        ];
        let flags = flags
            .iter()
            .filter(|(set, _)| *set)
            .map(|(_, bit)| bit)
            .sum();
        let mut body = field("MQTT");
        body.extend([self.version, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == 5 {
            body.push(self.properties.len().try_into().unwrap());
            body.extend(self.properties);
        }
        body.extend(field(self.client_id));
        body.extend(self.username.map(field).unwrap_or_default());
        body.extend(self.password.map(field).unwrap_or_default());
        body
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        packet(0x10, &self.body())
    }
}

pub(super) fn connect(version: u8, username: &str, password: &str) -> Vec<u8> {
    let connect = Connect {
        version,
        username: Some(username),
        password: Some(password.as_bytes()),
        ..Connect::default()
    };
    connect.bytes()
}

/// A PUBLISH; packet id 0 means QoS 0, any other QoS 1.
pub(super) fn publish(version: u8, topic: &str, packet_id: u16, payload: &str) -> Vec<u8> {
    let first = if packet_id == 0 { 0x30 } else { 0x32 };
    publish_with(first, version, topic, packet_id, b"", payload)
}

pub(super) fn publish_with(
    first: u8,
    version: u8,
    topic: &str,
    packet_id: u16,
    properties: &[u8],
    payload: &str,
) -> Vec<u8> {
    let mut body = field(topic);
    if packet_id > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if version == 5 {
        body.push(properties.len().try_into().unwrap());
        body.extend(properties);
    }
    body.extend(payload.as_bytes());
    packet(first, &body)
}

/// A SUBSCRIBE for filters, each with its quality.
pub(super) fn subscribe(version: u8, packet_id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let filters = filters.iter().flat_map(|(filter, qos)| {
        let mut entry = field(filter);
        entry.push(*qos);
        entry
    });
    packet(0x82, &with_id(version, packet_id, filters))
}

pub(super) fn unsubscribe(version: u8, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let filters = filters.iter().flat_map(field);
    packet(0xa2, &with_id(version, packet_id, filters))
}

/// A packet id, no properties, and what follows.
fn with_id(version: u8, packet_id: u16, rest: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend((version == 5).then_some(0));
    body.extend(rest);
    body
}

pub(super) fn suback(version: u8, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    packet(0x90, &with_id(version, packet_id, codes.iter().copied()))
}

/// SUBACK that says why not everything was granted, where the version can.
pub(super) fn suback_refused(version: u8, packet_id: u16, codes: &[u8], text: &str) -> Vec<u8> {
    if version < 5 {
        return suback(version, packet_id, codes);
    }
    let reason = property(0x1f, text);
    let mut body = packet_id.to_be_bytes().to_vec();
    body.push(reason.len().try_into().unwrap());
    packet(0x90, &[&body[..], &reason, codes].concat())
}

/// UNSUBACK; only version 5 has codes.
pub(super) fn unsuback(version: u8, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    let codes = if version == 5 { codes } else { &[] };
    packet(0xb0, &with_id(version, packet_id, codes.iter().copied()))
}

pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(super) const PINGRESP: [u8; 2] = [0xd0, 0];

pub(super) fn puback(packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [0x40, 2, high, low]
}

/// PUBACK of version 5 for a message that was refused, which says why.
pub(super) fn puback_refused(packet_id: u16, text: &str) -> Vec<u8> {
    let properties = [&[0x1f][..], &field(text)].concat();
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend([0x80, properties.len().try_into().unwrap()]);
    packet(0x40, &[body, properties].concat())
}

/// A property whose value has its length in front.
pub(super) fn property(id: u8, value: &str) -> Vec<u8> {
    [&[id][..], &field(value)].concat()
}

/// A user property.
pub(super) fn user(name: &str, value: &str) -> Vec<u8> {
    [property(0x26, name), field(value)].concat()
}

/// A device's end of a connection.
pub(super) struct Client<S = TcpStream> {
    pub(super) stream: S,
}

impl Client {
    pub(super) async fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // What is sent has to go out at once, whether or not what came before was answered.
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet, as it is.
    pub(super) async fn packet(&mut self) -> Vec<u8> {
        let read = async {
            let mut packet = vec![self.stream.read_u8().await?];
            let mut length = 0;
            for shift in [0, 7, 14, 21] {
                let byte = self.stream.read_u8().await?;
                packet.push(byte);
                length |= usize::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let header = packet.len();
            packet.resize(header + length, 0);
            self.stream.read_exact(&mut packet[header..]).await?;
            std::io::Result::Ok(packet)
        };
        let packet = tokio::time::timeout(SOON, read).await;
        packet
            .expect("nothing came in time")
            .expect("connection closed")
    }

    /// Subscribes, which has to be granted.
    pub(super) async fn subscribe(&mut self, version: u8, filter: &str, qos: u8) {
        self.send(&subscribe(version, 1, &[(filter, qos)])).await;
        self.expect(&suback(version, 1, &[qos])).await;
    }

    pub(super) async fn expect(&mut self, bytes: &[u8]) {
        assert_eq!(self.packet().await, bytes);
    }

    pub(super) async fn expect_connack(&mut self, code: u8) {
        let connack = self.packet().await;
        assert_eq!((connack[0], connack[2], connack[3]), (0x20, 0, code));
    }

    /// A DISCONNECT of version 5, then the end.
    pub(super) async fn expect_disconnect(&mut self, code: u8) {
        let disconnect = self.packet().await;
        assert_eq!((disconnect[0], disconnect[2]), (0xe0, code));
        self.expect_end().await;
    }

    /// The end of the connection, without anything before it.
    pub(super) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(SOON, self.stream.read_to_end(&mut rest)).await;
        read.expect("connection not closed in time").unwrap();
        assert_eq!(rest, b"");
    }

    /// That the connection ends as it does in this version: with a code that only 5 knows.
    pub(super) async fn expect_close(&mut self, version: u8, code: u8) {
        if version == 5 {
            self.expect_disconnect(code).await;
        } else {
            self.expect_end().await;
        }
    }

    /// That the connection is alive, and that nothing else had been sent to it.
    pub(super) async fn expect_silence(&mut self) {
        self.send(&PINGREQ).await;
        self.expect(&PINGRESP).await;
    }
}
