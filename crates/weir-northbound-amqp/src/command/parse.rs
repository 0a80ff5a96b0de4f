//! From a message to a command.

use bytes::Bytes;
use bytestring::ByteString;
use weir_amqp_engine::{Body, Error, Map, Message, MessageProperties, Outcome, Value, condition};
use weir_core::command::{Command, MAX_NAME, Messaging, ReplyTo};
use weir_core::{TenantId, TraceContext};

use crate::address::reply_address;

/// The condition under which a client's mistakes are rejected (northbound contract §1.3).
pub(super) const BAD_REQUEST: &str = "hono:bad-request";

/// Why a message is not a command. The texts are the contract's (northbound contract §1.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("missing or invalid command target address")]
    NoTarget,
    #[error("the link is for commands to another tenant's devices")]
    ForeignTenant,
    #[error("invalid command target address")]
    NoDevice,
    #[error("malformed command message")]
    Malformed,
}

impl Fault {
    /// What the application is told.
    pub(super) fn outcome(self) -> Outcome {
        let condition = match self {
            Self::ForeignTenant => condition::UNAUTHORIZED_ACCESS,
            Self::NoTarget | Self::NoDevice | Self::Malformed => BAD_REQUEST,
        };
        rejected(Error::new(condition, self.to_string()))
    }
}

pub(super) fn rejected(error: Error) -> Outcome {
    Outcome::Rejected {
        condition: Some(error.condition.into_owned()),
        description: error.description,
    }
}

/// Reads a message that came on the link of `tenant`.
pub(super) fn parse(tenant: &TenantId, message: Bytes) -> Result<Command, Fault> {
    let message = Message::decode(message).map_err(|_| Fault::Malformed)?;
    let Message {
        properties,
        application_properties,
        message_annotations,
        body,
        ..
    } = message;
    let device = device(tenant, properties.to.as_deref())?;
    let name = properties
        .subject
        .as_deref()
        .filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
    let name = name.ok_or(Fault::Malformed)?;
    Ok(Command {
        tenant: tenant.clone(),
        device: device.into(),
        name: name.into(),
        reply_to: reply_to(tenant, &properties)?,
        content_type: properties.content_type.map(ByteString::from),
        payload: payload(body)?,
        trace: trace(&message_annotations, &application_properties),
    })
}

/// The device of `command/{tenant}/{device}`.
fn device<'a>(tenant: &TenantId, to: Option<&'a str>) -> Result<&'a str, Fault> {
    let rest = to.and_then(|to| to.strip_prefix("command/"));
    let rest = rest.ok_or(Fault::NoTarget)?;
    let (named, device) = rest.split_once('/').unwrap_or((rest, ""));
    if named.is_empty() {
        return Err(Fault::NoTarget);
    }
    if named != tenant.as_str() {
        return Err(Fault::ForeignTenant);
    }
    if device.is_empty() || device.contains('/') {
        return Err(Fault::NoDevice);
    }
    Ok(device)
}

/// Where the response goes; nowhere for a one-way command.
fn reply_to(tenant: &TenantId, properties: &MessageProperties) -> Result<Option<ReplyTo>, Fault> {
    let id = properties.correlation_id.as_ref();
    let id = match id.or(properties.message_id.as_ref()) {
        Some(Value::String(id)) => Some(id),
        Some(_) => return Err(Fault::Malformed),
        None => None,
    };
    let Some(address) = properties.reply_to.as_deref() else {
        return Ok(None);
    };
    let (named, reply_id) = reply_address(address).ok_or(Fault::Malformed)?;
    let reply_to = ReplyTo {
        messaging: Messaging::Amqp,
        correlation_id: id.ok_or(Fault::Malformed)?.as_str().into(),
        reply_id: reply_id.into(),
    };
    let is_good = named == *tenant && reply_to.fits();
    is_good.then_some(Some(reply_to)).ok_or(Fault::Malformed)
}

fn payload(body: Body) -> Result<Bytes, Fault> {
    match body {
        // A client that has nothing to say may say so with a null.
        Body::Empty | Body::Value(Value::Null) => Ok(Bytes::new()),
        Body::Data(data) => Ok(data),
        Body::Value(Value::Binary(binary)) => Ok(binary.into_vec().into()),
        Body::Value(Value::String(text)) => Ok(text.into_bytes().into()),
        Body::Value(_) | Body::Sequence(_) => Err(Fault::Malformed),
    }
}

/// The trace that the application has begun, in either of Hono's two forms.
fn trace(annotations: &Map, properties: &Map) -> Option<TraceContext> {
    let legacy = match annotations.get("x-opt-trace-context") {
        Some(Value::Map(map)) => Some(map),
        _ => None,
    };
    let text = |key: &str| {
        let value = match legacy {
            Some(map) => map.get(&Value::String(key.to_owned())),
            None => properties.get(key),
        };
        match value {
            Some(Value::String(text)) => Some(text.as_str()),
            _ => None,
        }
    };
    let context = TraceContext::parse(text("traceparent")?)?;
    Some(context.with_state(text("tracestate").map(ByteString::from)))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use weir_amqp_engine::{MapWriter, MessageWriter, Properties};
    use weir_core::command::MAX_CORRELATION_ID;

    use super::*;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn good() -> Properties<'static> {
        Properties {
            to: Some("command/acme/4711"),
            subject: Some("blink"),
            ..Properties::default()
        }
    }

    fn request() -> Properties<'static> {
        Properties {
            correlation_id: Some("c-1"),
            message_id: Some("m-1"),
            reply_to: Some("command_response/acme/app/1"),
            ..good()
        }
    }

    fn read(fill: impl FnOnce(&mut MessageWriter<'_>)) -> Result<Command, Fault> {
        let mut out = BytesMut::new();
        fill(&mut MessageWriter::new(&mut out));
        parse(&"acme".into(), out.freeze())
    }

    fn with(properties: &Properties<'_>) -> Result<Command, Fault> {
        read(|writer| {
            writer.properties(properties).data(b"1");
        })
    }

    #[test]
    fn each_mistake_has_its_condition_and_text() {
        let to = |to| Properties { to, ..good() };
        let reply_to = |reply_to| Properties {
            reply_to: Some(reply_to),
            ..request()
        };
        let long = "c".repeat(MAX_CORRELATION_ID + 1);
        let no_target = (BAD_REQUEST, "missing or invalid command target address");
        let foreign = (
            "amqp:unauthorized-access",
            "the link is for commands to another tenant's devices",
        );
        let no_device = (BAD_REQUEST, "invalid command target address");
        let malformed = (BAD_REQUEST, "malformed command message");
        let rows = [
            (to(None), no_target),
            (to(Some("")), no_target),
            (to(Some("nonsense")), no_target),
            (to(Some("telemetry/acme/4711")), no_target),
            (to(Some("command")), no_target),
            (to(Some("command/")), no_target),
            (to(Some("command//4711")), no_target),
            (to(Some("command/other/4711")), foreign),
            (to(Some("command/other")), foreign),
            (to(Some("command/acme")), no_device),
            (to(Some("command/acme/")), no_device),
            (to(Some("command/acme/4711/led")), no_device),
            (
                Properties {
                    subject: None,
                    ..good()
                },
                malformed,
            ),
            (
                Properties {
                    subject: Some(""),
                    ..good()
                },
                malformed,
            ),
            (
                Properties {
                    correlation_id: None,
                    message_id: None,
                    ..request()
                },
                malformed,
            ),
            (
                Properties {
                    correlation_id: Some(&long),
                    ..request()
                },
                malformed,
            ),
            (reply_to(""), malformed),
            (reply_to("command_response/acme"), malformed),
            (reply_to("command_response/acme/"), malformed),
            (reply_to("command_response/other/app"), malformed),
            (reply_to("replies/acme/app"), malformed),
        ];
        for (properties, (condition, text)) in rows {
            let fault = with(&properties).unwrap_err();
            let expected = Outcome::Rejected {
                condition: Some(condition.to_owned()),
                description: Some(text.to_owned()),
            };
            assert_eq!(fault.outcome(), expected, "{properties:?}");
        }
    }

    #[test]
    fn ids_that_are_not_strings_are_malformed_and_so_is_what_is_no_message() {
        // Properties with a message id of 7, a ulong.
        let id = b"\x00\x53\x73\xc0\x2a\x04\x53\x07\x40\xa1\x11command/acme/4711\xa1\x05blink";
        let mut message = id.to_vec();
        let size = message.len() - 5;
        message[4] = size as u8;
        let tenant = TenantId::from("acme");
        let parsed = parse(&tenant, message.clone().into());
        assert_eq!(parsed.unwrap_err(), Fault::Malformed);
        // A null in its place.
        message.splice(6..8, [0x40]);
        message[4] -= 1;
        assert_eq!(&*parse(&tenant, message.into()).unwrap().name, "blink");
        for garbage in [&b""[..], b"garbage"] {
            let parsed = parse(&tenant, Bytes::copy_from_slice(garbage));
            assert!(parsed.is_err());
        }
    }

    #[test]
    fn a_request_says_where_its_response_goes() {
        let command = with(&request()).unwrap();
        assert_eq!(
            (command.tenant.as_str(), command.device.as_str()),
            ("acme", "4711")
        );
        let expected = |id: &str| ReplyTo {
            messaging: Messaging::Amqp,
            correlation_id: id.into(),
            reply_id: "app/1".into(),
        };
        assert_eq!(command.reply_to, Some(expected("c-1")));
        let by_message_id = with(&Properties {
            correlation_id: None,
            ..request()
        });
        assert_eq!(by_message_id.unwrap().reply_to, Some(expected("m-1")));
        let one_way = with(&Properties {
            reply_to: None,
            content_type: Some("text/plain"),
            ..request()
        });
        let one_way = one_way.unwrap();
        assert_eq!(one_way.reply_to, None);
        assert_eq!(one_way.content_type.as_deref(), Some("text/plain"));
    }

    #[test]
    fn a_body_is_nothing_data_a_binary_or_a_string() {
        let body = |value: Option<Value>| {
            read(|writer| {
                writer.properties(&good());
                if let Some(value) = &value {
                    writer.value(value);
                }
            })
            .map(|command| command.payload)
        };
        assert_eq!(with(&good()).unwrap().payload, "1");
        assert_eq!(body(None), Ok(Bytes::new()));
        assert_eq!(body(Some(Value::Null)), Ok(Bytes::new()));
        assert_eq!(body(Some(Value::String("ü".into()))), Ok("ü".into()));
        let binary = Value::Binary(vec![0, 255].into());
        assert_eq!(body(Some(binary)), Ok(Bytes::from_static(&[0, 255])));
        for other in [Value::Int(1), Value::Bool(true), Value::List(Vec::new())] {
            assert_eq!(body(Some(other)), Err(Fault::Malformed));
        }
    }

    #[test]
    fn a_trace_goes_on_in_either_form() {
        let fill = |map: &mut MapWriter<'_>| {
            map.string("traceparent", TRACEPARENT)
                .string("tracestate", "a=b");
        };
        let legacy = read(|writer| {
            writer
                .annotations(|map| {
                    map.map("x-opt-trace-context", fill);
                })
                .properties(&good());
        });
        let plain = read(|writer| {
            writer.properties(&good()).application_properties(fill);
        });
        for command in [legacy, plain] {
            let trace = command.unwrap().trace.unwrap();
            assert_eq!(trace.to_string(), TRACEPARENT);
            assert_eq!(trace.tracestate(), Some("a=b"));
        }
        assert_eq!(with(&good()).unwrap().trace, None);
    }
}
