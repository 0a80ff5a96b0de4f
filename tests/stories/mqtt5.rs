//! What devices of MQTT 5 can say and are told beyond MQTT 3.1.1.

use fe2o3_amqp::types::primitives::{Symbol, Value};
use rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, Packet, PubAck, PubAckReason, Publish, PublishProperties,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use crate::kit::{
    Application, Command, Commander, Device, Fate, Gateway, content_type, property, story, string,
    symbol_annotation, text,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A client that does nothing by itself.
struct Client {
    client: AsyncClient,
    events: EventLoop,
}

impl Client {
    /// Connects, and says what it was told.
    async fn connect(
        gateway: &Gateway,
        device: &Device,
        properties: ConnectProperties,
    ) -> (Self, ConnAck) {
        let address = gateway.address("mqtt");
        let host = address.ip().to_string();
        let mut options = MqttOptions::new(&*device.id, host, address.port());
        options.set_credentials(&*device.username, &*device.password);
        options.set_connect_properties(properties);
        let (client, events) = AsyncClient::new(options, 10);
        let mut client = Self { client, events };
        let Packet::ConnAck(told) = client.next().await else {
            panic!("no CONNACK");
        };
        (client, told)
    }

    async fn of(gateway: &Gateway, device: &Device) -> Self {
        let (client, _) = Self::connect(gateway, device, ConnectProperties::new()).await;
        client
    }

    /// The next packet that comes.
    async fn next(&mut self) -> Packet {
        loop {
            if let Event::Incoming(packet) = self.events.poll().await.unwrap() {
                return packet;
            }
        }
    }

    async fn publish(
        &mut self,
        topic: &str,
        payload: &'static str,
        properties: PublishProperties,
    ) -> PubAck {
        let publish =
            self.client
                .publish_with_properties(topic, AtLeastOnce, false, payload, properties);
        publish.await.unwrap();
        loop {
            if let Packet::PubAck(ack) = self.next().await {
                return ack;
            }
        }
    }

    async fn subscribe(&mut self, filter: &str) {
        self.client.subscribe(filter, AtLeastOnce).await.unwrap();
        while !matches!(self.next().await, Packet::SubAck(_)) {}
    }

    /// The next message, which is acknowledged.
    async fn message(&mut self) -> Publish {
        loop {
            if let Packet::Publish(message) = self.next().await {
                return message;
            }
        }
    }
}

fn users(all: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    all.iter().map(own).collect()
}

#[test]
fn user_properties_become_application_properties() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let mut client = Client::of(&gateway, &device).await;
        for endpoint in ["telemetry", "event"] {
            let address = format!("{endpoint}/{}", device.tenant);
            let mut application = Application::consume(&gateway, &address).await;
            let said = [
                ("line", "4"),
                ("größe", "✓"),
                // What the gateway says itself, and what says something to it.
                ("device_id", "forged"),
                ("orig_adapter", "forged"),
                ("traceparent", PARENT),
            ];
            // The second time a number stands for the topic.
            for topic in [endpoint, ""] {
                let properties = PublishProperties {
                    content_type: Some("text/plain".to_owned()),
                    topic_alias: Some(3),
                    user_properties: users(&said),
                    ..PublishProperties::default()
                };
                let (ack, message) = tokio::join!(
                    client.publish(topic, "warm", properties),
                    application.accept_next()
                );
                assert_eq!(ack.reason, PubAckReason::Success);
                assert_eq!(text(&message), "warm");
                assert_eq!(content_type(&message).as_deref(), Some("text/plain"));
                for (name, value) in [
                    ("line", string("4")),
                    ("größe", string("✓")),
                    ("device_id", string("sensor")),
                    ("orig_adapter", string("hono-mqtt")),
                    ("orig_address", string(endpoint)),
                    ("traceparent", None),
                ] {
                    assert_eq!(property(&message, name), value, "{name}");
                }
                let trace = symbol_annotation(&message, "x-opt-trace-context");
                let Some(Value::Map(trace)) = trace else {
                    panic!("{trace:?}");
                };
                let parent = trace.get(&Value::String("traceparent".to_owned()));
                assert_eq!(parent, Some(&Value::String(PARENT.to_owned())));
            }
        }
    });
}

/// Answers as any client does that knows requests and responses of MQTT 5, and nothing of Hono.
async fn respond(client: &mut Client, request: Publish, more: &[(&str, &str)]) -> PubAck {
    let asked = request.properties.unwrap();
    let topic = asked.response_topic.unwrap();
    let properties = PublishProperties {
        correlation_data: asked.correlation_data,
        content_type: asked.content_type,
        user_properties: users(more),
        ..PublishProperties::default()
    };
    client.publish(&topic, "done", properties).await
}

#[test]
fn a_client_that_knows_nothing_of_hono_answers_a_command() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let tenant = &device.tenant;
        let reply_to = format!("command_response/{tenant}/replies");
        let mut replies = Application::consume(&gateway, &reply_to).await;
        let mut commander = Commander::of(&gateway, tenant).await;
        let mut client = Client::of(&gateway, &device).await;
        for filter in [
            "command///req/#".to_owned(),
            "c///q/#".to_owned(),
            format!("command/{tenant}//req/#"),
            format!("c/{tenant}/sensor/q/#"),
        ] {
            client.subscribe(&filter).await;
            for (said, status) in [
                (&[][..], 200),
                (&[("hono-cmd-status", "404"), ("part", "lamp")], 404),
            ] {
                let mut command = Command::one_way(&device, "switch", "on");
                command.properties.content_type = Some(Symbol::from("text/x-switch"));
                let command = command.answered_at(&reply_to, "17");
                let (fate, request) = tokio::join!(commander.send(&command), client.message());
                assert_eq!(fate, Fate::Accepted, "{filter}");
                assert_eq!(&*request.payload, b"on");
                let answered = respond(&mut client, request, said);
                let (ack, response) = tokio::join!(answered, replies.accept_next());
                assert_eq!(ack.reason, PubAckReason::Success, "{filter}");
                assert_eq!(text(&response), "done");
                assert_eq!(content_type(&response).as_deref(), Some("text/x-switch"));
                assert_eq!(property(&response, "status"), Some(status.into()));
                assert_eq!(property(&response, "hono-cmd-status"), None);
                let part = said.iter().any(|(name, _)| *name == "part");
                let part = if part { string("lamp") } else { None };
                assert_eq!(property(&response, "part"), part);
                let id = response.properties.unwrap().correlation_id;
                assert_eq!(id, Some("17".to_owned().into()));
            }
            let command = Command::one_way(&device, "switch", "off");
            let (fate, one_way) = tokio::join!(commander.send(&command), client.message());
            assert_eq!(fate, Fate::Accepted, "{filter}");
            let said = one_way.properties.unwrap_or_default();
            assert_eq!((said.response_topic, said.correlation_data), (None, None));
        }
    });
}

#[test]
fn a_refusal_says_why_to_who_wants_to_know() {
    story(async {
        let gateway = Gateway::start().await;
        let device = gateway.tenant_and_device().await;
        let topic = "telemetry/?on-error=ignore";
        for (wanted, expected) in [
            (None, Some("no consumer available")),
            (Some(1), Some("no consumer available")),
            (Some(0), None),
        ] {
            let asked = ConnectProperties {
                request_problem_info: wanted,
                ..ConnectProperties::new()
            };
            let (mut client, _) = Client::connect(&gateway, &device, asked).await;
            let ack = client.publish(topic, "warm", PublishProperties::default());
            let ack = ack.await;
            assert_eq!(ack.reason, PubAckReason::UnspecifiedError);
            let said = ack.properties.and_then(|said| said.reason_string);
            assert_eq!(said.as_deref(), expected);
        }
    });
}

#[test]
fn a_keep_alive_may_be_set_for_all() {
    story(async {
        let settings = [("WEIR__MQTT__MAX_KEEP_ALIVE", "30")];
        let gateway = Gateway::start_with(&settings).await;
        let device = gateway.tenant_and_device().await;
        // The client asks for a minute unless told otherwise.
        let (_, told) = Client::connect(&gateway, &device, ConnectProperties::new()).await;
        assert_eq!(told.properties.unwrap().server_keep_alive, Some(30));
    });
}
