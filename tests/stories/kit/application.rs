//! An application on `fe2o3-amqp`.

use std::net::Shutdown;

use fe2o3_amqp::connection::{Connection, ConnectionHandle};
use fe2o3_amqp::link::Receiver;
use fe2o3_amqp::link::delivery::Delivery;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::{Session, SessionHandle};
use fe2o3_amqp::types::definitions::{AmqpError, Error};
use fe2o3_amqp::types::messaging::{Body, Message, Modified};
use fe2o3_amqp::types::primitives::{SimpleValue, Symbol, Value};
use tokio::net::TcpStream;

use super::Gateway;

/// A message as the client decoded it.
pub(crate) type Received = Delivery<Body<Value>>;

/// The same without what only its settlement needs.
pub(crate) type Accepted = Message<Body<Value>>;

/// One connection that consumes from one address.
pub(crate) struct Application {
    receiver: Receiver,
    login: Login,
}

/// A connection of an application, with a session.
pub(super) struct Login {
    pub(super) session: SessionHandle<()>,
    _connection: ConnectionHandle<()>,
    socket: std::net::TcpStream,
}

impl Login {
    /// Logs in; the error is the client's.
    pub(super) async fn new(gateway: &Gateway, user: &str, password: &str) -> Result<Self, String> {
        let socket = std::net::TcpStream::connect(gateway.address("northbound.amqp")).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
        let stream = TcpStream::from_std(socket.try_clone().unwrap()).unwrap();
        let plain = SaslProfile::Plain {
            username: user.into(),
            password: password.into(),
        };
        let mut connection = Connection::builder()
            .container_id("stories")
            .sasl_profile(plain)
            .open_with_stream(stream)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let session = Session::begin(&mut connection).await.unwrap();
        Ok(Self {
            session,
            _connection: connection,
            socket,
        })
    }
}

impl Application {
    /// Consumes from an address; credit is replenished by the client.
    pub(crate) async fn consume(gateway: &Gateway, address: &str) -> Self {
        let (user, password) = gateway.application();
        Self::login(gateway, user, password, address).await.unwrap()
    }

    /// Attaches to an address and takes nothing: it never gives credit.
    pub(crate) async fn without_credit(gateway: &Gateway, address: &str) -> Self {
        let (user, password) = gateway.application();
        let mut login = Login::new(gateway, user, password).await.unwrap();
        let receiver = Receiver::builder()
            .name("without-credit")
            .source(address)
            .credit_mode(CreditMode::Manual)
            .attach(&mut login.session)
            .await
            .unwrap();
        Self { receiver, login }
    }

    /// The same with a login of one's own; the error is the client's.
    pub(crate) async fn login(
        gateway: &Gateway,
        user: &str,
        password: &str,
        address: &str,
    ) -> Result<Self, String> {
        let mut login = Login::new(gateway, user, password).await?;
        let name = format!("receiver-{address}");
        let receiver = Receiver::attach(&mut login.session, name, address)
            .await
            .map_err(|error| format!("{error:?}"))?;
        Ok(Self { receiver, login })
    }

    pub(crate) async fn receive(&mut self) -> Received {
        self.receiver.recv().await.unwrap()
    }

    /// The next message; `None` when the connection is over.
    pub(crate) async fn try_receive(&mut self) -> Option<Received> {
        self.receiver.recv().await.ok()
    }

    /// Receives the next message and accepts it.
    pub(crate) async fn accept_next(&mut self) -> Accepted {
        let received = self.receive().await;
        self.accept(&received).await;
        received.into_message()
    }

    pub(crate) async fn accept(&self, received: &Received) {
        self.receiver.accept(received).await.unwrap();
    }

    pub(crate) async fn release(&self, received: &Received) {
        self.receiver.release(received).await.unwrap();
    }

    pub(crate) async fn reject(&self, received: &Received, condition: AmqpError, text: &str) {
        let error = Error::new(condition, Some(text.to_owned()), None);
        self.receiver.reject(received, error).await.unwrap();
    }

    pub(crate) async fn modify(&self, received: &Received, undeliverable_here: bool) {
        let modified = Modified {
            delivery_failed: Some(true),
            undeliverable_here: Some(undeliverable_here),
            message_annotations: None,
        };
        self.receiver.modify(received, modified).await.unwrap();
    }

    /// Waits until the gateway has heard all that was said so far: it answers in that order.
    pub(crate) async fn heard(&mut self) {
        let other = "notification/registry-device";
        let link = Receiver::attach(&mut self.login.session, "heard", other);
        link.await.unwrap().close().await.unwrap();
    }

    /// Ends its link, whatever is open on it.
    pub(crate) async fn leave(self) {
        self.receiver.close().await.unwrap();
    }

    /// Dies: the connection is cut without a word.
    pub(crate) fn die(self) {
        self.login.socket.shutdown(Shutdown::Both).unwrap();
    }
}

/// An application property.
pub(crate) fn property(message: &Accepted, name: &str) -> Option<SimpleValue> {
    message.application_properties.as_ref()?.get(name).cloned()
}

/// A message annotation, whose key has to be a symbol.
pub(crate) fn symbol_annotation(message: &Accepted, name: &str) -> Option<Value> {
    let annotations = message.message_annotations.as_ref()?;
    annotations
        .get(&Symbol::from(name) as &dyn fe2o3_amqp::types::messaging::annotations::AnnotationKey)
        .cloned()
}

/// The payload; the empty one if there is no body.
pub(crate) fn payload(message: &Accepted) -> Vec<u8> {
    match &message.body {
        Body::Data(sections) => {
            let sections: Vec<_> = sections.iter().collect();
            assert_eq!(sections.len(), 1, "one data section");
            sections[0].0.to_vec()
        }
        Body::Empty => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// How often a message was handed out before, in vain.
pub(crate) fn delivery_count(message: &Accepted) -> u32 {
    message
        .header
        .as_ref()
        .map_or(0, |header| header.delivery_count)
}

/// The payload as text.
pub(crate) fn text(message: &Accepted) -> String {
    String::from_utf8(payload(message)).unwrap()
}

/// A string as a property has it.
pub(crate) fn string(text: &str) -> Option<SimpleValue> {
    Some(SimpleValue::String(text.to_owned()))
}

pub(crate) fn content_type(message: &Accepted) -> Option<String> {
    let properties = message.properties.as_ref().unwrap();
    let content_type = properties.content_type.as_ref();
    content_type.map(|Symbol(text)| text.clone())
}
