//! Messages as JSON, for programs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use weir_amqp_engine::{Map as Properties, Message, Value};

use super::payload::{Payload, PayloadMembers};
use super::show;
use super::sources::Endpoint;

/// A message that arrived. What it does not have is left out.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Arrived<'a> {
    endpoint: &'static str,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<&'a str>,
    #[serde(flatten)]
    payload: PayloadMembers,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos: Option<i64>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttd: Option<i64>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    durable: bool,
    delivery_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<Json>,
    application_properties: Map<String, Json>,
    message_annotations: Map<String, Json>,
}

/// A message on one line.
pub(super) fn line(
    endpoint: Endpoint,
    tenant: &str,
    message: &Message,
) -> serde_json::Result<String> {
    let properties = &message.properties;
    let own = &message.application_properties;
    serde_json::to_string(&Arrived {
        endpoint: endpoint.name(),
        tenant,
        device: own.string("device_id"),
        creation_time: properties.creation_time.and_then(show::instant),
        content_type: properties.content_type.as_deref(),
        content_encoding: properties.content_encoding.as_deref(),
        payload: Payload::of(&message.body).members(),
        qos: own.integer("qos"),
        ttd: own.integer("ttd"),
        ttl: message.header.ttl,
        durable: message.header.durable,
        delivery_count: message.header.delivery_count,
        to: properties.to.as_deref(),
        subject: properties.subject.as_deref(),
        reply_to: properties.reply_to.as_deref(),
        message_id: properties.message_id.as_ref().map(value),
        correlation_id: properties.correlation_id.as_ref().map(value),
        application_properties: map(own),
        message_annotations: map(&message.message_annotations),
    })
}

fn map(properties: &Properties) -> Map<String, Json> {
    let members = properties.0.iter();
    members
        .map(|(name, member)| (name.clone(), value(member)))
        .collect()
}

/// An AMQP value as the JSON that comes next to it. Nested no deeper than the engine reads.
pub(super) fn value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Described(described) => self::value(&described.value),
        Value::Bool(value) => (*value).into(),
        Value::Ubyte(number) => (*number).into(),
        Value::Ushort(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        Value::Ulong(number) => (*number).into(),
        Value::Byte(number) => (*number).into(),
        Value::Short(number) => (*number).into(),
        Value::Int(number) => (*number).into(),
        Value::Long(number) => (*number).into(),
        Value::Float(number) => number.0.into(),
        Value::Double(number) => number.0.into(),
        Value::Char(letter) => letter.to_string().into(),
        Value::Timestamp(time) => show::instant(time.milliseconds()).into(),
        Value::Uuid(id) => format!("{:032x}", u128::from_be_bytes(*id.as_inner())).into(),
        Value::Binary(bytes) => BASE64.encode(bytes).into(),
        Value::String(text) => text.as_str().into(),
        Value::Symbol(text) => text.as_str().into(),
        Value::List(values) => values.iter().map(self::value).collect(),
        Value::Array(values) => values.iter().map(self::value).collect(),
        Value::Map(members) => {
            let members = members
                .iter()
                .map(|(name, member)| (key(name), self::value(member)));
            Json::Object(members.collect())
        }
        // No number of JSON.
        Value::Decimal32(_) | Value::Decimal64(_) | Value::Decimal128(_) => Json::Null,
    }
}

fn key(name: &Value) -> String {
    match value(name) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;
    use weir_amqp_engine::{Body, Header, MessageProperties};

    use super::*;

    #[test]
    fn an_object_has_all_that_the_message_says() {
        let text = |text: &str| Value::String(text.to_owned());
        let message = Message {
            header: Header {
                durable: true,
                ttl: Some(5000),
                delivery_count: 2,
            },
            message_annotations: Properties(vec![("x-opt-retain".to_owned(), Value::Bool(true))]),
            properties: MessageProperties {
                message_id: Some(text("m-1")),
                correlation_id: Some(Value::Ulong(7)),
                to: Some("event/acme".to_owned()),
                content_type: Some("text/plain".to_owned()),
                creation_time: Some(1_772_326_798_987),
                ..MessageProperties::default()
            },
            application_properties: Properties(vec![
                ("device_id".to_owned(), text("4711")),
                ("qos".to_owned(), Value::Int(1)),
                ("ttd".to_owned(), Value::Int(-1)),
                ("x".to_owned(), Value::List(vec![Value::Double(1.5.into())])),
            ]),
            body: Body::Data(Bytes::from_static(b"21.5")),
            ..Message::default()
        };
        let line = line(Endpoint::Event, "acme", &message).unwrap();
        assert!(!line.contains('\n'));
        let object: Json = serde_json::from_str(&line).unwrap();
        let expected = json!({
            "endpoint": "event", "tenant": "acme", "device": "4711",
            "creation-time": "2026-03-01T00:59:58.987Z", "content-type": "text/plain",
            "payload": "21.5", "qos": 1, "ttd": -1, "ttl": 5000, "durable": true,
            "delivery-count": 2, "to": "event/acme", "message-id": "m-1", "correlation-id": 7,
            "application-properties": {"device_id": "4711", "qos": 1, "ttd": -1, "x": [1.5]},
            "message-annotations": {"x-opt-retain": true},
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn what_a_message_lacks_is_left_out() {
        let line = line(Endpoint::Telemetry, "acme", &Message::default()).unwrap();
        let expected = json!({
            "endpoint": "telemetry", "tenant": "acme", "durable": false, "delivery-count": 0,
            "application-properties": {}, "message-annotations": {},
        });
        assert_eq!(serde_json::from_str::<Json>(&line).unwrap(), expected);
    }
}
