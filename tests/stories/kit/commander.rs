//! An application that sends commands, on `fe2o3-amqp`.

use fe2o3_amqp::link::Sender;
use fe2o3_amqp::types::definitions::ErrorCondition;
use fe2o3_amqp::types::messaging::{Batch, Body, Data, Message, MessageId, Outcome, Properties};
use fe2o3_amqp::types::primitives::{Binary, Symbol, Value};

use super::application::Login;
use super::{Device, Gateway};

/// One connection that sends commands to a tenant's devices.
pub(crate) struct Commander {
    sender: Sender,
    login: Login,
}

/// A command, which may be wrong in any way.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) properties: Properties,
    pub(crate) body: Body<Value>,
}

/// What an application is told of its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Accepted,
    Released,
    Rejected { condition: String, text: String },
}

impl Commander {
    /// Attaches to `command/{tenant}`.
    pub(crate) async fn of(gateway: &Gateway, tenant: &str) -> Self {
        let (user, password) = gateway.application();
        let mut login = Login::new(gateway, user, password).await.unwrap();
        let address = format!("command/{tenant}");
        let sender = Sender::attach(&mut login.session, "commands", address);
        let sender = sender.await.unwrap();
        Self { sender, login }
    }

    /// Sends a command once there is credit, and waits for its outcome.
    pub(crate) async fn send(&mut self, command: &Command) -> Fate {
        Fate::of(self.sender.send(command.message()).await.unwrap())
    }

    /// Sends one after the other without waiting, then waits for all outcomes.
    pub(crate) async fn send_all(&mut self, commands: &[Command]) -> Vec<Fate> {
        let mut sent = Vec::new();
        for command in commands {
            sent.push(self.sender.send_batchable(command.message()).await.unwrap());
        }
        let outcomes = futures_util::future::join_all(sent).await;
        let fates = outcomes
            .into_iter()
            .map(|outcome| Fate::of(outcome.unwrap()));
        fates.collect()
    }

    /// Another one on the same connection, whose frames the gateway sees in one order.
    pub(crate) async fn beside(&mut self, tenant: &str) -> Sender {
        let name = format!("beside-{tenant}");
        let address = format!("command/{tenant}");
        Sender::attach(&mut self.login.session, name, address)
            .await
            .unwrap()
    }
}

impl Fate {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Accepted(_) => Self::Accepted,
            Outcome::Released(_) => Self::Released,
            Outcome::Rejected(rejected) => {
                let error = rejected.error.unwrap();
                let condition = match error.condition {
                    ErrorCondition::AmqpError(known) => Symbol::from(&known),
                    ErrorCondition::Custom(condition) => condition,
                    other => panic!("{other:?}"),
                };
                Self::Rejected {
                    condition: condition.into_inner(),
                    text: error.description.unwrap_or_default(),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Command {
    pub(crate) fn message(&self) -> Message<Body<Value>> {
        Message::builder()
            .properties(self.properties.clone())
            .body(self.body.clone())
            .build()
    }

    /// One that wants no response.
    pub(crate) fn one_way(device: &Device, name: &str, payload: &str) -> Self {
        let properties = Properties {
            to: Some(format!("command/{}/{}", device.tenant, device.id)),
            subject: Some(name.to_owned()),
            ..Properties::default()
        };
        let data = Data(Binary::from(payload.as_bytes()));
        Self {
            properties,
            body: Body::Data(Batch::new(vec![data])),
        }
    }

    /// The same, whose response goes to an address.
    pub(crate) fn answered_at(mut self, address: &str, correlation_id: &str) -> Self {
        let id = MessageId::String(correlation_id.to_owned());
        self.properties.reply_to = Some(address.to_owned());
        self.properties.correlation_id = Some(id);
        self
    }
}
