//! Sums over what Weir has counted.
//!
//! Packets of MQTT are counted as they come and go. All other messages are counted when their outcome is
//! known, so that is when they appear here.

use weir_metrics::{
    Direction, MessageType, Messages, Most, MqttCount, MqttCounts, Qos, Status, Tally,
};

/// The MQTT adapter's component.
const MQTT: &str = "hono-mqtt";

/// What became of messages of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    pub(super) forwarded: u64,
    pub(super) undeliverable: u64,
    pub(super) unprocessable: u64,
}

impl Outcomes {
    /// Those that were not the sender's fault: they were given to the back end.
    pub(super) fn published(self) -> u64 {
        self.forwarded + self.undeliverable
    }

    fn all(self) -> u64 {
        self.published() + self.unprocessable
    }
}

/// Messages of some devices.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) telemetry: Outcomes,
    pub(super) events: Outcomes,
    pub(super) responses: Outcomes,
    /// Uploads by QoS, without responses.
    uploads: [u64; 2],
    /// Those of QoS 1 that somebody has taken.
    acknowledged: u64,
    /// Commands that devices took.
    pub(super) commands: u64,
    /// Commands that they did not get.
    pub(super) undelivered: u64,
}

impl Sums {
    pub(super) fn add(&mut self, messages: &Messages) {
        for (kind, sums) in [
            (MessageType::Telemetry, &mut self.telemetry),
            (MessageType::Event, &mut self.events),
        ] {
            for (place, qos) in Qos::ALL.into_iter().enumerate() {
                let of = |status| messages.uploads(kind, qos, status);
                let here = outcomes(of);
                sums.forwarded += here.forwarded;
                sums.undeliverable += here.undeliverable;
                sums.unprocessable += here.unprocessable;
                self.uploads[place] += here.all();
                if qos == Qos::AtLeastOnce {
                    self.acknowledged += here.forwarded;
                }
            }
        }
        let here = outcomes(|status| messages.commands(Direction::Response, status));
        self.responses.forwarded += here.forwarded;
        self.responses.undeliverable += here.undeliverable;
        self.responses.unprocessable += here.unprocessable;
        for direction in [Direction::OneWay, Direction::Request] {
            self.commands += messages.commands(direction, Status::Forwarded);
            self.undelivered += messages.commands(direction, Status::Undeliverable);
        }
    }

    fn kinds(&self) -> [Outcomes; 3] {
        [self.telemetry, self.events, self.responses]
    }

    /// What came from devices, by QoS. Responses count as QoS 1: they are acknowledged like that.
    pub(super) fn received(&self) -> [u64; 2] {
        let [qos0, qos1] = self.uploads;
        [qos0, qos1 + self.responses.all()]
    }

    /// What was given to the back end, whatever it said.
    pub(super) fn published(&self) -> u64 {
        self.kinds().into_iter().map(Outcomes::published).sum()
    }

    /// What the back end took.
    pub(super) fn delivered(&self) -> u64 {
        self.kinds().into_iter().map(|all| all.forwarded).sum()
    }

    /// Those of it that it had to acknowledge.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged + self.responses.forwarded
    }

    /// What the back end did not take.
    pub(super) fn dropped(&self) -> u64 {
        self.kinds().into_iter().map(|all| all.undeliverable).sum()
    }
}

fn outcomes(of: impl Fn(Status) -> u64) -> Outcomes {
    Outcomes {
        forwarded: of(Status::Forwarded),
        undeliverable: of(Status::Undeliverable),
        unprocessable: of(Status::Unprocessable),
    }
}

/// The sums over everything.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) packets: MqttCounts,
    pub(super) connections: u64,
    pub(super) most: Most,
    /// All devices' messages.
    pub(super) all: Sums,
    /// Those that came and went by MQTT.
    mqtt: Sums,
    /// Those that did not.
    other: Sums,
}

impl Numbers {
    pub(super) fn of(tally: &Tally) -> Self {
        let (mut all, mut mqtt, mut other) = (Sums::default(), Sums::default(), Sums::default());
        for messages in tally.messages() {
            all.add(messages);
            match messages.component.name {
                MQTT => mqtt.add(messages),
                _ => other.add(messages),
            }
        }
        let authenticated: u64 = tally.rows.iter().map(|row| row.connections).sum();
        Self {
            packets: tally.mqtt.clone(),
            connections: authenticated + tally.unauthenticated,
            most: tally.most,
            all,
            mqtt,
            other,
        }
    }

    /// How many packets there were of these kinds.
    pub(super) fn packets(&self, kinds: &[MqttCount]) -> u64 {
        kinds.iter().map(|kind| self.packets.of(*kind)).sum()
    }

    /// Messages from devices, by QoS.
    pub(super) fn received_with(&self) -> [u64; 3] {
        let [qos0, qos1] = self.other.received();
        [
            qos0 + self.packets.of(MqttCount::PublishQos0Received),
            qos1 + self.packets.of(MqttCount::PublishQos1Received),
            self.packets.of(MqttCount::PublishQos2Received),
        ]
    }

    pub(super) fn received(&self) -> u64 {
        self.received_with().into_iter().sum()
    }

    /// Messages to devices, by QoS. What is not MQTT says only that the device has it; that is QoS 0.
    pub(super) fn sent_with(&self) -> [u64; 2] {
        [
            self.other.commands + self.packets.of(MqttCount::PublishQos0Sent),
            self.packets.of(MqttCount::PublishQos1Sent),
        ]
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent_with().into_iter().sum()
    }

    /// What MQTT devices were allowed to do: messages and subscriptions.
    pub(super) fn allowed(&self) -> u64 {
        self.mqtt.published() + self.packets.of(MqttCount::FilterGranted)
    }

    /// What they were not.
    pub(super) fn denied(&self) -> u64 {
        let kinds = [MqttCount::PublishAuthError, MqttCount::FilterRefused];
        self.packets(&kinds)
    }

    pub(super) fn subscriptions(&self) -> u64 {
        self.open(MqttCount::SubscriptionBegun, MqttCount::SubscriptionEnded)
    }

    pub(super) fn subscribers(&self) -> u64 {
        self.open(MqttCount::SubscriberBegun, MqttCount::SubscriberEnded)
    }

    /// The two are not read at the same moment.
    fn open(&self, begun: MqttCount, ended: MqttCount) -> u64 {
        let (begun, ended) = (self.packets.of(begun), self.packets.of(ended));
        begun.saturating_sub(ended)
    }
}
