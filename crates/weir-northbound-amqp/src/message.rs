//! A message as applications get it (northbound contract §1.4 and §1.10).

use bytes::BytesMut;
use serde_json::Value;
use weir_amqp_engine::{MapWriter, MessageWriter, Properties};
use weir_core::command::Response;
use weir_core::{Downstream, Qos};

/// Appends `message` to `buffer`, section by section. `number` makes the message id unique within
/// its link.
pub(crate) fn encode(buffer: &mut BytesMut, message: &Downstream, number: u64) {
    if message.ttl.is_some() {
        MessageWriter::new(buffer).header(false, message.ttl);
    }
    encode_sections(buffer, message, number);
}

/// The same without the header, which for what is stored is another one each time.
pub(crate) fn encode_sections(buffer: &mut BytesMut, message: &Downstream, number: u64) {
    match &message.response {
        None => upload(buffer, message, number),
        Some(response) => answer(buffer, message, response, number),
    }
}

/// Telemetry and events (northbound contract §1.4).
fn upload(buffer: &mut BytesMut, message: &Downstream, number: u64) {
    let (tenant, device) = (message.tenant.as_str(), message.device.as_str());
    let mut to = String::with_capacity(64);
    to.push_str(message.endpoint.as_str());
    to.push('/');
    to.push_str(tenant);
    let address_length = to.len();
    to.push('/');
    to.push_str(device);
    let mut writer = MessageWriter::new(buffer);
    annotations(&mut writer, message, (&to, device));
    let properties = Properties {
        to: Some(&to[..address_length]),
        ..Properties::default()
    };
    put_properties(&mut writer, message, properties, number);
    writer.application_properties(|map| {
        map.string("device_id", device);
        map.int("qos", i32::from(message.qos == Qos::AtLeastOnce));
        if !message.adapter.is_empty() {
            map.string("orig_adapter", message.adapter);
        }
        if !message.origin_address.is_empty() {
            map.string("orig_address", &message.origin_address);
        }
        if let Some(ttd) = message.ttd {
            map.int("ttd", ttd);
        }
        described(map, message, |_| true);
    });
    put_body(&mut writer, message);
}

/// Responses to commands (northbound contract §1.10).
fn answer(buffer: &mut BytesMut, message: &Downstream, response: &Response, number: u64) {
    let (tenant, device) = (message.tenant.as_str(), message.device.as_str());
    let reply_to = &response.reply_to;
    let reply_id: &str = &reply_to.reply_id;
    let to = format!("{}/{tenant}/{reply_id}", message.endpoint.as_str());
    // Whoever reads addresses takes what follows the tenant for the device.
    let addressed = reply_id.split('/').next().unwrap_or_default();
    let mut writer = MessageWriter::new(buffer);
    annotations(&mut writer, message, (&to, addressed));
    let properties = Properties {
        to: Some(&to),
        correlation_id: Some(&reply_to.correlation_id),
        ..Properties::default()
    };
    put_properties(&mut writer, message, properties, number);
    writer.application_properties(|map| {
        map.string("device_id", device);
        map.string("tenant_id", tenant);
        map.int("status", response.status.into());
        let is_taken = |name: &str| matches!(name, "tenant_id" | "status");
        described(map, message, |name| !is_taken(name));
    });
    put_body(&mut writer, message);
}

#[inline]
fn annotations(
    writer: &mut MessageWriter<'_>,
    message: &Downstream,
    (resource, device): (&str, &str),
) {
    writer.annotations(|map| {
        map.string("device_id", device);
        map.string("tenant_id", message.tenant.as_str());
        map.string("resource", resource);
        if message.retain {
            map.boolean("x-opt-retain", true);
        }
        map.map("x-opt-trace-context", |trace| {
            trace.string("traceparent", &message.trace.traceparent());
            if let Some(tracestate) = message.trace.tracestate() {
                trace.string("tracestate", tracestate);
            }
        });
    });
}

#[inline]
fn put_properties(
    writer: &mut MessageWriter<'_>,
    message: &Downstream,
    properties: Properties<'_>,
    number: u64,
) {
    writer.properties(&Properties {
        message_id: Some(decimal(number, &mut [0; DECIMAL_DIGITS])),
        content_type: message.content_type.as_deref(),
        content_encoding: message.defaults.content_encoding.as_deref(),
        creation_time: Some(message.creation_time),
        ..properties
    });
}

#[inline]
fn put_body(writer: &mut MessageWriter<'_>, message: &Downstream) {
    if !message.payload.is_empty() {
        writer.data(&message.payload);
    }
}

/// What the device says of the message, and the defaults for what it does not say, as far as they are
/// wanted.
fn described(map: &mut MapWriter<'_>, message: &Downstream, is_wanted: impl Fn(&str) -> bool) {
    let said = &message.properties;
    for (name, value) in said.iter().filter(|(name, _)| is_wanted(name)) {
        map.string(name, value);
    }
    let is_said = |wanted: &str| said.iter().any(|(name, _)| **name == *wanted);
    let defaults = message.defaults.properties.iter();
    for (name, value) in defaults.filter(|(name, _)| is_wanted(name) && !is_said(name)) {
        property(map, name, value);
    }
}

/// A default as an application property. Application properties are simple values [AMQP 3.2.5], so
/// arrays and objects are carried as their JSON text.
fn property(map: &mut MapWriter<'_>, name: &str, value: &Value) {
    let integer = value.as_i64();
    if let Some(int) = integer.and_then(|long| i32::try_from(long).ok()) {
        map.int(name, int);
    } else if let Some(long) = integer {
        map.long(name, long);
    } else if let Some(double) = value.as_f64() {
        map.double(name, double);
    } else if let Some(flag) = value.as_bool() {
        map.boolean(name, flag);
    } else if let Some(text) = value.as_str() {
        map.string(name, text);
    } else if !value.is_null() {
        map.string(name, &value.to_string());
    }
}

/// Digits of the largest `u64`.
const DECIMAL_DIGITS: usize = 20;

/// Writes `number` into the end of `digits`.
fn decimal(mut number: u64, digits: &mut [u8; DECIMAL_DIGITS]) -> &str {
    let mut start = DECIMAL_DIGITS;
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[start..]).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use bytestring::ByteString;
    use serde_json::json;
    use weir_amqp_engine::{Body, Message, Value as Amqp};
    use weir_core::command::{Messaging, ReplyTo};
    use weir_core::{Defaults, Endpoint, TraceContext};

    use super::*;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    /// A message with everything in it.
    pub(crate) fn message(qos: Qos) -> Downstream {
        let defaults = json!({
            "importance": "high", "floor": 3, "serial": 5_000_000_000_i64, "ratio": 0.5,
            "spare": false, "tags": ["a"], "nothing": null, "content-encoding": "gzip",
        });
        let none = serde_json::Map::new();
        Downstream {
            tenant: "acme".into(),
            device: "4711".into(),
            endpoint: Endpoint::Telemetry,
            qos,
            adapter: "hono-mqtt",
            origin_address: ByteString::from_static("t/?x=1"),
            content_type: Some(ByteString::from_static("text/plain")),
            creation_time: 1_700_000_000_123,
            ttl: None,
            ttd: None,
            retain: false,
            properties: Vec::new(),
            response: None,
            trace: TraceContext::parse(TRACEPARENT).unwrap(),
            defaults: Arc::new(Defaults::merge(&none, defaults.as_object().unwrap())),
            payload: Bytes::from_static(b"hello"),
        }
    }

    fn decode(message: &Downstream) -> Message {
        let mut buffer = BytesMut::new();
        encode(&mut buffer, message, 42);
        Message::decode(buffer.freeze()).unwrap()
    }

    #[test]
    fn telemetry_has_every_field_of_the_contract() {
        let decoded = decode(&message(Qos::AtLeastOnce));
        assert!(!decoded.header.durable);
        assert_eq!(decoded.header.ttl, None);
        let properties = &decoded.properties;
        assert_eq!(properties.to.as_deref(), Some("telemetry/acme"));
        assert_eq!(properties.message_id, Some(Amqp::String("42".into())));
        assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
        assert_eq!(properties.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(properties.creation_time, Some(1_700_000_000_123));
        let annotation = |name| decoded.message_annotations.get(name).cloned();
        let string = |text: &str| Some(Amqp::String(text.into()));
        assert_eq!(annotation("device_id"), string("4711"));
        assert_eq!(annotation("tenant_id"), string("acme"));
        assert_eq!(annotation("resource"), string("telemetry/acme/4711"));
        assert_eq!(annotation("x-opt-retain"), None);
        let property = |name| decoded.application_properties.get(name).cloned();
        assert_eq!(property("device_id"), string("4711"));
        assert_eq!(property("qos"), Some(Amqp::Int(1)));
        assert_eq!(property("orig_adapter"), string("hono-mqtt"));
        assert_eq!(property("orig_address"), string("t/?x=1"));
        assert_eq!(property("ttd"), None);
        assert_eq!(decoded.body, Body::Data(Bytes::from_static(b"hello")));
    }

    #[test]
    fn defaults_keep_their_types() {
        let decoded = decode(&message(Qos::AtMostOnce));
        let rows = [
            ("importance", Some(Amqp::String("high".into()))),
            ("floor", Some(Amqp::Int(3))),
            ("serial", Some(Amqp::Long(5_000_000_000))),
            ("ratio", Some(Amqp::Double(0.5.into()))),
            ("spare", Some(Amqp::Bool(false))),
            ("tags", Some(Amqp::String("[\"a\"]".into()))),
            ("nothing", None),
            ("content-encoding", None),
        ];
        for (name, expected) in rows {
            assert_eq!(
                decoded.application_properties.get(name).cloned(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn what_the_device_says_of_a_message_goes_before_the_defaults() {
        let pair = |name, value| {
            (
                ByteString::from_static(name),
                ByteString::from_static(value),
            )
        };
        let properties = vec![pair("importance", "low"), pair("shift", "night")];
        let rows = [message(Qos::AtMostOnce), response("4711")];
        for plain in rows {
            let decoded = decode(&Downstream {
                properties: properties.clone(),
                ..plain
            });
            let property = |name| decoded.application_properties.get(name).cloned();
            assert_eq!(property("importance"), Some(Amqp::String("low".into())));
            assert_eq!(property("shift"), Some(Amqp::String("night".into())));
            assert_eq!(property("floor"), Some(Amqp::Int(3)));
        }
    }

    #[test]
    fn an_event_says_how_long_its_device_can_be_reached() {
        let event = Downstream {
            endpoint: Endpoint::Event,
            ttl: Some(30_000),
            ttd: Some(-1),
            retain: true,
            payload: Bytes::new(),
            ..message(Qos::AtLeastOnce)
        };
        let decoded = decode(&event);
        assert_eq!(decoded.properties.to.as_deref(), Some("event/acme"));
        assert_eq!(
            decoded.application_properties.get("ttd"),
            Some(&Amqp::Int(-1))
        );
        assert_eq!(
            decoded.message_annotations.get("x-opt-retain"),
            Some(&Amqp::Bool(true))
        );
        assert_eq!(decoded.body, Body::Empty);
    }

    /// A response with everything in it.
    pub(crate) fn response(reply_id: &'static str) -> Downstream {
        let reply_to = ReplyTo {
            messaging: Messaging::Amqp,
            correlation_id: ByteString::from_static("c-1"),
            reply_id: ByteString::from_static(reply_id),
        };
        Downstream {
            endpoint: Endpoint::CommandResponse,
            ttl: Some(5000),
            response: Some(Box::new(Response {
                reply_to,
                status: 204,
            })),
            ..message(Qos::AtLeastOnce)
        }
    }

    #[test]
    fn a_response_has_every_field_of_the_contract() {
        let decoded = decode(&response("4711/app/1"));
        assert!(!decoded.header.durable);
        assert_eq!(decoded.header.ttl, Some(5000));
        let properties = &decoded.properties;
        let string = |text: &str| Some(Amqp::String(text.into()));
        let address = "command_response/acme/4711/app/1";
        assert_eq!(properties.to.as_deref(), Some(address));
        assert_eq!(properties.correlation_id, string("c-1"));
        assert_eq!(properties.message_id, string("42"));
        assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
        assert_eq!(properties.creation_time, Some(1_700_000_000_123));
        let annotation = |name| decoded.message_annotations.get(name).cloned();
        assert_eq!(annotation("device_id"), string("4711"));
        assert_eq!(annotation("tenant_id"), string("acme"));
        assert_eq!(annotation("resource"), string(address));
        assert!(annotation("x-opt-trace-context").is_some());
        let property = |name| decoded.application_properties.get(name).cloned();
        assert_eq!(property("device_id"), string("4711"));
        assert_eq!(property("tenant_id"), string("acme"));
        assert_eq!(property("status"), Some(Amqp::Int(204)));
        assert_eq!(property("importance"), string("high"));
        for absent in ["qos", "orig_adapter", "orig_address", "ttd"] {
            assert_eq!(property(absent), None, "{absent}");
        }
        assert_eq!(decoded.body, Body::Data(Bytes::from_static(b"hello")));
    }

    #[test]
    fn the_trace_context_is_a_map_of_strings() {
        let decoded = decode(&message(Qos::AtMostOnce));
        let Some(Amqp::Map(trace)) = decoded.message_annotations.get("x-opt-trace-context") else {
            panic!("{:?}", decoded.message_annotations);
        };
        let traceparent = trace.get(&Amqp::String("traceparent".into()));
        assert_eq!(traceparent, Some(&Amqp::String(TRACEPARENT.into())));
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 12345, u64::MAX] {
            assert_eq!(
                decimal(number, &mut [0; DECIMAL_DIGITS]),
                number.to_string()
            );
        }
    }
}
