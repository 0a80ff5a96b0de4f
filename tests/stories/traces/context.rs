//! A message's trace, from its device to its application.

use std::convert::Infallible;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rumqttc::v5;
use rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use super::collector::{Collector, Told};
use super::{PARENT, start, telemetry, told_of, trace};
use crate::kit::{Accepted, Answer, Application, Device, Gateway, MqttDevice, basic, story};

/// How a device says which trace a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Headers,
    PropertyBag,
    UserProperties(&'static str),
}

/// A device with all its connections, and its application.
struct Both<'a> {
    gateway: &'a Gateway,
    device: &'a Device,
    v3: MqttDevice,
    v5: (v5::AsyncClient, Box<v5::EventLoop>),
    telemetry: Application,
    events: Application,
}

impl<'a> Both<'a> {
    async fn of(gateway: &'a Gateway, device: &'a Device) -> Self {
        let events = format!("event/{}", device.tenant);
        let MqttDevice::V5(client, packets) = MqttDevice::v5(gateway, device).await.unwrap() else {
            panic!("not version 5");
        };
        Self {
            gateway,
            device,
            v3: MqttDevice::v3(gateway, device).await.unwrap(),
            v5: (client, packets),
            telemetry: telemetry(gateway, device).await,
            events: Application::consume(gateway, &events).await,
        }
    }

    /// Has a message sent that belongs to a trace of two vendors, and returns it as it comes.
    async fn send(&mut self, way: Way, parent: &str) -> Accepted {
        match way {
            Way::Headers => {
                let url = self.gateway.http("/telemetry");
                let request = basic(reqwest::Client::new().post(url), self.device)
                    .header("traceparent", parent)
                    .header("tracestate", "a=1")
                    .header("tracestate", "b=2")
                    .header("QoS-Level", "1")
                    .body("x")
                    .send();
                let (answer, message) = tokio::join!(request, self.telemetry.accept_next());
                assert_eq!(answer.unwrap().status(), 202);
                message
            }
            Way::PropertyBag => {
                let topic = format!("telemetry/?traceparent={parent}&tracestate=a%3D1%2Cb%3D2");
                let sent = self.v3.publish(&topic, "x");
                let (answer, message) = tokio::join!(sent, self.telemetry.accept_next());
                assert_eq!(answer, Answer::Acknowledged { success: true });
                message
            }
            Way::UserProperties(endpoint) => {
                let said = [("traceparent", parent), ("tracestate", "a=1,b=2")];
                let said = said.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let properties = PublishProperties {
                    user_properties: said.to_vec(),
                    ..PublishProperties::default()
                };
                let (client, packets) = &mut self.v5;
                let sent =
                    client.publish_with_properties(endpoint, AtLeastOnce, false, "x", properties);
                sent.await.unwrap();
                let application = match endpoint {
                    "event" => &mut self.events,
                    _ => &mut self.telemetry,
                };
                tokio::select! {
                    message = application.accept_next() => message,
                    never = poll(packets) => match never {},
                }
            }
        }
    }
}

async fn poll(packets: &mut v5::EventLoop) -> Infallible {
    loop {
        packets.poll().await.unwrap();
    }
}

#[test]
fn a_message_is_told_of_and_its_application_hears_of_the_span_that_sent_it() {
    story(async {
        let mut collector = Collector::start().await;
        let gateway = start(&collector, &[]).await;
        let device = gateway.tenant_and_device().await;
        let mut both = Both::of(&gateway, &device).await;
        for (way, endpoint, adapter) in [
            (Way::Headers, "telemetry", "hono-http"),
            (Way::PropertyBag, "telemetry", "hono-mqtt"),
            (Way::UserProperties("telemetry"), "telemetry", "hono-mqtt"),
            (Way::UserProperties("event"), "event", "hono-mqtt"),
        ] {
            let (trace, parent) = trace(true);
            let message = both.send(way, &parent).await;
            let ([version, heard, span, flags], state) = told_of(&message);
            assert_eq!((&*version, &*flags), ("00", "01"), "{way:?}");
            assert_eq!(heard, trace, "{way:?}");
            assert_eq!(state.as_deref(), Some("a=1,b=2"), "{way:?}");
            let upload = collector.of(&trace, &format!("upload {endpoint}")).await;
            let send = collector.of(&trace, &format!("send {endpoint}")).await;
            assert_eq!(
                (&*upload.parent, &send.parent),
                (PARENT, &upload.id),
                "{way:?}"
            );
            assert_eq!(send.id, span, "{way:?}");
            assert_eq!(upload.kind, SpanKind::Server as i32);
            assert_eq!(send.kind, SpanKind::Producer as i32);
            assert_eq!((&upload.error, send.error), (&None, None), "{way:?}");
            assert_eq!(upload.state, "a=1,b=2", "{way:?}");
            assert_says(&upload, &device, adapter);
        }
        // The two that connected began traces of their own.
        let connected = collector.span(|span| span.name == "connect").await;
        assert_eq!(connected.parent, "");
        assert_eq!(connected.says("device_id"), "sensor");
    });
}

fn assert_says(upload: &Told, device: &Device, adapter: &str) {
    for (name, expected) in [
        ("component", adapter),
        ("tenant_id", &*device.tenant),
        ("device_id", "sensor"),
        ("auth_id", "sensor"),
        ("qos", "1"),
        ("accounting_size", "1"),
    ] {
        assert_eq!(upload.says(name), expected, "{name}");
    }
    let resource = &upload.resource;
    assert_eq!(resource["service.name"], "weir");
    assert_eq!(resource["service.namespace"], "org.eclipse.hono");
}
