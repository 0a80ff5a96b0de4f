//! AWS IoT's metrics of its message broker, as lines in CloudWatch's embedded metric format.
//!
//! * `table` says what each of AWS IoT's names is here. `docs/aws-iot-metrics.md` is written from it
//!   ([`reference()`]).
//! * [`Counts`] are those metrics of one [`Protocol`]. AWS IoT's are sums over a period, so what goes into
//!   a line is the difference to what has been [`Written`].
//! * [`line()`] is a line.

mod line;
mod reference;
mod table;

use weir_metrics::{MessageType, Qos, Status, Tally};

pub use line::line;
pub use reference::reference;

use table::{Counted, ROWS, Row, Sums};

/// Dimension `Protocol`. AWS IoT has no others; MQTT over WebSockets is MQTT there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT, over TCP, TLS or WebSockets.
    Mqtt,
    /// HTTP.
    Http,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mqtt, Self::Http];

    /// The dimension's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "MQTT",
            Self::Http => "HTTP",
        }
    }

    /// The component that counts its messages.
    const fn component(self) -> &'static str {
        match self {
            Self::Mqtt => "hono-mqtt",
            Self::Http => "hono-http",
        }
    }
}

/// The metrics of one protocol, in the order of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; ROWS.len()]);

impl Counts {
    /// What was counted since the start.
    pub fn of(tally: &Tally, protocol: Protocol) -> Self {
        let mut sums = Sums::default();
        for messages in tally.messages() {
            if messages.component.name == protocol.component() {
                sums.add(messages);
            }
        }
        let counted = Counted {
            packets: &tally.mqtt,
            sums,
        };
        let value = |row: &Row| row.source(protocol).map_or(0, |it| it.value(&counted));
        Self(std::array::from_fn(|place| value(&ROWS[place])))
    }
}

/// What of one protocol's metrics is in lines already. At the start of the process, when everything is 0,
/// nothing is.
#[derive(Clone, Debug, Default)]
pub struct Written(Counts);

impl Written {
    /// What has been counted since.
    ///
    /// A difference between two counters may shrink for a moment, since they are not read at the same one.
    /// Nothing is written then, and that much less later, so that the sum over all lines is right.
    pub fn period(&self, counts: &Counts) -> Counts {
        let Counts(before) = &self.0;
        let of = |place: usize| counts.0[place].saturating_sub(before[place]);
        Counts(std::array::from_fn(of))
    }

    /// That is in a line now.
    pub fn add(&mut self, period: &Counts) {
        for (sum, count) in self.0.0.iter_mut().zip(&period.0) {
            *sum += count;
        }
    }
}

impl Sums {
    fn add(&mut self, messages: &weir_metrics::Messages) {
        use weir_metrics::Direction::{OneWay, Request, Response};

        let received = |status| {
            let of = |kind| Qos::ALL.map(|qos| messages.uploads(kind, qos, status));
            let uploads: u64 = MessageType::ALL.into_iter().flat_map(of).sum();
            uploads + messages.commands(Response, status)
        };
        self.forwarded += received(Status::Forwarded);
        self.undeliverable += received(Status::Undeliverable);
        self.unprocessable += received(Status::Unprocessable);
        for direction in [OneWay, Request] {
            self.commands += messages.commands(direction, Status::Forwarded);
            self.refused_commands += messages.commands(direction, Status::Unprocessable);
        }
    }
}
