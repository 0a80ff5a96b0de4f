//! The body of a message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Serialize;
use weir_amqp_engine::{Body, Value};

use super::json;

/// Bytes that are shown of a payload that is no text.
const SHOWN: usize = 32;

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    None,
    Text(String),
    Bytes(Bytes),
}

/// The members of an object that has a payload: one of them, or none.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct PayloadMembers {
    /// What is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// Anything else, Base64.
    #[serde(rename = "payload-base64", skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

impl Payload {
    pub(super) fn of(body: &Body) -> Self {
        match body {
            Body::Empty | Body::Value(Value::Null) => Self::None,
            Body::Data(bytes) if bytes.is_empty() => Self::None,
            Body::Data(bytes) => Self::bytes(bytes.clone()),
            Body::Value(Value::Binary(bytes)) => Self::bytes(Bytes::copy_from_slice(bytes)),
            Body::Value(Value::String(text)) => Self::Text(text.clone()),
            Body::Value(value) => Self::Text(json::value(value).to_string()),
            Body::Sequence(values) => {
                let values: Vec<_> = values.iter().map(json::value).collect();
                Self::Text(serde_json::Value::Array(values).to_string())
            }
        }
    }

    fn bytes(bytes: Bytes) -> Self {
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(bytes),
        }
    }

    /// On one line, for people; `None` if there is none.
    pub(super) fn line(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Text(text) if is_printable(text) => Some(one_line(text)),
            Self::Text(text) => Some(hex(text.as_bytes())),
            Self::Bytes(bytes) => Some(hex(bytes)),
        }
    }

    /// For programs.
    pub(super) fn members(self) -> PayloadMembers {
        let (payload, base64) = match self {
            Self::None => (None, None),
            Self::Text(text) => (Some(text), None),
            Self::Bytes(bytes) => (None, Some(BASE64.encode(&bytes))),
        };
        PayloadMembers { payload, base64 }
    }
}

/// Whether a terminal shows it and obeys nothing in it.
fn is_printable(text: &str) -> bool {
    let shows = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(shows)
}

fn one_line(text: &str) -> String {
    let text = text.replace('\r', "\\r").replace('\n', "\\n");
    text.replace('\t', "\\t")
}

fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(SHOWN);
    let digits: String = shown.map(|byte| format!("{byte:02x}")).collect();
    let rest = if bytes.len() > SHOWN { "…" } else { "" };
    format!("0x{digits}{rest} ({} bytes)", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(bytes: &'static [u8]) -> Body {
        Body::Data(Bytes::from_static(bytes))
    }

    #[test]
    fn a_payload_is_shown_on_one_line_that_no_terminal_obeys() {
        let long: Vec<u8> = [0xff; 33].to_vec();
        let cut = format!("0x{}… (33 bytes)", "ff".repeat(32));
        let rows = [
            (Body::Empty, None),
            (data(b""), None),
            (data(b"{\"t\": 21.5}"), Some("{\"t\": 21.5}")),
            (data("größe".as_bytes()), Some("größe")),
            (data(b"a\r\n\tb"), Some("a\\r\\n\\tb")),
            (data(b"\x1b[2J"), Some("0x1b5b324a (4 bytes)")),
            (data(b"\x00\xff"), Some("0x00ff (2 bytes)")),
            (Body::Data(long.into()), Some(&*cut)),
            (Body::Value(Value::String("a".to_owned())), Some("a")),
            (Body::Value(Value::Int(5)), Some("5")),
            (Body::Sequence(vec![Value::Bool(true)]), Some("[true]")),
        ];
        for (body, expected) in rows {
            assert_eq!(Payload::of(&body).line().as_deref(), expected, "{body:?}");
        }
    }

    #[test]
    fn programs_get_text_as_it_is_and_the_rest_as_base64() {
        let rows = [
            (Body::Empty, "{}"),
            (data(b"\x1b\n"), r#"{"payload":"\u001b\n"}"#),
            (data(b"\x00\xff"), r#"{"payload-base64":"AP8="}"#),
        ];
        for (body, expected) in rows {
            let members = Payload::of(&body).members();
            assert_eq!(serde_json::to_string(&members).unwrap(), expected);
        }
    }
}
