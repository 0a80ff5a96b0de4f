//! A gateway that does as it is told.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Instant;

use bytes::BytesMut;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_amqp_engine::{
    AcceptLink, Config, Connection, Error, Event, LinkId, Message, MessageWriter, Outcome,
    Properties, Role, SaslCode, SendOptions, Value, condition,
};
use weir_amqp_transport::{Peer, drive};

/// A gateway for user `app` with password `secret`; tenant `other` is not for it.
///
/// It sends what was put in and hears what becomes of it. Commands are answered as their device's name
/// says.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Messages to be sent, by address: a number and the sections.
    waiting: HashMap<String, VecDeque<(u64, BytesMut)>>,
    /// What became of those that were sent.
    settled: Vec<(u64, Outcome)>,
    /// The last command.
    command: Option<Message>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let config = Config {
                    sasl_mechanisms: vec!["PLAIN"],
                    ..Config::default()
                };
                let connection = Connection::server(config, Instant::now());
                let peer = ServerPeer {
                    state: shared.clone(),
                    links: HashMap::new(),
                };
                tokio::spawn(drive(stream, connection, peer, CancellationToken::new()));
            }
        });
        Self { address, state }
    }

    /// Puts a message in that is sent once somebody receives from the address.
    pub(super) fn put(&self, address: &str, number: u64, device: &str) {
        let mut message = BytesMut::new();
        let number_text = number.to_string();
        let properties = Properties {
            content_type: Some("text/plain"),
            creation_time: Some(0),
            ..Properties::default()
        };
        MessageWriter::new(&mut message)
            .properties(&properties)
            .application_properties(|map| {
                map.string("device_id", device);
            })
            .data(number_text.as_bytes());
        self.put_raw(address, number, message);
    }

    pub(super) fn put_raw(&self, address: &str, number: u64, message: BytesMut) {
        let mut state = self.state.lock().unwrap();
        let waiting = state.waiting.entry(address.to_owned()).or_default();
        waiting.push_back((number, message));
    }

    /// What became of the messages so far, by number.
    pub(super) fn settled(&self) -> Vec<(u64, Outcome)> {
        let mut settled = self.state.lock().unwrap().settled.clone();
        settled.sort_by_key(|(number, _)| *number);
        settled
    }

    pub(super) fn command(&self) -> Message {
        self.state.lock().unwrap().command.clone().unwrap()
    }
}

struct ServerPeer {
    state: Arc<Mutex<State>>,
    links: HashMap<LinkId, String>,
}

impl ServerPeer {
    fn attach(&mut self, connection: &mut Connection<u64>, link: LinkId, role: Role, at: String) {
        if at.split('/').nth(1) == Some("other") {
            let error = Error::new(condition::UNAUTHORIZED_ACCESS, "not yours");
            return connection.refuse_link(link, error);
        }
        let credit = if role == Role::Receiver && at != "command/quiet" {
            10
        } else {
            0
        };
        self.links.insert(link, at);
        let accept = AcceptLink {
            credit,
            ..AcceptLink::default()
        };
        connection.accept_link(link, accept);
    }

    /// The device's outcome; one that is accepted may be answered.
    fn command(&mut self, message: Message) -> Outcome {
        let to = message.properties.to.clone().unwrap();
        let status = match to.rsplit('/').next().unwrap() {
            "gone" => return Outcome::Released,
            "unknown" => {
                return Outcome::Rejected {
                    condition: Some("hono:bad-request".to_owned()),
                    description: Some("no such device".to_owned()),
                };
            }
            "mute" => None,
            "angry" => Some(500),
            _ => Some(200),
        };
        let properties = &message.properties;
        if let (Some(reply_to), Some(status)) = (&properties.reply_to, status) {
            // The first one is for somebody else, the second says nothing, the third is from another
            // device.
            let id = match &properties.correlation_id {
                Some(Value::String(id)) => id.clone(),
                other => panic!("{other:?}"),
            };
            let device = to.rsplit('/').next().unwrap();
            self.answer(reply_to, 901, device, "somebody", Some(200));
            self.answer(reply_to, 902, device, &id, None);
            self.answer(reply_to, 903, "another", &id, Some(200));
            self.answer(reply_to, 904, device, &id, Some(status));
        }
        self.state.lock().unwrap().command = Some(message);
        Outcome::Accepted
    }

    fn answer(&self, reply_to: &str, number: u64, device: &str, id: &str, status: Option<i32>) {
        let mut answer = BytesMut::new();
        let properties = Properties {
            correlation_id: Some(id),
            content_type: Some("text/plain"),
            ..Properties::default()
        };
        MessageWriter::new(&mut answer)
            .properties(&properties)
            .application_properties(|map| {
                map.string("device_id", device);
                if let Some(status) = status {
                    map.int("status", status);
                }
            })
            .data(b"done");
        let mut state = self.state.lock().unwrap();
        let waiting = state.waiting.entry(reply_to.to_owned()).or_default();
        waiting.push_back((number, answer));
    }
}

impl Peer for ServerPeer {
    type Token = u64;

    fn handle_event(&mut self, now: Instant, connection: &mut Connection<u64>, event: Event<u64>) {
        match event {
            Event::SaslInit { response, .. } => {
                let code = match &*response {
                    b"\0app\0secret" => SaslCode::Ok,
                    _ => SaslCode::Auth,
                };
                connection.sasl_outcome(now, code);
            }
            Event::Opened(_) => connection.open(now),
            Event::Attach { link, attach } => {
                let terminus = match attach.role {
                    Role::Sender => attach.source,
                    Role::Receiver => attach.target,
                };
                let address = terminus.unwrap().address.unwrap();
                self.attach(connection, link, attach.role, address);
            }
            Event::Message {
                link,
                delivery,
                message,
                ..
            } => {
                let outcome = self.command(Message::decode(message).unwrap());
                connection.settle(link, delivery, &outcome);
            }
            Event::Settled { token, outcome, .. } => {
                self.state.lock().unwrap().settled.push((token, outcome));
            }
            _ => {}
        }
    }

    fn poll_progress(
        &mut self,
        _: &mut Context<'_>,
        now: Instant,
        connection: &mut Connection<u64>,
    ) {
        let mut state = self.state.lock().unwrap();
        for (link, address) in &self.links {
            let Some(waiting) = state.waiting.get_mut(address) else {
                continue;
            };
            while connection.can_send(*link)
                && let Some((number, message)) = waiting.pop_front()
            {
                let options = SendOptions::default();
                let sent = connection.send(now, *link, number, options, |out| {
                    out.extend_from_slice(&message);
                });
                sent.unwrap();
            }
            if waiting.is_empty() && address.ends_with("/closing") {
                connection.close(now, Some(Error::new(condition::CONNECTION_FORCED, "bye")));
                return;
            }
        }
    }
}
