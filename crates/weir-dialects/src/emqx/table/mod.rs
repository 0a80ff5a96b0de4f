//! What each of EMQX's broker metrics is here: `gauges`, `packets` of MQTT, and what is left, `messages`
//! and events of clients.

mod gauges;
mod messages;
mod packets;

use weir_metrics::MqttCount as M;

use super::numbers::Numbers;

/// What a family's series are declared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Kind {
    /// As it stands in the line `# TYPE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// One of EMQX's broker metrics: `emqx_NAME` on the node's page, `deployment_emqx_metrics_NAME` on the
/// cloud's.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) value: Value,
    /// What is counted; of a zero, why there is none.
    pub(super) meaning: &'static str,
}

pub(super) enum Value {
    /// Packets of these kinds.
    Packets(&'static [M]),
    /// A sum.
    Of(fn(&Numbers) -> u64),
    /// There is no such thing here.
    Zero,
    /// There is one node, and it runs.
    One,
}

impl Row {
    pub(super) fn value(&self, numbers: &Numbers) -> f64 {
        let value = match self.value {
            Value::Packets(kinds) => numbers.packets(kinds),
            Value::Of(value) => value(numbers),
            Value::Zero => 0,
            Value::One => 1,
        };
        value as f64
    }
}

pub(super) const fn row(
    name: &'static str,
    kind: Kind,
    value: Value,
    meaning: &'static str,
) -> Row {
    Row {
        name,
        kind,
        value,
        meaning,
    }
}

pub(super) const fn packets(name: &'static str, kinds: &'static [M], meaning: &'static str) -> Row {
    row(name, Kind::Counter, Value::Packets(kinds), meaning)
}

pub(super) const fn count(
    name: &'static str,
    of: fn(&Numbers) -> u64,
    meaning: &'static str,
) -> Row {
    row(name, Kind::Counter, Value::Of(of), meaning)
}

pub(super) const fn gauge(
    name: &'static str,
    of: fn(&Numbers) -> u64,
    meaning: &'static str,
) -> Row {
    row(name, Kind::Gauge, Value::Of(of), meaning)
}

pub(super) const fn never(name: &'static str, why: &'static str) -> Row {
    row(name, Kind::Counter, Value::Zero, why)
}

pub(super) const fn none(name: &'static str, why: &'static str) -> Row {
    row(name, Kind::Gauge, Value::Zero, why)
}

pub(super) const NO_DELAY: &str = "No message is delayed";
pub(super) const NO_RETAINED: &str = "No message is retained";
pub(super) const NO_QOS2: &str = "There is no QoS 2";
pub(super) const NO_DURABLE: &str = "No session outlives its connection";
pub(super) const NO_RULES: &str =
    "There are no lists of rules: who may do what follows from the registry";
pub(super) const NO_QUOTA: &str = "Contained in `packets_publish_error`, which is not split";

/// All rows, in the order in which they are written.
pub(super) fn table() -> impl Iterator<Item = &'static Row> + Clone {
    gauges::ROWS
        .iter()
        .chain(packets::ROWS)
        .chain(messages::ROWS)
}
