//! Commands go to whoever takes them to the device, and what becomes of them is their outcome.

use std::sync::Arc;
use std::time::Duration;

use fe2o3_amqp::link::Sender;
use fe2o3_amqp::link::delivery::Sendable;
use fe2o3_amqp::types::definitions::{AmqpError, ErrorCondition, ReceiverSettleMode};
use fe2o3_amqp::types::messaging::{Data, Message, Outcome, Properties};
use fe2o3_amqp::types::primitives::Binary;
use tokio::sync::mpsc;
use tokio::time::timeout;
use weir_amqp_engine::{ClientSasl, MessageWriter};
use weir_amqp_transport::{Client, ClientOptions, ConnectError, SendError};
use weir_core::command::{
    CommandConsumer, CommandDelivery, CommandRouter as _, Messaging, ReplyTo,
};
use weir_core::{DeviceId, Protocol, Reason};

use crate::application::Application;
use crate::{DEADLINE, Gateway};

const COMMANDS: &str = "command/acme";
const UNAUTHORIZED: &str = "amqp:unauthorized-access";
const BAD: &str = "hono:bad-request";

/// An adapter that has the device connected.
#[derive(Debug)]
struct Adapter(mpsc::UnboundedSender<CommandDelivery>);

impl CommandConsumer for Adapter {
    fn protocol(&self) -> Protocol {
        Protocol::Mqtt
    }

    fn gateway(&self) -> Option<&DeviceId> {
        None
    }

    fn deliver(&self, delivery: CommandDelivery) {
        // A test that looks at nothing any more releases it.
        let _ = self.0.send(delivery);
    }
}

struct Device(mpsc::UnboundedReceiver<CommandDelivery>);

impl Device {
    async fn subscribe(gateway: &Gateway) -> Self {
        let (delivered, deliveries) = mpsc::unbounded_channel();
        let adapter = Arc::new(Adapter(delivered));
        let (tenant, device) = ("acme".into(), "4711".into());
        let registered = gateway.router.register(&tenant, &device, adapter, None);
        registered.await.unwrap();
        Self(deliveries)
    }

    async fn next(&mut self) -> CommandDelivery {
        timeout(DEADLINE, self.0.recv()).await.unwrap().unwrap()
    }
}

fn one_way(payload: &str) -> Message<Data> {
    command(
        Properties::builder()
            .to("command/acme/4711")
            .subject("blink"),
        payload,
    )
}

fn command(
    properties: fe2o3_amqp::types::messaging::properties::Builder,
    payload: &str,
) -> Message<Data> {
    Message::builder()
        .properties(properties.build())
        .data(Binary::from(payload.as_bytes()))
        .build()
}

async fn sender(gateway: &Gateway) -> (Application, Sender) {
    let mut application = Application::connect(gateway.address).await;
    let sender = application
        .sender(COMMANDS, ReceiverSettleMode::First)
        .await;
    (application, sender)
}

/// Sends while something else is done, which decides the outcome.
async fn send(sender: &mut Sender, message: Message<Data>) -> Outcome {
    timeout(DEADLINE, sender.send(message))
        .await
        .unwrap()
        .unwrap()
}

fn rejected(outcome: Outcome) -> (String, String) {
    let Outcome::Rejected(rejected) = outcome else {
        panic!("{outcome:?}");
    };
    let error = rejected.error.unwrap();
    let condition = match error.condition {
        ErrorCondition::Custom(condition) => condition.into_inner(),
        ErrorCondition::AmqpError(AmqpError::UnauthorizedAccess) => UNAUTHORIZED.to_owned(),
        other => panic!("{other:?}"),
    };
    (condition, error.description.unwrap_or_default())
}

async fn client(gateway: &Gateway) -> Client {
    let sasl = ClientSasl::Plain {
        username: "app".to_owned(),
        password: "secret".to_owned(),
    };
    let client = Client::connect(ClientOptions {
        credit_timeout: Duration::from_millis(100),
        ..ClientOptions::new("127.0.0.1", gateway.address.port(), sasl)
    });
    client.await.unwrap()
}

#[tokio::test]
async fn there_is_nothing_else_to_send_to() {
    let gateway = Gateway::start().await;
    let client = client(&gateway).await;
    for address in [
        "",
        "command",
        "command/",
        "command/acme/4711",
        "event/acme",
        "telemetry/acme",
        "command_response/acme/app",
        "notification/registry-device",
    ] {
        match client.sender(address).await {
            Err(ConnectError::Refused { error: Some(error) }) => {
                assert_eq!(error.condition, "amqp:not-found", "{address}");
            }
            other => panic!("{address}: {other:?}"),
        }
    }
    client.sender(COMMANDS).await.unwrap();
}

#[tokio::test]
async fn there_is_no_credit_before_a_device_takes_commands_nor_when_none_is_wanted_any_more() {
    let gateway = Gateway::start().await;
    let client = client(&gateway).await;
    let early = client.sender(COMMANDS).await.unwrap();
    let send = |sender| async move {
        let sender: &weir_amqp_transport::Sender = sender;
        let properties = weir_amqp_engine::Properties {
            to: Some("command/acme/4711"),
            subject: Some("blink"),
            ..Default::default()
        };
        let sent = sender.send(|out| {
            MessageWriter::new(out).properties(&properties);
        });
        sent.await
    };
    assert!(matches!(send(&early).await, Err(SendError::NoCredit(_))));

    let mut device = Device::subscribe(&gateway).await;
    let late = client.sender(COMMANDS).await.unwrap();
    // More than the credit of a link.
    for sender in [&early, &late].into_iter().cycle().take(500) {
        let (outcome, ()) = tokio::join!(
            async {
                // Until it is told that there is credit now.
                loop {
                    match send(sender).await {
                        Err(SendError::NoCredit(_)) => {}
                        sent => break sent,
                    }
                }
            },
            async { device.next().await.accept() }
        );
        assert_eq!(outcome, Ok(weir_amqp_engine::Outcome::Accepted));
    }

    gateway.router.forget(&"acme".into());
    let accept = tokio::spawn(async move {
        loop {
            device.next().await.accept();
        }
    });
    // It is told of that too; what is sent before is still taken.
    for sender in [&early, &late] {
        while !matches!(send(sender).await, Err(SendError::NoCredit(_))) {}
    }
    accept.abort();
}

#[tokio::test]
async fn what_becomes_of_a_command_is_its_outcome() {
    let gateway = Gateway::start().await;
    let mut device = Device::subscribe(&gateway).await;
    let (_application, mut sender) = sender(&gateway).await;

    let (outcome, ()) = tokio::join!(send(&mut sender, one_way("1")), async {
        let delivery = device.next().await;
        let command = delivery.command();
        assert_eq!(command.device.as_str(), "4711");
        assert_eq!((&*command.name, &*command.payload), ("blink", &b"1"[..]));
        assert_eq!(command.reply_to, None);
        delivery.accept();
    });
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");

    let (outcome, ()) = tokio::join!(send(&mut sender, one_way("2")), async {
        device.next().await.release();
    });
    assert!(matches!(outcome, Outcome::Released(_)), "{outcome:?}");

    let (outcome, ()) = tokio::join!(send(&mut sender, one_way("3")), async {
        device.next().await.reject(Reason::AdapterDisabled);
    });
    let text = Reason::AdapterDisabled.text().to_owned();
    assert_eq!(rejected(outcome), (BAD.to_owned(), text));

    let request = Properties::builder()
        .to("command/acme/4711")
        .subject("measure")
        .correlation_id("c-1".to_owned())
        .reply_to("command_response/acme/app/1");
    let (outcome, ()) = tokio::join!(send(&mut sender, command(request, "")), async {
        let delivery = device.next().await;
        let expected = ReplyTo {
            messaging: Messaging::Amqp,
            correlation_id: "c-1".into(),
            reply_id: "app/1".into(),
        };
        assert_eq!(delivery.command().reply_to, Some(expected));
        delivery.accept();
    });
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");

    // The device is gone, and who takes its place takes nothing.
    drop(device);
    let outcome = send(&mut sender, one_way("4")).await;
    assert!(matches!(outcome, Outcome::Released(_)), "{outcome:?}");
}

#[tokio::test]
async fn what_is_no_command_is_rejected_and_the_link_goes_on() {
    let gateway = Gateway::start().await;
    let mut device = Device::subscribe(&gateway).await;
    let (_application, mut sender) = sender(&gateway).await;
    let to = |address: &str| Properties::builder().to(address).subject("blink");
    let rows = [
        (
            Properties::builder().subject("blink"),
            (BAD, "missing or invalid command target address"),
        ),
        (
            to("command/other/4711"),
            (
                UNAUTHORIZED,
                "the link is for commands to another tenant's devices",
            ),
        ),
        (to("command/acme"), (BAD, "invalid command target address")),
        (
            Properties::builder().to("command/acme/4711"),
            (BAD, "malformed command message"),
        ),
        (
            to("command/acme/4711").reply_to("command_response/acme/app"),
            (BAD, "malformed command message"),
        ),
        (
            to("command/acme/4711").message_id(7_u64),
            (BAD, "malformed command message"),
        ),
        (
            to("command/acme/stranger"),
            (BAD, Reason::DeviceUnknown.text()),
        ),
    ];
    for (properties, (condition, text)) in rows {
        let outcome = send(&mut sender, command(properties, "")).await;
        assert_eq!(rejected(outcome), (condition.to_owned(), text.to_owned()));
    }
    let (outcome, ()) = tokio::join!(send(&mut sender, one_way("good")), async {
        device.next().await.accept();
    });
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
}

#[tokio::test]
async fn commands_are_handed_over_in_their_order() {
    let gateway = Gateway::start().await;
    let mut device = Device::subscribe(&gateway).await;
    let (_application, mut sender) = sender(&gateway).await;
    let mut sent = Vec::new();
    for number in 0..80 {
        let outcome = sender.send_batchable(one_way(&number.to_string())).await;
        sent.push(outcome.unwrap());
    }
    let mut taken = Vec::new();
    for number in 0..80 {
        let delivery = device.next().await;
        assert_eq!(delivery.command().payload, number.to_string());
        taken.push(delivery);
    }
    // The order in which they are settled makes no difference.
    while let Some(delivery) = taken.pop() {
        delivery.accept();
    }
    for outcome in sent {
        let outcome = timeout(DEADLINE, outcome).await.unwrap().unwrap();
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_settles_second_and_a_sender_that_wants_no_outcome_are_served_too() {
    let gateway = Gateway::start().await;
    let mut device = Device::subscribe(&gateway).await;
    let mut application = Application::connect(gateway.address).await;
    let mut second = application
        .sender(COMMANDS, ReceiverSettleMode::Second)
        .await;
    for _ in 0..3 {
        let (outcome, ()) = tokio::join!(send(&mut second, one_way("1")), async {
            device.next().await.accept();
        });
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    }
    let mut sender = application
        .sender(COMMANDS, ReceiverSettleMode::First)
        .await;
    // More than the credit of a link: what needs no outcome uses none up.
    for number in 0..250 {
        let message = one_way(&number.to_string());
        let settled = Sendable::builder().message(message).settled(true).build();
        timeout(DEADLINE, sender.send(settled))
            .await
            .unwrap()
            .unwrap();
        let delivery = device.next().await;
        assert_eq!(delivery.command().payload, number.to_string());
        delivery.accept();
    }
}

#[tokio::test]
async fn commands_go_on_when_their_application_is_gone() {
    let gateway = Gateway::start().await;
    let mut device = Device::subscribe(&gateway).await;
    let (application, mut sender) = sender(&gateway).await;
    let sent = sender.send_batchable(one_way("1")).await.unwrap();
    let delivery = device.next().await;
    drop((sent, sender, application));
    // The gateway is still there for others, and the command for its device.
    let (_application, mut sender) = self::sender(&gateway).await;
    let (outcome, ()) = tokio::join!(send(&mut sender, one_way("2")), async {
        device.next().await.accept();
    });
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    assert_eq!(delivery.command().payload, "1");
    delivery.accept();
}
