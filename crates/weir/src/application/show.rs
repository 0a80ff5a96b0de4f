//! Messages as lines, for people.

use std::io::{self, IsTerminal as _};

use time::OffsetDateTime;
use time::macros::format_description;
use weir_amqp_engine::Message;

use super::payload::Payload;
use super::sources::Endpoint;
use crate::person::printable;

const EMPTY: &str = "application/vnd.eclipse-hono-empty-notification";
const PROVISIONED: &str = "application/vnd.eclipse-hono-device-provisioning-notification";

/// Whether lines are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Coloured,
}

impl Style {
    /// For standard output. Who does not want colours sets `NO_COLOR`.
    pub(super) fn of_stdout() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match io::stdout().is_terminal() && !is_unwanted {
            true => Self::Coloured,
            false => Self::Plain,
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// A message on one line: when, where, who, what.
pub(super) fn line(endpoint: Endpoint, message: &Message, style: Style) -> String {
    let properties = &message.properties;
    let time = properties.creation_time.and_then(instant);
    let time = time.unwrap_or_else(|| "–".to_owned());
    let device = message.application_properties.string("device_id");
    let device = printable(device.unwrap_or("–"));
    let colour = match endpoint {
        Endpoint::Telemetry => "36",
        Endpoint::Event => "33",
        Endpoint::DeadLetters => "31",
    };
    let mut columns = vec![
        style.paint("2", &time),
        style.paint(colour, endpoint.name()),
        style.paint("1", &device),
    ];
    columns.extend(content(message));
    let extras = extras(endpoint, message);
    if !extras.is_empty() {
        columns.push(style.paint("2", &format!("({})", extras.join(", "))));
    }
    columns.join("  ")
}

/// Content type and payload, or what a message without payload means.
fn content(message: &Message) -> Vec<String> {
    let kind = message.properties.content_type.as_deref();
    let payload = Payload::of(&message.body).line();
    match (kind, payload) {
        (Some(EMPTY), None) => {
            let words = reachable(message).unwrap_or_else(|| "says that it is there".to_owned());
            vec![format!("device {words}")]
        }
        (Some(PROVISIONED), None) => {
            let gateway = message.application_properties.string("gateway_id");
            let through = gateway.map(|gateway| format!(" through {}", printable(gateway)));
            let through = through.unwrap_or_default();
            vec![format!("device was registered automatically{through}")]
        }
        (kind, payload) => vec![
            printable(kind.unwrap_or("–")),
            payload.unwrap_or_else(|| "no payload".to_owned()),
        ],
    }
}

/// Until when the device can be sent commands, if the message says so.
fn reachable(message: &Message) -> Option<String> {
    let seconds = message.application_properties.integer("ttd")?;
    let created = message.properties.creation_time;
    Some(match seconds {
        0 => "is not reachable any more".to_owned(),
        ..0 => "is reachable until it says otherwise".to_owned(),
        _ => {
            let millis = seconds.saturating_mul(1000);
            let until = created.and_then(|created| instant(created.saturating_add(millis)));
            match until {
                Some(until) => format!("is reachable until {until}"),
                None => format!("is reachable for {seconds} s"),
            }
        }
    })
}

/// What is not as usual.
fn extras(endpoint: Endpoint, message: &Message) -> Vec<String> {
    let mut extras = Vec::new();
    let properties = &message.application_properties;
    // Events always have it.
    if endpoint == Endpoint::Telemetry && properties.integer("qos") == Some(1) {
        extras.push("QoS 1".to_owned());
    }
    if message.properties.content_type.as_deref() != Some(EMPTY) {
        extras.extend(reachable(message));
    }
    if message.header.delivery_count > 0 {
        extras.push(format!(
            "attempt {}",
            message.header.delivery_count.saturating_add(1)
        ));
    }
    extras
}

/// Milliseconds since 1970, as RFC 3339 writes it; nothing for what no calendar has.
pub(super) fn instant(millis: i64) -> Option<String> {
    let nanos = i128::from(millis) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    time.format(form).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use weir_amqp_engine::{Body, Map, MessageProperties, Value};

    use super::*;

    fn message(kind: Option<&str>, payload: &'static str, more: &[(&str, i32)]) -> Message {
        let device = ("device_id".to_owned(), Value::String("4711".to_owned()));
        let more = more.iter();
        let more = more.map(|(name, number)| ((*name).to_owned(), Value::Int(*number)));
        Message {
            properties: MessageProperties {
                content_type: kind.map(str::to_owned),
                creation_time: Some(1_772_326_798_987),
                ..MessageProperties::default()
            },
            application_properties: Map([device].into_iter().chain(more).collect()),
            body: Body::Data(Bytes::from_static(payload.as_bytes())),
            ..Message::default()
        }
    }

    #[test]
    fn a_line_says_when_where_who_and_what() {
        let text = Some("text/plain");
        let rows = [
            (
                Endpoint::Telemetry,
                message(text, "21", &[("qos", 0)]),
                "telemetry  4711  text/plain  21",
            ),
            (
                Endpoint::Telemetry,
                message(text, "21", &[("qos", 1), ("ttd", -1)]),
                "telemetry  4711  text/plain  21  (QoS 1, is reachable until it says otherwise)",
            ),
            (
                Endpoint::Event,
                message(None, "21", &[("qos", 1)]),
                "event  4711  –  21",
            ),
            (
                Endpoint::Event,
                message(text, "", &[]),
                "event  4711  text/plain  no payload",
            ),
            (
                Endpoint::Event,
                message(Some(EMPTY), "", &[("qos", 1), ("ttd", 30)]),
                "event  4711  device is reachable until 2026-03-01T01:00:28.987Z",
            ),
            (
                Endpoint::Event,
                message(Some(EMPTY), "", &[("ttd", 0)]),
                "event  4711  device is not reachable any more",
            ),
            (
                Endpoint::Event,
                message(Some(PROVISIONED), "", &[]),
                "event  4711  device was registered automatically",
            ),
            (
                Endpoint::DeadLetters,
                message(Some("a\x1bb"), "21", &[]),
                "dead-letter  4711  a\u{fffd}b  21",
            ),
        ];
        for (endpoint, message, expected) in rows {
            let expected = format!("2026-03-01T00:59:58.987Z  {expected}");
            assert_eq!(line(endpoint, &message, Style::Plain), expected);
        }
    }

    #[test]
    fn what_is_missing_is_a_dash_and_repetition_is_told() {
        let mut message = Message::default();
        message.header.delivery_count = 2;
        let shown = line(Endpoint::Event, &message, Style::Plain);
        assert_eq!(shown, "–  event  –  –  no payload  (attempt 3)");
    }

    #[test]
    fn colours_change_nothing_else() {
        let message = message(Some("text/plain"), "21", &[("qos", 1)]);
        let coloured = line(Endpoint::Telemetry, &message, Style::Coloured);
        assert!(coloured.contains('\x1b'));
        let mut plain = String::new();
        for part in coloured.split('\x1b') {
            let after = part.strip_prefix('[').and_then(|part| part.split_once('m'));
            plain.push_str(after.map_or(part, |(_, after)| after));
        }
        assert_eq!(plain, line(Endpoint::Telemetry, &message, Style::Plain));
    }

    #[test]
    fn times_that_no_calendar_has_are_not_shown() {
        assert_eq!(instant(0).as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(instant(i64::MAX), None);
    }
}
