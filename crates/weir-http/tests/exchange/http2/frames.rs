//! HTTP/2 by hand, for what a client library does not do (RFC 9113 §4).

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::kit::{Gateway, within};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// The error code of GOAWAY.
    pub(super) fn code(&self) -> u8 {
        assert_eq!(self.kind, GOAWAY);
        self.payload[7]
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Header fields as literals that nobody has to remember (RFC 7541 §6.2.2).
pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let mut coded = Vec::new();
        // A length of seven bits, and what goes beyond in groups of seven (§5.1).
        match text.len().checked_sub(127) {
            None => coded.push(u8::try_from(text.len()).unwrap()),
            Some(mut rest) => {
                coded.push(127);
                while rest >= 128 {
                    coded.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                coded.push(rest as u8);
            }
        }
        coded.extend(text.bytes());
        coded
    };
    let field = |(name, value): &(&str, &str)| [vec![0], text(name), text(value)].concat();
    fields.iter().flat_map(field).collect()
}

/// The head of an event of `sensor1`, with more fields.
pub(super) fn event(more: &[(&str, &str)]) -> Vec<u8> {
    let own = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/event"),
        (":authority", "localhost"),
        ("authorization", "Basic c2Vuc29yMUBhY21lOnB3"),
        ("content-type", "text/plain"),
    ];
    fields(&[&own[..], more].concat())
}

/// One connection of a client.
pub(super) struct Raw(TlsStream<TcpStream>);

impl Raw {
    /// A connection on which nothing has been said.
    pub(super) async fn silent(gateway: &Gateway) -> Self {
        Self(gateway.connect_tls(&["h2"]).await)
    }

    /// One that has been opened; these are its settings.
    pub(super) async fn open(gateway: &Gateway, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self::silent(gateway).await;
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let setting = |(id, value): &(u16, u32)| {
            let (id, value) = (id.to_be_bytes(), value.to_be_bytes());
            [&id[..], &value].concat()
        };
        let settings: Vec<u8> = settings.iter().flat_map(setting).collect();
        raw.send(SETTINGS, 0, 0, &settings).await;
        raw
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.unwrap();
    }

    /// Writes for as long as the other side lets it.
    pub(super) async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame(kind, flags, stream, payload)).await;
    }

    /// Says that nothing more will come, and takes in what does until the other side has ended too.
    pub(super) async fn leave(mut self) {
        let _ = self.0.shutdown().await;
        let mut rest = Vec::new();
        // However it ends.
        let _ = within(self.0.read_to_end(&mut rest)).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(self.0.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        within(self.0.read_exact(&mut payload)).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// The next frame of a kind; what comes before it is passed over, and pings are answered.
    pub(super) async fn expect(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.expect("the connection has ended");
            if frame.kind == kind {
                return frame;
            }
            self.answer(&frame).await;
        }
    }

    /// All frames until the connection ends. Pings are answered.
    pub(super) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            self.answer(&frame).await;
            frames.push(frame);
        }
        frames
    }

    /// All frames until the connection ends, which hears nothing of it.
    pub(super) async fn rest_unanswered(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Takes in whatever comes, without an answer, until the other side has ended, as TLS does (RFC 8446
    /// §6.1).
    pub(super) async fn ends(&mut self) {
        within(self.0.read_to_end(&mut Vec::new())).await.unwrap();
    }

    /// Answers a ping.
    pub(super) async fn answer(&mut self, frame: &Frame) {
        if frame.kind == PING && frame.flags & ACK == 0 {
            let pong = self::frame(PING, ACK, 0, &frame.payload);
            // The other side may have closed after it.
            let _ = self.try_write(&pong).await;
        }
    }
}
