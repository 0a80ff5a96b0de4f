//! Devices: `reqwest` over HTTP, `rumqttc` over MQTT 3.1.1 and 5.

use std::net::SocketAddr;

use reqwest::RequestBuilder;
use rumqttc::v5;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Device, Gateway};

/// Adds a device's login to a request.
pub(crate) fn basic(request: RequestBuilder, device: &Device) -> RequestBuilder {
    request.basic_auth(&device.username, Some(&device.password))
}

/// What a device hears of a message it published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// PUBACK; with MQTT 5 whether its reason says success.
    Acknowledged {
        /// Whether the reason code, where there is one, is success.
        success: bool,
    },
    /// The connection was closed instead.
    Closed,
}

/// A connected MQTT device.
pub(crate) enum MqttDevice {
    V3(rumqttc::AsyncClient, Box<rumqttc::EventLoop>),
    V5(v5::AsyncClient, Box<v5::EventLoop>),
}

/// Messages a device may have in flight.
const IN_FLIGHT: u16 = 50;

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was closed without a word.
    Closed,
    /// A DISCONNECT said why.
    Told(v5::mqttbytes::v5::DisconnectReasonCode),
}

impl MqttDevice {
    /// Connects with MQTT 3.1.1.
    pub(crate) async fn v3(gateway: &Gateway, device: &Device) -> Result<Self, String> {
        let login = Some((&*device.username, &*device.password));
        Self::v3_at(gateway.address("mqtt"), &device.id, login).await
    }

    /// Connects with MQTT 5.
    pub(crate) async fn v5(gateway: &Gateway, device: &Device) -> Result<Self, String> {
        let login = Some((&*device.username, &*device.password));
        Self::v5_at(gateway.address("mqtt"), &device.id, login).await
    }

    /// Connects with MQTT 3.1.1 somewhere, with user name and password or without.
    pub(crate) async fn v3_at(
        address: SocketAddr,
        client_id: &str,
        login: Option<(&str, &str)>,
    ) -> Result<Self, String> {
        Self::v3_with(v3_options(address, client_id, login)).await
    }

    async fn v3_with(options: rumqttc::MqttOptions) -> Result<Self, String> {
        let (client, mut events) = rumqttc::AsyncClient::new(options, 100);
        match events.poll().await {
            Ok(_) => Ok(Self::V3(client, Box::new(events))),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    /// Connects with MQTT 5 somewhere, with user name and password or without.
    pub(crate) async fn v5_at(
        address: SocketAddr,
        client_id: &str,
        login: Option<(&str, &str)>,
    ) -> Result<Self, String> {
        Self::v5_with(v5_options(address, client_id, login)).await
    }

    async fn v5_with(options: v5::MqttOptions) -> Result<Self, String> {
        let (client, mut events) = v5::AsyncClient::new(options, 100);
        match events.poll().await {
            Ok(_) => Ok(Self::V5(client, Box::new(events))),
            Err(error) => Err(format!("{error:?}")),
        }
    }

    /// Connects in both versions with clients that acknowledge no command by themselves.
    pub(crate) async fn silent(gateway: &Gateway, device: &Device) -> [Self; 2] {
        let (address, id) = (gateway.address("mqtt"), &*device.id);
        let login = Some((&*device.username, &*device.password));
        let mut v3 = v3_options(address, id, login);
        v3.set_manual_acks(true);
        let mut v5 = v5_options(address, id, login);
        v5.set_manual_acks(true);
        [
            Self::v3_with(v3).await.unwrap(),
            Self::v5_with(v5).await.unwrap(),
        ]
    }

    /// Waits for the end of the connection.
    pub(crate) async fn end(&mut self) -> End {
        loop {
            match self {
                Self::V3(_, events) => {
                    if events.poll().await.is_err() {
                        return End::Closed;
                    }
                }
                Self::V5(_, events) => match events.poll().await {
                    Ok(_) => {}
                    Err(v5::ConnectionError::MqttState(v5::StateError::ServerDisconnect {
                        reason_code,
                        ..
                    })) => return End::Told(reason_code),
                    Err(_) => return End::Closed,
                },
            }
        }
    }

    /// Publishes with QoS 1 and waits for what comes of it.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) -> Answer {
        self.send(topic, payload, true).await;
        self.answer().await
    }

    /// Hands a message to the client; [`MqttDevice::answer`] or [`MqttDevice::flush`] lets it go.
    pub(crate) async fn send(&mut self, topic: &str, payload: &str, at_least_once: bool) {
        match self {
            Self::V3(client, _) => {
                let qos = if at_least_once {
                    rumqttc::QoS::AtLeastOnce
                } else {
                    rumqttc::QoS::AtMostOnce
                };
                client.publish(topic, qos, false, payload).await.unwrap();
            }
            Self::V5(client, _) => {
                let qos = if at_least_once {
                    v5::mqttbytes::QoS::AtLeastOnce
                } else {
                    v5::mqttbytes::QoS::AtMostOnce
                };
                client
                    .publish(topic, qos, false, payload.to_owned())
                    .await
                    .unwrap();
            }
        }
    }

    /// Waits for the next PUBACK, or the end of the connection.
    pub(crate) async fn answer(&mut self) -> Answer {
        loop {
            match self {
                Self::V3(_, events) => match events.poll().await {
                    Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))) => {
                        return Answer::Acknowledged { success: true };
                    }
                    Ok(_) => {}
                    Err(_) => return Answer::Closed,
                },
                Self::V5(_, events) => match events.poll().await {
                    Ok(v5::Event::Incoming(v5::mqttbytes::v5::Packet::PubAck(ack))) => {
                        let success = ack.reason == v5::mqttbytes::v5::PubAckReason::Success;
                        return Answer::Acknowledged { success };
                    }
                    Ok(_) => {}
                    Err(_) => return Answer::Closed,
                },
            }
        }
    }

    /// Lets the client write what was handed to it with QoS 0.
    pub(crate) async fn flush(&mut self) {
        match self {
            Self::V3(_, events) => {
                let is_written = |event: &rumqttc::Event| {
                    matches!(
                        event,
                        rumqttc::Event::Outgoing(rumqttc::Outgoing::Publish(_))
                    )
                };
                while !is_written(&events.poll().await.unwrap()) {}
                events.network_options();
            }
            Self::V5(_, events) => {
                let is_written = |event: &v5::Event| {
                    matches!(event, v5::Event::Outgoing(rumqttc::Outgoing::Publish(_)))
                };
                while !is_written(&events.poll().await.unwrap()) {}
            }
        }
    }
}

fn v3_options(
    address: SocketAddr,
    client_id: &str,
    login: Option<(&str, &str)>,
) -> rumqttc::MqttOptions {
    let (host, port) = (address.ip().to_string(), address.port());
    let mut options = rumqttc::MqttOptions::new(client_id, host, port);
    if let Some((username, password)) = login {
        options.set_credentials(username, password);
    }
    options.set_inflight(IN_FLIGHT);
    options
}

fn v5_options(
    address: SocketAddr,
    client_id: &str,
    login: Option<(&str, &str)>,
) -> v5::MqttOptions {
    let (host, port) = (address.ip().to_string(), address.port());
    let mut options = v5::MqttOptions::new(client_id, host, port);
    if let Some((username, password)) = login {
        options.set_credentials(username, password);
    }
    options
}

/// Why a connection was refused, in the client's words.
pub(crate) fn refusal(attempt: Result<MqttDevice, String>) -> String {
    let error = attempt.err().expect("the gateway accepted the connection");
    let inside = error.strip_prefix("ConnectionRefused(");
    inside.unwrap_or(&error).trim_end_matches(')').to_owned()
}

/// A CONNECT packet by hand, and the return code of what comes back; `None` if the connection is
/// closed instead.
pub(crate) async fn mqtt_connect(
    gateway: &Gateway,
    level: u8,
    username: Option<&str>,
    password: Option<&str>,
) -> Option<u8> {
    let mut stream = TcpStream::connect(gateway.address("mqtt")).await.unwrap();
    stream
        .write_all(&connect_packet(level, username, password))
        .await
        .unwrap();
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.ok()?;
    assert_eq!(head[0], 0x20, "{head:?} is not CONNACK");
    Some(head[3])
}

/// A bare socket on which a device has logged in with MQTT 3.1.1, for what a client library hides.
pub(crate) async fn mqtt_socket(gateway: &Gateway, device: &Device) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address("mqtt")).await.unwrap();
    let packet = connect_packet(4, Some(&device.username), Some(&device.password));
    stream.write_all(&packet).await.unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await.unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream
}

/// A CONNECT packet.
pub(crate) fn connect_packet(level: u8, username: Option<&str>, password: Option<&str>) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level];
    let flags = 2 | u8::from(username.is_some()) << 7 | u8::from(password.is_some()) << 6;
    body.extend([flags, 0, 60]);
    if level == 5 {
        body.push(0);
    }
    for text in [Some("client"), username, password].into_iter().flatten() {
        body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend(text.bytes());
    }
    let length = body.len();
    assert!(length < 128 * 128, "the length takes two bytes at most");
    let mut packet = vec![0x10];
    if length >= 128 {
        packet.extend([(length % 128) as u8 | 128, (length / 128) as u8]);
    } else {
        packet.push(length as u8);
    }
    packet.extend(body);
    packet
}
